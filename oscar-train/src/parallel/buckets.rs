//! Gradients as a few flat buffers, in order of the parameters' names.
//!
//! Names, since ids are drawn anew in every process. A few, since each sum costs a round trip, and
//! one buffer of them all would be held three times over.

use std::collections::HashMap;

use burn::module::{AutodiffModule, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{Tensor, TensorData};
use oscar_core::checkpoint::parameters;

use super::Team;
use crate::error::TrainError;

/// Values of a bucket, 64 MiB; a larger parameter has one of its own.
const BUCKET: usize = 16 << 20;

/// The parameters of a model, divided into buckets.
pub(crate) struct Buckets {
    /// In order of the names.
    slots: Vec<Slot>,
    /// Where each bucket ends in `slots`.
    ends: Vec<usize>,
}

struct Slot {
    id: ParamId,
    len: usize,
}

impl Buckets {
    /// The buckets of `model`, the same for every replica.
    pub fn of<B: AutodiffBackend, M: AutodiffModule<B>>(model: &M) -> Self {
        let mut parameters = parameters::<B, M>(model);
        parameters.sort_by(|a, b| a.name.cmp(&b.name));
        let slots: Vec<Slot> = parameters
            .iter()
            .map(|parameter| Slot {
                id: parameter.id,
                len: parameter.len(),
            })
            .collect();
        let (mut ends, mut filled) = (Vec::new(), 0);
        for (index, slot) in slots.iter().enumerate() {
            if filled > 0 && filled + slot.len > BUCKET {
                ends.push(index);
                filled = 0;
            }
            filled += slot.len;
        }
        ends.push(slots.len());
        Self { slots, ends }
    }

    /// Takes the gradients of one worker's parts of a step apart.
    pub fn flatten<B: AutodiffBackend, M: AutodiffModule<B>>(
        &self,
        model: &M,
        grads: GradientsParams,
    ) -> Flat<B> {
        let mut flatten = Flatten {
            grads,
            flat: HashMap::new(),
        };
        model.visit(&mut flatten);
        Flat(flatten.flat)
    }

    /// Which parameters have gradients, in order of the names.
    pub fn present<B: AutodiffBackend>(&self, flat: &Flat<B>) -> Vec<bool> {
        let slots = self.slots.iter();
        slots.map(|slot| flat.0.contains_key(&slot.id)).collect()
    }

    /// Sums the gradients of all workers. A gradient that only others have counts as zeros here;
    /// one that nobody has stays missing, so that its parameter is not decayed either.
    pub fn sum<B: AutodiffBackend, M: AutodiffModule<B>>(
        &self,
        model: &M,
        mut flat: Flat<B>,
        anybody: &[bool],
        team: &mut Team,
        device: &B::Device,
    ) -> Result<GradientsParams, TrainError> {
        let mut sums = HashMap::new();
        let mut first = 0;
        for end in &self.ends {
            let slots = self.slots[first..*end].iter().zip(&anybody[first..*end]);
            let slots: Vec<&Slot> = slots
                .filter(|(_, anybody)| **anybody)
                .map(|(slot, _)| slot)
                .collect();
            first = *end;
            if slots.is_empty() {
                continue;
            }
            let own = slots.iter().map(|slot| {
                let own = flat.0.remove(&slot.id);
                own.unwrap_or_else(|| Tensor::zeros([slot.len], device))
            });
            let values = read(Tensor::cat(own.collect(), 0))?;
            let sum = write::<B>(team.sum(values)?, device);
            let mut start = 0;
            for slot in slots {
                let part = sum.clone().narrow(0, start, slot.len);
                sums.insert(slot.id, part);
                start += slot.len;
            }
        }
        let mut unflatten = Unflatten::<B> {
            sums,
            grads: GradientsParams::new(),
        };
        model.visit(&mut unflatten);
        Ok(unflatten.grads)
    }
}

/// Gradients as vectors.
pub(crate) struct Flat<B: AutodiffBackend>(HashMap<ParamId, Tensor<B::InnerBackend, 1>>);

fn read<B: burn::tensor::backend::Backend>(tensor: Tensor<B, 1>) -> Result<Vec<f32>, TrainError> {
    let data = tensor.into_data().convert::<f32>();
    data.into_vec()
        .map_err(|error| TrainError::Panicked(format!("cannot read the gradients: {error:?}")))
}

fn write<B: AutodiffBackend>(values: Vec<f32>, device: &B::Device) -> Tensor<B::InnerBackend, 1> {
    let len = values.len();
    Tensor::from_data(TensorData::new(values, [len]), device)
}

struct Flatten<B: AutodiffBackend> {
    grads: GradientsParams,
    flat: HashMap<ParamId, Tensor<B::InnerBackend, 1>>,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for Flatten<B> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        if let Some(grad) = self.grads.remove::<B::InnerBackend, D>(param.id) {
            let len = grad.shape().num_elements();
            self.flat.insert(param.id, grad.reshape([len]));
        }
    }
}

struct Unflatten<B: AutodiffBackend> {
    sums: HashMap<ParamId, Tensor<B::InnerBackend, 1>>,
    grads: GradientsParams,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for Unflatten<B> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        if let Some(sum) = self.sums.remove(&param.id) {
            let grad: Tensor<B::InnerBackend, D> = sum.reshape(param.lazy_shape());
            self.grads.register(param.id, grad);
        }
    }
}
