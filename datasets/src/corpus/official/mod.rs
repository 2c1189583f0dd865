//! The official pre-training corpus, as published for Oscar+.
//!
//! | file | holds |
//! |---|---|
//! | `NAME.yaml` | `corpus`: data sets joined by `_`; `corpus_file`; `image_label_path` and `image_feature_path`: a folder per data set |
//! | `NAME.tsv` (and `.lineidx`) | `image key`, `label key`, `text A`, separated by tabs |
//! | label folder | `predictions_gt.tsv`: `image id, {"objects": [{"class"}], "gt_objects"}`, `imageid2idx.json`; of questions `QA_fileB.tsv`: `answer id, {"labels": [answer]}`, `QA_qaid2idx.json` |
//! | feature folder | a region store or the official feature files; of a chunked data set, a folder per chunk |
//!
//! Label folders and the corpus file are relative to the folder of the YAML file, feature folders
//! to a data directory.
//!
//! Rows of data sets that the YAML file does not name, or of chunks that were not chosen, are
//! skipped and counted; so are, on demand, those of images without regions. Keys, texts, images and answers of every other row are checked when the
//! corpus is opened; the object tags of an image are read when the row is.

mod description;
mod features;
mod id_map;
mod key;
mod labels;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use oscar_core::input::{Example, ExampleSource, RegionHandle, SourceError, TextB};

use self::description::Description;
use self::features::{Features, in_range};
use self::key::RowKey;
use self::labels::{LabelFolder, Labels};
use super::check::{check_length, check_rows};
use crate::error::{DatasetError, Result};
use crate::findings::{Defect, Problems};
use crate::images::SharedImages;
use crate::rows::is_visible;
use crate::tsv::TsvFile;

/// Kinds of skipped rows that a message names.
const LISTED: usize = 12;

/// What is read of an official corpus, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfficialCorpusOptions {
    /// Whether the classes that people annotated (`gt_objects`), where an image has some, are its
    /// object tags instead of those that were detected; on by default.
    pub use_gtlabels: bool,
    /// Chunks of chunked data sets to read, the last one excluded; all by default.
    pub chunks: Option<Range<u32>>,
    /// Whether rows whose image has no regions are skipped and counted, instead of refused; off by
    /// default.
    pub skip_missing_images: bool,
    /// Whether the YAML file may name paths outside of its folder and the data directory; off by
    /// default.
    pub outside_paths: bool,
}

impl Default for OfficialCorpusOptions {
    fn default() -> Self {
        Self {
            use_gtlabels: true,
            chunks: None,
            skip_missing_images: false,
            outside_paths: false,
        }
    }
}

/// An official corpus, opened.
///
/// Memory: twenty bytes a row, four more for each question, and four for each row if some are
/// skipped.
pub struct OfficialCorpus {
    file: TsvFile,
    /// Rows of the file that are the corpus's; without it, all are.
    lines: Option<Vec<u32>>,
    rows: Vec<Place>,
    answer_rows: Vec<u32>,
    /// By data set.
    labels: Vec<Labels>,
    /// Feature folders.
    sources: Vec<SharedImages>,
    region_dim: usize,
    skipped: BTreeMap<String, usize>,
}

/// The places of a row's image and of its text B.
#[derive(Clone, Copy)]
struct Place {
    /// Row in the feature folder.
    image: u32,
    /// Row in the table of tags or answers.
    label: u32,
    /// Feature folder.
    source: u16,
    /// Data set.
    dataset: u8,
    is_question: bool,
}

/// A data set while its corpus is opened.
struct Dataset {
    name: String,
    labels: LabelFolder,
    features: Features,
}

