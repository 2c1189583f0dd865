//! What must hold before a kernel is launched without bounds checks.

/// Blocks of rows that a grid can have on its second axis, on every backend.
const MAX_BLOCKS: usize = 65_535;

/// Rows that a unit of a column kernel sums, at the fewest.
const MIN_BLOCK: usize = 32;

/// Rows that each unit of a column kernel sums: few enough that there are many units, and enough that
/// the blocks of `rows` fit the grid.
pub(super) fn block_rows(rows: usize) -> usize {
    rows.div_ceil(MAX_BLOCKS).max(MIN_BLOCK)
}

/// Checks that an operand has the shape from which its kernel computes indices.
///
/// # Panics
///
/// If it has another: the kernel would read or write outside of it.
pub(super) fn check_shape(kernel: &str, operand: &str, found: &[usize], expected: &[usize]) {
    assert!(
        found == expected,
        "{kernel}: {operand} has shape {found:?}, but must have {expected:?}"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_fit_the_grid() {
        assert_eq!(block_rows(0), 32);
        assert_eq!(block_rows(32 * MAX_BLOCKS), 32);
        for rows in [32 * MAX_BLOCKS + 1, 5_000_000, usize::MAX / 2] {
            let block = block_rows(rows);
            assert!(block > 32 && rows.div_ceil(block) <= MAX_BLOCKS, "{rows}");
        }
    }

    #[test]
    fn an_operand_of_its_shape_passes() {
        check_shape("residual_norm", "gamma", &[48], &[48]);
    }

    #[test]
    #[should_panic(expected = "residual_norm: gamma has shape [47], but must have [48]")]
    fn a_short_operand_is_refused() {
        check_shape("residual_norm", "gamma", &[47], &[48]);
    }

    #[test]
    #[should_panic(expected = "masked_softmax: mask")]
    fn an_operand_of_other_axes_is_refused() {
        check_shape("masked_softmax", "mask", &[1, 1, 1, 8], &[2, 1, 1, 8]);
    }
}
