//! One row of a JSON-lines corpus, parsed and checked.

use std::fmt;

use oscar_core::input::SceneGraph;
use oscar_files::without_bom;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use super::check::check_length;
use super::graph::GraphRow;
use crate::error::excerpt;
use crate::findings::{Defect, Kind};
use crate::records;
use crate::rows::{Key, Truth, has_words};

/// Keys less alike than this are not taken for misspelt.
const ALIKE: f64 = 0.75;

/// Keys a row may have.
const KEYS: [&str; 7] = [
    "image", "text", "tags", "question", "answer", "label", "graph",
];

/// Keys of published annotations, which are one object for all images.
const ANNOTATIONS: [&str; 5] = ["info", "images", "annotations", "licenses", "dataset"];

/// A row that passed every check of its own; whether its image exists is checked against the store.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) image: String,
    pub(super) texts: Texts,
    /// The scene graph of a caption.
    pub(super) graph: Option<SceneGraph>,
    /// Whether it is labelled as false: a row of matching or of statements.
    pub(super) is_false: bool,
}

/// The texts of a row.
#[derive(Debug)]
pub(super) enum Texts {
    Caption {
        text: String,
        tags: Option<String>,
    },
    Question {
        question: String,
        answers: Vec<String>,
    },
}

impl Row {
    /// Parses a line.
    ///
    /// # Errors
    /// What is wrong with it, without file and line.
    pub(super) fn parse(line: &[u8]) -> Result<Self, Defect> {
        check_length(line.len() as u64)?;
        let line = records::text(without_bom(line))?.trim_end();
        if line.is_empty() {
            return Err(Defect::of(Kind::Json, "a blank line").fix("remove it"));
        }
        if line.trim_start().starts_with('[') {
            let found = "an array, where a corpus has one JSON object a line";
            return Err(Defect::of(Kind::Json, found).fix("write its objects one a line"));
        }
        let fields: Fields = records::parse(line)?;
        fields.check()
    }
}

/// The row's fields as they are in the file.
#[derive(Default)]
struct Fields {
    image: Option<Key>,
    text: Option<String>,
    // A column without tags is one of nulls.
    tags: Option<Option<Words>>,
    question: Option<String>,
    answer: Option<Words>,
    label: Option<Value>,
    graph: Option<GraphRow>,
    unknown: Option<String>,
}

impl Fields {
    fn check(self) -> Result<Row, Defect> {
        if let Some(unknown) = self.unknown {
            return Err(unknown_key(&unknown).into());
        }
        let image = self
            .image
            .ok_or("no `image`; name the image's key in the region store")?
            .0;
        let texts = match (self.text, self.question, self.answer) {
            (Some(text), None, None) => {
                has_words("text", &text)?;
                let tags = self.tags.flatten().map(|tags| tags.0.join(" "));
                Texts::Caption { text, tags }
            }
            (None, Some(question), Some(Words(answers))) => {
                has_words("question", &question)?;
                if answers.is_empty() || answers.iter().any(|a| a.trim().is_empty()) {
                    let fix = "write the answer, or drop the row";
                    return Err(Defect::of(Kind::BlankText, "an empty `answer`").fix(fix));
                }
                if self.tags.flatten().is_some() {
                    return Err(
                        "`tags` beside an answer, which takes their place; drop them".into(),
                    );
                }
                Texts::Question { question, answers }
            }
            (None, Some(_), None) => return Err("a `question` without `answer`; add it".into()),
            (None, None, Some(_)) => return Err("an `answer` without `question`; add it".into()),
            (None, None, None) => {
                return Err("neither `text` nor `question`; write one of them".into());
            }
            (Some(_), _, _) => {
                return Err("`text` beside `question` or `answer`; make two rows of it".into());
            }
        };
        let graph = match (self.graph, &texts) {
            (None, _) => None,
            (Some(graph), Texts::Caption { text, .. }) => Some(graph.of(text)?),
            (Some(_), Texts::Question { .. }) => {
                return Err("a `graph` beside a question; it belongs to a `text`".into());
            }
        };
        let label = self.label.map(Truth::deserialize);
        Ok(Row {
            image,
            texts,
            graph,
            is_false: matches!(label, Some(Ok(Truth(false)))),
        })
    }
}

