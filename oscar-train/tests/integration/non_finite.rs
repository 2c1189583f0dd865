//! Steps whose loss or gradients are not finite leave weights and optimiser as they are.

use crate::support;

use std::path::Path;
use std::sync::{Arc, Mutex};

use burn::backend::Autodiff;
use burn::module::{Initializer, Module, Param};
use burn::optim::GradientsAccumulator;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Tensor, TensorData};
use burn_flex::{Flex, FlexDevice};
use burn_train::{InferenceStep, TrainOutput, TrainStep};
use oscar_core::checkpoint::Checkpointed;
use oscar_train::{
    AdamW, AdamWConfig, BatchSource, Corpus, ExampleRef, Fit, Interrupter, LinearSchedule,
    MAX_CONSECUTIVE_SKIPPED, NON_FINITE_FILE, NonFinite, OptimizerConfig, Outcome, RunDir,
    RunOptions, SaveRequest, ScheduleOrder, SelectionMetric, StepOutput, TrainConfig, TrainError,
    Weighted, Workers, clip_grad_norm, fit,
};
use rstest::rstest;
use serde_json::Value;
use support::{output, train_step};

type B = Autodiff<Flex>;

/// So many workers more leave steps out on the device, and read them late.
const LATE: usize = 10;

/// `y = scale * x`.
#[derive(Module, Debug)]
struct Line<B: Backend> {
    scale: Param<Tensor<B, 1>>,
}

impl<B: Backend> Line<B> {
    fn new() -> Self {
        let half = Initializer::Constant { value: 0.5 };
        Self {
            scale: half.init([1], &Default::default()),
        }
    }

    /// Mean squared error, `[1]`, and a term whose value is finite at z = 0 where its gradient is not.
    fn loss(&self, points: &Tensor<B, 2>) -> Tensor<B, 1> {
        let column = |at| points.clone().narrow(1, at, 1).squeeze_dim::<1>(1);
        let (x, y, z) = (column(0), column(1), column(2));
        let error = (x * self.scale.val() - y).powi_scalar(2);
        (error + (z * self.scale.val()).sqrt()).mean()
    }

    fn value(&self) -> f32 {
        self.scale
            .val()
            .into_data()
            .iter::<f32>()
            .next()
            .expect("a value")
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

/// What is wrong with the broken points.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    Loss,
    Gradient,
}

/// Points of which some are broken; remembers in which order they came.
struct Points {
    broken: fn(u32) -> bool,
    fault: Fault,
    seen: Mutex<Vec<u32>>,
    /// Stops the run when so many points were read.
    interrupt: Option<(usize, Interrupter)>,
}

impl Points {
    fn new(broken: fn(u32) -> bool, fault: Fault) -> Self {
        Self {
            broken,
            fault,
            seen: Mutex::default(),
            interrupt: None,
        }
    }

    fn values(&self, index: u32) -> [f32; 3] {
        let x = (index % 7) as f32 / 3.0 - 1.0;
        let good = [x, 0.3 * x + (index % 3) as f32 * 0.1, 1.0];
        match ((self.broken)(index), self.fault) {
            (false, _) => good,
            (true, Fault::Loss) => [good[0], f32::INFINITY, good[2]],
            (true, Fault::Gradient) => [good[0], good[1], 0.0],
        }
    }

    fn tensor(&self, indices: &[u32]) -> TensorData {
        let values = indices.iter().flat_map(|index| self.values(*index));
        TensorData::new(values.collect::<Vec<f32>>(), [indices.len(), 3])
    }
}

impl<B: Backend> BatchSource<B> for Points {
    type Batch = Tensor<B, 2>;

    fn len(&self) -> usize {
        40
    }

    fn name(&self, example: ExampleRef) -> String {
        format!("points.jsonl:{}", example.index + 1)
    }

