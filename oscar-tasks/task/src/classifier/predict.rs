//! Asking a classifier, and explaining and scoring its answers.

use oscar_core::config::ModelConfig;
use oscar_core::input::{ExampleSeed, RegionHandle, SequenceEncoder, SourceError};
use oscar_core::model::OscarClassifier;
use oscar_core::ops::OscarBackend;

use super::logits::argmax;
use super::{Classify, EncodedRow, Target, sequences};
use crate::batches::run_sorted;
use crate::explain::{Exhibit, Explanation, Shown, inspect, probabilities};
use crate::predictor::BATCH;
use crate::{
    Answer, Ask, ClassData, CrossEncoder, EvaluateOptions, Evaluation, Explain, Opened, Predict,
    Score, Seen, TaskCheckpoint, TaskError,
};

/// An opened classifier.
pub struct Classifier<B: OscarBackend> {
    /// Backbone and head.
    pub network: OscarClassifier<B>,
    /// The names of the classes, in their order.
    pub names: Vec<String>,
}

/// A classifier with fresh weights; `pair` joins the sequences of a decision.
pub(super) fn new_network<B: OscarBackend>(
    config: &ModelConfig,
    pair: bool,
    device: &B::Device,
) -> OscarClassifier<B> {
    match pair {
        false => OscarClassifier::new(config, device),
        true => OscarClassifier::joint(config, device),
    }
}

impl<T: Classify> Predict for T {
    type Model<B: OscarBackend> = Classifier<B>;

    fn load<B: OscarBackend>(
        checkpoint: &TaskCheckpoint<Self>,
        device: &B::Device,
    ) -> Result<Classifier<B>, TaskError> {
        let network = new_network::<B>(&checkpoint.model, checkpoint.task.is_pair(), device);
        Ok(Classifier {
            network: checkpoint.load(network)?,
            names: checkpoint.task.class_names().map_err(TaskError::Data)?,
        })
    }

    fn ask<B: OscarBackend>(
        opened: &Opened<Self, B>,
        asks: &[Ask],
    ) -> Result<Vec<Vec<Answer>>, TaskError> {
        let rows = asks.iter().map(|ask| encode(opened, ask));
        let rows = rows.collect::<Result<Vec<_>, _>>()?;
        let classes = run_sorted(rows, BATCH, EncodedRow::num_positions, |rows| {
            let input = opened.encoder().batch(&sequences(rows), &opened.device)?;
            let logits = opened.model.network.forward(input);
            let logits = logits.map_err(|error| TaskError::Score(error.into()))?;
            Ok::<_, TaskError>(probabilities(logits))
        })?;
        let answers = classes.into_iter().zip(asks);
        Ok(answers
            .map(|(classes, ask)| named(&opened.model.names, classes, ask.top))
            .collect())
    }

    fn cross_encoder<B: OscarBackend>(opened: &Opened<Self, B>) -> Option<CrossEncoder<B>> {
        CrossEncoder::of(opened)
    }
}

impl<T: Classify> Score for T {
    fn score<B: OscarBackend>(
        opened: &Opened<Self, B>,
        data: &Self::Data,
        options: &EvaluateOptions<'_>,
    ) -> Result<Evaluation, SourceError> {
        T::evaluate(opened, data, options)
    }
}

impl<T: Classify> Explain for T {
    fn explain<B: OscarBackend>(
        opened: &Opened<Self, B>,
        ask: &Ask,
    ) -> Result<Explanation, TaskError> {
        let row = encode(opened, ask)?;
        let shown = Shown {
            index: 0,
            attention: true,
            top: ask.top,
        };
        let exhibit = view(opened, &[row], shown).map_err(TaskError::Data)?;
        Ok(exhibit.explanation)
    }

    fn exhibit<B: OscarBackend>(
        opened: &Opened<Self, B>,
        data: &Self::Data,
        shown: Shown,
    ) -> Result<Exhibit, SourceError> {
        let seed = ExampleSeed { seed: 0, epoch: 0 };
        view(opened, &data.example(shown.index, seed)?, shown)
    }
}

