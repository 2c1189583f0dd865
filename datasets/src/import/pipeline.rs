//! Reads a source on all cores and writes a store, in order, with bounded memory.

use std::fs;
use std::path::Path;
use std::time::{Instant, UNIX_EPOCH};

use indicatif::{ProgressBar, ProgressStyle};
use oscar_files::{FileError, StagedDir, behind_link};
use oscar_vision::VisionError;
use serde::{Deserialize, Serialize};

use super::clean::{BoxRules, CleanImage, Counts};
use super::journal::{Identity, Journal, Record, Start};
use super::ordered::in_order;
use super::source::{FeatureSource, Provenance, SourceImage};
use super::verify::{Verified, verify};
use crate::boxes::CLIP;
use crate::error::{DatasetError, Result};
use crate::findings::Defect;
use crate::store::{EncodedImage, RegionStore, StoreDtype, StoreOptions, StoreWriter};

/// How many of the skipped images a summary lists, unless more are wanted.
const LISTED: usize = 20;

/// What to do with an image that cannot be imported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnBad {
    /// End the import with its error.
    #[default]
    Stop,
    /// Leave it out, with a warning, and count it. An error of the disk or of a device still ends
    /// the import.
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
    /// How many of the skipped images the summary lists; 20 by default.
    pub listed: usize,
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
            listed: LISTED,
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
    /// Images of the source that were done before an interruption.
    pub resumed_from: usize,
    /// Size of the source in bytes.
    pub source_bytes: u64,
    /// What was compared, if verification was on.
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
/// call resumes. `provenance` describes the source, and must be the same to resume.
///
/// # Errors
/// A store that is already there; another import to `out` that was started or is running; an
/// image that cannot be imported, unless they are skipped; a store that differs from its source
/// when it is verified; what the disk refuses.
pub fn import(
    source: &dyn FeatureSource,
    provenance: &Provenance,
    out: &Path,
    options: &ImportOptions,
) -> Result<Summary> {
    let (identity, source_bytes) = identity(source, provenance, options)?;
    // What is unfinished is on the disk of the store, also if a link leads there.
    let out = &behind_link(out)?;
    match Journal::begin(out, &identity, options.overwrite, options.restart)? {
        Start::Finished(summary) => Ok(summary),
        Start::At(mut journal, records) => {
            let input = Input {
                source,
                provenance,
                rules: BoxRules {
                    clip: options.clip,
                    strict: options.strict,
                },
                threads: options.threads.unwrap_or_else(cores),
            };
            let imported = Importer::new(input, options, &journal, records)
                .and_then(|importer| importer.run(&mut journal, source_bytes));
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

/// What must be the same for an import to resume, and the bytes of the source. Not `on_bad`: see
/// [`Importer::new`].
fn identity(
    source: &dyn FeatureSource,
    provenance: &Provenance,
    options: &ImportOptions,
) -> Result<(Identity, u64)> {
    let files = source.files();
    let (mut bytes, mut newest) = (0, 0);
    for file in &files {
        let meta = fs::metadata(file).map_err(DatasetError::io("read", file))?;
        bytes += meta.len();
        let modified = meta.modified().ok();
        let since = modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        newest = newest.max(since.map_or(0, |since| since.as_nanos()));
    }
    let path = &provenance.path;
    let path = fs::canonicalize(path).map_err(DatasetError::io("read", path))?;
    let entries = [
        ("source", path.display().to_string()),
        ("format", provenance.format.clone()),
        ("files of the source", files.len().to_string()),
        ("bytes of the source", bytes.to_string()),
        ("last change of the source", newest.to_string()),
        ("feature_dim", provenance.feature_dim.to_string()),
        ("version", env!("CARGO_PKG_VERSION").to_string()),
        ("dtype", options.dtype.name().into()),
        ("shard size", options.max_shard_bytes.to_string()),
        ("clip", options.clip.to_string()),
        ("strict", options.strict.to_string()),
    ];
    let mut identity = provenance.settings.clone();
    identity.extend(entries.map(|(name, value)| (name.to_string(), value)));
    Ok((identity, bytes))
}

/// Images of a source that are read on several threads and fitted into their sizes.
#[derive(Clone, Copy)]
pub(super) struct Input<'a> {
    pub(super) source: &'a dyn FeatureSource,
    pub(super) provenance: &'a Provenance,
    rules: BoxRules,
    threads: usize,
}

impl Input<'_> {
    /// Reads the images from row `first` on, in batches on all threads, and hands them to `take` in
    /// order, until it refuses one. `convert` runs on the reading thread.
    pub(super) fn each<T: Send>(
        &self,
        first: usize,
        convert: impl Fn(usize, CleanImage) -> Result<T> + Sync,
        mut take: impl FnMut(usize, Result<T>) -> Result<()>,
    ) -> Result<()> {
        let (rows, size) = (self.source.len(), self.source.batch_size().max(1));
        let start = |batch: usize| batch * size;
        let work = |batch: usize| {
            let rows = start(batch)..start(batch + 1).min(rows);
            let images = self.source.read_batch(rows.clone());
            let convert = |(row, image): (usize, Result<SourceImage>)| {
                let image = CleanImage::new(image?, self.rules)
                    .map_err(|defect| self.source.locate(row, defect))?;
                convert(row, image)
            };
            rows.zip(images).map(convert).collect::<Vec<_>>()
        };
        let batches = first / size..rows.div_ceil(size);
        in_order(batches, self.threads, work, |batch, images| {
            let mut images = (start(batch)..).zip(images);
            images.try_for_each(|(row, image)| {
                if row < first {
                    Ok(())
                } else {
                    take(row, image)
                }
            })
        })
    }
}

struct Importer<'a> {
    input: Input<'a>,
    options: &'a ImportOptions,
    store: StoreOptions,
    writer: StoreWriter,
    progress: Progress,
    resumed_from: usize,
}

