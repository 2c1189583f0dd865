//! `oscar-bin score retrieval`: rankings against the ground truths of COCO's captions.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use oscar_files::TextFile;
use oscar_retrieval::{Annotation, Figures, figures};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::output;

/// Computes R@1, R@5, R@10, R-Precision and mAP@R of rankings with COCO's own pairs, with CxC and with
/// ECCV Caption, as the Python package eccv-caption does.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  \
    oscar-bin score retrieval --rankings rankings.json \\\n    \
        --positives site-packages/eccv_caption/data --positives sits_test.csv\n\n\
    RANKINGS is {\"i2t\": {\"IMAGE\": [CAPTION, ..]}, \"t2i\": {\"CAPTION\": [IMAGE, ..]}}, the best first, \
    with COCO's numbers; one of the two is enough.")]
pub struct RetrievalArgs {
    /// Rankings of captions for images and of images for captions; plain or gzip
    #[arg(long, value_name = "FILE")]
    pub rankings: PathBuf,
    /// What belongs together: the data folder of the Python package eccv-caption, or CxC's table of
    /// images and captions (sits_test.csv); may be repeated
    #[arg(long, value_name = "DIR|CSV", required = true)]
    pub positives: Vec<PathBuf>,
    /// Print the scores as one JSON document on standard output
    #[arg(long)]
    pub json: bool,
}

/// What was retrieved, the best first, by the number of the query.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rankings {
    #[serde(default)]
    i2t: HashMap<u64, Vec<u64>>,
    #[serde(default)]
    t2i: HashMap<u64, Vec<u64>>,
}

/// Scores and prints.
///
/// # Errors
/// If a file cannot be read, or a query that is annotated was not ranked.
pub fn run(args: &RetrievalArgs) -> Result<()> {
    let rankings = read(&args.rankings)?;
    let mut document = Map::new();
    let mut out = output::stdout();
    for path in &args.positives {
        for annotation in Annotation::read(path).map_err(anyhow::Error::from_boxed)? {
            let mut of_annotation = Map::new();
            for (way, ranked, positives) in [
                ("i2t", &rankings.i2t, &annotation.i2t),
                ("t2i", &rankings.t2i, &annotation.t2i),
            ] {
                if ranked.is_empty() {
                    continue;
                }
                let found = figures(positives, |query| ranked.get(&query).map(Vec::as_slice));
                let found = found.with_context(|| format!("{}: {way}", args.rankings.display()))?;
                if !args.json {
                    print(&mut out, way, annotation.name, &found)?;
                }
                let named = found.named().into_iter();
                let named: Map<String, Value> =
                    named.map(|(name, value)| (name, json!(value))).collect();
                of_annotation.insert(way.into(), named.into());
            }
            document.insert(annotation.name.into(), of_annotation.into());
        }
    }
    if args.json {
        writeln!(out, "{:#}", Value::from(document))?;
    }
    out.flush()?;
    Ok(())
}

fn print(out: &mut impl Write, way: &str, name: &str, found: &Figures) -> Result<()> {
    write!(out, "  {way}  {name:<5}")?;
    for (figure, value) in found.named() {
        write!(out, "  {figure} {value:.4}")?;
    }
    writeln!(out)?;
    Ok(())
}

fn read(path: &Path) -> Result<Rankings> {
    let mut text = String::new();
    let read = TextFile::open(path)?.read_to_string(&mut text);
    read.with_context(|| format!("cannot read {}", path.display()))?;
    let rankings: Rankings = serde_json::from_str(&text).with_context(|| {
        format!(
            "{}: it is not an object with i2t and t2i, of numbers to lists of numbers",
            path.display()
        )
    })?;
    if rankings.i2t.is_empty() && rankings.t2i.is_empty() {
        bail!(
            "{}: there are no rankings; give i2t, t2i or both",
            path.display()
        );
    }
    Ok(rankings)
}
