//! An opened split.

use oscar_core::input::{AnswerLabels, ExampleSeed, SequenceEncoder, SourceError};
use oscar_datasets::answers::AnswerVocabulary;
use oscar_datasets::questions::{Question, QuestionSet};
use oscar_task::answers::{answer, breakdowns};
use oscar_task::{
    ClassData, EncodedRow, Evaluation, Logits, Predictions, Role, Target, TaskData, required,
};
use serde_json::{Value, json};

use crate::accuracy::vqa_accuracy;
use crate::{Loss, Split, Vqa};

/// Questions with the scores of their answers.
pub struct VqaData {
    set: QuestionSet,
    vocabulary: AnswerVocabulary,
    /// Scores by label of every question, the most agreed answer first.
    targets: Vec<Vec<(u32, f32)>>,
    /// The shares of people who gave each answer, of every question, where they are learned.
    shares: Vec<Vec<(u32, f32)>>,
    /// The epochs in which they are.
    kl_epochs: u64,
    /// The questions that are examples.
    examples: Vec<u32>,
    loss: Loss,
    encoder: SequenceEncoder,
}

impl VqaData {
    /// Opens `split` and checks every question.
    ///
    /// Questions none of whose answers is in the vocabulary are left out, unless the split is scored.
    ///
    /// # Errors
    ///
    /// A file that cannot be read, a wrong row, a label outside the vocabulary; no example at all; in
    /// training with the loss `kl_then_bce`, a question of which it is not known what people answered.
    pub fn open(
        split: &Split,
        role: Role,
        vocabulary: AnswerVocabulary,
        task: &Vqa,
        encoder: SequenceEncoder,
    ) -> Result<Self, SourceError> {
        let questions = required(&split.questions, "questions", "the file of questions")?;
        let (annotations, regions) = (split.annotations.as_deref(), split.regions.as_deref());
        let set = QuestionSet::open(questions, annotations, regions)?;
        let (mut targets, mut shares) = (Vec::with_capacity(set.len()), Vec::new());
        for (index, question) in set.questions().iter().enumerate() {
            let question = match task.loss {
                Loss::KlThenBce => &question.with_normalised_answers(),
                _ => question,
            };
            if role == Role::Train && task.loss == Loss::KlThenBce {
                if question.is_answered() && question.people.is_empty() {
                    let found = "scores or labels of answers, but not what people answered";
                    let fix =
                        "give the annotations with each person's answer, or another task.loss";
                    return Err(set.wrong(index, found, fix).into());
                }
                shares.push(vocabulary.shares(&question.people));
            }
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
            shares,
            kl_epochs: task.kl_epochs,
            examples,
            loss: task.loss,
            encoder,
        };
        data.log_left_out(role);
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

    fn log_left_out(&self, role: Role) {
        let lacking = self.targets.iter().filter(|t| t.is_empty()).count();
        if lacking == 0 {
            return;
        }
        let answered = |question: &&Question| question.is_answered();
        let unanswered = self.set.len() - self.set.questions().iter().filter(answered).count();
        let consequence = match role {
            Role::Evaluate => "they do not count in `accuracy`",
            _ => "they are left out",
        };
        tracing::info!(
            "{}: {lacking} of {} questions have no answer in the vocabulary ({unanswered} of them \
             none at all): {consequence}",
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

    fn extractor(&self) -> Option<String> {
        self.set.extractor()
    }
}

impl ClassData for VqaData {
    fn example(&self, index: usize, seed: ExampleSeed) -> Result<Vec<EncodedRow>, SourceError> {
        let question = self.question(index)?;
        let sequence = self.set.encode(question, &self.encoder)?;
        let scores = &self.targets[question];
        let shares = self.shares.get(question);
        let shares = shares.filter(|_| seed.epoch < self.kl_epochs);
        let target = scores.first().map(|(best, _)| match (self.loss, shares) {
            (Loss::Ce, _) => Target::Class(*best),
            (_, Some(shares)) => Target::Shares(shares.clone()),
            (Loss::Bce | Loss::Kl | Loss::KlThenBce, None) => Target::Scores(scores.clone()),
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
            let score = self.targets[question]
                .iter()
                .find(|(l, _)| *l as usize == label);
            answers.push(Answered {
                question: &self.set.questions()[question],
                answer: answer(&self.vocabulary, label)?,
                row: question,
                soft: (!self.targets[question].is_empty())
                    .then(|| score.map_or(0.0, |(_, score)| f64::from(*score))),
            });
        }
        Ok(evaluation(&answers))
    }
}

/// A question and the model's answer.
struct Answered<'a> {
    question: &'a Question,
    answer: &'a str,
    row: usize,
    /// The answer's soft score, if any right answer is in the vocabulary.
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
    let scored = answers.iter().zip(&people);
    let scored = scored.filter_map(|(answered, people)| {
        let score = if official { *people } else { answered.soft };
        Some((answered.question, score?))
    });
    Evaluation {
        scores,
        tables: breakdowns(&scored.collect::<Vec<_>>()),
        examples: answers.len(),
        predictions: Some(predictions(answers)),
        ..Evaluation::default()
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The file that the test server takes; questions without an id get the number of their row.
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
