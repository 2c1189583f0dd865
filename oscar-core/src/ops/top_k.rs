//! Log-probabilities and the largest values of rows of logits.

use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor, activation};

use super::backend::{OscarBackend, inner};
use super::kernels::Kernels;

/// The `k` largest values of each row, read to the host; of equal ones the first. At most as many as
/// there are columns.
pub fn top_k<B: OscarBackend>(x: Tensor<B, 2>, k: usize) -> TopK {
    B::Kernels::top_k(inner(x), k)
}

/// Logarithms of the softmax of each row.
pub fn log_softmax<B: OscarBackend>(x: Tensor<B, 2>) -> Tensor<B, 2> {
    <B as OscarBackend>::log_softmax(x)
}

/// The largest values of the rows of a matrix.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TopK {
    /// Values per row.
    pub k: usize,
    /// Column and value, `k` per row, the largest value first.
    pub entries: Vec<(u32, f32)>,
}

impl TopK {
    /// The entries of each row.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[(u32, f32)]> {
        self.entries.chunks_exact(self.k.max(1))
    }
}

/// [`log_softmax`] in Burn's operations, which differentiate themselves.
pub(super) fn burn_log_softmax<B: Backend>(x: Tensor<B, 2>) -> Tensor<B, 2> {
    activation::log_softmax(x, 1)
}

/// [`Kernels::top_k`] in Burn's operations: the largest, `k` times, each time without those before.
/// Not by sorting, since a row is a vocabulary, and `k` is small.
pub(super) fn repeated_maximum<B: Backend>(x: Tensor<B, 2>, k: usize) -> TopK {
    let [rows, columns] = x.dims();
    let k = k.min(columns);
    let numbers = Tensor::<B, 1, Int>::arange(0..columns as i64, &x.device()).unsqueeze::<2>();
    let mut left = x;
    let mut found = Vec::with_capacity(k);
    for _ in 0..k {
        let (value, column) = left.clone().max_dim_with_indices(1);
        let taken = numbers.clone().equal(column.clone());
        left = left.mask_fill(taken, f32::NEG_INFINITY);
        let columns = column.into_data().iter::<i64>().collect::<Vec<_>>();
        let values = value.into_data().iter::<f32>().collect::<Vec<_>>();
        found.push((columns, values));
    }
    let entries = (0..rows).flat_map(|row| {
        let of_row = |(columns, values): &(Vec<i64>, Vec<f32>)| (columns[row] as u32, values[row]);
        found.iter().map(of_row).collect::<Vec<_>>()
    });
    TopK {
        k,
        entries: entries.collect(),
    }
}
