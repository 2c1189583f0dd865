//! A summary of a run, from the files in its directory.

use std::collections::VecDeque;
use std::fs::{self, File, TryLockError};
use std::io::{BufRead, BufReader, ErrorKind};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use oscar_train::{Best, METRICS_FILE, TrainState, checkpoints};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::CONFIG_FILE;
use super::header::recipe_of;

/// The speed of a run is the median over this number of its newest steps.
const RECENT: usize = 100;

/// The summary.
pub struct Facts {
    /// The recipe it was started with; older runs do not record it.
    pub recipe: Option<String>,
    pub state: State,
    /// Finished steps, which a resumed run does not repeat.
    pub step: usize,
    /// Steps of the whole run; unknown before the first checkpoint of a run that counts epochs.
    pub steps: Option<usize>,
    pub best: Option<Best>,
    pub log: Log,
    /// The configuration by dotted keys.
    pub config: Map<String, Json>,
    /// Text of the configuration file.
    pub config_text: String,
}

/// Progress of a run.
#[derive(Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// All steps are finished.
    Done,
    /// A process is training.
    Running,
    /// It can be resumed.
    Stopped,
}

/// Summary of `metrics.jsonl`.
#[derive(Default)]
pub struct Log {
    pub step: usize,
    pub loss: Option<f64>,
    pub samples_per_second: Option<f64>,
    /// The validation at the best step.
    pub best: Map<String, Json>,
}

impl Facts {
    /// Reads the directory `run`.
    ///
    /// # Errors
    /// If it is not a run, or a file is damaged.
    pub fn read(run: &Path) -> Result<Self> {
        let path = run.join(CONFIG_FILE);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                bail!("not a run: it has no {CONFIG_FILE}")
            }
            text => text.with_context(|| format!("cannot read {CONFIG_FILE}"))?,
        };
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
            let before = error.span().and_then(|span| text.get(..span.start));
            let line = before.unwrap_or_default().matches('\n').count();
            anyhow!(
                "{CONFIG_FILE} line {} is not valid TOML: {}",
                line + 1,
                error.message()
            )
        })?;
        let epochs = table.get("epochs").and_then(toml::Value::as_integer);
        let mut config = Map::new();
        flatten("", serde_json::to_value(&table)?, &mut config);

        let state = newest_state(run)?;
        let best = state.as_ref().and_then(|state| state.best);
        let log = Log::read(run, best)?;
        let saved = state.as_ref().map_or(0, |state| state.step);
        let steps = match &state {
            Some(state) => Some(state.settings.steps),
            None if epochs.is_some_and(|epochs| epochs > 0) => None,
            None => config.get("train.steps").and_then(as_count),
        };
        let ended = steps.is_some_and(|steps| saved >= steps);
        let (state, step) = match is_running(run) {
            true => (State::Running, saved.max(log.step)),
            false if ended => (State::Done, saved),
            false => (State::Stopped, saved),
        };
        Ok(Self {
            recipe: recipe_of(&text).map(String::from),
            config_text: text,
            state,
            step,
            steps,
            best,
            log,
            config,
        })
    }

    /// The metric that selected the best step: its name in the log, and its value.
    pub fn best(&self) -> Option<(&str, f64)> {
        let best = self.best?;
        let Some(score) = best.score else {
            return Some(("Loss", best.loss));
        };
        // The mean in the log may be rounded differently.
        let is_it = |value: &Json| {
            let value = value.as_f64();
            value.is_some_and(|value| (value - score).abs() <= 1e-6 * score.abs().max(1.0))
        };
        let measured = self.log.best.iter();
        let name = measured
            .filter(|(name, _)| *name != "Loss")
            .find_map(|(name, value)| is_it(value).then_some(name.as_str()));
        Some((name.unwrap_or("score"), score))
    }
}

/// The newest checkpoint's state.
fn newest_state(run: &Path) -> Result<Option<TrainState>> {
    let Some((step, path)) = checkpoints(run)?.pop() else {
        return Ok(None);
    };
    let what = || format!("cannot read the state of the checkpoint of step {step}");
    TrainState::read(&path, step).map(Some).with_context(what)
}

/// Whether a process trains in the directory.
fn is_running(run: &Path) -> bool {
    // A shared lock, released immediately, so that several readers do not see each other.
    File::open(run.join(".lock"))
        .is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// The fields of a log line that all tasks have.
#[derive(Deserialize)]
struct Line {
    step: usize,
    split: String,
    #[serde(rename = "Loss")]
    loss: Option<f64>,
    #[serde(rename = "Samples/s")]
    samples_per_second: Option<f64>,
}

/// Calls `each` with the complete lines of a run's log, in order; a run may have none yet.
///
/// # Errors
/// If the log cannot be read, or `each` fails; both name the line.
pub fn read_log(run: &Path, mut each: impl FnMut(&[u8]) -> serde_json::Result<()>) -> Result<()> {
    let file = match File::open(run.join(METRICS_FILE)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        file => file.with_context(|| format!("cannot open {METRICS_FILE}"))?,
    };
    let mut file = BufReader::new(file);
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let wrong = || format!("{METRICS_FILE} line {number} is not a log line");
        file.read_until(b'\n', &mut line).with_context(wrong)?;
        // A line without an end is being written, or was cut off by a kill.
        if !line.ends_with(b"\n") {
            break;
        }
        each(&line).with_context(wrong)?;
    }
    Ok(())
}

impl Log {
    fn read(run: &Path, best: Option<Best>) -> Result<Self> {
        let mut log = Self::default();
        let mut speeds = VecDeque::new();
        read_log(run, |line| {
            let read: Line = serde_json::from_slice(line)?;
            log.step = read.step;
            if read.split == "train" {
                log.loss = read.loss;
                speeds.extend(read.samples_per_second);
                if speeds.len() > RECENT {
                    speeds.pop_front();
                }
            } else if best.is_some_and(|best| best.step == read.step) {
                log.best = serde_json::from_slice(line)?;
                log.best.retain(|key, _| key != "step" && key != "split");
            }
            Ok(())
        })?;
        let speeds = speeds.make_contiguous();
        speeds.sort_by(f64::total_cmp);
        log.samples_per_second = speeds.get(speeds.len() / 2).copied();
        Ok(log)
    }
}

/// Tables to dotted keys; the depth is that of the TOML reader, which bounds it.
pub fn flatten(key: &str, value: Json, into: &mut Map<String, Json>) {
    match value {
        Json::Object(table) => {
            for (name, value) in table {
                let key = match key {
                    "" => name,
                    key => format!("{key}.{name}"),
                };
                flatten(&key, value, into);
            }
        }
        value => {
            into.insert(key.into(), value);
        }
    }
}

fn as_count(value: &Json) -> Option<usize> {
    value.as_u64()?.try_into().ok()
}
