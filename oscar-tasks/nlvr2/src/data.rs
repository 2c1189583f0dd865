//! Statements of a split.

use std::collections::HashMap;
use std::path::Path;

use oscar_core::input::{ExampleSeed, RegionHandle, SequenceEncoder, SourceError};
use oscar_datasets::{DatasetError, ImageSource, Rows, SharedImages, open_images};
use oscar_task::{EncodedRow, Evaluation, Logits, Predictions, Role, ScoreTable, Target, TaskData};
use serde::Serialize;

use crate::row::{Identifier, Statement};
use crate::scores::{accuracy, consistency, subsets};
use crate::{Arrangement, PAIR, Split};

/// A split, opened: every image was found.
pub struct Nlvr2Data {
    statements: Rows<Statement>,
    /// Rows of the statements' images in the source.
    images: Vec<Vec<usize>>,
    source: SharedImages,
    arrangement: Arrangement,
    encoder: SequenceEncoder,
}

impl Nlvr2Data {
    /// Opens `split` and checks every row.
    ///
    /// # Errors
    ///
    /// A file that cannot be read; a row of none of the forms, without label where one is needed,
    /// with another number of images than the others or than `arrangement` reads, whose identifier
    /// is another row's too, or whose image has no regions stored.
    pub fn open(
        split: &Split,
        arrangement: Arrangement,
        role: Role,
        encoder: SequenceEncoder,
    ) -> Result<Self, SourceError> {
        let source = open_images(&split.regions)?;
        let statements: Rows<Statement> = Rows::read(&split.statements)?;
        check_identifiers(&statements)?;
        let expected = match arrangement {
            Arrangement::Pair => PAIR,
            Arrangement::Joined => statements.first().map_or(0, |row| row.images.len()),
        };
        let mut images = Vec::with_capacity(statements.len());
        for (index, row) in statements.iter().enumerate() {
            let wrong = |found: String, fix| SourceError::from(statements.wrong(index, found, fix));
            if row.images.len() != expected {
                let found = format!("{} image(s) instead of {expected}", row.images.len());
                return Err(wrong(
                    found,
                    match arrangement {
                        Arrangement::Pair => {
                            "name `left` and `right`, or set task.images = \"joined\""
                        }
                        Arrangement::Joined => "give all rows as many as the first one has",
                    },
                ));
            }
            if role != Role::Evaluate && row.label.is_none() {
                return Err(wrong("no `label`".into(), "say true or false"));
            }
            images.push(find(&statements, index, &*source)?);
        }
        Ok(Self {
            statements,
            images,
            source,
            arrangement,
            encoder,
        })
    }

    /// The file of statements.
    pub fn path(&self) -> &Path {
        self.statements.path()
    }

    /// The statements, in order.
    pub fn statements(&self) -> &[Statement] {
        &self.statements
    }

    /// Scores of answers, one per statement in order.
    pub fn judge(&self, answers: &[bool]) -> Evaluation {
        let judged: Vec<(&Statement, bool, bool)> = self
            .statements
            .iter()
            .zip(answers)
            .filter_map(|(row, answer)| row.label.map(|label| (row, label, *answer == label)))
            .collect();
        let mut evaluation = Evaluation {
            examples: judged.len(),
            ..Evaluation::default()
        };
        let Some(accuracy) = accuracy(judged.iter().map(|(.., right)| *right)) else {
            return evaluation;
        };
        evaluation.scores.push(("accuracy".into(), accuracy));

        let named: Vec<(&Identifier, bool)> = judged
            .iter()
            .filter_map(|(row, _, right)| Some((row.identifier.as_ref()?, *right)))
            .collect();
        match judged.len() - named.len() {
            0 => {
                let score = consistency(named).map(|(score, _)| ("consistency".into(), score));
                evaluation.scores.extend(score);
            }
            unnamed => evaluation.notes.push(format!(
                "consistency was not computed: {unnamed} of {} rows have no identifier to tell \
                 which belong together",
                judged.len()
            )),
        }
        evaluation.tables.extend(by_subset(&judged));
        evaluation
    }

    /// The official `identifier,True`; JSON lines if a row has no identifier.
    fn predictions(&self, answers: &[bool], logits: &Logits) -> Result<Predictions, SourceError> {
        let mut content = String::new();
        let names: Option<Vec<&Identifier>> = self
            .statements
            .iter()
            .map(|row| row.identifier.as_ref())
            .collect();
        if let Some(names) = names {
            for (name, answer) in names.into_iter().zip(answers) {
                let answer = if *answer { "True" } else { "False" };
                content += &format!("{},{answer}\n", name.as_str());
            }
            return Ok(Predictions {
                extension: "csv",
                content: content.into_bytes(),
            });
        }
        #[derive(Serialize)]
        struct Prediction<'a> {
            images: &'a [String],
            statement: &'a str,
            prediction: bool,
            probability: f32,
        }
        for ((row, answer), logits) in self.statements.iter().zip(answers).zip(logits.rows()) {
            content += &serde_json::to_string(&Prediction {
                images: &row.images,
                statement: &row.text,
                prediction: *answer,
                probability: probability(logits),
            })?;
            content.push('\n');
        }
        Ok(Predictions {
            extension: "jsonl",
            content: content.into_bytes(),
        })
    }
}

