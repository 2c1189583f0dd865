//! The results that every training reports.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use oscar_train::{NON_FINITE_FILE, Outcome, bytes, duration};
use serde_json::{Value, json};

/// What is reported of a training whatever was trained.
pub struct Closing<'a> {
    pub parameters: usize,
    pub examples: usize,
    pub time: Duration,
    pub peak_memory: Option<u64>,
    pub outcome: &'a Outcome,
    pub directory: &'a Path,
}

impl Closing<'_> {
    /// Prints size, speed, skipped steps and the directory of the run.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn print(&self, out: &mut impl Write) -> Result<()> {
        let (steps, skipped) = (self.outcome.step, self.outcome.skipped.total);
        let peak = self.peak_memory.map(bytes);
        writeln!(
            out,
            "Trained {} parameters for {steps} steps in {} ({:.1} samples/s{})",
            self.parameters,
            duration(self.time),
            self.samples_per_second(),
            peak.map_or(String::new(), |peak| format!(", peak memory {peak}")),
        )?;
        if skipped > 0 {
            writeln!(
                out,
                "Skipped {skipped} of {steps} steps because their loss or gradients were not \
                 finite; {NON_FINITE_FILE} in the run directory lists their examples"
            )?;
        }
        let run = self.directory.display();
        writeln!(
            out,
            "Saved the run in {run}; for a report: oscar-bin report {run}"
        )?;
        Ok(())
    }

    /// The same for scripts, with the keys of `more`.
    pub fn json(&self, mut more: Value) -> Value {
        more["run"] = json!(self.directory);
        more["steps"] = json!(self.outcome.step);
        more["parameters"] = json!(self.parameters);
        more["best"] = json!(self.outcome.best);
        more["skipped_steps"] = json!(self.outcome.skipped.total);
        more["seconds"] = json!(self.time.as_secs_f64());
        more["samples_per_second"] = json!(self.samples_per_second());
        more["peak_memory_bytes"] = json!(self.peak_memory);
        more
    }

    fn samples_per_second(&self) -> f64 {
        self.examples as f64 / self.time.as_secs_f64().max(1e-9)
    }
}
