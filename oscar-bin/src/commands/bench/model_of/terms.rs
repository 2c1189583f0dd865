//! The parts of a pre-training step: launches, operations and bytes of each, as the kernels for CUDA
//! have them.

use oscar_core::config::ModelConfig;
use oscar_core::ops::{MOST_TILED_SCORES, Precision};

use super::super::flops::MASKED_SHARE;
use super::super::lengths::Row;

/// The sizes that a step depends on.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    pub layers: f64,
    pub hidden: f64,
    pub inner: f64,
    pub heads: f64,
    pub vocab: f64,
    pub region_dim: f64,
    /// Weights and biases of the model.
    pub parameters: f64,
    /// Tensors that they are in.
    pub tensors: f64,
    pub rows: f64,
    /// Text positions, without padding.
    pub text: f64,
    /// Regions, without padding.
    pub regions: f64,
    /// Positions of all rows, with padding.
    pub padded: f64,
    /// Pairs of positions that attention computes, with padding.
    pub pairs: f64,
    /// Masked tokens.
    pub masked: f64,
    /// Bytes of a number in a matrix product.
    pub operand: f64,
}

/// A part of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Term {
    pub name: &'static str,
    /// Kernels that the host launches.
    pub launches: f64,
    /// Operations of matrix products; of the others only attention may be bound by its operations.
    pub flops: f64,
    /// Operations beside the tensor cores.
    pub scalar_flops: f64,
    /// Bytes that are read or written, if each kernel reads its operands once.
    pub bytes: f64,
}

impl Sizes {
    /// The sizes of a batch of these rows, each with at most `longest` text positions.
    pub fn new(config: &ModelConfig, rows: &[Row], longest: usize, precision: Precision) -> Self {
        let size = |size: usize| size as f64;
        let sum = |of: &dyn Fn(&Row) -> usize| rows.iter().map(of).sum::<usize>() as f64;
        let most = |of: &dyn Fn(&Row) -> usize| rows.iter().map(of).max().unwrap_or(0) as f64;
        let text = |row: &Row| row.text(longest);
        let seq = most(&text) + most(&|row| row.regions);
        let (parameters, tensors) = parameters(config);
        Self {
            layers: size(config.num_hidden_layers),
            hidden: size(config.hidden_size),
            inner: size(config.intermediate_size),
            heads: size(config.num_attention_heads),
            vocab: size(config.vocab_size),
            region_dim: size(config.img_feature_dim),
            parameters,
            tensors,
            rows: size(rows.len()),
            text: sum(&text),
            regions: sum(&|row| row.regions),
            padded: size(rows.len()) * seq,
            pairs: size(rows.len()) * seq * seq,
            masked: MASKED_SHARE * sum(&|row| row.text(longest) - 3),
            operand: match precision {
                Precision::F32 => 4.0,
                Precision::Bf16 => 2.0,
            },
        }
    }

    /// Whether attention is one kernel each way.
    fn is_tiled(&self) -> bool {
        self.heads * self.pairs <= MOST_TILED_SCORES as f64
    }

    fn positions(&self) -> f64 {
        self.text + self.regions
    }

    /// Rows of all layers. The last one is computed where its result is used: at the first position of
    /// a row and at masked ones.
    fn all_rows(&self) -> f64 {
        (self.layers - 1.0) * self.positions() + self.rows + self.masked
    }

    /// All parts of a step.
    pub fn terms(&self) -> Vec<Term> {
        let mut terms = vec![
            self.products(),
            self.heads_and_rows(),
            self.norms(),
            self.gelu(),
            self.vocabulary(),
            self.embeddings(),
            self.optimizer(),
        ];
        match self.is_tiled() {
            true => terms.push(self.tiled_attention()),
            false => terms.extend([self.attention_products(), self.attention_rest()]),
        }
        if self.operand < 4.0 {
            terms.push(self.casts());
        }
        terms
    }

