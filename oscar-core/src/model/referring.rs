//! Oscar that finds the region a referring expression means (ROSITA's `REC` network).

use burn::module::Module;
use burn::nn::{LayerNorm, Linear};
use burn::tensor::{Tensor, backend::Backend};

use super::{Backbone, init};
use crate::checkpoint::Checkpointed;
use crate::config::{Activation, ModelConfig};
use crate::input::RegionInput;
use crate::ops::{self, OscarBackend};

/// Score of a region that is padding: its probability is 0, and finite, so that 0 times its logarithm
/// is 0.
const PADDING_SCORE: f64 = -10_000.0;

/// Backbone, and a head that gives each region a score and four box deltas.
#[derive(Module, Debug)]
pub struct OscarForReferring<B: Backend> {
    bert: Backbone<B>,
    referring: ReferringHead<B>,
}

/// Dense, activation, LayerNorm; then a score, and the deltas from the region's box to the one that is
/// meant.
#[derive(Module, Debug)]
struct ReferringHead<B: Backend> {
    dense: Linear<B>,
    layer_norm: LayerNorm<B>,
    rank: Linear<B>,
    deltas: Linear<B>,
    #[module(skip)]
    activation: Activation,
}

/// What the model says of each region.
#[derive(Clone, Debug)]
pub struct ReferringOutput<B: Backend> {
    /// `[batch, regions]`: the higher, the likelier the region is meant; that of padding is so low
    /// that its probability is 0. The reference has no mask here, since its images have 36 regions
    /// each.
    pub scores: Tensor<B, 2>,
    /// `[batch, regions, 4]`: normalised deltas of the box.
    pub deltas: Tensor<B, 3>,
}

/// The right answers of a batch.
#[derive(Clone, Debug)]
pub struct ReferringTargets<B: Backend> {
    /// `[batch, regions]`: how much each region is the one that is meant; sums to 1 in a row.
    pub rank: Tensor<B, 2>,
    /// `[batch, regions]`: 1 for the regions of rows that count, 0 for padding and other rows.
    pub rank_weights: Tensor<B, 2>,
    /// `[batch, regions, 4]`: normalised deltas from the region's box to the right one.
    pub deltas: Tensor<B, 3>,
    /// `[batch, regions]`: 1 for regions whose deltas are learned.
    pub delta_weights: Tensor<B, 2>,
}

/// Both losses of a batch, `[1]` each.
#[derive(Clone, Debug)]
pub struct ReferringLoss<B: Backend> {
    /// Kullback-Leibler divergence of the ranking, averaged over the regions of the rows that count.
    pub rank: Tensor<B, 1>,
    /// Smooth L1 of the deltas, averaged over the regions that have some.
    pub boxes: Tensor<B, 1>,
}

impl<B: OscarBackend> OscarForReferring<B> {
    /// A model with fresh weights.
    pub fn new(config: &ModelConfig, device: &B::Device) -> Self {
        let (hidden, std) = (config.hidden_size, config.initializer_range);
        let linear = |outputs| init::linear(hidden, outputs, std, device);
        Self {
            bert: Backbone::new(config, device),
            referring: ReferringHead {
                dense: linear(hidden),
                layer_norm: init::layer_norm(hidden, config.layer_norm_eps, device),
                rank: linear(1),
                deltas: linear(4),
                activation: config.hidden_act,
            },
        }
    }

    /// The backbone.
    pub fn backbone(&self) -> &Backbone<B> {
        &self.bert
    }

    /// Scores and deltas of the regions of a batch.
    pub fn forward(&self, batch: RegionInput<B>) -> ReferringOutput<B> {
        let [_, text] = batch.input.input_ids.dims();
        let sequence = self.bert.forward(batch.input).sequence;
        self.score(sequence, text, batch.region_mask)
    }

    /// As [`forward`](Self::forward), from the backbone's last hidden state `[batch, text + regions,
    /// hidden]`; `mask` is 1 for regions, 0 for padding, `[batch, regions]`.
    pub fn score(
        &self,
        sequence: Tensor<B, 3>,
        text: usize,
        mask: Tensor<B, 2>,
    ) -> ReferringOutput<B> {
        let [batch, regions] = mask.dims();
        let head = &self.referring;
        let rows = ops::flatten(sequence.narrow(1, text, regions));
        let hidden = ops::linear_activate(&head.dense, head.activation, rows);
        let hidden = head.layer_norm.forward(ops::to_f32(hidden));
        let scores = ops::linear(&head.rank, hidden.clone()).reshape([batch, regions]);
        let padding = mask.neg().add_scalar(1.0).mul_scalar(PADDING_SCORE);
        ReferringOutput {
            scores: scores + padding,
            deltas: ops::unflatten(ops::linear(&head.deltas, hidden), batch, regions),
        }
    }
}

