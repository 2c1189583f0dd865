//! `oscar-bin runs`: list runs with their progress, and compare configurations.

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use clap::Args;
use oscar_train::{METRICS_FILE, duration};
use serde_json::{Value as Json, json};

use crate::ending::Ending;
use crate::output::{self, UNKNOWN, escape_line, print_json, print_table};
use crate::run_dir::{BestStep, CONFIG_FILE, State, Summary, all_keys, differing_keys};

/// Lists the runs, newest first. If two or more are named, also shows side by side which keys of their
/// configurations differ, and the metrics of their best steps.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    oscar-bin runs\n  \
    oscar-bin runs quickstart longer\n  \
    oscar-bin runs --json")]
pub struct RunsArgs {
    /// Runs to list, by name, by directory, or by a pattern such as 'lr-*' [default: all]
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
    let compared = match args.names.is_empty() || runs.len() < 2 {
        true => None,
        false => Some(Comparison::new(&runs)?),
    };
    if args.json {
        let mut document = json!({ "runs": runs.iter().map(Run::json).collect::<Vec<_>>() });
        if let Some(compared) = &compared {
            document["differences"] = compared.json();
        }
        print_json(&document)?;
        return Ok(Ending::Done);
    }
    let mut out = output::stdout();
    if runs.is_empty() {
        writeln!(out, "no runs in {}", args.runs_dir.display())?;
    }
    print_list(&mut out, &runs)?;
    if let Some(compared) = &compared {
        compared.print(&mut out)?;
    }
    Ok(Ending::Done)
}

/// A directory in the directory of the runs.
struct Run {
    name: String,
    written: Option<SystemTime>,
    /// What its files say, or why they cannot be read.
    summary: Result<Summary>,
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
                summary: Summary::read(&path),
            });
        }
    }
    found.sort_by(|a, b| (b.written, &a.name).cmp(&(a.written, &b.name)));
    Ok(found)
}

