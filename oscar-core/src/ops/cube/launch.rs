//! How the kernels are launched. Tensors come in any order in memory and leave row-major.

use burn::tensor::{DType, Shape, TensorMetadata};
use burn_cubecl::CubeRuntime;
use burn_cubecl::cubecl;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;
use cubecl::calculate_cube_count_elemwise;
use cubecl::prelude::*;

use super::kernels::{self, AdamWNumbersLaunch, COLUMNS, DropKeyLaunch, MaskRowsLaunch, ROWS};
use crate::ops::backend::AdamWStep;
use crate::ops::fused::KeyedDropout;

/// Units of a cube where each takes elements by itself.
const UNITS: u32 = 256;

/// Columns of a row that each unit of its cube has, where there are enough: units that add up what they
/// hold wait for each other, the more often the more they are.
const EACH: u32 = 4;

/// Blocks of rows that a column kernel sums by itself.
pub(super) fn blocks(rows: usize) -> usize {
    rows.div_ceil(ROWS)
}

/// Values that a cube sums, where there are no rows.
const PART: usize = 1 << 16;

/// Sums of which [`sums_of_squares`] consists.
pub(super) fn parts(len: usize) -> usize {
    len.div_ceil(PART)
}

fn empty<R: CubeRuntime>(like: &CubeTensor<R>, shape: Shape, dtype: DType) -> CubeTensor<R> {
    empty_device_contiguous_dtype(like.client.clone(), like.device.clone(), shape, dtype)
}

fn empty_like<R: CubeRuntime>(tensor: &CubeTensor<R>) -> CubeTensor<R> {
    empty(tensor, tensor.shape(), tensor.dtype)
}

/// What numbers an index of any of these tensors takes.
fn addresses<R: CubeRuntime, const N: usize>(tensors: [&CubeTensor<R>; N]) -> AddressType {
    let types = tensors.map(CubeTensor::required_address_type);
    types.into_iter().max().unwrap_or_default()
}

fn last<R: CubeRuntime>(tensor: &CubeTensor<R>) -> usize {
    tensor.shape().last().copied().unwrap_or(1)
}

fn len<R: CubeRuntime>(tensor: &CubeTensor<R>) -> usize {
    tensor.shape().num_elements()
}

/// A unit for each element.
fn elements<R: CubeRuntime>(client: &ComputeClient<R>, len: usize) -> (CubeCount, CubeDim) {
    let dim = CubeDim::new_1d(UNITS.min(client.properties().hardware.max_units_per_cube));
    (calculate_cube_count_elemwise(client, len, dim), dim)
}

/// A cube for each row, and its number of units, a power of two.
fn row_cubes<R: CubeRuntime>(
    client: &ComputeClient<R>,
    rows: usize,
    width: usize,
) -> (CubeCount, CubeDim, u32) {
    let most = UNITS.min(client.properties().hardware.max_units_per_cube);
    let units = (width as u32 / EACH).next_power_of_two().clamp(32, most);
    let dim = CubeDim::new_1d(units);
    let count = calculate_cube_count_elemwise(client, rows * units as usize, dim);
    (count, dim, units)
}

/// A unit for each column of a block of rows.
fn column_cubes(rows: usize, width: usize) -> (CubeCount, CubeDim) {
    let across = (width as u32).div_ceil(COLUMNS);
    (
        CubeCount::Static(across, blocks(rows) as u32, 1),
        CubeDim::new_1d(COLUMNS),
    )
}

fn drop_key<R: CubeRuntime>(dropout: KeyedDropout) -> DropKeyLaunch<R> {
    let [high, low] = dropout.key;
    DropKeyLaunch::new(high, low, dropout.threshold, dropout.scale)
}

pub(super) fn drop_out<R: CubeRuntime>(x: CubeTensor<R>, dropout: KeyedDropout) -> CubeTensor<R> {
    let x = into_contiguous(x);
    let (out, dtype, len) = (empty_like(&x), x.dtype, len(&x));
    if len == 0 {
        return out;
    }
    let client = x.client.clone();
    let (count, dim) = elements(&client, len);
    // SAFETY: no unit goes past `len`, which all arrays have.
    unsafe {
        kernels::drop_out::launch_unchecked(
            &client,
            count,
            dim,
            addresses([&x, &out]),
            x.into_array_arg(),
            out.clone().into_array_arg(),
            len,
            drop_key(dropout),
            dtype.into(),
        );
    }
    out
}

