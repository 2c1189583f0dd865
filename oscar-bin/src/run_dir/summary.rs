//! A summary of a run, from the files in its directory.

use std::collections::{BTreeSet, VecDeque};
use std::fs::{self, File, TryLockError};
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use oscar_files::{SMALL_FILE, open_regular, read_text};
use oscar_train::{Best, METRICS_FILE, TrainState, checkpoints};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::CONFIG_FILE;
use super::header::recipe_of;

/// Longest line of a log: one has a few hundred bytes.
const LONGEST_LINE: u64 = 1 << 20;

/// The speed of a run is the median over this number of its newest steps.
const RECENT: usize = 100;

/// The summary; the JSON document of a run.
#[derive(Serialize)]
pub struct Summary {
    /// The recipe it was started with; older runs do not record it.
    pub recipe: Option<String>,
    pub state: State,
    /// Finished steps, which a resumed run does not repeat.
    pub step: usize,
    /// Steps of the whole run; unknown before the first checkpoint of a run that counts epochs.
    pub steps: Option<usize>,
    /// Newest training loss.
    pub loss: Option<f64>,
    pub best: Option<BestStep>,
    pub samples_per_second: Option<f64>,
    /// The configuration by dotted keys.
    #[serde(skip)]
    pub config: Map<String, Json>,
    /// Text of the configuration file.
    #[serde(skip)]
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

/// The step with the best validation.
#[derive(Serialize)]
pub struct BestStep {
    pub step: usize,
    /// Name of the metric that selected it, as in the log.
    pub by: String,
    /// Value of that metric.
    pub value: f64,
    /// All metrics of that validation.
    pub metrics: Map<String, Json>,
}

/// What `metrics.jsonl` contributes.
#[derive(Default)]
struct Log {
    step: usize,
    loss: Option<f64>,
    samples_per_second: Option<f64>,
    /// The validation at the best step.
    best: Map<String, Json>,
}

impl Summary {
    /// Reads the directory `run`.
    ///
    /// # Errors
    /// If it is not a run, or a file is damaged.
    pub fn read(run: &Path) -> Result<Self> {
        let text = read_config(run)?;
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
            let before = error.span().and_then(|span| text.get(..span.start));
            let line = before.unwrap_or_default().matches('\n').count() + 1;
            let problem = error.message();
            anyhow!("{CONFIG_FILE} line {line} is not valid TOML: {problem}")
        })?;
        let config = flat(&table)?;
        let epochs = config.get("epochs").and_then(Json::as_u64);

        let newest = newest_state(run)?;
        let best = newest.as_ref().and_then(|state| state.best);
        let log = Log::read(run, best)?;
        let saved = newest.as_ref().map_or(0, |state| state.step);
        let steps = match &newest {
            Some(state) => Some(state.settings.steps),
            None if epochs.is_some_and(|epochs| epochs > 0) => None,
            None => config.get("train.steps").and_then(as_count),
        };
        let (state, step) = match steps.is_some_and(|steps| saved >= steps) {
            _ if is_running(run) => (State::Running, saved.max(log.step)),
            true => (State::Done, saved),
            false => (State::Stopped, saved),
        };
        Ok(Self {
            recipe: recipe_of(&text).map(String::from),
            state,
            step,
            steps,
            loss: log.loss,
            best: best.map(|best| BestStep::new(best, log.best)),
            samples_per_second: log.samples_per_second,
            config,
            config_text: text,
        })
    }
}

impl BestStep {
    fn new(best: Best, metrics: Map<String, Json>) -> Self {
        let (by, value) = match best.score {
            None => ("Loss", best.loss),
            Some(score) => {
                // The mean in the log may be rounded differently.
                let selected = |(name, value): &(&String, &Json)| {
                    let value = value.as_f64().filter(|_| *name != "Loss");
                    value.is_some_and(|v| (v - score).abs() <= 1e-6 * score.abs().max(1.0))
                };
                let selected = metrics.iter().find(selected);
                (selected.map_or("score", |(name, _)| name), score)
            }
        };
        Self {
            step: best.step,
            by: by.into(),
            value,
            metrics,
        }
    }
}

/// The newest checkpoint's state.
fn newest_state(run: &Path) -> Result<Option<TrainState>> {
    let Some((step, path)) = checkpoints(run)?.pop() else {
        return Ok(None);
    };
    let what = || format!("cannot read the state of the checkpoint of step {step}");
    // A special file might never end.
    open(&path.join("state.json")).with_context(what)?;
    TrainState::read(&path, step).map(Some).with_context(what)
}

/// Whether a process trains in the directory.
fn is_running(run: &Path) -> bool {
    // A shared lock, released immediately, so that several readers do not see each other.
    let lock = open(&run.join(".lock")).ok().flatten();
    lock.is_some_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
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
    let Some(file) = open(&run.join(METRICS_FILE))? else {
        return Ok(());
    };
    let mut file = BufReader::new(file);
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let wrong = || format!("{METRICS_FILE} line {number} is not a log line");
        let mut rest = (&mut file).take(LONGEST_LINE + 1);
        rest.read_until(b'\n', &mut line).with_context(wrong)?;
        if line.len() as u64 > LONGEST_LINE {
            bail!("{METRICS_FILE} line {number} is longer than {LONGEST_LINE} bytes");
        }
        // A line without an end is being written, or was cut off by a kill.
        if !line.ends_with(b"\n") {
            break;
        }
        each(&line).with_context(wrong)?;
    }
    Ok(())
}

/// Opens a file of a run; `None` if it is not there.
///
/// # Errors
/// If it is no regular file, which might never end, or cannot be opened.
fn open(path: &Path) -> Result<Option<File>> {
    match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        _ => Ok(Some(open_regular(path)?.0)),
    }
}

/// The configuration of the run in `run` as text.
fn read_config(run: &Path) -> Result<String> {
    let path = run.join(CONFIG_FILE);
    match fs::metadata(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!("not a run: it has no {CONFIG_FILE}")
        }
        _ => Ok(read_text(&path, SMALL_FILE)?),
    }
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
                speeds.extend(read.samples_per_second.filter(|speed| speed.is_finite()));
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

/// The values of a TOML document by dotted keys.
///
/// # Errors
/// If JSON has no form for a value.
pub fn flat(table: &toml::Table) -> Result<Map<String, Json>> {
    let mut into = Map::new();
    flatten("", serde_json::to_value(table)?, &mut into);
    Ok(into)
}

/// The depth is that of the TOML reader, which bounds it.
fn flatten(key: &str, value: Json, into: &mut Map<String, Json>) {
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

/// The keys whose values are not the same in all of `configs`, in alphabetical order.
pub fn differing_keys<'a>(configs: &[&'a Map<String, Json>]) -> Vec<&'a String> {
    let mut keys = all_keys(configs.iter().copied());
    keys.retain(|key| {
        let mut values = configs.iter().map(|config| config.get(*key));
        let first = values.next();
        values.any(|value| Some(value) != first)
    });
    keys
}

/// The keys of all of `maps`, each once, in alphabetical order.
pub fn all_keys<'a>(maps: impl Iterator<Item = &'a Map<String, Json>>) -> Vec<&'a String> {
    let keys: BTreeSet<&String> = maps.flat_map(Map::keys).collect();
    keys.into_iter().collect()
}

fn as_count(value: &Json) -> Option<usize> {
    value.as_u64()?.try_into().ok()
}
