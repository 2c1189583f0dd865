//! Numbers as they are stored, and as they are computed with.

use half::bf16;

/// A type that tensors are stored in.
pub(super) trait Element: burn::tensor::Element + bytemuck::Pod + Send + Sync {
    /// Its value.
    fn to_f32(self) -> f32;

    /// The nearest that can be stored; of two the even one.
    fn from_f32(value: f32) -> Self;
}

impl Element for f32 {
    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }

    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        value
    }
}

/// Without a branch, so that loops over it become vector instructions.
impl Element for bf16 {
    #[inline(always)]
    fn to_f32(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }

    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        const NAN: u32 = 0x7fc0;
        let bits = value.to_bits();
        let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
        let bits = if value.is_nan() { NAN } else { rounded };
        Self::from_bits(bits as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bf16_is_rounded_to_the_nearest() {
        let values = (0..2_000_000).map(|i: u32| f32::from_bits(i.wrapping_mul(2_654_435_761)));
        let special = [
            0.0,
            -0.0,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::NAN,
            f32::MAX,
            1e-40,
        ];
        for value in values.chain(special) {
            let (got, expected) = (<bf16 as Element>::from_f32(value), bf16::from_f32(value));
            match value.is_nan() {
                true => assert!(got.is_nan()),
                false => assert_eq!(got.to_bits(), expected.to_bits(), "{value:e}"),
            }
            assert!(Element::to_f32(expected) == expected.to_f32() || value.is_nan());
        }
    }
}
