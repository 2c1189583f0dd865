//! Functions of one number that compilers turn into vector instructions: no branch, no call.

use super::element::Element;

/// `e^x` for `x <= 0`, within 2 units in the last place; 0 below -87.3.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    // Adding this constant rounds to an integer, which then stands in the low bits.
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let clamped = if x < -87.3 { -87.3 } else { x };
    let shifted = clamped * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = clamped - n * LN2_HIGH - n * LN2_LOW;
    // Taylor's series of e^r with the last coefficients fitted to |r| <= ln 2 / 2.
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_6e-1;
    let p = p * r + 0.5;
    let p = p * r * r + r + 1.0;
    let power = f32::from_bits((shifted.to_bits().wrapping_add(127)) << 23);
    if x < -87.3 { 0.0 } else { p * power }
}

/// The error function, within 1.6e-7 of its value.
///
/// Near 0 its power series; elsewhere 1 less its complement, for which a Chebyshev fit of
/// `erfc(x) = t e^(p(t) - x²)`, `t = 1 / (1 + x/2)`, is known to 1.2e-7 of itself.
#[inline(always)]
pub(super) fn erf(x: f32) -> f32 {
    /// 2/sqrt(pi) (-1)^n / (n! (2n + 1)), highest power first.
    const SERIES: [f32; 11] = [
        1.480_719_3e-8,
        -1.636_584_5e-7,
        1.646_211_4e-6,
        -1.492_565e-5,
        1.205_533_3e-4,
        -8.548_327e-4,
        5.223_978e-3,
        -2.686_617_1e-2,
        1.128_379_2e-1,
        -3.761_263_9e-1,
        std::f32::consts::FRAC_2_SQRT_PI,
    ];
    const COMPLEMENT: [f32; 10] = [
        0.170_872_77,
        -0.822_152_2,
        1.488_515_9,
        -1.135_204,
        0.278_868_08,
        -0.186_288_06,
        0.096_784_18,
        0.374_091_96,
        1.000_023_7,
        -1.265_512_2,
    ];
    let size = x.abs();
    let square = x * x;
    let near = x * polynomial(&SERIES, square);
    let t = 1.0 / (1.0 + 0.5 * size);
    let complement = t * exp(polynomial(&COMPLEMENT, t) - square);
    let far = (1.0 - complement).copysign(x);
    if size < 1.0 { near } else { far }
}

/// Highest power first.
#[inline(always)]
fn polynomial(coefficients: &[f32], x: f32) -> f32 {
    let mut value = coefficients[0];
    for coefficient in &coefficients[1..] {
        value = value * x + coefficient;
    }
    value
}

/// Φ(x): the share of a standard normal variable below `x`.
#[inline(always)]
pub(super) fn normal_cdf(x: f32) -> f32 {
    0.5 + 0.5 * erf(x * std::f32::consts::FRAC_1_SQRT_2)
}

/// Density of a standard normal variable.
#[inline(always)]
pub(super) fn normal_density(x: f32) -> f32 {
    // 1 / sqrt(2 pi)
    const FACTOR: f32 = 0.5 * std::f32::consts::FRAC_1_SQRT_2 * std::f32::consts::FRAC_2_SQRT_PI;
    FACTOR * exp(-0.5 * x * x)
}

/// `1 / (1 + e^-x)`
#[inline(always)]
pub(super) fn sigmoid(x: f32) -> f32 {
    // Of the smaller power, which does not overflow.
    let power = exp(-x.abs());
    let share = 1.0 / (1.0 + power);
    if x < 0.0 { power * share } else { share }
}

/// A pseudo-random number of an index: equal indices give equal numbers, for a given key.
///
/// It is the finaliser of MurmurHash3 (Appleby, 2011) with the key mixed in before and after its first
/// multiplication.
#[inline(always)]
pub(super) fn hash(key: [u32; 2], index: u32) -> u32 {
    let mut x = index.wrapping_mul(0x9e37_79b9) ^ key[0];
    x ^= x >> 16;
    x = x.wrapping_mul(0x85eb_ca6b).wrapping_add(key[1]);
    x ^= x >> 13;
    x = x.wrapping_mul(0xc2b2_ae35);
    x ^ (x >> 16)
}

const LANES: usize = 16;