pub(super) fn bias_gelu<R: CubeRuntime>(
    product: CubeTensor<R>,
    bias: CubeTensor<R>,
) -> CubeTensor<R> {
    let [product, bias] = [product, bias].map(into_contiguous);
    let (out, dtype, len) = (empty_like(&product), product.dtype, len(&product));
    if len == 0 {
        return out;
    }
    let (client, width) = (product.client.clone(), last(&product));
    let (count, dim) = elements(&client, len);
    // SAFETY: no unit goes past `len`; the bias has `width` elements.
    unsafe {
        kernels::bias_gelu::launch_unchecked(
            &client,
            count,
            dim,
            addresses([&product, &bias, &out]),
            product.into_array_arg(),
            bias.into_array_arg(),
            out.clone().into_array_arg(),
            len,
            width,
            dtype.into(),
        );
    }
    out
}

pub(super) fn bias_gelu_backward<R: CubeRuntime>(inputs: [CubeTensor<R>; 3]) -> [CubeTensor<R>; 2] {
    let [product, bias, grad] = inputs.map(into_contiguous);
    let (client, width, dtype) = (product.client.clone(), last(&product), grad.dtype);
    let rows = len(&product) / width.max(1);
    let out = empty_like(&grad);
    let sums = empty(&grad, Shape::from([blocks(rows), width]), DType::F32);
    if len(&product) == 0 {
        return [out, sums];
    }
    let (count, dim) = column_cubes(rows, width);
    // SAFETY: a unit keeps to its column and block of rows, within every array.
    unsafe {
        kernels::bias_gelu_backward::launch_unchecked(
            &client,
            count,
            dim,
            addresses([&product, &bias, &grad, &out, &sums]),
            product.into_array_arg(),
            bias.into_array_arg(),
            grad.into_array_arg(),
            out.clone().into_array_arg(),
            sums.clone().into_array_arg(),
            rows,
            width,
            dtype.into(),
        );
    }
    [out, sums]
}

pub(super) fn masked_softmax<R: CubeRuntime>(
    scores: CubeTensor<R>,
    mask: CubeTensor<R>,
    scale: f32,
) -> CubeTensor<R> {
    let [scores, mask] = [scores, mask].map(into_contiguous);
    let [_, heads, queries, keys] = scores.shape().dims();
    let [_, _, mask_queries, _] = mask.shape().dims();
    let (out, dtype, client) = (empty_like(&scores), scores.dtype, scores.client.clone());
    if len(&scores) == 0 {
        return out;
    }
    let rows = len(&scores) / keys;
    let (count, dim, units) = row_cubes(&client, rows, keys);
    // SAFETY: a cube keeps to its row of the scores, and to the row of the mask that it has.
    unsafe {
        kernels::masked_softmax::launch_unchecked(
            &client,
            count,
            dim,
            addresses([&scores, &mask, &out]),
            scores.into_array_arg(),
            mask.into_array_arg(),
            out.clone().into_array_arg(),
            rows,
            keys,
            MaskRowsLaunch::new(heads * queries, queries, mask_queries),
            scale,
            units,
            dtype.into(),
        );
    }
    out
}

pub(super) fn masked_softmax_backward<R: CubeRuntime>(
    inputs: [CubeTensor<R>; 2],
    scale: f32,
    dropout: KeyedDropout,
) -> CubeTensor<R> {
    let [grad, probabilities] = inputs.map(into_contiguous);
    let (out, dtype, client) = (empty_like(&grad), grad.dtype, grad.client.clone());
    if len(&grad) == 0 {
        return out;
    }
    let keys = last(&grad);
    let rows = len(&grad) / keys;
    let (count, dim, units) = row_cubes(&client, rows, keys);
    // SAFETY: a cube keeps to its row, which all arrays have.
    unsafe {
        kernels::masked_softmax_backward::launch_unchecked(
            &client,
            count,
            dim,
            addresses([&grad, &probabilities, &out]),
            grad.into_array_arg(),
            probabilities.into_array_arg(),
            out.clone().into_array_arg(),
            rows,
            keys,
            scale,
            drop_key(dropout),
            units,
            dtype.into(),
        );
    }
    out
}

