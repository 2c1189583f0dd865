//! The page: one file that loads nothing else.

use std::path::Path;

use anyhow::Result;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use oscar_pretraining::{Probed, Share};
use oscar_task::explain::Exhibit;
use serde_json::Value as Json;

use super::curves::{Curve, number};
use super::differences::Difference;
use super::example::exhibit;
use super::gallery::Gallery;
use super::map::{Kind, Map};
use crate::run_dir::{State, Summary};
use crate::sight;

pub const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Statistics of the machine rather than of the model.
const OF_THE_MACHINE: &[&str] = &["Samples/s", "Tokens/s"];

/// What the page may load: nothing but what is in it.
pub const POLICY: &str = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; \
                      script-src 'unsafe-inline'";

/// What a page shows.
pub struct Report<'a> {
    pub name: &'a str,
    pub task: Option<&'a str>,
    /// The weights that were run.
    pub weights: Option<&'a Path>,
    /// `None` if the recipe is not known.
    pub differences: Option<Vec<Difference>>,
    pub summary: &'a Summary,
    pub curves: &'a [Curve],
    pub exhibits: &'a [Exhibit],
    pub map: Option<Map>,
    /// What a pre-trained model reads from images and tags.
    pub probed: Option<Probed>,
}

impl Report<'_> {
    pub fn render(&self, gallery: &mut Gallery) -> Result<String> {
        let exhibits = self.exhibits.iter().map(|shown| exhibit(shown, gallery));
        let exhibits = exhibits.collect::<Result<Vec<_>>>()?;
        let curves = self.curves.iter().map(|curve| Ok((curve, curve.draw()?)));
        let curves = curves.collect::<Result<Vec<_>>>()?;
        let layers = self
            .exhibits
            .iter()
            .flat_map(|exhibit| &exhibit.explanation.sequences);
        let layers = layers
            .map(|sequence| sequence.attention.len())
            .max()
            .unwrap_or(0);
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta http-equiv="Content-Security-Policy" content=(POLICY);
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    title { (self.name) " · Oscar-rs" }
                    style { (PreEscaped(sight::STYLE)) (PreEscaped(STYLE)) }
                }
                body {
                    header {
                        h1 { (self.name) }
                        (self.overview())
                    }
                    main {
                        (drawings("Curves", &curves, false))
                        @if let Some(probed) = &self.probed { (grounding(probed)) }
                        @if !exhibits.is_empty() { (self.gallery(&exhibits, layers)) }
                        @if let Some(map) = &self.map { (self::map(map)) }
                        (drawings("Speed", &curves, true))
                        (self.configuration())
                    }
                    script { (PreEscaped(sight::SCRIPT)) (PreEscaped(SCRIPT)) }
                }
            }
        };
        Ok(page.into_string())
    }

    fn overview(&self) -> Markup {
        let run = self.summary;
        let state = match run.state {
            State::Done => "done",
            State::Running => "running",
            State::Stopped => "stopped",
        };
        let of = run.steps.map_or(String::new(), |all| format!(" of {all}"));
        let curve = |name: &str| self.curves.iter().find(|curve| curve.name == name);
        let speed = |name| curve(name).and_then(Curve::median).map(number);
        let metrics = run.best.iter().flat_map(|best| &best.metrics);
        html! {
            table.summary {
                (row("task", self.task))
                (row("recipe", run.recipe.as_deref()))
                (row("state", Some(format!("{state}, step {}{of}", run.step))))
                (row("training loss", run.loss.map(|loss| format!("{loss:.4}"))))
                (row("best", run.best.as_ref().map(|best| format!("{} {:.4} at step {}", best.by, best.value, best.step))))
                @for (name, value) in metrics {
                    (row(&format!("— {name}"), value.as_f64().map(|value| format!("{value:.4}"))))
                }
                (row("samples/s, median", speed("Samples/s")))
                (row("tokens/s, median", speed("Tokens/s")))
                (row("weights", self.weights.map(|path| path.display().to_string())))
            }
        }
    }

    fn gallery(&self, exhibits: &[Markup], layers: usize) -> Markup {
        let sights = self
            .exhibits
            .iter()
            .flat_map(|exhibit| &exhibit.explanation.sequences);
        let mut tokens = sights.flat_map(|sight| &sight.tokens);
        let masked = tokens.any(|token| token.masked.is_some());
        html! {
            section id="examples" {
                h2 { "Held-out examples" }
                p.note {
                    "Point at a word or a region to shade the others by its attention to them (mean of the \
                     heads, relative to the strongest word and the strongest region). Click to pin it, and \
                     move between words with the arrow keys."
                    @if masked {
                        " Masked words show the best prediction, green if it is correct; point at one for the others."
                    }
                }
                @if layers > 0 {
                    label { "layer "
                        select id="layer" {
                            @for layer in 0..layers {
                                option value=(layer) selected[layer + 1 == layers] { (layer + 1) }
                            }
                        }
                    }
                }
                div.exhibits { @for exhibit in exhibits { (exhibit) } }
            }
        }
    }

    fn configuration(&self) -> Markup {
        html! {
            section id="configuration" {
                h2 { "Configuration" }
                @match &self.differences {
                    None => { p.note { "The recipe of this run is not available, so there is no comparison." } }
                    Some(none) if none.is_empty() => { p.note { "No changes from the recipe." } }
                    Some(differences) => {
                        table.differences {
                            tr { th { "difference" } th { "recipe" } th { "this run" } }
                            @for difference in differences {
                                tr {
                                    td { (difference.key) }
                                    td { (value(&difference.recipe)) }
                                    td { (value(&difference.run)) }
                                }
                            }
                        }
                    }
                }
                details { summary { "Full config.toml" } pre { (self.summary.config_text) } }
            }
        }
    }
}