    /// A product of `[rows, from]` and `[from, to]` and both of its gradients: operations and bytes.
    fn product(&self, rows: f64, from: f64, to: f64) -> (f64, f64) {
        let matrices = rows * from + from * to + rows * to;
        (6.0 * rows * from * to, 3.0 * self.operand * matrices)
    }

    /// Six products of each layer, forward and backward, three of which are one: query, key and value, of all
    /// positions in the last layer, too.
    fn products(&self) -> Term {
        let (hidden, inner) = (self.hidden, self.inner);
        let last = self.rows + self.masked;
        let layer = |queries: f64| {
            let products = [
                self.product(self.positions(), hidden, hidden),
                self.product(self.positions(), hidden, hidden),
                self.product(self.positions(), hidden, hidden),
                self.product(queries, hidden, hidden),
                self.product(queries, hidden, inner),
                self.product(queries, inner, hidden),
            ];
            let sum = |(a, b): (f64, f64), (c, d): (f64, f64)| (a + c, b + d);
            products.into_iter().fold((0.0, 0.0), sum)
        };
        let (each, last) = (layer(self.positions()), layer(last));
        Term {
            name: "products of the layers",
            launches: 12.0 * self.layers,
            flops: (self.layers - 1.0) * each.0 + last.0,
            scalar_flops: 0.0,
            bytes: (self.layers - 1.0) * each.1 + last.1,
        }
    }

    /// Scores and weighted values, forward; both again, twice over, and three gradients backward: nine products
    /// where stored probabilities would need six. Rows are read and written as they are.
    fn tiled_attention(&self) -> Term {
        Term {
            name: "attention",
            launches: 2.0 * self.layers,
            flops: 0.0,
            scalar_flops: self.layers * 18.0 * self.pairs * self.hidden,
            bytes: self.layers * 12.0 * self.operand * self.positions() * self.hidden,
        }
    }

    /// Scores and weighted values, forward and backward.
    fn attention_products(&self) -> Term {
        let matrices = 2.0 * self.padded * self.hidden + self.heads * self.pairs;
        Term {
            name: "products of attention",
            launches: 6.0 * self.layers,
            flops: self.layers * 12.0 * self.pairs * self.hidden,
            scalar_flops: 0.0,
            bytes: self.layers * 6.0 * self.operand * matrices,
        }
    }

    /// Masked softmax with dropout (reads the scores, writes two), and its gradient (reads two, writes
    /// one).
    fn attention_rest(&self) -> Term {
        Term {
            name: "softmax and dropout",
            launches: 2.0 * self.layers,
            flops: 0.0,
            scalar_flops: 0.0,
            bytes: self.layers * 6.0 * self.operand * self.heads * self.pairs,
        }
    }

    /// Weights of query, key and value side by side, and their gradients apart; sums for the biases; the rows
    /// that the last layer computes. With products between them also rows to heads and back.
    fn heads_and_rows(&self) -> Term {
        let rows = self.positions() * self.hidden;
        let weights = 2.0 * 2.0 * 3.0 * self.hidden * self.hidden;
        let (launches, moved) = match self.is_tiled() {
            true => (3.0, 3.0 * rows),
            // Forward and backward: three matrices of rows and one to heads or back.
            false => (
                7.0,
                2.0 * 4.0 * (rows + self.padded * self.hidden) + 3.0 * rows,
            ),
        };
        Term {
            name: "heads, biases and packing",
            launches: launches * self.layers + LAST_ROWS,
            flops: 0.0,
            scalar_flops: 0.0,
            bytes: self.layers * (self.operand * moved + 4.0 * weights),
        }
    }

    /// Bias, dropout, residual and LayerNorm twice a layer: four matrices forward; two and two, and three
    /// for the sums over columns, backward; and the sum of the gradients by a residual's two uses.
    fn norms(&self) -> Term {
        let matrix = self.all_rows() * self.hidden;
        Term {
            name: "residual and LayerNorm",
            launches: NORMS * self.layers,
            flops: 0.0,
            scalar_flops: 0.0,
            bytes: 2.0 * 4.0 * matrix * (4.0 + 4.0 + 3.0 + 3.0),
        }
    }

