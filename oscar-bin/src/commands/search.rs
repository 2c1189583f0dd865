//! `oscar-bin search`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Args;
use oscar_core::ops::TrainBackend;
use oscar_datasets::open_images;
use oscar_files::{SMALL_FILE, read_text};
use oscar_search::{Found, RerankOptions, Reranker, Search, Searcher, VectorIndex};
use oscar_task::CrossEncoder;
use serde_json::{Value, json};

use crate::args::{DeviceArgs, at_least_one};
use crate::backend::{OnBackend, dispatch};
use crate::ending::Ending;
use crate::output::{self, print_json, print_table};
use crate::weights;

/// Finds the pictures of an index that a text describes.
///
/// Every picture is compared with the text by a product of two vectors. --rerank has a model of matching or
/// retrieval read the best of them together with the text, which orders them better and takes longer.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    oscar-bin search \"two dogs on a beach\" --index photos.index --checkpoint search-scenes\n  \
    oscar-bin search \"a red kite\" --index photos.index --checkpoint search-scenes \\\n    \
        --regions photos --rerank 100 --reranker retrieval-scenes --top 10\n  \
    oscar-bin search --file queries.txt --index photos.index --checkpoint search-scenes --json")]
pub struct SearchArgs {
    /// What to search for; may be repeated
    #[arg(value_name = "TEXT", required_unless_present = "file")]
    pub texts: Vec<String>,
    /// File of texts to search for, one a line
    #[arg(long, value_name = "FILE", conflicts_with = "texts")]
    pub file: Option<PathBuf>,
    /// Index to search, as `oscar-bin data build index` makes it
    #[arg(long, value_name = "FILE")]
    pub index: PathBuf,
    /// Weights that made the index: the `best` or `last` directory of a run, or the name of a run
    #[arg(long, value_name = "DIR|NAME")]
    pub checkpoint: PathBuf,
    /// Number of pictures for each text, the best first
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub top: u32,
    /// Re-rank this many of the best pictures of each text
    #[arg(long, value_name = "K", requires_all = ["reranker", "regions"], value_parser = clap::value_parser!(u32).range(1..))]
    pub rerank: Option<u32>,
    /// Weights of matching or retrieval that re-rank
    #[arg(long, value_name = "DIR|NAME", requires = "rerank")]
    pub reranker: Option<PathBuf>,
    /// Region store that the index is of, which re-ranking reads
    #[arg(long, alias = "store", value_name = "DIR")]
    pub regions: Option<PathBuf>,
    /// Batch size of re-ranking
    #[arg(long, default_value_t = 64, value_parser = at_least_one)]
    pub batch_size: usize,
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Print what was found as one JSON document on standard output
    #[arg(long)]
    pub json: bool,
}

/// Searches, and prints what was found.
///
/// # Errors
/// If index, weights or store cannot be opened or do not belong together, or a text has no word.
pub fn run(args: &SearchArgs) -> Result<Ending> {
    let texts = texts(args)?;
    let answer = dispatch(
        &args.device,
        Searching {
            args,
            texts: &texts,
        },
    )?;
    if args.json {
        print_json(&answer.document(args, &texts))?;
        return Ok(Ending::Done);
    }
    let mut out = output::stdout();
    for (text, found) in texts.iter().zip(&answer.found) {
        if texts.len() > 1 {
            writeln!(out, "{}", output::escape_line(text))?;
        }
        print_table(&mut out, &table(found))?;
    }
    Ok(Ending::Done)
}

/// The texts of the command line, or of the file.
fn texts(args: &SearchArgs) -> Result<Vec<String>> {
    let Some(file) = &args.file else {
        return Ok(args.texts.clone());
    };
    let content = read_text(file, SMALL_FILE)?;
    let lines = content.lines().map(str::trim);
    let texts: Vec<String> = lines
        .filter(|line| !line.is_empty())
        .map(String::from)
        .collect();
    if texts.is_empty() {
        bail!("{}: it has no text; write one a line", file.display());
    }
    Ok(texts)
}

