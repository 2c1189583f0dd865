//! Oscar as a dual encoder: a text and an image are read apart, and compared by a product of vectors.
//!
//! The backbone, its weights shared, reads a text alone (`[CLS] words [SEP]`) or an image alone
//! (`[CLS] tags [SEP]` and its regions). The first position of the last layer goes through a
//! projection of its own for each into a shared space, where a vector has length 1. What belongs
//! together is close; training is contrastive, with a learned temperature (CLIP, Radford et al. 2021,
//! §2.3).

use burn::module::{Initializer, Module, Param};
use burn::nn::Linear;
use burn::tensor::{Bool, Int, Tensor, backend::Backend};

use super::{Backbone, init};
use crate::checkpoint::Checkpointed;
use crate::config::ModelConfig;
use crate::input::OscarInput;
use crate::ops::{self, OscarBackend};

/// The temperature at the start, of which the learned scale is the inverse (CLIP §2.5).
const START_TEMPERATURE: f64 = 0.07;

/// The largest scale: beyond it training is not stable (CLIP §2.5).
const MAX_SCALE: f64 = 100.0;

/// Added to a sum of squares before its root, whose gradient at 0 is infinite.
const NORM_EPSILON: f64 = 1e-12;

/// Added to the logit of a pair that is no negative. Finite, so that 0 times it is 0.
const LEFT_OUT: f64 = -10_000.0;

/// Backbone, and a projection of texts and one of images.
#[derive(Module, Debug)]
pub struct OscarDualEncoder<B: Backend> {
    bert: Backbone<B>,
    dual: DualHead<B>,
}

#[derive(Module, Debug)]
struct DualHead<B: Backend> {
    text_projection: Linear<B>,
    image_projection: Linear<B>,
    /// Logarithm of the scale, `[1]`.
    logit_scale: Param<Tensor<B, 1>>,
}

/// What a sequence is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// A text.
    Text,
    /// An image: tags and regions.
    Image,
}

impl<B: OscarBackend> OscarDualEncoder<B> {
    /// A model with fresh weights, whose vectors have `config.projection_dim` values.
    pub fn new(config: &ModelConfig, device: &B::Device) -> Self {
        let (hidden, std) = (config.hidden_size, config.initializer_range);
        let projection = || init::linear(hidden, config.projection_dim, std, device);
        let value = -START_TEMPERATURE.ln();
        Self {
            bert: Backbone::new(config, device),
            dual: DualHead {
                text_projection: projection(),
                image_projection: projection(),
                logit_scale: Initializer::Constant { value }.init([1], device),
            },
        }
    }

    /// The backbone.
    pub fn backbone(&self) -> &Backbone<B> {
        &self.bert
    }

    /// The vectors of a batch of texts or of images, `[batch, projection_dim]`, of length 1.
    pub fn embed(&self, side: Side, input: OscarInput<B>) -> Tensor<B, 2> {
        self.project(side, self.bert.forward(input).sequence)
    }

    /// As [`embed`](Self::embed), from the backbone's last hidden state `[batch, seq, hidden]`.
    pub fn project(&self, side: Side, sequence: Tensor<B, 3>) -> Tensor<B, 2> {
        let [batch, _, hidden] = sequence.dims();
        let first = sequence.narrow(1, 0, 1).reshape([batch, hidden]);
        let projection = match side {
            Side::Text => &self.dual.text_projection,
            Side::Image => &self.dual.image_projection,
        };
        let vectors = ops::to_f32(ops::linear(projection, first));
        let squares = vectors.clone().powi_scalar(2).sum_dim(1);
        vectors / squares.add_scalar(NORM_EPSILON).sqrt()
    }

    /// The scale of the logits, `[1]`: at most 100.
    pub fn scale(&self) -> Tensor<B, 1> {
        self.dual.logit_scale.val().clamp_max(MAX_SCALE.ln()).exp()
    }

    /// The products of all pairs times the [scale](Self::scale), `[texts, images]`.
    ///
    /// # Shapes
    ///
    /// - texts: `[texts, projection_dim]`
    /// - images: `[images, projection_dim]`
    pub fn logits(&self, texts: Tensor<B, 2>, images: Tensor<B, 2>) -> Tensor<B, 2> {
        texts.matmul(images.transpose()) * self.scale().unsqueeze::<2>()
    }
}

impl<B: Backend> Checkpointed<B> for OscarDualEncoder<B> {}