impl OfficialCorpus {
    /// Opens the corpus that the YAML file at `path` describes; its feature folders are in `data`.
    ///
    /// # Errors
    /// A description that is wrong or names what is not there; files that are missing or damaged;
    /// [`DatasetError::Problems`] with the first twenty wrong rows; no row left after skipping.
    pub fn open(path: &Path, data: &Path, options: OfficialCorpusOptions) -> Result<Self> {
        let description = Description::read(path, data, options.outside_paths)?;
        let chunks = options.chunks.as_ref();
        let mut sources = Vec::new();
        let mut datasets = Vec::new();
        for folders in &description.datasets {
            datasets.push(Dataset {
                name: folders.dataset.clone(),
                labels: LabelFolder::open(&folders.labels)?,
                features: Features::open(folders, chunks, &mut sources)?,
            });
        }
        let region_dim = same_dim(&description, &sources)?;

        let file = TsvFile::open(&description.corpus_file)?;
        let opening = Opening {
            file: &file,
            datasets: &datasets,
            sources: &sources,
            chunks,
            skip_missing_images: options.skip_missing_images,
        };
        let (found, states) = Problems::refuse(|problems| {
            let check = |state: &mut State, row| opening.check(state, row);
            check_rows(file.path(), file.len(), problems, check)
        })?;
        let mut skipped = BTreeMap::new();
        for (what, rows) in states.into_iter().flat_map(|state| state.skipped) {
            *skipped.entry(what).or_insert(0) += rows;
        }
        let rows: Vec<Place> = found.iter().copied().flatten().collect();
        if rows.is_empty() {
            let found = format!(
                "no row is left of its {}; skipped: {}",
                file.len(),
                list(&skipped)
            );
            return Err(DatasetError::malformed(
                file.path(),
                found,
                "name its data sets in the `corpus` of the YAML file, and choose its `chunks`",
            ));
        }
        if !skipped.is_empty() {
            tracing::info!(
                "{}: {} of {} rows; skipped: {}",
                file.path().display(),
                rows.len(),
                file.len(),
                list(&skipped)
            );
        }
        let lines = (rows.len() < file.len()).then(|| {
            let kept = found
                .iter()
                .enumerate()
                .filter(|(_, place)| place.is_some());
            kept.map(|(line, _)| line as u32).collect()
        });
        let questions = rows
            .iter()
            .enumerate()
            .filter(|(_, place)| place.is_question);
        let answer_rows = questions.map(|(row, _)| row as u32).collect();
        let labels = datasets.into_iter();
        Ok(Self {
            lines,
            answer_rows,
            labels: labels
                .map(|dataset| dataset.labels.into_labels(options.use_gtlabels))
                .collect(),
            file,
            rows,
            sources,
            region_dim,
            skipped,
        })
    }

    /// Values per region of its images.
    pub fn region_dim(&self) -> usize {
        self.region_dim
    }

    /// Rows that were skipped, by data set, or by data set and chunk.
    pub fn skipped(&self) -> &BTreeMap<String, usize> {
        &self.skipped
    }

    fn read(&self, index: usize) -> Result<Example> {
        let Some(place) = self.rows.get(index) else {
            let found = format!("there is no row {} among {}", index + 1, self.rows.len());
            let fix = "rows are counted from 1";
            return Err(DatasetError::malformed(self.file.path(), found, fix));
        };
        let line = self
            .lines
            .as_ref()
            .map_or(index, |lines| lines[index] as usize);
        let [image_key, label_key, text_a] = self.file.fields::<3>(line)?;
        let wrong = |found: String| self.file.wrong(line, found, "copy the file again");
        let key = RowKey::parse(image_key, label_key).map_err(wrong)?;
        let labels = &self.labels[place.dataset as usize];
        let answers = match key.answer {
            Some(answer) => labels.answers(place.label, answer)?,
            None => Vec::new(),
        };
        let (text_b, text_b_is) = match key.answer {
            Some(_) => (answers.join(" "), TextB::Answer),
            None => (labels.tags(place.label, key.image)?, TextB::Tags),
        };
        let source = self.sources[place.source as usize].clone();
        let regions = RegionHandle::new(source, place.image as usize)
            .map_err(|error| wrong(error.to_string()))?;
        Ok(Example {
            origin: self.file.origin(line),
            image: image_key.into(),
            text_a: text_a.into(),
            text_b,
            text_b_is,
            regions,
            graph: None,
            answers,
        })
    }
}

impl ExampleSource for OfficialCorpus {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn get(&self, index: usize) -> Result<Example, SourceError> {
        Ok(self.read(index)?)
    }

    fn answer_rows(&self) -> &[u32] {
        &self.answer_rows
    }
}

/// What the check of a row needs.
struct Opening<'a> {
    file: &'a TsvFile,
    datasets: &'a [Dataset],
    sources: &'a [SharedImages],
    chunks: Option<&'a Range<u32>>,
    skip_missing_images: bool,
}

/// What the check of a row remembers.
#[derive(Default)]
struct State {
    skipped: BTreeMap<String, usize>,
    /// The last image and its place: rows of an image mostly follow one another.
    last: Option<(String, u16, u32)>,
}

impl State {
    fn skip(&mut self, what: &str) {
        match self.skipped.get_mut(what) {
            Some(rows) => *rows += 1,
            None => {
                self.skipped.insert(what.into(), 1);
            }
        }
    }
}

