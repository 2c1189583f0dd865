//! Runs every set of a folder and says what came of it.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use oscar_core::model::OscarForPretraining;
use oscar_core::ops::TrainBackend;

use crate::check::{Check, Report};
use crate::classification::{EachChoice, Pair, Single};
use crate::fault::Fault;
use crate::set::{Kind, Set};
use crate::steps::{self, Script};
use crate::{
    backbone, captioning, captions, classification, clipcap, detector, detector_ops, files,
    pictures, pretraining, retrieval, rosita, sampling, vqa,
};

/// What came of a set.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It was compared.
    Compared(Report),
    /// It could not be compared although it should: a broken file, or a panic.
    Broken(String),
    /// It is of a kind that this project does not implement.
    Skipped(String),
}

impl Outcome {
    /// Whether something was compared and all of it agrees.
    pub fn passed(&self) -> bool {
        match self {
            Self::Compared(report) => !report.checks.is_empty() && report.failures().is_empty(),
            Self::Broken(_) | Self::Skipped(_) => false,
        }
    }

    /// Whether the set counts neither as passed nor as failed.
    pub fn skipped(&self) -> bool {
        matches!(self, Self::Skipped(_))
    }
}

/// What came of every set of a folder.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Sets by name.
    pub sets: Vec<(Set, Outcome)>,
}

/// Compares every set in `dir` on `device`.
///
/// # Errors
///
/// If the folder cannot be read.
pub fn run<B: TrainBackend>(dir: &Path, device: &B::Device) -> Result<Summary, String> {
    let sets = Set::discover(dir)?
        .into_iter()
        .map(|set| {
            let outcome = run_set::<B>(&set, None, device);
            (set, outcome)
        })
        .collect();
    Ok(Summary { sets })
}

/// Compares one set, with a deliberate fault or without.
pub fn run_set<B: TrainBackend>(set: &Set, fault: Option<Fault>, device: &B::Device) -> Outcome {
    let kind = match &set.kind {
        Ok(kind) => *kind,
        Err(reason) => return Outcome::Skipped(reason.clone()),
    };
    // A panic of one set must not keep the others from being compared.
    let result = catch_unwind(AssertUnwindSafe(|| check::<B>(kind, set, fault, device)));
    match result {
        Ok(Ok(report)) => Outcome::Compared(report),
        Ok(Err(reason)) => Outcome::Broken(reason),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            Outcome::Broken(format!("panic: {}", text.unwrap_or("without a message")))
        }
    }
}

fn check<B: TrainBackend>(
    kind: Kind,
    set: &Set,
    fault: Option<Fault>,
    device: &B::Device,
) -> Result<Report, String> {
    match kind {
        Kind::Backbone => backbone::check::<B>(set, fault, device),
        Kind::Pretraining => pretraining::check::<B>(set, fault, device),
        Kind::PretrainingSteps => {
            steps::check::<B, OscarForPretraining<B>>(set, Script::Pretraining, fault, device)
        }
        Kind::Classification => classification::check::<B, Single<B>>(set, fault, device),
        Kind::ClassificationSteps => {
            steps::check::<B, Single<B>>(set, Script::FineTuning, fault, device)
        }
        Kind::MultipleChoice => classification::check::<B, Pair<B>>(set, fault, device),
        Kind::MultipleChoiceSteps => {
            steps::check::<B, Pair<B>>(set, Script::FineTuning, fault, device)
        }
        Kind::EachChoice => classification::check::<B, EachChoice<B>>(set, fault, device),
        Kind::EachChoiceSteps => {
            steps::check::<B, EachChoice<B>>(set, Script::FineTuning, fault, device)
        }
        Kind::Transfer => files::check_transfer::<B>(set, device),
        Kind::Tokenizer => files::check_tokenizer(set),
        Kind::VqaEvaluation => vqa::check(set),
        Kind::CaptionEvaluation => captions::check::<B>(set, device),
        Kind::RetrievalRanks => retrieval::check(set),
        Kind::Captioning => captioning::check::<B>(set, fault, device),
        Kind::CaptioningSteps => {
            steps::check::<B, captioning::Learner<B>>(set, Script::FineTuning, fault, device)
        }
        Kind::SamplingFilter => sampling::check(set),
        Kind::Detector => detector::check::<B::Kernels>(set, device),
        Kind::DetectorOperations => detector_ops::check::<B::Kernels>(set, device),
        Kind::Pictures => pictures::check(set),
        Kind::ClipCap => clipcap::check_model::<B>(set, fault, device),
        Kind::ClipCapSteps => {
            steps::check::<B, clipcap::Learner<B>>(set, Script::Pretraining, fault, device)
        }
        Kind::ClipCapDecoding => clipcap::check_decoding::<B>(set, fault, device),
        Kind::ClipCapData => clipcap::check_data(set),
        Kind::ClipPreprocessing => clipcap::check_preprocessing(set),
        Kind::ClipVision => clipcap::check_towers::<B::Kernels>(set, device),
        Kind::RositaPretraining => rosita::check_pretraining::<B>(set, fault, device),
        Kind::RositaReferring => rosita::check_referring::<B>(set, fault, device),
        Kind::RositaRetrieval => rosita::check_retrieval::<B>(set, fault, device),
        Kind::RositaMasking => rosita::check_masking(set),
        Kind::Transport => rosita::check_transport::<B>(set, device),
        Kind::ClipTokenizer => clipcap::check_clip_tokenizer(set),
        Kind::Gpt2Tokenizer => clipcap::check_tokenizer(set),
    }
}