/// The symmetric contrastive loss of a batch of pairs (InfoNCE), `[1]`: the mean of the cross entropy
/// of each text among the images and of each image among the texts, the right ones being on the
/// diagonal. Pairs that are `left_out` are no negatives: another caption of the same image belongs to it
/// as well.
///
/// # Shapes
///
/// - logits: `[pairs, pairs]`
/// - left_out: `[pairs, pairs]`, true for pairs that do not count; never on the diagonal
pub fn contrastive_loss<B: OscarBackend>(
    logits: Tensor<B, 2>,
    left_out: Tensor<B, 2, Bool>,
) -> Tensor<B, 1> {
    let [pairs, _] = logits.dims();
    let right = Tensor::<B, 1, Int>::arange(0..pairs as i64, &logits.device());
    let logits = without(logits, left_out);
    let of_texts = ops::cross_entropy(logits.clone(), right.clone(), None);
    let of_images = ops::cross_entropy(logits.transpose(), right, None);
    (of_texts + of_images).mul_scalar(0.5)
}

/// The logits, those that are `left_out` so low that their probability is 0.
pub fn without<B: Backend>(logits: Tensor<B, 2>, left_out: Tensor<B, 2, Bool>) -> Tensor<B, 2> {
    logits + left_out.float().mul_scalar(LEFT_OUT)
}

/// The loss of distillation, `[1]`: how far the student's distribution over the candidates of a row is
/// from the teacher's (Kullback-Leibler divergence), both softened by `temperature`, averaged over the
/// rows. It is multiplied by the square of the temperature, so that its gradient does not shrink with it
/// (Hinton et al. 2015, §2).
///
/// # Shapes
///
/// - student: `[rows, candidates]`, logits
/// - teacher: `[rows, candidates]`, logits, without a gradient
pub fn distillation_loss<B: Backend>(
    student: Tensor<B, 2>,
    teacher: Tensor<B, 2>,
    temperature: f64,
) -> Tensor<B, 1> {
    let [rows, _] = student.dims();
    let targets = burn::tensor::activation::softmax(teacher.div_scalar(temperature), 1);
    let divergence = ops::kl_divergence(student.div_scalar(temperature), targets);
    divergence
        .sum()
        .mul_scalar(temperature * temperature / rows.max(1) as f64)
}

#[cfg(test)]
mod tests {
    use burn::backend::Autodiff;
    use burn_flex::{Flex, FlexDevice};

    use super::*;
    use crate::input::AttentionMask;

    type Grad = Autodiff<Flex>;

    const LOGITS: [[f32; 3]; 3] = [[2.0, 0.5, -1.0], [0.0, 1.5, 1.0], [0.3, -0.2, 0.7]];

    fn left_out<B: Backend>(pairs: &[(usize, usize)], device: &B::Device) -> Tensor<B, 2, Bool> {
        let mut values = [[0; 3]; 3];
        for (row, column) in pairs {
            values[*row][*column] = 1;
        }
        Tensor::<B, 2, Int>::from_ints(values, device).equal_elem(1)
    }

    /// The loss in plain loops.
    fn oracle(logits: &[[f32; 3]; 3], left_out: &[(usize, usize)]) -> f64 {
        let mut loss = 0.0;
        for at in 0..3 {
            let counts = |row: usize, column: usize| match left_out.contains(&(row, column)) {
                true => 0.0,
                false => f64::from(logits[row][column]).exp(),
            };
            let row: f64 = (0..3).map(|column| counts(at, column)).sum();
            let column: f64 = (0..3).map(|row| counts(row, at)).sum();
            let own = f64::from(logits[at][at]);
            loss += (row.ln() - own + column.ln() - own) / 6.0;
        }
        loss
    }

    #[test]
    fn the_contrastive_loss_is_that_of_its_definition() {
        let device = FlexDevice;
        for pairs in [&[][..], &[(0, 1), (1, 0)]] {
            let logits = Tensor::<Flex, 2>::from_floats(LOGITS, &device);
            let loss = contrastive_loss(logits, left_out(pairs, &device)).into_scalar();
            let expected = oracle(&LOGITS, pairs);
            assert!(
                (f64::from(loss) - expected).abs() < 1e-5,
                "{loss}, {expected}"
            );
        }
    }

    #[test]
    fn a_pair_that_is_left_out_has_no_gradient() {
        let device = Default::default();
        let logits = Tensor::<Grad, 2>::from_floats(LOGITS, &device).require_grad();
        let loss = contrastive_loss(logits.clone(), left_out(&[(0, 1), (1, 0)], &device));
        let gradients = loss.backward();
        let gradient: Vec<f32> = logits
            .grad(&gradients)
            .expect("a gradient")
            .into_data()
            .to_vec()
            .unwrap();
        assert_eq!((gradient[1], gradient[3]), (0.0, 0.0));
        // Those of the right pairs fall, those of negatives rise.
        assert!(gradient[0] < 0.0 && gradient[4] < 0.0 && gradient[8] < 0.0);
        assert!(gradient[2] > 0.0 && gradient[5] > 0.0 && gradient[6] > 0.0 && gradient[7] > 0.0);
    }

