//! `bench --model-of GPU`: what a pre-training step takes on a GPU that is not at hand.
//!
//! A roofline. Each part of a step takes the longest of three times: of its operations at the peak of
//! the GPU's matrix products, of its bytes at the bandwidth of its memory, and of its launches, which
//! a GPU starts one after the other. The host works ahead of the GPU, so that a step takes what the
//! slower of both takes. No kernel reaches its peak: a prediction is the most that can be expected of
//! the kernels as they are, and says what to improve.

mod gpu;
mod terms;

use std::io::Write;

use anyhow::{Result, ensure};
use oscar_core::config::RegionProjection;
use oscar_core::ops::Precision;
use serde_json::{Value, json};

use super::{Plan, Work};
use crate::output::print_table;

pub use gpu::Gpu;
use gpu::Peaks;
use terms::{Sizes, Term};

/// Least time between the starts of two kernels, in seconds.
const LAUNCH_ON_DEVICE: f64 = 2e-6;

/// Time of the host for a launch, in seconds, on the thread that feeds the device: 50 ms for the 2,023
/// launches of a step, by a profile with `tools/dry-cuda`.
const LAUNCH_ON_HOST: f64 = 25e-6;

/// What a time is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bound {
    Operations,
    Bytes,
    Launches,
}

impl Bound {
    fn name(self) -> &'static str {
        match self {
            Self::Operations => "operations",
            Self::Bytes => "memory",
            Self::Launches => "launches",
        }
    }
}

/// What a step takes.
#[derive(Clone, Debug)]
pub struct Prediction {
    gpu: Gpu,
    precision: Precision,
    batch_size: usize,
    parameters: f64,
    /// Longest first.
    terms: Vec<(Term, f64, Bound)>,
}

impl Prediction {
    /// Of the mean of the steps of a plan.
    ///
    /// # Errors
    ///
    /// If the plan is not pre-training of Oscar, or has gradient checkpointing.
    pub fn new(gpu: Gpu, work: Work, plan: &Plan, precision: Precision) -> Result<Self> {
        ensure!(
            work == Work::Pretrain,
            "--model-of predicts pre-training steps only; remove --work {}",
            work.name()
        );
        ensure!(
            !plan.gradient_checkpointing,
            "--model-of does not know --gradient-checkpointing; remove one of them"
        );
        ensure!(
            plan.model.region_projection == RegionProjection::Joined,
            "--model-of knows the presets tiny, base and large"
        );
        let (longest, _) = plan.lengths.limits(work);
        let rows = plan.lengths.rows(work, plan.steps * plan.batch_size);
        let steps: Vec<Sizes> = rows
            .chunks(plan.batch_size)
            .map(|rows| Sizes::new(&plan.model, rows, longest, precision))
            .collect();
        let peaks = gpu.peaks(precision);
        let mut terms: Vec<_> = mean(steps.iter().map(Sizes::terms))
            .into_iter()
            .map(|term| {
                let (seconds, bound) = seconds(&term, peaks);
                (term, seconds, bound)
            })
            .collect();
        terms.sort_by(|(_, a, _), (_, b, _)| b.total_cmp(a));
        Ok(Self {
            gpu,
            precision,
            batch_size: plan.batch_size,
            parameters: steps[0].parameters,
            terms,
        })
    }

    fn launches(&self) -> f64 {
        self.terms.iter().map(|(term, ..)| term.launches).sum()
    }

    /// Of the GPU.
    fn device_seconds(&self) -> f64 {
        self.terms.iter().map(|(_, seconds, _)| seconds).sum()
    }

    /// Of the host.
    fn host_seconds(&self) -> f64 {
        self.launches() * LAUNCH_ON_HOST
    }

    fn step_seconds(&self) -> f64 {
        self.device_seconds().max(self.host_seconds())
    }

    /// What most of the time of a step is made of.
    fn bound(&self) -> &'static str {
        if self.host_seconds() > self.device_seconds() {
            return "the host's launches";
        }
        let of = |bound: Bound| -> f64 {
            let terms = self.terms.iter().filter(|(.., by)| *by == bound);
            terms.map(|(_, seconds, _)| seconds).sum()
        };
        let bounds = [Bound::Operations, Bound::Bytes, Bound::Launches];
        let largest = bounds.into_iter().max_by(|a, b| of(*a).total_cmp(&of(*b)));
        largest.map_or("nothing", Bound::name)
    }

    /// Writes a table.
    ///
    /// # Errors
    ///
    /// If `out` does not take it.
    pub fn print(&self, out: &mut impl Write) -> std::io::Result<()> {
        let step = self.step_seconds();
        writeln!(
            out,
            "pretrain, batch {}, {} on one {}: at most {:.0} samples/s, {:.2} ms a step, bound by {}",
            self.batch_size,
            self.precision.name(),
            self.gpu.name(),
            self.batch_size as f64 / step,
            1e3 * step,
            self.bound()
        )?;
        let titles = "part,launches,GFLOP,MB,ms,bound by";
        let mut rows = vec![titles.split(',').map(String::from).collect()];
        rows.extend(self.terms.iter().map(|(term, seconds, bound)| {
            vec![
                term.name.into(),
                format!("{:.0}", term.launches),
                format!("{:.0}", (term.flops + term.scalar_flops) / 1e9),
                format!("{:.0}", term.bytes / 1e6),
                format!("{:.2}", 1e3 * seconds),
                bound.name().into(),
            ]
        }));
        let sum = |of: fn(&Term) -> f64| self.terms.iter().map(|(term, ..)| of(term)).sum::<f64>();
        rows.push(vec![
            "GPU".into(),
            format!("{:.0}", self.launches()),
            format!("{:.0}", sum(|term| term.flops + term.scalar_flops) / 1e9),
            format!("{:.0}", sum(|term| term.bytes) / 1e6),
            format!("{:.2}", 1e3 * self.device_seconds()),
            String::new(),
        ]);
        rows.push(vec![
            "host".into(),
            format!("{:.0}", self.launches()),
            String::new(),
            String::new(),
            format!("{:.2}", 1e3 * self.host_seconds()),
            Bound::Launches.name().into(),
        ]);
        print_table(out, &rows)
    }

    /// One document.
    pub fn json(&self) -> Value {
        let parts = self.terms.iter().map(|(term, seconds, bound)| {
            json!({
                "part": term.name,
                "launches": term.launches,
                "flops": term.flops,
                "scalar_flops": term.scalar_flops,
                "bytes": term.bytes,
                "seconds": seconds,
                "bound": bound.name(),
            })
        });
        json!({
            "work": Work::Pretrain.name(),
            "parameters": self.parameters,
            "gpu": self.gpu.name(),
            "dtype": self.precision.name(),
            "batch_size": self.batch_size,
            "samples_per_s": self.batch_size as f64 / self.step_seconds(),
            "step_seconds": self.step_seconds(),
            "device_seconds": self.device_seconds(),
            "host_seconds": self.host_seconds(),
            "launches": self.launches(),
            "bound": self.bound(),
            "parts": parts.collect::<Vec<_>>(),
        })
    }
}

