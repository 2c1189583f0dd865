//! The pre-training annotations of ROSITA: a table of captions with lemmas and scene graphs.
//!
//! | column | holds |
//! |---|---|
//! | 4, 5 | `text` and its lemmas, each a JSON string, of as many words once punctuation is deleted |
//! | 7, 8 | `img_id` and `img_file`, by which regions are found |
//! | 10, 11 | of a question: the most agreed answer, and what each person answered, JSON |
//! | 12 | the text's scene graph, JSON: `objs` `[[[word]], …]`, `attrs` `[[[object], [word, …]], …]`, `rels` `[[[subject], [word, …], [object]], …]` |
//!
//! Columns are counted from 0; the others are not read. The text of an example is without punctuation,
//! as ROSITA reads it, so that its words are those that the graph counts.

use std::path::Path;

use oscar_core::input::{
    Example, ExampleSource, RegionHandle, Relation, SceneGraph, SourceError, TextB,
};
use serde::Deserialize;
use serde_json::Value;

use super::check::check_rows;
use super::graph::check;
use crate::error::{DatasetError, Result};
use crate::findings::{Counts, Defect, Kind, Problems};
use crate::images::{ImageSource, SharedImages};
use crate::records;
use crate::rows::has_words;
use crate::tsv::TsvFile;

/// Columns of a row; those of Visual Genome have one more.
const COLUMNS: usize = 13;

const FIX: &str = "the row is damaged: copy the file again";

/// Annotations opened for reading, with the images that they name.
pub struct RositaCorpus {
    file: TsvFile,
    source: SharedImages,
    images: Vec<u32>,
}

/// A row that passed every check of its own.
struct Row {
    image: String,
    text: String,
    graph: Option<SceneGraph>,
    answers: Vec<String>,
}

/// A text scene graph; what `mixed` holds is not known, and ROSITA does not use it.
#[derive(Deserialize)]
struct TextGraph {
    objs: Vec<Vec<Vec<usize>>>,
    attrs: Vec<(Vec<usize>, Vec<usize>)>,
    rels: Vec<(Vec<usize>, Vec<usize>, Vec<usize>)>,
}

impl TextGraph {
    fn with_lemmas(self, lemmas: Vec<String>) -> Result<SceneGraph, Defect> {
        let head = |words: &[usize]| {
            let first = words.first().copied();
            first.ok_or_else(|| Defect::new("an object without a word in `tsg`", FIX))
        };
        let objects = self
            .objs
            .iter()
            .map(|object| head(object.first().map_or(&[], |o| o)));
        let attributes = self.attrs.into_iter();
        let attributes = attributes.map(|(object, words)| Ok((head(&object)?, words)));
        let relations = self.rels.into_iter().map(|(subject, predicate, object)| {
            Ok(Relation {
                subject: head(&subject)?,
                predicate,
                object: head(&object)?,
            })
        });
        Ok(SceneGraph {
            objects: objects.collect::<Result<_, Defect>>()?,
            attributes: attributes.collect::<Result<_, Defect>>()?,
            relations: relations.collect::<Result<_, Defect>>()?,
            regions: Vec::new(),
            lemmas,
        })
    }
}

/// The words of a text without its punctuation.
fn words(text: &str) -> Vec<String> {
    let kept = |c: &char| c.is_alphanumeric() || c.is_whitespace();
    let plain: String = text.chars().filter(kept).collect();
    plain.split_whitespace().map(String::from).collect()
}

impl Row {
    fn parse(columns: [&str; COLUMNS]) -> Result<Self, Defect> {
        let string = |column: usize, name: &str| -> Result<String, Defect> {
            records::parse(columns[column])
                .map_err(|defect| defect.within(format_args!("`{name}`")))
        };
        let text = string(4, "text")?;
        has_words("text", &text)?;
        let (text, lemmas) = (words(&text), words(&string(5, "lemmas")?));
        let image = [columns[8], columns[7]]
            .into_iter()
            .find(|key| !key.is_empty());
        let image = image.ok_or_else(|| Defect::new("neither `img_file` nor `img_id`", FIX))?;
        let json = |column: usize, name: &str| match columns[column].trim() {
            "" => Ok(Value::Null),
            json => records::parse(json).map_err(|defect| defect.within(format_args!("`{name}`"))),
        };
        let answers = answers(json(10, "label")?, json(11, "multi_label")?)?;
        let graph = match json(12, "tsg")? {
            Value::Null => None,
            json => {
                let graph = TextGraph::deserialize(json);
                let graph = graph.map_err(|error| Defect::new(format!("`tsg`: {error}"), FIX))?;
                Some(graph.with_lemmas(lemmas)?)
            }
        };
        if let Some(graph) = &graph {
            check(graph, text.len(), None)?;
        }
        Ok(Self {
            image: image.into(),
            text: text.join(" "),
            graph,
            answers,
        })
    }
}

