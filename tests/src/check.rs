//! Comparing computed tensors with the expected ones, and how far they may differ.
//!
//! A set says for each tensor how far the official fp32 value is from the same computation in fp64
//! (`max_abs_diff`) and how large the tensor is (`max_abs`). Two correct fp32 programs differ by
//! about that distance, so an element may differ by
//!
//! ```text
//! max(8 · max_abs_diff, 32 · 2⁻²³ · max_abs)
//! ```
//!
//! and by `128 · 2⁻²³ · max_abs` where a set gives no distance. The second term is there because
//! the official error of a small tensor may be 0 by luck. Parameters after optimiser steps may
//! differ by a little more where the gradient itself is close to round-off: see `steps.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;

use crate::host::{HostTensor, Tensors};

/// Spacing of fp32 numbers around 1.
pub const EPSILON: f64 = f32::EPSILON as f64;

/// How many distances to the fp64 value two fp32 programs may be apart.
const DISTANCES: f64 = 8.0;

/// Relative floor: the distance may be 0 by luck.
const FLOOR: f64 = 32.0 * EPSILON;

/// Relative bound of tensors without a recorded distance: that of the least exact gradients.
const UNKNOWN: f64 = 128.0 * EPSILON;

/// What a set says about the precision of a tensor.
#[derive(Clone, Copy, Debug)]
struct Bound {
    max_abs_diff: f64,
    max_abs: f64,
}

impl Bound {
    fn tolerance(self) -> f64 {
        (DISTANCES * self.max_abs_diff).max(FLOOR * self.max_abs)
    }
}

/// One comparison.
#[derive(Clone, Debug)]
pub struct Check {
    /// What was compared: a tensor's name, or what a list is about.
    pub name: String,
    /// Difference of the element that is worst in relation to what it may be.
    pub error: f64,
    /// What that element may differ by.
    pub tolerance: f64,
    /// Expected and computed value of that element, or what else is wrong.
    pub detail: String,
}

impl Check {
    /// Error over tolerance; above 1 is a failure.
    pub fn ratio(&self) -> f64 {
        match (self.error, self.tolerance) {
            (0.0, _) => 0.0,
            (error, tolerance) if tolerance > 0.0 && error.is_finite() => error / tolerance,
            _ => f64::INFINITY,
        }
    }

    /// Whether the values agree.
    pub fn passed(&self) -> bool {
        self.ratio() <= 1.0
    }

    fn broken(name: &str, detail: String) -> Self {
        Self {
            name: name.into(),
            error: f64::INFINITY,
            tolerance: 0.0,
            detail,
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.error.is_finite() {
            true => write!(
                f,
                "{}: {}, difference {:.2e}, tolerance {:.2e}",
                self.name, self.detail, self.error, self.tolerance
            ),
            false => write!(f, "{}: {}", self.name, self.detail),
        }
    }
}

/// All comparisons of a set.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// In the order they were made.
    pub checks: Vec<Check>,
    /// Expected tensors that nothing was compared with.
    pub unchecked: Vec<String>,
    /// Expected tensors that are only round-off and were left out.
    pub round_off: usize,
}

impl Report {
    /// The comparisons that failed.
    pub fn failures(&self) -> Vec<&Check> {
        self.checks.iter().filter(|check| !check.passed()).collect()
    }

    /// The comparison closest to its tolerance, or furthest beyond.
    pub fn worst(&self) -> Option<&Check> {
        self.checks
            .iter()
            .max_by(|a, b| a.ratio().total_cmp(&b.ratio()))
    }
}

/// Which elements to compare, and what they may differ by beyond the usual.
#[derive(Clone, Copy, Debug, Default)]
pub struct Only<'a> {
    /// Rows to compare; the tensor is cut into as many equal rows as there are entries.
    pub rows: Option<&'a [bool]>,
    /// Added to the tolerance of each element.
    pub slack: Option<&'a [f64]>,
}

/// Collects the comparisons of a set.
#[derive(Debug, Default)]
pub struct Checks {
    /// The set's expected tensors.
    pub expected: Tensors,
    bounds: BTreeMap<String, Bound>,
    done: BTreeSet<String>,
    report: Report,
}

impl Checks {
    /// Comparisons with `expected`, to the precision that `meta` gives.
    pub fn new(expected: Tensors, meta: &Value) -> Self {
        let number = |value: &Value, key: &str| value.get(key).and_then(Value::as_f64);
        let bounds = meta
            .get("fp32_vs_fp64")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .filter_map(|(name, value)| {
                let max_abs_diff = number(value, "max_abs_diff")?;
                let max_abs = number(value, "max_abs")?;
                Some((
                    name.clone(),
                    Bound {
                        max_abs_diff,
                        max_abs,
                    },
                ))
            })
            .collect();
        Self {
            expected,
            bounds,
            ..Self::default()
        }
    }

    /// Names of the expected tensors that start with `prefix`, without it.
    pub fn expected_under(&self, prefix: &str) -> Vec<String> {
        let names = self.expected.0.keys();
        names
            .filter_map(|name| name.strip_prefix(prefix))
            .map(str::to_string)
            .collect()
    }

    /// Compares with the expected tensor `name`, if the set has it.
    pub fn tensor(&mut self, name: &str, got: &HostTensor) {
        self.tensor_where(name, got, Only::default());
    }

    /// Compares with the expected tensor `name`, if the set has it, to the precision that the set
    /// gives for `like`: the same tensor of any of its pictures.
    pub fn tensor_like(&mut self, name: &str, like: &str, got: &HostTensor) {
        let Some(expected) = self.expected.find(name) else {
            return;
        };
        let check = match expected.shape == got.shape {
            true => {
                let tolerance = self.tolerance(like, expected);
                worst_element(name, got, expected, tolerance, Only::default())
            }
            false => Check::broken(
                name,
                format!("expected shape {:?}, got {:?}", expected.shape, got.shape),
            ),
        };
        self.done.insert(name.into());
        self.report.checks.push(check);
    }