impl<'a> Importer<'a> {
    fn new(
        input: Input<'a>,
        options: &'a ImportOptions,
        journal: &Journal,
        mut records: Vec<Record<Progress>>,
    ) -> Result<Self> {
        let provenance = input.provenance;
        let store = StoreOptions {
            feature_dim: provenance.feature_dim,
            dtype: options.dtype,
            max_shard_bytes: options.max_shard_bytes,
            overwrite: options.overwrite,
            source: provenance.description.clone(),
            pictures: provenance.pictures.clone(),
            extractor: provenance.extractor.clone(),
            label_names: input.source.label_names(),
        };
        let progress = records
            .last_mut()
            .map(|record| std::mem::take(&mut record.progress));
        let progress = progress.unwrap_or_default();
        if options.on_bad == OnBad::Stop && progress.skipped.total > 0 {
            // The other way round nothing is lost: what was imported has nothing bad in it.
            let skipped = progress.skipped.total;
            let found = format!("the started import has skipped {skipped} image(s)");
            let fix = "resume it with `on_bad` set to skip, or set `restart`";
            return Err(DatasetError::malformed(&provenance.path, found, fix));
        }
        let parts: Vec<_> = records.into_iter().map(|record| record.part).collect();
        let writer = StoreWriter::resume(journal.stage()?, store.clone(), &parts)?;
        let resumed_from = progress.rows;
        if resumed_from > 0 {
            let shards = parts.len();
            tracing::info!("resuming after {resumed_from} images in {shards} shards");
        }
        Ok(Self {
            input,
            options,
            store,
            writer,
            progress,
            resumed_from,
        })
    }

    /// Imports what is left; returns the store, which has no name yet.
    fn run(mut self, journal: &mut Journal, source_bytes: u64) -> Result<(StagedDir, Summary)> {
        let start = Instant::now();
        let (input, store) = (self.input, self.store.clone());
        let bar = progress_bar("importing", input.source.len(), self.resumed_from);
        let encode = |row, image: CleanImage| {
            let encoded = EncodedImage::new(&image.regions(), &store)
                .and_then(|encoded| encoded.with_labels(image.labels().cloned()));
            let encoded = encoded.map_err(|error| relocate(input.source, row, error))?;
            Ok((encoded, image.counts))
        };
        input.each(self.resumed_from, encode, |row, image| {
            self.take(row, image, journal)?;
            bar.inc(1);
            Ok::<(), DatasetError>(())
        })?;
        bar.finish_and_clear();
        let skipped = &self.progress.skipped;
        if self.writer.is_empty() {
            let found = match skipped.first.first() {
                None => "there is no image in it".into(),
                Some(first) => {
                    let total = skipped.total;
                    format!("none of {total} images could be imported, the first because: {first}")
                }
            };
            let path = &input.provenance.path;
            return Err(DatasetError::malformed(
                path,
                found,
                "check path and format",
            ));
        }
        let staged = self.writer.complete()?;
        let verified = match self.options.verify {
            true => Some(verify(&input, staged.path(), skipped.total)?),
            false => None,
        };
        let summary = Summary {
            format: input.provenance.format.clone(),
            feature_dim: self.store.feature_dim,
            dtype: self.options.dtype.name().into(),
            counts: self.progress.counts,
            skipped: self.progress.skipped,
            shards: RegionStore::open(staged.path())?.num_shards(),
            resumed_from: self.resumed_from,
            source_bytes,
            verified,
            notes: input.source.notes(),
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
                .map_err(|error| relocate(self.input.source, row, error))
        });
        self.progress.rows = row + 1;
        match pushed {
            Ok(counts) => self.progress.counts.add(&counts),
            Err(error) if self.options.on_bad == OnBad::Stop || is_fatal(&error) => {
                return Err(error);
            }
            Err(error) => {
                let text = error.to_string();
                tracing::warn!("skipped: {text}");
                self.progress.skipped.total += 1;
                if self.progress.skipped.first.len() < self.options.listed {
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

/// Whether an error is not about one image, so that skipping it would not help.
fn is_fatal(error: &DatasetError) -> bool {
    matches!(
        error,
        DatasetError::File(FileError::Io { .. })
            | DatasetError::Vision(VisionError::Extractor { .. })
    )
}

/// Adds file and line to an error that knows an image by its key alone.
fn relocate(source: &dyn FeatureSource, row: usize, error: DatasetError) -> DatasetError {
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

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get())
}

/// A bar on stderr, hidden by indicatif where that is no terminal.
pub(super) fn progress_bar(what: &'static str, images: usize, done: usize) -> ProgressBar {
    let bar = ProgressBar::new(images as u64).with_position(done as u64);
    bar.reset_eta();
    let style =
        ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} images, {per_sec}, {eta} left");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.with_message(what)
}
