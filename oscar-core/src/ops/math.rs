//! Functions of one number that compilers turn into vector instructions: no branch, no call.

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

/// The error function, within 3e-7 of its value: a rational function of degree 9 over 8 in `x`,
/// exact to f32 between the points where it reaches ±1.
#[inline(always)]
pub(super) fn erf(x: f32) -> f32 {
    const LIMIT: f32 = 3.743_921;
    const NUMERATOR: [f32; 5] = [
        2.290_506_6e-4,
        3.408_291e-3,
        5.095_569_6e-2,
        1.852_083_2e-1,
        std::f32::consts::FRAC_2_SQRT_PI,
    ];
    const DENOMINATOR: [f32; 7] = [
        -1.179_160_3e-7,
        2.354_796_6e-5,
        1.017_962_5e-3,
        1.407_047e-2,
        1.109_850_5e-1,
        4.974_692_5e-1,
        1.0,
    ];
    let x = if x < -LIMIT { -LIMIT } else { x };
    let x = if x > LIMIT { LIMIT } else { x };
    let square = x * x;
    let mut p = NUMERATOR[0];
    for coefficient in &NUMERATOR[1..] {
        p = p * square + coefficient;
    }
    let mut q = DENOMINATOR[0];
    for coefficient in &DENOMINATOR[1..] {
        q = q * square + coefficient;
    }
    x * p / q
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

/// A pseudo-random number of an index: equal indices give equal numbers, for a given key.
#[inline(always)]
pub(super) fn random(key: [u32; 2], index: u32) -> u32 {
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
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f32 = a_chunks
        .remainder()
        .iter()
        .zip(b_chunks.remainder())
        .map(|(a, b)| a * b)
        .sum();
    for (a, b) in a_chunks.zip(b_chunks) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += a * b;
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
            assert!(error <= 3e-7, "erf({x}) is off by {error}");
        }
        assert!((erf(40.0) - 1.0).abs() <= 3e-7);
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
    fn random_numbers_are_uniform_and_differ_by_key() {
        let share = |key| {
            let below = (0..1_000_000)
                .filter(|i| random(key, *i) < u32::MAX / 10)
                .count();
            below as f64 / 1e6
        };
        for key in [[0, 0], [1, 0], [0, 1], [0xdead_beef, 42]] {
            assert!((share(key) - 0.1).abs() < 1e-3, "{key:?}: {}", share(key));
        }
        let same = (0..100_000)
            .filter(|i| random([1, 2], *i) == random([1, 3], *i))
            .count();
        assert!(same < 5);
    }
}
