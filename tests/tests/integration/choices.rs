//! Heads over several images under the losses that no fixture has: against their formulas, on the
//! logits of the fixtures.

use std::path::PathBuf;

use burn::tensor::{Int, Tensor, TensorData};
use burn_flex::{Flex, FlexDevice};
use oscar_core::config::ModelConfig;
use oscar_core::model::{ClassTargets, OscarClassifier};
use rstest::rstest;
use safetensors::SafeTensors;

/// The configuration and the logits of a fixture.
fn fixture(name: &str, loss_type: &str) -> (ModelConfig, Vec<f32>) {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(name);
    let config = ModelConfig {
        loss_type: loss_type.into(),
        ..ModelConfig::from_file(dir.join("config.json")).unwrap()
    };
    let bytes = std::fs::read(dir.join("expected.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let logits = file.tensor("logits").unwrap();
    let values = logits.data().chunks_exact(4);
    let value = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().unwrap());
    (config, values.map(value).collect())
}

/// Some class of each row, and some score of each logit.
fn targets(rows: usize) -> (Vec<usize>, Vec<f64>) {
    let classes = (0..rows).map(|row| row % 3 % 2).collect();
    let scores = (0..2 * rows)
        .map(|index| (index % 4) as f64 / 3.0)
        .collect();
    (classes, scores)
}

/// Mean over rows of the logarithm of the right class's share.
fn cross_entropy(logits: &[f64], classes: &[usize]) -> f64 {
    let row = |(logits, class): (&[f64], &usize)| {
        let sum: f64 = logits.iter().map(|logit| logit.exp()).sum();
        sum.ln() - logits[*class]
    };
    let total: f64 = logits.chunks(2).zip(classes).map(row).sum();
    total / classes.len() as f64
}

/// Sum over labels, mean over rows.
fn binary_cross_entropy(logits: &[f64], scores: &[f64]) -> f64 {
    let label = |(logit, score): (&f64, &f64)| {
        let probability = 1.0 / (1.0 + (-logit).exp());
        -(score * probability.ln() + (1.0 - score) * (1.0 - probability).ln())
    };
    logits.iter().zip(scores).map(label).sum::<f64>() / (logits.len() / 2) as f64
}

#[rstest]
#[case("nlvr2_ce_linear", "bce")]
#[case("nlvr2_ce_mlp_ln", "bce")]
#[case("oscar_mc_bxe", "bce")]
// Officially these heads know no `kl`: they take it for cross entropy.
#[case("nlvr2_ce_linear", "kl")]
#[case("oscar_mc_bxe", "kl")]
#[case("oscar_mc_bxe", "ce")]
fn losses(#[case] set: &str, #[case] loss_type: &str) {
    let (config, logits) = fixture(set, loss_type);
    let rows = logits.len() / 2;
    let exact: Vec<f64> = logits.iter().map(|logit| f64::from(*logit)).collect();
    let (classes, scores) = targets(rows);
    let (targets, expected) = match loss_type {
        "bce" => {
            let values: Vec<f32> = scores.iter().map(|score| *score as f32).collect();
            let scores_there = Tensor::from_data(TensorData::new(values, [rows, 2]), &FlexDevice);
            let expected = binary_cross_entropy(&exact, &scores);
            (ClassTargets::Soft(scores_there), expected)
        }
        _ => {
            let values: Vec<i32> = classes.iter().map(|class| *class as i32).collect();
            let there =
                Tensor::<Flex, 1, Int>::from_data(TensorData::new(values, [rows]), &FlexDevice);
            (ClassTargets::Class(there), cross_entropy(&exact, &classes))
        }
    };
    let logits: Tensor<Flex, 2> =
        Tensor::from_data(TensorData::new(logits, [rows, 2]), &FlexDevice);
    let model = match set.starts_with("nlvr2") {
        true => OscarClassifier::<Flex>::joint(&config, &FlexDevice),
        false => OscarClassifier::<Flex>::new(&config, &FlexDevice),
    };
    let loss = model.loss(logits, targets);
    let loss = f64::from(loss.into_scalar());
    assert!(
        (loss - expected).abs() < 1e-5,
        "{set}, {loss_type}: {loss} and {expected}"
    );
}
