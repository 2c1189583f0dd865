//! The loss of captions beyond what the official sets hold: padding, and what is left out.

use burn::tensor::{Int, Tensor};
use burn_flex::{Flex, FlexDevice};
use oscar_core::input::MaskedTargets;
use oscar_core::model::CaptionLoss;

const DEVICE: FlexDevice = FlexDevice;

fn logits() -> Tensor<Flex, 2> {
    Tensor::from_floats(
        [
            [2.0, 0.0, 1.0, -1.0],
            [0.0, 1.0, 0.0, 3.0],
            [0.5, 0.5, 0.5, 0.5],
            [9.0, 0.0, 0.0, 0.0],
        ],
        &DEVICE,
    )
}

fn labels() -> Tensor<Flex, 1, Int> {
    Tensor::from_ints([0, 1, 2, 3], &DEVICE)
}

fn loss(label_smoothing: f64, drop_worst: f64, tokens: usize) -> f32 {
    let loss = CaptionLoss {
        label_smoothing,
        drop_worst,
    };
    let weights: Vec<f32> = (0..4)
        .map(|row| f32::from(u8::from(row < tokens)))
        .collect();
    let targets = MaskedTargets {
        positions: labels(),
        labels: labels(),
        weights: Tensor::from_floats(&weights[..], &DEVICE),
        count: tokens,
    };
    loss.forward(logits(), targets).into_scalar()
}

/// Distance of the target's distribution from the softmax of a row, straight from its definition.
fn divergence(row: &[f64], label: usize, smoothing: f64) -> f64 {
    let total: f64 = row.iter().map(|logit| logit.exp()).sum();
    let target = |at: usize| match at == label {
        true => 1.0 - smoothing,
        false => smoothing / (row.len() - 1) as f64,
    };
    let term = |at: usize| match target(at) {
        0.0 => 0.0,
        target => target * (target.ln() - (row[at].exp() / total).ln()),
    };
    (0..row.len()).map(term).sum()
}

fn divergences(smoothing: f64) -> Vec<f64> {
    let values: Vec<f64> = logits().into_data().iter::<f64>().collect();
    let rows = values.chunks(4).enumerate();
    rows.map(|(label, row)| divergence(row, label, smoothing))
        .collect()
}

#[test]
fn padding_does_not_count() {
    for smoothing in [0.0, 0.1] {
        let each = divergences(smoothing);
        for tokens in 1..=4 {
            let wanted = each[..tokens].iter().sum::<f64>() / tokens as f64;
            let found = f64::from(loss(smoothing, 0.0, tokens));
            assert!(
                (found - wanted).abs() < 1e-5,
                "{smoothing} {tokens}: {found} {wanted}"
            );
        }
        assert_eq!(loss(smoothing, 0.0, 0), 0.0);
    }
}

#[test]
fn the_worst_tokens_are_left_out() {
    // The second and the last row are furthest off.
    let each = divergences(0.0);
    assert!(each[3] > each[1] && each[1] > each[2] && each[2] > each[0]);
    let close = |found: f32, wanted: f64| assert!((f64::from(found) - wanted).abs() < 1e-5);
    // int(4 * 0.8) = 3 of four stay, int(3 * 0.8) = 2 of three.
    close(loss(0.0, 0.2, 4), (each[0] + each[1] + each[2]) / 3.0);
    close(loss(0.0, 0.2, 3), (each[0] + each[2]) / 2.0);
    // One always stays.
    close(loss(0.0, 0.9, 4), each[0]);
    assert_eq!(loss(0.0, 0.2, 0), 0.0);
}