/// What was found for each text, and what it took.
struct Answer {
    found: Vec<Vec<Found>>,
    /// Pictures of the index.
    pictures: usize,
    /// Of embedding the texts and comparing them.
    search_seconds: f64,
    rerank_seconds: Option<f64>,
}

impl Answer {
    fn document(&self, args: &SearchArgs, texts: &[String]) -> Value {
        let found = |found: &Found| {
            let mut row = json!({"picture": found.key, "similarity": found.similarity});
            if let Some(score) = found.match_score {
                row["match_score"] = json!(score);
            }
            row
        };
        let queries = texts.iter().zip(&self.found);
        let queries = queries.map(
            |(text, all)| json!({"text": text, "found": all.iter().map(found).collect::<Vec<_>>()}),
        );
        json!({
            "index": output::shown(&args.index),
            "checkpoint": output::shown(&args.checkpoint),
            "pictures": self.pictures,
            "queries": queries.collect::<Vec<_>>(),
            "search_seconds": self.search_seconds,
            "rerank_seconds": self.rerank_seconds,
        })
    }
}

/// A row for each picture; re-ranked ones have a second score.
fn table(found: &[Found]) -> Vec<Vec<String>> {
    let reranked = found.iter().any(|found| found.match_score.is_some());
    let mut titles = vec!["rank", "picture", "similarity"];
    if reranked {
        titles.push("match");
    }
    let mut rows = vec![titles.into_iter().map(String::from).collect()];
    rows.extend(found.iter().enumerate().map(|(at, found)| {
        let mut row = vec![
            (at + 1).to_string(),
            found.key.clone(),
            format!("{:.4}", found.similarity),
        ];
        if reranked {
            let score = found.match_score;
            row.push(score.map_or(output::UNKNOWN.into(), |score| format!("{score:.3}")));
        }
        row
    }));
    rows
}

struct Searching<'a> {
    args: &'a SearchArgs,
    texts: &'a [String],
}

impl OnBackend for Searching<'_> {
    type Output = Answer;

    fn run<B: TrainBackend>(self, device: B::Device) -> Result<Answer> {
        let (args, texts) = (self.args, self.texts);
        let searcher = open::<B>(args, &device)?;
        let (top, candidates) = (args.top as usize, args.rerank.unwrap_or(0) as usize);
        let started = Instant::now();
        let mut found = searcher.search_texts(texts, top.max(candidates))?;
        let search_seconds = started.elapsed().as_secs_f64();

        let mut rerank_seconds = None;
        if let Some((reranker, regions)) = args.reranker.as_ref().zip(args.regions.as_ref()) {
            let path = described(reranker)?;
            let reader = CrossEncoder::<B::InnerBackend>::open(&path, &device)?;
            let store = open_images(regions)?;
            searcher.check_store(&store)?;
            let started = Instant::now();
            let options = RerankOptions {
                candidates,
                batch_size: args.batch_size,
            };
            for (text, found) in texts.iter().zip(&mut found) {
                reader.rerank(&store, text, found, options)?;
            }
            rerank_seconds = Some(started.elapsed().as_secs_f64());
        }
        found.iter_mut().for_each(|found| found.truncate(top));
        Ok(Answer {
            found,
            pictures: searcher.index().len(),
            search_seconds,
            rerank_seconds,
        })
    }
}

/// The index, and the weights that made it.
fn open<B: TrainBackend>(args: &SearchArgs, device: &B::Device) -> Result<Searcher> {
    let index = VectorIndex::open(&args.index)?;
    let embedder = weights::load::<Search, B::InnerBackend>(&args.checkpoint, device)?;
    Ok(Searcher::new(index, Box::new(embedder))?)
}

/// The directory of fine-tuned weights that `named` names.
fn described(named: &Path) -> Result<PathBuf> {
    weights::locate(named).with_context(|| format!("cannot open {}", named.display()))
}