    /// Bias and GELU: reads and writes a matrix forward, reads two and writes one backward.
    fn gelu(&self) -> Term {
        Term {
            name: "GELU",
            launches: GELU * self.layers,
            flops: 0.0,
            scalar_flops: 0.0,
            bytes: 5.0 * self.operand * self.all_rows() * self.inner,
        }
    }

    /// Transformation and logits of the masked tokens, and their cross entropy in f32.
    fn vocabulary(&self) -> Term {
        let transform = self.product(self.masked, self.hidden, self.hidden);
        let logits = self.product(self.masked, self.hidden, self.vocab);
        Term {
            name: "vocabulary and losses",
            launches: VOCABULARY,
            flops: transform.0 + logits.0,
            scalar_flops: 0.0,
            bytes: transform.1 + logits.1 + 6.0 * 4.0 * self.masked * self.vocab,
        }
    }

    /// Look-ups, the projection of regions (whose input needs no gradient), the first LayerNorm, and the
    /// gradient of the word embedding, which is as large as the embedding.
    fn embeddings(&self) -> Term {
        let (flops, bytes) = self.product(self.regions, self.region_dim, self.hidden);
        let rows = self.positions() * self.hidden;
        Term {
            name: "embeddings and regions",
            launches: EMBEDDINGS,
            flops: flops * 2.0 / 3.0,
            scalar_flops: 0.0,
            bytes: bytes + 4.0 * (12.0 * rows + 2.0 * self.vocab * self.hidden),
        }
    }

    /// The norm reads the gradients; AdamW reads weights, gradients and two moments and writes all but
    /// the gradients.
    fn optimizer(&self) -> Term {
        Term {
            name: "norm and AdamW",
            launches: (self.tensors / NORM_TENSORS).ceil()
                + (self.tensors / ADAMW_TENSORS).ceil()
                + 2.0,
            flops: 0.0,
            scalar_flops: 0.0,
            bytes: 32.0 * self.parameters,
        }
    }

    /// Weights to bf16 and their gradients to f32, inputs of the products likewise.
    fn casts(&self) -> Term {
        let weights = 2.0 * 6.0 * self.parameters;
        let inputs = 2.0 * 6.0 * 3.0 * self.all_rows() * self.hidden;
        Term {
            name: "casts to bf16 and back",
            launches: CASTS * self.layers,
            flops: 0.0,
            scalar_flops: 0.0,
            bytes: weights + inputs,
        }
    }
}

/// Launches by a layer, forward and backward, as `tools/dry-cuda` counted them in f32.
const NORMS: f64 = 7.0;
const GELU: f64 = 3.0;

/// Casts of a layer: input, weight, their gradients and that of the output, of most of the products.
const CASTS: f64 = 20.0;

/// Launches of the last layer for the rows that it computes, forward and backward.
const LAST_ROWS: f64 = 5.0;

/// Launches by a step, forward and backward, likewise counted.
const VOCABULARY: f64 = 54.0;
const EMBEDDINGS: f64 = 36.0;

/// Tensors that one launch of the optimiser takes.
const NORM_TENSORS: f64 = 128.0;
const ADAMW_TENSORS: f64 = 32.0;

