//! Every task whose model is a classifier is trained, judged and asked in the same way.

use std::path::PathBuf;
use std::sync::Arc;

use oscar_core::config::{ConfigError, ModelConfig};
use oscar_core::input::{ExampleSeed, SequenceEncoder, SourceError};
use oscar_core::ops::{OscarBackend, TrainBackend};

use crate::evaluate::argmax;
use crate::exhibit::{Choice, Exhibit, look, probabilities};
use crate::job::{Job, Parts, Trained};
use crate::{
    ACCURACY, AnyTask, EncodedRow, EvaluateOptions, Evaluation, FinetuneConfig, FinetuneError,
    FinetuneModel, FinetuneSource, Question, Role, Target, Task, TaskCheckpoint, TaskData,
};

/// Part of every classifier that its start weights lack, and that may start random.
const HEAD: &str = "classifier";

impl<T: Task> AnyTask for T {
    const NAME: &'static str = <T as Task>::NAME;
    const ANSWERS: &'static str = "classes";
    type Split = <T as Task>::Split;
    type Data = <T as Task>::Data;

    fn validate(&self, config: &FinetuneConfig<Self>) -> Result<(), ConfigError> {
        Task::validate(self, config)
    }

    fn open(
        &self,
        split: &Self::Split,
        role: Role,
        encoder: &SequenceEncoder,
    ) -> Result<Self::Data, SourceError> {
        Task::open(self, split, role, encoder)
    }

    fn size(data: &Self::Data) -> (usize, usize) {
        (data.len(), data.region_dim())
    }

    fn shape(&self, model: &mut ModelConfig) -> Result<(), SourceError> {
        Task::shape(self, model)
    }

    fn files(&mut self) -> Vec<&mut PathBuf> {
        Task::files(self)
    }

    fn train<B: TrainBackend>(job: Job<B, Self>) -> Result<Trained, FinetuneError> {
        let config = &job.config;
        let source = |data: &Arc<Self::Data>, redraw| {
            Arc::new(FinetuneSource::new(
                data.clone(),
                job.encoder.clone(),
                config.model.num_labels,
                config.train.seed,
                redraw,
            ))
        };
        let judged_by = config.task.judged_by();
        let mut metrics = vec![(ACCURACY, true)];
        if judged_by != ACCURACY {
            metrics.push((judged_by, true));
        }
        let parts = Parts {
            model: FinetuneModel::<B>::new(&config.model, config.task.is_pair(), &job.device),
            train: source(&job.train, true),
            validation: source(&job.validation, false),
            head: Some(HEAD),
            metrics,
            validation_metrics: Vec::new(),
            judged_by,
        };
        job.fit(parts)
    }

    fn judge<B: OscarBackend>(
        &self,
        checkpoint: &TaskCheckpoint<Self>,
        data: &Self::Data,
        options: &EvaluateOptions<'_>,
        device: &B::Device,
    ) -> Result<Evaluation, FinetuneError> {
        let model = load::<B, T>(checkpoint, device)?;
        self.evaluate(model.model(), data, options, device)
            .map_err(FinetuneError::Evaluate)
    }

    fn answer<B: OscarBackend>(
        checkpoint: &TaskCheckpoint<Self>,
        question: &Question,
        device: &B::Device,
    ) -> Result<Vec<(String, f32)>, FinetuneError> {
        let wrong = |found: String| FinetuneError::Question { found };
        let Some(text) = &question.text else {
            return Err(wrong(
                "give --text: what is asked or said of the image".into(),
            ));
        };
        let names = checkpoint.task.class_names();
        let names = names.map_err(FinetuneError::Evaluate)?;
        let pair = checkpoint.task.is_pair();
        let choices = checkpoint.model.num_choice;
        let shown = &question.images;
        if pair && shown.len() != choices {
            let found = format!(
                "{} --image given; this model looks at {choices} images",
                shown.len()
            );
            return Err(wrong(found));
        }
        // A pair sees each image in a sequence of its own, other tasks all in one.
        let groups: Vec<&[_]> = match pair {
            true => shown.chunks(1).collect(),
            false => vec![&shown[..]],
        };
        let mut sequences = Vec::new();
        for group in groups {
            let tags: Vec<&str> = match &question.tags {
                Some(tags) if group.is_empty() => vec![tags],
                _ => group.iter().map(|(tags, _)| tags.as_str()).collect(),
            };
            let regions: Vec<_> = group.iter().map(|(_, regions)| regions.clone()).collect();
            let origin = "--text".to_string();
            let encoder = &checkpoint.encoder;
            sequences.push(encoder.encode(origin, text, &tags.join(" "), &regions)?);
        }
        let model = load::<B, T>(checkpoint, device)?;
        let input = checkpoint.encoder.batch(&sequences, device)?;
        let logits = model.model().forward(input);
        let logits = logits.map_err(|error| FinetuneError::Evaluate(error.into()))?;
        let mut probabilities = probabilities(logits);
        let of_classes = names.into_iter().zip(probabilities.remove(0));
        Ok(ranked(of_classes, question.top))
    }

