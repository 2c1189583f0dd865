//! The training loop on a model small enough to do its steps by hand.

use crate::support;

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use burn::backend::Autodiff;
use burn::module::{Initializer, Module, Param};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Tensor, TensorData};
use burn_flex::{Flex, FlexDevice};
use burn_train::{InferenceStep, TrainOutput, TrainStep};
use oscar_core::checkpoint::Checkpointed;
use oscar_train::{
    BatchSource, ClipAt, Corpus, Describe, ExampleRef, Fit, Interrupter, LOSS, LinearSchedule,
    OptimizerConfig, Outcome, RunDir, RunOptions, SaveRequest, ScheduleOrder, StepOutput,
    TrainConfig, TrainError, Weighted, Workers, fit,
};
use support::{output, train_step};

/// `y = scale * x`, with one parameter that decays and one that does not.
#[derive(Module, Debug)]
struct Line<B: Backend> {
    scale: Param<Tensor<B, 1>>,
    bias: Param<Tensor<B, 1>>,
}

impl<B: Backend> Line<B> {
    fn new() -> Self {
        let value = |value: f32| {
            Initializer::Constant {
                value: f64::from(value),
            }
            .init([1], &Default::default())
        };
        Self {
            scale: value(0.5),
            bias: value(-0.25),
        }
    }

    /// Mean squared error, `[1]`.
    fn loss(&self, points: &Tensor<B, 2>) -> Tensor<B, 1> {
        let [rows, _] = points.dims();
        let x = points.clone().narrow(1, 0, 1).reshape([rows]);
        let y = points.clone().narrow(1, 1, 1).reshape([rows]);
        (x * self.scale.val() + self.bias.val() - y)
            .powi_scalar(2)
            .mean()
    }
}

impl<B: Backend> Checkpointed<B> for Line<B> {}

impl<B: AutodiffBackend> TrainStep for Line<B> {
    type Input = Weighted<Tensor<B, 2>>;
    type Output = StepOutput<B::InnerBackend>;

    fn step(&self, input: Self::Input) -> TrainOutput<Self::Output> {
        train_step(self, input, 1, Self::loss)
    }
}

impl<B: Backend> InferenceStep for Line<B> {
    type Input = Weighted<Tensor<B, 2>>;
    type Output = StepOutput<B>;

    fn step(&self, input: Self::Input) -> Self::Output {
        output(self.loss(&input.batch), input.batch.dims()[0], 1)
    }
}

/// Points of a corpus; remembers which were asked for.
struct Points {
    offset: f32,
    len: usize,
    seen: Mutex<Vec<Vec<u32>>>,
}

impl Points {
    fn new(offset: f32, len: usize) -> Arc<Self> {
        Arc::new(Self {
            offset,
            len,
            seen: Mutex::default(),
        })
    }

    fn point(&self, index: u32) -> (f64, f64) {
        let x = f64::from(index % 7) - 3.0 + f64::from(self.offset);
        (x, 2.0 * x + 1.0 + f64::from(index % 3) * 0.1)
    }
}

impl<B: Backend> BatchSource<B> for Points {
    type Batch = Tensor<B, 2>;

    fn len(&self) -> usize {
        self.len
    }

    fn batch(
        &self,
        examples: &[ExampleRef],
        device: &B::Device,
    ) -> Result<Tensor<B, 2>, Box<dyn std::error::Error + Send + Sync>> {
        let indices: Vec<u32> = examples.iter().map(|example| example.index).collect();
        self.seen.lock().expect("no panic").push(indices.to_vec());
        let values: Vec<f32> = indices
            .iter()
            .map(|index| self.point(*index))
            .flat_map(|(x, y)| [x as f32, y as f32])
            .collect();
        Ok(Tensor::from_data(
            TensorData::new(values, [indices.len(), 2]),
            device,
        ))
    }
}

type B = Autodiff<Flex>;

struct Setting {
    train: TrainConfig,
    optimizer: OptimizerConfig,
    /// Weights of the corpora.
    weights: Vec<f64>,
}

