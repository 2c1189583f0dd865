//! How scores are printed.

use std::io::Write;
use std::sync::Mutex;

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use oscar_task::Evaluation;
use serde_json::{Value, json};

use crate::args::Global;

/// A progress bar over scored examples; hidden without a terminal or with --quiet.
pub fn bar(global: &Global) -> Box<dyn Fn(usize, usize) + Send + Sync> {
    let quiet = global.quiet;
    let bar: Mutex<Option<ProgressBar>> = Mutex::new(None);
    Box::new(move |done, total| {
        if quiet {
            return;
        }
        let mut bar = bar.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let bar = bar.get_or_insert_with(|| {
            let style = ProgressStyle::with_template("scoring {wide_bar} {pos}/{len} ({eta})");
            let bar = ProgressBar::new(total as u64);
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        bar.set_position(done as u64);
        if done == total {
            bar.finish_and_clear();
        }
    })
}

/// Prints scores and breakdowns as text.
///
/// # Errors
/// If they cannot be written.
pub fn print(out: &mut dyn Write, evaluation: &Evaluation) -> Result<()> {
    for (name, value) in &evaluation.scores {
        writeln!(out, "  {name:<24} {value:.4}")?;
    }
    for table in &evaluation.tables {
        writeln!(out, "  {}", table.title)?;
        for (group, value, count) in &table.rows {
            writeln!(out, "    {group:<28} {value:.4}  ({count})")?;
        }
    }
    for note in &evaluation.notes {
        writeln!(out, "  {note}")?;
    }
    writeln!(out, "  {:<24} {}", "examples", evaluation.examples)?;
    if let Some(throughput) = evaluation.throughput {
        let rate = throughput.examples as f64 / throughput.seconds.max(1e-9);
        writeln!(out, "  {:<24} {rate:.1} examples/s", "scored at")?;
    }
    Ok(())
}

/// The same as JSON, with the scores by name at the top.
pub fn json(evaluation: &Evaluation) -> Value {
    let scores = evaluation.scores.iter().cloned();
    let mut document: serde_json::Map<String, Value> =
        scores.map(|(name, value)| (name, json!(value))).collect();
    for table in &evaluation.tables {
        let rows: serde_json::Map<String, Value> = table
            .rows
            .iter()
            .map(|(group, value, count)| {
                (group.clone(), json!({"score": value, "examples": count}))
            })
            .collect();
        document.insert(table.title.clone(), Value::Object(rows));
    }
    if !evaluation.notes.is_empty() {
        document.insert("notes".into(), json!(evaluation.notes));
    }
    document.insert("examples".into(), json!(evaluation.examples));
    document.insert("throughput".into(), json!(evaluation.throughput));
    Value::Object(document)
}
