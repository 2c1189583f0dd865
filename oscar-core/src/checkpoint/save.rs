//! Writing the weights of a model.

use std::path::Path;

use burn::module::{ModuleVisitor, Param};
use burn::tensor::{Tensor, backend::Backend};
use safetensors::Dtype;

use super::error::require_finite;
use super::export::write_views;
use super::names::{self, transpose};
use super::{CheckpointError, Checkpointed};

/// A tensor on the host under its official name.
#[derive(Clone, Debug)]
pub struct NamedTensor {
    /// Official name.
    pub name: String,
    /// Official shape.
    pub shape: Vec<usize>,
    /// Values, row-major.
    pub data: Vec<f32>,
}

/// Writes a model's weights, aliases included, as f32.
///
/// The file appears complete or not at all.
///
/// # Errors
///
/// If the file cannot be written (a full disk, a missing or read-only directory), or a weight is
/// NaN or infinite: such a file could not be loaded again.
pub fn save<B: Backend, M: Checkpointed<B>>(
    model: &M,
    path: impl AsRef<Path>,
) -> Result<(), CheckpointError> {
    let mut collector = HostCollector {
        path: names::Path::default(),
        tensors: Vec::new(),
    };
    model.visit(&mut collector);
    let path = path.as_ref();
    let mut tensors = collector.tensors;
    for tensor in &tensors {
        require_finite(path, &tensor.name, &tensor.data)?;
    }
    for (alias, target) in model.aliases() {
        if let Some(tensor) = tensors.iter().find(|tensor| tensor.name == *target) {
            tensors.push(NamedTensor {
                name: alias.to_string(),
                ..tensor.clone()
            });
        }
    }
    write_tensors(path, &tensors)
}

/// Writes tensors to a safetensors file, complete or not at all.
///
/// # Errors
///
/// If the file cannot be written.
pub fn write_tensors(
    path: impl AsRef<Path>,
    tensors: &[NamedTensor],
) -> Result<(), CheckpointError> {
    let views = tensors.iter().map(|tensor| {
        let bytes = bytemuck::cast_slice(&tensor.data);
        (
            tensor.name.as_str(),
            Dtype::F32,
            tensor.shape.clone(),
            bytes,
        )
    });
    write_views(path.as_ref(), views)
}

struct HostCollector {
    path: names::Path,
    tensors: Vec<NamedTensor>,
}

impl<B: Backend> ModuleVisitor<B> for HostCollector {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let tensor = param.val();
        let mut shape = tensor.dims().to_vec();
        let mut data: Vec<f32> = tensor.into_data().iter::<f32>().collect();
        if self.path.is_linear_weight() {
            data = transpose(&data, shape[0], shape[1]);
            shape.reverse();
        }
        self.tensors.push(NamedTensor {
            name: self.path.official_name(),
            shape,
            data,
        });
    }
}