/// The named runs, in the order of their names on the command line.
fn chosen(mut runs: Vec<Run>, args: &RunsArgs) -> Result<Vec<Run>> {
    let mut names = Vec::new();
    for given in &args.names {
        let pattern = within(given, &args.runs_dir);
        if !pattern.contains(['*', '?']) || runs.iter().any(|run| run.name == pattern) {
            names.push(given.clone());
            continue;
        }
        let fitting = runs.iter().filter(|run| fits(&run.name, pattern));
        let before = names.len();
        names.extend(fitting.map(|run| run.name.clone()));
        if names.len() == before {
            bail!("{} has no run like {given:?}", args.runs_dir.display());
        }
    }
    let mut chosen = Vec::new();
    for name in &names {
        let plain = within(name, &args.runs_dir);
        let Some(at) = runs.iter().position(|run| run.name == plain) else {
            match names.iter().filter(|other| *other == name).count() {
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

/// Whether `name` fits a pattern in which `*` stands for any text and `?` for any character.
fn fits(name: &str, pattern: &str) -> bool {
    let (name, pattern): (Vec<char>, Vec<char>) =
        (name.chars().collect(), pattern.chars().collect());
    // Which beginnings of the pattern fit the name so far.
    let mut fitting = vec![false; pattern.len() + 1];
    fitting[0] = true;
    let skip_stars = |fitting: &mut Vec<bool>| {
        for at in 0..pattern.len() {
            if fitting[at] && pattern[at] == '*' {
                fitting[at + 1] = true;
            }
        }
    };
    skip_stars(&mut fitting);
    for c in name {
        let mut next = vec![false; pattern.len() + 1];
        for at in (0..pattern.len()).filter(|at| fitting[*at]) {
            match pattern[at] {
                '*' => next[at] = true,
                p => next[at + 1] |= p == '?' || p == c,
            }
        }
        skip_stars(&mut next);
        fitting = next;
    }
    fitting[pattern.len()]
}

/// The name of a run that is given as its directory.
fn within<'a>(given: &'a str, runs: &Path) -> &'a str {
    let within = Path::new(given).strip_prefix(runs).ok();
    let name = within.and_then(|path| path.components().next()?.as_os_str().to_str());
    name.unwrap_or(given)
}

impl Run {
    fn json(&self) -> Json {
        let mut document = match &self.summary {
            Ok(summary) => json!(summary),
            Err(problem) => json!({ "state": "broken", "problem": format!("{problem:#}") }),
        };
        let written = self.written;
        let written = written.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        document["name"] = json!(self.name);
        document["written"] = json!(written.map(|time| time.as_secs()));
        document
    }
}

fn print_list(out: &mut impl Write, runs: &[Run]) -> Result<()> {
    let titles = "run,recipe,state,loss,best validation,samples/s,written";
    let mut rows = vec![titles.split(',').map(String::from).collect()];
    for run in runs {
        if let Ok(summary) = &run.summary {
            rows.push(vec![
                run.name.clone(),
                summary.recipe.clone().unwrap_or(UNKNOWN.into()),
                progress(summary),
                number(summary.loss, 4),
                summary.best.as_ref().map_or(UNKNOWN.into(), |best| {
                    format!(
                        "{} {} at step {}",
                        best.by,
                        number(Some(best.value), 4),
                        best.step
                    )
                }),
                number(summary.samples_per_second, 1),
                run.written.map_or(UNKNOWN.into(), ago),
            ]);
        }
    }
    if rows.len() > 1 {
        print_table(out, &rows)?;
    }
    for run in runs {
        if let Err(problem) = &run.summary {
            let problem = format!("{problem:#}");
            writeln!(out, "{}: {}", escape_line(&run.name), escape_line(&problem))?;
        }
    }
    Ok(())
}

fn progress(summary: &Summary) -> String {
    let of = summary.steps;
    let of = of.map_or(String::new(), |all| format!(" of {all}"));
    match summary.state {
        State::Done => format!("done, {} steps", summary.step),
        State::Running => format!("running, step {}{of}", summary.step),
        State::Stopped if summary.step == 0 => "stopped before a checkpoint".into(),
        State::Stopped => format!("stopped at step {}{of}", summary.step),
    }
}

/// Runs side by side.
struct Comparison<'a> {
    runs: Vec<(&'a str, &'a Summary)>,
    /// The keys of the configurations that differ.
    keys: Vec<&'a String>,
}

impl<'a> Comparison<'a> {
    fn new(runs: &'a [Run]) -> Result<Self> {
        let read = |run: &'a Run| match &run.summary {
            Ok(summary) => Ok((run.name.as_str(), summary)),
            Err(problem) => bail!("{} cannot be compared: {problem:#}", run.name),
        };
        let runs: Vec<(&str, &Summary)> = runs.iter().map(read).collect::<Result<_>>()?;
        let configs: Vec<_> = runs.iter().map(|(_, summary)| &summary.config).collect();
        Ok(Self {
            keys: differing_keys(&configs),
            runs,
        })
    }

    fn json(&self) -> Json {
        let difference = |key: &&String| {
            let values = self.runs.iter();
            let values = values.map(|(name, summary)| (*name, summary.config.get(*key)));
            json!({ "key": key, "values": values.collect::<BTreeMap<_, _>>() })
        };
        self.keys.iter().map(difference).collect()
    }

    fn print(&self, out: &mut impl Write) -> Result<()> {
        let names = self.runs.iter().map(|(name, _)| (*name).to_string());
        let names: Vec<String> = names.collect();
        let titles = |title: &str| [vec![title.into()], names.clone()].concat();
        let row = |title: &str, value: &dyn Fn(&Summary) -> String| {
            let values = self.runs.iter().map(|(_, summary)| value(summary));
            std::iter::once(title.to_string()).chain(values).collect()
        };
        writeln!(out)?;
        if self.keys.is_empty() {
            writeln!(out, "The configurations are the same.")?;
        } else {
            let mut rows = vec![titles("difference")];
            for key in &self.keys {
                rows.push(row(key, &|summary| {
                    let value = summary.config.get(*key);
                    value.map_or(UNKNOWN.into(), Json::to_string)
                }));
            }
            print_table(out, &rows)?;
        }
        writeln!(out)?;
        let best = |summary: &Summary, of: &dyn Fn(&BestStep) -> Option<String>| {
            summary.best.as_ref().and_then(of).unwrap_or(UNKNOWN.into())
        };
        let mut rows = vec![titles("best step")];
        rows.push(row("step", &|summary| {
            best(summary, &|best| Some(best.step.to_string()))
        }));
        let measured = self
            .runs
            .iter()
            .filter_map(|(_, summary)| summary.best.as_ref());
        for name in all_keys(measured.map(|best| &best.metrics)) {
            rows.push(row(name, &|summary| {
                best(summary, &|best| {
                    Some(number(best.metrics.get(name)?.as_f64(), 4))
                })
            }));
        }
        Ok(print_table(out, &rows)?)
    }
}

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or(UNKNOWN.into(), |value| match value.abs() {
        size if size >= 1e12 => format!("{value:.3e}"),
        _ => format!("{value:.digits$}"),
    })
}

fn ago(time: SystemTime) -> String {
    // The clock may have been set back.
    let elapsed = time.elapsed().unwrap_or_default();
    match elapsed.as_secs() / 86_400 {
        0 | 1 => format!("{} ago", duration(elapsed)),
        days => format!("{days} days ago"),
    }
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn a_pattern_fits_names() {
        for (name, pattern, fitting) in [
            ("lr-1", "lr-*", true),
            ("lr-", "lr-*", true),
            ("a-lr-1", "lr-*", false),
            ("a-lr-1", "*lr*", true),
            ("run-12", "run-?", false),
            ("run-1", "run-?", true),
            ("aaaaaaaaaaaaaaaaaaaaaaaab", "*a*a*a*a*a*a*a*c", false),
            ("", "*", true),
            ("x", "", false),
        ] {
            assert_eq!(fits(name, pattern), fitting, "{name} {pattern}");
        }
    }
}
