//! Corpora as JSON lines, or as an array of the same objects: texts that name images of a region store.
//!
//! A row is one of
//!
//! ```json
//! {"image": "dev-1373-0.b0", "text": "two yellow triangles and one black square"}
//! {"image": "2407890", "question": "What is the dog doing?", "answer": ["sleeping", "lying"]}
//! ```
//!
//! `answer` is one text or a list. A caption row may say `tags` (one text, or a list) to replace
//! the tags of the store, `label` (true or false), which pre-training ignores, and `graph`, the
//! text's scene graph: `{"objects": [word], "attributes": [[object, [word]]], "relations":
//! [[subject, [word], object]], "regions": [[object, [region]]], "lemmas": [text]}`, words counted
//! from 0, all but `objects` optional. Any other key is refused, with the nearest known one named.
//!
//! Every row is checked when the file is opened, on all cores, so that no bad row can stop a
//! training run; the texts themselves stay in the file, from which they are read by position.

use std::path::Path;

use super::check::{check_length, check_rows};
use super::graph;
use super::jsonl_row::{Row, Texts};
use super::row_file::RowFile;
use crate::error::{DatasetError, Result};
use crate::findings::{Counts, Defect, Kind, Problem, Problems};
use crate::images::{ImageSource, SharedImages};
use oscar_core::input::{Example, ExampleSource, RegionHandle, SourceError, TextB};

/// A corpus opened for reading, with the images it names.
///
/// Memory: twelve bytes a row, and four more for each question. The engine reads it through
/// [`ExampleSource`], which reports errors; Burn's `Dataset` is implemented too, for use with
/// Burn's own tools.
pub struct JsonlCorpus {
    file: RowFile,
    source: SharedImages,
    images: Vec<u32>,
    answer_rows: Vec<u32>,
    images_without_rows: usize,
}

/// The rows of a corpus, checked.
struct Rows {
    file: RowFile,
    /// Those of them that are right.
    rows: Vec<Checked>,
    /// Whether a row is about each of the images.
    named: Vec<bool>,
}

/// What is known of a row that is right.
struct Checked {
    /// Row of its image, where images are looked up.
    image: u32,
    is_question: bool,
    is_false: bool,
    words: u32,
}

impl Rows {
    /// Reads the corpus at `path`, whose images must be in `images`.
    fn read(
        path: &Path,
        images: Option<&dyn ImageSource>,
        problems: &mut Problems,
    ) -> Result<Self> {
        let file = RowFile::open(path)?;
        let check = |_: &mut (), index: usize| {
            // Before it is read: it may be the whole file.
            check_length(file.length(index))?;
            let line = file.read(index);
            let line = line.map_err(|error| Defect::of(Kind::Unreadable, error.to_string()))?;
            let row = Row::parse(&line)?;
            let image = images.map_or(Ok(0), |images| images.require(&row.image))?;
            if let (Some(graph), Some(images)) = (&row.graph, images) {
                let regions = images.num_regions(image);
                let regions = regions.map_err(|error| Defect::from(error.to_string()))?;
                graph::check(graph, graph.lemmas.len(), Some(regions))?;
            }
            let count = |text: &str| text.split_whitespace().count();
            let words = match &row.texts {
                Texts::Caption { text, tags } => count(text) + tags.as_deref().map_or(0, count),
                Texts::Question { question, answers } => {
                    count(question) + answers.iter().map(|said| count(said)).sum::<usize>()
                }
            };
            Ok(Checked {
                image: image as u32,
                is_question: matches!(row.texts, Texts::Question { .. }),
                is_false: row.is_false,
                words: words as u32,
            })
        };
        let (rows, _) = check_rows(path, file.len(), problems, check)?;
        let mut named = vec![false; images.map_or(0, |images| images.len())];
        for row in rows.iter().filter(|_| images.is_some()) {
            named[row.image as usize] = true;
        }
        Ok(Self { file, rows, named })
    }

    /// How many rows are labelled as false of their image.
    fn false_rows(&self) -> usize {
        self.rows.iter().filter(|row| row.is_false).count()
    }

    fn unnamed_images(&self) -> usize {
        self.named.iter().filter(|named| !**named).count()
    }
}

