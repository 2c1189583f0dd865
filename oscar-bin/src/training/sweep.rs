//! One run for each value of a key, and their comparison: `--sweep optimizer.learning_rate=1e-4,3e-4`.

use std::path::Path;

use anyhow::{Result, bail};

use super::args::RunArgs;
use super::processes;
use crate::commands::runs::{self, RunsArgs};
use crate::ending::Ending;

/// A key and the values that it takes, as they are written.
#[derive(Debug, PartialEq, Eq)]
struct Axis {
    key: String,
    values: Vec<String>,
}

/// A run of a sweep.
#[derive(Debug, PartialEq, Eq)]
struct Point {
    name: String,
    /// What it sets.
    sets: Vec<String>,
}

/// Trains once as `args` say, or, of a sweep, once for each combination of its values, one after the
/// other, and compares the runs. A sweep that is started again resumes. `check` checks the settings of a
/// run without starting it: none is trained for hours before the value of another is found to be wrong.
///
/// # Errors
/// Whatever ends the training; of a sweep, if a value is wrong or some of its runs fail, after the
/// others.
pub fn over(
    args: &RunArgs,
    check: impl Fn(&RunArgs) -> Result<()>,
    train: impl Fn(&RunArgs) -> Result<Ending>,
) -> Result<Ending> {
    if args.sweep.is_empty() {
        return train(args);
    }
    if processes::are_several() {
        bail!("--sweep: a sweep is run by one process; start each of its runs by itself");
    }
    let axes: Vec<Axis> = args
        .sweep
        .iter()
        .map(|text| Axis::parse(text))
        .collect::<Result<_>>()?;
    refuse_contradictions(args, &axes)?;
    let points = points(&stem(args), &axes)?;
    points.iter().try_for_each(|point| check(&point.of(args)))?;
    let (mut done, mut failed) = (Vec::new(), Vec::new());
    for (number, point) in points.iter().enumerate() {
        tracing::info!(
            "run {} of {}: {}, {}",
            number + 1,
            points.len(),
            point.name,
            point.sets.join(", ")
        );
        let directory = args.runs_dir.join(&point.name);
        match train(&point.of(args)) {
            Ok(Ending::Done) => done.push(point.name.clone()),
            Ok(ending) => return Ok(ending),
            // What keeps a run from starting is the same for all.
            Err(error) if !directory.exists() => return Err(error),
            Err(error) => {
                tracing::warn!("run {} failed: {error:#}", point.name);
                failed.push(point.name.as_str());
            }
        }
    }
    if !done.is_empty() {
        runs::run(&RunsArgs {
            names: done,
            runs_dir: args.runs_dir.clone(),
            json: false,
        })?;
    }
    match failed.is_empty() {
        true => Ok(Ending::Done),
        false => bail!(
            "{} of {} runs failed: {}",
            failed.len(),
            points.len(),
            failed.join(", ")
        ),
    }
}

/// Refuses a key that would not have the value that its run is named for.
fn refuse_contradictions(args: &RunArgs, axes: &[Axis]) -> Result<()> {
    // What these flags set comes after all other settings.
    let flags = [
        ("--steps", "train.steps", args.steps.is_some()),
        ("--seed", "train.seed", args.seed.is_some()),
        ("--init", "init.checkpoint", args.init.is_some()),
        (
            "--precision",
            "train.precision",
            args.device.precision.is_some(),
        ),
    ];
    for (at, Axis { key, .. }) in axes.iter().enumerate() {
        if axes[..at].iter().any(|other| other.key == *key) {
            bail!("--sweep {key} is given twice; give all of its values in one");
        }
        let flag = flags.iter().find(|(_, of, given)| *given && of == key);
        if let Some((flag, ..)) = flag {
            bail!("{flag} sets {key} for all runs, and --sweep for each; leave out one of them");
        }
    }
    Ok(())
}

/// What the names of the runs begin with.
fn stem(args: &RunArgs) -> String {
    let recipe = args.config.as_deref().map(Path::new);
    let recipe = recipe.and_then(|path| path.file_stem()?.to_str().map(String::from));
    args.name.clone().or(recipe).unwrap_or("sweep".into())
}

