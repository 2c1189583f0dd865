//! Several workers compute what one device computes with accumulation, and none waits for ever.

use crate::support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use burn::backend::Autodiff;
use burn::module::{Module, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{ElementConversion, Tensor, TensorData};
use burn_flex::{Flex, FlexDevice};
use burn_train::{InferenceStep, TrainOutput, TrainStep};
use oscar_core::checkpoint::Checkpointed;
use oscar_core::ops::{self, OscarBackend, TrainBackend};
use oscar_train::{
    BatchSource, ClipAt, Corpus, ExampleRef, Fit, Interrupter, LOSS, OptimizerConfig, Outcome,
    RunDir, RunOptions, SaveRequest, SelectionMetric, StepOutput, TrainConfig, TrainError,
    Weighted, Workers, checkpoints, fit,
};
use rstest::rstest;
use support::{output, train_step};

type B = Autodiff<Flex>;

/// `y = last(dropout(tanh(first(x))))`; `second` is used by the second corpus alone, `spare` by none.
#[derive(Module, Debug)]
struct Net<B: Backend> {
    first: Param<Tensor<B, 2>>,
    last: Param<Tensor<B, 1>>,
    second: Param<Tensor<B, 1>>,
    spare: Param<Tensor<B, 1>>,
}

const WIDTH: usize = 5;

/// So many workers more read what several steps measured at once.
const LATE: usize = 10;

impl<B: OscarBackend> Net<B> {
    fn new() -> Self {
        // Not drawn: the generator of the backend is that of all tests.
        let values = |values: &[f32]| {
            let data = TensorData::new(values.to_vec(), [values.len()]);
            Tensor::<B, 1>::from_data(data, &Default::default())
        };
        let first = values(&[0.9, -0.4, 0.3, -0.7, 0.2]).reshape([1, WIDTH]);
        Self {
            first: Param::from_tensor(first),
            last: Param::from_tensor(values(&[-0.3, 0.5, 0.8, 0.1, -0.6])),
            second: Param::from_tensor(values(&[0.5])),
            spare: Param::from_tensor(values(&[0.5])),
        }
    }

    /// Mean squared error, `[1]`, of points `[rows, 2]`; of the second corpus if x is above 100.
    fn loss(&self, points: &Tensor<B, 2>) -> Tensor<B, 1> {
        let [rows, _] = points.dims();
        let x = points.clone().narrow(1, 0, 1);
        let y = points.clone().narrow(1, 1, 1).reshape([rows]);
        let second = x.clone().max().into_scalar().elem::<f32>() > 100.0;
        let x = match second {
            true => x - 200.0,
            false => x,
        };
        let hidden = ops::dropout(x.matmul(self.first.val()).tanh(), 0.2);
        let mut out = (hidden * self.last.val().unsqueeze())
            .sum_dim(1)
            .reshape([rows]);
        if second {
            out = out * self.second.val();
        }
        (out - y).powi_scalar(2).mean()
    }
}

impl<B: Backend> Checkpointed<B> for Net<B> {}

impl<B: TrainBackend> TrainStep for Net<B> {
    type Input = Weighted<Tensor<B, 2>>;
    type Output = StepOutput<B::InnerBackend>;

    fn step(&self, input: Self::Input) -> TrainOutput<Self::Output> {
        let first: f32 = input
            .batch
            .clone()
            .narrow(0, 0, 1)
            .sum()
            .into_scalar()
            .elem();
        assert!(!first.is_nan(), "a point that is none");
        train_step(self, input, 2, Self::loss)
    }
}

impl<B: OscarBackend> InferenceStep for Net<B> {
    type Input = Weighted<Tensor<B, 2>>;
    type Output = StepOutput<B>;

    fn step(&self, input: Self::Input) -> Self::Output {
        output(self.loss(&input.batch), input.batch.dims()[0], 2)
    }
}

/// What goes wrong at an example.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// It cannot be read.
    Unreadable,
    /// The thread that prepares it panics.
    Panic,
    /// The model panics on it.
    Model,
    /// Its loss is infinite.
    Infinite,
    /// It takes so long.
    Slow(Duration),
    /// The run is interrupted when it is read.
    Interrupt,
}

/// Points of a corpus; remembers which were asked for.
struct Points {
    offset: f32,
    len: usize,
    seen: Mutex<Vec<ExampleRef>>,
    /// What goes wrong at which example.
    fault: Option<(ExampleRef, Fault)>,
    interrupter: Interrupter,
}

impl Points {
    fn new(offset: f32, len: usize) -> Self {
        Self {
            offset,
            len,
            seen: Mutex::default(),
            fault: None,
            interrupter: Interrupter::new(),
        }
    }

