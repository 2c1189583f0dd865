//! NumPy arrays of a pickle.

use std::fmt;

use bytes::Bytes;
use safetensors::Dtype;

use super::ReadError;
use super::convert::{View, element_size, row_major};

/// An array of numbers.
#[derive(Clone)]
pub struct Array {
    dtype: Dtype,
    shape: Vec<usize>,
    strides: Vec<usize>,
    data: Bytes,
}

impl Array {
    /// An array whose bytes are exactly `data`; else why not.
    pub(super) fn new(
        dtype: Dtype,
        shape: Vec<usize>,
        fortran: bool,
        data: Bytes,
    ) -> Result<Self, String> {
        let total = match shape.contains(&0) {
            true => Some(0),
            false => shape.iter().try_fold(element_size(dtype), |product, size| {
                product.checked_mul(*size)
            }),
        };
        if total != Some(data.len()) {
            return Err(format!(
                "an array of shape {shape:?} and type {dtype:?} has {} bytes",
                data.len()
            ));
        }
        let strides = match fortran {
            false => row_major(&shape),
            true => {
                let reversed: Vec<usize> = shape.iter().rev().copied().collect();
                row_major(&reversed).into_iter().rev().collect()
            }
        };
        Ok(Self {
            dtype,
            shape,
            strides,
            data,
        })
    }

    /// Type of the elements.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Size of every axis; none for a scalar.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.shape.contains(&0)
    }

    /// Little-endian bytes of the elements in row-major order; not copied where they lie so.
    ///
    /// # Errors
    ///
    /// If there is not enough memory.
    pub fn to_bytes(&self) -> Result<Bytes, ReadError> {
        self.view().bytes()
    }

    /// The elements of an array of floats (f64 is rounded), or of integers of up to 16 bits.
    ///
    /// # Errors
    ///
    /// If it has another type or there is not enough memory.
    pub fn to_f32(&self) -> Result<Vec<f32>, ReadError> {
        self.view().f32()
    }

    /// The elements of an array of floats, or of integers of up to 32 bits.
    ///
    /// # Errors
    ///
    /// As [`to_f32`](Self::to_f32).
    pub fn to_f64(&self) -> Result<Vec<f64>, ReadError> {
        self.view().f64()
    }

    /// The elements of an array of integers or bools.
    ///
    /// # Errors
    ///
    /// As [`to_f32`](Self::to_f32).
    pub fn to_i64(&self) -> Result<Vec<i64>, ReadError> {
        self.view().i64()
    }

    fn view(&self) -> View<'_> {
        View {
            dtype: self.dtype,
            shape: &self.shape,
            strides: &self.strides,
            offset: 0,
            data: &self.data,
        }
    }
}

impl fmt::Debug for Array {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "array({:?}, {:?})", self.dtype, self.shape)
    }
}