/// Checks the corpus at `path` as [`JsonlCorpus::open`] does; without `images`, its rows alone.
///
/// # Errors
/// A missing or empty file.
pub(crate) fn check_jsonl(
    path: &Path,
    images: Option<&dyn ImageSource>,
    problems: &mut Problems,
) -> Result<Counts> {
    let found = Rows::read(path, images, problems)?;
    let mut counts = Counts::default();
    counts.add("rows", found.file.len());
    counts.add(
        "words",
        found.rows.iter().map(|row| row.words as usize).sum(),
    );
    if let wrong @ 1.. = found.false_rows() {
        counts.add("rows labelled as false", wrong);
    }
    if images.is_some() {
        let unnamed = found.unnamed_images();
        counts.add("images named", found.named.len() - unnamed);
        counts.add("images that no row names", unnamed);
    }
    Ok(counts)
}

impl JsonlCorpus {
    /// Opens and checks the corpus at `path`; its `image` keys are those of `source`.
    ///
    /// # Errors
    /// A missing or empty file; or [`DatasetError::Problems`] with the first twenty wrong rows: bad
    /// JSON, unknown or missing keys, a text without any letter or digit, an image that is not in
    /// `source`, text that is not UTF-8, a row over 1 MiB, a blank line before the last row.
    pub fn open(path: &Path, source: SharedImages) -> Result<Self> {
        let found = Problems::refuse(|problems| Rows::read(path, Some(&*source), problems))?;
        if let wrong @ 1.. = found.false_rows() {
            tracing::warn!(
                "{}: {wrong} of {} rows have a label that says their text is false; pre-training takes \
                 every text as one that is true of its image: leave them out",
                path.display(),
                found.rows.len()
            );
        }
        let questions = (0..).zip(&found.rows).filter(|(_, row)| row.is_question);
        Ok(Self {
            answer_rows: questions.map(|(row, _)| row).collect(),
            images: found.rows.iter().map(|row| row.image).collect(),
            images_without_rows: found.unnamed_images(),
            file: found.file,
            source,
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// The source of the images.
    pub fn source(&self) -> &SharedImages {
        &self.source
    }

    /// The source's row of the image that corpus row `index` is about.
    pub fn image_row(&self, index: usize) -> usize {
        self.images[index] as usize
    }

    /// How many images of the source no row is about.
    pub fn images_without_rows(&self) -> usize {
        self.images_without_rows
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.images.len()
    }

    /// Whether there is no row; an opened corpus has at least one.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn read(&self, index: usize) -> Result<Example> {
        let origin = format!("{}:{}", self.path().display(), index + 1);
        let wrong = |defect: Defect| {
            DatasetError::problem(Problem::at_line(self.path(), index + 1, defect))
        };
        if index >= self.len() {
            return Err(wrong(format!("there are only {} rows", self.len()).into()));
        }
        let line = self.file.read(index)?;
        let row = Row::parse(&line).map_err(wrong)?;
        let image = self.images[index] as usize;
        let mut answers = Vec::new();
        let (text_a, text_b, text_b_is) = match row.texts {
            Texts::Caption {
                text,
                tags: Some(tags),
            } => (text, tags, TextB::Tags),
            Texts::Caption { text, tags: None } => {
                (text, self.source.tag_text(image)?, TextB::Tags)
            }
            Texts::Question {
                question,
                answers: people,
            } => {
                answers = people;
                (question, answers.join(" "), TextB::Answer)
            }
        };
        let regions = RegionHandle::new(self.source.clone(), image)
            .map_err(|error| wrong(error.to_string().into()))?;
        Ok(Example {
            origin,
            image: row.image,
            text_a,
            text_b,
            text_b_is,
            regions,
            graph: row.graph,
            answers,
        })
    }
}

impl ExampleSource for JsonlCorpus {
    fn len(&self) -> usize {
        self.images.len()
    }

    fn get(&self, index: usize) -> Result<Example, SourceError> {
        Ok(self.read(index)?)
    }

    fn answer_rows(&self) -> &[u32] {
        &self.answer_rows
    }
}

/// Burn's view of a corpus. Its `get` has no place for an error: one is logged, and the row is
/// missing. The training engine therefore uses [`ExampleSource`].
impl burn_dataset::Dataset<Example> for JsonlCorpus {
    fn get(&self, index: usize) -> Option<Example> {
        if index >= self.images.len() {
            return None;
        }
        self.read(index)
            .inspect_err(|error| tracing::error!("{error}"))
            .ok()
    }

    fn len(&self) -> usize {
        self.images.len()
    }
}
