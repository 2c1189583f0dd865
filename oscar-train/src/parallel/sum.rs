//! The values of all workers, summed: by their devices among themselves where these can, else in main
//! memory, which every backend can.

use std::collections::HashSet;

use burn::tensor::backend::{BackendTypes, DeviceOps};
use burn::tensor::{Tensor, TensorData};
use oscar_core::ops::{AllReduce as DeviceSum, Kernels};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Team;
use crate::error::TrainError;

/// Where several devices sum their gradients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AllReduce {
    /// Among themselves where they can (NVIDIA GPUs of one process, with NCCL), else in main memory.
    #[default]
    Auto,
    /// In main memory.
    Host,
}

type Device<B> = <B as BackendTypes>::Device;

/// How the workers of a run sum.
#[derive(Clone)]
pub(crate) enum Sums<B: Kernels> {
    /// By this function of all their devices.
    OnDevices(DeviceSum<B>, Vec<Device<B>>),
    /// Through the group of the workers.
    InMemory,
}

impl<B: Kernels> Sums<B> {
    /// What `wanted` comes to for workers that are threads of this process with these devices, or for
    /// processes, of whose devices one is here.
    pub fn new(wanted: AllReduce, devices: Vec<Device<B>>) -> Self {
        let ids: HashSet<_> = devices.iter().map(DeviceOps::id).collect();
        let by_devices = B::all_reduce()
            .filter(|_| wanted == AllReduce::Auto && ids.len() > 1 && ids.len() == devices.len());
        by_devices.map_or(Self::InMemory, |sum| Self::OnDevices(sum, devices))
    }

    /// Whether what is summed stays on the devices.
    pub fn on_devices(&self) -> bool {
        matches!(self, Self::OnDevices(..))
    }

    /// The sums of every worker's `values` of `device`, f32, once `vote` has found that all workers
    /// have some. Whatever may fail on the device comes before the vote, in which the others hear of
    /// it, or after the last sum.
    ///
    /// # Errors
    ///
    /// That of `vote`; if the device failed, or a worker is gone.
    pub fn sum<T>(
        &self,
        values: Vec<Tensor<B, 1>>,
        device: &Device<B>,
        team: &mut Team,
        vote: impl FnOnce(&mut Team) -> Result<T, TrainError>,
    ) -> Result<(Vec<Tensor<B, 1>>, T), TrainError> {
        if let Self::OnDevices(sum, devices) = self {
            let voted = vote(team)?;
            return Ok((sum(values, devices), voted));
        }
        let read = values.into_iter().map(|values| {
            let values = values.try_into_data()?.convert::<f32>().into_vec();
            values.map_err(|error| TrainError::Device(format!("{error:?}")))
        });
        let read = read.collect::<Result<Vec<Vec<f32>>, TrainError>>()?;
        let voted = vote(team)?;
        let sums = read.into_iter().map(|values| {
            let sum = team.sum(values)?;
            let shape = [sum.len()];
            Ok(Tensor::from_data(TensorData::new(sum, shape), device))
        });
        Ok((sums.collect::<Result<_, TrainError>>()?, voted))
    }
}
