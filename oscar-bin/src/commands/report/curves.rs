//! Metrics by step, as SVG drawings.

use std::path::Path;

use anyhow::{Result, anyhow};
use oscar_train::LOSS;
use plotters::prelude::*;
use serde_json::{Map, Value as Json};

use crate::run_dir::read_log;

/// Most points of a curve; neighbours are averaged to stay below.
const POINTS: usize = 300;

const SIZE: (u32, u32) = (440, 250);
const TRAINING: RGBColor = RGBColor(110, 150, 200);
const VALIDATION: RGBColor = RGBColor(200, 60, 40);

/// One statistic of a run.
#[derive(Default)]
pub struct Curve {
    pub name: String,
    /// Step and value.
    pub train: Vec<(f64, f64)>,
    pub valid: Vec<(f64, f64)>,
}

/// Reads the curves of a run: the loss, other losses, then the rest, by name.
pub fn read(run: &Path) -> Result<Vec<Curve>> {
    let mut curves: Vec<Curve> = Vec::new();
    read_log(run, |line| {
        let values: Map<String, Json> = serde_json::from_slice(line)?;
        let Some(step) = values.get("step").and_then(Json::as_f64) else {
            return Ok(());
        };
        let train = values.get("split").and_then(Json::as_str) == Some("train");
        for (name, value) in &values {
            let Some(value) = value.as_f64().filter(|_| name != "step") else {
                continue;
            };
            let at = curves.iter().position(|curve| curve.name == *name);
            let at = at.unwrap_or_else(|| {
                curves.push(Curve {
                    name: name.clone(),
                    ..Curve::default()
                });
                curves.len() - 1
            });
            match train {
                true => curves[at].train.push((step, value)),
                false => curves[at].valid.push((step, value)),
            }
        }
        Ok(())
    })?;
    let rank = |name: &str| (name != LOSS, !name.to_lowercase().contains("loss"));
    curves.sort_by(|a, b| (rank(&a.name), &a.name).cmp(&(rank(&b.name), &b.name)));
    Ok(curves)
}

impl Curve {
    /// Median of the training values.
    pub fn median(&self) -> Option<f64> {
        let mut values: Vec<f64> = self.train.iter().map(|(_, value)| *value).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    }

    /// An SVG document.
    pub fn draw(&self) -> Result<String> {
        let mut svg = String::new();
        self.draw_into(&mut svg)
            .map_err(|error| anyhow!("cannot draw the curve of {}: {error}", self.name))?;
        Ok(svg)
    }

    fn draw_into(&self, svg: &mut String) -> Result<(), Box<dyn std::error::Error>> {
        let train = thinned(&self.train);
        let all = || train.iter().chain(&self.valid);
        let (low, high) = range(all().map(|(_, value)| *value));
        let last = all().map(|(step, _)| *step).fold(1.0, f64::max);
        let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
        let mut chart = ChartBuilder::on(&area)
            .margin(6)
            .margin_right(14)
            .x_label_area_size(24)
            .y_label_area_size(52)
            .build_cartesian_2d(0.0..last, low..high)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .x_labels(5)
            .y_labels(5)
            .x_label_formatter(&|step| format!("{step:.0}"))
            .y_label_formatter(&|value| number(*value))
            .draw()?;
        chart.draw_series(LineSeries::new(train, &TRAINING))?;
        let line = VALIDATION.stroke_width(2);
        chart.draw_series(LineSeries::new(self.valid.iter().copied(), line))?;
        let points = self.valid.iter();
        chart.draw_series(points.map(|at| Circle::new(*at, 3, VALIDATION.filled())))?;
        area.present()?;
        Ok(())
    }
}

/// A number as an axis shows it.
pub fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        size if size >= 1e6 => format!("{:.1} M", value / 1e6),
        size if size >= 1000.0 => format!("{:.1} k", value / 1e3),
        size if size >= 10.0 => format!("{value:.0}"),
        size if size >= 0.01 => format!("{value:.3}"),
        _ => format!("{value:.1e}"),
    }
}

/// From below the least to above the greatest finite value.
fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let finite = values.filter(|value| value.is_finite());
    let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(value), high.max(value))
    });
    if low > high {
        return (0.0, 1.0);
    }
    let margin = match high - low {
        0.0 => high.abs().max(1e-9) * 0.1,
        spread => spread * 0.05,
    };
    (low - margin, high + margin)
}

/// Means of neighbours, if there are more points than can be seen.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let finite: Vec<_> = points
        .iter()
        .filter(|(_, value)| value.is_finite())
        .collect();
    let each = finite.len().div_ceil(POINTS).max(1);
    let mean = |bucket: &[&(f64, f64)]| {
        let count = bucket.len() as f64;
        let sum = bucket
            .iter()
            .fold((0.0, 0.0), |sum, at| (sum.0 + at.0, sum.1 + at.1));
        (sum.0 / count, sum.1 / count)
    };
    finite.chunks(each).map(mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_points_are_averaged_and_nan_is_skipped() {
        let mut points: Vec<(f64, f64)> = (0..1000).map(|at| (at as f64, 1.0)).collect();
        points[17].1 = f64::NAN;
        let thinned = thinned(&points);
        assert_eq!(thinned.len(), 999_usize.div_ceil(4));
        assert!(thinned.iter().all(|(_, value)| *value == 1.0));
    }

    #[test]
    fn curves_of_one_value_or_of_none_can_be_drawn() {
        for train in [vec![], vec![(1.0, 2.0)], vec![(1.0, 0.0), (2.0, 0.0)]] {
            let curve = Curve {
                name: "Loss".into(),
                train,
                valid: vec![(2.0, f64::INFINITY)],
            };
            assert!(curve.draw().expect("a drawing").starts_with("<svg"));
        }
    }
}