    #[test]
    fn distillation_is_zero_where_the_student_agrees_and_else_the_divergence() {
        let device = FlexDevice;
        let rows = |values: [[f32; 2]; 2]| Tensor::<Flex, 2>::from_floats(values, &device);
        let teacher = [[1.0, -1.0], [0.0, 3.0]];
        // A softmax does not see what is added to a row.
        let same = distillation_loss(rows([[3.0, 1.0], [-3.0, 0.0]]), rows(teacher), 2.0);
        assert!(same.into_scalar().abs() < 1e-5);
        let student = [[0.5, 0.0], [1.0, 0.0]];
        let loss = distillation_loss(rows(student), rows(teacher), 2.0).into_scalar();
        let softened = |row: [f32; 2]| {
            let e = row.map(|value| f64::from(value / 2.0).exp());
            e.map(|value| value / (e[0] + e[1]))
        };
        let expected: f64 = (0..2)
            .map(|row| {
                let (t, s) = (softened(teacher[row]), softened(student[row]));
                (0..2).map(|at| t[at] * (t[at] / s[at]).ln()).sum::<f64>() * 4.0 / 2.0
            })
            .sum();
        assert!(
            (f64::from(loss) - expected).abs() < 1e-5,
            "{loss}, {expected}"
        );
    }

    fn config() -> ModelConfig {
        ModelConfig {
            vocab_size: 20,
            hidden_size: 8,
            num_attention_heads: 2,
            num_hidden_layers: 1,
            intermediate_size: 8,
            img_feature_dim: 10,
            initializer_range: 0.3,
            projection_dim: 6,
            ..ModelConfig::tiny()
        }
    }

    /// Rows of two words.
    fn words<B: Backend>(ids: &[[i32; 2]], device: &B::Device) -> OscarInput<B> {
        let rows = ids.len();
        let ids: Vec<i32> = ids.iter().flatten().copied().collect();
        let ids = Tensor::<B, 1, Int>::from_ints(ids.as_slice(), device);
        OscarInput {
            input_ids: ids.reshape([rows, 2]),
            token_type_ids: Tensor::zeros([rows, 2], device),
            position_ids: None,
            attention_mask: AttentionMask::Padding(Tensor::ones([rows, 2], device)),
            region_features: None,
            packing: None,
            query_positions: None,
        }
    }

    #[test]
    fn vectors_have_length_one_and_each_side_a_projection_of_its_own() {
        let device = FlexDevice;
        let model = OscarDualEncoder::<Flex>::new(&config(), &device);
        super::super::initialize(&model, &device, 1);
        let input = words::<Flex>(&[[2, 5], [2, 6], [2, 7]], &device);
        let texts = model.embed(Side::Text, input.clone());
        let images = model.embed(Side::Image, input);
        assert_eq!(texts.dims(), [3, 6]);
        let values = |tensor: Tensor<Flex, 2>| tensor.into_data().to_vec::<f32>().unwrap();
        let (a, b) = (values(texts.clone()), values(images.clone()));
        for row in a.chunks(6).chain(b.chunks(6)) {
            let length: f32 = row.iter().map(|value| value * value).sum();
            assert!((length - 1.0).abs() < 1e-5, "{length}");
        }
        assert_ne!(a, b);
        let logits = values(model.logits(texts, images));
        let product: f32 = a[..6].iter().zip(&b[6..12]).map(|(a, b)| a * b).sum();
        assert!((logits[1] - product / 0.07).abs() < 1e-3, "{logits:?}");
    }

    #[test]
    fn the_scale_is_learned_and_never_above_a_hundred() {
        let device = Default::default();
        let mut model = OscarDualEncoder::<Grad>::new(&config(), &device);
        super::super::initialize(&model, &device, 1);
        let embed = |model: &OscarDualEncoder<Grad>| {
            let texts = model.embed(Side::Text, words(&[[2, 5], [2, 6], [2, 7]], &device));
            let images = model.embed(Side::Image, words(&[[3, 5], [3, 6], [3, 7]], &device));
            contrastive_loss(model.logits(texts, images), left_out(&[], &device))
        };
        let gradients = embed(&model).backward();
        let head = &model.dual;
        for (name, flows) in [
            ("scale", head.logit_scale.val().grad(&gradients).is_some()),
            (
                "texts",
                head.text_projection.weight.val().grad(&gradients).is_some(),
            ),
            (
                "images",
                head.image_projection
                    .weight
                    .val()
                    .grad(&gradients)
                    .is_some(),
            ),
        ] {
            assert!(flows, "{name}");
        }
        let scale = model.scale().into_scalar();
        assert!((scale - 1.0 / 0.07).abs() < 1e-3, "{scale}");
        model.dual.logit_scale = Param::from_tensor(Tensor::from_floats([9.0], &device));
        let scale = model.scale().into_scalar();
        assert!((scale - 100.0).abs() < 1e-3, "{scale}");
    }
}