/// One text, or a list of texts.
struct Words(Vec<String>);

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected a text or a list of texts")]
        enum Either {
            One(Key),
            Many(Vec<Key>),
        }
        // Answers may be numbers, as in the rows of VQA.
        Ok(Self(match Either::deserialize(deserializer)? {
            Either::One(one) => vec![one.0],
            Either::Many(many) => many.into_iter().map(|key| key.0).collect(),
        }))
    }
}

// Written by hand, since a derived one cannot name the nearest known key.
impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object such as {\"image\": …, \"text\": …}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut fields = Fields::default();
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "image" => set(&mut fields.image, "image", &mut map)?,
                "text" => set(&mut fields.text, "text", &mut map)?,
                "tags" => set(&mut fields.tags, "tags", &mut map)?,
                "question" => set(&mut fields.question, "question", &mut map)?,
                "answer" => set(&mut fields.answer, "answer", &mut map)?,
                "label" => set(&mut fields.label, "label", &mut map)?,
                "graph" => set(&mut fields.graph, "graph", &mut map)?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    fields.unknown.get_or_insert(key);
                }
            }
        }
        Ok(fields)
    }
}

fn set<'de, T: Deserialize<'de>, A: MapAccess<'de>>(
    field: &mut Option<T>,
    name: &'static str,
    map: &mut A,
) -> Result<(), A::Error> {
    if field.is_some() {
        return Err(serde::de::Error::duplicate_field(name));
    }
    let value = map.next_value().map_err(|error| {
        // A syntax error is complete; the message about a wrong type lacks the field.
        serde::de::Error::custom(format!("`{name}`: {error}"))
    })?;
    *field = Some(value);
    Ok(())
}