fn setting(accumulation: usize, weights: &[f64]) -> Setting {
    Setting {
        train: TrainConfig {
            steps: 5,
            batch_size: 8,
            accumulation,
            validate_every: 2,
            save_every: 2,
            workers: 1,
            seed: 3,
            ..TrainConfig::default()
        },
        optimizer: OptimizerConfig {
            learning_rate: 0.1,
            warmup_steps: 2,
            weight_decay: 0.2,
            ..OptimizerConfig::default()
        },
        weights: weights.to_vec(),
    }
}

/// Trains, and returns the parameters and how the run ended.
fn train(setting: &Setting, sources: &[Arc<Points>]) -> ([f64; 2], Outcome) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let run = RunDir::lock(directory.path().join("run")).expect("a run");
    train_in(run, false, Arc::new(|_| Ok(())), setting, sources).expect("it trains")
}

/// The same in the directory of a run.
fn train_in(
    run: RunDir,
    resume: bool,
    describe: Describe,
    setting: &Setting,
    sources: &[Arc<Points>],
) -> Result<([f64; 2], Outcome), TrainError> {
    let corpora = sources
        .iter()
        .zip(&setting.weights)
        .map(|(source, weight)| Corpus::<B, _> {
            source: source.clone(),
            weight: *weight,
        })
        .collect();
    let (model, outcome) = fit(Fit {
        before_epoch: None,
        model: Line::<B>::new(),
        device: FlexDevice,
        corpora,
        validation: Points::new(0.5, 21),
        train: setting.train.clone(),
        optimizer: setting.optimizer.clone(),
        options: RunOptions {
            run,
            resume,
            interrupter: Interrupter::new(),
            save: SaveRequest::new(),
            dashboard: false,
            progress: Box::new(std::io::sink()),
            workers: Workers::devices(vec![0]),
        },
        metrics: Vec::new(),
        validation_metrics: Vec::new(),
        selection_metric: oscar_train::SelectionMetric::Loss,
        describe,
    })?;
    let value = |param: &Param<Tensor<Flex, 1>>| {
        param
            .val()
            .into_data()
            .iter::<f64>()
            .next()
            .expect("one value")
    };
    Ok(([value(&model.scale), value(&model.bias)], outcome))
}

/// The same by hand, in f64.
fn by_hand(setting: &Setting, sources: &[Arc<Points>]) -> [f64; 2] {
    let schedule = LinearSchedule::new(
        setting.optimizer.learning_rate,
        setting.optimizer.warmup_steps,
        setting.train.steps,
        setting.optimizer.schedule_order,
    );
    let seen: Vec<Vec<Vec<u32>>> = sources
        .iter()
        .map(|source| source.seen.lock().expect("no panic").clone())
        .collect();
    let (mut parameters, mut m, mut v) = ([0.5, -0.25], [0.0; 2], [0.0; 2]);
    for step in 0..setting.train.steps {
        let mut grad = [0.0; 2];
        for part in 0..setting.train.accumulation {
            for ((source, seen), weight) in sources.iter().zip(&seen).zip(&setting.weights) {
                let rows = &seen[step * setting.train.accumulation + part];
                let share = weight / setting.train.accumulation as f64 / rows.len() as f64;
                for row in rows {
                    let (x, y) = source.point(*row);
                    let error = parameters[0] * x + parameters[1] - y;
                    grad[0] += share * 2.0 * error * x;
                    grad[1] += share * 2.0 * error;
                }
                if setting.optimizer.clip_at == ClipAt::Batch {
                    clip(&mut grad, setting.optimizer.max_grad_norm);
                }
            }
        }
        clip(&mut grad, setting.optimizer.max_grad_norm);
        let lr = schedule.at(step);
        let t = (step + 1) as i32;
        for i in 0..2 {
            m[i] = 0.9 * m[i] + 0.1 * grad[i];
            v[i] = 0.999 * v[i] + 0.001 * grad[i] * grad[i];
            let rate = lr * (1.0 - 0.999_f64.powi(t)).sqrt() / (1.0 - 0.9_f64.powi(t));
            parameters[i] -= rate * m[i] / (v[i].sqrt() + 1e-8);
        }
        // The bias does not decay.
        parameters[0] -= lr * setting.optimizer.weight_decay * parameters[0];
    }
    parameters
}

