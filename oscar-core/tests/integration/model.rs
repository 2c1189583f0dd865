//! What holds for every model and input: padding and other rows never matter, dropout is for
//! training only, and a batch without a masked token has a loss.

use burn::backend::Autodiff;
use burn::module::{AutodiffModule, Module, ModuleVisitor, Param};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Int, Tensor, TensorData};
use burn_flex::{Flex, FlexDevice};
use oscar_core::config::ModelConfig;
use oscar_core::input::{AttentionMask, MaskedTargets, OscarInput, Packing, PretrainBatch};
use oscar_core::model::{
    Backbone, BackboneOutput, ClassTargets, OscarClassifier, OscarForPretraining,
};
use proptest::prelude::*;
use rstest::rstest;

const DIM: usize = 10;

/// Two sums of the same numbers in another order.
const ROUND_OFF: f32 = 2e-5;

/// One image with its text, before padding.
#[derive(Clone, Debug)]
struct Row {
    ids: Vec<i32>,
    segments: Vec<i32>,
    regions: Vec<f32>,
}

impl Row {
    fn num_regions(&self) -> usize {
        self.regions.len() / DIM
    }
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let row = (1..9_usize, 0..6_usize).prop_flat_map(|(text, regions)| {
        (
            prop::collection::vec(1..40_i32, text),
            prop::collection::vec(0..2_i32, text),
            prop::collection::vec(-2.0..2.0_f32, regions * DIM),
        )
            .prop_map(|(ids, segments, regions)| Row {
                ids,
                segments,
                regions,
            })
    });
    prop::collection::vec(row, 1..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn padding_never_changes_a_result(rows in rows(), text in 0..4_usize, regions in 0..4_usize) {
        let model = Backbone::<Flex>::new(&config(), &FlexDevice);
        let tight = Padded::new(&rows, 0, 0, 0.0);
        let loose = Padded::new(&rows, text, regions, 9.0);
        let (a, b) = (tight.forward(&model), loose.forward(&model));
        for (index, row) in rows.iter().enumerate() {
            close(&tight.states(&a, index, row), &loose.states(&b, index, row));
        }
        close(&values(a.pooled), &values(b.pooled));
    }

    #[test]
    fn packed_rows_are_the_same_rows(rows in rows()) {
        let model = Backbone::<Flex>::new(&config(), &FlexDevice);
        // More than a packed multiple of padding, so that there is something to leave out.
        let padded = Padded::new(&rows, 5, 12, 7.0);
        let (a, b) = (padded.forward(&model), model.forward(padded.packed()));
        for (index, row) in rows.iter().enumerate() {
            close(&padded.states(&a, index, row), &padded.states(&b, index, row));
        }
        close(&values(a.pooled), &values(b.pooled));
    }

    #[test]
    fn rows_do_not_see_each_other(rows in rows()) {
        let model = Backbone::<Flex>::new(&config(), &FlexDevice);
        let together = Padded::new(&rows, 0, 0, 0.0);
        let reversed: Vec<Row> = rows.iter().rev().cloned().collect();
        let backwards = Padded::new(&reversed, 0, 0, 0.0);
        let (a, b) = (together.forward(&model), backwards.forward(&model));
        for (index, row) in rows.iter().enumerate() {
            let expected = together.states(&a, index, row);
            close(&expected, &backwards.states(&b, rows.len() - 1 - index, row));
            let alone = Padded::new(std::slice::from_ref(row), 0, 0, 0.0);
            close(&expected, &alone.states(&alone.forward(&model), 0, row));
        }
    }
}

#[test]
fn packing_gives_the_same_gradients_and_zeros_for_padding() {
    let padded = Padded::new(&sample(), 6, 14, 0.5);
    let [plain, packed] = [padded.input(), padded.packed()];
    assert!(packed.packing.is_some());
    let AttentionMask::Padding(real) = plain.attention_mask.clone() else {
        unreachable!()
    };
    assert_same_of([plain, packed], &values(real));
}

#[rstest]
fn needed_positions_are_the_same_as_of_all(
    #[values(0, 1, 3)] every: usize,
    #[values(false, true)] packed: bool,
    #[values(false, true)] full: bool,
) {
    let padded = Padded::new(&sample(), 6, 14, 0.5);
    let mut input = match packed {
        true => padded.packed(),
        false => padded.input(),
    };
    let AttentionMask::Padding(mask) = input.attention_mask.clone() else {
        unreachable!()
    };
    let [rows, seq] = mask.dims();
    let real = values(mask.clone());
    if full {
        let mask = mask.unsqueeze_dim::<3>(1).expand([rows, seq, seq]);
        input.attention_mask = AttentionMask::Full(mask);
    }
    // None, all, or some of those that are no padding; and the first ones.
    let wanted = |place: &usize| real[*place] > 0.0 && every > 0 && place.is_multiple_of(every);
    let places: Vec<usize> = (0..rows * seq).filter(wanted).collect();
    let mut counts = vec![0.0; rows * seq];
    for place in (0..rows).map(|row| row * seq).chain(places.clone()) {
        counts[place] = 1.0;
    }
    let needed = input.clone().with_query_positions(places);
    assert!(needed.query_positions.is_some());
    assert_same_of([input, needed], &counts);
}

/// The second of two inputs gives the same as the first where `counts` is 1, also gradients, and zeros
/// where it is 0.
fn assert_same_of(inputs: [OscarInput<Autodiff<Flex>>; 2], counts: &[f32]) {
    type B = Autodiff<Flex>;
    let config = ModelConfig {
        hidden_dropout_prob: 0.0,
        attention_probs_dropout_prob: 0.0,
        ..config()
    };
    let model = Backbone::<B>::new(&config, &FlexDevice);
    let [batch, seq] = inputs[0].dims();
    let counts = Tensor::from_data(
        TensorData::new(counts.to_vec(), [batch, seq, 1]),
        &FlexDevice,
    );
    let all = |input| {
        let output = model.forward(input);
        let sequence = output.sequence;
        let weights =
            Tensor::<B, 1, Int>::arange(0..sequence.shape().num_elements() as i64, &FlexDevice)
                .float()
                .sin()
                .reshape(sequence.shape());
        // What does not count has no say in the loss.
        let counted = sequence.clone() * counts.clone();
        let loss = (counted.clone() * weights).sum() + output.pooled.sum();
        (
            [sequence, counted].map(values),
            Gradients::of(&model, &loss.backward()),
        )
    };
    let [([_, wanted], expected), ([sequence, counted], got)] = inputs.map(all);
    close(&wanted, &counted);
    assert_eq!(sequence, counted);
    assert_eq!(got.0.len(), expected.0.len());
    for ((name, got), (_, expected)) in got.0.iter().zip(&expected.0) {
        let scale = expected.iter().fold(1.0_f32, |a, b| a.max(b.abs()));
        for (got, expected) in got.iter().zip(expected) {
            assert!(
                (got - expected).abs() <= 1e-5 * scale,
                "{name}: {got}, {expected}"
            );
        }
    }
}

#[test]
fn text_alone_is_text_with_masked_regions() {
    let model = Backbone::<Flex>::new(&config(), &FlexDevice);
    let row = Row {
        ids: vec![2, 8, 9, 3],
        segments: vec![0, 0, 1, 1],
        regions: Vec::new(),
    };
    let none = Padded::new(std::slice::from_ref(&row), 0, 0, 0.0);
    let masked = Padded::new(std::slice::from_ref(&row), 0, 3, 5.0);
    assert!(none.input::<Flex>().region_features.is_none());
    let (a, b) = (none.forward(&model), masked.forward(&model));
    assert_eq!(a.sequence.dims(), [1, 4, config().hidden_size]);
    close(&none.states(&a, 0, &row), &masked.states(&b, 0, &row));
}

#[test]
fn a_mask_per_query_that_repeats_one_row_is_that_row() {
    let model = Backbone::<Flex>::new(&config(), &FlexDevice);
    let padded = Padded::new(&sample(), 2, 1, 0.5);
    let input = padded.input::<Flex>();
    let AttentionMask::Padding(mask) = input.attention_mask.clone() else {
        unreachable!()
    };
    let [batch, seq] = mask.dims();
    let full = AttentionMask::Full(mask.reshape([batch, 1, seq]).expand([batch, seq, seq]));
    let a = model.forward(input.clone());
    let b = model.forward(OscarInput {
        attention_mask: full,
        ..input
    });
    close(&values(a.sequence), &values(b.sequence));
}

#[test]
fn dropout_is_for_training_only() {
    let config = ModelConfig {
        hidden_dropout_prob: 0.3,
        attention_probs_dropout_prob: 0.3,
        ..config()
    };
    let model = Backbone::<Autodiff<Flex>>::new(&config, &FlexDevice);
    let padded = Padded::new(&sample(), 0, 0, 0.0);
    let train = || values(padded.forward(&model).sequence);
    assert_ne!(train(), train(), "training repeats itself");

    let frozen = model.valid();
    let evaluate = || values(padded.forward(&frozen).sequence);
    assert_eq!(evaluate(), evaluate());
    assert_ne!(train(), evaluate());
}

#[test]
fn a_batch_without_a_masked_token_has_the_contrastive_loss_alone() {
    let model = OscarForPretraining::<Autodiff<Flex>>::new(&config(), &FlexDevice);
    let padded = Padded::new(&sample(), 0, 0, 0.0);
    let batch = PretrainBatch {
        input: padded.input(),
        masked: MaskedTargets {
            positions: ints(vec![0, 0], [2]),
            labels: ints(vec![0, 0], [2]),
            weights: Tensor::zeros([2], &FlexDevice),
            count: 0,
        },
        relation: ints(vec![0, 1, 0], [3]),
        regions: None,
        answers: None,
        num_examples: 3,
        num_tokens: 20,
    };
    let output = model.forward(&batch);
    let loss = values(output.loss.clone());
    assert_eq!(values(output.mlm_loss), [0.0]);
    assert_eq!(loss, values(output.contrastive_loss));
    assert!(loss[0].is_finite() && loss[0] > 0.0);

    let grads = output.loss.backward();
    let mut check = Finite {
        grads: &grads,
        seen: 0,
    };
    model.visit(&mut check);
    assert!(check.seen > 30, "only {} gradients", check.seen);
}

#[rstest]
#[case("ce")]
#[case("bce")]
#[case("kl")]
fn a_single_label_is_a_regression_whatever_the_loss_is_called(#[case] loss_type: &str) {
    let config = ModelConfig {
        num_labels: 1,
        loss_type: loss_type.into(),
        ..config()
    };
    let model = OscarClassifier::<Flex>::new(&config, &FlexDevice);
    let logits = || floats(vec![0.5, -1.0], [2, 1]);
    let scores = ClassTargets::Soft(floats(vec![1.0, 0.0], [2, 1]));
    let classes = ClassTargets::Class(ints(vec![1, 0], [2]));
    assert_eq!(values(model.loss(logits(), scores)), [0.625]);
    assert_eq!(values(model.loss(logits(), classes)), [0.625]);
}

#[test]
fn sequences_of_half_a_decision_are_an_error() {
    let config = ModelConfig {
        num_choice: 2,
        ..config()
    };
    let model = OscarClassifier::<Flex>::joint(&config, &FlexDevice);
    let pooled = |rows| Tensor::zeros([rows, config.hidden_size], &FlexDevice);
    assert_eq!(model.classify(pooled(4)).unwrap().dims()[0], 2);
    let error = model.classify(pooled(3)).unwrap_err();
    assert_eq!((error.sequences, error.joined), (3, 2));
}

#[test]
fn losses_stay_finite_where_logits_are_extreme() {
    for loss_type in ["bce", "kl"] {
        let config = ModelConfig {
            num_labels: 3,
            loss_type: loss_type.into(),
            ..config()
        };
        let model = OscarClassifier::<Flex>::new(&config, &FlexDevice);
        let logits = floats(vec![1e4, -1e4, 0.0], [1, 3]);
        let scores = ClassTargets::Soft(floats(vec![0.0, 1.0, 0.3], [1, 3]));
        let loss = values(model.loss(logits, scores))[0];
        assert!(loss.is_finite() && loss > 1e3, "{loss_type}: {loss}");
    }
}

fn sample() -> Vec<Row> {
    let row = |ids: Vec<i32>, regions: usize| Row {
        segments: vec![0; ids.len()],
        regions: (0..regions * DIM)
            .map(|value| (value as f32).sin())
            .collect(),
        ids,
    };
    vec![
        row(vec![2, 5, 6, 7, 3], 3),
        row(vec![2, 9, 3], 5),
        row(vec![2, 11, 12, 3], 1),
    ]
}

fn config() -> ModelConfig {
    ModelConfig {
        vocab_size: 40,
        hidden_size: 16,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        intermediate_size: 24,
        max_position_embeddings: 16,
        img_feature_dim: DIM,
        use_img_layernorm: true,
        hidden_dropout_prob: 0.0,
        attention_probs_dropout_prob: 0.0,
        // Wider than usual, so that the rows and positions differ visibly.
        initializer_range: 0.2,
        ..ModelConfig::base()
    }
}

/// Rows padded to one length, with `filler` where nothing is.
struct Padded {
    rows: Vec<Row>,
    text: usize,
    regions: usize,
    filler: f32,
}

impl Padded {
    fn new(rows: &[Row], more_text: usize, more_regions: usize, filler: f32) -> Self {
        let longest = |length: fn(&Row) -> usize| rows.iter().map(length).max().unwrap_or(0);
        Self {
            rows: rows.to_vec(),
            text: longest(|row| row.ids.len()) + more_text,
            regions: longest(Row::num_regions) + more_regions,
            filler,
        }
    }

