//! Tensors of a set on the host, and how they get to a device.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::{Int, Tensor, TensorData, backend::Backend};
use safetensors::{Dtype, SafeTensors};

/// A tensor of a set. f64 holds every value of the files exactly.
#[derive(Clone, Debug, PartialEq)]
pub struct HostTensor {
    pub shape: Vec<usize>,
    pub data: Vec<f64>,
}

impl HostTensor {
    /// The values of a device tensor.
    pub fn read<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Self {
        let shape = tensor.dims().to_vec();
        Self {
            shape,
            data: tensor.into_data().iter::<f64>().collect(),
        }
    }

    /// As floating-point tensor of `shape`.
    pub fn floats<B: Backend, const D: usize>(
        &self,
        shape: [usize; D],
        device: &B::Device,
    ) -> Tensor<B, D> {
        let values: Vec<f32> = self.data.iter().map(|&value| value as f32).collect();
        Tensor::from_data(TensorData::new(values, shape), device)
    }

    /// As integer tensor of `shape`.
    pub fn ints<B: Backend, const D: usize>(
        &self,
        shape: [usize; D],
        device: &B::Device,
    ) -> Tensor<B, D, Int> {
        ints(
            self.data.iter().map(|&value| value as i32).collect(),
            shape,
            device,
        )
    }

    /// Length of the last axis.
    pub fn last(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// Product of all axes but the last `axes`.
    pub fn leading(&self, axes: usize) -> usize {
        self.shape[..self.shape.len().saturating_sub(axes)]
            .iter()
            .product()
    }
}

/// An integer tensor of `values`.
pub fn ints<B: Backend, const D: usize>(
    values: Vec<i32>,
    shape: [usize; D],
    device: &B::Device,
) -> Tensor<B, D, Int> {
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// Named tensors of one file, or of one batch in it.
#[derive(Clone, Debug, Default)]
pub struct Tensors(pub BTreeMap<String, HostTensor>);

impl Tensors {
    /// Reads a safetensors file of floats and integers.
    pub fn from_file(path: &Path) -> Result<Self, String> {
        let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let bytes = std::fs::read(path).map_err(|error| failed(&error))?;
        let file = SafeTensors::deserialize(&bytes).map_err(|error| failed(&error))?;
        let mut tensors = BTreeMap::new();
        for (name, view) in file.iter() {
            let data = view.data();
            let data = match view.dtype() {
                Dtype::F64 => values(data, f64::from_le_bytes),
                Dtype::F32 => values(data, |value| f64::from(f32::from_le_bytes(value))),
                Dtype::F16 => values(data, |value| half::f16::from_le_bytes(value).to_f64()),
                Dtype::I64 => values(data, |value| i64::from_le_bytes(value) as f64),
                Dtype::I32 => values(data, |value| f64::from(i32::from_le_bytes(value))),
                Dtype::U8 | Dtype::BOOL => data.iter().map(|&value| f64::from(value)).collect(),
                other => return Err(failed(&format!("{name} has type {other:?}"))),
            };
            tensors.insert(
                name.to_string(),
                HostTensor {
                    shape: view.shape().to_vec(),
                    data,
                },
            );
        }
        Ok(Self(tensors))
    }

    /// The tensor called `name`, if there is one.
    pub fn find(&self, name: &str) -> Option<&HostTensor> {
        self.0.get(name)
    }

    /// The tensor called `name`.
    pub fn get(&self, name: &str) -> Result<&HostTensor, String> {
        self.find(name)
            .ok_or_else(|| format!("the set has no tensor {name}"))
    }

    /// The tensors whose names start with `prefix`, without it.
    pub fn under(&self, prefix: &str) -> Self {
        let named = self.0.iter();
        let named = named.filter_map(|(name, tensor)| Some((name.strip_prefix(prefix)?, tensor)));
        Self(
            named
                .map(|(name, tensor)| (name.to_string(), tensor.clone()))
                .collect(),
        )
    }

    /// The batches of a file that holds several: `step0.input_ids`, `step1.input_ids`, ..
    ///
    /// Whatever the prefixes are called, their numbers give the order.
    pub fn batches(&self) -> Vec<Self> {
        let mut batches: BTreeMap<(Vec<u64>, String), Self> = BTreeMap::new();
        for (name, tensor) in &self.0 {
            let (prefix, name) = name.rsplit_once('.').unwrap_or(("", name));
            let numbers = prefix
                .split(|letter: char| !letter.is_ascii_digit())
                .filter_map(|digits| digits.parse().ok())
                .collect();
            let batch = batches.entry((numbers, prefix.into())).or_default();
            batch.0.insert(name.into(), tensor.clone());
        }
        batches.into_values().collect()
    }
}

fn values<const N: usize>(bytes: &[u8], value: impl Fn([u8; N]) -> f64) -> Vec<f64> {
    let (chunks, _) = bytes.as_chunks::<N>();
    chunks.iter().map(|chunk| value(*chunk)).collect()
}
