//! Steps whose loss or gradients are not finite numbers: detected before the optimiser uses them.
//!
//! A step reads one vector from the device: its statistics and the norms of its gradients. If the loss
//! or a norm is NaN or infinite, the weights and the optimiser stay as they were.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use oscar_files::FileError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::TrainError;
use crate::stats::{LOSS, StepStats};

/// File of a run that lists the steps that were not finite: a line each, with the step's examples.
pub const NON_FINITE_FILE: &str = "non-finite.jsonl";

/// Consecutive skipped steps after which a run ends: by then single examples are not the cause.
pub const MAX_CONSECUTIVE_SKIPPED: usize = 10;

/// Examples that a message names; the file has all of them.
const NAMED: usize = 4;

/// What to do about a step whose loss or gradients are not finite.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NonFinite {
    /// End the run.
    #[default]
    Stop,
    /// Skip the step, up to [`MAX_CONSECUTIVE_SKIPPED`] in a row.
    Skip,
}

/// Numbers of skipped steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// In the whole run.
    pub total: usize,
    /// Directly before the next step.
    pub in_a_row: usize,
}

impl Skipped {
    /// Counts a step.
    pub(crate) fn count(&mut self, skipped: bool) {
        self.total += usize::from(skipped);
        self.in_a_row = if skipped { self.in_a_row + 1 } else { 0 };
    }
}

/// Loss and gradient norm of a step that is not finite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct NonFiniteStep {
    loss: Option<f64>,
    grad_norm: f64,
}

impl NonFiniteStep {
    /// Whether the loss, or one of the `norms` of the gradients, is not finite.
    pub fn find(stats: &StepStats, norms: &[f64]) -> Option<Self> {
        let finite = stats.has_finite_loss() && norms.iter().all(|norm| norm.is_finite());
        let not_finite = norms.iter().find(|norm| !norm.is_finite());
        (!finite).then(|| Self {
            loss: stats.mean(LOSS),
            grad_norm: not_finite.or(norms.last()).copied().unwrap_or_default(),
        })
    }

    fn what(&self) -> &'static str {
        match self.loss.is_some_and(|loss| !loss.is_finite()) {
            true => "loss",
            false => "norm of the gradients",
        }
    }

    /// Appends step `step`, whose examples are `names`, to the file in `run`.
    pub fn record(&self, run: &Path, step: usize, names: &[String]) -> Result<(), TrainError> {
        let line = json!({
            "step": step,
            "what": self.what(),
            "loss": self.loss.map(number),
            "grad_norm": number(self.grad_norm),
            "examples": names,
        });
        let path = run.join(NON_FINITE_FILE);
        let append = || {
            let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
            file.write_all(format!("{line}\n").as_bytes())?;
            file.sync_all()
        };
        Ok(append().map_err(FileError::io("write", &path))?)
    }

    /// The error of step `step`, whose examples are `names`.
    pub fn error(&self, step: usize, names: &[String], run: &Path) -> TrainError {
        let mut examples = names[..names.len().min(NAMED)].join("; ");
        if names.len() > NAMED {
            examples += &format!("; and {} more", names.len() - NAMED);
        }
        TrainError::NonFinite {
            what: self.what(),
            step,
            examples,
            file: run.join(NON_FINITE_FILE),
        }
    }
}

/// JSON has no number that is not finite.
fn number(value: f64) -> Value {
    match value.is_finite() {
        true => json!(value),
        false => json!(value.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Statistic;

    fn loss(sum: f64) -> StepStats {
        StepStats {
            entries: vec![Statistic::new(LOSS, sum, 2.0)],
            ..StepStats::default()
        }
    }

    #[test]
    fn either_of_them_is_found() {
        assert_eq!(NonFiniteStep::find(&loss(1.0), &[0.5, 2.0]), None);
        let found = |sum, norms: &[f64]| {
            NonFiniteStep::find(&loss(sum), norms)
                .expect("not finite")
                .what()
        };
        assert_eq!(found(f64::NAN, &[1.0]), "loss");
        assert_eq!(found(f64::NEG_INFINITY, &[f64::NAN]), "loss");
        assert_eq!(found(1.0, &[f64::INFINITY, 1.0]), "norm of the gradients");
        assert_eq!(found(1.0, &[1.0, f64::NAN]), "norm of the gradients");
    }
}
