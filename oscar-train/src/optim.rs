//! The optimiser of the official code: AdamW as `pytorch_transformers` wrote it.
//!
//! It is not today's AdamW. Epsilon is added to the *uncorrected* root of the second moment, and
//! the weights decay *after* the step, with the raw learning rate:
//!
//! ```text
//! m = β1 m + (1 - β1) g            v = β2 v + (1 - β2) g²
//! p = p - lr √(1 - β2ᵗ) / (1 - β1ᵗ) · m / (√v + ε)
//! p = p - lr · λ · p               (not for biases and LayerNorms)
//! ```

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;

use burn::module::{AutodiffModule, ModuleMapper, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::ops::FloatTensor;
use burn::tensor::{Tensor, TensorData, TensorPrimitive};
use oscar_core::checkpoint::{NamedTensor, Parameter, parameters};
use oscar_core::ops::{AdamWUpdate, Guard, Kernels, TrainBackend};
use serde::{Deserialize, Serialize};

use crate::error::TrainError;
use crate::formula::Formula;

/// Substrings of a name that exempt a parameter from weight decay; the last one is the temperature of a
/// dual encoder.
const NO_DECAY: [&str; 3] = ["bias", "LayerNorm.weight", "logit_scale"];

/// Settings of [`AdamW`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdamWConfig {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Weight decay λ.
    pub weight_decay: f64,
    /// Which formula a step follows.
    pub formula: Formula,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self {
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.01,
            formula: Formula::default(),
        }
    }
}

/// AdamW with the official formula, state keyed by parameter.
#[derive(Clone, Debug)]
pub struct AdamW<B: AutodiffBackend> {
    config: AdamWConfig,
    /// Undo the start of the moments at zero. The official scripts always do.
    correct_bias: bool,
    parameters: Arc<HashMap<ParamId, Parameter>>,
    moments: HashMap<ParamId, Moments<B::InnerBackend>>,
    /// What the last step updated.
    last: Vec<ParamId>,
}

/// Optimiser state of one parameter, flattened in the parameter's own layout.
#[derive(Clone, Debug)]
struct Moments<B: Backend> {
    step: usize,
    exp_avg: Tensor<B, 1>,
    exp_avg_sq: Tensor<B, 1>,
}

impl<B: AutodiffBackend> AdamW<B> {
    /// An optimiser without state for the parameters of `module`.
    pub fn new<M: AutodiffModule<B>>(config: AdamWConfig, module: &M) -> Self {
        let parameters = parameters::<B, M>(module)
            .into_iter()
            .map(|parameter| (parameter.id, parameter))
            .collect();
        Self {
            config,
            correct_bias: true,
            parameters: Arc::new(parameters),
            moments: HashMap::new(),
            last: Vec::new(),
        }
    }

    /// Whether the step corrects the moments for their start at zero (by default it does): without,
    /// the step is `lr · m / (√v + ε)`, the official `correct_bias = False`.
    pub fn with_bias_correction(mut self, correct: bool) -> Self {
        self.correct_bias = correct;
        self
    }

    /// The state by official parameter name: `exp_avg.NAME`, `exp_avg_sq.NAME` and `step.NAME`.
    ///
    /// Matrices of linear layers are in Burn's layout: the state is for resuming here.
    pub fn state(&self) -> Vec<NamedTensor> {
        let mut tensors = Vec::new();
        for (id, moments) in &self.moments {
            let Some(parameter) = self.parameters.get(id) else {
                continue;
            };
            for (kind, tensor) in [
                ("exp_avg", &moments.exp_avg),
                ("exp_avg_sq", &moments.exp_avg_sq),
            ] {
                let data: Vec<f32> = tensor.to_data().iter::<f32>().collect();
                tensors.push(NamedTensor {
                    name: format!("{kind}.{}", parameter.name),
                    shape: vec![data.len()],
                    data,
                });
            }
            // Exact in f32 up to 16.7 million steps.
            tensors.push(NamedTensor {
                name: format!("step.{}", parameter.name),
                shape: vec![1],
                data: vec![moments.step as f32],
            });
        }
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        tensors
    }

    /// Restores what [`state`](Self::state) returned.
    ///
    /// # Errors
    ///
    /// If a parameter's state is incomplete or of another size, or a tensor belongs to no parameter.
    pub fn load_state(
        mut self,
        tensors: Vec<NamedTensor>,
        device: &B::Device,
    ) -> Result<Self, TrainError> {
        let mut by_name: HashMap<String, Vec<f32>> = tensors
            .into_iter()
            .map(|tensor| (tensor.name, tensor.data))
            .collect();
        let parameters = self.parameters.clone();
        for parameter in parameters.values() {
            let mut take = |kind: &str, len: usize| {
                let name = format!("{kind}.{}", parameter.name);
                match by_name.remove(&name) {
                    Some(data) if data.len() == len => Ok(Some(data)),
                    Some(data) => Err(mismatch(format!(
                        "{name} has {} values, but the model needs {len}",
                        data.len()
                    ))),
                    None => Ok(None),
                }
            };
            let len = parameter.len();
            match (
                take("exp_avg", len)?,
                take("exp_avg_sq", len)?,
                take("step", 1)?,
            ) {
                (Some(exp_avg), Some(exp_avg_sq), Some(step)) => {
                    if !(step[0] >= 1.0 && step[0].fract() == 0.0) {
                        let reason = format!("step.{} is {}", parameter.name, step[0]);
                        return Err(mismatch(reason));
                    }
                    let tensor = |data| Tensor::from_data(TensorData::new(data, [len]), device);
                    self.moments.insert(
                        parameter.id,
                        Moments {
                            step: step[0] as usize,
                            exp_avg: tensor(exp_avg),
                            exp_avg_sq: tensor(exp_avg_sq),
                        },
                    );
                }
                (None, None, None) => {}
                _ => {
                    let reason = format!("the state of {} is incomplete", parameter.name);
                    return Err(mismatch(reason));
                }
            }
        }
        match by_name.keys().min() {
            None => Ok(self),
            Some(name) => Err(mismatch(format!(
                "{name} belongs to no parameter of the model"
            ))),
        }
    }
}

