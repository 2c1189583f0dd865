//! The precision of matrix products.
//!
//! As PyTorch's autocast: within [`Precision::scope`] the operands of the model's products are
//! rounded to bf16 and the sums are kept in f32 by the hardware. Weights, their gradients, the
//! optimiser's state, the residual stream, LayerNorms, softmaxes and losses stay f32.

use std::cell::Cell;

use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor};
use schemars::JsonSchema;
use scopeguard::guard;
use serde::{Deserialize, Serialize};

/// The precision of matrix products.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32-bit floats.
    #[default]
    F32,
    /// Operands of 16 bits with the exponent of f32.
    Bf16,
}

thread_local! {
    static CURRENT: Cell<Precision> = const { Cell::new(Precision::F32) };
}

impl Precision {
    /// That of this thread.
    pub fn current() -> Self {
        CURRENT.get()
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }

    /// Runs `work` with this thread's products in this precision.
    pub fn scope<T>(self, work: impl FnOnce() -> T) -> T {
        // Also when `work` panics.
        let _restore = guard(CURRENT.replace(self), |old| CURRENT.set(old));
        work()
    }
}

impl std::str::FromStr for Precision {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "f32" => Ok(Self::F32),
            "bf16" => Ok(Self::Bf16),
            _ => Err("must be f32 or bf16".into()),
        }
    }
}

/// `x` as an operand of a product.
pub(crate) fn operand<B: Backend, const D: usize>(x: Tensor<B, D>) -> Tensor<B, D> {
    match CURRENT.get() {
        Precision::F32 => x,
        Precision::Bf16 => to(x, DType::BF16),
    }
}

/// `x` in `dtype`; the same tensor if it is.
pub(super) fn to<B: Backend, const D: usize>(x: Tensor<B, D>, dtype: DType) -> Tensor<B, D> {
    match x.dtype() == dtype {
        true => x,
        false => x.cast(dtype),
    }
}

/// `x` in f32.
pub(crate) fn to_f32<B: Backend, const D: usize>(x: Tensor<B, D>) -> Tensor<B, D> {
    to(x, DType::F32)
}
