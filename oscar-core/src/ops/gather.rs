//! Rows of a matrix in another order, some left out.

use std::sync::Arc;

use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::ops::FloatTensor;
use burn::tensor::{Int, Tensor, TensorData};

use super::backend::{Operation, OscarBackend, primitive, tensor};
use super::kernels::Kernels;

/// Row `index[i]` of `x` `[rows, width]` as row `i`, zeros where there is no such row, in the type
/// of `x`.
///
/// `back` is the inverse, `x` from the result: every row of `x` is read once at most.
pub fn gather_rows<B: OscarBackend>(
    x: Tensor<B, 2>,
    index: &RowIndex<B>,
    back: &RowIndex<B>,
) -> Tensor<B, 2> {
    let [index, back] = [index, back].map(kernel_index);
    tensor(B::apply(GatherRows { index, back }, [primitive(x)]))
}

/// Which row of a matrix each row of another is; a number that is no row stands for zeros.
#[derive(Clone, Debug)]
pub struct RowIndex<B: Backend> {
    /// On the host.
    pub host: Arc<[u32]>,
    /// On the device, `[rows]`.
    pub device: Tensor<B, 1, Int>,
}

impl<B: Backend> RowIndex<B> {
    /// These rows.
    pub fn new(rows: Vec<u32>, device: &B::Device) -> Self {
        let numbers: Vec<i32> = rows.iter().map(|row| *row as i32).collect();
        let shape = [numbers.len()];
        Self {
            host: rows.into(),
            device: Tensor::from_data(TensorData::new(numbers, shape), device),
        }
    }
}

impl<B: AutodiffBackend> RowIndex<B> {
    /// The same without gradients.
    pub fn inner(&self) -> RowIndex<B::InnerBackend> {
        RowIndex {
            host: self.host.clone(),
            device: self.device.clone().inner(),
        }
    }
}

/// The same on the backend that computes.
pub(super) fn kernel_index<B: OscarBackend>(index: &RowIndex<B>) -> RowIndex<B::Kernels> {
    RowIndex {
        host: index.host.clone(),
        device: Tensor::from_primitive(B::inner_int(index.device.clone().into_primitive())),
    }
}

#[derive(Debug)]
struct GatherRows<B: Backend> {
    index: RowIndex<B>,
    back: RowIndex<B>,
}

impl<B: Kernels> Operation<B, 1> for GatherRows<B> {
    /// The inverse.
    type Saved = RowIndex<B>;

    fn forward(self, [x]: [FloatTensor<B>; 1]) -> (FloatTensor<B>, RowIndex<B>) {
        let rows = B::gather_rows(tensor(x), &self.index);
        (primitive(rows), self.back)
    }

    fn backward(
        back: RowIndex<B>,
        grad: FloatTensor<B>,
        _: [bool; 1],
    ) -> [Option<FloatTensor<B>>; 1] {
        [Some(primitive(B::gather_rows(tensor(grad), &back)))]
    }
}

/// [`Kernels::gather_rows`] in Burn's operations, which differentiate themselves.
pub(super) fn select_rows<B: Backend>(x: Tensor<B, 2>, index: &RowIndex<B>) -> Tensor<B, 2> {
    let [_, width] = x.dims();
    let zeros = Tensor::zeros([1, width], (&x.device(), x.dtype()));
    Tensor::cat(vec![x, zeros], 0).select(0, index.device.clone())
}