fn mismatch(reason: String) -> TrainError {
    TrainError::OptimizerState { reason }
}

/// Takes the parameters that have a gradient, and leaves stand-ins in their place, so that each is
/// owned once and may be updated in place.
struct Take<'a, B: TrainBackend> {
    optimizer: &'a mut AdamW<B>,
    lr: f64,
    grads: &'a mut GradientsParams,
    /// Parameters, and the number of the update of each.
    ids: Vec<(ParamId, usize)>,
    updates: Vec<AdamWUpdate<B::InnerBackend>>,
    stand_ins: HashMap<usize, Box<dyn Any>>,
}

impl<B: TrainBackend> ModuleMapper<B> for Take<'_, B> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let Some(grad) = self.grads.remove::<B::InnerBackend, D>(param.id) else {
            return param;
        };
        let (id, tensor, mapper) = param.consume();
        let requires_grad = tensor.is_require_grad();
        let device = tensor.device();
        let (step, update) = self.optimizer.update(id, tensor.inner(), grad, self.lr);
        self.ids.push((id, step));
        self.updates.push(update);
        let stand_in = self
            .stand_ins
            .entry(D)
            .or_insert_with(|| Box::new(Tensor::<B::InnerBackend, D>::zeros([1; D], &device)))
            .downcast_ref::<Tensor<B::InnerBackend, D>>()
            .expect("one of each rank")
            .clone();
        let tensor = Tensor::from_inner(stand_in).set_require_grad(requires_grad);
        Param::from_mapped_value(id, tensor, mapper)
    }
}

/// Puts updated parameters in the place of their stand-ins.
struct Put<B: TrainBackend> {
    updated: HashMap<ParamId, FloatTensor<B::InnerBackend>>,
}

impl<B: TrainBackend> ModuleMapper<B> for Put<B> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let Some(updated) = self.updated.remove(&param.id) else {
            return param;
        };
        let (id, stand_in, mapper) = param.consume();
        let updated = Tensor::from_primitive(TensorPrimitive::Float(updated));
        let tensor = Tensor::from_inner(updated).set_require_grad(stand_in.is_require_grad());
        Param::from_mapped_value(id, tensor, mapper)
    }
}

impl<B: TrainBackend> AdamW<B> {
    /// Updates every parameter of `module` that has a gradient, with learning rate `lr`; the others
    /// are neither updated nor decayed.
    pub fn step<M: AutodiffModule<B>>(&mut self, lr: f64, module: M, grads: GradientsParams) -> M {
        self.step_guarded(lr, module, grads, &Guard::default())
    }

    /// As [`step`](Self::step), where `guard` clips the gradients, and leaves everything as it is if
    /// a value is not finite. Nothing is read back from the device. The step is counted all the same;
    /// see `uncount`.
    pub fn step_guarded<M: AutodiffModule<B>>(
        &mut self,
        lr: f64,
        module: M,
        mut grads: GradientsParams,
        guard: &Guard<B::InnerBackend>,
    ) -> M {
        let mut take = Take {
            optimizer: self,
            lr,
            grads: &mut grads,
            ids: Vec::new(),
            updates: Vec::new(),
            stand_ins: HashMap::new(),
        };
        let module = module.map(&mut take);
        let Take { ids, updates, .. } = take;
        let updated = B::InnerBackend::adamw_all(updates, guard);
        self.last.clear();
        let mut put = Put::<B> {
            updated: HashMap::with_capacity(ids.len()),
        };
        for ((id, step), (parameter, [exp_avg, exp_avg_sq])) in ids.into_iter().zip(updated) {
            let moments = Moments {
                step,
                exp_avg,
                exp_avg_sq,
            };
            self.moments.insert(id, moments);
            self.last.push(id);
            put.updated.insert(id, parameter);
        }
        module.map(&mut put)
    }

    /// Does not count the last step, which was left out.
    pub(crate) fn uncount(&mut self) {
        for id in self.last.drain(..) {
            if let Some(moments) = self.moments.get_mut(&id) {
                moments.step -= 1;
            }
        }
        // As if there had been none: their moments are zero.
        self.moments.retain(|_, moments| moments.step > 0);
    }

    fn update<const D: usize>(
        &mut self,
        id: ParamId,
        tensor: Tensor<B::InnerBackend, D>,
        grad: Tensor<B::InnerBackend, D>,
        lr: f64,
    ) -> (usize, AdamWUpdate<B::InnerBackend>) {
        // Taken out, so that each tensor is owned once.
        let (step, moments) = match self.moments.remove(&id) {
            Some(moments) => (moments.step + 1, [moments.exp_avg, moments.exp_avg_sq]),
            None => {
                let len = [grad.shape().num_elements()];
                (1, [(); 2].map(|()| Tensor::zeros(len, &grad.device())))
            }
        };
        let decays = self.decays(id);
        let update = AdamWUpdate {
            parameter: tensor.into_primitive().tensor(),
            grad: grad.into_primitive().tensor(),
            moments,
            step: self.config.numbers(step, lr, self.correct_bias, decays),
        };
        (step, update)
    }

    fn decays(&self, id: ParamId) -> bool {
        self.parameters.get(&id).is_none_or(|parameter| {
            !NO_DECAY
                .iter()
                .any(|exempt| parameter.name.contains(exempt))
        })
    }
}
