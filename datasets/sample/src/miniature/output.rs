//! Rows of the tasks, and their files.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::balance::{Asked, ask};
use super::captions::{Captioned, Matched, caption, match_captions};
use super::statements::{Stated, state};
use super::world::{Described, World};
use super::{Draws, Part, RANKED_IMAGES, questions};
use crate::lines::Lines;
use oscar_datasets::Result;
use oscar_datasets::rows::read_rows;

/// The names of the tasks.
const TASKS: [&str; 5] = ["vqa", "gqa", "nlvr2", "retrieval", "matching"];

#[derive(Serialize)]
#[serde(untagged)]
enum Row {
    Vqa {
        image: String,
        question: String,
        answers: BTreeMap<String, f32>,
    },
    Gqa {
        image: String,
        question: String,
        answer: String,
    },
    Nlvr2 {
        identifier: String,
        left: String,
        right: String,
        statement: String,
        label: bool,
    },
    Retrieval {
        image: String,
        captions: Vec<String>,
    },
    Matching {
        image: String,
        text: String,
        label: bool,
    },
}

/// The tasks of a split.
pub(super) struct Split {
    rows: BTreeMap<&'static str, Vec<Row>>,
    /// Texts and what is right of them, by task.
    pub(super) texts: BTreeMap<&'static str, Vec<(String, String)>>,
}

impl Split {
    /// All tasks on `scenes`.
    pub(super) fn make<W: World>(world: &W, split: &str, scenes: &[W::Scene], seed: u64) -> Self {
        let draws = Draws::new(seed, split);
        let key = |scene: usize| scenes[scene].key().to_string();
        let vqa = ask(&world.vqa(), scenes, draws.part(Part::Vqa));
        let vqa = vqa.into_iter().map(|asked: Asked| Row::Vqa {
            image: key(asked.scene),
            question: asked.question,
            answers: BTreeMap::from([(asked.answer, 1.0)]),
        });
        let gqa = ask(&world.gqa(), scenes, draws.part(Part::Gqa));
        let gqa = gqa.into_iter().map(|asked: Asked| Row::Gqa {
            image: key(asked.scene),
            question: asked.question,
            answer: asked.answer,
        });
        let nlvr2 = state(&world.subjects(), scenes, draws.part(Part::Nlvr2));
        let nlvr2 = nlvr2.into_iter().map(|stated: Stated| Row::Nlvr2 {
            // Split, set of images, pair in it, sentence: as upstream names its pairs.
            identifier: format!("{split}-{}-{}-0", stated.group, stated.pair),
            left: key(stated.left),
            right: key(stated.right),
            statement: stated.statement,
            label: stated.label,
        });
        let limit = match split {
            "train" => usize::MAX,
            _ => RANKED_IMAGES,
        };
        let retrieval = caption(scenes, limit, draws.part(Part::Retrieval));
        let retrieval = retrieval
            .into_iter()
            .map(|found: Captioned| Row::Retrieval {
                image: key(found.scene),
                captions: found.captions,
            });
        let matching = match_captions(scenes, draws.part(Part::Matching));
        let matching = matching.into_iter().map(|matched: Matched| Row::Matching {
            image: key(matched.scene),
            text: matched.text,
            label: matched.label,
        });
        let rows: BTreeMap<&str, Vec<Row>> = BTreeMap::from([
            ("vqa", vqa.collect()),
            ("gqa", gqa.collect()),
            ("nlvr2", nlvr2.collect()),
            ("retrieval", retrieval.collect()),
            ("matching", matching.collect()),
        ]);
        let texts = rows
            .iter()
            .map(|(task, rows)| (*task, rows.iter().flat_map(Row::texts).collect()))
            .collect();
        Self { rows, texts }
    }

    /// A task without a row.
    pub(super) fn empty_task(&self) -> Option<&'static str> {
        let mut rows = self.rows.iter();
        rows.find(|(_, rows)| rows.is_empty())
            .map(|(task, _)| *task)
    }

    pub(super) fn rows(&self, task: &str) -> usize {
        self.rows.get(task).map_or(0, Vec::len)
    }

    /// Writes `TASK-SPLIT.jsonl` of each task.
    pub(super) fn write(&self, split: &str, dir: &Path) -> Result<()> {
        for (task, rows) in &self.rows {
            let mut file = Lines::create(dir.join(format!("{task}-{split}.jsonl")))?;
            for row in rows {
                file.push(row)?;
            }
            file.finish()?;
        }
        Ok(())
    }
}

impl Row {
    /// Its texts with what is right of them.
    fn texts(&self) -> Vec<(String, String)> {
        match self {
            Self::Vqa {
                question, answers, ..
            } => {
                let answers = answers
                    .keys()
                    .map(|answer| (question.clone(), answer.clone()));
                answers.collect()
            }
            Self::Gqa {
                question, answer, ..
            } => vec![(question.clone(), answer.clone())],
            Self::Nlvr2 {
                statement, label, ..
            } => vec![(statement.clone(), label.to_string())],
            Self::Retrieval { image, captions } => {
                let captions = captions.iter().map(|text| (text.clone(), image.clone()));
                captions.collect()
            }
            Self::Matching { text, label, .. } => vec![(text.clone(), label.to_string())],
        }
    }
}

/// What the tasks in `dir` say of `split`, answers included: what a vocabulary has to cover.
pub(crate) fn texts(dir: &Path, split: &str) -> Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Texts {
        #[serde(alias = "statement", alias = "text")]
        question: Option<String>,
        #[serde(default)]
        captions: Vec<String>,
    }
    let mut texts = Vec::new();
    for task in TASKS {
        let rows: Vec<Texts> = read_rows(&dir.join(format!("{task}-{split}.jsonl")))?;
        for row in &rows {
            texts.extend(row.question.iter().chain(&row.captions).cloned());
        }
    }
    for (_, forms) in questions::of_tasks() {
        texts.extend(questions::answers(&forms));
    }
    Ok(texts)
}
