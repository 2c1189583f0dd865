//! Sets of the VQA evaluation: accuracies, normalised answers, scores to learn from.

use std::collections::BTreeMap;
use std::path::Path;

use oscar_datasets::answers::{AnswerVocabulary, normalise, remove_punctuation, soft_score};
use oscar_datasets::questions::Question;
use oscar_vqa::vqa_accuracy;
use serde_json::{Map, Value};

use crate::check::{Checks, Report};
use crate::set::{Set, read_json};

/// The file by which such a set is known.
pub const FILE: &str = "vqa.json";

/// Compares every list of the file with what this project computes.
pub fn check(set: &Set) -> Result<Report, String> {
    let mut checks = Checks::default();
    let expected = read_json(&set.dir.join(FILE))?;
    for (part, expected) in expected.as_object().into_iter().flatten() {
        match part.as_str() {
            "accuracy_cases" => accuracies(expected, &mut checks)?,
            "overall" => {}
            "normalise" => normalised(expected, &mut checks)?,
            "preprocess_answer" => preprocessed(expected, &mut checks)?,
            "soft_score_table" => soft_scores(expected, &mut checks)?,
            "soft_targets" => soft_targets(expected, &mut checks)?,
            other => return Err(format!("{other}: no part this suite knows")),
        }
    }
    overall(&expected, &mut checks)?;
    Ok(checks.finish())
}

fn accuracy(case: &Value) -> Result<f64, String> {
    Ok(vqa_accuracy(
        &texts(&case["answers"])?,
        text(&case["prediction"])?,
    ))
}

fn accuracies(cases: &Value, checks: &mut Checks) -> Result<(), String> {
    for case in list(cases)? {
        let name = format!(
            "accuracy of {} against {}",
            case["prediction"], case["answers"]
        );
        checks.exact(
            &name,
            &rounded(accuracy(case)?),
            &rounded(number(&case["accuracy"])?),
        );
    }
    Ok(())
}

/// An accuracy to twelve digits: the set has them without the round-off of their sums.
fn rounded(accuracy: f64) -> String {
    format!("{accuracy:.12}")
}

fn overall(expected: &Value, checks: &mut Checks) -> Result<(), String> {
    let cases = list(&expected["accuracy_cases"])?;
    let accuracies: Vec<f64> = cases.iter().map(accuracy).collect::<Result<_, _>>()?;
    let mean = accuracies.iter().sum::<f64>() / accuracies.len().max(1) as f64;
    checks.exact(
        "overall",
        &rounded(mean),
        &rounded(number(&expected["overall"])?),
    );
    Ok(())
}

fn normalised(cases: &Value, checks: &mut Checks) -> Result<(), String> {
    for case in list(cases)? {
        let answer = text(&case["text"])?;
        let expected = (text(&case["punctuation"])?, text(&case["normalised"])?);
        let without_marks = remove_punctuation(answer);
        let found = normalise(&without_marks);
        checks.exact(
            &format!("normalised {answer:?}"),
            &(without_marks.as_str(), found.as_str()),
            &expected,
        );
    }
    Ok(())
}

fn preprocessed(cases: &Value, checks: &mut Checks) -> Result<(), String> {
    for case in list(cases)? {
        let answer = text(&case["text"])?;
        let name = format!("the answer {answer:?} of a vocabulary");
        checks.exact(&name, &normalise(answer).as_str(), &text(&case["answer"])?);
    }
    Ok(())
}

fn soft_scores(table: &Value, checks: &mut Checks) -> Result<(), String> {
    for (count, expected) in object(table)? {
        let people: usize = count.parse().map_err(|_| format!("{count} people"))?;
        let expected = number(expected)? as f32;
        checks.exact(&format!("score of {count}"), &soft_score(people), &expected);
    }
    Ok(())
}

fn soft_targets(part: &Value, checks: &mut Checks) -> Result<(), String> {
    let answers = texts(&part["label_set"])?;
    let vocabulary =
        AnswerVocabulary::new(Path::new(FILE), answers).map_err(|error| error.to_string())?;
    for case in list(&part["cases"])? {
        let people = texts(&case["answers"])?;
        let name = format!("scores of {people:?}");
        let question = Question {
            people,
            ..Question::default()
        };
        let mut found = BTreeMap::new();
        for (label, score) in question.targets(&vocabulary)? {
            let answer = vocabulary.answer(label as usize).unwrap_or_default();
            found.insert(answer.to_owned(), score);
        }
        let mut expected = BTreeMap::new();
        for (answer, score) in object(&case["scores"])? {
            expected.insert(answer.clone(), number(score)? as f32);
        }
        checks.exact(&name, &found, &expected);
    }
    Ok(())
}

fn list(value: &Value) -> Result<&Vec<Value>, String> {
    value.as_array().ok_or_else(|| format!("no list: {value}"))
}

fn object(value: &Value) -> Result<&Map<String, Value>, String> {
    value
        .as_object()
        .ok_or_else(|| format!("no object: {value}"))
}

fn text(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| format!("no text: {value}"))
}

fn texts(value: &Value) -> Result<Vec<String>, String> {
    let texts = list(value)?.iter().map(text);
    texts.map(|text| text.map(str::to_owned)).collect()
}

fn number(value: &Value) -> Result<f64, String> {
    value.as_f64().ok_or_else(|| format!("no number: {value}"))
}
