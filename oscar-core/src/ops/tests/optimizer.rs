//! The optimiser's steps of a backend against their definition.

use burn::tensor::{Distribution, Tensor};

use super::suite::assert_close;
use super::{DEVICE, Inner};
use crate::ops::backend::{primitive, tensor};
use crate::ops::{AdamWStep, AdamWUpdate, Guard, Kernels, optimizer};

fn random(len: usize) -> Tensor<Inner, 1> {
    Tensor::random([len], Distribution::Normal(0.0, 1.0), &DEVICE)
}

#[test]
fn gradients_are_summed_and_scaled() {
    for len in [1, 17, 200_000] {
        let x = random(len);
        let factor = Tensor::from_floats([0.3], &DEVICE);
        let values = x.to_data();
        let squares = values.iter::<f64>().map(|value| value * value);
        let mean = (squares.sum::<f64>() / len as f64) as f32;
        let got = Inner::sum_of_squares(x.clone()) / len as f64;
        let mean = Tensor::<Inner, 1>::from_floats([mean], &DEVICE);
        assert_close("sum of squares", got, mean);
        let kept = x.clone();
        let scaled = Inner::scale(x.clone(), factor);
        assert_close("scaled", scaled, x.clone() * 0.3);
        assert_close("the original", x, kept);
    }
    let broken = Tensor::<Inner, 1>::from_floats([1.0, f32::NAN, 2.0], &DEVICE);
    let squares = Inner::sum_of_squares(broken).into_scalar();
    assert!(squares.is_nan(), "{squares}");
}

#[test]
fn adamw_is_adamw() {
    let step = AdamWStep {
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        step_size: 3e-3,
        decay: 0.999,
    };
    for len in [1, 17, 70_000] {
        let [p, g, m] = [random(len), random(len), random(len)];
        let v = random(len).powi_scalar(2);
        // Kept, so that an update in place would be seen.
        let kept = p.clone();
        let got = Inner::adamw(g.clone(), [p.clone(), m.clone(), v.clone()], step);
        let expected = optimizer::adamw(g, [p.clone(), m, v], step);
        for (got, expected) in got.into_iter().zip(expected) {
            assert_close("adamw", got, expected);
        }
        assert_close("the original", p, kept);
    }
}

/// Lengths of tensors that an update takes at once: more than fit one launch, and of several shares.
fn lengths() -> Vec<usize> {
    let small = (1..150).map(|number| number * 7 % 31 + 1);
    small.chain([70_000, 16_384, 1]).collect()
}

#[test]
fn many_tensors_are_one_norm_and_are_clipped_together() {
    let grads: Vec<_> = lengths().into_iter().map(random).collect();
    let primitives = || grads.iter().cloned().map(primitive).collect::<Vec<_>>();
    let all = Inner::collect(grads.clone());
    let values: Vec<f32> = all.to_data().iter().collect();
    let expected: Vec<f32> = grads
        .iter()
        .flat_map(|grad| grad.to_data().iter::<f32>().collect::<Vec<_>>())
        .collect();
    assert_eq!(values, expected, "one after the other");

    let squares = values.iter().map(|value| f64::from(value * value));
    let expected = squares.sum::<f64>().sqrt();
    let norm: Tensor<Inner, 1> = Inner::joint_norm(primitives());
    let got = f64::from(norm.to_data().iter::<f32>().next().expect("one value"));
    assert!((got / expected - 1.0).abs() < 1e-5, "{got} for {expected}");

    for (max_norm, factor) in [(0.5 * expected, 0.5), (2.0 * expected, 1.0)] {
        let clipped = Inner::clip(primitives(), norm.clone(), max_norm);
        for (clipped, grad) in clipped.into_iter().zip(&grads) {
            assert_close(
                "clipped",
                tensor::<Inner, 1>(clipped),
                grad.clone() * factor,
            );
        }
    }
}

#[test]
fn many_parameters_make_one_step_or_none() {
    let step = |number: usize| AdamWStep {
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        step_size: 3e-3 / (number + 1) as f64,
        decay: 1.0 - 1e-3 * (number % 2) as f64,
    };
    let parameters = lengths().into_iter().map(|len| {
        let [parameter, grad, exp_avg] = [(); 3].map(|()| random(len));
        [parameter, grad, exp_avg, random(len).powi_scalar(2)]
    });
    let parameters: Vec<_> = parameters.collect();
    let one = |value: f32| Tensor::<Inner, 1>::from_floats([value], &DEVICE);
    for (clips, broken) in [
        (false, None),
        (true, None),
        (true, Some(f32::NAN)),
        (false, Some(f32::INFINITY)),
    ] {
        let guard = Guard {
            clip: clips.then(|| (one(4.0), 1.0)),
            finite: [1.0].into_iter().chain(broken).map(one).collect(),
        };
        let updates = parameters
            .iter()
            .enumerate()
            .map(|(number, [p, g, m, v])| AdamWUpdate {
                parameter: primitive(p.clone()),
                grad: primitive(g.clone()),
                moments: [m.clone(), v.clone()],
                step: step(number),
            });
        let updated = Inner::adamw_all(updates.collect(), &guard);
        assert_eq!(updated.len(), parameters.len());
        for (number, ((parameter, moments), [p, g, m, v])) in
            updated.into_iter().zip(&parameters).enumerate()
        {
            let state = [p, m, v].map(Tensor::clone);
            let grad = g.clone() * if clips { 1.0 / (4.0 + 1e-6) } else { 1.0 };
            let expected = match broken {
                None => optimizer::adamw(grad, state, step(number)),
                Some(_) => state,
            };
            let [exp_avg, exp_avg_sq] = moments;
            let got = [tensor(parameter), exp_avg, exp_avg_sq];
            for (got, expected) in got.into_iter().zip(expected) {
                assert_close("adamw", got, expected);
            }
        }
    }
}
