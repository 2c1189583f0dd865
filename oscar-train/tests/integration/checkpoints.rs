//! Checkpoints that know what is in them: damage is named, and an earlier one is offered.

use std::fs;
use std::path::PathBuf;

use burn::backend::Autodiff;
use burn::module::{Initializer, Module, Param};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use burn_flex::{Flex, FlexDevice};
use oscar_core::checkpoint::Checkpointed;
use oscar_files::{CHECKSUMS_FILE, FileError};
use oscar_train::{AdamW, AdamWConfig, FixedSettings, RunDir, TrainError, TrainState};
use rstest::rstest;
use tempfile::TempDir;

type B = Autodiff<Flex>;

/// A model of two numbers.
#[derive(Module, Debug)]
struct Line<B: Backend> {
    scale: Param<Tensor<B, 1>>,
}

impl<B: Backend> Checkpointed<B> for Line<B> {}

fn line(value: f64) -> (Line<B>, AdamW<B>) {
    let init = Initializer::Constant { value };
    let model = Line {
        scale: init.init([2], &FlexDevice),
    };
    let optimizer = AdamW::new(AdamWConfig::default(), &model);
    (model, optimizer)
}

fn settings() -> FixedSettings {
    FixedSettings {
        seed: 42,
        steps: 10,
        batch_size: 8,
        accumulation: 2,
        examples: vec![40],
        shuffle_window: 0,
        mix: Vec::new(),
    }
}

/// A run with a checkpoint of each of `steps`, whose weights are the step's number.
fn run(place: &TempDir, steps: &[usize]) {
    let run = RunDir::lock(place.path().join("run")).unwrap();
    for step in steps {
        let (model, optimizer) = line(*step as f64);
        let mut state = TrainState::new(*step, settings(), None);
        // No step was taken by the optimiser, whose state is empty.
        state.skipped.total = *step;
        run.save(&state, &model, &optimizer, 5).unwrap();
    }
}

/// The step and the weights that are resumed from.
fn resumed(place: &TempDir, from: Option<usize>) -> Result<(usize, f32), TrainError> {
    let run = RunDir::lock(place.path().join("run"))
        .unwrap()
        .resume_from(from);
    let (model, optimizer) = line(-1.0);
    let (model, _, state) = run.restore(&settings(), model, optimizer, &FlexDevice)?;
    let weights = model.scale.val().into_data();
    Ok((state.unwrap().step, weights.iter::<f32>().next().unwrap()))
}

fn file(place: &TempDir, step: usize, name: &str) -> PathBuf {
    let path = place.path().join("run/checkpoint");
    path.join(format!("step-{step:08}")).join(name)
}

/// Flips a bit of the file's last byte.
fn damage(path: &PathBuf) {
    let mut bytes = fs::read(path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(path, bytes).unwrap();
}

#[rstest]
#[case("model.safetensors")]
#[case("optimizer.safetensors")]
#[case("state.json")]
#[case(CHECKSUMS_FILE)]
fn a_damaged_checkpoint_is_named_and_the_one_before_it_offered(#[case] name: &str) {
    let place = TempDir::new().unwrap();
    run(&place, &[2, 4, 6, 8]);
    assert_eq!(resumed(&place, None).unwrap(), (8, 8.0));
    damage(&file(&place, 8, name));
    damage(&file(&place, 6, "model.safetensors"));
    let error = resumed(&place, None).unwrap_err();
    let TrainError::Damaged {
        step,
        whole,
        source,
    } = &error
    else {
        panic!("{error}")
    };
    assert_eq!((*step, *whole), (8, 4));
    assert!(source.to_string().contains(name), "{source}");

    // Resuming from the whole one removes what is damaged after it, and nothing else.
    assert_eq!(resumed(&place, Some(4)).unwrap(), (4, 4.0));
    assert!(file(&place, 2, "state.json").exists());
    assert!(!file(&place, 6, "").exists());
    assert!(!file(&place, 8, "").exists());
    assert_eq!(resumed(&place, None).unwrap(), (4, 4.0));
}

#[test]
fn a_damaged_checkpoint_without_another_is_named_by_its_file() {
    let place = TempDir::new().unwrap();
    run(&place, &[2]);
    damage(&file(&place, 2, "model.safetensors"));
    let error = resumed(&place, None).unwrap_err();
    assert!(
        matches!(&error, TrainError::File(FileError::Malformed { path, .. })
            if path.ends_with("step-00000002/model.safetensors")),
        "{error}"
    );
}

#[test]
fn a_step_is_chosen_and_whole_later_ones_stay() {
    let place = TempDir::new().unwrap();
    run(&place, &[2, 4, 6]);
    assert_eq!(resumed(&place, Some(2)).unwrap(), (2, 2.0));
    assert_eq!(resumed(&place, None).unwrap(), (6, 6.0));
    let error = resumed(&place, Some(3)).unwrap_err();
    assert!(
        matches!(&error, TrainError::NoCheckpoint { step: 3, steps, .. } if *steps == [2, 4, 6]),
        "{error}"
    );
}

#[test]
fn checkpoints_of_earlier_versions_have_no_checksums_and_resume() {
    let place = TempDir::new().unwrap();
    run(&place, &[2, 4]);
    for step in [2, 4] {
        fs::remove_file(file(&place, step, CHECKSUMS_FILE)).unwrap();
    }
    assert_eq!(resumed(&place, None).unwrap(), (4, 4.0));
}
