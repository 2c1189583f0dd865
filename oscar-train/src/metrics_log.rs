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
use std::sync::mpsc::{Receiver, Sender, channel};

use burn_train::logger::MetricLogger;
use burn_train::metric::store::{EpochSummary, MetricsUpdate, Split};
use burn_train::metric::{MetricDefinition, MetricId, NumericEntry};
use oscar_files::{FileError, sync_file, write_file};
use serde_json::{Map, Value, json};

use crate::error::TrainError;
use crate::events::EventFile;

/// Burn's event store writes to it: `{"step":12,"split":"train","Loss":3.21,…}` lines.
pub struct MetricsLog {
    path: PathBuf,
    /// The file, and where each line written to it is reported, until one cannot be.
    file: Option<(File, Sender<std::io::Result<()>>)>,
    events: Option<EventFile>,
    names: HashMap<MetricId, String>,
    /// Optimiser steps seen, those before a resume included.
    step: usize,
    /// The newest values of the current validation.
    valid: Map<String, Value>,
}

/// How much of a log is written: receives a result for each line, until one cannot be written.
pub struct Written {
    path: PathBuf,
    lines: Receiver<std::io::Result<()>>,
    number: usize,
}

impl Written {
    /// Waits until `number` lines are written since the log was opened, and makes them durable.
    ///
    /// # Errors
    ///
    /// If a line could not be written, or the writing thread has ended.
    pub(crate) fn wait(&mut self, number: usize) -> Result<(), TrainError> {
        while self.number < number {
            let ended = || Err(std::io::Error::other("it is no longer written"));
            let written = self.lines.recv().unwrap_or_else(|_| ended());
            written.map_err(FileError::io("write", &self.path))?;
            self.number += 1;
        }
        Ok(sync_file(&self.path)?)
    }
}

impl MetricsLog {
    /// Opens the log of a run that continues after `step` steps; lines of later steps, which the run
    /// will repeat, and a torn last line are dropped. The event file is in the same directory.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or written.
    pub fn open(path: &Path, step: usize) -> Result<(Self, Written), TrainError> {
        keep_until(path, step)?;
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .map_err(FileError::io("open", path))?;
        let (sender, lines) = channel();
        let log = Self {
            path: path.into(),
            file: Some((file, sender)),
            events: path.parent().map(|run| EventFile::after(run, step)),
            names: HashMap::new(),
            step,
            valid: Map::new(),
        };
        let written = Written {
            path: path.into(),
            lines,
            number: 0,
        };
        Ok((log, written))
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
        let Some((file, lines)) = &mut self.file else {
            return;
        };
        // In one piece, so that a kill leaves whole lines.
        let written = file.write_all(format!("{}\n", Value::from(line)).as_bytes());
        let failed = written.as_ref().err().map(ToString::to_string);
        // Nobody waits for it any more once training has ended.
        let _ = lines.send(written);
        if let Some(error) = failed {
            tracing::warn!(
                "cannot write {}: {error}; the run ends at the next checkpoint",
                self.path.display()
            );
            self.file = None;
        }
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
