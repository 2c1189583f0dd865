//! Statements of a split.

use std::path::Path;

use oscar_core::input::{ExampleSeed, RegionHandle, SequenceEncoder, SourceError};
use oscar_datasets::nlvr2::{Identifier, Statement};
use oscar_datasets::{RowSet, SharedImages, open_images};
use oscar_task::{
    ClassData, EncodedRow, Evaluation, Logits, Predictions, Role, ScoreTable, Target, TaskData,
    required,
};
use serde::Serialize;

use crate::scores::{accuracy, consistency, subsets};
use crate::{Arrangement, PAIR, Split};

/// A split, opened: every image was found.
pub struct Nlvr2Data {
    statements: RowSet<Statement>,
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
        let source = open_images(required(&split.regions, "regions", "the region store")?)?;
        let file = required(&split.statements, "statements", "the file of statements")?;
        let statements: RowSet<Statement> = RowSet::open(file, Some(source.clone()))?;
        let count = statements.first().map_or(0, |row| row.images.len());
        if arrangement == Arrangement::Pair && count != PAIR {
            let found = format!("{count} image(s) instead of {PAIR}");
            let fix = "name `left` and `right`, or set task.images = \"joined\"";
            return Err(statements.wrong(0, found, fix).into());
        }
        if role != Role::Evaluate {
            statements.require_labels()?;
        }
        Ok(Self {
            statements,
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
    pub fn score(&self, answers: &[bool]) -> Evaluation {
        let scored: Vec<(&Statement, bool, bool)> = self
            .statements
            .iter()
            .zip(answers)
            .filter_map(|(row, answer)| row.label.map(|label| (row, label, *answer == label)))
            .collect();
        let mut evaluation = Evaluation {
            examples: scored.len(),
            ..Evaluation::default()
        };
        let Some(accuracy) = accuracy(scored.iter().map(|(.., right)| *right)) else {
            return evaluation;
        };
        evaluation.scores.push(("accuracy".into(), accuracy));

        let named: Vec<(&Identifier, bool)> = scored
            .iter()
            .filter_map(|(row, _, right)| Some((row.identifier.as_ref()?, *right)))
            .collect();
        match scored.len() - named.len() {
            0 => {
                let score = consistency(named).map(|(score, _)| ("consistency".into(), score));
                evaluation.scores.extend(score);
            }
            unnamed => evaluation.notes.push(format!(
                "consistency was not computed: {unnamed} of {} rows have no identifier to tell \
                 which belong together",
                scored.len()
            )),
        }
        evaluation.tables.extend(by_subset(&scored));
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

    fn extractor(&self) -> Option<String> {
        self.source.extractor().map(String::from)
    }
}

impl ClassData for Nlvr2Data {
    fn example(&self, index: usize, _: ExampleSeed) -> Result<Vec<EncodedRow>, SourceError> {
        let row = &self.statements[index];
        let mut shown = Vec::with_capacity(row.images.len());
        for (side, image) in self.statements.images(index).iter().enumerate() {
            let image = *image as usize;
            let tags = match (&row.tags, self.encoder.config().use_tags) {
                (_, false) => String::new(),
                (Some(tags), _) => tags[side].clone(),
                (None, _) => self.source.tag_text(image)?,
            };
            shown.push((tags, RegionHandle::new(self.source.clone(), image)?));
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
            ..self.score(&answers)
        })
    }
}

fn by_subset(scored: &[(&Statement, bool, bool)]) -> Option<ScoreTable> {
    let pairs: Vec<(&[String], bool)> = scored
        .iter()
        .filter(|(row, ..)| row.images.len() == PAIR)
        .map(|(row, label, _)| (row.images.as_slice(), *label))
        .collect();
    if pairs.len() < scored.len() {
        return None;
    }
    let (balanced, unbalanced) = subsets(&pairs);
    let score =
        |rows: Vec<usize>| Some((accuracy(rows.iter().map(|&row| scored[row].2))?, rows.len()));
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
