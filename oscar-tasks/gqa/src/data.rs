//! An opened split.

use oscar_core::input::{ExampleSeed, SequenceEncoder, SourceError};
use oscar_datasets::answers::AnswerVocabulary;
use oscar_datasets::questions::{Question, QuestionSet};
use oscar_task::answers::{answer, breakdowns};
use oscar_task::{
    ClassData, EncodedRow, Evaluation, Logits, Predictions, Role, Target, TaskData, required,
};
use serde::Serialize;

use crate::Split;

/// Questions with the labels of their answers.
pub struct GqaData {
    set: QuestionSet,
    vocabulary: AnswerVocabulary,
    answers: Vec<Answer>,
    encoder: SequenceEncoder,
}

/// The right answer.
#[derive(Clone, Copy)]
enum Answer {
    /// Not known: a question of a test split.
    Unknown,
    /// An answer that is not in the vocabulary: no class is right.
    Foreign,
    Label(u32),
}

impl GqaData {
    /// Opens `split` and checks every question.
    ///
    /// # Errors
    ///
    /// A file that cannot be read, a wrong row, a label outside the vocabulary; where answers are
    /// learned, a question without one, or with one that the vocabulary lacks.
    pub fn open(
        split: &Split,
        role: Role,
        vocabulary: AnswerVocabulary,
        encoder: SequenceEncoder,
    ) -> Result<Self, SourceError> {
        let questions = required(&split.questions, "questions", "the file of questions")?;
        let set = QuestionSet::open(questions, None, split.regions.as_deref())?;
        if role != Role::Evaluate {
            set.require_answers()?;
        }
        let mut answers = Vec::with_capacity(set.len());
        let mut foreign = 0;
        for (index, question) in set.questions().iter().enumerate() {
            let answer = right(question, &vocabulary).map_err(|found| {
                let fix = "give the answer vocabulary of these labels";
                set.wrong(index, found, fix)
            })?;
            match (answer, role) {
                (Answer::Label(_), _) | (Answer::Unknown, Role::Evaluate) => {}
                (Answer::Foreign, Role::Evaluate) => foreign += 1,
                // Refused before.
                (Answer::Unknown, _) => {}
                (Answer::Foreign, _) => {
                    let answer = question.most_agreed().unwrap_or_default();
                    let path = vocabulary.path().display();
                    let found = format!("the answer {answer:?} is not in {path}");
                    let fix = "correct it, add it to the vocabulary, or drop the row";
                    return Err(set.wrong(index, found, fix).into());
                }
            }
            answers.push(answer);
        }
        if foreign > 0 {
            tracing::warn!(
                "{}: the answers to {foreign} of {} questions are not in the vocabulary: they \
                 count as wrong",
                set.path().display(),
                set.len()
            );
        }
        Ok(Self {
            set,
            vocabulary,
            answers,
            encoder,
        })
    }
}

/// The first label of the file, or that of the most agreed answer.
fn right(question: &Question, vocabulary: &AnswerVocabulary) -> Result<Answer, String> {
    let targets = question.targets(vocabulary)?;
    let first = match question.labels.first() {
        Some((label, _)) => Some(*label),
        None => targets.first().map(|(label, _)| *label),
    };
    Ok(match first {
        Some(label) => Answer::Label(label),
        None if question.is_answered() => Answer::Foreign,
        None => Answer::Unknown,
    })
}

impl TaskData for GqaData {
    fn len(&self) -> usize {
        self.set.len()
    }

    fn region_dim(&self) -> usize {
        self.set.region_dim()
    }

    fn extractor(&self) -> Option<String> {
        self.set.extractor()
    }
}

impl ClassData for GqaData {
    fn example(&self, index: usize, _: ExampleSeed) -> Result<Vec<EncodedRow>, SourceError> {
        let sequence = self.set.encode(index, &self.encoder)?;
        let target = match self.answers.get(index) {
            Some(Answer::Label(label)) => Some(Target::Class(*label)),
            _ => None,
        };
        Ok(vec![EncodedRow {
            sequences: vec![sequence],
            target,
        }])
    }

    fn evaluate(&self, logits: &Logits) -> Result<Evaluation, SourceError> {
        // The test server's names; ids stay texts, since some begin with zeros.
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Prediction<'a> {
            question_id: String,
            prediction: &'a str,
        }
        let mut scored = Vec::with_capacity(self.len());
        let mut predictions = Vec::with_capacity(self.len());
        for (index, label) in logits.best().enumerate() {
            let known = (self.set.questions().get(index), self.answers.get(index));
            let (Some(question), Some(truth)) = known else {
                return Err(format!(
                    "there are logits for a question {index}, but no such question"
                )
                .into());
            };
            if !matches!(truth, Answer::Unknown) {
                let right = matches!(truth, Answer::Label(l) if *l as usize == label);
                scored.push((question, f64::from(right)));
            }
            let prediction = answer(&self.vocabulary, label)?;
            let question_id = question.id.clone().unwrap_or_else(|| index.to_string());
            predictions.push(Prediction {
                question_id,
                prediction,
            });
        }
        let mut scores = Vec::new();
        if !scored.is_empty() {
            let right: f64 = scored.iter().map(|(_, right)| right).sum();
            scores.push(("accuracy".to_owned(), right / scored.len() as f64));
        }
        Ok(Evaluation {
            scores,
            tables: breakdowns(&scored),
            examples: self.len(),
            predictions: Some(Predictions {
                extension: "json",
                content: serde_json::to_vec(&predictions)?,
            }),
            ..Evaluation::default()
        })
    }
}