    fn input<B: Backend<Device = FlexDevice>>(&self) -> OscarInput<B> {
        let (mut ids, mut segments, mut regions, mut mask) = (vec![], vec![], vec![], vec![]);
        for row in &self.rows {
            let padded = |values: &[i32], filler| {
                let mut values = values.to_vec();
                values.resize(self.text, filler);
                values
            };
            ids.extend(padded(&row.ids, self.filler as i32));
            segments.extend(padded(&row.segments, i32::from(self.filler > 0.0)));
            regions.extend(&row.regions);
            regions.resize(
                regions.len() + (self.regions - row.num_regions()) * DIM,
                self.filler,
            );
            let real = |index, length| f32::from(u8::from(index < length));
            mask.extend((0..self.text).map(|index| real(index, row.ids.len())));
            mask.extend((0..self.regions).map(|index| real(index, row.num_regions())));
        }
        let batch = self.rows.len();
        OscarInput {
            input_ids: ints(ids, [batch, self.text]),
            token_type_ids: ints(segments, [batch, self.text]),
            query_positions: None,
            packing: None,
            position_ids: None,
            attention_mask: AttentionMask::Padding(floats(mask, [batch, self.text + self.regions])),
            region_features: (self.regions > 0)
                .then(|| floats(regions, [batch, self.regions, DIM])),
        }
    }