impl Point {
    /// The arguments of this run alone.
    fn of(&self, args: &RunArgs) -> RunArgs {
        let directory = args.runs_dir.join(&self.name);
        RunArgs {
            sweep: Vec::new(),
            sets: [&args.sets[..], &self.sets].concat(),
            name: Some(self.name.clone()),
            resume: directory.join("checkpoint").exists(),
            ..args.clone()
        }
    }
}

impl Axis {
    fn parse(text: &str) -> Result<Self> {
        let (key, values) = text.split_once('=').unwrap_or((text, ""));
        let (key, values) = (key.trim(), split(values));
        if key.is_empty() || values.iter().any(String::is_empty) {
            bail!("--sweep {text}: expected KEY=VALUE,VALUE,…");
        }
        let repeated = (1..values.len()).find(|at| values[..*at].contains(&values[*at]));
        if let Some(at) = repeated {
            bail!("--sweep {text}: the value {} is given twice", values[at]);
        }
        Ok(Self {
            key: key.into(),
            values,
        })
    }
}

/// The values of a list, whose commas within brackets and quotes separate nothing.
fn split(list: &str) -> Vec<String> {
    let (mut values, mut depth, mut quote) = (vec![String::new()], 0_usize, None);
    for c in list.chars() {
        match (quote, c) {
            (None, ',') if depth == 0 => {
                values.push(String::new());
                continue;
            }
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), _) if c == open => quote = None,
            (None, '[' | '{') => depth += 1,
            (None, ']' | '}') => depth = depth.saturating_sub(1),
            _ => {}
        }
        if let Some(last) = values.last_mut() {
            last.push(c);
        }
    }
    values.iter().map(|value| value.trim().into()).collect()
}

/// All combinations of the values, those of the last key next to each other.
///
/// # Errors
/// If two would have one name.
fn points(stem: &str, axes: &[Axis]) -> Result<Vec<Point>> {
    let mut points = vec![Point {
        name: stem.into(),
        sets: Vec::new(),
    }];
    for axis in axes {
        let short = axis.key.rsplit('.').next().unwrap_or(&axis.key);
        let with = |point: &Point, value: &String| Point {
            name: format!("{}-{short}-{}", point.name, plain(value)),
            sets: [&point.sets[..], &[format!("{}={value}", axis.key)]].concat(),
        };
        points = points
            .iter()
            .flat_map(|point| axis.values.iter().map(move |value| with(point, value)))
            .collect();
    }
    for (at, point) in points.iter().enumerate() {
        if points[..at].iter().any(|other| other.name == point.name) {
            bail!(
                "--sweep: two runs would be named {}; give the values in shorter words",
                point.name
            );
        }
    }
    Ok(points)
}

/// A value as a part of a directory's name.
fn plain(value: &str) -> String {
    let keep = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '+' | '_');
    value.chars().filter(|c| keep(*c)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_is_a_run_of_its_own() {
        let axes = ["optimizer.learning_rate=1e-4, 3e-4", "train.seed=1,2"];
        let axes: Vec<Axis> = axes.iter().map(|text| Axis::parse(text).unwrap()).collect();
        let points = points("vqa", &axes).unwrap();
        let names: Vec<&str> = points.iter().map(|point| point.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "vqa-learning_rate-1e-4-seed-1",
                "vqa-learning_rate-1e-4-seed-2",
                "vqa-learning_rate-3e-4-seed-1",
                "vqa-learning_rate-3e-4-seed-2",
            ]
        );
        assert_eq!(
            points[1].sets,
            ["optimizer.learning_rate=1e-4", "train.seed=2"]
        );
    }

    #[test]
    fn lists_and_texts_keep_their_commas() {
        let axis = Axis::parse(r#"a.b=[1, 2],"x,y",{c = [3, 4]}"#).unwrap();
        assert_eq!(axis.values, ["[1, 2]", "\"x,y\"", "{c = [3, 4]}"]);
    }

    #[test]
    fn sweeps_that_are_wrong_are_refused() {
        for wrong in ["a", "a=", "=1,2", "a=1,,2", "a=1,2,1"] {
            assert!(Axis::parse(wrong).is_err(), "{wrong}");
        }
        let slashes = Axis::parse("data=a/b,ab").unwrap();
        assert!(points("r", &[slashes]).is_err());
    }
}