fn clip(grad: &mut [f64; 2], max_norm: f64) {
    let norm = (grad[0] * grad[0] + grad[1] * grad[1]).sqrt();
    if max_norm > 0.0 && norm > max_norm {
        *grad = grad.map(|value| value * max_norm / (norm + 1e-6));
    }
}

fn check(setting: &Setting, sources: &[Arc<Points>]) {
    let (got, outcome) = train(setting, sources);
    let expected = by_hand(setting, sources);
    for (got, expected) in got.iter().zip(expected) {
        assert!(
            (got - expected).abs() < 2e-5,
            "{got:?}, expected {expected:?}"
        );
    }
    assert!(got[0] != 0.5 && got[1] != -0.25, "nothing was learned");
    assert_eq!((outcome.step, outcome.interrupted), (5, false));
}

#[test]
fn one_corpus() {
    check(&setting(1, &[1.0]), &[Points::new(0.0, 40)]);
}

#[test]
fn accumulation_is_a_mean() {
    check(&setting(4, &[1.0]), &[Points::new(0.0, 40)]);
}

#[test]
fn two_corpora_are_weighted() {
    check(
        &setting(1, &[0.7, 0.3]),
        &[Points::new(0.0, 40), Points::new(9.0, 33)],
    );
    check(
        &setting(2, &[0.7, 0.3]),
        &[Points::new(0.0, 40), Points::new(9.0, 33)],
    );
}

#[test]
fn clipping_per_step_and_per_batch() {
    for clip_at in [ClipAt::Step, ClipAt::Batch] {
        let mut setting = setting(2, &[1.0]);
        setting.optimizer.max_grad_norm = 0.5;
        setting.optimizer.clip_at = clip_at;
        check(&setting, &[Points::new(0.0, 40)]);
    }
}

#[test]
fn the_schedule_of_fine_tuning_is_one_step_ahead() {
    let mut setting = setting(1, &[1.0]);
    setting.optimizer.schedule_order = ScheduleOrder::ScheduleFirst;
    check(&setting, &[Points::new(0.0, 40)]);
}

#[test]
fn the_validation_is_a_weighted_mean_over_all_rows() {
    let (parameters, outcome) = train(&setting(1, &[1.0]), &[Points::new(0.0, 40)]);
    let validation = Points::new(0.5, 21);
    let errors = (0..21).map(|row| {
        let (x, y) = validation.point(row);
        (parameters[0] * x + parameters[1] - y).powi(2)
    });
    let expected = errors.sum::<f64>() / 21.0;
    let got = outcome
        .validation
        .expect("it validates")
        .mean(LOSS)
        .expect("a loss");
    assert!(
        (got - expected).abs() < 1e-4 * expected,
        "{got}, expected {expected}"
    );
    assert!(outcome.best.expect("a best").loss <= got * 1.000_001);
}

#[test]
fn best_weights_that_could_not_be_written_are_written_on_resume() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let run = || RunDir::lock(directory.path().join("run")).expect("a run");
    let mut setting = setting(1, &[1.0]);
    // The validation after the last step is the only one.
    setting.train.validate_every = 5;
    let full: Describe = Arc::new(
        |place: &Path| match place.to_string_lossy().contains("best") {
            true => Err(
                oscar_files::FileError::io("write", place)(std::io::Error::other("full")).into(),
            ),
            false => Ok(()),
        },
    );
    let points = || [Points::new(0.0, 40)];
    train_in(run(), false, full, &setting, &points()).expect_err("the disk is full");
    let weights = |name: &str| {
        fs::read(
            directory
                .path()
                .join("run")
                .join(name)
                .join("model.safetensors"),
        )
    };
    assert!(weights("best").is_err());
    let free: Describe = Arc::new(|_| Ok(()));
    let resumed = train_in(run(), true, free, &setting, &points());
    let (_, outcome) = resumed.expect("there is room");
    assert_eq!(outcome.best.map(|best| best.step), Some(5));
    assert_eq!(
        weights("best").expect("weights"),
        weights("last").expect("weights")
    );
}