    /// The same without what is padding.
    fn packed<B: Backend<Device = FlexDevice>>(&self) -> OscarInput<B> {
        let input = self.input();
        let AttentionMask::Padding(mask) = &input.attention_mask else {
            unreachable!()
        };
        let real: Vec<bool> = values(mask.clone())
            .iter()
            .map(|value| *value > 0.0)
            .collect();
        OscarInput {
            packing: Packing::new(&real, &FlexDevice),
            ..input
        }
    }

    fn forward<B: oscar_core::ops::OscarBackend<Device = FlexDevice>>(
        &self,
        model: &Backbone<B>,
    ) -> BackboneOutput<B> {
        model.forward(self.input())
    }

    /// States of the row's own words and regions.
    fn states(&self, output: &BackboneOutput<Flex>, index: usize, row: &Row) -> Vec<f32> {
        let [_, seq, hidden] = output.sequence.dims();
        let states = output
            .sequence
            .clone()
            .narrow(0, index, 1)
            .reshape([seq, hidden]);
        let words = states.clone().narrow(0, 0, row.ids.len());
        let mut states_of_row = values(words);
        if row.num_regions() > 0 {
            states_of_row.extend(values(states.narrow(0, self.text, row.num_regions())));
        }
        states_of_row
    }
}

/// Panics at a gradient that is not finite.
struct Finite<'a, B: AutodiffBackend> {
    grads: &'a B::Gradients,
    seen: usize,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for Finite<'_, B> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        if let Some(grad) = param.val().grad(self.grads) {
            assert!(values(grad).iter().all(|value| value.is_finite()));
            self.seen += 1;
        }
    }
}