    fn seen(&self) -> Vec<ExampleRef> {
        self.seen.lock().expect("no panic").clone()
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
        self.seen.lock().expect("no panic").extend(examples);
        let mut values: Vec<f32> = examples
            .iter()
            .flat_map(|example| {
                let x = (example.index % 7) as f32 / 3.0 - 1.0;
                [
                    x + self.offset,
                    x * x - 0.5 + (example.index % 3) as f32 * 0.1,
                ]
            })
            .collect();
        if let Some((example, fault)) = self.fault
            && examples.contains(&example)
        {
            match fault {
                Fault::Unreadable => return Err("points.jsonl: line 7: no number".into()),
                Fault::Panic => panic!("a fault in the reader"),
                Fault::Model => values[0] = f32::NAN,
                Fault::Infinite => values[1] = f32::INFINITY,
                Fault::Slow(time) => std::thread::sleep(time),
                Fault::Interrupt => self.interrupter.stop(None),
            }
        }
        Ok(Tensor::from_data(
            TensorData::new(values, [examples.len(), 2]),
            device,
        ))
    }
}

fn config() -> (TrainConfig, OptimizerConfig) {
    let train = TrainConfig {
        steps: 12,
        batch_size: 8,
        validate_every: 5,
        save_every: 4,
        keep_checkpoints: 10,
        workers: 1,
        seed: 3,
        peer_timeout_seconds: 60,
        ..TrainConfig::default()
    };
    let optimizer = OptimizerConfig {
        learning_rate: 0.02,
        warmup_steps: 2,
        weight_decay: 0.2,
        max_grad_norm: 0.4,
        ..OptimizerConfig::default()
    };
    (train, optimizer)
}

/// Parameters by name.
type Values = BTreeMap<&'static str, Vec<f32>>;

struct Run {
    result: Result<(Values, Outcome), TrainError>,
    /// The loss of each step, then of each validation.
    losses: Vec<f64>,
}

impl Run {
    fn values(&self) -> &Values {
        &self.result.as_ref().expect("it trains").0
    }

    fn error(&self) -> String {
        let error = self.result.as_ref().expect_err("it fails");
        error.to_string()
    }
}

/// Trains in `directory` with so many workers.
fn train(
    directory: &Path,
    workers: usize,
    (train, optimizer): (TrainConfig, OptimizerConfig),
    sources: &[Arc<Points>],
    resume: bool,
) -> Run {
    let validation = Points::new(0.0, 21);
    train_validated(
        directory,
        workers,
        (train, optimizer),
        sources,
        validation,
        resume,
    )
}

/// The same with this validation data.
fn train_validated(
    directory: &Path,
    workers: usize,
    (train, optimizer): (TrainConfig, OptimizerConfig),
    sources: &[Arc<Points>],
    validation: Points,
    resume: bool,
) -> Run {
    let corpora = sources
        .iter()
        .map(|source| Corpus::<B, _> {
            source: source.clone(),
            weight: 1.0 / sources.len() as f64,
        })
        .collect();
    let trained = fit(Fit {
        before_epoch: None,
        model: Net::<B>::new(),
        device: FlexDevice,
        corpora,
        validation: Arc::new(validation),
        train,
        optimizer,
        options: RunOptions {
            run: RunDir::lock(directory).expect("a run"),
            resume,
            interrupter: sources[0].interrupter.clone(),
            save: SaveRequest::new(),
            dashboard: false,
            progress: Box::new(std::io::sink()),
            workers: match workers {
                0..LATE => Workers::devices((0..workers).collect()),
                late => Workers::devices((0..late - LATE).collect()).reading_late(),
            },
        },
        metrics: Vec::new(),
        validation_metrics: Vec::new(),
        selection_metric: SelectionMetric::Loss,
        describe: Arc::new(|_| Ok(())),
    });
    let result = trained.map(|(model, outcome)| {
        let last = |tensor: &Param<Tensor<Flex, 1>>| tensor.val().into_data().iter().collect();
        let values = BTreeMap::from([
            ("first", model.first.val().into_data().iter().collect()),
            ("last", last(&model.last)),
            ("second", last(&model.second)),
            ("spare", last(&model.spare)),
        ]);
        (values, outcome)
    });
    let log = std::fs::read_to_string(directory.join("metrics.jsonl")).unwrap_or_default();
    let losses = |split: &str| -> Vec<f64> {
        log.lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"))
            .filter(|line| line["split"] == split)
            .map(|line| line[LOSS].as_f64().unwrap_or(f64::NAN))
            .collect()
    };
    Run {
        result,
        losses: [losses("train"), losses("valid")].concat(),
    }
}

fn run(workers: usize, accumulation: usize, sources: &[Arc<Points>]) -> Run {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (mut config, optimizer) = config();
    config.accumulation = accumulation;
    let config = (config, optimizer);
    train(
        &directory.path().join("run"),
        workers,
        config,
        sources,
        false,
    )
}