fn unknown_key(key: &str) -> String {
    if ANNOTATIONS.contains(&key) {
        return format!(
            "unknown key {}, as of COCO's or Karpathy's annotations, which captioning and retrieval \
             read; a corpus has a line of `image` and `text` for each caption",
            excerpt(key)
        );
    }
    let spelling = KEYS
        .into_iter()
        .map(|known| (strsim::jaro_winkler(key, known), known))
        .max_by(|a, b| a.0.total_cmp(&b.0));
    // Other formats' names for the text are not near it in spelling.
    let nearest = match (key, spelling) {
        ("caption" | "captions" | "sentence", _) => Some("text"),
        (_, Some((alike, known))) if alike >= ALIKE => Some(known),
        _ => None,
    };
    let (key, known) = (excerpt(key), KEYS.join(", "));
    match nearest {
        Some(nearest) => format!("unknown key {key}; did you mean `{nearest}`? Known: {known}"),
        None => format!("unknown key {key}; known are {known}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::MAX_LINE;
    use super::*;

    fn problem(line: &str) -> String {
        let defect = Row::parse(line.as_bytes()).expect_err("the row is wrong");
        defect.to_string()
    }

    #[test]
    fn labels_of_other_tasks_are_kept_apart() {
        for (label, wanted) in [
            ("true", false),
            ("null", false),
            ("3", false),
            ("{\"yes\": 1}", false),
            ("false", true),
            ("0.0", true),
            ("\"False\"", true),
        ] {
            let row = format!(r#"{{"image": "a", "text": "b", "label": {label}}}"#);
            let row = Row::parse(row.as_bytes()).expect("a row");
            assert_eq!(row.is_false, wanted, "{label}");
        }
    }

    #[test]
    fn wrong_rows_are_named() {
        for (line, wanted) in [
            (r#"{"image": "a", "text": ""}"#, "an empty `text`"),
            (
                r#"{"image": "a", "text": " ?! …"}"#,
                "without any letter or digit",
            ),
            (r#"{"image": "a", "txet": "b"}"#, "did you mean `text`?"),
            (
                r#"{"url": "a", "caption": "b"}"#,
                "unknown key \"url\"; known are image",
            ),
            (
                r#"{"image": "a", "text": 3}"#,
                "`text`: invalid type: integer `3`",
            ),
            (
                r#"{"image": "a", "text": null}"#,
                "`text`: invalid type: null",
            ),
            (
                r#"{"image": "a", "text": "b", "text": "c"}"#,
                "duplicate field `text`",
            ),
            (r#"{"text": "b"}"#, "no `image`"),
            (r#"{"image": "a"}"#, "neither `text` nor `question`"),
            (r#"{"image": "a", "question": "b?"}"#, "without `answer`"),
            (r#"{"image": "a", "answer": "b"}"#, "without `question`"),
            (
                r#"{"image": "a", "question": "b?", "answer": []}"#,
                "an empty `answer`",
            ),
            (
                r#"{"image": "a", "question": "b?", "answer": {}}"#,
                "a text or a list of texts",
            ),
            (
                r#"{"image": "a", "text": "b", "question": "c"}"#,
                "make two rows",
            ),
            (
                r#"{"image": "a", "text": "b""#,
                "column 26: EOF while parsing an object",
            ),
            ("  \r", "a blank line"),
            (
                r#"{"image": "a", "text": "a dog", "graph": {"objects": [2]}}"#,
                "names word 2, but the text has 2 words",
            ),
            (
                r#"{"image": "a", "text": "a dog", "graph": {"objects": [1], "lemmas": ["dog"]}}"#,
                "1 lemmas for a text of 2 words",
            ),
        ] {
            let found = problem(line);
            assert!(found.contains(wanted), "{line}: {found}");
        }
        let long = format!(r#"{{"image": "a", "text": "{}"}}"#, "b".repeat(MAX_LINE));
        assert!(
            problem(&long).contains("a line of 1048602 bytes"),
            "{}",
            problem(&long)
        );
        let found = Row::parse(b"{\"image\": \"\xff\"}").expect_err("not UTF-8");
        assert!(found.found.contains("byte 12 is not UTF-8"), "{found}");
        assert_eq!(found.kind, Kind::NotUtf8);
    }

    #[test]
    fn what_is_no_row_of_a_corpus_is_told_as_what_it_is() {
        for (line, wanted) in [
            (
                r#"{"info": {}, "images": []}"#,
                "which captioning and retrieval read",
            ),
            ("a dog\thttp://a.org/1.jpg", "a table separated by tabs"),
            ("1.jpg,a dog", "a table separated by commas"),
            (r#"["a"]"#, "an array, where a corpus has one"),
            (r#"7"#, "an object such as"),
            (
                r#"{"image": "a", "text": "b"},"#,
                "column 28: a comma after the object",
            ),
            (r#"{'image': 'a', 'text': 'b'}"#, "single quotes"),
            (
                r#"{"image": "a", "text": None}"#,
                "column 24: True, False or None, as Python prints them",
            ),
            (
                r#"{"image": "a", "text": NaN}"#,
                "`text`: invalid type: NaN",
            ),
        ] {
            let found = problem(line);
            assert!(found.contains(wanted), "{line}: {found}");
        }
    }

    #[test]
    fn right_rows_are_read() {
        for image in ["7", "\"7\"", "7.0"] {
            let row =
                Row::parse(format!("\u{feff}{{\"image\": {image}, \"text\": \"b\"}}").as_bytes());
            assert_eq!(row.unwrap().image, "7");
        }
        let row = Row::parse(br#"{"image": "a", "text": "b", "tags": null}"#);
        assert!(
            matches!(
                row,
                Ok(Row {
                    texts: Texts::Caption { tags: None, .. },
                    ..
                })
            ),
            "{row:?}"
        );
        let long = "word ".repeat(2_000);
        let row = Row::parse(format!(r#"{{"image": "a", "text": "{long}"}}"#).as_bytes());
        assert!(matches!(row, Ok(Row { texts: Texts::Caption { text, .. }, .. }) if text == long));
        let row = r#"{"label": true, "image": "a", "text": "b", "tags": ["dog", "red hat"]}"#;
        let row = Row::parse(row.as_bytes());
        assert!(
            matches!(&row, Ok(Row { texts: Texts::Caption { tags: Some(t), .. }, .. }) if t == "dog red hat"),
            "{row:?}"
        );
        let row =
            Row::parse(r#"{"image": "a", "question": "Où?", "answer": ["là", "ici"]}"#.as_bytes());
        assert!(
            matches!(&row, Ok(Row { texts: Texts::Question { answers, .. }, .. }) if answers[..] == ["là", "ici"]),
            "{row:?}"
        );
        let row = Row::parse(br#"{"image": "a", "question": "how many?", "answer": 2}"#);
        assert!(
            matches!(&row, Ok(Row { texts: Texts::Question { answers, .. }, .. }) if answers[..] == ["2"]),
            "{row:?}"
        );
    }
}