/// Sum, in an order that vector instructions can follow.
#[inline(always)]
pub(super) fn sum(values: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let chunks = values.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane += value;
        }
    }
    lanes.iter().sum::<f32>() + rest.iter().sum::<f32>()
}

/// Sum of products, in an order that vector instructions can follow.
#[inline(always)]
pub(super) fn dot<T: Element>(a: &[f32], b: &[T]) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f32 = a_chunks
        .remainder()
        .iter()
        .zip(b_chunks.remainder())
        .map(|(a, b)| a * b.to_f32())
        .sum();
    for (a, b) in a_chunks.zip(b_chunks) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += a * b.to_f32();
        }
    }
    lanes.iter().sum::<f32>() + rest
}

/// Largest value, in an order that vector instructions can follow.
#[inline(always)]
pub(super) fn max(values: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let chunks = values.chunks_exact(LANES);
    let rest = chunks
        .remainder()
        .iter()
        .copied()
        .fold(f32::NEG_INFINITY, greater);
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane = greater(*lane, *value);
        }
    }
    greater(lanes.iter().copied().fold(f32::NEG_INFINITY, greater), rest)
}

/// The greater of two numbers; a comparison, which `f32::max` with its rules for NaN is not.
#[inline(always)]
fn greater(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A fine grid over `[from, to]`.
    fn grid(from: f32, to: f32) -> impl Iterator<Item = f32> {
        (0..=200_000).map(move |i| from + (to - from) * i as f32 / 200_000.0)
    }

    #[test]
    fn exp_is_the_exponential() {
        for x in grid(-90.0, 0.0) {
            let expected = f64::from(x).exp();
            let error = (f64::from(exp(x)) - expected).abs();
            assert!(
                error <= 2.4e-7 * expected + 1.3e-38,
                "exp({x}) is off by {error}"
            );
        }
        assert_eq!(exp(-10_000.0), 0.0);
        assert_eq!(exp(0.0), 1.0);
    }

    #[test]
    fn sigmoid_is_the_logistic_function() {
        for x in grid(-100.0, 100.0).step_by(10) {
            let expected = 1.0 / (1.0 + (-f64::from(x)).exp());
            let error = (f64::from(sigmoid(x)) - expected).abs();
            assert!(
                error <= 4e-7 * expected + 1.3e-38,
                "sigmoid({x}) is off by {error}"
            );
        }
    }

    /// The integral of the density by Simpson's rule: as exact as is needed here.
    fn erf_by_integration(x: f64) -> f64 {
        let n = 2000;
        let step = x / f64::from(n);
        let density = |t: f64| (-t * t).exp();
        let inner: f64 = (1..n)
            .map(|i| density(step * f64::from(i)) * if i % 2 == 0 { 2.0 } else { 4.0 })
            .sum();
        2.0 / std::f64::consts::PI.sqrt() * step / 3.0 * (density(0.0) + inner + density(x))
    }

    #[test]
    fn erf_is_the_error_function() {
        for x in grid(-5.0, 5.0).step_by(100) {
            let error = (f64::from(erf(x)) - erf_by_integration(f64::from(x))).abs();
            assert!(error <= 1.7e-7, "erf({x}) is off by {error}");
        }
        assert_eq!(erf(40.0), 1.0);
    }

    #[test]
    fn reductions_take_every_value() {
        for len in [0, 1, 15, 16, 17, 47, 128] {
            let values: Vec<f32> = (0..len).map(|i| (i % 7) as f32 - 3.0).collect();
            assert_eq!(sum(&values), values.iter().sum::<f32>());
            assert_eq!(
                dot(&values, &values),
                values.iter().map(|v| v * v).sum::<f32>()
            );
            assert_eq!(
                max(&values),
                values.iter().copied().fold(f32::NEG_INFINITY, f32::max)
            );
        }
    }

    #[test]
    fn hashes_are_uniform_and_differ_by_key() {
        let share = |key| {
            let below = (0..1_000_000)
                .filter(|i| hash(key, *i) < u32::MAX / 10)
                .count();
            below as f64 / 1e6
        };
        for key in [[0, 0], [1, 0], [0, 1], [0xdead_beef, 42]] {
            assert!((share(key) - 0.1).abs() < 1e-3, "{key:?}: {}", share(key));
        }
        let same = (0..100_000)
            .filter(|i| hash([1, 2], *i) == hash([1, 3], *i))
            .count();
        assert!(same < 5);
    }
}
