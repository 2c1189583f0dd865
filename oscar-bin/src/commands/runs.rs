//! `oscar-bin runs`: list runs with their progress, and compare configurations.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use clap::Args;
use oscar_train::{METRICS_FILE, duration};
use serde_json::{Map, Value as Json, json};

use crate::ending::Ending;
use crate::output::{UNKNOWN, print_json, print_table};
use crate::run_dir::{CONFIG_FILE, Facts, State};

/// Lists the runs, newest first. If two or more are named, also shows side by side which keys of their
/// configurations differ, and the metrics of their best steps.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    oscar-bin runs\n  \
    oscar-bin runs quickstart longer\n  \
    oscar-bin runs --json")]
pub struct RunsArgs {
    /// Runs to list, by name [default: all]
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// Directory of the runs
    #[arg(
        long,
        default_value = "runs",
        env = "OSCAR_RUNS_DIR",
        value_name = "DIR"
    )]
    pub runs_dir: PathBuf,
    /// Print the list as one JSON document on standard output
    #[arg(long)]
    pub json: bool,
}

/// Lists the runs, or compares those that are named.
///
/// # Errors
/// If a named run does not exist or cannot be read.
pub fn run(args: &RunsArgs) -> Result<Ending> {
    let mut runs = find(&args.runs_dir)?;
    if !args.names.is_empty() {
        runs = chosen(runs, args)?;
    }
    let compared = match args.names.len() {
        0 | 1 => None,
        _ => Some(differences(&readable(&runs)?)),
    };
    if args.json {
        let mut document = json!({ "runs": runs.iter().map(Run::json).collect::<Vec<_>>() });
        if let Some(differences) = &compared {
            document["differences"] = differences.iter().map(Difference::json).collect();
        }
        print_json(&document)?;
        return Ok(Ending::Done);
    }
    let mut out = std::io::stdout().lock();
    if runs.is_empty() {
        writeln!(out, "no run in {}", args.runs_dir.display())?;
    }
    print_list(&mut out, &runs)?;
    if let Some(differences) = &compared {
        print_comparison(&mut out, &readable(&runs)?, differences)?;
    }
    Ok(Ending::Done)
}

/// A directory in the directory of the runs.
struct Run {
    name: String,
    written: Option<SystemTime>,
    /// What its files say, or why they cannot be read.
    facts: Result<Facts>,
}

/// The directories in `runs`, but for hidden ones, newest first.
fn find(runs: &Path) -> Result<Vec<Run>> {
    let entries = match fs::read_dir(runs) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => {
            entries.with_context(|| format!("cannot list the runs in {}", runs.display()))?
        }
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot list the runs in {}", runs.display()))?;
        let (name, path) = (entry.file_name(), entry.path());
        let name = name.to_string_lossy().into_owned();
        if path.is_dir() && !name.starts_with('.') {
            let modified = |file: &str| path.join(file).metadata().ok()?.modified().ok();
            found.push(Run {
                name,
                written: [METRICS_FILE, CONFIG_FILE, "."]
                    .into_iter()
                    .find_map(modified),
                facts: Facts::read(&path),
            });
        }
    }
    found.sort_by(|a, b| (b.written, &a.name).cmp(&(a.written, &b.name)));
    Ok(found)
}

/// The named runs, in the order of their names on the command line.
fn chosen(mut runs: Vec<Run>, args: &RunsArgs) -> Result<Vec<Run>> {
    let mut chosen = Vec::new();
    for name in &args.names {
        let Some(at) = runs.iter().position(|run| run.name == *name) else {
            match args.names.iter().filter(|other| *other == name).count() {
                1 => bail!(
                    "{} has no run {name:?}; `oscar-bin runs` lists the runs",
                    args.runs_dir.display()
                ),
                _ => bail!("{name:?} is named twice; name each run once"),
            }
        };
        chosen.push(runs.swap_remove(at));
    }
    Ok(chosen)
}

/// All of them with what their files say.
fn readable(runs: &[Run]) -> Result<Vec<(&str, &Facts)>> {
    runs.iter()
        .map(|run| match &run.facts {
            Ok(facts) => Ok((run.name.as_str(), facts)),
            Err(problem) => bail!("{} cannot be compared: {problem:#}", run.name),
        })
        .collect()
}

impl Run {
    fn json(&self) -> Json {
        let written = self
            .written
            .and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let mut document = json!({
            "name": self.name,
            "written": written.map(|time| time.as_secs()),
        });
        let more = match &self.facts {
            Err(problem) => json!({ "state": "broken", "problem": format!("{problem:#}") }),
            Ok(facts) => json!({
                "recipe": facts.recipe,
                "state": facts.state,
                "step": facts.step,
                "steps": facts.steps,
                "loss": facts.log.loss,
                "best": facts.best().zip(facts.best).map(|((by, value), best)| json!({
                    "step": best.step,
                    "by": by,
                    "value": value,
                    "metrics": facts.log.best,
                })),
                "samples_per_second": facts.log.samples_per_second,
            }),
        };
        if let (Some(document), Json::Object(more)) = (document.as_object_mut(), more) {
            document.extend(more);
        }
        document
    }
}

