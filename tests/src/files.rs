//! Sets without outputs of a model: reports of the loader, and the tokenizer.

use burn::tensor::backend::Backend;
use oscar_core::checkpoint::{self, CheckpointError, Checkpointed, LoadReport, RandomInit};
use oscar_core::config::ModelConfig;
use oscar_core::input::Tokenizer;
use oscar_core::model::{Backbone, OscarClassifier, OscarForCaptioning, OscarForPretraining};
use serde_json::{Map, Value};

use crate::check::{Checks, Report};
use crate::set::{Set, read_json};

/// Loads one model's file into others and compares what the loader reports.
///
/// The set's README names the file's set as `../NAME`.
pub fn check_transfer<B: oscar_core::ops::OscarBackend>(
    set: &Set,
    device: &B::Device,
) -> Result<Report, String> {
    let mut checks = Checks::default();
    let source = Set::open(&set.dir.join(source(set)))?;
    let base = read_json(&source.dir.join("config.json"))?;
    let expected = read_json(&set.dir.join("expected.json"))?;
    for (name, case) in expected.as_object().into_iter().flatten() {
        let config = merged(&base, &case["config"])?;
        let class = case["cls"].as_str().unwrap_or_default();
        let file = source.weights();
        let result = match class {
            "BertImgModel" => report::<B, _>(Backbone::new(&config, device), &file),
            "BertImgForPreTraining" => {
                report::<B, _>(OscarForPretraining::new(&config, device), &file)
            }
            "BertForImageCaptioning" => {
                report::<B, _>(OscarForCaptioning::new(&config, device), &file)
            }
            "ImageBertForSequenceClassification" => {
                report::<B, _>(OscarClassifier::new(&config, device), &file)
            }
            "ImageBertForMultipleChoice" => {
                report::<B, _>(OscarClassifier::joint(&config, device), &file)
            }
            other => return Err(format!("{name}: {other} is not implemented")),
        };
        compare_reports(name, result?, case, &mut checks);
    }
    Ok(checks.finish())
}

fn source(set: &Set) -> String {
    let text = std::fs::read_to_string(set.dir.join("README.md")).unwrap_or_default();
    let named = text.split_whitespace().find(|word| word.starts_with("../"));
    named
        .map_or("../pretrain_ln", |word| {
            word.trim_end_matches(['.', ',', '`'])
        })
        .to_string()
}

fn merged(base: &Value, changes: &Value) -> Result<ModelConfig, String> {
    let object = |value: &Value| value.as_object().cloned().unwrap_or_else(Map::new);
    let mut config = object(base);
    config.extend(object(changes));
    serde_json::from_value(Value::Object(config)).map_err(|error| error.to_string())
}

/// The loader's report; sizes that it refuses are reported like those it tolerates.
fn report<B: Backend, M: Checkpointed<B>>(
    model: M,
    file: &std::path::Path,
) -> Result<LoadReport, String> {
    match checkpoint::load(model, file, &RandomInit::All) {
        Ok((_, report)) => Ok(report),
        Err(CheckpointError::Mismatch { mismatched, .. }) => Ok(LoadReport {
            mismatched,
            ..LoadReport::default()
        }),
        Err(error) => Err(error.to_string()),
    }
}

fn compare_reports(name: &str, report: LoadReport, case: &Value, checks: &mut Checks) {
    let strings = |key: &str| -> Vec<String> {
        let values = case[key].as_array().into_iter().flatten();
        values
            .filter_map(Value::as_str)
            .map(str::to_string)
            .collect()
    };
    let sorted = |mut names: Vec<String>| {
        names.sort();
        names
    };
    let mismatched = report.mismatched.iter().map(|mismatch| {
        format!(
            "{}: {:?} to {:?}",
            mismatch.name, mismatch.file, mismatch.model
        )
    });
    let messages = strings("error_msgs")
        .iter()
        .map(|message| mismatch_of(message))
        .collect();
    checks.exact(
        &format!("{name}: sizes"),
        &sorted(mismatched.collect()),
        &sorted(messages),
    );
    if report.loaded.is_empty() {
        // The loader refused the file for its sizes and reports nothing else.
        return;
    }
    checks.exact(
        &format!("{name}: missing"),
        &sorted(report.missing),
        &sorted(strings("missing_keys")),
    );
    checks.exact(
        &format!("{name}: unexpected"),
        &sorted(report.skipped),
        &sorted(strings("unexpected_keys")),
    );
}

/// `size mismatch for NAME: .. torch.Size([2, 48]) .. torch.Size([3, 48]).` in our words.
fn mismatch_of(message: &str) -> String {
    let name = message
        .strip_prefix("size mismatch for ")
        .and_then(|rest| rest.split_once(':'));
    let mut shapes = message
        .split("torch.Size(")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'));
    match (name, shapes.next(), shapes.next()) {
        (Some((name, _)), Some((file, _)), Some((model, _))) => {
            format!("{name}: {file} to {model}")
        }
        _ => message.to_string(),
    }
}

/// Compares tokens, ids and decoded text.
pub fn check_tokenizer(set: &Set) -> Result<Report, String> {
    let mut checks = Checks::default();
    let tokenizer =
        Tokenizer::from_vocab_file(set.dir.join("vocab.txt")).map_err(|error| error.to_string())?;
    let special = tokenizer.special();
    let expected = read_json(&set.dir.join("expected.json"))?;
    for case in expected.as_array().into_iter().flatten() {
        let text = case["text"].as_str().ok_or("a case without text")?;
        let label = |what: &str| format!("{what} of {text:?}");
        let ids = tokenizer.encode(text);
        checks.exact(&label("ids"), &Value::from(ids.clone()), &case["ids"]);
        if let Some(tokens) = case.get("tokens") {
            checks.exact(
                &label("tokens"),
                &Value::from(tokenizer.tokens(text)),
                tokens,
            );
        }
        if let Some(decoded) = case.get("decoded") {
            let mut framed = vec![special.cls];
            framed.extend(ids);
            framed.extend([special.sep, special.pad, special.pad]);
            checks.exact(
                &label("decoded"),
                &Value::from(tokenizer.decode(&framed)),
                decoded,
            );
        }
    }
    Ok(checks.finish())
}