impl Summary {
    /// Numbers of sets that passed, failed and were skipped.
    pub fn counts(&self) -> (usize, usize, usize) {
        let passed = self
            .sets
            .iter()
            .filter(|(_, outcome)| outcome.passed())
            .count();
        let skipped = self
            .sets
            .iter()
            .filter(|(_, outcome)| outcome.skipped())
            .count();
        (passed, self.sets.len() - passed - skipped, skipped)
    }

    /// Whether some set passed and none failed; else why not.
    pub fn verdict(&self) -> Result<(), String> {
        match self.counts() {
            (_, failed, _) if failed > 0 => Err(format!("{failed} sets failed")),
            (0, ..) if self.sets.is_empty() => Err("the folder has no set".into()),
            (0, ..) => Err("no set of the folder was compared".into()),
            _ => Ok(()),
        }
    }

    fn rows(&self) -> Vec<[String; 4]> {
        let row = |(set, outcome): &(Set, Outcome)| {
            let kind = set
                .kind
                .as_ref()
                .map_or("-", |kind| kind.name())
                .to_string();
            let (checks, result) = match outcome {
                Outcome::Skipped(reason) => ("-".into(), format!("skipped: {reason}")),
                Outcome::Broken(reason) => ("-".into(), format!("FAILED: {reason}")),
                Outcome::Compared(report) => {
                    let state = if outcome.passed() { "ok" } else { "FAILED" };
                    let worst = report.worst().map_or_else(String::new, worst);
                    (report.checks.len().to_string(), format!("{state}: {worst}"))
                }
            };
            [set.name.clone(), kind, checks, result]
        };
        let title = ["set", "kind", "checks", "worst error / tolerance"].map(String::from);
        std::iter::once(title)
            .chain(self.sets.iter().map(row))
            .collect()
    }
}

fn worst(check: &Check) -> String {
    match check.error == 0.0 {
        true => "all equal".into(),
        false => format!(
            "{:.1e} / {:.1e} = {:.2} ({})",
            check.error,
            check.tolerance,
            check.ratio(),
            check.name
        ),
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (set, outcome) in &self.sets {
            let Outcome::Compared(report) = outcome else {
                continue;
            };
            let failures = report.failures();
            if !failures.is_empty() {
                writeln!(
                    f,
                    "{}: {} of {} checks failed",
                    set.name,
                    failures.len(),
                    report.checks.len()
                )?;
            }
            for check in failures {
                writeln!(f, "  {check}")?;
            }
            if !report.unchecked.is_empty() {
                writeln!(
                    f,
                    "{}: not compared: {}",
                    set.name,
                    report.unchecked.join(", ")
                )?;
            }
        }
        let rows = self.rows();
        let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
        let (set, kind, checks) = (width(0), width(1), width(2));
        for row in &rows {
            let [name, what, count, result] = row;
            writeln!(
                f,
                "{name:set$} | {what:kind$} | {count:>checks$} | {result}"
            )?;
        }
        let (passed, failed, skipped) = self.counts();
        writeln!(f, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}
