//! Examples as HTML: pictures with regions, words, predictions and attention.

use std::collections::BTreeMap;

use anyhow::Result;
use maud::{Markup, html};
use oscar_datasets::draw::color;
use oscar_task::Answer;
use oscar_task::explain::{Exhibit, Explanation, Inspected, Region, Segment, Token};

use super::gallery::Gallery;
use super::map::class_of;

/// With more regions than this, only attended ones are labelled.
const NAMED: usize = 14;
/// Width of a picture in the page's own pixels.
const WIDTH: f32 = 360.0;
/// Colour of a region of unknown class.
const UNNAMED: [u8; 3] = [110, 110, 110];
/// Of an image of unknown size.
const UNKNOWN: (u32, u32) = (400, 300);

/// One example.
pub fn exhibit(exhibit: &Exhibit, gallery: &mut Gallery) -> Result<Markup> {
    let Explanation { answers, sequences } = &exhibit.explanation;
    let sequences = sequences.iter().map(|shown| sequence(shown, gallery));
    let sequences = sequences.collect::<Result<Vec<_>>>()?;
    let right = |answer: &Answer| exhibit.truth.contains(&answer.text);
    Ok(html! {
        article.exhibit {
            @for sequence in sequences { (sequence) }
            @if !answers.is_empty() {
                table.answers {
                    @for answer in answers {
                        tr.right[right(answer)] {
                            td.bar { span style=(bar(answer.score)) {} }
                            td.number { (format!("{:.3}", answer.score)) }
                            td { (answer.text) }
                        }
                    }
                }
            }
            @if !exhibit.truth.is_empty() {
                p.truth { "correct: " (exhibit.truth.join(" · ")) }
            }
            p.origin { (exhibit.origin) }
        }
    })
}

fn bar(share: f32) -> String {
    format!("width:{:.1}%", share.clamp(0.0, 1.0) * 100.0)
}

/// One sequence. Its positions are numbered through tokens and regions: `data-at`.
fn sequence(sequence: &Inspected, gallery: &mut Gallery) -> Result<Markup> {
    let mut images: BTreeMap<&str, Vec<(usize, &Region)>> = BTreeMap::new();
    for (at, region) in sequence.regions.iter().enumerate() {
        let at = sequence.tokens.len() + at;
        images.entry(&region.image).or_default().push((at, region));
    }
    let pictures = images
        .iter()
        .map(|(key, regions)| picture(key, regions, gallery));
    let pictures = pictures.collect::<Result<Vec<_>>>()?;
    let layers = sequence.attention.len();
    let attention = quantised(sequence);
    Ok(html! {
        div.sight data-positions=(sequence.len()) data-layers=(layers) data-attention=(attention) {
            @for picture in pictures { (picture) }
            div.words {
                p.text { (tokens(sequence, |segment| segment != Segment::Tags)) }
                @if sequence.tokens.iter().any(|token| token.segment == Segment::Tags) {
                    p.tags { (tokens(sequence, |segment| segment == Segment::Tags)) }
                }
            }
        }
    })
}

fn tokens(sequence: &Inspected, wanted: impl Fn(Segment) -> bool) -> Markup {
    let all = sequence.tokens.iter().enumerate();
    html! {
        @for (at, shown) in all.filter(|(_, token)| wanted(token.segment)) { (token(at, shown)) " " }
    }
}

fn token(at: usize, token: &Token) -> Markup {
    let kind = match (&token.masked, token.segment) {
        (Some(_), _) => "masked",
        (None, Segment::Special) => "special",
        (None, _) => "plain",
    };
    html! {
        span.token.(kind) data-at=(at) tabindex="0" {
            @match &token.masked {
                None => { (token.text) }
                Some((truth, guesses)) => {
                    @let hit = guesses.first().is_some_and(|(guess, _)| guess == truth);
                    span.guess.hit[hit].miss[!hit] { (guesses.first().map_or("", |(guess, _)| guess)) }
                    span.guesses {
                        "masked: " b { (truth) }
                        @for (guess, probability) in guesses {
                            br; (format!("{probability:.3}  ")) (guess)
                        }
                    }
                }
            }
        }
    }
}

/// A picture with boxes, as one drawing whose unit is the picture's pixel.
fn picture(key: &str, regions: &[(usize, &Region)], gallery: &mut Gallery) -> Result<Markup> {
    let image = gallery.find(key)?;
    let picture = match &image {
        Some(image) => gallery.picture(key, image)?,
        None => None,
    };
    let size = image.as_ref().map(|image| image.size);
    let (width, height) = size
        .filter(|size| size.0 > 0 && size.1 > 0)
        .unwrap_or(UNKNOWN);
    let scale = width as f32 / WIDTH;
    let class = |region| image.as_ref().and_then(|image| class_of(region, image));
    let mut classes: Vec<&str> = image
        .iter()
        .flat_map(|image| &image.tags)
        .map(|tag| &*tag.class)
        .collect();
    classes.sort_unstable();
    classes.dedup();
    let of_class = |name| classes.binary_search(&name).map_or(UNNAMED, color);
    let mut boxes: Vec<(f32, Markup)> = Vec::new();
    for (at, region) in regions {
        let Some([x1, y1, x2, y2]) = region.in_pixels((width, height)) else {
            continue;
        };
        let name = class(region);
        let [r, g, b] = name.map_or(UNNAMED, of_class);
        let drawn = html! {
            g.region data-at=(at) style=(format!("color:rgb({r},{g},{b})")) {
                title { "region " (at) " " (name.unwrap_or_default()) }
                rect x=(x1) y=(y1) width=((x2 - x1).max(0.0)) height=((y2 - y1).max(0.0))
                    stroke-width=(2.0 * scale) {}
                @if let Some(name) = name {
                    text x=(x1 + 2.0 * scale) y=(y1 - 3.0 * scale) font-size=(11.0 * scale) { (name) }
                }
            }
        };
        boxes.push(((x2 - x1) * (y2 - y1), drawn));
    }
    // Small boxes over large ones, so that each can be pointed at.
    boxes.sort_by(|a, b| b.0.total_cmp(&a.0));
    let many = regions.len() > NAMED;
    Ok(html! {
        figure {
            svg.picture.many[many] viewBox=(format!("{} {} {} {}", 0, -14.0 * scale, width, height as f32 + 14.0 * scale)) {
                @match &picture {
                    Some((kind, bytes)) => {
                        @let data = base64_simd::STANDARD.encode_to_string(bytes);
                        image width=(width) height=(height) preserveAspectRatio="none"
                            href=(format!("data:{kind};base64,{data}")) {}
                    }
                    None => { rect.blank width=(width) height=(height) {} }
                }
                @for (_, drawn) in boxes { (drawn) }
            }
            figcaption { (key) @if picture.is_none() { " (no picture found)" } }
        }
    })
}

/// Attention as base64 of bytes: for each layer and position, relative to its strongest, times 255.
fn quantised(sequence: &Inspected) -> String {
    let positions = sequence.len().max(1);
    let mut bytes = Vec::with_capacity(sequence.attention.len() * positions * positions);
    for row in sequence
        .attention
        .iter()
        .flat_map(|layer| layer.chunks(positions))
    {
        let strongest = row.iter().copied().fold(f32::MIN_POSITIVE, f32::max);
        bytes.extend(
            row.iter()
                .map(|value| (value / strongest * 255.0).round() as u8),
        );
    }
    base64_simd::STANDARD.encode_to_string(&bytes)
}
