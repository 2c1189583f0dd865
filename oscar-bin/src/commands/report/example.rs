//! Examples as HTML: pictures with regions, words, predictions and attention.

use std::collections::BTreeMap;

use anyhow::Result;
use maud::{Markup, PreEscaped, html};
use oscar_task::Answer;
use oscar_task::explain::{Exhibit, Explanation, Inspected, Region};
use serde::Serialize;

use super::gallery::Gallery;
use super::map::class_of;
use crate::sight::TokenDocument;

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

/// One sequence, which the page's script draws.
#[derive(Serialize)]
struct SightDocument<'a> {
    /// Tokens and regions.
    positions: usize,
    layers: usize,
    attention: String,
    tokens: Vec<TokenDocument>,
    pictures: Vec<PictureDocument<'a>>,
}

/// A picture with its regions.
#[derive(Serialize)]
struct PictureDocument<'a> {
    key: &'a str,
    /// Width and height in pixels.
    size: (u32, u32),
    /// A `data:` URL; `None` if there is no picture.
    data: Option<String>,
    regions: Vec<RegionDocument>,
}

/// A region.
#[derive(Serialize)]
struct RegionDocument {
    /// Its position, which follows those of the tokens.
    at: usize,
    /// x1, y1, x2, y2 in pixels.
    #[serde(rename = "box")]
    pixels: [f32; 4],
    name: Option<String>,
}

fn sequence(sequence: &Inspected, gallery: &mut Gallery) -> Result<Markup> {
    let mut images: BTreeMap<&str, Vec<(usize, &Region)>> = BTreeMap::new();
    for (at, region) in sequence.regions.iter().enumerate() {
        let at = sequence.tokens.len() + at;
        images.entry(&region.image).or_default().push((at, region));
    }
    let pictures = images
        .iter()
        .map(|(key, regions)| picture(key, regions, gallery));
    let document = SightDocument {
        positions: sequence.len(),
        layers: sequence.attention.len(),
        attention: quantised(sequence),
        tokens: sequence.tokens.iter().map(TokenDocument::from).collect(),
        pictures: pictures.collect::<Result<_>>()?,
    };
    // No text can end the element.
    let json = serde_json::to_string(&document)?.replace('<', "\\u003c");
    Ok(html! { div.sight { script type="application/json" { (PreEscaped(json)) } } })
}

fn picture<'a>(
    key: &'a str,
    regions: &[(usize, &Region)],
    gallery: &mut Gallery,
) -> Result<PictureDocument<'a>> {
    let image = gallery.find(key)?;
    let picture = match &image {
        Some(image) => gallery.picture(key, image)?,
        None => None,
    };
    let known = image.as_ref().map(|image| image.size);
    let size = known
        .filter(|size| size.0 > 0 && size.1 > 0)
        .unwrap_or(UNKNOWN);
    let regions = regions.iter().filter_map(|(at, region)| {
        let class = image.as_ref().and_then(|image| class_of(region, image));
        Some(RegionDocument {
            at: *at,
            pixels: region.in_pixels(size)?,
            name: class.map(String::from),
        })
    });
    Ok(PictureDocument {
        key,
        size,
        data: picture.map(|(kind, bytes)| {
            let data = base64_simd::STANDARD.encode_to_string(bytes);
            format!("data:{kind};base64,{data}")
        }),
        regions: regions.collect(),
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
