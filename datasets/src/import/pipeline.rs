//! Reads a source on all cores and writes a store, in order, with bounded memory.

use std::path::Path;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};
use oscar_files::FileError;
use serde::{Deserialize, Serialize};

use super::clean::{BoxRules, CleanImage, Counts};
use super::journal::{Identity, Journal, Record, Start};
use super::open::Source;
use super::ordered::in_order;
use super::source::FeatureSource;
use super::verify::{Verified, verify};
use crate::boxes::CLIP;
use crate::error::{DatasetError, Result};
use crate::findings::Defect;
use crate::store::{EncodedImage, StoreDtype, StoreOptions, StoreWriter};

/// How many of the skipped images a summary shows.
const SHOWN: usize = 20;

/// What to do with an image that cannot be imported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnBad {
    /// End the import with its error.
    #[default]
    Stop,
    /// Leave it out, say so, and count it. What the disk refuses still ends the import.
    Skip,
}

/// How to import.
#[derive(Clone, Debug)]
pub struct ImportOptions {
    /// Precision of the stored features; [`StoreDtype::F16`] by default.
    pub dtype: StoreDtype,
    /// A shard is closed once its features take this many bytes; 1 GiB by default.
    pub max_shard_bytes: u64,
    /// What to do with an image that cannot be imported.
    pub on_bad: OnBad,
    /// How many pixels a box may reach outside its image and be clipped; 2 by default.
    pub clip: f32,
    /// Refuse an image rather than clip or leave out a box; off by default.
    pub strict: bool,
    /// Read source and store again and compare every value; off by default.
    pub verify: bool,
    /// Replace a store that is already there; off by default.
    pub overwrite: bool,
    /// Remove what an unfinished import left, and start over; off by default.
    pub restart: bool,
    /// Threads that decode; as many as there are cores by default.
    pub threads: Option<usize>,
}

impl Default for ImportOptions {
    fn default() -> Self {
        Self {
            dtype: StoreDtype::default(),
            max_shard_bytes: 1 << 30,
            on_bad: OnBad::default(),
            clip: CLIP,
            strict: false,
            verify: false,
            overwrite: false,
            restart: false,
            threads: None,
        }
    }
}

/// What came out of an import.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Format of the source.
    pub format: String,
    /// Appearance values per region.
    pub feature_dim: usize,
    /// Precision of the stored features.
    pub dtype: String,
    /// What is in the store.
    #[serde(flatten)]
    pub counts: Counts,
    /// Images that were left out.
    pub skipped: Skipped,
    /// Shards of the store.
    pub shards: usize,
    /// Images of the source that an interrupted import had dealt with before.
    pub resumed_from: usize,
    /// Size of the source in bytes.
    pub source_bytes: u64,
    /// What was compared, if it was asked for.
    pub verified: Option<Verified>,
    /// How the source was understood.
    pub notes: Vec<String>,
    /// Seconds that this took, without what an interrupted import had done before.
    pub seconds: f64,
}

/// Images that were left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// How many.
    pub total: usize,
    /// What was wrong with the first of them.
    pub first: Vec<String>,
}

/// How far an import has come.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Progress {
    /// Rows of the source that were read.
    rows: usize,
    counts: Counts,
    skipped: Skipped,
}

/// Imports `source` into a region store that will appear at `out`.
///
/// The bytes of the store depend on source and options alone: not on threads, nor on how often
/// the import was interrupted. Until the end everything is in `OUT.partial`, from which the same
/// call goes on.
///
/// # Errors
/// A store that is already there; another import to `out` that was started or is running; an
/// image that cannot be imported, unless they are skipped; a store that differs from its source
/// when it is verified; what the disk refuses.
pub fn import(source: &Source, out: &Path, options: &ImportOptions) -> Result<Summary> {
    let identity = identity(source, options)?;
    match Journal::begin(out, &identity, options.overwrite, options.restart)? {
        Start::Finished(summary) => Ok(summary),
        Start::At(mut journal, records) => {
            let imported = Importer::new(source, options, &journal, records)
                .and_then(|importer| importer.run(&mut journal));
            match imported {
                Ok((store, summary)) => {
                    journal.finish(store, &summary)?;
                    Ok(summary)
                }
                Err(error) => {
                    journal.abandon();
                    Err(error)
                }
            }
        }
    }
}

/// What must be the same for an import to go on. Not `on_bad`: see [`Importer::new`].
fn identity(source: &Source, options: &ImportOptions) -> Result<Identity> {
    let mut identity = source.identity()?;
    let entries = [
        ("version", env!("CARGO_PKG_VERSION").to_string()),
        ("dtype", options.dtype.name().into()),
        ("shard size", options.max_shard_bytes.to_string()),
        ("clip", options.clip.to_string()),
        ("strict", options.strict.to_string()),
    ];
    identity.extend(entries.map(|(name, value)| (name.to_string(), value)));
    Ok(identity)
}

struct Importer<'a> {
    source: &'a Source,
    options: &'a ImportOptions,
    store: StoreOptions,
    writer: StoreWriter,
    progress: Progress,
    resumed_from: usize,
}

