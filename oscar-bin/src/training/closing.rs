//! The last lines that a training prints.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use oscar_train::{NON_FINITE_FILE, Outcome, bytes, duration};

/// What the last lines of a training say.
pub struct Closing<'a> {
    pub parameters: usize,
    pub examples: usize,
    pub time: Duration,
    pub peak_memory: Option<u64>,
    pub outcome: &'a Outcome,
    pub directory: &'a Path,
}

impl Closing<'_> {
    /// Says what was trained, how fast, which steps were left out, and where the run lies.
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
            self.examples as f64 / self.time.as_secs_f64().max(1e-9),
            peak.map_or(String::new(), |peak| format!(", peak memory {peak}")),
        )?;
        if skipped > 0 {
            writeln!(
                out,
                "Left out {skipped} of {steps} steps, whose loss or gradients were not finite: \
                 {NON_FINITE_FILE} of the run names their examples"
            )?;
        }
        let run = self.directory.display();
        writeln!(
            out,
            "The run lies in {run}; look at it by: oscar-bin report {run}"
        )?;
        Ok(())
    }
}