    fn batch(
        &self,
        examples: &[ExampleRef],
        device: &B::Device,
    ) -> Result<Tensor<B, 2>, Box<dyn std::error::Error + Send + Sync>> {
        let indices: Vec<u32> = examples.iter().map(|example| example.index).collect();
        let mut seen = self.seen.lock().expect("no panic");
        seen.extend(&indices);
        if let Some((after, interrupter)) = &self.interrupt
            && seen.len() >= *after
        {
            interrupter.stop(None);
        }
        Ok(Tensor::from_data(self.tensor(&indices), device))
    }
}

const STEPS: usize = 20;
const BATCH: usize = 4;
const ADAMW: AdamWConfig = AdamWConfig {
    beta1: 0.9,
    beta2: 0.999,
    epsilon: 1e-8,
    weight_decay: 0.2,
    formula: oscar_train::Formula::AdamW,
};

fn train(
    run: &Path,
    points: Points,
    (workers, accumulation): (usize, usize),
    (non_finite, max_grad_norm): (NonFinite, f64),
    resume: bool,
) -> (Result<(f32, Outcome), TrainError>, Vec<u32>) {
    let interrupter = match &points.interrupt {
        None => Interrupter::new(),
        Some((_, interrupter)) => interrupter.clone(),
    };
    let points = Arc::new(points);
    let trained = fit(Fit {
        before_epoch: None,
        model: Line::<B>::new(),
        device: FlexDevice,
        corpora: vec![Corpus {
            source: points.clone(),
            weight: 1.0,
        }],
        validation: Arc::new(Points::new(|_| false, Fault::Loss)),
        train: TrainConfig {
            steps: STEPS,
            batch_size: BATCH,
            accumulation,
            validate_every: 50,
            save_every: 3,
            workers: 1,
            seed: 3,
            non_finite,
            ..TrainConfig::default()
        },
        optimizer: OptimizerConfig {
            learning_rate: 0.01,
            weight_decay: ADAMW.weight_decay,
            max_grad_norm,
            ..OptimizerConfig::default()
        },
        options: RunOptions {
            run: RunDir::lock(run).expect("a run"),
            resume,
            interrupter,
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
    let seen = points.seen.lock().expect("no panic").clone();
    (
        trained.map(|(model, outcome)| (model.value(), outcome)),
        seen,
    )
}

/// The scale after steps on the points `seen`, those with a broken point left out, and their number.
fn by_hand(points: &Points, seen: &[u32], accumulation: usize, max_norm: f64) -> (f32, usize) {
    let schedule = LinearSchedule::new(0.01, 0, STEPS, ScheduleOrder::default());
    let mut model = Line::<B>::new();
    let mut optimizer = AdamW::<B>::new(ADAMW, &model);
    let mut left_out = 0;
    for (step, batch) in seen.chunks(BATCH).enumerate() {
        if batch.iter().any(|index| (points.broken)(*index)) {
            left_out += 1;
            continue;
        }
        let mut sum = GradientsAccumulator::new();
        for part in batch.chunks(BATCH / accumulation) {
            let input = Weighted {
                batch: Tensor::from_data(points.tensor(part), &FlexDevice),
                loss_weight: 1.0 / accumulation as f64,
            };
            sum.accumulate(&model, TrainStep::step(&model, input).grads);
        }
        let mut grads = sum.grads();
        if max_norm > 0.0 {
            clip_grad_norm::<B, _>(&model, &mut grads, max_norm, &FlexDevice);
        }
        model = optimizer.step(schedule.at(step), model, grads);
    }
    (model.value(), left_out)
}

fn lines(run: &Path, file: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(run.join(file)).expect("a file");
    let line = |line| serde_json::from_str(line).expect("JSON");
    text.lines().map(line).collect()
}

fn one_in_forty(index: u32) -> bool {
    index == 17
}

#[rstest]
fn steps_that_are_left_out_change_nothing(
    #[values(Fault::Loss, Fault::Gradient)] fault: Fault,
    #[values((1, 1), (1, 2), (2, 2), (LATE + 1, 1), (LATE + 1, 2), (LATE + 2, 2))] shape: (
        usize,
        usize,
    ),
    #[values(0.0, 0.4)] max_norm: f64,
) {
    let place = tempfile::tempdir().expect("a directory");
    let points = || Points::new(one_in_forty, fault);
    let how = (NonFinite::Skip, max_norm);
    let (trained, mut seen) = train(place.path(), points(), shape, how, false);
    let (scale, outcome) = trained.expect("it trains");
    if shape.0 % LATE > 1 {
        // Workers read at the same time: the order is that of one.
        let whole = tempfile::tempdir().expect("a directory");
        seen = train(whole.path(), points(), (1, 2), how, false).1;
    }
    let (expected, left_out) = by_hand(&points(), &seen, shape.1, max_norm);
    assert_eq!(scale, expected, "not the same bits");
    assert_eq!((outcome.step, outcome.skipped.total), (STEPS, left_out));
    assert_eq!(left_out, 2, "two epochs");

    let named = lines(place.path(), NON_FINITE_FILE);
    assert_eq!(named.len(), left_out);
    let log = lines(place.path(), "metrics.jsonl");
    let log: Vec<&Value> = log.iter().filter(|line| line["split"] == "train").collect();
    assert_eq!(log.len(), STEPS);
    assert_eq!(log[STEPS - 1]["Skipped steps"], left_out as f64);
    for line in &named {
        let step = line["step"].as_u64().expect("a step") as usize;
        let examples = line["examples"].as_array().expect("examples");
        assert_eq!(examples.len(), BATCH);
        assert!(examples.contains(&"points.jsonl:18".into()), "{line}");
        match fault {
            Fault::Loss => {
                assert_eq!(
                    (&line["what"], &line["loss"]),
                    (&"loss".into(), &"inf".into())
                );
                assert!(log[step - 1]["Loss"].is_null());
            }
            Fault::Gradient => {
                assert_eq!(line["what"], "norm of the gradients");
                assert!(
                    line["loss"].is_f64() && line["grad_norm"].is_string(),
                    "{line}"
                );
                assert!(log[step - 1]["Loss"].is_f64());
            }
        }
    }
}

#[rstest]
fn a_run_stops_before_the_update_and_names_the_examples(
    #[values(Fault::Loss, Fault::Gradient)] fault: Fault,
    #[values((1, 1), (2, 2), (LATE + 1, 1), (LATE + 2, 2))] shape: (usize, usize),
) {
    let place = tempfile::tempdir().expect("a directory");
    let points = Points::new(one_in_forty, fault);
    let (trained, _) = train(place.path(), points, shape, (NonFinite::Stop, 0.0), false);
    let error = trained.expect_err("it stops").to_string();
    let named = lines(place.path(), NON_FINITE_FILE);
    let [line] = &named[..] else {
        panic!("one step: {named:?}");
    };
    let what = line["what"].as_str().expect("a text");
    let expected = format!("the {what} is not a finite number at step {}", line["step"]);
    assert!(error.starts_with(&expected), "{error}");
    assert!(error.contains("points.jsonl:18"), "{error}");
    assert!(error.contains(NON_FINITE_FILE), "{error}");
}

#[test]
fn a_run_of_nothing_else_is_given_up() {
    let place = tempfile::tempdir().expect("a directory");
    let points = Points::new(|_| true, Fault::Loss);
    let (trained, _) = train(place.path(), points, (1, 1), (NonFinite::Skip, 0.0), false);
    let error = trained.expect_err("it gives up").to_string();
    let expected = format!("at step {MAX_CONSECUTIVE_SKIPPED}");
    assert!(error.contains(&expected), "{error}");
    assert_eq!(
        lines(place.path(), NON_FINITE_FILE).len(),
        MAX_CONSECUTIVE_SKIPPED
    );
}

#[test]
fn a_resumed_run_keeps_the_count() {
    let how = (NonFinite::Skip, 0.0);
    let whole = tempfile::tempdir().expect("a directory");
    let points = || Points::new(one_in_forty, Fault::Loss);
    let (trained, _) = train(whole.path(), points(), (1, 1), how, false);
    let (expected, outcome) = trained.expect("it trains");
    assert_eq!(outcome.skipped.total, 2);
    let steps: Vec<Value> = lines(whole.path(), NON_FINITE_FILE);

    let place = tempfile::tempdir().expect("a directory");
    let interrupted = Points {
        interrupt: Some((14 * BATCH, Interrupter::new())),
        ..points()
    };
    let (stopped, _) = train(place.path(), interrupted, (1, 1), how, false);
    let (_, outcome) = stopped.expect("it stops");
    assert!(
        outcome.interrupted && outcome.skipped.total == 1,
        "{outcome:?}"
    );
    let (resumed, _) = train(place.path(), points(), (1, 1), how, true);
    let (scale, outcome) = resumed.expect("it goes on");
    assert_eq!((scale, outcome.skipped.total), (expected, 2));
    assert_eq!(lines(place.path(), NON_FINITE_FILE), steps);
}
