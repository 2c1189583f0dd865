//! A picture with its boxes and tags, and what each word of the text attends to.

use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};
use oscar_datasets::draw::{Mark, color, draw, marks, titled};
use oscar_datasets::import::ExtractedImage;
use oscar_datasets::store::Tag;
use oscar_task::Answer;
use oscar_task::explain::{Explanation, Inspected, Segment};
use oscar_vision::Picture;

/// Larger pictures are shrunk to this, in pixels: there is one for each word.
const LONG_SIDE: u32 = 800;

/// Pictures beside each other.
const COLUMNS: usize = 2;

/// Most words that are shown.
const WORDS: usize = 30;

/// Regions that are marked for a word, those that get most attention.
const MARKED: usize = 3;

/// Between the pictures.
const WHITE: Rgb<u8> = Rgb([255; 3]);
const GAP: u32 = 8;

/// A word, and the share of its attention to regions that each region gets.
struct Word {
    text: String,
    shares: Vec<f32>,
}

/// The picture with all boxes and tags under the best answer, then once for each word of the text
/// with the regions that it attends to (the mean of all layers and heads).
pub fn draw_answer(
    picture: &Picture,
    image: &ExtractedImage,
    explanation: &Explanation,
) -> RgbImage {
    let (shown, scale) = shrunk(&picture.image);
    let boxes: Vec<[f32; 4]> = image.boxes().iter().map(|b| b.map(|v| v * scale)).collect();
    let mut tags: Vec<Tag> = image.tags().to_vec();
    for b in tags.iter_mut().filter_map(|tag| tag.box_px.as_mut()) {
        *b = b.map(|v| v * scale);
    }
    let answer = explanation.answers.first();
    let answer = answer.map_or("", |answer| &answer.text);
    let mut panels = vec![titled(&draw(&shown, &marks(&boxes, &tags)).image, answer)];
    for word in explanation.sequences.first().map(words).unwrap_or_default() {
        let marked = attended(&word, &boxes);
        panels.push(titled(&draw(&shown, &marked).image, &word.text));
    }
    grid(&panels)
}

/// The picture with the boxes that were found for an expression, the best one in thick lines, each with
/// its probability.
pub fn draw_found(picture: &Picture, expression: &str, answers: &[Answer]) -> RgbImage {
    let (shown, _) = shrunk(&picture.image);
    let size = shown.dimensions();
    let found = answers.iter().enumerate().filter_map(|(rank, answer)| {
        Some(Mark {
            box_px: answer.region.as_ref()?.in_pixels(size)?,
            color: color(rank),
            name: format!("{:.0} %", 100.0 * answer.score),
            thin: rank > 0,
        })
    });
    let marks: Vec<Mark> = found.collect();
    titled(&draw(&shown, &marks).image, expression)
}

fn shrunk(picture: &RgbImage) -> (RgbImage, f32) {
    let (width, height) = picture.dimensions();
    let long = width.max(height);
    if long <= LONG_SIDE {
        return (picture.clone(), 1.0);
    }
    let scale = LONG_SIDE as f32 / long as f32;
    let side = |side: u32| ((side as f32 * scale).round() as u32).max(1);
    let small = imageops::resize(picture, side(width), side(height), FilterType::Triangle);
    (small, scale)
}

/// The words of the text, their pieces joined, with what they attend to.
fn words(sequence: &Inspected) -> Vec<Word> {
    let (tokens, regions) = (sequence.tokens.len(), sequence.regions.len());
    let positions = sequence.len();
    let mut words: Vec<Word> = Vec::new();
    for (at, token) in sequence.tokens.iter().enumerate() {
        if token.segment != Segment::Text {
            continue;
        }
        let mut shares = vec![0.0; regions];
        for layer in &sequence.attention {
            let row = &layer[at * positions + tokens..(at + 1) * positions];
            for (share, value) in shares.iter_mut().zip(row) {
                *share += value;
            }
        }
        match (token.text.strip_prefix("##"), words.last_mut()) {
            (Some(piece), Some(word)) => {
                word.text.push_str(piece);
                for (share, value) in word.shares.iter_mut().zip(&shares) {
                    *share += value;
                }
            }
            _ => words.push(Word {
                text: token.text.clone(),
                shares,
            }),
        }
    }
    words.truncate(WORDS);
    for word in &mut words {
        let all: f32 = word.shares.iter().sum();
        for share in &mut word.shares {
            *share /= all.max(f32::MIN_POSITIVE);
        }
    }
    words
}

/// The regions that a word attends to most; a model may read fewer regions than were found.
fn attended(word: &Word, boxes: &[[f32; 4]]) -> Vec<Mark> {
    let mut order: Vec<usize> = (0..word.shares.len().min(boxes.len())).collect();
    order.sort_by(|a, b| word.shares[*b].total_cmp(&word.shares[*a]));
    let marked = order.into_iter().take(MARKED).enumerate();
    marked
        .map(|(rank, region)| Mark {
            box_px: boxes[region],
            color: color(rank),
            name: format!("{:.0} %", 100.0 * word.shares[region]),
            thin: rank > 0,
        })
        .collect()
}

/// The pictures in rows.
fn grid(panels: &[RgbImage]) -> RgbImage {
    let columns = panels.len().clamp(1, COLUMNS) as u32;
    let width = panels.iter().map(RgbImage::width).max().unwrap_or(1);
    let height = panels.iter().map(RgbImage::height).max().unwrap_or(1);
    let rows = (panels.len() as u32).div_ceil(columns).max(1);
    let side = |count: u32, side: u32| count * (side + GAP) - GAP;
    let mut all = RgbImage::from_pixel(side(columns, width), side(rows, height), WHITE);
    for (at, panel) in panels.iter().enumerate() {
        let (row, column) = (at as u32 / columns, at as u32 % columns);
        let (x, y) = (column * (width + GAP), row * (height + GAP));
        imageops::replace(&mut all, panel, x.into(), y.into());
    }
    all
}