/// A key whose values differ.
struct Difference<'a> {
    key: &'a str,
    /// By run.
    values: Vec<(&'a str, Option<&'a Json>)>,
}

impl Difference<'_> {
    fn json(&self) -> Json {
        let values = self.values.iter();
        let values: Map<String, Json> = values
            .map(|(run, value)| (run.to_string(), json!(value)))
            .collect();
        json!({ "key": self.key, "values": values })
    }
}

fn differences<'a>(runs: &[(&'a str, &'a Facts)]) -> Vec<Difference<'a>> {
    let configs = runs.iter().map(|(_, facts)| &facts.config);
    keys(configs)
        .into_iter()
        .map(|key| Difference {
            key,
            values: runs
                .iter()
                .map(|(name, facts)| (*name, facts.config.get(key)))
                .collect(),
        })
        .filter(|difference| {
            let mut values = difference.values.iter().map(|(_, value)| value);
            let first = values.next();
            values.any(|value| Some(value) != first)
        })
        .collect()
}

/// The keys of all of `maps`, each once, in alphabetical order.
fn keys<'a>(maps: impl Iterator<Item = &'a Map<String, Json>>) -> Vec<&'a str> {
    let mut keys: Vec<&str> = maps.flat_map(Map::keys).map(String::as_str).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

fn print_list(out: &mut impl Write, runs: &[Run]) -> Result<()> {
    let titles = "run,recipe,state,loss,best validation,samples/s,written";
    let mut rows = vec![titles.split(',').map(String::from).collect()];
    for run in runs {
        if let Ok(facts) = &run.facts {
            let best = facts.best().zip(facts.best);
            rows.push(vec![
                plain(&run.name),
                facts.recipe.as_deref().map_or(UNKNOWN.into(), plain),
                state(facts),
                number(facts.log.loss, 4),
                best.map_or(UNKNOWN.into(), |((by, value), best)| {
                    format!("{} {value:.4} at step {}", plain(by), best.step)
                }),
                number(facts.log.samples_per_second, 1),
                run.written.map_or(UNKNOWN.into(), ago),
            ]);
        }
    }
    if rows.len() > 1 {
        print_table(out, &rows)?;
    }
    for run in runs {
        if let Err(problem) = &run.facts {
            writeln!(
                out,
                "{}: {}",
                plain(&run.name),
                plain(&format!("{problem:#}"))
            )?;
        }
    }
    Ok(())
}

fn state(facts: &Facts) -> String {
    let of = facts
        .steps
        .map_or(String::new(), |all| format!(" of {all}"));
    match facts.state {
        State::Done => format!("done, {} steps", facts.step),
        State::Running => format!("running, step {}{of}", facts.step),
        State::Stopped if facts.step == 0 => "stopped before a checkpoint".into(),
        State::Stopped => format!("stopped at step {}{of}", facts.step),
    }
}

fn print_comparison(
    out: &mut impl Write,
    runs: &[(&str, &Facts)],
    differences: &[Difference<'_>],
) -> Result<()> {
    let head = |title: &str| {
        let names = runs.iter().map(|(name, _)| plain(name));
        std::iter::once(title.to_string()).chain(names).collect()
    };
    writeln!(out)?;
    if differences.is_empty() {
        writeln!(out, "The configurations are the same.")?;
    } else {
        let mut rows: Vec<Vec<String>> = vec![head("difference")];
        for difference in differences {
            let shown = |value: &Option<&Json>| value.map_or(UNKNOWN.into(), Json::to_string);
            let values = difference.values.iter().map(|(_, value)| shown(value));
            rows.push(
                std::iter::once(plain(difference.key))
                    .chain(values)
                    .collect(),
            );
        }
        print_table(out, &rows)?;
    }
    writeln!(out)?;
    let mut rows: Vec<Vec<String>> = vec![head("best step")];
    let of_all = |title: &str, value: &dyn Fn(&Facts) -> String| {
        let values = runs.iter().map(|(_, facts)| value(facts));
        std::iter::once(plain(title)).chain(values).collect()
    };
    rows.push(of_all("step", &|facts| {
        facts
            .best
            .map_or(UNKNOWN.into(), |best| best.step.to_string())
    }));
    for name in keys(runs.iter().map(|(_, facts)| &facts.log.best)) {
        rows.push(of_all(name, &|facts| {
            number(facts.log.best.get(name).and_then(Json::as_f64), 4)
        }));
    }
    Ok(print_table(out, &rows)?)
}

/// Without control characters, which a terminal would obey.
fn plain(text: &str) -> String {
    match text.contains(char::is_control) {
        true => text.escape_debug().to_string(),
        false => text.into(),
    }
}

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or(UNKNOWN.into(), |value| format!("{value:.digits$}"))
}

fn ago(time: SystemTime) -> String {
    // The clock may have been set back.
    let elapsed = time.elapsed().unwrap_or_default();
    match elapsed.as_secs() / 86_400 {
        0 | 1 => format!("{} ago", duration(elapsed)),
        days => format!("{days} days ago"),
    }
}