    fn exhibit<B: OscarBackend>(
        checkpoint: &TaskCheckpoint<Self>,
        data: &Self::Data,
        choice: &Choice,
        device: &B::Device,
    ) -> Result<Vec<Exhibit>, FinetuneError> {
        let names = checkpoint.task.class_names();
        let names = names.map_err(FinetuneError::Evaluate)?;
        let model = load::<B, T>(checkpoint, device)?;
        let exhibit = |(index, attention)| {
            let seed = ExampleSeed { seed: 0, epoch: 0 };
            let rows = data.example(index, seed)?;
            let sequences = rows.iter().flat_map(|row| row.sequences.iter().cloned());
            let sequences: Vec<_> = sequences.collect();
            let input = checkpoint.encoder.batch(&sequences, device)?;
            let seen = (&sequences[..], &**checkpoint.encoder.tokenizer());
            let (encoded, sights) = look(model.model().backbone(), input, seen, attention)?;
            let probabilities = probabilities(model.model().classify(encoded.pooled)?);
            let judged = Judged::new(&rows, probabilities, &names, &checkpoint.encoder);
            let each = sequences.len() / rows.len().max(1);
            let first = judged.best * each;
            Ok(Exhibit {
                origin: sequences
                    .get(first)
                    .map_or(String::new(), |s| s.origin.clone()),
                sights: sights.into_iter().skip(first).take(each).collect(),
                truth: judged.truth,
                answers: judged.answers.into_iter().take(choice.top).collect(),
            })
        };
        let exhibits: Result<Vec<_>, SourceError> = choice.rows(data.len()).map(exhibit).collect();
        exhibits.map_err(FinetuneError::Evaluate)
    }
}

/// What a model makes of an example.
struct Judged {
    /// The decision that is shown: of several that compete the best.
    best: usize,
    truth: Vec<String>,
    answers: Vec<(String, f32)>,
}

impl Judged {
    fn new(
        rows: &[EncodedRow],
        probabilities: Vec<Vec<f32>>,
        names: &[String],
        encoder: &SequenceEncoder,
    ) -> Self {
        if let [row] = rows {
            let right = match &row.target {
                None => Vec::new(),
                Some(Target::Class(class)) => vec![(*class, 1.0)],
                Some(Target::Scores(scores)) => scores.clone(),
            };
            let name = |class: u32| Some(names.get(class as usize)?.clone());
            let right = right
                .iter()
                .filter_map(|(c, score)| Some((name(*c)?, *score)));
            let truth = ranked(right.filter(|(_, score)| *score > 0.0), usize::MAX);
            let of_classes = probabilities.into_iter().flatten();
            return Self {
                best: 0,
                truth: truth.into_iter().map(|(name, _)| name).collect(),
                answers: ranked(names.iter().cloned().zip(of_classes), usize::MAX),
            };
        }
        // Several texts compete; the last class says that one matches.
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
        Self {
            best: argmax(&scores),
            truth: right.map(text).collect(),
            answers: ranked(rows.iter().map(text).zip(scores), usize::MAX),
        }
    }
}

/// The likeliest first.
fn ranked(names: impl Iterator<Item = (String, f32)>, top: usize) -> Vec<(String, f32)> {
    let mut ranked: Vec<(String, f32)> = names.collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
    ranked.truncate(top);
    ranked
}

fn load<B: OscarBackend, T: Task>(
    checkpoint: &TaskCheckpoint<T>,
    device: &B::Device,
) -> Result<FinetuneModel<B>, FinetuneError> {
    let pair = checkpoint.task.is_pair();
    checkpoint.load(FinetuneModel::<B>::new(&checkpoint.model, pair, device))
}
