//! `oscar-bin score captions`: captions against references.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use oscar_caption_metrics::jars::{self, JarOptions};
use oscar_caption_metrics::{
    Candidates, Captions, DocumentFrequencies, MetricsError, References, Scores, Unmatched,
    WEIGHTLESS, score,
};
use oscar_datasets::captions::has_splits;
use oscar_datasets::keys::{other_name, without_ending};
use oscar_files::write_file;

use crate::output;

/// Computes BLEU-1 to BLEU-4, ROUGE-L and CIDEr exactly as the COCO caption evaluation does, with its
/// tokeniser. METEOR and SPICE need Java and their official jars.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    oscar-bin score captions --candidates results.json --references captions_val2014.json\n  \
    oscar-bin score captions --candidates pred.tsv --references test_caption_coco_format.json \\\n    \
        --meteor-jar pycocoevalcap/meteor/meteor-1.5.jar --json")]
pub struct CaptionsArgs {
    /// Captions to score: COCO's results as a list or as JSON lines, or the official code's prediction
    /// TSV; plain or gzip
    #[arg(long, value_name = "FILE")]
    pub candidates: PathBuf,
    /// Reference captions: COCO's annotations, captions by image id, Karpathy's dataset_coco.json, or rows to
    /// train on; plain or gzip
    #[arg(long, value_name = "FILE")]
    pub references: PathBuf,
    /// Split of Karpathy's file: train (with restval), val or test
    #[arg(long, value_name = "NAME")]
    pub split: Option<String>,
    /// Leave out images without a candidate caption, which are an error by default
    #[arg(long)]
    pub subset: bool,
    /// Also compute CIDEr-D, the reward of self-critical training, with the document frequencies of
    /// FILE (pickle or JSON)
    #[arg(long, value_name = "FILE")]
    pub cider_df: Option<PathBuf>,
    /// Also compute METEOR with meteor-1.5.jar, which needs its data next to it (the Python package
    /// pycocoevalcap has both)
    #[arg(long, value_name = "JAR")]
    pub meteor_jar: Option<PathBuf>,
    /// Also compute SPICE with spice-1.0.jar in DIR and Stanford CoreNLP 3.6.0 in DIR/lib
    #[arg(long, value_name = "DIR")]
    pub spice_dir: Option<PathBuf>,
    /// Time limit for each answer of METEOR, and for SPICE as a whole
    #[arg(long, value_name = "SECONDS", default_value_t = 1800, value_parser = clap::value_parser!(u64).range(1..))]
    pub jar_timeout: u64,
    /// Write the scores of each image to FILE as JSON lines
    #[arg(long, value_name = "FILE")]
    pub per_image: Option<PathBuf>,
    /// Replace the file of --per-image if it exists
    #[arg(long, requires = "per_image")]
    pub overwrite: bool,
    /// Print the scores as one JSON document on standard output
    #[arg(long)]
    pub json: bool,
}