fn row(name: &str, value: Option<impl AsRef<str>>) -> Markup {
    html! {
        @if let Some(value) = value { tr { th { (name) } td { (value.as_ref()) } } }
    }
}

fn value(value: &Option<Json>) -> String {
    value.as_ref().map_or("–".into(), Json::to_string)
}

/// How much of what the model says comes from regions and tags.
fn grounding(probed: &Probed) -> Markup {
    let share = |share: Share| {
        let [low, high] = share.interval;
        format!("{:.3}  [{low:.3}, {high:.3}]", share.share)
    };
    let gain = probed.own_image.share - probed.other_image.share;
    // Where another image's tags change less than the interval is wide, they are not used.
    let tags = probed.other_tags.map(|other| {
        let lost = probed.own_image.share - other.share;
        let [low, high] = probed.own_image.interval;
        match lost > high - low {
            true => "Another image\u{2019}s tags cost accuracy: the model uses the tags.",
            false => {
                "Another image\u{2019}s tags hardly change the accuracy: beside regions, the model \
                 does not use the tags."
            }
        }
    });
    html! {
        section id="grounding" {
            h2 { "What is read from the image" }
            p.note {
                "Accuracy on " (probed.own_image.of) " masked words of " (probed.own_image.groups)
                " held-out captions, with 95 % intervals. The difference between the own and another \
                 image is what the model reads from images: " (format!("{gain:+.3}")) ". "
                @if let Some(tags) = tags { (tags) }
            }
            table.summary {
                (row("own regions and tags", Some(share(probed.own_image))))
                (row("those of another image", Some(share(probed.other_image))))
                (row("own regions, no tags", probed.without_tags.map(share)))
                (row("own regions, tags of another image", probed.other_tags.map(share)))
                (row("regions of another image, own tags", probed.other_regions.map(share)))
                (row("accuracy of the contrastive head", Some(share(probed.relation))))
            }
        }
    }
}

fn drawings(title: &str, curves: &[(&Curve, String)], of_the_machine: bool) -> Markup {
    let of_this = |curve: &Curve| OF_THE_MACHINE.contains(&&*curve.name) == of_the_machine;
    let shown: Vec<_> = curves.iter().filter(|(curve, _)| of_this(curve)).collect();
    html! {
        @if !shown.is_empty() {
            section {
                h2 { (title) }
                @let validated = shown.iter().any(|(curve, _)| !curve.valid.is_empty());
                p.note {
                    span.train { "training" }
                    @if validated { " " span.valid { "validation" } }
                    ", by step"
                }
                div.curves {
                    @for (curve, svg) in shown {
                        figure { figcaption { (curve.name) } (PreEscaped(svg)) }
                    }
                }
            }
        }
    }
}

fn map(map: &Map) -> Markup {
    let hue = |class: usize| class * 360 / map.classes.len().max(1);
    let name = |kind| match kind {
        Kind::Word => "word",
        Kind::Tag => "tag",
        Kind::Region => "region",
    };
    html! {
        section id="map" {
            h2 { "Words and regions" }
            p.note {
                "Last hidden states of regions (squares), of the words of the text that name their class \
                 (discs) and of tags (rings), in two dimensions by t-SNE of cosine distances. The model \
                 aligns words or tags with regions where their cosine with regions of their own class, \
                 below, is above that with other classes. "
                @for (kind, own, other) in &map.likeness {
                    @match own > other {
                        true => { "Here it does for " (name(*kind)) "s. " }
                        false => { "Here it does not for " (name(*kind)) "s. " }
                    }
                }
            }
            div.map {
                svg viewBox="-20 -20 740 740" {
                    @for point in &map.points {
                        @let [x, y] = point.at.map(|at| at * 700.0);
                        @let color = format!("--hue:{}", hue(point.class));
                        g.point.{ "of-" (name(point.kind)) } style=(color) {
                            title { (map.classes[point.class]) ", " (name(point.kind)) }
                            @match point.kind {
                                Kind::Region => rect x=(x - 4.0) y=(y - 4.0) width="8" height="8" {},
                                _ => circle cx=(x) cy=(y) r="5" {},
                            }
                        }
                    }
                }
                ul.legend {
                    @for (class, name) in map.classes.iter().enumerate() {
                        li { span style=(format!("--hue:{}", hue(class))) {} (name) }
                    }
                }
            }
            table.summary {
                @for (kind, own, other) in &map.likeness {
                    (row(&format!("cosine of a {} with regions of its class", name(*kind)), Some(format!("{own:.3}"))))
                    (row("— with regions of other classes", Some(format!("{other:.3}"))))
                }
            }
        }
    }
}