/// Of product, residual, bias, gamma and beta: output, normalized rows, 1/σ.
pub(super) fn residual_norm<R: CubeRuntime>(
    inputs: [CubeTensor<R>; 5],
    epsilon: f32,
    dropout: KeyedDropout,
) -> [CubeTensor<R>; 3] {
    let [product, residual, bias, gamma, beta] = inputs.map(into_contiguous);
    let (client, width, dtype) = (product.client.clone(), last(&product), product.dtype);
    let rows = len(&product) / width.max(1);
    let (out, normalized) = (empty_like(&residual), empty_like(&residual));
    let inverse_std = empty(&residual, Shape::from([rows]), DType::F32);
    if len(&product) == 0 {
        return [out, normalized, inverse_std];
    }
    let (count, dim, units) = row_cubes(&client, rows, width);
    // SAFETY: a cube keeps to its row; the vectors have `width` elements.
    unsafe {
        kernels::residual_norm::launch_unchecked(
            &client,
            count,
            dim,
            addresses([&product, &residual, &out, &normalized]),
            product.into_array_arg(),
            residual.into_array_arg(),
            bias.into_array_arg(),
            gamma.into_array_arg(),
            beta.into_array_arg(),
            out.clone().into_array_arg(),
            normalized.clone().into_array_arg(),
            inverse_std.clone().into_array_arg(),
            rows,
            width,
            epsilon,
            drop_key(dropout),
            units,
            dtype.into(),
        );
    }
    [out, normalized, inverse_std]
}

/// Of gradient, normalized rows, 1/σ and gamma: gradients by the residual and by the branch, which
/// is of type `dtype`, and blocks of rows of those by bias, gamma and beta.
pub(super) fn residual_norm_backward<R: CubeRuntime>(
    inputs: [CubeTensor<R>; 4],
    dropout: KeyedDropout,
    dtype: DType,
) -> [CubeTensor<R>; 3] {
    let [grad, normalized, inverse_std, gamma] = inputs.map(into_contiguous);
    let (client, width) = (grad.client.clone(), last(&grad));
    let rows = len(&grad) / width.max(1);
    let residual = empty_like(&grad);
    let branch = empty(&grad, grad.shape(), dtype);
    let sums = empty(&grad, Shape::from([blocks(rows), 3 * width]), DType::F32);
    if len(&grad) == 0 {
        return [residual, branch, sums];
    }
    let (count, dim, units) = row_cubes(&client, rows, width);
    let addresses = addresses([&grad, &normalized, &residual, &branch, &sums]);
    // SAFETY: a cube keeps to its row; gamma has `width` elements.
    unsafe {
        kernels::residual_norm_backward::launch_unchecked(
            &client,
            count,
            dim,
            addresses,
            grad.clone().into_array_arg(),
            normalized.clone().into_array_arg(),
            inverse_std.into_array_arg(),
            gamma.into_array_arg(),
            residual.clone().into_array_arg(),
            branch.clone().into_array_arg(),
            rows,
            width,
            drop_key(dropout),
            units,
            dtype.into(),
        );
    }
    let (count, dim) = column_cubes(rows, width);
    // SAFETY: a unit keeps to its column and block of rows, within every array.
    unsafe {
        kernels::norm_column_sums::launch_unchecked(
            &client,
            count,
            dim,
            addresses,
            grad.into_array_arg(),
            normalized.into_array_arg(),
            residual.clone().into_array_arg(),
            sums.clone().into_array_arg(),
            rows,
            width,
            drop_key(dropout),
        );
    }
    [residual, branch, sums]
}

