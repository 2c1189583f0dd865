//! The modified ResNet tower of CLIP (`ModifiedResNet` of the official code), for inference.
//!
//! It differs from a ResNet by its stem of three convolutions, by averages in the place of strides, and
//! by an attention in the place of the last average.

use burn::nn::Linear;
use burn::tensor::{Tensor, s};
use oscar_core::ops::{self, Kernels};

use crate::conv::Convolution;

/// Sizes of a ResNet tower. Those of the published ones:
///
/// | | `image_size` | `width` | `blocks` | `embedding_dim` |
/// |---|---|---|---|---|
/// | RN50 | 224 | 64 | 3, 4, 6, 3 | 1024 |
/// | RN101 | 224 | 64 | 3, 4, 23, 3 | 512 |
/// | RN50x4 | 288 | 80 | 4, 6, 10, 6 | 640 |
/// | RN50x16 | 384 | 96 | 6, 8, 18, 8 | 768 |
/// | RN50x64 | 448 | 128 | 3, 15, 36, 10 | 1024 |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResNetConfig {
    /// Side of the pictures, in pixels.
    pub image_size: usize,
    /// Channels of the stem, and inside the blocks of the first stage.
    pub width: usize,
    /// Blocks of the four stages.
    pub blocks: [usize; 4],
    /// Heads of the attention.
    pub heads: usize,
    /// Values of an embedding.
    pub embedding_dim: usize,
}

impl ResNetConfig {
    /// The published name of these sizes, else a description.
    pub fn name(&self) -> String {
        match (self.width, self.blocks, self.image_size) {
            (64, [3, 4, 6, 3], 224) => "RN50".into(),
            (64, [3, 4, 23, 3], 224) => "RN101".into(),
            (80, [4, 6, 10, 6], 288) => "RN50x4".into(),
            (96, [6, 8, 18, 8], 384) => "RN50x16".into(),
            (128, [3, 15, 36, 10], 448) => "RN50x64".into(),
            (width, [first, second, third, fourth], _) => format!(
                "a ResNet of {first}, {second}, {third} and {fourth} blocks and width {width}"
            ),
        }
    }

    /// Channels of the last map, which the attention reads.
    pub fn channels(&self) -> usize {
        32 * self.width
    }
}

/// CLIP's ResNet: pixels to embeddings. Maps are `[batch, height, width, channels]`; the batch norms
/// are part of the convolutions.
#[derive(Clone, Debug)]
pub struct ModifiedResNet<B: Kernels> {
    pub(super) stem: [Convolution<B>; 3],
    pub(super) stages: [Vec<Bottleneck<B>>; 4],
    pub(super) pool: AttentionPool<B>,
    pub(super) config: ResNetConfig,
}

/// A residual block. Where it makes a map smaller, it takes means of 2x2 cells: behind the 3x3
/// convolution, and before that of the shortcut.
#[derive(Clone, Debug)]
pub(super) struct Bottleneck<B: Kernels> {
    pub(super) halves: bool,
    pub(super) convolutions: [Convolution<B>; 3],
    /// None where the shortcut is the input itself.
    pub(super) downsample: Option<Convolution<B>>,
}

/// One attention of all cells, whose only query is their mean.
#[derive(Clone, Debug)]
pub(super) struct AttentionPool<B: Kernels> {
    /// `[1 + cells, channels]`, the mean first.
    pub(super) positional_embedding: Tensor<B, 2>,
    pub(super) query: Linear<B>,
    pub(super) key: Linear<B>,
    pub(super) value: Linear<B>,
    pub(super) out: Linear<B>,
    pub(super) heads: usize,
}

/// What [`ModifiedResNet::inspect`] gives.
#[derive(Clone, Debug)]
pub struct ResNetInspection<B: Kernels> {
    /// The map behind the stem.
    pub stem: Tensor<B, 4>,
    /// The map behind each stage.
    pub stages: Vec<Tensor<B, 4>>,
    /// `[batch, embedding_dim]`
    pub embedding: Tensor<B, 2>,
}

impl<B: Kernels> ModifiedResNet<B> {
    /// Its sizes.
    pub fn config(&self) -> &ResNetConfig {
        &self.config
    }

    /// Pixels `[batch, 3, side, side]` to embeddings `[batch, embedding_dim]`. They are not normalised.
    pub fn forward(&self, pixels: Tensor<B, 4>) -> Tensor<B, 2> {
        let stages = self.stages.iter();
        let map = stages.fold(self.stem(pixels), |map, blocks| stage(map, blocks));
        self.pool.forward(map)
    }