/// The sequences of a question: a pair sees each image in a sequence of its own, other tasks all in
/// one.
fn encode<T: Classify, B: OscarBackend>(
    opened: &Opened<T, B>,
    ask: &Ask,
) -> Result<EncodedRow, TaskError> {
    let wrong = |found: String| Err(TaskError::Question(found));
    let Some(text) = &ask.text else {
        return wrong("a text is required: the question, statement or caption".into());
    };
    let pair = opened.checkpoint.task.is_pair();
    let images = opened.checkpoint.model.num_choice;
    if pair && ask.images.len() != images {
        let found = ask.images.len();
        return wrong(format!("{} takes {images} images (got {found})", T::NAME));
    }
    let most = opened.checkpoint.task.most_images();
    if !pair && ask.images.len() > most {
        let found = ask.images.len();
        return wrong(format!(
            "{} takes at most {most} image(s) (got {found})",
            T::NAME
        ));
    }
    let groups: Vec<&[Seen]> = match pair {
        true => ask.images.chunks(1).collect(),
        false => vec![&ask.images],
    };
    let encode = |group: &[Seen]| {
        let tags: Vec<&str> = group.iter().map(Seen::tags).collect();
        let regions: Vec<RegionHandle> = group.iter().filter_map(Seen::regions).cloned().collect();
        let origin = "the text".to_string();
        opened
            .encoder()
            .encode(origin, text, &tags.join(" "), &regions)
    };
    Ok(EncodedRow {
        sequences: groups.into_iter().map(encode).collect::<Result<_, _>>()?,
        target: None,
    })
}

/// An example, each of whose rows is one decision, with the model's answers.
fn view<T: Classify, B: OscarBackend>(
    opened: &Opened<T, B>,
    rows: &[EncodedRow],
    shown: Shown,
) -> Result<Exhibit, SourceError> {
    let encoder = opened.encoder();
    let sequences = sequences(rows);
    let input = encoder.batch(&sequences, &opened.device)?;
    let seen = (&sequences[..], &**encoder.tokenizer());
    let network = &opened.model.network;
    let (output, inspected) = inspect(network.backbone(), input, seen, shown.attention)?;
    let probabilities = probabilities(network.classify(output.pooled)?);
    let names = &opened.model.names;
    let (best, truth, answers) = match rows {
        [row] => (
            0,
            right_classes(row, names),
            named(names, probabilities.into_iter().flatten(), shown.top),
        ),
        rows => ranking(rows, &probabilities, encoder, shown.top),
    };
    // Of several decisions that compete the best is shown.
    let each = sequences.len() / rows.len().max(1);
    let first = sequences.get(best * each);
    Ok(Exhibit {
        origin: first.map_or(String::new(), |sequence| sequence.origin.clone()),
        truth,
        explanation: Explanation {
            answers,
            sequences: inspected.into_iter().skip(best * each).take(each).collect(),
        },
    })
}

/// The names of the right classes of a row, the best first.
fn right_classes(row: &EncodedRow, names: &[String]) -> Vec<String> {
    let scores = match &row.target {
        None => Vec::new(),
        Some(Target::Class(class)) => vec![(*class, 1.0)],
        Some(Target::Scores(scores) | Target::Shares(scores)) => scores.clone(),
    };
    let right = scores.into_iter().filter(|(_, score)| *score > 0.0);
    let right =
        right.filter_map(|(class, score)| Some(Answer::new(names.get(class as usize)?, score)));
    let right = Answer::best(right, usize::MAX);
    right.into_iter().map(|answer| answer.text).collect()
}

/// Rows whose texts compete, the last class being that of a match: the best row, the right texts, and
/// all of them by score.
fn ranking(
    rows: &[EncodedRow],
    probabilities: &[Vec<f32>],
    encoder: &SequenceEncoder,
    top: usize,
) -> (usize, Vec<String>, Vec<Answer>) {
    let text = |row: &EncodedRow| {
        let sequence = row.sequences.first();
        sequence.map_or(String::new(), |sequence| {
            let text_a = sequence.input_ids.iter().zip(&sequence.token_type_ids);
            let text_a = text_a.filter_map(|(id, kind)| (*kind == 0).then_some(*id));
            encoder.tokenizer().decode(&text_a.collect::<Vec<_>>())
        })
    };
    let scores = probabilities.iter().map(|row| row.last().copied());
    let scores: Vec<f32> = scores.map(Option::unwrap_or_default).collect();
    let right = rows
        .iter()
        .filter(|row| row.target == Some(Target::Class(1)));
    let answers = rows.iter().zip(&scores);
    let answers = answers.map(|(row, score)| Answer::new(text(row), *score));
    (
        argmax(&scores),
        right.map(text).collect(),
        Answer::best(answers, top),
    )
}

/// The `top` best classes by name.
fn named(
    names: &[String],
    probabilities: impl IntoIterator<Item = f32>,
    top: usize,
) -> Vec<Answer> {
    let classes = names.iter().zip(probabilities);
    // Thousands of names are not copied for a few.
    let mut classes: Vec<(&String, f32)> = classes.collect();
    classes.sort_by(|a, b| b.1.total_cmp(&a.1));
    classes.truncate(top);
    let answers = classes.into_iter();
    answers
        .map(|(name, score)| Answer::new(name, score))
        .collect()
}
