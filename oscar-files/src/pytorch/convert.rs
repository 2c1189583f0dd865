//! Elements of strided arrays, in row-major order.

use bytes::Bytes;
use half::{bf16, f16};
use safetensors::Dtype;

use super::ReadError;

/// A strided view of little-endian elements. Whoever creates one has checked that every element of
/// it is inside `data`.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub dtype: Dtype,
    pub shape: &'a [usize],
    /// In elements.
    pub strides: &'a [usize],
    /// In elements.
    pub offset: usize,
    pub data: &'a Bytes,
}

/// Maximum number of axes in PyTorch and NumPy.
pub(super) const MAX_RANK: usize = 64;

/// Bytes of one element, for the supported types.
pub(super) fn element_size(dtype: Dtype) -> usize {
    dtype.bitsize() / 8
}

/// Strides of a contiguous array.
pub(super) fn row_major(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1usize; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis].saturating_mul(shape[axis].max(1));
    }
    strides
}

impl View<'_> {
    /// Whether the elements are contiguous in row-major order.
    pub fn is_contiguous(&self) -> bool {
        let expected = row_major(self.shape);
        let axes = self.shape.iter().zip(self.strides).zip(&expected);
        self.shape.contains(&0)
            || axes
                .into_iter()
                .all(|((size, stride), expected)| *size == 1 || stride == expected)
    }

    /// The elements' bytes in row-major order; not copied if they are stored like that.
    pub fn bytes(&self) -> Result<Bytes, ReadError> {
        let size = element_size(self.dtype);
        let total = self.shape.iter().product::<usize>() * size;
        if self.is_contiguous() {
            if total == 0 {
                return Ok(Bytes::new());
            }
            let start = self.offset * size;
            return match self.data.get(start..start + total) {
                Some(_) => Ok(self.data.slice(start..start + total)),
                None => Err(ReadError::Outside),
            };
        }
        let mut output = Vec::new();
        output
            .try_reserve_exact(total)
            .map_err(|_| ReadError::Memory { bytes: total })?;
        // The innermost axes that are contiguous are copied as one run.
        let mut inner = self.shape.len();
        let mut run = 1;
        while inner > 0 && (self.strides[inner - 1] == run || self.shape[inner - 1] == 1) {
            run *= self.shape[inner - 1];
            inner -= 1;
        }
        let mut at = vec![0usize; inner];
        loop {
            let element = self.offset
                + at.iter()
                    .zip(self.strides)
                    .map(|(index, stride)| index * stride)
                    .sum::<usize>();
            let start = element * size;
            let bytes = self.data.get(start..start + run * size);
            output.extend_from_slice(bytes.ok_or(ReadError::Outside)?);
            // The next index, last axis first.
            let mut axis = inner;
            loop {
                let Some(lower) = axis.checked_sub(1) else {
                    return Ok(output.into());
                };
                axis = lower;
                at[axis] += 1;
                if at[axis] < self.shape[axis] {
                    break;
                }
                at[axis] = 0;
            }
        }
    }

    /// The elements as f32: of floats (f64 is rounded), bools, and integers that fit exactly.
    pub fn f32(&self) -> Result<Vec<f32>, ReadError> {
        let bytes = self.bytes()?;
        match self.dtype {
            Dtype::F32 => each(&bytes, f32::from_le_bytes),
            Dtype::F16 => each(&bytes, |value| f16::from_le_bytes(value).to_f32()),
            Dtype::BF16 => each(&bytes, |value| bf16::from_le_bytes(value).to_f32()),
            Dtype::F64 => each(&bytes, |value| f64::from_le_bytes(value) as f32),
            Dtype::BOOL => each(&bytes, |[value]| f32::from(u8::from(value != 0))),
            Dtype::U8 => each(&bytes, |[value]| f32::from(value)),
            Dtype::I8 => each(&bytes, |value| f32::from(i8::from_le_bytes(value))),
            Dtype::U16 => each(&bytes, |value| f32::from(u16::from_le_bytes(value))),
            Dtype::I16 => each(&bytes, |value| f32::from(i16::from_le_bytes(value))),
            dtype => Err(ReadError::Type { dtype }),
        }
    }
}

/// The bytes are not aligned in general: one value at a time.
fn each<const N: usize, T>(
    bytes: &[u8],
    value: impl Fn([u8; N]) -> T,
) -> Result<Vec<T>, ReadError> {
    let (chunks, _) = bytes.as_chunks::<N>();
    let mut values = Vec::new();
    values
        .try_reserve_exact(chunks.len())
        .map_err(|_| ReadError::Memory {
            bytes: chunks.len().saturating_mul(size_of::<T>()),
        })?;
    values.extend(chunks.iter().map(|chunk| value(*chunk)));
    Ok(values)
}
