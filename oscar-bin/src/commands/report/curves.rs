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
        draw(
            &self.name,
            &[
                Line::of_training(&self.train, TRAINING),
                Line::of_validation(&self.valid, VALIDATION),
            ],
        )
    }
}

/// A statistic of several runs, each in its colour: thin while training, and with a dot for each
/// validation.
pub fn draw_compared(name: &str, runs: &[(Option<&Curve>, [u8; 3])]) -> Result<String> {
    let drawn = runs
        .iter()
        .filter_map(|(curve, color)| Some(((*curve)?, *color)));
    let lines = drawn.flat_map(|(curve, [r, g, b])| {
        let color = RGBColor(r, g, b);
        [
            Line::of_training(&curve.train, color),
            Line::of_validation(&curve.valid, color),
        ]
    });
    draw(name, &lines.collect::<Vec<_>>())
}

/// A line of a drawing.
struct Line {
    points: Vec<(f64, f64)>,
    color: RGBColor,
    width: u32,
    /// Whether each point has a dot.
    dots: bool,
}

impl Line {
    fn of_training(points: &[(f64, f64)], color: RGBColor) -> Self {
        Self {
            points: thinned(points),
            color,
            width: 1,
            dots: false,
        }
    }

    fn of_validation(points: &[(f64, f64)], color: RGBColor) -> Self {
        Self {
            points: finite(points).copied().collect(),
            color,
            width: 2,
            dots: true,
        }
    }
}

fn draw(name: &str, lines: &[Line]) -> Result<String> {
    let mut svg = String::new();
    draw_into(&mut svg, lines)
        .map_err(|error| anyhow!("cannot draw the curve of {name}: {error}"))?;
    Ok(svg)
}

fn draw_into(svg: &mut String, lines: &[Line]) -> Result<(), Box<dyn std::error::Error>> {
    let all = || lines.iter().flat_map(|line| &line.points);
    let scale = Scale::of(all().map(|(_, value)| *value));
    let (low, high) = scale.drawn();
    let steps = Scale::from_zero(all().map(|(step, _)| *step));
    let (first, last) = steps.drawn();
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    let mut chart = ChartBuilder::on(&area)
        .margin(6)
        .margin_right(14)
        .x_label_area_size(24)
        .y_label_area_size(52)
        .build_cartesian_2d(first..last, low..high)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_labels(5)
        .y_labels(5)
        .x_label_formatter(&|step| whole(steps.value(*step)))
        .y_label_formatter(&|value| number(scale.value(*value)))
        .draw()?;
    for line in lines {
        let drawn = |(step, value): &(f64, f64)| (steps.position(*step), scale.position(*value));
        let points: Vec<(f64, f64)> = line.points.iter().map(drawn).collect();
        let style = line.color.stroke_width(line.width);
        chart.draw_series(LineSeries::new(points.iter().copied(), style))?;
        if line.dots {
            let dot = |at: &(f64, f64)| Circle::new(*at, 3, line.color.filled());
            chart.draw_series(points.iter().map(dot))?;
        }
    }
    area.present()?;
    Ok(())
}

/// A number as an axis shows it.
pub fn number(value: f64) -> String {
    let text = match value.abs() {
        0.0 => "0".into(),
        size if size >= 1e12 => format!("{value:.1e}"),
        size if size >= 1e6 => format!("{:.1} M", value / 1e6),
        size if size >= 1000.0 => format!("{:.1} k", value / 1e3),
        size if size >= 10.0 => format!("{value:.0}"),
        size if size >= 0.01 => format!("{value:.3}"),
        _ => format!("{value:.1e}"),
    };
    // `4`, not `4.000`.
    match text.contains('.') && text.ends_with('0') && !text.contains(['e', ' ']) {
        true => text.trim_end_matches('0').trim_end_matches('.').into(),
        false => text,
    }
}

/// A step as an axis shows it.
fn whole(step: f64) -> String {
    match step.abs() < 1e12 {
        true => format!("{step:.0}"),
        false => format!("{step:.1e}"),
    }
}

/// From the value at the low end of an axis to the one at its high end.
///
/// Where the ticks of such an axis could not be counted, because the difference overflows or is lost
/// between the digits, values are drawn by their share of the way, from 0 to 1.
struct Scale {
    low: f64,
    high: f64,
    by_share: bool,
}