/// The longest time of a part, and what it is made of.
fn seconds(term: &Term, peaks: Peaks) -> (f64, Bound) {
    let times = [
        (
            term.flops / peaks.flops + term.scalar_flops / peaks.scalar_flops,
            Bound::Operations,
        ),
        (term.bytes / peaks.bandwidth, Bound::Bytes),
        (term.launches * LAUNCH_ON_DEVICE, Bound::Launches),
    ];
    let longest = |a: (f64, Bound), b: (f64, Bound)| if b.0 > a.0 { b } else { a };
    times.into_iter().fold(times[0], longest)
}

/// The mean of each part over several steps.
fn mean(steps: impl ExactSizeIterator<Item = Vec<Term>>) -> Vec<Term> {
    let count = steps.len() as f64;
    let mut sums: Vec<Term> = Vec::new();
    for terms in steps {
        if sums.is_empty() {
            sums = terms;
            continue;
        }
        for (sum, term) in sums.iter_mut().zip(terms) {
            sum.launches += term.launches;
            sum.flops += term.flops;
            sum.scalar_flops += term.scalar_flops;
            sum.bytes += term.bytes;
        }
    }
    for sum in &mut sums {
        sum.launches /= count;
        sum.flops /= count;
        sum.scalar_flops /= count;
        sum.bytes /= count;
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEAKS: Peaks = Peaks {
        flops: 1e12,
        scalar_flops: 1e11,
        bandwidth: 1e9,
    };

    fn term(launches: f64, flops: f64, bytes: f64) -> Term {
        Term {
            name: "part",
            launches,
            flops,
            scalar_flops: 0.0,
            bytes,
        }
    }

    #[test]
    fn a_part_takes_the_longest_of_its_times() {
        // 2 ms of operations beside 1 ms of memory and 20 µs of launches, and so on.
        assert_eq!(
            seconds(&term(10.0, 2e9, 1e6), PEAKS),
            (2e-3, Bound::Operations)
        );
        assert_eq!(seconds(&term(10.0, 2e9, 3e6), PEAKS), (3e-3, Bound::Bytes));
        assert_eq!(
            seconds(&term(5e3, 2e9, 3e6), PEAKS),
            (1e-2, Bound::Launches)
        );
    }

    #[test]
    fn operations_beside_the_tensor_cores_take_longer() {
        let mut term = term(10.0, 2e9, 1e6);
        term.scalar_flops = 1e9;
        assert_eq!(seconds(&term, PEAKS), (12e-3, Bound::Operations));
    }

    #[test]
    fn the_mean_is_of_each_part() {
        let steps = [vec![term(1.0, 2.0, 3.0)], vec![term(3.0, 4.0, 5.0)]];
        assert_eq!(mean(steps.into_iter()), [term(2.0, 3.0, 4.0)]);
    }

    #[test]
    fn the_slower_of_host_and_gpu_bounds_a_step() {
        let prediction = |launches: f64, bytes: f64| {
            let term = term(launches, 1e6, bytes);
            let (seconds, bound) = seconds(&term, PEAKS);
            Prediction {
                gpu: Gpu::H200,
                precision: Precision::F32,
                batch_size: 8,
                parameters: 1.0,
                terms: vec![(term, seconds, bound)],
            }
        };
        // 1,000 launches are 25 ms of the host; 10 MB are 10 ms of the GPU, 50 MB are 50 ms.
        let host = prediction(1e3, 1e7);
        assert!((host.step_seconds() - 25e-3).abs() < 1e-12);
        assert_eq!(host.bound(), "the host's launches");
        assert!((host.json()["samples_per_s"].as_f64().unwrap_or(0.0) - 320.0).abs() < 1e-6);
        let device = prediction(1e3, 5e7);
        assert!((device.step_seconds() - 50e-3).abs() < 1e-12);
        assert_eq!(device.bound(), "memory");
    }
}
