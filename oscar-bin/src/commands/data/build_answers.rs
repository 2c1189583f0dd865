//! `oscar-bin data build answers`.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use oscar_datasets::answers::{AnswerCounts, build_vocabulary};
use oscar_datasets::questions::count_answers;
use serde_json::json;

/// Makes an answer vocabulary: the answers that most people agree on for at least N questions, the
/// most frequent first.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  \
    oscar-bin data build answers --annotations train.json --annotations val.json \\\n    \
        --minimum 9 --out answers.json")]
pub struct AnswersArgs {
    /// Annotations of VQA v2, whose answers are normalised as its evaluation does; or questions
    /// with `answers` or `answer`, which are taken as they are. May be repeated
    #[arg(long, required = true, value_name = "FILE")]
    pub annotations: Vec<PathBuf>,
    /// Leave out answers to fewer questions than this
    #[arg(long, default_value_t = 9, value_name = "N")]
    pub minimum: usize,
    /// File to write
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Print what was made as one JSON document on standard output
    #[arg(long)]
    pub json: bool,
}

/// Makes the vocabulary and says how much of the questions it answers.
pub fn run(args: &AnswersArgs) -> Result<()> {
    let mut counts = AnswerCounts::default();
    for file in &args.annotations {
        count_answers(file, &mut counts)?;
    }
    let (vocabulary, answered) = build_vocabulary(&counts, args.minimum, &args.out)
        .context("cannot make an answer vocabulary")?;
    vocabulary.write(&args.out)?;
    let mut out = std::io::stdout().lock();
    if args.json {
        let document = json!({
            "answers": vocabulary.len(),
            "questions": counts.questions(),
            "answered": answered,
            "file": args.out,
        });
        writeln!(out, "{document:#}")?;
        return Ok(());
    }
    writeln!(
        out,
        "{} of {} answers, which answer {answered} of {} questions, in {}",
        vocabulary.len(),
        counts.answers(),
        counts.questions(),
        args.out.display()
    )?;
    Ok(())
}
