//! A model's values and its optimiser's state, copied to another device or process.
//!
//! Through the host: Burn's copies from device to device panic on wgpu, and want NCCL on CUDA.

use burn::module::{AutodiffModule, ModuleMapper, Param};
use burn::tensor::{Tensor, TensorData};
use oscar_core::checkpoint::NamedTensor;
use oscar_core::ops::TrainBackend;
use serde::{Deserialize, Serialize};

use super::{Done, Team};
use crate::error::TrainError;
use crate::optim::AdamW;
use crate::run::FixedSettings;

/// Model and optimiser on another device.
///
/// # Errors
///
/// If the state cannot be read.
pub(crate) fn fork<B: TrainBackend, M: AutodiffModule<B>>(
    model: &M,
    optimizer: &AdamW<B>,
    device: &B::Device,
) -> Result<(M, AdamW<B>), TrainError> {
    let state = optimizer.state();
    Ok((
        copy(model.clone(), device, Ok)?,
        optimizer.clone().load_state(state, device)?,
    ))
}

/// What each process knows of the start.
#[derive(Serialize, Deserialize)]
struct Start {
    settings: FixedSettings,
    done: Done,
    /// State of the optimiser: names and lengths.
    state: Vec<(String, usize)>,
}

/// Gives every process the lead's weights, state and steps done; nobody else has read them.
///
/// # Errors
///
/// If the processes have other data or settings, or one is gone.
pub(crate) fn share_start<B: TrainBackend, M: AutodiffModule<B>>(
    team: &mut Team,
    settings: &FixedSettings,
    done: Done,
    (model, optimizer): (M, AdamW<B>),
    device: &B::Device,
) -> Result<(M, AdamW<B>, Done), TrainError> {
    let leads = team.rank() == 0;
    let state = optimizer.state();
    let own = Start {
        settings: settings.clone(),
        done,
        state: state
            .iter()
            .map(|tensor| (tensor.name.clone(), tensor.data.len()))
            .collect(),
    };
    let mut starts = team.exchange(&own)?;
    if let Some(worker) = (1..starts.len()).find(|rank| starts[*rank].settings != *settings) {
        return Err(TrainError::Peer {
            worker,
            message: format!(
                "it has other settings or data than worker {}: {:?}, not {settings:?}",
                team.rank(),
                starts[worker].settings,
            ),
        });
    }
    let lead = starts.swap_remove(0);

    // A sum in which all but the lead's values are zeros.
    let mut share = |values: Vec<f32>| {
        team.sum(match leads {
            true => values,
            false => vec![0.0; values.len()],
        })
    };
    let model = copy(model, device, &mut share)?;
    let mut by_name = state.into_iter();
    let mut shared = Vec::with_capacity(lead.state.len());
    for (name, len) in lead.state {
        let own = by_name.next().map_or(vec![0.0; len], |tensor| tensor.data);
        shared.push(NamedTensor {
            name,
            shape: vec![len],
            data: share(own)?,
        });
    }
    let optimizer = match leads {
        true => optimizer,
        false => optimizer.load_state(shared, device)?,
    };
    Ok((model, optimizer, lead.done))
}

/// The model on `device`, with the values that `through` makes of its own, in the order of its
/// fields.
fn copy<B, M, F>(model: M, device: &B::Device, through: F) -> Result<M, TrainError>
where
    B: TrainBackend,
    M: AutodiffModule<B>,
    F: FnMut(Vec<f32>) -> Result<Vec<f32>, TrainError>,
{
    let mut copy = Copy::<B, F> {
        device: device.clone(),
        through,
        failure: None,
    };
    let model = model.map(&mut copy);
    match copy.failure {
        None => Ok(model),
        Some(error) => Err(error),
    }
}

struct Copy<B: TrainBackend, F> {
    device: B::Device,
    through: F,
    failure: Option<TrainError>,
}

impl<B, F> ModuleMapper<B> for Copy<B, F>
where
    B: TrainBackend,
    F: FnMut(Vec<f32>) -> Result<Vec<f32>, TrainError>,
{
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        if self.failure.is_some() {
            return param;
        }
        let (id, tensor, mapper) = param.consume();
        let requires_grad = tensor.is_require_grad();
        let data = tensor.inner().into_data();
        let shape = data.shape.clone();
        let values = (self.through)(data.iter::<f32>().collect()).unwrap_or_else(|error| {
            self.failure = Some(error);
            vec![0.0; shape.num_elements()]
        });
        let inner = Tensor::from_data(TensorData::new(values, shape), &self.device);
        let tensor = Tensor::from_inner(inner).set_require_grad(requires_grad);
        Param::from_mapped_value(id, tensor, mapper)
    }
}
