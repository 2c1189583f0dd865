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

use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::Arc;

use burn::module::{AutodiffModule, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Tensor, TensorData};
use oscar_core::checkpoint::{NamedTensor, Parameter, parameters};
use oscar_core::ops::{Kernels, TrainBackend};
use serde::{Deserialize, Serialize};

use crate::error::TrainError;
use crate::formula::Formula;

/// Substrings of a name that exempt a parameter from weight decay; the last one is the temperature of a
/// dual encoder.
const NO_DECAY: [&str; 3] = ["bias", "LayerNorm.weight", "logit_scale"];

/// Added to a gradient norm before dividing by it, as `clip_grad_norm_` does.
const CLIP_EPSILON: f64 = 1e-6;

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

/// Updates every parameter that has a gradient; the others are neither updated nor decayed.
struct Update<'a, B: AutodiffBackend> {
    optimizer: &'a mut AdamW<B>,
    lr: f64,
    grads: &'a mut GradientsParams,
}

impl<B: TrainBackend> ModuleMapper<B> for Update<'_, B> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let Some(grad) = self.grads.remove::<B::InnerBackend, D>(param.id) else {
            return param;
        };
        let (id, tensor, mapper) = param.consume();
        let requires_grad = tensor.is_require_grad();
        let stepped = self.optimizer.update(id, tensor.inner(), grad, self.lr);
        let tensor = Tensor::from_inner(stepped).set_require_grad(requires_grad);
        Param::from_mapped_value(id, tensor, mapper)
    }
}

impl<B: TrainBackend> AdamW<B> {
    /// Updates every parameter of `module` that has a gradient, with learning rate `lr`.
    pub fn step<M: AutodiffModule<B>>(
        &mut self,
        lr: f64,
        module: M,
        mut grads: GradientsParams,
    ) -> M {
        module.map(&mut Update {
            optimizer: self,
            lr,
            grads: &mut grads,
        })
    }

    fn update<const D: usize>(
        &mut self,
        id: ParamId,
        tensor: Tensor<B::InnerBackend, D>,
        grad: Tensor<B::InnerBackend, D>,
        lr: f64,
    ) -> Tensor<B::InnerBackend, D> {
        let shape = tensor.shape();
        let (tensor, grad) = (flat(tensor), flat(grad));

        // Taken out, so that each tensor is owned once and may be updated in place.
        let (step, exp_avg, exp_avg_sq) = match self.moments.remove(&id) {
            Some(moments) => (moments.step + 1, moments.exp_avg, moments.exp_avg_sq),
            None => (1, grad.zeros_like(), grad.zeros_like()),
        };
        let numbers = self
            .config
            .numbers(step, lr, self.correct_bias, self.decays(id));
        let [tensor, exp_avg, exp_avg_sq] =
            B::InnerBackend::adamw(grad, [tensor, exp_avg, exp_avg_sq], numbers);
        self.moments.insert(
            id,
            Moments {
                step,
                exp_avg,
                exp_avg_sq,
            },
        );
        tensor.reshape(shape)
    }

    fn decays(&self, id: ParamId) -> bool {
        self.parameters.get(&id).is_none_or(|parameter| {
            !NO_DECAY
                .iter()
                .any(|exempt| parameter.name.contains(exempt))
        })
    }
}

/// Scales all gradients of `module` by one factor so that their joint L2 norm is at most
/// `max_norm`, and returns the norm before, `[1]`. Nothing is read back from the device.
pub fn clip_grad_norm<B: TrainBackend, M: AutodiffModule<B>>(
    module: &M,
    grads: &mut GradientsParams,
    max_norm: f64,
    device: &B::Device,
) -> Tensor<B::InnerBackend, 1> {
    let norm = grad_norm::<B, M>(module, grads, device);
    let factor = norm
        .clone()
        .add_scalar(CLIP_EPSILON)
        .recip()
        .mul_scalar(max_norm)
        .clamp_max(1.0);
    map_gradients::<B, M>(module, grads, |_, grad| {
        Some(B::InnerBackend::scale(grad, factor.clone()))
    });
    norm
}

/// The joint L2 norm of all gradients of `module`, `[1]`. Nothing is read back from the device.
pub fn grad_norm<B: TrainBackend, M: AutodiffModule<B>>(
    module: &M,
    grads: &mut GradientsParams,
    device: &B::Device,
) -> Tensor<B::InnerBackend, 1> {
    let mut sums = Vec::new();
    map_gradients::<B, M>(module, grads, |_, grad| {
        sums.push(B::InnerBackend::sum_of_squares(grad.clone()));
        Some(grad)
    });
    match sums.is_empty() {
        true => Tensor::zeros([1], device),
        false => Tensor::cat(sums, 0).sum().sqrt(),
    }
}

/// A gradient, flattened.
type Flat<B> = Tensor<<B as AutodiffBackend>::InnerBackend, 1>;

/// Replaces each gradient of `module`, flattened, by what `map` makes of it, or removes it.
pub(crate) fn map_gradients<B: AutodiffBackend, M: AutodiffModule<B>>(
    module: &M,
    grads: &mut GradientsParams,
    map: impl FnMut(ParamId, Flat<B>) -> Option<Flat<B>>,
) {
    let backend = PhantomData::<B>;
    module.visit(&mut MapGradients {
        grads,
        map,
        backend,
    });
}

struct MapGradients<'a, B, F> {
    grads: &'a mut GradientsParams,
    map: F,
    backend: PhantomData<B>,
}

impl<B, F> ModuleVisitor<B> for MapGradients<'_, B, F>
where
    B: AutodiffBackend,
    F: FnMut(ParamId, Flat<B>) -> Option<Flat<B>>,
{
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        if let Some(grad) = self.grads.remove::<B::InnerBackend, D>(param.id) {
            let shape = grad.shape();
            if let Some(mapped) = (self.map)(param.id, flat(grad)) {
                let mapped: Tensor<B::InnerBackend, D> = mapped.reshape(shape);
                self.grads.register(param.id, mapped);
            }
        }
    }
}

fn flat<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Tensor<B, 1> {
    let len = tensor.shape().num_elements();
    tensor.reshape([len])
}
