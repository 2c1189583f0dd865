//! `metrics.jsonl`: one line per optimiser step and per validation.
//!
//! Burn's own file logger keeps a file per metric and epoch, overwrites it when a run resumes and
//! panics when the disk is full. This one appends, and drops lines that a resumed run writes again.
//! Burn calls it on a thread of its own, some steps late; a checkpoint waits for the lines before it
//! ([`Written`]), and returns the error of a full disk. The same values go into an event file for
//! TensorBoard.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use burn_train::logger::MetricLogger;
use burn_train::metric::store::{EpochSummary, MetricsUpdate, Split};
use burn_train::metric::{MetricDefinition, MetricId, NumericEntry};
use oscar_files::{FileError, sync_file, write_file};
use serde_json::{Map, Value, json};

use crate::error::TrainError;
use crate::events::EventFile;
use crate::sync::lock;

/// Burn's event store writes to it: `{"step":12,"split":"train","Loss":3.21,…}` lines.
pub struct MetricsLog {
    path: PathBuf,
    file: Option<File>,
    events: Option<EventFile>,
    written: Written,
    names: HashMap<MetricId, String>,
    /// Optimiser steps seen, those before a resume included.
    step: usize,
    /// The newest values of the current validation.
    valid: Map<String, Value>,
}

/// The number of lines of a log that are written.
#[derive(Clone, Debug)]
pub struct Written {
    path: PathBuf,
    lines: Arc<(Mutex<Lines>, Condvar)>,
}

#[derive(Debug, Default)]
struct Lines {
    number: usize,
    /// Why the first line that is missing could not be written.
    failure: Option<(std::io::ErrorKind, String)>,
}

impl Written {
    fn count(&self, written: std::io::Result<()>) {
        let mut lines = lock(&self.lines.0);
        lines.number += 1;
        if let Err(error) = written {
            let failure = (error.kind(), error.to_string());
            lines.failure.get_or_insert(failure);
        }
        self.lines.1.notify_all();
    }

    /// Waits until `number` lines are written since the log was opened, and makes them durable.
    ///
    /// # Errors
    ///
    /// If a line could not be written, or the writing thread has ended.
    pub(crate) fn wait(&self, number: usize) -> Result<(), TrainError> {
        let behind = |lines: &mut Lines| lines.number < number && lines.failure.is_none();
        let waited = self.lines.1.wait_while(lock(&self.lines.0), behind);
        let lines = waited.unwrap_or_else(PoisonError::into_inner);
        match lines.failure.clone() {
            Some((kind, text)) => {
                let error = std::io::Error::new(kind, text);
                Err(FileError::io("write", &self.path)(error).into())
            }
            None => Ok(sync_file(&self.path)?),
        }
    }
}

impl Drop for MetricsLog {
    /// If the thread that owns the log panics, nobody waits for it.
    fn drop(&mut self) {
        let ended = std::io::Error::other("the thread that writes it has ended");
        self.written.count(Err(ended));
    }
}

impl MetricsLog {
    /// Opens the log of a run that continues after `step` steps; lines of later steps, which the run
    /// will repeat, and a torn last line are dropped. The event file is in the same directory.
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
            .map_err(FileError::io("open", path))?;
        Ok(Self {
            path: path.into(),
            file: Some(file),
            events: path.parent().map(|run| EventFile::after(run, step)),
            written: Written {
                path: path.into(),
                lines: Arc::default(),
            },
            names: HashMap::new(),
            step,
            valid: Map::new(),
        })
    }

    /// How much of it is written.
    pub fn written(&self) -> Written {
        self.written.clone()
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
        let Some(file) = &mut self.file else {
            // The failure that closed it is known.
            return self.written.count(Ok(()));
        };
        // In one piece, so that a kill leaves whole lines.
        let written = file.write_all(format!("{}\n", Value::from(line)).as_bytes());
        if let Err(error) = &written {
            tracing::warn!(
                "cannot write {}: {error}; the run ends at the next checkpoint",
                self.path.display()
            );
            self.file = None;
        }
        self.written.count(written);
    }
}

/// Removes the lines of later steps than `step` from a file of lines with steps.
///
/// # Errors
///
/// If the file cannot be read or written.
pub(crate) fn keep_until(path: &Path, step: usize) -> Result<(), TrainError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(FileError::io("read", path)(error).into()),
    };
    let kept: String = text
        .split_inclusive('\n')
        .filter(|line| {
            let value: Option<Value> = serde_json::from_str(line).ok();
            let line_step = value.and_then(|value| value.get("step")?.as_u64());
            line.ends_with('\n') && line_step.is_some_and(|line_step| line_step as usize <= step)
        })
        .collect();
    match kept == text {
        true => Ok(()),
        false => Ok(write_file(path, kept.as_bytes())?),
    }
}

impl MetricLogger for MetricsLog {
    fn log(&mut self, update: MetricsUpdate, _epoch: usize, split: &Split) {
        let named = update.entries_numeric.into_iter().filter_map(|metric| {
            let name = self.names.get(&metric.entry.metric_id)?;
            Some((name.clone(), json!(metric.numeric_entry.current())))
        });
        let values: Map<String, Value> = named.collect();
        match split {
            Split::Train => {
                self.step += 1;
                self.write(split, values);
            }
            // A validation metric is the mean so far: the last one counts.
            _ => self.valid.extend(values),
        }
    }

    fn read_numeric(
        &mut self,
        _name: &str,
        _epoch: usize,
        _split: &Split,
    ) -> Result<Vec<NumericEntry>, String> {
        Err("the log of a run is written, not read".into())
    }

    fn log_metric_definition(&mut self, definition: MetricDefinition) {
        self.names.insert(definition.metric_id, definition.name);
    }

    fn log_epoch_summary(&mut self, summary: EpochSummary) {
        if summary.split == Split::Valid {
            let metrics = std::mem::take(&mut self.valid);
            self.write(&summary.split, metrics);
        }
    }
}
