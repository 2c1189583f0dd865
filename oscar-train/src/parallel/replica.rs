//! A model's values and its optimiser's state, copied to another device or process.
//!
//! Through the host: Burn's copies from device to device panic on wgpu, and need NCCL on CUDA.

use burn::module::{AutodiffModule, ModuleMapper, Param};
use burn::tensor::{Tensor, TensorData};
use oscar_core::checkpoint::NamedTensor;
use oscar_core::ops::TrainBackend;
use serde::{Deserialize, Serialize};

use super::Team;
use crate::error::TrainError;
use crate::run::FixedSettings;
use crate::trainer::{StepCount, TrainingState};

/// The same state on another device.
///
/// # Errors
///
/// If the device failed.
pub(crate) fn replicate<B: TrainBackend, M: AutodiffModule<B>>(
    state: &TrainingState<B, M>,
    device: &B::Device,
) -> Result<TrainingState<B, M>, TrainError> {
    let optimizer = state.optimizer.clone();
    let moments = optimizer.state();
    Ok(TrainingState {
        model: copy(state.model.clone(), device, Ok)?,
        optimizer: optimizer.load_state(moments, device)?,
        ..*state
    })
}

/// What each process knows of the start.
#[derive(Serialize, Deserialize)]
struct Start {
    settings: FixedSettings,
    done: StepCount,
    /// Names of the tensors of the optimiser's state.
    moments: Vec<String>,
}

/// Gives every process the lead's weights, state and steps done; the others have read none.
///
/// # Errors
///
/// If the processes have different data or settings, or one is gone.
pub(crate) fn broadcast_start<B: TrainBackend, M: AutodiffModule<B>>(
    team: &mut Team,
    settings: &FixedSettings,
    state: TrainingState<B, M>,
    device: &B::Device,
) -> Result<TrainingState<B, M>, TrainError> {
    let moments = state.optimizer.state();
    let own = Start {
        settings: settings.clone(),
        done: state.done,
        moments: moments.iter().map(|tensor| tensor.name.clone()).collect(),
    };
    let mut starts = team.exchange(&own)?;
    if let Some(worker) = (1..starts.len()).find(|rank| starts[*rank].settings != *settings) {
        return Err(TrainError::Peer {
            worker,
            message: format!(
                "its settings or data differ from those of worker {}: {:?}, not {settings:?}",
                team.rank(),
                starts[worker].settings,
            ),
        });
    }
    let lead = starts.swap_remove(0);
    let model = copy(state.model, device, |values| team.broadcast(values))?;
    let mut own = moments.into_iter();
    let mut shared = Vec::with_capacity(lead.moments.len());
    for name in lead.moments {
        let data = team.broadcast(own.next().map_or(Vec::new(), |tensor| tensor.data))?;
        let shape = vec![data.len()];
        shared.push(NamedTensor { name, shape, data });
    }
    let optimizer = match team.rank() {
        0 => state.optimizer,
        _ => state.optimizer.load_state(shared, device)?,
    };
    Ok(TrainingState {
        model,
        optimizer,
        done: lead.done,
        best: state.best,
        unwritten_best: state.unwritten_best,
    })
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
        let shape = tensor.shape();
        let data = tensor.inner().try_into_data().map_err(TrainError::from);
        let copied = data.and_then(|data| (self.through)(data.iter::<f32>().collect()));
        let values = copied.unwrap_or_else(|error| {
            self.failure = Some(error);
            vec![0.0; shape.num_elements()]
        });
        let inner = Tensor::from_data(TensorData::new(values, shape), &self.device);
        let tensor = Tensor::from_inner(inner).set_require_grad(requires_grad);
        Param::from_mapped_value(id, tensor, mapper)
    }
}