    /// As [`forward`](Self::forward), and keeps what each part computes.
    pub fn inspect(&self, pixels: Tensor<B, 4>) -> ResNetInspection<B> {
        let stem = self.stem(pixels);
        let mut map = stem.clone();
        let stages = self.stages.iter().map(|blocks| {
            map = stage(map.clone(), blocks);
            map.clone()
        });
        let stages = stages.collect();
        ResNetInspection {
            stem,
            stages,
            embedding: self.pool.forward(map),
        }
    }

    fn stem(&self, pixels: Tensor<B, 4>) -> Tensor<B, 4> {
        let map = pixels.permute([0, 2, 3, 1]);
        let convolutions = self.stem.iter();
        halved(convolutions.fold(map, |map, convolution| convolution.rectified(map)))
    }
}

fn stage<B: Kernels>(map: Tensor<B, 4>, blocks: &[Bottleneck<B>]) -> Tensor<B, 4> {
    blocks.iter().fold(map, |map, block| block.forward(map))
}

impl<B: Kernels> Bottleneck<B> {
    fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        let [first, second, third] = &self.convolutions;
        let smaller = |map: Tensor<B, 4>| if self.halves { halved(map) } else { map };
        let branch = smaller(second.rectified(first.rectified(x.clone())));
        let shortcut = match &self.downsample {
            Some(downsample) => downsample.forward(smaller(x)),
            None => x,
        };
        third.joined(branch, shortcut)
    }
}

impl<B: Kernels> AttentionPool<B> {
    /// `[batch, height, width, channels]` to `[batch, embedding_dim]`.
    fn forward(&self, map: Tensor<B, 4>) -> Tensor<B, 2> {
        let [batch, height, width, channels] = map.dims();
        let cells = map.reshape([batch, height * width, channels]);
        let positions = 1 + height * width;
        let cells = Tensor::cat(vec![cells.clone().mean_dim(1), cells], 1);
        let cells = cells + self.positional_embedding.clone().unsqueeze::<3>();
        let mean = cells.clone().narrow(1, 0, 1).reshape([batch, channels]);
        let rows = ops::flatten(cells);
        let heads = |rows: Tensor<B, 2>, positions: usize| {
            ops::split_heads(ops::unflatten(rows, batch, positions), self.heads)
        };
        let query = heads(ops::linear(&self.query, mean), 1);
        let key = heads(ops::linear(&self.key, rows.clone()), positions);
        let value = heads(ops::linear(&self.value, rows), positions);
        let mask = Tensor::zeros([batch, 1, 1, positions], &query.device());
        let scale = 1.0 / ((channels / self.heads) as f64).sqrt();
        let context = ops::merge_heads(ops::attention([query, key, value], mask, scale, 0.0));
        ops::linear(&self.out, ops::flatten(context))
    }
}

/// Means of 2x2 cells, as `AvgPool2d(2)` takes them: an odd last row or column is left out.
fn halved<B: Kernels>(map: Tensor<B, 4>) -> Tensor<B, 4> {
    let [batch, height, width, channels] = map.dims();
    let (height, width) = (height / 2, width / 2);
    let even = map.slice(s![.., 0..2 * height, 0..2 * width, ..]);
    // Two rows, then two cells of what is left, lie side by side.
    let rows = even.reshape([batch * height, 2, 2 * width * channels]);
    let rows = rows.clone().narrow(1, 0, 1) + rows.narrow(1, 1, 1);
    let cells = rows.reshape([batch * height * width, 2, channels]);
    let cells = cells.clone().narrow(1, 0, 1) + cells.narrow(1, 1, 1);
    cells
        .mul_scalar(0.25)
        .reshape([batch, height, width, channels])
}

#[cfg(test)]
mod tests {
    use burn::tensor::TensorData;
    use burn_flex::{Flex, FlexDevice};

    use super::*;

    #[test]
    fn halving_takes_means_and_leaves_odd_edges_out() {
        // Cell (row, column) of channel c is 10 row + column + 100 c.
        let values = (0..3).flat_map(|row| (0..5).map(move |column| (row, column)));
        let values = values.flat_map(|(row, column)| {
            let value = (10 * row + column) as f32;
            [value, value + 100.0]
        });
        let data = TensorData::new(values.collect::<Vec<f32>>(), [1, 3, 5, 2]);
        let found = halved(Tensor::<Flex, 4>::from_data(data, &FlexDevice));
        assert_eq!(found.dims(), [1, 1, 2, 2]);
        let found: Vec<f32> = found.into_data().iter::<f32>().collect();
        assert_eq!(found, [5.5, 105.5, 7.5, 107.5]);
    }
}