fn one_corpus() -> Vec<Arc<Points>> {
    vec![Arc::new(Points::new(0.0, 40))]
}

fn two_corpora() -> Vec<Arc<Points>> {
    vec![
        Arc::new(Points::new(0.0, 40)),
        Arc::new(Points::new(200.0, 33)),
    ]
}

fn assert_close(got: impl IntoIterator<Item = f64>, expected: impl IntoIterator<Item = f64>) {
    let (got, expected): (Vec<f64>, Vec<f64>) =
        (got.into_iter().collect(), expected.into_iter().collect());
    assert_eq!(got.len(), expected.len());
    for (got, expected) in got.iter().zip(&expected) {
        assert!(
            (got - expected).abs() <= 1e-6 * expected.abs().max(1.0),
            "{got} where {expected} was expected"
        );
    }
}

fn flat(values: &Values) -> Vec<f64> {
    values.values().flatten().map(|v| f64::from(*v)).collect()
}

/// `many` computed what `one` did.
fn assert_same(many: &Run, one: &Run) {
    assert_eq!(
        one.losses.len(),
        12 + 3,
        "12 steps, validations after 5, 10 and 12"
    );
    assert_close(many.losses.clone(), one.losses.clone());
    assert_close(flat(many.values()), flat(one.values()));
}

#[test]
fn two_workers_are_one_device_with_accumulation() {
    let one = run(1, 2, &one_corpus());
    let two = run(2, 2, &one_corpus());
    assert_same(&two, &one);
    // Raised to the number of workers.
    assert_same(&run(2, 1, &one_corpus()), &one);
    assert_same(&run(LATE + 2, 2, &one_corpus()), &two);
    // Validations after 5, 10 and 12 steps.
    assert!(one.losses[14] < one.losses[12], "{:?}", one.losses);
}

#[test]
fn each_worker_may_accumulate_too() {
    let one = run(1, 4, &one_corpus());
    assert_same(&run(2, 4, &one_corpus()), &one);
    assert_same(&run(4, 1, &one_corpus()), &one);
}

#[test]
fn two_corpora_are_shared() {
    let one = run(1, 2, &two_corpora());
    let two = run(2, 2, &two_corpora());
    assert_same(&two, &one);
    assert_same(&run(LATE + 2, 2, &two_corpora()), &one);
    // A parameter that only one worker has a gradient of is updated by both, and one that nobody
    // has a gradient of is not even decayed.
    assert!(two.values()["second"] != [0.5]);
    assert_eq!(two.values()["spare"], [0.5]);
}

#[test]
fn the_same_run_gives_the_same_bits() {
    let (a, b) = (run(4, 1, &two_corpora()), run(4, 1, &two_corpora()));
    assert_eq!(a.values(), b.values());
    assert_eq!(a.losses, b.losses);
}

#[test]
fn every_example_is_seen_once_per_epoch() {
    let sources = one_corpus();
    let (mut seen, examples) = {
        run(2, 1, &sources);
        (sources[0].seen(), 12 * 8)
    };
    assert_eq!(seen.len(), examples);
    seen.sort();
    let expected = (0..2)
        .flat_map(|epoch| (0..40).map(move |index| ExampleRef { epoch, index }))
        .collect::<Vec<_>>();
    assert_eq!(seen[..80], expected);
    assert!(seen[80..].iter().all(|example| example.epoch == 2));
}

#[test]
fn gradients_clipped_per_batch_stay_those_of_the_recipe() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let clipped = |name: &str, workers, clip_at, accumulation| {
        let (mut config, mut optimizer) = config();
        config.accumulation = accumulation;
        optimizer.clip_at = clip_at;
        let directory = directory.path().join(name);
        train(
            &directory,
            workers,
            (config, optimizer),
            &one_corpus(),
            false,
        )
    };
    let one = clipped("one", 1, ClipAt::Step, 2);
    assert_same(&clipped("two", 2, ClipAt::Batch, 1), &one);
    let error = clipped("refused", 2, ClipAt::Batch, 2).error();
    assert!(error.contains("optimizer.clip_at"), "{error}");
}

/// The example that worker 1 of 2 comes to first in step `step`, from 0.
fn first_of_worker_1(step: usize) -> ExampleRef {
    let sources = one_corpus();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (mut config, optimizer) = config();
    config.accumulation = 2;
    // One device reads its batches in order.
    let config = (config, optimizer);
    train(&directory.path().join("run"), 1, config, &sources, false);
    sources[0].seen()[step * 8 + 4]
}

