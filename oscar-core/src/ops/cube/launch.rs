//! How the kernels are launched. Tensors come in any order in memory and leave row-major.

use burn::tensor::TensorMetadata;
use burn_cubecl::CubeRuntime;
use burn_cubecl::cubecl;
use burn_cubecl::tensor::CubeTensor;
use cubecl::calculate_cube_count_elemwise;
use cubecl::prelude::*;

use super::kernels::{COLUMNS, DropKeyLaunch};
use super::sum_kernels::ACROSS;
use crate::ops::dropout::KeyedDropout;
use crate::ops::shapes::block_rows;

/// Units of a cube where each takes elements by itself.
const UNITS: u32 = 256;

/// Units of a cube that has all rows of some columns: the more, the fewer rows each has.
const MOST_UNITS: u32 = 1024;

/// Columns of a row that each unit of its cube has, where there are enough: units that add up what they
/// hold wait for each other, the more often the more they are.
const EACH: u32 = 4;

/// How the units of a kernel divide its work.
#[derive(Clone, Copy)]
pub(super) enum Grid {
    /// A unit for each of this number of elements.
    Elements(usize),
    /// A cube for each row, of rows and columns.
    Rows(usize, usize),
    /// This number of cubes, and of units of each.
    Cubes(usize, usize),
    /// A cube for each few of this number of columns, of all rows.
    ColumnGroups(usize),
    /// A unit for each column of a [block](block_rows) of rows, of rows and columns.
    Columns(usize, usize),
}

impl Grid {
    /// Number of cubes, their size, and its number of units: for rows a power of two.
    pub(super) fn cubes<R: CubeRuntime>(
        self,
        client: &ComputeClient<R>,
    ) -> (CubeCount, CubeDim, u32) {
        let most = UNITS.min(client.properties().hardware.max_units_per_cube);
        let (elements, units) = match self {
            Self::Elements(len) => (len, most),
            Self::Rows(rows, width) => {
                let units = (width as u32 / EACH).next_power_of_two().clamp(32, most);
                (rows * units as usize, units)
            }
            Self::ColumnGroups(width) => {
                let most = MOST_UNITS.min(client.properties().hardware.max_units_per_cube);
                let units = 1 << most.ilog2();
                (width.div_ceil(ACROSS) * units as usize, units)
            }
            Self::Cubes(count, units) => (count * units, units as u32),
            Self::Columns(rows, width) => {
                let across = (width as u32).div_ceil(COLUMNS);
                let blocks = rows.div_ceil(block_rows(rows)) as u32;
                let count = CubeCount::Static(across, blocks, 1);
                return (count, CubeDim::new_1d(COLUMNS), COLUMNS);
            }
        };
        let dim = CubeDim::new_1d(units);
        let count = calculate_cube_count_elemwise(client, elements, dim);
        (count, dim, units)
    }
}

/// What numbers an index of any of these tensors takes.
pub(super) fn addresses<R: CubeRuntime>(tensors: &[&CubeTensor<R>]) -> AddressType {
    let types = tensors.iter().map(|tensor| tensor.required_address_type());
    types.max().unwrap_or_default()
}

pub(super) fn is_empty<R: CubeRuntime>(tensor: &CubeTensor<R>) -> bool {
    tensor.shape().num_elements() == 0
}

pub(super) fn drop_key<R: CubeRuntime>(dropout: KeyedDropout) -> DropKeyLaunch<R> {
    let [high, low] = dropout.key;
    DropKeyLaunch::new(high, low, dropout.threshold, dropout.scale)
}

/// Launches a kernel over a [`Grid`] on tensors, whose shapes are checked first, and gives new ones of
/// the shapes and types after the arrow. The last argument makes the kernel's scalars from the number
/// of units of a cube.
macro_rules! launch {
    (
        $kernel:ident($($input:ident: $shape:tt),+ $(,)?)
            -> ($($output:ident: $out_shape:tt as $dtype:expr),+ $(,)?),
        $grid:expr, |$units:pat_param| ($($scalar:expr),* $(,)?)
    ) => {{
        $(check_shape(stringify!($kernel), stringify!($input), &$input.dims(), &$shape);)+
        let grid = $grid;
        B::run(
            concat!("oscar_", stringify!($kernel)),
            [$(primitive($input)),+],
            [$((Shape::from($out_shape), $dtype)),+],
            move |inputs| {
                let inputs = inputs.map(into_contiguous);
                let (client, device) = (inputs[0].client.clone(), inputs[0].device.clone());
                let [$($input),+] = inputs;
                let outputs = [$((Shape::from($out_shape), $dtype)),+].map(|(shape, dtype)| {
                    empty_device_contiguous_dtype(client.clone(), device.clone(), shape, dtype)
                });
                if is_empty(&outputs[0]) {
                    return outputs;
                }
                let [$($output),+] = outputs.clone();
                let addresses = addresses(&[$(&$input,)+ $(&$output),+]);
                let (count, dim, $units) = grid.cubes(&client);
                // SAFETY: all operands have the shapes that they were checked for or made with, and
                // the kernel computes its indices from these alone.
                unsafe {
                    kernels::$kernel::launch_unchecked(
                        &client,
                        count,
                        dim,
                        addresses,
                        $($input.into_array_arg(),)+
                        $($output.into_array_arg(),)+
                        $($scalar),*
                    );
                }
                outputs
            },
        )
    }};
}
pub(super) use launch;
