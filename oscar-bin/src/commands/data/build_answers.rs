//! `oscar-bin data build answers`.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use oscar_datasets::answers::{AnswerCounts, build_vocabulary};
use oscar_datasets::questions::count_answers;
use serde_json::json;

use crate::output::{self, print_json};

/// Builds an answer vocabulary: the majority answers of at least N questions each, the most frequent
/// first.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  \
    oscar-bin data build answers --data train.json --data val.json --min-count 9 --out answers.json")]
pub struct AnswersArgs {
    /// Annotations of VQA v2, whose answers are normalised as in its evaluation, or questions with
    /// `answers` or `answer`, which are used unchanged; may be repeated
    #[arg(long, alias = "annotations", required = true, value_name = "FILE")]
    pub data: Vec<PathBuf>,
    /// Leave out answers of fewer questions than this
    #[arg(long, alias = "minimum", default_value_t = 9, value_name = "N")]
    pub min_count: usize,
    /// File to write
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Replace the file of --out if it exists
    #[arg(long)]
    pub overwrite: bool,
    /// Print a summary as one JSON document on standard output
    #[arg(long)]
    pub json: bool,
}

/// Builds the vocabulary and prints how many questions it covers.
///
/// # Errors
/// If an annotation file cannot be read, or the vocabulary would have fewer than two answers.
pub fn run(args: &AnswersArgs) -> Result<()> {
    if let Some(file) = output::repeated(&args.data) {
        bail!(
            "--data {}: this file is named twice, and its answers would count twice; name each file once",
            file.display()
        );
    }
    output::refuse_input("--out", &args.out, &args.data)?;
    output::check_out("--out", &args.out, args.overwrite)?;
    let mut counts = AnswerCounts::default();
    for file in &args.data {
        count_answers(file, &mut counts)?;
    }
    let (vocabulary, answered) = build_vocabulary(&counts, args.min_count, &args.out)
        .context("cannot build an answer vocabulary")?;
    vocabulary.write(&args.out)?;
    if args.json {
        return print_json(&json!({
            "answers": vocabulary.len(),
            "questions": counts.questions(),
            "answered": answered,
            "file": output::shown(&args.out),
        }));
    }
    let mut out = output::stdout();
    writeln!(
        out,
        "wrote {}: {} of {} answers, covering {answered} of {} questions",
        args.out.display(),
        vocabulary.len(),
        counts.answers(),
        counts.questions()
    )?;
    Ok(())
}
