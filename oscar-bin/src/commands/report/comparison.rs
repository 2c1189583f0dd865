//! Several runs on one page: what sets them apart, their best steps, and their curves over each other.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use oscar_datasets::draw::color;
use serde_json::Value as Json;

use super::curves::{self, Curve, draw_compared, number};
use super::page::{POLICY, STYLE};
use crate::run_dir::{Summary, all_keys, differing_keys};

/// A run of the comparison.
struct Compared {
    name: String,
    summary: Summary,
    curves: Vec<Curve>,
    color: [u8; 3],
}

/// The page of the runs in these directories.
///
/// # Errors
/// If one of them is not a run, or its files cannot be read.
pub fn page(runs: &[PathBuf]) -> Result<String> {
    let read = |(at, run): (usize, &PathBuf)| {
        let what = || format!("cannot report on {}", run.display());
        Ok(Compared {
            name: name_in(run, runs),
            summary: Summary::read(run).with_context(what)?,
            curves: curves::read(run).with_context(what)?,
            color: color(at),
        })
    };
    let runs = runs.iter().enumerate().map(read);
    let runs = runs.collect::<Result<Vec<_>>>()?;
    let mut names: Vec<&str> = Vec::new();
    for curve in runs.iter().flat_map(|run| &run.curves) {
        if !names.contains(&&*curve.name) {
            names.push(&curve.name);
        }
    }
    let mut drawings = Vec::new();
    for name in names {
        let drawn = runs.iter().map(|run| {
            let curve = run.curves.iter().find(|curve| curve.name == name);
            (curve, run.color)
        });
        drawings.push((name, draw_compared(name, &drawn.collect::<Vec<_>>())?));
    }
    let title = runs
        .iter()
        .map(|run| &*run.name)
        .collect::<Vec<_>>()
        .join(" · ");
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " · Oscar-rs" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header { h1 { (title) } (overview(&runs)) }
                main {
                    (differences(&runs))
                    section {
                        h2 { "Curves" }
                        p.note { (legend(&runs)) "thin: training; thick, with a dot for each: validation; by step" }
                        div.curves {
                            @for (name, svg) in &drawings {
                                figure { figcaption { (name) } (PreEscaped(svg)) }
                            }
                        }
                    }
                }
            }
        }
    };
    Ok(page.into_string())
}

/// The last component of a run's path, or all of it if another run has the same.
fn name_in(run: &Path, runs: &[PathBuf]) -> String {
    let last = |run: &Path| run.file_name().map(std::ffi::OsStr::to_owned);
    let alike = runs.iter().filter(|other| last(other) == last(run)).count();
    match last(run) {
        Some(name) if alike == 1 => name.to_string_lossy().into_owned(),
        _ => run.display().to_string(),
    }
}

fn legend(runs: &[Compared]) -> Markup {
    html! {
        @for run in runs {
            @let [r, g, b] = run.color;
            span style=(format!("color:rgb({r},{g},{b});font-weight:600")) { (run.name) } " · "
        }
    }
}

/// Recipe, progress and best step of each run.
fn overview(runs: &[Compared]) -> Markup {
    let measured = runs.iter().filter_map(|run| run.summary.best.as_ref());
    let metrics = all_keys(measured.map(|best| &best.metrics));
    let metric = |run: &Compared, name: &str| {
        let best = run.summary.best.as_ref();
        best.and_then(|best| best.metrics.get(name)?.as_f64())
    };
    let row = |title: &str, value: &dyn Fn(&Compared) -> Option<String>| {
        html! {
            tr { th { (title) } @for run in runs { td { (value(run).unwrap_or("–".into())) } } }
        }
    };
    html! {
        table.differences {
            (row("run", &|run| Some(run.name.clone())))
            (row("recipe", &|run| run.summary.recipe.clone()))
            (row("step", &|run| Some(run.summary.step.to_string())))
            (row("training loss", &|run| run.summary.loss.map(number)))
            (row("best checkpoint, step", &|run| Some(run.summary.best.as_ref()?.step.to_string())))
            @for name in metrics {
                (row(&format!("— {name}"), &|run| metric(run, name).map(number)))
            }
            (row("samples/s", &|run| run.summary.samples_per_second.map(number)))
        }
    }
}

/// The keys of the configurations that differ.
fn differences(runs: &[Compared]) -> Markup {
    let configs: Vec<_> = runs.iter().map(|run| &run.summary.config).collect();
    let keys = differing_keys(&configs);
    html! {
        section id="configuration" {
            h2 { "Configuration" }
            @if keys.is_empty() {
                p.note { "The configurations are the same." }
            } @else {
                table.differences {
                    tr { th { "difference" } @for run in runs { th { (run.name) } } }
                    @for key in keys {
                        tr {
                            td { (key) }
                            @for run in runs {
                                td { (run.summary.config.get(key).map_or("–".into(), Json::to_string)) }
                            }
                        }
                    }
                }
            }
        }
    }
}
