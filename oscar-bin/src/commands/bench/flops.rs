//! Number of useful floating-point operations of a model.
//!
//! A matrix product `[m, k] x [k, n]` has `2 m k n` operations; nothing else is counted. Padding counts
//! nothing, and vocabulary logits and the last layer count only at positions whose result is used, so
//! that the number depends on the task alone and not on the implementation.
//!
//! With H hidden, I intermediate, L layers, V words, D values per region:
//!
//! | part | operations |
//! |---|---|
//! | layers, for each of n positions that attends to k | `2 L (4 H² + 2 H I + 2 k H)` |
//! | the last layer, for a position that is only attended to | `4 H²` |
//! | projection of a region | `2 D H` |
//! | pooler, per row | `2 H²` |
//! | vocabulary logits, per token | `2 H (H + V)` |
//! | classifier, per row | `2 H labels` |
//!
//! The backward pass has two more products of the same size for each: one for the gradient of the input,
//! one for that of the weight. Only regions need no gradient of their input. So a training step is three
//! forward passes minus one projection of the regions.

use oscar_core::config::ModelConfig;

/// Share of the word pieces of a pre-training row that are masked.
pub const MASKED_SHARE: f64 = 0.15;

/// The sizes of a model that the count depends on.
#[derive(Clone, Copy, Debug)]
pub struct Flops {
    layers: f64,
    hidden: f64,
    inner: f64,
    vocab: f64,
    region_dim: f64,
}

impl Flops {
    pub fn new(config: &ModelConfig) -> Self {
        Self {
            layers: config.num_hidden_layers as f64,
            hidden: config.hidden_size as f64,
            inner: config.intermediate_size as f64,
            vocab: config.vocab_size as f64,
            region_dim: config.img_feature_dim as f64,
        }
    }

    /// All layers on `positions` that attend to `keys` positions each.
    pub fn layers(&self, positions: f64, keys: f64) -> f64 {
        self.layers * self.layer(positions, positions, keys)
    }

    /// All layers on `positions` that attend to each other; the last one only for `used` of them.
    fn layers_used(&self, positions: f64, used: f64) -> f64 {
        (self.layers - 1.0) * self.layer(positions, positions, positions)
            + self.layer(used, positions, positions)
    }

    /// A layer for `queries` that attend to `keys` positions each, with keys and values of `positions`.
    fn layer(&self, queries: f64, positions: f64, keys: f64) -> f64 {
        let square = self.hidden * self.hidden;
        let query = 2.0 * square + 2.0 * self.hidden * self.inner + 2.0 * keys * self.hidden;
        2.0 * (queries * query + positions * 2.0 * square)
    }

    /// The projection of `regions`.
    pub fn regions(&self, regions: usize) -> f64 {
        2.0 * regions as f64 * self.region_dim * self.hidden
    }

    /// Vocabulary logits of `tokens`.
    pub fn words(&self, tokens: f64) -> f64 {
        2.0 * tokens * self.hidden * (self.hidden + self.vocab)
    }

    /// Pooler and classifier of a row.
    pub fn class(&self, labels: usize) -> f64 {
        2.0 * self.hidden * (self.hidden + labels as f64)
    }

    /// A forward pass over a row, up to the classifier, without the projection of regions.
    pub fn classify(&self, text: usize, regions: usize, labels: usize) -> f64 {
        self.layers_used((text + regions) as f64, 1.0) + self.class(labels)
    }

    /// A pre-training step, per row.
    pub fn pretrain(&self, text: usize, regions: usize, relations: usize) -> f64 {
        let masked = MASKED_SHARE * (text - 3) as f64;
        let layers = self.layers_used((text + regions) as f64, 1.0 + masked);
        3.0 * (layers + self.class(relations) + self.words(masked)) + 2.0 * self.regions(regions)
    }

    /// A training step of a classifier, per row.
    pub fn train_classifier(&self, text: usize, regions: usize, labels: usize) -> f64 {
        3.0 * self.classify(text, regions, labels) + 2.0 * self.regions(regions)
    }

    /// A caption of `steps` words by beam search: tags and regions once, then at each step the newest
    /// word and the `[MASK]` of each beam; the first step has one beam.
    pub fn caption(&self, tags: usize, regions: usize, beams: usize, steps: usize) -> f64 {
        let context = (tags + regions) as f64;
        let words = (0..steps).map(|step| {
            let rows = if step == 0 { 1.0 } else { beams as f64 };
            let keys = context + step as f64 + 2.0;
            self.layers(2.0 * rows, keys) + self.words(rows)
        });
        self.regions(regions) + self.layers(context, context) + words.sum::<f64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One layer of 2, inner width 3, 5 words, regions of 7 values.
    fn small() -> Flops {
        Flops {
            layers: 1.0,
            hidden: 2.0,
            inner: 3.0,
            vocab: 5.0,
            region_dim: 7.0,
        }
    }

    #[test]
    fn a_small_model_counted_by_hand() {
        let model = small();
        // Four positions. Query, key, value, output: 4 x (4 x 2 x 2) multiplications; scores and
        // weighted values: 2 x (4 x 4 x 2); in and out of the inner layer: 2 x (4 x 2 x 3).
        assert_eq!(model.layers(4.0, 4.0), 2.0 * (64.0 + 64.0 + 48.0));
        // One region of 7 values to 2.
        assert_eq!(model.regions(1), 28.0);
        // A 2 x 2 transform, then 5 words.
        assert_eq!(model.words(1.0), 2.0 * (4.0 + 10.0));
        // A 2 x 2 pooler, then 3 labels.
        assert_eq!(model.class(3), 2.0 * (4.0 + 6.0));
        // Keys and values of four positions, the rest of one: 2 x (4 x 2 x 2); 2 x (2 x 2), 2 x (4 x 2)
        // and 2 x (2 x 3).
        assert_eq!(
            model.layers_used(4.0, 1.0),
            2.0 * (32.0 + 8.0 + 16.0 + 12.0)
        );
        // Three times all but the regions, and these twice.
        assert_eq!(
            model.train_classifier(3, 1, 3),
            3.0 * (136.0 + 20.0) + 2.0 * 28.0
        );
        // Two positions of context; one beam reads 4 positions, then two read 5.
        let layers = |positions: f64, keys: f64| 2.0 * positions * (16.0 + 12.0 + 4.0 * keys);
        assert_eq!(
            model.caption(1, 1, 2, 2),
            28.0 + layers(2.0, 2.0) + layers(2.0, 4.0) + 28.0 + layers(4.0, 5.0) + 56.0
        );
    }

    #[test]
    fn oscar_base_is_what_is_known_of_it() {
        let base = Flops::new(&ModelConfig::base());
        let close = |found: f64, giga: f64| assert!((found / 1e9 - giga).abs() < 0.01, "{found}");
        close(base.layers(85.0, 85.0), 14.70);
        close(base.regions(50), 0.16);
        close(base.words(85.0), 4.08);
    }
}