    /// Compares some elements with the expected tensor `name`, if the set has it.
    pub fn tensor_where(&mut self, name: &str, got: &HostTensor, only: Only<'_>) {
        let Some(expected) = self.expected.find(name) else {
            return;
        };
        let same_size = expected.data.len() == got.data.len();
        // Losses are [] there and [1] here; else the shapes must agree.
        let check = match same_size && (expected.data.len() == 1 || expected.shape == got.shape) {
            true => worst_element(name, got, expected, self.tolerance(name, expected), only),
            false => Check::broken(
                name,
                format!("expected shape {:?}, got {:?}", expected.shape, got.shape),
            ),
        };
        self.done.insert(name.into());
        self.report.checks.push(check);
    }

    /// Compares values that have no tensor of their own, to the precision of the tensor `like`.
    pub fn part(&mut self, name: &str, like: &str, got: &HostTensor, expected: &HostTensor) {
        let tolerance = match self.expected.find(like) {
            Some(whole) => self.tolerance(like, whole),
            None => self.tolerance(like, expected),
        };
        let check = worst_element(name, got, expected, tolerance, Only::default());
        self.report.checks.push(check);
    }

    /// A tensor that is zero but for round-off, in a computation with values up to `scale`.
    pub fn zero(&mut self, name: &str, got: &HostTensor, scale: f64) {
        let zeros = HostTensor {
            shape: got.shape.clone(),
            data: vec![0.0; got.data.len()],
        };
        let label = format!("{name} (round-off)");
        let check = worst_element(&label, got, &zeros, UNKNOWN * scale, Only::default());
        self.report.checks.push(check);
        self.round_off(name);
    }

    /// An expected tensor that is round-off and not compared.
    pub fn round_off(&mut self, name: &str) {
        if self.expected.find(name).is_some() && self.done.insert(name.into()) {
            self.report.round_off += 1;
        }
    }

    /// Compares things that must be equal.
    pub fn exact<T: PartialEq + fmt::Debug>(&mut self, name: &str, got: &T, expected: &T) {
        let check = match got == expected {
            true => Check {
                name: name.into(),
                error: 0.0,
                tolerance: 0.0,
                detail: "equal".into(),
            },
            false => Check::broken(name, format!("expected {expected:?}, got {got:?}")),
        };
        self.report.checks.push(check);
    }

    /// Compares values of the expected tensor `name` that must be equal.
    pub fn exact_tensor<T: PartialEq + fmt::Debug>(
        &mut self,
        name: &str,
        got: &[T],
        expected: &[T],
    ) {
        self.exact_tensor_as(name, "", got, expected);
    }

    /// As [`exact_tensor`](Self::exact_tensor), one of several ways `how` to get them.
    pub fn exact_tensor_as<T: PartialEq + fmt::Debug>(
        &mut self,
        name: &str,
        how: &str,
        got: &[T],
        expected: &[T],
    ) {
        self.exact(format!("{name} {how}").trim_end(), &got, &expected);
        self.done.insert(name.into());
    }

    /// Compares numbers that may differ by a share of the expected one.
    pub fn close(&mut self, name: &str, got: f64, expected: f64, share: f64) {
        self.within(name, got, expected, share * expected.abs());
    }

    /// Compares numbers that may differ by `tolerance`.
    pub fn within(&mut self, name: &str, got: f64, expected: f64, tolerance: f64) {
        self.report.checks.push(Check {
            name: name.into(),
            error: (got - expected).abs(),
            tolerance,
            detail: format!("expected {expected}, got {got}"),
        });
    }

    /// A difference from the expected tensor `name` that was computed already.
    pub fn within_tensor(&mut self, name: &str, difference: f64, tolerance: f64) {
        self.within(name, difference, 0.0, tolerance);
        self.done.insert(name.into());
    }

    /// What was compared.
    pub fn finish(mut self) -> Report {
        let names = self.expected.0.into_keys();
        self.report.unchecked = names.filter(|name| !self.done.contains(name)).collect();
        self.report
    }

    fn tolerance(&self, name: &str, expected: &HostTensor) -> f64 {
        match self.bounds.get(name) {
            Some(bound) => bound.tolerance(),
            None => UNKNOWN * max_abs(&expected.data),
        }
    }
}

/// The largest magnitude of `values`.
pub fn max_abs(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |most, value| value.abs().max(most))
}

fn worst_element(
    name: &str,
    got: &HostTensor,
    expected: &HostTensor,
    tolerance: f64,
    only: Only<'_>,
) -> Check {
    let row = only
        .rows
        .map_or(1, |rows| got.data.len() / rows.len().max(1))
        .max(1);
    let mut worst = Check::broken(name, "no element to compare".into());
    let mut worst_ratio = f64::NEG_INFINITY;
    for (index, (&got, &expected)) in got.data.iter().zip(&expected.data).enumerate() {
        if only.rows.is_some_and(|rows| !rows[index / row]) {
            continue;
        }
        let tolerance = tolerance + only.slack.map_or(0.0, |slack| slack[index]);
        let error = match got.is_finite() {
            true => (got - expected).abs(),
            false => f64::INFINITY,
        };
        let check = Check {
            name: name.into(),
            error,
            tolerance,
            detail: String::new(),
        };
        if check.ratio() > worst_ratio {
            worst_ratio = check.ratio();
            worst = Check {
                detail: format!("[{index}] expected {expected:e}, got {got:e}"),
                ..check
            };
        }
    }
    worst
}
