//! Random tensors in the place of weights, for measurements.

use super::error::DetectorError;
use super::weights::TensorSource;

/// Gives every tensor values that keep activations near 1, the same ones for each name.
pub(super) struct RandomTensors;

impl TensorSource for RandomTensors {
    fn get(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, DetectorError> {
        let count = shape.iter().product();
        // Norms: the last of a block is small, so that sums over blocks do not grow.
        let is_last = name.contains("conv3") || name.contains("bn3");
        let constant = |value: f32| Ok(vec![value; count]);
        match (shape.len(), name.rsplit('.').next().unwrap_or_default()) {
            (1, "weight") if is_last => constant(0.2),
            (1, "weight" | "running_var") => constant(1.0),
            (1, _) => constant(0.0),
            _ => {
                let inputs: usize = shape[1..].iter().product();
                // Boxes stay near their anchors: far from them most would leave the picture, and fewer
                // regions be read than in a photograph.
                let moves_boxes = name.contains("deltas") || name.contains("bbox_pred");
                let scale = if moves_boxes { 0.01 } else { 1.0 };
                let spread = scale * (6.0 / inputs as f32).sqrt();
                let mut state = name.bytes().fold(1u64, |hash, byte| {
                    (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
                });
                let mut uniform = || {
                    // xorshift
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    (state >> 40) as f32 / (1u64 << 24) as f32
                };
                Ok((0..count)
                    .map(|_| (uniform() * 2.0 - 1.0) * spread)
                    .collect())
            }
        }
    }
}