/// What people answered: each of them by `people`, or the most agreed answer alone; none to a caption.
fn answers(most_agreed: Value, people: Value) -> Result<Vec<String>, Defect> {
    let wrong = |name: &str, found: &Value| {
        let found = format!("`{name}` is {found}, which is neither null nor what people answered");
        Defect::new(found, FIX)
    };
    match (most_agreed, people) {
        (_, Value::Array(people)) => {
            let said = |said: &Value| said.as_str().map(String::from);
            let said = people
                .iter()
                .map(|p| said(p).ok_or_else(|| wrong("multi_label", p)));
            said.collect()
        }
        (Value::Null, Value::Null) => Ok(Vec::new()),
        (Value::String(answer), Value::Null) => Ok(vec![answer]),
        (other, Value::Null) => Err(wrong("label", &other)),
        (_, other) => Err(wrong("multi_label", &other)),
    }
}

/// Whether `path` is such a table, by its first row.
pub(crate) fn is_rosita(path: &Path) -> bool {
    let table = path.extension().is_some_and(|extension| extension == "tsv");
    let first = || {
        let file = TsvFile::open(path).ok().filter(|file| !file.is_empty())?;
        Row::parse(file.fields::<COLUMNS>(0).ok()?)
            .err()
            .map_or(Some(()), |defect| {
                // A wrong row of such a table has a graph all the same.
                let line = file.line(0).ok()?;
                let graph = memchr::memmem::find(line, b"\"objs\"").is_some();
                (graph || defect.kind == Kind::Mismatch).then_some(())
            })
    };
    table && first().is_some()
}

/// What is known of the rows that are right: the row of their image, and their number of words.
fn checked(
    file: &TsvFile,
    images: Option<&dyn ImageSource>,
    problems: &mut Problems,
) -> Result<Vec<(u32, usize, bool)>> {
    let check = |_: &mut (), index: usize| {
        let columns = file.fields::<COLUMNS>(index);
        let columns =
            columns.map_err(|error| Defect::of(Kind::MissingTab, error.to_string()).fix(FIX))?;
        let row = Row::parse(columns)?;
        let image = images.map_or(Ok(0), |images| images.require(&row.image))?;
        Ok((
            image as u32,
            row.text.split(' ').count(),
            row.graph.is_some(),
        ))
    };
    Ok(check_rows(file.path(), file.len(), problems, check)?.0)
}

/// Checks the annotations at `path` as [`RositaCorpus::open`] does; without `images`, their rows alone.
///
/// # Errors
/// A missing or empty file.
pub(crate) fn check_rosita(
    path: &Path,
    images: Option<&dyn ImageSource>,
    problems: &mut Problems,
) -> Result<Counts> {
    let file = TsvFile::open(path)?;
    let rows = checked(&file, images, problems)?;
    let mut counts = Counts::default();
    counts.add("rows", file.len());
    counts.add("words", rows.iter().map(|(_, words, _)| words).sum());
    let graphs = rows.iter().filter(|(.., graph)| *graph).count();
    counts.add("scene graphs", graphs);
    Ok(counts)
}

impl RositaCorpus {
    /// Opens and checks the annotations at `path`, whose images are those of `source`.
    ///
    /// # Errors
    /// A missing or empty file; or [`DatasetError::Problems`] with the first wrong rows: a column that
    /// is missing or no JSON, lemmas of another number than words, a graph that names a missing word,
    /// an image that is not in `source`.
    pub fn open(path: &Path, source: SharedImages) -> Result<Self> {
        let file = TsvFile::open(path)?;
        let rows = Problems::refuse(|problems| checked(&file, Some(&*source), problems))?;
        Ok(Self {
            images: rows.into_iter().map(|(image, ..)| image).collect(),
            file,
            source,
        })
    }

    fn read(&self, index: usize) -> Result<Example> {
        let Some(image) = self.images.get(index) else {
            let found = format!("there are only {} rows", self.images.len());
            return Err(DatasetError::malformed(
                self.file.path(),
                found,
                "count rows from 0",
            ));
        };
        let located = |defect| self.file.located(index, defect);
        let row = Row::parse(self.file.fields(index)?).map_err(located)?;
        let image = *image as usize;
        let regions = RegionHandle::new(self.source.clone(), image)
            .map_err(|error| located(error.to_string().into()))?;
        Ok(Example {
            origin: self.file.origin(index),
            image: row.image,
            text_a: row.text,
            text_b: self.source.tag_text(image)?,
            text_b_is: TextB::Tags,
            regions,
            graph: row.graph,
            answers: row.answers,
        })
    }
}

impl ExampleSource for RositaCorpus {
    fn len(&self) -> usize {
        self.images.len()
    }

    fn get(&self, index: usize) -> Result<Example, SourceError> {
        Ok(self.read(index)?)
    }

