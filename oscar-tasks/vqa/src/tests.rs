//! The loss `kl_then_bce`: shares of people for some epochs, then scores.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::{Loss, Split, Vqa, VqaData};
use oscar_core::input::{ExampleSeed, PaddingConfig, SequenceConfig, SequenceEncoder, Tokenizer};
use oscar_task::{ClassData, Role, Target, Task};
use serde_json::{Value, json};

fn encoder() -> SequenceEncoder {
    let words = "[PAD] [UNK] [CLS] [SEP] [MASK] is it a dog";
    let vocabulary = words.split(' ').map(String::from).collect();
    let tokenizer = Arc::new(Tokenizer::from_vocab(vocabulary).unwrap());
    let config = SequenceConfig::default();
    SequenceEncoder::new(tokenizer, config, PaddingConfig::default()).unwrap()
}

fn write(place: &Path, name: &str, content: &str) -> PathBuf {
    let path = place.join(name);
    std::fs::write(&path, content).unwrap();
    path
}

fn open(row: &Value, role: Role) -> Result<VqaData, String> {
    let place = tempfile::tempdir().unwrap();
    let task = Vqa {
        answers: Some(write(place.path(), "answers.txt", "yes\nno\ndog\n")),
        loss: Loss::KlThenBce,
        kl_epochs: 2,
        ..Vqa::default()
    };
    let split = Split {
        questions: Some(write(place.path(), "questions.jsonl", &format!("{row}\n"))),
        ..Split::default()
    };
    let opened = task.open(&split, role, &encoder());
    opened.map_err(|error| error.to_string())
}

fn target(data: &VqaData, epoch: u64) -> Target {
    let rows = data.example(0, ExampleSeed { seed: 1, epoch }).unwrap();
    rows[0].target.clone().unwrap()
}

#[test]
fn shares_come_before_scores_and_in_training_alone() {
    let people = [
        "Yes.", "yes", "yes", "the dog", "dog", "no idea", "x", "x", "x", "x",
    ];
    let row = json!({"question": "is it a dog", "answers": people});
    let (yes, dog) = (0, 2);
    let scores = Target::Scores(vec![(yes, 0.9), (dog, 0.6)]);
    let data = open(&row, Role::Train).unwrap();
    let shares = Target::Shares(vec![(yes, 0.3), (dog, 0.2)]);
    assert_eq!(
        [0, 1].map(|epoch| target(&data, epoch)),
        [shares.clone(), shares]
    );
    assert_eq!(target(&data, 2), scores);
    // A validation is the same in every epoch.
    assert_eq!(target(&open(&row, Role::Validate).unwrap(), 0), scores);
}

#[test]
fn questions_without_what_people_answered_are_refused() {
    let row = json!({"question": "is it a dog", "answers": {"yes": 1.0}});
    let refused = open(&row, Role::Train).err().unwrap();
    assert!(refused.contains("questions.jsonl:1"), "{refused}");
    assert!(open(&row, Role::Validate).is_ok());
}