/// Share of the range that is free above and below the curve.
const MARGIN: f64 = 0.05;

impl Scale {
    /// From below the least to above the greatest of finite `values`.
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(value), high.max(value))
        });
        if low > high {
            return Self::between(0.0, 1.0);
        }
        let margin = match high - low {
            0.0 => high.abs().max(1e-9) * 0.1,
            spread => spread * MARGIN,
        };
        match margin.is_finite() {
            true => Self::between(low - margin, high + margin),
            false => Self::between(low, high),
        }
    }

    /// From 0 to the greatest of finite `values`.
    fn from_zero(values: impl Iterator<Item = f64>) -> Self {
        Self::between(0.0, values.fold(1.0, f64::max))
    }

    fn between(low: f64, high: f64) -> Self {
        let (low, high) = (low.max(-f64::MAX), high.min(f64::MAX));
        let (spread, largest) = (high - low, low.abs().max(high.abs()));
        let countable = spread > largest * 1e-9 && (1e-200..1e200).contains(&spread);
        Self {
            low,
            high,
            by_share: !countable,
        }
    }

    /// The ends of the axis as they are drawn.
    fn drawn(&self) -> (f64, f64) {
        match self.by_share {
            true => (0.0, 1.0),
            false => (self.low, self.high),
        }
    }

    /// Where a value is drawn.
    fn position(&self, value: f64) -> f64 {
        if !self.by_share {
            return value;
        }
        // Halves, so that nothing overflows.
        let (way, all) = (
            value / 2.0 - self.low / 2.0,
            self.high / 2.0 - self.low / 2.0,
        );
        match all > 0.0 {
            true => (way / all).clamp(0.0, 1.0),
            false => 0.5,
        }
    }

    /// The value that is drawn there.
    fn value(&self, position: f64) -> f64 {
        match self.by_share {
            true => self.low * (1.0 - position) + self.high * position,
            false => position,
        }
    }
}

/// The points that can be drawn.
fn finite(points: &[(f64, f64)]) -> impl Iterator<Item = &(f64, f64)> {
    let can_be_drawn =
        |(step, value): &&(f64, f64)| step.is_finite() && *step >= 0.0 && value.is_finite();
    points.iter().filter(can_be_drawn)
}

/// Means of neighbours, if there are more points than can be seen.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let finite: Vec<_> = finite(points).collect();
    let each = finite.len().div_ceil(POINTS).max(1);
    let mean = |bucket: &[&(f64, f64)]| {
        let count = bucket.len() as f64;
        let shares = bucket.iter().map(|at| (at.0 / count, at.1 / count));
        shares.fold((0.0, 0.0), |sum, at| (sum.0 + at.0, sum.1 + at.1))
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
    fn a_curve_of_any_numbers_is_drawn() {
        let near = 1e16_f64;
        let ranges = [
            [0.0, 1e308],
            [-f64::MAX, f64::MAX],
            [0.0, 1e-320],
            [near, f64::from_bits(near.to_bits() + 1)],
            [f64::MAX, f64::MAX],
            [f64::MIN_POSITIVE, f64::MIN_POSITIVE],
            [1e300, 1e300 + 1e285],
            [f64::NEG_INFINITY, f64::NAN],
        ];
        let steps = [
            [1.0, 2.0],
            [0.0, 0.0],
            [1.0, 1e308],
            [-5.0, 3.0],
            [1e16, 1e16],
        ];
        for values in ranges {
            for steps in steps {
                let points: Vec<_> = steps.into_iter().zip(values).collect();
                let curve = Curve {
                    name: "Loss".into(),
                    train: points.clone(),
                    valid: points,
                };
                let svg = curve.draw().expect("a drawing");
                assert!(svg.len() < 50_000, "{values:?} at {steps:?}: {}", svg.len());
            }
        }
    }

    #[test]
    fn numbers_on_axes_are_short() {
        for (value, text) in [
            (4.0, "4"),
            (0.25, "0.25"),
            (12.0, "12"),
            (100.0, "100"),
            (1500.0, "1.5 k"),
            (1e308, "1.0e308"),
            (-1e-5, "-1.0e-5"),
        ] {
            assert_eq!(number(value), text);
        }
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