/// The gradient of every parameter that has one.
struct Gradients(Vec<(String, Vec<f32>)>);

impl Gradients {
    fn of<B: AutodiffBackend, M: Module<B>>(model: &M, grads: &B::Gradients) -> Self {
        struct Visit<'a, B: AutodiffBackend>(&'a B::Gradients, Vec<(String, Vec<f32>)>);
        impl<B: AutodiffBackend> ModuleVisitor<B> for Visit<'_, B> {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
                if let Some(grad) = param.val().grad(self.0) {
                    self.1.push((format!("{:?}", param.id), values(grad)));
                }
            }
        }
        let mut visit = Visit::<B>(grads, Vec::new());
        model.visit(&mut visit);
        Self(visit.1)
    }
}

fn close(a: &[f32], b: &[f32]) {
    assert_eq!(a.len(), b.len());
    for (index, (a, b)) in a.iter().zip(b).enumerate() {
        assert!((a - b).abs() <= ROUND_OFF, "[{index}] {a} and {b}");
    }
}

fn values<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

fn floats<B: Backend<Device = FlexDevice>, const D: usize>(
    values: Vec<f32>,
    shape: [usize; D],
) -> Tensor<B, D> {
    Tensor::from_data(TensorData::new(values, shape), &FlexDevice)
}

fn ints<B: Backend<Device = FlexDevice>, const D: usize>(
    values: Vec<i32>,
    shape: [usize; D],
) -> Tensor<B, D, Int> {
    Tensor::from_data(TensorData::new(values, shape), &FlexDevice)
}