/// Scores and prints.
///
/// # Errors
/// If a file cannot be read or does not fit the others, or a jar fails.
pub fn run(args: &CaptionsArgs) -> Result<()> {
    if let Some(out) = &args.per_image {
        let read = [&args.candidates, &args.references].into_iter();
        output::refuse_input("--per-image", out, read.chain(&args.cider_df))?;
        output::check_out("--per-image", out, args.overwrite)?;
    }
    let mut candidates = Candidates::read(&args.candidates)?;
    let mut references = references(args)?;
    // Rows to train on may name the files of images, in folders that no candidate knows.
    if !candidates.ids().all(|id| references.has(id)) {
        references.rename(|id| without_ending(id).to_owned());
    }
    let renamed = candidates.rename(|id| other_name(id, |other| references.has(other)));
    if renamed > 0 {
        tracing::info!("{renamed} images are found by other spellings of their names");
    }
    let unmatched = match args.subset {
        true => Unmatched::LeaveOut,
        false => Unmatched::Refuse,
    };
    let captions = Captions::join(candidates, references, unmatched)?;
    // Errors in the other files appear before anything is computed.
    let frequencies = args.cider_df.as_deref().map(DocumentFrequencies::read);
    let frequencies = frequencies.transpose()?;

    let tokenized = captions.tokenized();
    let mut scores = score(&tokenized);
    if let Some(frequencies) = frequencies {
        let file = args.cider_df.as_deref().unwrap_or(Path::new(""));
        let by_image = captions.cider_d(frequencies);
        scores.set_cider_d(&by_image.with_context(|| file.display().to_string())?);
    }
    let options = JarOptions {
        patience: Duration::from_secs(args.jar_timeout),
        ..JarOptions::default()
    };
    // One that fails does not take the others with it.
    let mut failed = Vec::new();
    if let Some(jar) = &args.meteor_jar {
        match jars::meteor(jar, &tokenized, &options) {
            Ok((corpus, by_image)) => scores.set_meteor(corpus, &by_image),
            Err(error) => failed.push(("METEOR", error)),
        }
    }
    if let Some(directory) = &args.spice_dir {
        match jars::spice(directory, &tokenized, &options) {
            Ok(by_image) => scores.set_spice(&by_image),
            Err(error) => failed.push(("SPICE", error)),
        }
    }
    if let Some(path) = &args.per_image {
        let lines = scores
            .images
            .iter()
            .map(|image| format!("{}\n", image.to_json()));
        write_file(path, lines.collect::<String>().as_bytes())?;
    }
    let mut out = output::stdout();
    match args.json {
        true => writeln!(out, "{:#}", scores.to_json())?,
        false => print(&scores, &failed, &mut out)?,
    }
    out.flush()?;
    if scores.weightless {
        tracing::warn!("{WEIGHTLESS}");
    }
    let reasons: Vec<String> = failed.iter().map(|(_, error)| error.to_string()).collect();
    match reasons.is_empty() {
        true => Ok(()),
        false => bail!("{}", reasons.join("\n")),
    }
}

/// The reference captions, of one split where the file has several.
fn references(args: &CaptionsArgs) -> Result<References> {
    let mut path = args.references.clone().into_os_string();
    if let Some(split) = &args.split {
        path.push(format!("?split={split}"));
    }
    let path = PathBuf::from(path);
    // A pickle or a table is no object of images; the other reader has the message.
    if args.split.is_none() && !has_splits(&path).unwrap_or(false) {
        return of_metric(&path);
    }
    of_data(&path)
}

/// References as the metrics' own programs have them; where the file has another form, as rows to train on.
fn of_metric(path: &Path) -> Result<References> {
    match References::read(path) {
        Ok(references) => Ok(references),
        Err(error) => of_data(path).map_err(|_| error.into()),
    }
}

/// References in any form that captions to train on have.
fn of_data(path: &Path) -> Result<References> {
    let images = oscar_datasets::captions::read(path, None)?;
    let images = images.into_rows().into_iter();
    References::of_images(images.map(|image| (image.key, image.captions)))
        .map_err(|found| anyhow!("{}: {found}", path.display()))
}

fn print(scores: &Scores, failed: &[(&str, MetricsError)], out: &mut impl Write) -> Result<()> {
    for (score, n) in scores.bleu.iter().zip(1..) {
        writeln!(out, "  BLEU-{n}   {score:.4}")?;
    }
    for (name, score, missing) in [
        (
            "METEOR",
            scores.meteor,
            "not computed (needs Java and --meteor-jar)",
        ),
        ("ROUGE-L", Some(scores.rouge_l), ""),
        ("CIDEr", Some(scores.cider), ""),
        (
            "SPICE",
            scores.spice,
            "not computed (needs Java and --spice-dir)",
        ),
    ] {
        match score {
            Some(score) => writeln!(out, "  {name:<8} {score:.4}")?,
            None if failed.iter().any(|(metric, _)| *metric == name) => {
                writeln!(out, "  {name:<8} failed")?;
            }
            None => writeln!(out, "  {name:<8} {missing}")?,
        }
    }
    if let Some(score) = scores.cider_d {
        writeln!(out, "  CIDEr-D  {score:.4}")?;
    }
    let counts = &scores.counts;
    writeln!(
        out,
        "  {} images, {} words (closest references: {}), matched n-grams {:?}",
        scores.images.len(),
        counts.candidate_length,
        counts.reference_length,
        counts.matches
    )?;
    Ok(())
}
