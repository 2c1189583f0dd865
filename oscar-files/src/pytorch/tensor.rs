//! Tensors of a PyTorch file.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use safetensors::Dtype;

use super::convert::{MAX_RANK, View, element_size, row_major};
use super::{ReadError, Storage};

/// A tensor may repeat elements of its storage (`expand`) up to this size: a small file cannot
/// ask for much memory.
const MAX_REPEATED_BYTES: usize = 1 << 20;

/// A strided view into a storage: a tensor, or an array of NumPy. Its storage stays in the file
/// until the elements are read.
#[derive(Clone)]
pub struct TorchTensor {
    dtype: Dtype,
    shape: Vec<usize>,
    strides: Vec<usize>,
    offset: usize,
    storage: Arc<Storage>,
}

impl TorchTensor {
    /// A view whose elements are all inside `storage`; an error says why they are not.
    pub(super) fn new(
        dtype: Dtype,
        shape: Vec<usize>,
        strides: Vec<usize>,
        offset: usize,
        storage: Arc<Storage>,
    ) -> Result<Self, String> {
        if shape.len() != strides.len() || shape.len() > MAX_RANK {
            return Err(format!(
                "it has {} axes and {} strides",
                shape.len(),
                strides.len()
            ));
        }
        let size = element_size(dtype);
        let too_large = || format!("its shape {shape:?} is too large");
        let elements = match shape.contains(&0) {
            true => 0,
            false => shape
                .iter()
                .try_fold(1usize, |product, size| product.checked_mul(*size))
                .ok_or_else(too_large)?,
        };
        let bytes = elements.checked_mul(size).ok_or_else(too_large)?;
        if isize::try_from(bytes).is_err() {
            return Err(too_large());
        }
        let outside = || {
            format!(
                "shape {shape:?}, strides {strides:?} and offset {offset} reach beyond its \
                 storage {} of {} bytes",
                storage.key(),
                storage.len()
            )
        };
        if elements > 0 {
            let last = shape
                .iter()
                .zip(&strides)
                .try_fold(offset, |last, (size, stride)| {
                    last.checked_add((size - 1).checked_mul(*stride)?)
                });
            let end = last
                .and_then(|last| last.checked_add(1))
                .and_then(|end| end.checked_mul(size))
                .ok_or_else(outside)?;
            if end > storage.len() {
                return Err(outside());
            }
        }
        if bytes > storage.len() && bytes > MAX_REPEATED_BYTES {
            return Err(format!(
                "shape {shape:?} repeats the elements of a storage of {} bytes to {bytes}; \
                 save a contiguous copy of it",
                storage.len()
            ));
        }
        Ok(Self {
            dtype,
            shape,
            strides,
            offset,
            storage,
        })
    }

    /// An array of the elements in `data`, in row-major or Fortran order.
    pub(super) fn of_array(
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
        let mut strides = row_major(&shape);
        if fortran {
            let reversed: Vec<usize> = shape.iter().rev().copied().collect();
            strides = row_major(&reversed).into_iter().rev().collect();
        }
        let storage = Arc::new(Storage::of_bytes("array".into(), data));
        Self::new(dtype, shape, strides, 0, storage)
    }

    /// The whole of `storage`, row-major.
    ///
    /// # Errors
    ///
    /// If `shape` does not fit the storage: the reason.
    pub fn contiguous(
        dtype: Dtype,
        shape: Vec<usize>,
        storage: Arc<Storage>,
    ) -> Result<Self, String> {
        let strides = row_major(&shape);
        Self::new(dtype, shape, strides, 0, storage)
    }

    /// Type of the elements.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Size of every axis; none for a scalar.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Distance along every axis, in elements.
    pub fn strides(&self) -> &[usize] {
        &self.strides
    }

    /// Index of the first element in the storage.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// The storage of the elements.
    pub fn storage(&self) -> &Arc<Storage> {
        &self.storage
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it has no elements.
    pub fn is_empty(&self) -> bool {
        self.shape.contains(&0)
    }

    /// Little-endian bytes of the elements in row-major order; not copied if they are stored like that.
    ///
    /// # Errors
    ///
    /// If the storage is damaged or there is not enough memory.
    pub fn to_bytes(&self) -> Result<Bytes, ReadError> {
        self.view()?.bytes()
    }

    /// The elements of a tensor of floats (f64 is rounded), or of integers of up to 16 bits.
    ///
    /// # Errors
    ///
    /// If it has another type, the storage is damaged or there is not enough memory.
    pub fn to_f32(&self) -> Result<Vec<f32>, ReadError> {
        self.view()?.f32()
    }

    fn view(&self) -> Result<View<'_>, ReadError> {
        Ok(View {
            dtype: self.dtype,
            shape: &self.shape,
            strides: &self.strides,
            offset: self.offset,
            data: self.storage.bytes()?,
        })
    }
}

impl fmt::Debug for TorchTensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tensor({:?}, {:?})", self.dtype, self.shape)
    }
}
