//! The results of a training.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use oscar_train::{NON_FINITE_FILE, Outcome, bytes, duration};
use serde_json::{Value, json};

use crate::output::{self, escape_line, print_json, quoted, thousands};

/// What a training reports.
pub struct Results {
    pub parameters: usize,
    pub examples: usize,
    pub time: Duration,
    pub peak_memory: Option<u64>,
    pub outcome: Outcome,
    pub directory: PathBuf,
    /// What the command adds, as text.
    pub text: Vec<u8>,
    /// The same as an object.
    pub json: Value,
}

impl Results {
    /// Prints what the command adds, then size, speed, skipped steps and the directory of the run; or
    /// one JSON document.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn print(self, as_json: bool) -> Result<()> {
        if as_json {
            return print_json(&self.document());
        }
        let mut out = output::stdout();
        out.write_all(&self.text)?;
        let run = self.directory.display().to_string();
        let run = escape_line(&run);
        if self.examples == 0 {
            // A finished run was resumed.
            writeln!(
                out,
                "Nothing was trained: {run} has all its {}. To train on from its weights, start another \
                 run with --init {}",
                counted(self.outcome.step, "step"),
                quoted(self.directory.join("last"))
            )?;
            return Ok(());
        }
        let (steps, skipped) = (self.outcome.step, self.outcome.skipped.total);
        let peak = self.peak_memory.map(bytes);
        writeln!(
            out,
            "Trained {} parameters for {} in {} ({:.1} samples/s{})",
            thousands(self.parameters),
            counted(steps, "step"),
            duration(self.time),
            self.samples_per_second(),
            peak.map_or(String::new(), |peak| format!(", peak memory {peak}")),
        )?;
        if skipped > 0 {
            writeln!(
                out,
                "Skipped {skipped} of {} because their loss or gradients were not \
                 finite; {NON_FINITE_FILE} in the run directory lists their examples",
                counted(steps, "step")
            )?;
        }
        writeln!(
            out,
            "Run saved to {run}; for a report, run: oscar-bin report {}",
            quoted(&self.directory)
        )?;
        Ok(())
    }

    fn document(self) -> Value {
        let speed = self.samples_per_second();
        let mut document = self.json;
        document["run"] = json!(output::shown(&self.directory));
        document["steps"] = json!(self.outcome.step);
        document["parameters"] = json!(self.parameters);
        document["best"] = json!(self.outcome.best);
        document["skipped_steps"] = json!(self.outcome.skipped.total);
        document["seconds"] = json!(self.time.as_secs_f64());
        document["samples_per_second"] = json!(speed);
        document["peak_memory_bytes"] = json!(self.peak_memory);
        document
    }

    fn samples_per_second(&self) -> f64 {
        self.examples as f64 / self.time.as_secs_f64().max(1e-9)
    }
}

/// `1 step`, `2,000 steps`.
fn counted(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", thousands(number))
}