/// Weights and biases of a pre-training model, and the tensors that they are in.
fn parameters(config: &ModelConfig) -> (f64, f64) {
    let (hidden, inner) = (config.hidden_size, config.intermediate_size);
    let linear = |from: usize, to: usize| from * to + to;
    let norm = 2 * hidden;
    let tables = config.vocab_size + config.max_position_embeddings + config.type_vocab_size;
    let layer =
        4 * linear(hidden, hidden) + linear(hidden, inner) + linear(inner, hidden) + 2 * norm;
    let image =
        linear(config.img_feature_dim, hidden) + usize::from(config.use_img_layernorm) * norm;
    let words = linear(hidden, hidden) + norm + config.vocab_size;
    let values = tables * hidden
        + norm
        + image
        + config.num_hidden_layers * layer
        + linear(hidden, hidden)
        + words
        + linear(hidden, config.num_contrast_classes);
    let tensors = 5
        + 2 * (1 + usize::from(config.use_img_layernorm))
        + 16 * config.num_hidden_layers
        + 2
        + 5
        + 2;
    (values as f64, tensors as f64)
}

#[cfg(test)]
mod tests {
    use super::super::super::flops::Flops;
    use super::*;

    fn row() -> Row {
        Row {
            text_a: 16,
            text_b: 16,
            regions: 50,
        }
    }

    #[test]
    fn operations_are_the_useful_ones_and_the_rest_of_the_last_attention() {
        let config = ModelConfig::base();
        let sizes = Sizes::new(&config, &[row(), row()], 35, Precision::F32);
        let terms = sizes.terms();
        // Nine products of attention, of which three are computed again.
        let found = terms
            .iter()
            .map(|term| term.flops + term.scalar_flops * 6.0 / 9.0);
        let found: f64 = found.sum();
        let count = Flops::new(&config);
        let classes = config.num_contrast_classes;
        let useful = count.pretrain(35, 50, classes) - 3.0 * count.class(classes);
        // The last layer's queries and its attention are computed at all 85 positions, too.
        let unused = 85.0 - (1.0 + MASKED_SHARE * 32.0);
        let expected = 2.0 * (useful + unused * (12.0 * 85.0 + 6.0 * 768.0) * 768.0);
        assert!(
            (found / expected - 1.0).abs() < 1e-9,
            "{found} for {expected}"
        );
    }

    #[test]
    fn rows_of_several_lengths_are_padded_for_attention_alone() {
        let short = Row {
            text_a: 4,
            text_b: 3,
            regions: 20,
        };
        let sizes = Sizes::new(&ModelConfig::base(), &[row(), short], 35, Precision::Bf16);
        assert_eq!((sizes.text, sizes.regions), (45.0, 70.0));
        assert_eq!((sizes.padded, sizes.pairs), (170.0, 2.0 * 85.0 * 85.0));
        // A product of 115 rows, 768 x 768 in bf16: 6 operations by multiplication, 2 bytes by number.
        let (flops, bytes) = sizes.product(115.0, 768.0, 768.0);
        assert_eq!(flops, 6.0 * 115.0 * 768.0 * 768.0);
        assert_eq!(bytes, 6.0 * (2.0 * 115.0 * 768.0 + 768.0 * 768.0));
    }

    #[test]
    fn a_step_launches_what_was_counted() {
        let sizes = Sizes::new(&ModelConfig::base(), &[row()], 35, Precision::F32);
        let found: f64 = sizes.terms().iter().map(|term| term.launches).sum();
        assert_eq!(found, 430.0);
    }

    #[test]
    fn attention_of_many_positions_is_products() {
        let names = |rows: usize| {
            let rows = vec![row(); rows];
            let sizes = Sizes::new(&ModelConfig::base(), &rows, 35, Precision::F32);
            sizes
                .terms()
                .iter()
                .map(|term| term.name)
                .collect::<Vec<_>>()
        };
        // 12 heads of 85 x 85 scores each.
        assert!(names(96).contains(&"attention"));
        assert!(names(97).contains(&"products of attention"));
    }

    #[test]
    fn the_optimizer_takes_few_launches_and_every_weight_once() {
        let sizes = Sizes::new(&ModelConfig::base(), &[row()], 35, Precision::F32);
        let optimizer = sizes.optimizer();
        assert!(optimizer.launches <= 40.0, "{}", optimizer.launches);
        assert_eq!(optimizer.bytes, 32.0 * sizes.parameters);
    }
}