/// Sums that add up to the sum of the squares.
pub(super) fn sums_of_squares<R: CubeRuntime>(x: CubeTensor<R>) -> CubeTensor<R> {
    let x = into_contiguous(x);
    let (client, len) = (x.client.clone(), len(&x));
    let sums = empty(&x, Shape::from([parts(len)]), DType::F32);
    if len == 0 {
        return sums;
    }
    let (count, dim, units) = row_cubes(&client, parts(len), PART);
    // SAFETY: a cube keeps to its part of the `len` values, and writes its sum.
    unsafe {
        kernels::sum_of_squares::launch_unchecked(
            &client,
            count,
            dim,
            addresses([&x, &sums]),
            x.into_array_arg(),
            sums.clone().into_array_arg(),
            len,
            PART,
            units,
        );
    }
    sums
}

pub(super) fn gather_rows<R: CubeRuntime>(x: CubeTensor<R>, index: CubeTensor<R>) -> CubeTensor<R> {
    let [x, index] = [x, index].map(into_contiguous);
    let (client, width, dtype) = (x.client.clone(), last(&x), x.dtype);
    let index_dtype = index.dtype;
    let out = empty(&x, Shape::from([len(&index), width]), dtype);
    if len(&out) == 0 {
        return out;
    }
    let (rows, len) = (len(&x) / width, len(&out));
    let (count, dim) = elements(&client, len);
    // SAFETY: no unit goes past `len`; a row that `x` has not is not read.
    unsafe {
        kernels::gather_rows::launch_unchecked(
            &client,
            count,
            dim,
            addresses([&x, &index, &out]),
            x.into_array_arg(),
            index.into_array_arg(),
            out.clone().into_array_arg(),
            len,
            rows,
            width,
            [dtype.into(), index_dtype.into()],
        );
    }
    out
}

pub(super) fn top_k<R: CubeRuntime>(x: CubeTensor<R>, k: usize) -> CubeTensor<R> {
    let x = into_contiguous(x);
    let (client, width) = (x.client.clone(), last(&x));
    let rows = len(&x) / width.max(1);
    let out = empty(&x, Shape::from([rows, 2, k]), DType::F32);
    if len(&out) == 0 {
        return out;
    }
    let (count, dim, units) = row_cubes(&client, rows, width);
    // SAFETY: a cube keeps to its row, and writes its 2 k numbers.
    unsafe {
        kernels::top_k::launch_unchecked(
            &client,
            count,
            dim,
            addresses([&x, &out]),
            x.into_array_arg(),
            out.clone().into_array_arg(),
            rows,
            width,
            k,
            units,
        );
    }
    out
}

/// Parameter and moments after a step; in place where nobody else holds them.
pub(super) fn adamw<R: CubeRuntime>(
    inputs: [CubeTensor<R>; 4],
    step: AdamWStep,
) -> [CubeTensor<R>; 3] {
    let [parameter, grad, exp_avg, exp_avg_sq] = inputs.map(into_contiguous);
    let owned = |tensor: CubeTensor<R>| match tensor.can_mut() {
        true => tensor,
        false => tensor.copy(),
    };
    let [parameter, exp_avg, exp_avg_sq] = [parameter, exp_avg, exp_avg_sq].map(owned);
    let (client, len) = (parameter.client.clone(), len(&parameter));
    if len == 0 {
        return [parameter, exp_avg, exp_avg_sq];
    }
    let numbers = AdamWNumbersLaunch::new(
        step.beta1 as f32,
        (1.0 - step.beta1) as f32,
        step.beta2 as f32,
        (1.0 - step.beta2) as f32,
        step.epsilon as f32,
        step.step_size as f32,
        step.decay as f32,
    );
    let (count, dim) = elements(&client, len);
    // SAFETY: no unit goes past `len`, which all arrays have; those written are nobody else's.
    unsafe {
        kernels::adamw::launch_unchecked(
            &client,
            count,
            dim,
            addresses([&parameter, &grad, &exp_avg, &exp_avg_sq]),
            parameter.clone().into_array_arg(),
            grad.into_array_arg(),
            exp_avg.clone().into_array_arg(),
            exp_avg_sq.clone().into_array_arg(),
            len,
            numbers,
        );
    }
    [parameter, exp_avg, exp_avg_sq]
}