impl<B: Backend> ReferringOutput<B> {
    /// Both losses; 0 where no row counts.
    pub fn loss(&self, targets: ReferringTargets<B>) -> ReferringLoss<B> {
        let [batch, regions] = self.scores.dims();
        let rows = |x: Tensor<B, 2>| x.reshape([batch * regions]);
        let divergence = ops::kl_divergence(self.scores.clone(), targets.rank);
        let deltas = ops::flatten(self.deltas.clone());
        let distance = ops::smooth_l1_rows(deltas, ops::flatten(targets.deltas));
        ReferringLoss {
            rank: ops::weighted_mean(rows(divergence), rows(targets.rank_weights)),
            boxes: ops::weighted_mean(distance, rows(targets.delta_weights)),
        }
    }
}

impl<B: Backend> Checkpointed<B> for OscarForReferring<B> {}

#[cfg(test)]
mod tests {
    use burn_flex::{Flex, FlexDevice};

    use super::*;
    use crate::input::{AttentionMask, OscarInput};

    /// Two rows of two words and up to three regions, of which the second row has `second`.
    fn batch(second: usize) -> RegionInput<Flex> {
        let device = FlexDevice;
        let mut mask = [[1.0f32; 3]; 2];
        mask[1][second..].fill(0.0);
        let words = Tensor::<Flex, 2>::ones([2, 2], &device);
        let region_mask = Tensor::<Flex, 2>::from_floats(mask, &device);
        let values: Vec<f32> = (0..2 * 3 * 10).map(|v| (v as f32 * 0.37).sin()).collect();
        let regions = Tensor::<Flex, 1>::from_floats(values.as_slice(), &device);
        RegionInput {
            input: OscarInput {
                input_ids: Tensor::from_ints([[2, 5], [2, 6]], &device),
                token_type_ids: Tensor::zeros([2, 2], &device),
                position_ids: None,
                attention_mask: AttentionMask::Padding(Tensor::cat(
                    vec![words, region_mask.clone()],
                    1,
                )),
                region_features: Some(regions.reshape([2, 3, 10])),
                packing: None,
                query_positions: None,
            },
            region_mask,
        }
    }

    fn model() -> OscarForReferring<Flex> {
        let config = ModelConfig {
            vocab_size: 20,
            img_feature_dim: 10,
            hidden_size: 8,
            num_attention_heads: 2,
            num_hidden_layers: 1,
            intermediate_size: 8,
            initializer_range: 0.3,
            ..ModelConfig::tiny()
        };
        let model = OscarForReferring::new(&config, &FlexDevice);
        super::super::initialize(&model, &FlexDevice, 1);
        model
    }

    fn values(tensor: Tensor<Flex, 2>) -> Vec<f32> {
        tensor.into_data().to_vec().unwrap()
    }

    #[test]
    fn padded_regions_are_never_meant() {
        let model = model();
        let output = model.forward(batch(2));
        assert_eq!(output.deltas.dims(), [2, 3, 4]);
        let scores = values(output.scores.clone());
        assert!(
            scores[..5].iter().all(|score| score.abs() < 100.0),
            "{scores:?}"
        );
        let shares = values(burn::tensor::activation::softmax(output.scores, 1));
        assert_eq!(shares[5], 0.0);
        assert!((shares[3] + shares[4] - 1.0).abs() < 1e-6, "{shares:?}");
        // The first row does not depend on how many regions the second has.
        let other = values(model.forward(batch(3)).scores);
        assert_eq!(other[..3], scores[..3]);
    }

    #[test]
    fn losses_are_those_of_their_definitions() {
        let device = FlexDevice;
        let output = ReferringOutput::<Flex> {
            scores: Tensor::from_floats([[0.0, 0.0, -1e4], [1.0, 0.0, 0.0]], &device),
            deltas: Tensor::from_floats(
                [[[0.5, 0.0, 0.0, 0.0], [0.0; 4], [9.0; 4]], [[0.0; 4]; 3]],
                &device,
            ),
        };
        let targets = |counts: f32| ReferringTargets {
            rank: Tensor::from_floats([[1.0, 0.0, 0.0], [0.0; 3]], &device),
            rank_weights: Tensor::from_floats([[counts, counts, 0.0], [0.0; 3]], &device),
            deltas: Tensor::from_floats(
                [[[0.0, 2.0, 0.0, 0.0], [0.0; 4], [0.0; 4]], [[0.0; 4]; 3]],
                &device,
            ),
            delta_weights: Tensor::from_floats([[counts, 0.0, 0.0], [0.0; 3]], &device),
        };
        let loss = output.loss(targets(1.0));
        let (rank, boxes) = (loss.rank.into_scalar(), loss.boxes.into_scalar());
        // -log(1/2) over two regions; (0.5^2 / 2 + (2 - 1/2)) / 4 over one.
        assert!((rank - 0.5 * 2.0f32.ln()).abs() < 1e-6, "{rank}");
        assert!((boxes - (0.125 + 1.5) / 4.0).abs() < 1e-6, "{boxes}");
        let loss = output.loss(targets(0.0));
        assert_eq!(
            (loss.rank.into_scalar(), loss.boxes.into_scalar()),
            (0.0, 0.0)
        );
    }
}