impl<'a> Importer<'a> {
    fn new(
        source: &'a Source,
        options: &'a ImportOptions,
        journal: &Journal,
        mut records: Vec<Record<Progress>>,
    ) -> Result<Self> {
        let store = StoreOptions {
            feature_dim: source.feature_dim(),
            dtype: options.dtype,
            max_shard_bytes: options.max_shard_bytes,
            overwrite: options.overwrite,
            source: format!("imported from {} files", source.format()),
        };
        let progress = records
            .last_mut()
            .map(|record| std::mem::take(&mut record.progress));
        let progress = progress.unwrap_or_default();
        if options.on_bad == OnBad::Stop && progress.skipped.total > 0 {
            // The other way round nothing is lost: what was imported has nothing bad in it.
            let found = format!(
                "the started import has skipped {} image(s)",
                progress.skipped.total
            );
            let fix = "go on with --on-bad skip, or start over with --restart";
            return Err(DatasetError::malformed(source.path(), found, fix));
        }
        let parts: Vec<_> = records.into_iter().map(|record| record.part).collect();
        let writer = StoreWriter::resume(journal.stage()?, store.clone(), &parts)?;
        let resumed_from = progress.rows;
        if resumed_from > 0 {
            tracing::info!(
                "going on after {resumed_from} images in {} shards",
                parts.len()
            );
        }
        Ok(Self {
            source,
            options,
            store,
            writer,
            progress,
            resumed_from,
        })
    }

    /// Imports what is left; returns the store, which has no name yet.
    fn run(mut self, journal: &mut Journal) -> Result<(oscar_files::StagedDir, Summary)> {
        let start = Instant::now();
        let (source, options, store) = (self.source, self.options, self.store.clone());
        let rules = BoxRules {
            clip: options.clip,
            strict: options.strict,
        };
        let bar = progress_bar("importing", source.len(), self.resumed_from);
        let rows = self.resumed_from..source.len();
        let work = |row| encode(source, row, rules, &store);
        in_order(rows, threads(options), work, |row, image| {
            self.take(row, image, journal)?;
            bar.inc(1);
            Ok::<(), DatasetError>(())
        })?;
        bar.finish_and_clear();
        if self.writer.is_empty() {
            let found = match self.progress.skipped.first.first() {
                None => "there is no image in it".into(),
                Some(first) => format!(
                    "none of {} images could be imported, the first because: {first}",
                    self.progress.skipped.total
                ),
            };
            return Err(DatasetError::malformed(
                source.path(),
                found,
                "check path and format",
            ));
        }
        let staged = self.writer.complete()?;
        let verified = match options.verify {
            true => {
                let skipped = self.progress.skipped.total;
                Some(verify(
                    source,
                    staged.path(),
                    rules,
                    skipped,
                    threads(options),
                )?)
            }
            false => None,
        };
        let shards = crate::store::RegionStore::open(staged.path())?.num_shards();
        let summary = Summary {
            format: source.format().name().into(),
            feature_dim: source.feature_dim(),
            dtype: options.dtype.name().into(),
            counts: self.progress.counts,
            skipped: self.progress.skipped,
            shards,
            resumed_from: self.resumed_from,
            source_bytes: source.bytes()?,
            verified,
            notes: source.notes(),
            seconds: start.elapsed().as_secs_f64(),
        };
        Ok((staged, summary))
    }

    /// Takes the next image; puts a shard that it completes on record.
    fn take(
        &mut self,
        row: usize,
        image: Result<(EncodedImage, Counts)>,
        journal: &mut Journal,
    ) -> Result<()> {
        let pushed = image.and_then(|(image, counts)| {
            let pushed = self.writer.push_encoded(image);
            pushed
                .map(|()| counts)
                .map_err(|error| relocate(self.source, row, error))
        });
        self.progress.rows = row + 1;
        match pushed {
            Ok(counts) => self.progress.counts.add(&counts),
            Err(error @ DatasetError::File(FileError::Io { .. })) => return Err(error),
            Err(error) if self.options.on_bad == OnBad::Stop => return Err(error),
            Err(error) => {
                let text = error.to_string();
                tracing::warn!("skipped: {text}");
                self.progress.skipped.total += 1;
                if self.progress.skipped.first.len() < SHOWN {
                    self.progress.skipped.first.push(text);
                }
            }
        }
        if self.writer.complete_shards() > journal.records()
            && let Some(part) = self.writer.last_part()?
        {
            let progress = self.progress.clone();
            journal.record(&Record { part, progress })?;
        }
        Ok(())
    }
}

/// Reads image `row` and converts it for the store.
fn encode(
    source: &Source,
    row: usize,
    rules: BoxRules,
    store: &StoreOptions,
) -> Result<(EncodedImage, Counts)> {
    let image = clean(source, row, rules)?;
    let encoded = EncodedImage::new(&image.regions(), store);
    let encoded = encoded.map_err(|error| relocate(source, row, error))?;
    Ok((encoded, image.counts))
}

/// Reads image `row` and fits its boxes into it.
pub(super) fn clean(source: &Source, row: usize, rules: BoxRules) -> Result<CleanImage> {
    CleanImage::new(source.read(row)?, rules).map_err(|defect| source.locate(row, defect))
}

/// Adds file and line to an error that knows an image by its key alone.
fn relocate(source: &Source, row: usize, error: DatasetError) -> DatasetError {
    let (found, fix) = match error {
        DatasetError::Image { found, fix, .. } => (found, fix),
        DatasetError::DuplicateKey { .. } => (
            "an image with this key was there before".into(),
            "keys must be unique: remove one of the two",
        ),
        other => return other,
    };
    source.locate(row, Defect::new(found, fix))
}

pub(super) fn threads(options: &ImportOptions) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, |cores| cores.get());
    options.threads.unwrap_or_else(cores)
}

/// A bar on stderr, hidden by indicatif where that is no terminal.
pub(super) fn progress_bar(what: &'static str, images: usize, done: usize) -> ProgressBar {
    let bar = ProgressBar::new(images as u64).with_position(done as u64);
    bar.reset_eta();
    let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} images, {eta} left");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.with_message(what)
}