/// Two workers of whom the second meets `fault` in the seventh step; then a resumed run.
fn faulty(workers: usize, fault: Fault, limit: usize) -> (Run, Vec<usize>, Run) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let directory = directory.path().join("run");
    let source = Points {
        fault: Some((first_of_worker_1(6), fault)),
        ..Points::new(0.0, 40)
    };
    let (mut train_config, optimizer) = config();
    train_config.peer_timeout_seconds = limit;
    let config = (train_config, optimizer);
    let source = [Arc::new(source)];
    let failed = train(&directory, workers, config.clone(), &source, false);
    let steps = checkpoints(&directory).expect("a directory");
    let resumed = train(&directory, workers, config, &one_corpus(), true);
    (
        failed,
        steps.into_iter().map(|(step, _)| step).collect(),
        resumed,
    )
}

#[rstest]
#[case(Fault::Unreadable, "points.jsonl: line 7")]
#[case(Fault::Panic, "data-loading thread")]
#[case(Fault::Model, "a point that is none")]
fn a_worker_that_fails_ends_the_run_with_its_reason(
    #[case] fault: Fault,
    #[case] reason: &str,
    #[values(2, LATE + 2)] workers: usize,
) {
    let (failed, steps, resumed) = faulty(workers, fault, 60);
    let error = failed.error();
    assert!(error.starts_with("worker 1 failed: "), "{error}");
    assert!(error.contains(reason), "{error}");
    assert_eq!(steps, [4, 6], "{fault:?}");
    let whole = run(2, 1, &one_corpus());
    assert_close(flat(resumed.values()), flat(whole.values()));
}

/// Worker 1 of 2 has the second, fourth and sixth batch of four examples.
#[rstest]
fn a_worker_that_fails_in_validation_ends_the_run_too(#[values(2, LATE + 2)] workers: usize) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let directory = directory.path().join("run");
    let index = 13;
    let validation = Points {
        fault: Some((ExampleRef { epoch: 0, index }, Fault::Unreadable)),
        ..Points::new(0.0, 21)
    };
    let sources = one_corpus();
    let failed = train_validated(&directory, workers, config(), &sources, validation, false);
    let error = failed.error();
    assert!(error.starts_with("worker 1 failed: "), "{error}");
    assert!(error.contains("points.jsonl: line 7"), "{error}");
    let saved = checkpoints(&directory).expect("a directory");
    assert_eq!(saved.last().map(|(step, _)| *step), Some(5));
}

#[test]
fn workers_without_a_batch_of_validation_wait_for_the_others() {
    let train = |workers| {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let directory = directory.path().join("run");
        let (mut config, optimizer) = config();
        config.accumulation = 4;
        // Two batches of two examples.
        let validation = Points::new(0.0, 4);
        let config = (config, optimizer);
        train_validated(
            &directory,
            workers,
            config,
            &one_corpus(),
            validation,
            false,
        )
    };
    assert_same(&train(4), &train(1));
}

#[test]
fn a_worker_that_is_silent_is_given_up() {
    let (failed, steps, resumed) = faulty(2, Fault::Slow(Duration::from_secs(8)), 1);
    let error = failed.error();
    assert!(error.contains("worker 1 did not respond"), "{error}");
    assert!(error.contains("train.peer_timeout_seconds"), "{error}");
    assert_eq!(steps, [4, 6]);
    assert_same(&resumed, &run(2, 1, &one_corpus()));
}

#[rstest]
fn a_loss_that_is_not_finite_is_not_kept(#[values(2, LATE + 2)] workers: usize) {
    let (failed, steps, _) = faulty(workers, Fault::Infinite, 60);
    let error = failed.error();
    assert!(error.contains("not a finite number at step 7"), "{error}");
    assert_eq!(steps, [4]);
}

#[rstest]
fn an_interruption_stops_all_after_the_same_step(#[values(2, LATE + 2)] workers: usize) {
    let (interrupted, steps, _) = faulty(workers, Fault::Interrupt, 60);
    let (_, outcome) = interrupted.result.as_ref().expect("it stops");
    assert!(outcome.interrupted);
    assert_eq!(steps.last(), Some(&outcome.step));
}

#[test]
fn a_run_goes_on_with_more_or_fewer_workers() {
    let whole = run(1, 2, &one_corpus());
    for (before, after) in [(2, 1), (1, 2)] {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let directory = directory.path().join("run");
        let (mut config, optimizer) = config();
        config.accumulation = 2;
        let config = (config, optimizer);
        let source = Points {
            fault: Some((first_of_worker_1(6), Fault::Interrupt)),
            ..Points::new(0.0, 40)
        };
        let stopped = train(
            &directory,
            before,
            config.clone(),
            &[Arc::new(source)],
            false,
        );
        let (_, outcome) = stopped.result.expect("it stops");
        assert!(outcome.interrupted && outcome.step > 0, "{outcome:?}");
        let resumed = train(&directory, after, config, &one_corpus(), true);
        assert_same(&resumed, &whole);
    }
}
