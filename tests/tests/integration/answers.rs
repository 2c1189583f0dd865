//! Targets of questions, made of what ten people answered, against those of ROSITA's loader.

use std::path::{Path, PathBuf};

use oscar_core::input::AnswerLabels;
use oscar_datasets::answers::{AnswerVocabulary, soft_score};
use oscar_datasets::questions::Question;
use safetensors::SafeTensors;
use serde_json::{Value, json};

fn set() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/rosita_vqa_kl")
}

/// Rows of dense targets as labels with their values, by label.
fn targets(labels: usize) -> Vec<Vec<(u32, f32)>> {
    let bytes = std::fs::read(set().join("inputs.safetensors")).expect("the inputs");
    let tensors = SafeTensors::deserialize(&bytes).expect("tensors");
    let values = tensors.tensor("qa_label").expect("targets").data();
    let values = values.as_chunks::<4>().0.iter();
    let values: Vec<f32> = values.map(|value| f32::from_le_bytes(*value)).collect();
    let rows = values.chunks(labels).map(|row| {
        let row = row
            .iter()
            .enumerate()
            .map(|(label, value)| (label as u32, *value));
        row.filter(|(_, value)| *value > 0.0).collect()
    });
    rows.collect()
}

fn by_label(mut targets: Vec<(u32, f32)>) -> Vec<(u32, f32)> {
    targets.sort_by_key(|(label, _)| *label);
    targets
}

#[test]
fn targets_are_those_of_the_reference() {
    let text = std::fs::read_to_string(set().join("answers.json")).expect("the answers");
    let set: Value = serde_json::from_str(&text).expect("JSON");
    let texts = |list: &Value| -> Vec<String> {
        let list = list.as_array().expect("a list").iter();
        list.map(|text| text.as_str().expect("a text").into())
            .collect()
    };
    let vocabulary = AnswerVocabulary::new(Path::new("answers"), texts(&set["vocabulary"]));
    let vocabulary = vocabulary.expect("a vocabulary");
    let examples = set["examples"].as_array().expect("examples");
    let expected = targets(vocabulary.len());
    assert_eq!(examples.len(), expected.len());
    for (example, expected) in examples.iter().zip(expected) {
        let people = texts(&example["multi_label"]);
        let shares = by_label(vocabulary.shares(&people));
        assert_eq!(shares, expected, "{people:?}");
        // Its scores count the same people.
        let row = json!({"question": example["text"], "answers": people});
        let question: Question = serde_json::from_value(row).expect("a question");
        let scores = question.with_normalised_answers().targets(&vocabulary);
        let scored =
            |(label, share): (u32, f32)| (label, soft_score((10.0 * share).round() as usize));
        let wanted: Vec<(u32, f32)> = expected.into_iter().map(scored).collect();
        assert_eq!(by_label(scores.expect("targets")), wanted, "{people:?}");
    }
}
