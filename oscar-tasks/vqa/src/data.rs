//! A split, opened.

use oscar_core::input::{ExampleSeed, SequenceEncoder, SourceError};
use oscar_datasets::answers::AnswerVocabulary;
use oscar_datasets::questions::{Question, QuestionSet};
use oscar_task::{EncodedRow, Evaluation, Logits, Predictions, Role, ScoreTable, Target, TaskData};
use serde_json::{Value, json};

use crate::accuracy::vqa_accuracy;
use crate::{Loss, Split, given};

/// Questions with the scores of their answers.
pub struct VqaData {
    set: QuestionSet,
    vocabulary: AnswerVocabulary,
    /// Scores by label of every question, the most agreed answer first.
    targets: Vec<Vec<(u32, f32)>>,
    /// The questions that are examples.
    examples: Vec<u32>,
    loss: Loss,
    encoder: SequenceEncoder,
}

impl VqaData {
    /// Opens `split` and checks every question.
    ///
    /// Questions none of whose answers the vocabulary has teach nothing: they are no examples,
    /// unless they are to be scored.
    ///
    /// # Errors
    ///
    /// A file that cannot be read, a wrong row, a label outside the vocabulary; no example at all.
    pub fn open(
        split: &Split,
        role: Role,
        vocabulary: AnswerVocabulary,
        loss: Loss,
        encoder: SequenceEncoder,
    ) -> Result<Self, SourceError> {
        let (annotations, regions) = (given(&split.annotations), given(&split.regions));
        let questions = given(&split.questions).ok_or("`questions` is not set: name the file")?;
        let set = QuestionSet::open(questions, annotations, regions)?;
        let mut targets = Vec::with_capacity(set.len());
        for (index, question) in set.questions().iter().enumerate() {
            let target = question.targets(&vocabulary).map_err(|found| {
                let fix = "give the answer vocabulary of these labels";
                set.wrong(index, found, fix)
            })?;
            targets.push(target);
        }
        let all = 0..set.len() as u32;
        let examples: Vec<u32> = match role {
            Role::Evaluate => all.collect(),
            _ => all
                .filter(|index| !targets[*index as usize].is_empty())
                .collect(),
        };
        let data = Self {
            set,
            vocabulary,
            targets,
            examples,
            loss,
            encoder,
        };
        data.say_what_is_left_out(role);
        if data.is_empty() {
            let (path, answers) = (data.set.path().display(), data.vocabulary.path().display());
            return Err(format!(
                "{path}: no question has an answer of {answers}; give annotations with answers, \
                 and their own vocabulary"
            )
            .into());
        }
        Ok(data)
    }

    fn say_what_is_left_out(&self, role: Role) {
        let lacking = self.targets.iter().filter(|t| t.is_empty()).count();
        if lacking == 0 {
            return;
        }
        let answered = |question: &&Question| question.is_answered();
        let unanswered = self.set.len() - self.set.questions().iter().filter(answered).count();
        let what_follows = match role {
            Role::Evaluate => "they do not count in `accuracy`",
            _ => "they are left out",
        };
        tracing::info!(
            "{}: {lacking} of {} questions have no answer in the vocabulary ({unanswered} of them \
             none at all): {what_follows}",
            self.set.path().display(),
            self.set.len()
        );
    }

    fn question(&self, example: usize) -> Result<usize, SourceError> {
        let question = self.examples.get(example).map(|index| *index as usize);
        question.ok_or_else(|| format!("no example {example}").into())
    }
}

impl TaskData for VqaData {
    fn len(&self) -> usize {
        self.examples.len()
    }

    fn region_dim(&self) -> usize {
        self.set.region_dim()
    }

    fn example(&self, index: usize, _: ExampleSeed) -> Result<Vec<EncodedRow>, SourceError> {
        let question = self.question(index)?;
        let sequence = self.set.encode(question, &self.encoder)?;
        let scores = &self.targets[question];
        let target = scores.first().map(|(best, _)| match self.loss {
            Loss::Ce => Target::Class(*best),
            Loss::Bce | Loss::Kl => Target::Scores(scores.clone()),
        });
        Ok(vec![EncodedRow {
            sequences: vec![sequence],
            target,
        }])
    }

    fn evaluate(&self, logits: &Logits) -> Result<Evaluation, SourceError> {
        let mut answers = Vec::with_capacity(self.len());
        for (index, label) in logits.best().enumerate() {
            let question = self.question(index)?;
            let answer = self.vocabulary.answer(label).ok_or_else(|| {
                let (path, count) = (self.vocabulary.path().display(), self.vocabulary.len());
                format!("the model answers {label}, but {path} has {count} answers")
            })?;
            let score = self.targets[question]
                .iter()
                .find(|(l, _)| *l as usize == label);
            answers.push(Answered {
                question: &self.set.questions()[question],
                answer,
                row: question,
                soft: (!self.targets[question].is_empty())
                    .then(|| score.map_or(0.0, |(_, score)| f64::from(*score))),
            });
        }
        Ok(evaluation(&answers))
    }
}

/// A question and what the model answers.
struct Answered<'a> {
    question: &'a Question,
    answer: &'a str,
    row: usize,
    /// The answer's soft score, if the vocabulary has any of the right ones.
    soft: Option<f64>,
}

fn evaluation(answers: &[Answered<'_>]) -> Evaluation {
    let soft: Vec<f64> = answers
        .iter()
        .filter_map(|answered| answered.soft)
        .collect();
    let against_people = |answered: &Answered<'_>| {
        let people = answered.question.ten_answers()?;
        Some(vqa_accuracy(people, answered.answer))
    };
    let people: Vec<Option<f64>> = answers.iter().map(against_people).collect();
    let known: Vec<f64> = people.iter().copied().flatten().collect();

    // The published accuracy is one of all questions, or none.
    let official = !known.is_empty() && known.len() == answers.len();
    let mut scores = Vec::new();
    if official {
        scores.push(("vqa_accuracy".to_owned(), mean(&known)));
    }
    if !soft.is_empty() {
        scores.push(("accuracy".to_owned(), mean(&soft)));
    }
    let judged = |(answered, people): (&'_ Answered<'_>, &Option<f64>)| match official {
        true => *people,
        false => answered.soft,
    };
    let by = |title, kind: fn(&Question) -> Option<&str>| {
        let scored = answers
            .iter()
            .zip(&people)
            .filter_map(|(answered, people)| {
                Some((kind(answered.question)?, judged((answered, people))?))
            });
        ScoreTable::by_group(title, scored)
    };
    let tables = [
        by("answer type", |question| question.answer_type.as_deref()),
        by("question type", |question| {
            question.question_type.as_deref()
        }),
    ];
    Evaluation {
        scores,
        tables: tables.into_iter().flatten().collect(),
        examples: answers.len(),
        predictions: Some(predictions(answers)),
        ..Evaluation::default()
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The file that the test server takes; questions without an id have the number of their row.
fn predictions(answers: &[Answered<'_>]) -> Predictions {
    let row = |answered: &Answered<'_>| {
        let id = match &answered.question.id {
            None => Value::from(answered.row),
            Some(id) => match id.parse::<i64>() {
                Ok(number) => Value::from(number),
                Err(_) => Value::from(id.as_str()),
            },
        };
        json!({"question_id": id, "answer": answered.answer})
    };
    let rows: Vec<Value> = answers.iter().map(row).collect();
    Predictions {
        extension: "json",
        content: Value::from(rows).to_string().into_bytes(),
    }
}
