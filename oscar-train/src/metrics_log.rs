//! `metrics.jsonl`: one line per optimiser step and per validation.
//!
//! Burn's own file logger keeps a file per metric and epoch, starts it anew when a run resumes and
//! panics when the disk is full. This one appends, forgets what a resumed run does again, and
//! leaves a full disk to the next checkpoint, whose error can be returned. What it writes also goes
//! into an event file for TensorBoard.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use burn_train::logger::MetricLogger;
use burn_train::metric::store::{EpochSummary, MetricsUpdate, Split};
use burn_train::metric::{MetricDefinition, MetricId, NumericEntry};
use serde_json::{Map, Value, json};

use crate::error::TrainError;
use crate::events::EventFile;
use crate::run::io;

/// Writes `{"step":12,"split":"train","Loss":3.21,…}` lines and answers Burn's event store.
pub struct MetricsLog {
    path: PathBuf,
    file: Option<File>,
    events: Option<EventFile>,
    names: HashMap<MetricId, String>,
    /// Optimiser steps seen, those before a resume included.
    step: usize,
    valid: Values,
    /// Values by metric, split and round, for early stopping.
    history: HashMap<(String, Split, usize), Vec<NumericEntry>>,
}

/// The newest values, in the order they first came in.
#[derive(Default)]
struct Values {
    order: Vec<String>,
    newest: HashMap<String, f64>,
}

impl Values {
    fn set(&mut self, name: &str, value: f64) {
        if !self.order.iter().any(|known| known == name) {
            self.order.push(name.into());
        }
        self.newest.insert(name.into(), value);
    }

    fn take(&mut self) -> Map<String, Value> {
        let newest = std::mem::take(&mut self.newest);
        let named = |name: &String| Some((name.clone(), json!(newest.get(name)?)));
        self.order.iter().filter_map(named).collect()
    }
}

impl MetricsLog {
    /// Opens the log of a run that goes on after `step` steps; lines of later steps, which the run
    /// will do again, and a torn last line are dropped. The event file lies beside it.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or written.
    pub fn open(path: &Path, step: usize) -> Result<Self, TrainError> {
        keep_until(path, step)?;
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .map_err(io("open", path))?;
        Ok(Self {
            path: path.into(),
            file: Some(file),
            events: path.parent().map(|run| EventFile::after(run, step)),
            names: HashMap::new(),
            step,
            valid: Values::default(),
            history: HashMap::new(),
        })
    }

    fn write(&mut self, split: &Split, metrics: Map<String, Value>) {
        if let Some(events) = &mut self.events
            && let Err(error) = events.write(self.step, &split.to_string(), &metrics)
        {
            tracing::warn!(
                "cannot write TensorBoard's events beside {}: {error}; they are no longer logged",
                self.path.display()
            );
            self.events = None;
        }
        let mut line = Map::from_iter([
            ("step".to_string(), json!(self.step)),
            ("split".to_string(), json!(split.to_string())),
        ]);
        line.extend(metrics);
        let Some(file) = &mut self.file else { return };
        if let Err(error) = writeln!(file, "{}", Value::from(line)) {
            tracing::warn!(
                "cannot write {}: {error}; metrics are no longer logged",
                self.path.display()
            );
            self.file = None;
        }
    }
}

/// Rewrites the log without what lies after `step`.
fn keep_until(path: &Path, step: usize) -> Result<(), TrainError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io("read", path)(error)),
    };
    let kept: String = text
        .split_inclusive('\n')
        .filter(|line| {
            let value: Option<Value> = serde_json::from_str(line).ok();
            let line_step = value.and_then(|value| value.get("step")?.as_u64());
            line.ends_with('\n') && line_step.is_some_and(|line_step| line_step as usize <= step)
        })
        .collect();
    let aside = path.with_extension("jsonl.tmp");
    fs::write(&aside, kept).map_err(io("write", &aside))?;
    fs::rename(&aside, path).map_err(io("move", &aside))
}

impl MetricLogger for MetricsLog {
    fn log(&mut self, update: MetricsUpdate, epoch: usize, split: &Split) {
        let training = *split == Split::Train;
        let mut step = Map::new();
        for metric in update.entries_numeric {
            let Some(name) = self.names.get(&metric.entry.metric_id).cloned() else {
                continue;
            };
            let value = metric.numeric_entry.current();
            match training {
                true => {
                    step.insert(name.clone(), json!(value));
                }
                // A validation metric is the mean so far: the last one counts.
                false => self.valid.set(&name, value),
            }
            self.history
                .entry((name, split.clone(), epoch))
                .or_default()
                .push(metric.numeric_entry);
        }
        if training {
            self.step += 1;
            self.write(split, step);
        }
    }

    fn read_numeric(
        &mut self,
        name: &str,
        epoch: usize,
        split: &Split,
    ) -> Result<Vec<NumericEntry>, String> {
        let key = (name.to_string(), split.clone(), epoch);
        Ok(self.history.get(&key).cloned().unwrap_or_default())
    }

    fn log_metric_definition(&mut self, definition: MetricDefinition) {
        self.names.insert(definition.metric_id, definition.name);
    }

    fn log_epoch_summary(&mut self, summary: EpochSummary) {
        if summary.split == Split::Valid {
            let metrics = self.valid.take();
            self.write(&summary.split, metrics);
        }
        // Early stopping asks for the round that just ended, and compares it with what it keeps.
        self.history
            .retain(|(_, _, epoch), _| *epoch >= summary.epoch_number);
    }
}
