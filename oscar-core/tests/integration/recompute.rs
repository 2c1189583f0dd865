//! Gradient checkpointing gives the gradients that the whole graph gives, bit for bit, dropout
//! included.

use burn::backend::Autodiff;
use burn::module::{AutodiffModule, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{Int, Tensor, TensorData};
use burn_flex::{Flex, FlexDevice};
use oscar_core::config::ModelConfig;
use oscar_core::input::{AttentionMask, MaskedTargets, OscarInput, Packing, PretrainBatch};
use oscar_core::model::{Backbone, ClassTargets, OscarClassifier, OscarForPretraining, recompute};
use oscar_core::ops;

type B = Autodiff<Flex>;

const ROWS: usize = 4;
const TEXT: usize = 5;
const REGIONS: usize = 3;
const DIM: usize = 10;

fn config() -> ModelConfig {
    ModelConfig {
        vocab_size: 40,
        hidden_size: 16,
        num_hidden_layers: 3,
        num_attention_heads: 4,
        intermediate_size: 24,
        max_position_embeddings: 16,
        img_feature_dim: DIM,
        use_img_layernorm: true,
        hidden_dropout_prob: 0.2,
        attention_probs_dropout_prob: 0.2,
        initializer_range: 0.2,
        ..ModelConfig::base()
    }
}

fn ints<const D: usize>(values: Vec<i32>, shape: [usize; D]) -> Tensor<B, D, Int> {
    Tensor::from_data(TensorData::new(values, shape), &FlexDevice)
}

/// Rows of which some end in padding, which is not computed if they are `packed`.
fn input(packed: bool) -> OscarInput<B> {
    let seq = TEXT + REGIONS;
    let real: Vec<bool> = (0..ROWS * seq)
        .map(|at| at % seq < TEXT - at / seq || at % seq >= TEXT)
        .collect();
    let mask: Vec<f32> = real.iter().map(|real| f32::from(u8::from(*real))).collect();
    let regions: Vec<f32> = (0..ROWS * REGIONS * DIM)
        .map(|at| (at as f32).sin())
        .collect();
    let regions = TensorData::new(regions, [ROWS, REGIONS, DIM]);
    let ids = (0..ROWS * TEXT).map(|at| 1 + (at * 7 % 39) as i32);
    OscarInput {
        input_ids: ints(ids.collect(), [ROWS, TEXT]),
        token_type_ids: ints(vec![0; ROWS * TEXT], [ROWS, TEXT]),
        position_ids: None,
        attention_mask: AttentionMask::Padding(Tensor::from_data(
            TensorData::new(mask, [ROWS, seq]),
            &FlexDevice,
        )),
        region_features: Some(Tensor::from_data(regions, &FlexDevice)),
        query_positions: None,
        packing: match packed {
            true => Packing::new(&real, &FlexDevice),
            false => None,
        },
    }
}

/// Loss and gradients of each parameter, by steps with and without gradient checkpointing.
fn assert_same<M: AutodiffModule<B>>(model: &M, loss: impl Fn() -> Tensor<B, 1>) {
    let compute = |on| {
        ops::seed::<B>(&FlexDevice, 5);
        let ((loss, grads), next) = recompute::scope(on, || {
            let loss = loss();
            let value: f32 = loss.clone().into_scalar();
            let grads = recompute::backward(loss, model);
            // What is drawn after the step does not depend on how it was computed either.
            let ones = Tensor::<B, 1>::ones([64], &FlexDevice);
            let next = ops::dropout(ones, 0.5);
            ((value, grads), next.into_data().to_vec::<f32>())
        });
        (loss, values(model, grads), next.expect("f32"))
    };
    // Weights are drawn when they are first used, which is not to be part of either.
    compute(false);
    let (whole, again) = (compute(false), compute(true));
    assert!(whole.1.len() > 40, "{} gradients", whole.1.len());
    assert_eq!(whole, again);
}

/// The gradients of the parameters, in the order of the fields.
fn values<M: AutodiffModule<B>>(model: &M, grads: GradientsParams) -> Vec<Vec<f32>> {
    type Inner = <B as AutodiffBackend>::InnerBackend;
    struct Visit(GradientsParams, Vec<Vec<f32>>);
    impl ModuleVisitor<B> for Visit {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
            if let Some(grad) = self.0.remove::<Inner, D>(param.id) {
                self.1.push(grad.into_data().to_vec().expect("f32"));
            }
        }
    }
    let mut visit = Visit(grads, Vec::new());
    model.visit(&mut visit);
    visit.1
}

#[test]
fn pretraining_with_its_tied_output_matrix() {
    let model = OscarForPretraining::<B>::new(&config(), &FlexDevice);
    for packed in [false, true] {
        let batch = PretrainBatch {
            input: input(packed),
            masked: MaskedTargets {
                positions: ints(vec![1, 8, 17, 18], [ROWS]),
                labels: ints(vec![3, 20, 7, 39], [ROWS]),
                weights: Tensor::ones([ROWS], &FlexDevice),
                count: ROWS,
            },
            relation: ints(vec![0, 1, 1, 0], [ROWS]),
            regions: None,
            answers: None,
            num_examples: ROWS,
            num_tokens: ROWS * TEXT,
        };
        assert_same(&model, || model.forward(&batch).loss);
    }
}

#[test]
fn pairs_of_images() {
    let model = OscarClassifier::<B>::joint(&config(), &FlexDevice);
    assert_same(&model, || {
        let input = input(true).with_query_positions([]);
        let logits = model.forward(input).unwrap();
        model.loss(logits, ClassTargets::Class(ints(vec![1, 0], [2])))
    });
}

#[test]
fn several_passes_of_one_loss() {
    let model = Backbone::<B>::new(&config(), &FlexDevice);
    assert_same(&model, || {
        let passes = [input(false), input(true)].map(|input| model.forward(input).pooled);
        let [a, b] = passes;
        // A third pass that the loss does not depend on.
        let _ = model.forward(input(true));
        (a * b).sum()
    });
}

#[test]
fn inspected_layers_are_computed_once() {
    let model = Backbone::<B>::new(&config(), &FlexDevice);
    assert_same(&model, || {
        let (output, inspection) = model.inspect(input(false));
        assert_eq!(inspection.attentions.len(), 3);
        output.pooled.sum()
    });
}

#[test]
#[should_panic(expected = "3 segments wait for recompute::backward")]
fn gradients_that_are_not_asked_for_are_missed() {
    let model = Backbone::<B>::new(&config(), &FlexDevice);
    recompute::scope(true, || model.forward(input(false)).pooled.sum().backward());
}
