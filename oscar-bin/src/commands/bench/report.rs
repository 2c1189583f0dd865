//! The results as a table or as JSON.

use std::io::Write;

use oscar_train::bytes;
use serde_json::{Value, json};

use super::Work;
use crate::output::{UNKNOWN, print_table};

/// One timed step.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Rows, pairs or images.
    pub samples: usize,
    /// Text tokens and regions without padding.
    pub tokens: usize,
    /// Positions, padding included.
    pub padded: usize,
    /// Useful floating-point operations.
    pub flops: f64,
    /// From the request for the batch to the last result.
    pub seconds: f64,
    /// Part of them in the optimiser.
    pub optimizer: Option<f64>,
}

/// A work at one batch size.
#[derive(Clone, Debug)]
pub struct Run {
    pub parameters: usize,
    pub steps: Vec<Step>,
}

/// A run with its memory and limits.
#[derive(Clone, Debug)]
pub struct Measured {
    pub work: Work,
    /// Name of the model where it is not that of the preset.
    pub model: Option<&'static str>,
    pub batch_size: usize,
    pub run: Run,
    /// Peak of main memory in bytes.
    pub peak_memory: Option<u64>,
    /// Least time for the memory traffic of the optimiser, in seconds.
    pub optimizer_floor: Option<f64>,
}

/// All results.
#[derive(Clone, Debug)]
pub struct Report {
    pub preset: String,
    pub device: String,
    pub backend: String,
    pub dtype: &'static str,
    /// Whether gradient checkpointing was on.
    pub gradient_checkpointing: bool,
    /// Floating-point operations per second of the best product of two matrices.
    pub peak_flops: f64,
    pub results: Vec<Measured>,
}

impl Run {
    /// Median over the steps of some quantity per second.
    pub fn rate(&self, quantity: impl Fn(&Step) -> f64) -> f64 {
        median(self.steps.iter().map(|step| quantity(step) / step.seconds))
    }

    /// Share of positions that are padding.
    pub fn padding_share(&self) -> f64 {
        let sum = |count: fn(&Step) -> usize| self.steps.iter().map(count).sum::<usize>();
        1.0 - sum(|step| step.tokens) as f64 / sum(|step| step.padded).max(1) as f64
    }

    fn optimizer(&self) -> Option<f64> {
        let seconds: Vec<f64> = self
            .steps
            .iter()
            .filter_map(|step| step.optimizer)
            .collect();
        (!seconds.is_empty()).then(|| median(seconds.into_iter()))
    }
}

/// The median; NaN of no values.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    match (
        sorted.get((sorted.len().max(1) - 1) / 2),
        sorted.get(sorted.len() / 2),
    ) {
        (Some(low), Some(high)) => (low + high) / 2.0,
        _ => f64::NAN,
    }
}

impl Report {
    /// Writes a table.
    ///
    /// # Errors
    ///
    /// If `out` does not take it.
    pub fn print(&self, out: &mut impl Write) -> std::io::Result<()> {
        writeln!(
            out,
            "{} on {}, {}, {}{}; matrix products: {:.1} GFLOP/s",
            self.preset,
            self.backend,
            self.dtype,
            self.device,
            match self.gradient_checkpointing {
                true => ", gradient checkpointing",
                false => "",
            },
            self.peak_flops / 1e9
        )?;
        let titles = "work,batch,samples/s,tokens/s,GFLOP/s,of peak,padding,memory,step s,\
                      optimiser s (floor)";
        let mut rows = vec![titles.split(',').map(String::from).collect()];
        rows.extend(self.results.iter().map(|measured| self.row(measured)));
        print_table(out, &rows)
    }

    fn row(&self, measured: &Measured) -> Vec<String> {
        let run = &measured.run;
        let flops = run.rate(|step| step.flops);
        let step = median(run.steps.iter().map(|step| step.seconds));
        vec![
            match measured.model {
                Some(model) => format!("{} {model}", measured.work.name()),
                None => measured.work.name().into(),
            },
            measured.batch_size.to_string(),
            format!("{:.2}", run.rate(|step| step.samples as f64)),
            format!("{:.0}", run.rate(|step| step.tokens as f64)),
            format!("{:.1}", flops / 1e9),
            format!("{:.1}%", 100.0 * flops / self.peak_flops),
            format!("{:.1}%", 100.0 * run.padding_share()),
            measured.peak_memory.map_or(UNKNOWN.into(), bytes),
            format!("{step:.3}"),
            match (run.optimizer(), measured.optimizer_floor) {
                (Some(seconds), Some(floor)) => format!("{seconds:.3} ({floor:.3})"),
                _ => UNKNOWN.into(),
            },
        ]
    }

    /// One document.
    pub fn json(&self) -> Value {
        let results: Vec<Value> = self.results.iter().map(|one| self.result(one)).collect();
        json!({ "device": self.device, "results": results })
    }

    fn result(&self, measured: &Measured) -> Value {
        let run = &measured.run;
        let flops = run.rate(|step| step.flops);
        let list = |of: fn(&Step) -> Value| run.steps.iter().map(of).collect::<Vec<_>>();
        json!({
            "work": measured.work.name(),
            "preset": self.preset,
            "model": measured.model,
            "parameters": run.parameters,
            "backend": self.backend,
            "dtype": self.dtype,
            "gradient_checkpointing": self.gradient_checkpointing,
            "batch_size": measured.batch_size,
            "samples_per_s": run.rate(|step| step.samples as f64),
            "tokens_per_s": run.rate(|step| step.tokens as f64),
            "flops_per_s": flops,
            "share_of_peak": flops / self.peak_flops,
            "peak_flops_per_s": self.peak_flops,
            "peak_memory_bytes": measured.peak_memory,
            "padding_share": run.padding_share(),
            "step_samples": list(|step| json!(step.samples)),
            "step_tokens": list(|step| json!(step.tokens)),
            "step_flops": list(|step| json!(step.flops)),
            "step_seconds": list(|step| json!(step.seconds)),
            "optimizer_seconds": run.optimizer(),
            "optimizer_floor_seconds": measured.optimizer_floor,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(tokens: usize, padded: usize, seconds: f64) -> Step {
        Step {
            samples: 2,
            tokens,
            padded,
            flops: 10.0,
            seconds,
            optimizer: None,
        }
    }

    #[test]
    fn medians_and_padding_of_known_steps() {
        let run = Run {
            parameters: 1,
            steps: vec![step(30, 40, 1.0), step(20, 60, 4.0), step(10, 20, 2.0)],
        };
        assert_eq!(run.rate(|step| step.samples as f64), 1.0);
        assert_eq!(run.padding_share(), 0.5);
        assert_eq!(run.optimizer(), None);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), 2.5);
        assert!(median([].into_iter()).is_nan());
    }
}
