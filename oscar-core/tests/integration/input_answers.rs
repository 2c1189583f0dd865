//! Questions whose answers are predicted: what becomes of an answer.

use std::sync::Arc;

use burn::tensor::Tensor;
use burn_flex::{Flex, FlexDevice};
use oscar_core::input::{
    AnswerLabels, AnswerTargets, ContrastConfig, EncodedPair, Example, ExampleSeed, PaddingConfig,
    PretrainEncoder, PretrainEncoderConfig, Purpose, TextB,
};

use crate::input_support::{Corpus, example, regions, tokenizer};

/// Two answers.
#[derive(Debug)]
struct YesNo;

impl AnswerLabels for YesNo {
    fn len(&self) -> usize {
        2
    }

    fn shares(&self, people: &[String]) -> Vec<(u32, f32)> {
        let share = |answer: &str| {
            let count = people.iter().filter(|said| *said == answer).count();
            count as f32 / people.len() as f32
        };
        let both = [(0, share("box")), (1, share("wall"))];
        both.into_iter().filter(|(_, share)| *share > 0.0).collect()
    }
}

/// Rows about images of their own: a question, and a caption with tags.
fn corpus() -> Corpus {
    let mut corpus = Corpus::default();
    let question = Example {
        text_b_is: TextB::Answer,
        answers: ["box", "box", "wall", "tower"].map(String::from).into(),
        ..example(0, "is a box on the wall", "box box wall tower", regions(2))
    };
    corpus.push(question);
    corpus.push(example(1, "a black box", "tower wall", regions(2)));
    corpus
}

fn encoder(answers: bool, unmatched: Option<f64>) -> PretrainEncoder {
    let config = PretrainEncoderConfig {
        unmatched: unmatched.unwrap_or(0.0),
        mask_probability: 0.0,
        contrast: ContrastConfig {
            polluted: 0.0,
            ..ContrastConfig::default()
        },
        ..PretrainEncoderConfig::default()
    };
    let purpose = Purpose {
        matching: unmatched.is_some(),
        ..Purpose::default()
    };
    let encoder = PretrainEncoder::new(tokenizer(), config, PaddingConfig::default()).unwrap();
    let answers = answers.then(|| Arc::new(YesNo) as Arc<dyn AnswerLabels>);
    encoder.with_purpose(purpose).with_answers(answers)
}

fn encode(encoder: &PretrainEncoder, row: usize) -> EncodedPair {
    let seed = ExampleSeed { seed: 7, epoch: 0 };
    encoder.encode(&corpus(), row, seed).unwrap()
}

#[test]
fn an_answer_is_a_target_and_no_input() {
    for unmatched in [None, Some(0.0)] {
        let predicting = encoder(true, unmatched);
        let pair = encode(&predicting, 0);
        assert_eq!(pair.answers, [(0, 0.5), (1, 0.25)]);
        assert!(pair.sequence.positions_b().is_empty());
        // Tags stay, and a caption has no answer.
        let caption = encode(&predicting, 1);
        assert!(caption.answers.is_empty());
        assert_eq!(caption.sequence.positions_b().len(), 2);

        let batch = predicting
            .batch::<Flex>(&[pair, caption], &FlexDevice)
            .unwrap();
        let answers = batch.answers.unwrap();
        let values = |tensor: Tensor<Flex, 1>| tensor.into_data().to_vec::<f32>().unwrap();
        assert_eq!(values(answers.scores.reshape([4])), [0.5, 0.25, 0.0, 0.0]);
        assert_eq!(values(answers.weights), [1.0, 0.0]);
    }
    let plain = encoder(false, None);
    let pair = encode(&plain, 0);
    assert_eq!(pair.sequence.positions_b().len(), 4);
    let batch = plain.batch::<Flex>(&[pair], &FlexDevice).unwrap();
    assert!(batch.answers.is_none());
}

#[test]
fn of_another_image_no_answer_is_predicted() {
    let pair = encode(&encoder(true, Some(1.0)), 0);
    assert_eq!(pair.relation, 1);
    assert!(pair.answers.is_empty());
}

#[test]
fn the_loss_is_the_divergence_of_the_rows_that_count() {
    let targets = AnswerTargets::<Flex> {
        scores: Tensor::from_floats([[1.0, 0.0], [0.0, 0.0]], &FlexDevice),
        weights: Tensor::from_floats([1.0, 0.0], &FlexDevice),
    };
    let logits = Tensor::from_floats([[0.0, 0.0], [9.0, 0.0]], &FlexDevice);
    // log 2, averaged over two answers.
    let loss = targets.loss(logits).into_scalar();
    assert!((loss - 2.0f32.ln() / 2.0).abs() < 1e-6, "{loss}");
}
