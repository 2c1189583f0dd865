//! `oscar-bin dev scenes`.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use oscar_sample::scenes::{ScenesInfo, ScenesOptions, Shown, Style, Tags, build_scenes};

use crate::args::{Choices, choices};
use crate::config::sample;
use crate::output::{self, print_json};

/// Draws scenes of everyday things: pictures, region features with object tags, captions and a scene
/// graph.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    oscar-bin dev scenes --out scenes/train --count 16000\n  \
    oscar-bin dev scenes --out scenes/far --split far --count 1000 --style twemoji\n  \
    oscar-bin dev scenes --out scenes/tail --count 16000 --long-tail --tags detected")]
pub struct ScenesArgs {
    /// Directory to write
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Number of scenes
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub count: u32,
    /// Name of the split; another name gives other scenes
    #[arg(long, default_value = "train", value_parser = split_name)]
    pub split: String,
    /// Style of the drawings, one per scene; may be repeated [default: noto, noto-v1, fluent-flat,
    /// fluent-3d]
    #[arg(long = "style", value_name = "STYLE", value_parser = choices(STYLES))]
    pub styles: Vec<Style>,
    /// Which kinds of things are shown
    #[arg(long, value_parser = choices(SHOWN), default_value = "known")]
    pub kinds: Shown,
    /// Draw the kind of rank n with a frequency of 1/n, instead of all as often
    #[arg(long)]
    pub long_tail: bool,
    /// Where object tags come from
    #[arg(long, value_parser = choices(TAGS), default_value = "names")]
    pub tags: Tags,
    /// Captions of each scene
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=20))]
    pub captions: u8,
    /// Write no pictures
    #[arg(long)]
    pub no_pictures: bool,
    /// Directory of the drawings [default: those of the repository]
    #[arg(long, value_name = "DIR")]
    pub drawings: Option<PathBuf>,
    /// Seed of the random choices
    #[arg(long, default_value_t = 42)]
    pub seed: u64,
    /// Replace an existing data set
    #[arg(long)]
    pub overwrite: bool,
    /// Print a summary as one JSON document on standard output
    #[arg(long)]
    pub json: bool,
}

const STYLES: Choices<Style> = &[
    ("noto", "Google's", Style::Noto),
    ("noto-v1", "Google's before 2017", Style::NotoV1),
    (
        "fluent-flat",
        "Microsoft's, in plain colours",
        Style::FluentFlat,
    ),
    (
        "fluent-3d",
        "Microsoft's, with light and shade",
        Style::Fluent3d,
    ),
    ("twemoji", "Twitter's: the vendor held out", Style::Twemoji),
];

const SHOWN: Choices<Shown> = &[
    (
        "known",
        "Those that captions of training name",
        Shown::Known,
    ),
    (
        "novel",
        "All, at least one in every scene that captions of training never name",
        Shown::Novel,
    ),
    ("all", "All", Shown::All),
];

const TAGS: Choices<Tags> = &[
    (
        "names",
        "The names of the things: every tag is right",
        Tags::Names,
    ),
    (
        "detected",
        "The most similar drawing of the other vendors: wrong for every fourth thing",
        Tags::Detected,
    ),
];

/// A split's name becomes part of keys and of file names.
fn split_name(name: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    match !name.is_empty() && name.len() <= 32 && name.chars().all(plain) {
        true => Ok(name.into()),
        false => Err("expected up to 32 letters, digits and underscores".into()),
    }
}

/// Draws the scenes and prints how much there is.
///
/// # Errors
/// If the drawings cannot be read or the data set cannot be written.
pub fn run(args: &ScenesArgs) -> Result<()> {
    let shipped = || {
        sample::shipped("sample:scenes").context(
            "cannot find the drawings (datasets/sample/scenes): run from the repository, or give \
             their directory",
        )
    };
    let drawings = args.drawings.clone().map_or_else(shipped, Ok)?;
    let options = ScenesOptions {
        styles: match args.styles.is_empty() {
            true => Style::TRAINING.into(),
            false => args.styles.clone(),
        },
        shown: args.kinds,
        long_tail: args.long_tail,
        tags: args.tags,
        captions: usize::from(args.captions),
        pictures: !args.no_pictures,
        overwrite: args.overwrite,
        ..ScenesOptions::new(&args.split, args.count as usize, args.seed)
    };
    let info = build_scenes(&drawings, &args.out, &options)
        .with_context(|| format!("cannot build {}", args.out.display()))?;
    if args.json {
        return print_json(&info);
    }
    let mut out = output::stdout();
    write_summary(&mut out, &info)?;
    writeln!(out, "{}", args.out.display())?;
    Ok(())
}

fn write_summary(out: &mut impl Write, info: &ScenesInfo) -> std::io::Result<()> {
    let counts = info.counts;
    let share = |part: usize, whole: usize| 100.0 * part as f64 / whole.max(1) as f64;
    writeln!(
        out,
        "{} scenes with {} things and {} captions of {:.1} words\n\
         {:.1} % of the tags name their thing\n\
         {} of {} scenes are read from their pixels with exactly the boxes they were drawn in",
        counts.scenes,
        counts.things,
        counts.captions,
        counts.caption_words as f64 / counts.captions.max(1) as f64,
        share(counts.right_tags, counts.things),
        counts.read_exactly,
        counts.scenes,
    )
}