impl Opening<'_> {
    /// The places of the image and the text B of row `row`; `None` if the row is skipped.
    fn check(&self, state: &mut State, row: usize) -> Result<Option<Place>, Defect> {
        check_length(self.file.line(row).map_err(without_row)?.len() as u64)?;
        let fields = self.file.fields::<3>(row);
        let [image_key, label_key, text_a] = fields.map_err(without_row)?;
        let key = RowKey::parse(image_key, label_key)?;
        let found = self
            .datasets
            .iter()
            .position(|dataset| dataset.name == key.dataset);
        let Some(number) = found else {
            state.skip(key.dataset);
            return Ok(None);
        };
        if let Some(chunk) = key.chunk
            && !in_range(chunk, self.chunks)
        {
            state.skip(&format!("{} chunk {chunk}", key.dataset));
            return Ok(None);
        }
        is_visible("text A", text_a)?;
        let dataset = &self.datasets[number];
        let Some((source, image)) = self.image(state, dataset, image_key, &key)? else {
            state.skip(&format!("{} without regions", dataset.name));
            return Ok(None);
        };
        let label = match (key.answer, &dataset.labels.answers) {
            (None, _) => dataset.labels.tags.row(key.image)?,
            (Some(answer), Some(table)) => table.answer_row(answer)?,
            (Some(_), None) => {
                let name = &dataset.name;
                return Err(format!(
                    "a question, but the label folder of {name} has no QA_fileB.tsv"
                )
                .into());
            }
        };
        Ok(Some(Place {
            image,
            label,
            source,
            // The known data sets are fewer.
            dataset: number as u8,
            is_question: key.answer.is_some(),
        }))
    }

    /// The feature folder of a row's image, and the image's row there; `None` if it has no regions
    /// and may be skipped.
    fn image(
        &self,
        state: &mut State,
        dataset: &Dataset,
        image_key: &str,
        key: &RowKey<'_>,
    ) -> Result<Option<(u16, u32)>, Defect> {
        if let Some((last, source, image)) = &state.last
            && last == image_key
        {
            return Ok(Some((*source, *image)));
        }
        let number = match dataset.features.folder(key) {
            Err(_) if self.skip_missing_images => return Ok(None),
            number => number?,
        };
        let source = &self.sources[number as usize];
        let image = source.find(key.image).or_else(|| source.find(image_key));
        let Some(image) = image else {
            return match self.skip_missing_images {
                true => Ok(None),
                false => source.require(key.image).map(|_| None).map_err(|defect| {
                    defect.fix("add its regions, drop the row, or set `skip_missing_images`")
                }),
            };
        };
        let image = u32::try_from(image)
            .map_err(|_| format!("image row {image} does not fit into 32 bits; split the store"))?;
        state.last = Some((image_key.into(), number, image));
        Ok(Some((number, image)))
    }
}

/// The values per region that all feature folders agree on.
fn same_dim(description: &Description, sources: &[SharedImages]) -> Result<usize> {
    let Some((first, others)) = sources.split_first() else {
        return Err(description.wrong("no feature folder", "name one per data set"));
    };
    let dim = first.region_dim();
    match others.iter().find(|other| other.region_dim() != dim) {
        None => Ok(dim),
        Some(other) => {
            let found = format!(
                "regions of {} have {} values, those of {} have {}",
                other.path().display(),
                other.region_dim(),
                first.path().display(),
                dim
            );
            Err(description.wrong(found, "take features of one detector for all data sets"))
        }
    }
}

/// What was skipped, for messages: the most frequent first.
fn list(skipped: &BTreeMap<String, usize>) -> String {
    let mut all: Vec<_> = skipped.iter().collect();
    all.sort_by_key(|(_, rows)| std::cmp::Reverse(**rows));
    let shown = all.iter().take(LISTED);
    let mut parts: Vec<String> = shown
        .map(|(what, rows)| format!("{rows} of {what}"))
        .collect();
    let more: usize = all.iter().skip(LISTED).map(|(_, rows)| **rows).sum();
    if more > 0 {
        parts.push(format!("{more} of others"));
    }
    parts.join(", ")
}

/// An error about the corpus row that is being checked, without the row.
fn without_row(error: DatasetError) -> Defect {
    match error {
        DatasetError::Annotation { found, fix, .. } => Defect::new(found, fix),
        other => other.to_string().into(),
    }
}