impl TaskData for Nlvr2Data {
    fn len(&self) -> usize {
        self.statements.len()
    }

    fn region_dim(&self) -> usize {
        self.source.region_dim()
    }

    fn example(&self, index: usize, _: ExampleSeed) -> Result<Vec<EncodedRow>, SourceError> {
        let row = &self.statements[index];
        let mut shown = Vec::with_capacity(row.images.len());
        for (side, image) in self.images[index].iter().enumerate() {
            let tags = match (&row.tags, self.encoder.config().use_tags) {
                (_, false) => String::new(),
                (Some(tags), _) => tags[side].clone(),
                (None, _) => self.source.tag_text(*image)?,
            };
            shown.push((tags, RegionHandle::new(self.source.clone(), *image)?));
        }
        let sequences: Vec<&[_]> = match self.arrangement {
            Arrangement::Pair => shown.chunks(1).collect(),
            Arrangement::Joined => vec![&shown],
        };
        let sequences = sequences.into_iter().map(|images| {
            let tags: Vec<&str> = images.iter().map(|(tags, _)| tags.as_str()).collect();
            let regions: Vec<_> = images.iter().map(|(_, regions)| regions.clone()).collect();
            let origin = self.statements.origin(index);
            self.encoder
                .encode(origin, &row.text, &tags.join(" "), &regions)
        });
        Ok(vec![EncodedRow {
            sequences: sequences.collect::<Result<_, _>>()?,
            target: row.label.map(|label| Target::Class(u32::from(label))),
        }])
    }

    fn evaluate(&self, logits: &Logits) -> Result<Evaluation, SourceError> {
        let answers: Vec<bool> = logits.best().map(|class| class == 1).collect();
        Ok(Evaluation {
            predictions: Some(self.predictions(&answers, logits)?),
            ..self.judge(&answers)
        })
    }
}

fn check_identifiers(statements: &Rows<Statement>) -> Result<(), DatasetError> {
    let mut seen: HashMap<&Identifier, usize> = HashMap::new();
    for (index, row) in statements.iter().enumerate() {
        let Some(identifier) = &row.identifier else {
            continue;
        };
        if let Some(first) = seen.insert(identifier, index) {
            let name = identifier.as_str();
            let found = format!("identifier `{name}`, which row {} has too", first + 1);
            return Err(statements.wrong(index, found, "drop one of the two rows"));
        }
    }
    Ok(())
}

fn find(
    statements: &Rows<Statement>,
    index: usize,
    source: &dyn ImageSource,
) -> Result<Vec<usize>, DatasetError> {
    let keys = &statements[index].images;
    let sides = match keys.len() {
        PAIR => ["left ", "right "],
        _ => ["", ""],
    };
    let found = keys.iter().zip(sides).map(|(key, side)| {
        source.find(key).ok_or_else(|| {
            let place = source.path().display();
            let found = format!("{side}image `{key}` is not among those of {place}");
            statements.wrong(index, found, "drop the row, or add the image's regions")
        })
    });
    found.collect()
}

fn by_subset(judged: &[(&Statement, bool, bool)]) -> Option<ScoreTable> {
    let pairs: Vec<(&[String], bool)> = judged
        .iter()
        .filter(|(row, ..)| row.images.len() == PAIR)
        .map(|(row, label, _)| (row.images.as_slice(), *label))
        .collect();
    if pairs.len() < judged.len() {
        return None;
    }
    let (balanced, unbalanced) = subsets(&pairs);
    let score =
        |rows: Vec<usize>| Some((accuracy(rows.iter().map(|&row| judged[row].2))?, rows.len()));
    let rows: Vec<_> = [("balanced", balanced), ("unbalanced", unbalanced)]
        .into_iter()
        .filter_map(|(name, rows)| score(rows).map(|(score, count)| (name.into(), score, count)))
        .collect();
    (!rows.is_empty()).then(|| ScoreTable {
        title: "accuracy by subset".into(),
        rows,
    })
}

/// Probability of the second class of two.
fn probability(logits: &[f32]) -> f32 {
    match logits {
        [no, yes] => 1.0 / (1.0 + (no - yes).exp()),
        _ => f32::NAN,
    }
}