    fn answer_rows(&self) -> &[u32] {
        &[]
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;
    use std::sync::Arc;

    use serde_json::json;

    use super::super::{OfficialCorpusOptions, open_corpus};
    use super::*;
    use crate::findings::Problem;
    use crate::store::{Boxes, ImageRegions, StoreOptions, StoreWriter};

    /// A row about image 7.
    fn row(text: &str, lemmas: &str, graph: &Value) -> String {
        let (text, lemmas) = (json!(text), json!(lemmas));
        format!(
            "itm\tcoco\ttrain\t1\t{text}\t{lemmas}\tcoco\t7\tCOCO_7\t{{}}\tnull\tnull\t{graph}\n"
        )
    }

    fn graph() -> Value {
        json!({
            "objs": [[[1]], [[5]]], "attrs": [[[1], [0]]], "rels": [[[1], [2, 3], [5]]],
            "mixed": [],
        })
    }

    fn place(rows: &str) -> (tempfile::TempDir, PathBuf, PathBuf) {
        let place = tempfile::tempdir().unwrap();
        let regions = place.path().join("regions");
        let mut writer = StoreWriter::create(&regions, StoreOptions::new(2)).unwrap();
        let image = ImageRegions {
            key: "COCO_7",
            width: 10,
            height: 10,
            features: &[0.5, 1.0],
            boxes: Boxes::Relative(&[[0.0, 0.0, 0.5, 0.5, 0.5, 0.5]]),
            tags: &[],
        };
        writer.push(image).unwrap();
        writer.finish().unwrap();
        let path = place.path().join("train.tsv");
        fs::write(&path, rows).unwrap();
        (place, path, regions)
    }

    fn problems(rows: &str) -> Vec<Problem> {
        let (_place, path, regions) = place(rows);
        let images = crate::images::open_images(&regions).unwrap();
        match RositaCorpus::open(&path, images) {
            Err(DatasetError::Problems { problems, .. }) => problems,
            Err(other) => panic!("another error: {other}"),
            Ok(_) => panic!("it was read: {rows}"),
        }
    }

    #[test]
    fn rows_are_read_with_their_answers() {
        let question = |people: &str| {
            row("is it a dog?", "be it a dog", &Value::Null).replace("null\tnull\tnull", people)
        };
        let rows = question("\"yes\"\t[\"yes\", \"no\"]\tnull")
            + &question("\"yes\"\tnull\tnull")
            + &row("a dog", "a dog", &Value::Null);
        let (_place, path, regions) = place(&rows);
        let images = crate::images::open_images(&regions).unwrap();
        let corpus = RositaCorpus::open(&path, images).unwrap();
        let answers = |row: usize| corpus.get(row).unwrap().answers;
        assert_eq!(answers(0), ["yes", "no"]);
        assert_eq!(answers(1), ["yes"]);
        assert!(answers(2).is_empty());
        let found = problems(&question("{\"yes\": 1}\tnull\tnull"));
        assert_eq!(
            (found[0].kind, found[0].line),
            (Kind::Field, Some(1)),
            "{found:?}"
        );
    }

    #[test]
    fn rows_are_read_with_their_graphs() {
        let rows = row(
            "Brown dog's left-of the tree.",
            "brown dogs leftof the tree",
            &Value::Null,
        );
        let rows = rows
            + &row(
                "Brown dog, left of the tree!",
                "brown dog left of the tree",
                &graph(),
            );
        let (_place, path, regions) = place(&rows);
        assert!(is_rosita(&path));
        let corpus = open_corpus(&path, &regions, OfficialCorpusOptions::default()).unwrap();
        let rows: Arc<dyn ExampleSource> = corpus.rows;
        assert_eq!((rows.len(), corpus.region_dim), (2, 8));
        let first = rows.get(0).unwrap();
        assert_eq!(
            (first.text_a.as_str(), first.graph),
            ("Brown dogs leftof the tree", None)
        );
        let second = rows.get(1).unwrap();
        let found = second.graph.unwrap();
        assert_eq!(found.objects, [1, 5]);
        assert_eq!(found.attributes, [(1, vec![0])]);
        assert_eq!(found.lemmas[5], "tree");
        assert_eq!(found.relations[0].predicate, [2, 3]);
    }

    #[test]
    fn wrong_rows_are_named() {
        let good = row(
            "brown dog left of the tree",
            "brown dog left of the tree",
            &graph(),
        );
        let far = json!({"objs": [[[9]]], "attrs": [], "rels": []});
        for (wrong, kind) in [
            // Lemmas of another number; a word that is not there.
            (
                row(
                    "a brown dog",
                    "brown dog",
                    &json!({"objs": [], "attrs": [], "rels": []}),
                ),
                Kind::Mismatch,
            ),
            (row("a dog", "a dog", &far), Kind::Mismatch),
            (row("?!", "", &Value::Null), Kind::BlankText),
            (
                row(
                    "a dog",
                    "a dog",
                    &json!({"objs": [[[]]], "attrs": [], "rels": []}),
                ),
                Kind::Field,
            ),
            (
                row("a dog", "a dog", &Value::Null).replace("COCO_7", "COCO_8"),
                Kind::UnknownImage,
            ),
            ("itm\tcoco\n".to_string(), Kind::MissingTab),
        ] {
            let found = problems(&format!("{good}{wrong}"));
            assert_eq!(found.len(), 1, "{wrong}: {found:?}");
            assert_eq!(
                (found[0].kind, found[0].line),
                (kind, Some(2)),
                "{wrong}: {found:?}"
            );
        }
    }
}
