//! How much memory reading a file may take.
//!
//! There is one rule for every reader whose result can be larger than its file: **64 MiB and *k*
//! times the file**. The base lets small files be what they are; the factor *k* is each format's own,
//! a few times what honest files of it reach, and is named in the error.

use std::fmt;

/// What any file may take, in bytes.
const BASE: u64 = 64 << 20;

/// The memory that is left for reading one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    left: u64,
    factor: u64,
    file: u64,
}

/// A file asks for more memory than its size allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub struct OverBudget {
    /// Bytes of memory allowed per byte of the file, beyond 64 MiB.
    pub factor: u64,
    /// Bytes of the file.
    pub file: u64,
}

impl Budget {
    /// For a file of `bytes` whose format may take `factor` bytes of memory for each of them.
    pub fn of_file(bytes: u64, factor: u64) -> Self {
        Self {
            left: BASE.saturating_add(bytes.saturating_mul(factor)),
            factor,
            file: bytes,
        }
    }

    /// Bytes that may still be taken.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Takes `bytes`, before they are allocated.
    ///
    /// # Errors
    ///
    /// If so many are not left; nothing is taken then.
    pub fn take(&mut self, bytes: u64) -> Result<(), OverBudget> {
        self.left = self.left.checked_sub(bytes).ok_or(OverBudget {
            factor: self.factor,
            file: self.file,
        })?;
        Ok(())
    }

    /// Gives `bytes` back that have been freed.
    pub fn give_back(&mut self, bytes: u64) {
        self.left = self.left.saturating_add(bytes);
    }
}

impl fmt::Display for OverBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "it would take more memory than 64 MiB and {} times its {} bytes: it is damaged or made \
             to exhaust memory",
            self.factor, self.file
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_may_take_the_base_and_its_multiple() {
        let mut budget = Budget::of_file(10, 3);
        budget.take(BASE).unwrap();
        budget.take(30).unwrap();
        assert_eq!(
            budget.take(1),
            Err(OverBudget {
                factor: 3,
                file: 10
            })
        );
        budget.give_back(5);
        assert_eq!(budget.left(), 5);
        let mut huge = Budget::of_file(u64::MAX, 32);
        huge.take(u64::MAX).unwrap();
        assert!(huge.take(1).is_err());
    }
}
