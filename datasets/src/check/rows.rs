//! Rows of the official tables.

use std::collections::HashMap;

use super::Context;
use super::table::TableKind;
use crate::boxes::{CLIP, Fit, fit};
use crate::findings::{Counts, Defect, Kind};
use crate::import::{SourceBoxes, SourceImage, Vocabularies, parse_lxmert, parse_vinvl};
use oscar_files::python::json_text;

use crate::official::{FeatureRow, TagChoice, decode_blob, parse_labels, parse_size};
use crate::pictures::picture_size;
use crate::store::{Tag, box_problem, feature_findings, more, tag_findings};
use crate::tsv::TsvFile;

/// Boxes that reach outside by no more than an import clips.
const CLIPPED: &str = "boxes that an import clips";

/// Sizes of images by key: width, height.
pub(super) type Sizes = HashMap<String, (u32, u32)>;

/// What a row holds.
#[derive(Default)]
pub(super) struct Row {
    pub(super) counts: Counts,
    pub(super) findings: Vec<Defect>,
    /// The image's size, if the row has it.
    pub(super) size: Option<(u32, u32)>,
}

/// Reads row `row` of a table; `sizes` are known from others.
pub(super) fn check_row(
    kind: TableKind,
    table: &TsvFile,
    row: usize,
    sizes: &Sizes,
    context: &Context,
) -> Row {
    let read = match kind {
        TableKind::Features => features(table, row, context.feature_dim),
        TableKind::Arrays => arrays(table, row, context.feature_dim),
        TableKind::Labels => labels(table, row, sizes, context.feature_dim),
        TableKind::Sizes => size(table, row),
        TableKind::Pictures => picture(table, row, sizes),
    };
    read.unwrap_or_else(|finding| Row {
        findings: vec![finding],
        ..Row::default()
    })
}

fn features(table: &TsvFile, row: usize, feature_dim: usize) -> Result<Row, Defect> {
    let of_kind = |kind| move |defect: crate::findings::Defect| Defect::of(kind, defect.found);
    // Whether it has a tab and a key, and is text.
    table.key_and_rest(row)?;
    let found = FeatureRow::parse(table.bytes(row)).map_err(of_kind(Kind::Field))?;
    let layout = found
        .layout(feature_dim)
        .map_err(of_kind(Kind::ByteLength))?;
    let mut values = vec![0.0; found.num_boxes * layout.dim];
    let decoded = decode_blob(&found.blob, layout, &mut values);
    if let Err(defect) = decoded
        && values.iter().all(|value| value.is_finite())
    {
        return Err(Defect::of(Kind::Base64, defect.found));
    }
    let mut read = Row::default();
    read.counts.add("images", 1);
    read.counts.add("regions", found.num_boxes);
    read.counts
        .add("images without regions", usize::from(found.num_boxes == 0));
    read.counts
        .add("images of 16-bit floats", usize::from(layout.half));
    let boxes = layout.dim > feature_dim;
    read.counts.add("images without boxes", usize::from(!boxes));
    let regions = values
        .chunks_exact(layout.dim)
        .map(|region| region.split_at(feature_dim));
    read.findings = feature_findings(regions, &mut read.counts);
    Ok(read)
}

fn arrays(table: &TsvFile, row: usize, feature_dim: usize) -> Result<Row, Defect> {
    table.key_and_rest(row)?;
    let image = parse_lxmert(table.bytes(row), feature_dim, &Vocabularies::default());
    let image = image.map_err(|defect| Defect::of(Kind::Field, defect.found))?;
    Ok(image_row(image, feature_dim))
}

/// What an image of one of the published forms holds.
pub(super) fn image_row(image: SourceImage, feature_dim: usize) -> Row {
    let mut read = Row::default();
    let regions = image.boxes.len();
    read.counts.add("images", 1);
    read.counts.add("regions", regions);
    read.counts
        .add("images without regions", usize::from(regions == 0));
    let (size, none) = (image.size.unwrap_or_default(), Vec::new());
    let relative = match &image.boxes {
        SourceBoxes::Relative(boxes) => boxes,
        _ => &none,
    };
    let boxes = relative
        .iter()
        .map(|b| &b[..])
        .chain(std::iter::repeat(&[][..]));
    let features = image.features.chunks_exact(feature_dim.max(1)).zip(boxes);
    read.findings = feature_findings(features, &mut read.counts);
    if let SourceBoxes::Pixels(boxes) = &image.boxes {
        let mut wrong = boxes.iter().enumerate().filter_map(|(at, b)| {
            let problem = fit_problem(*b, size, &mut read.counts)?;
            Some(format!("region {at}: {problem}"))
        });
        if let Some(found) = wrong.next() {
            let found = format!("{found}{}", more(wrong.count(), "regions"));
            read.findings.push(Defect::of(Kind::Box, found));
        }
    }
    let (tags, findings) = tags_in(image.tags.unwrap_or_default(), size, &mut read.counts);
    read.findings.extend(findings);
    read.counts.add("tags", tags);
    read
}

/// Number of tags, and what is wrong with them. Boxes may reach a little outside, as an import
/// clips them; then they are counted.
fn tags_in(mut tags: Vec<Tag>, size: (u32, u32), counts: &mut Counts) -> (usize, Vec<Defect>) {
    for b in tags.iter_mut().filter_map(|tag| tag.box_px.as_mut()) {
        if let Ok(Fit::Clipped(inside)) = fit(*b, size.0, size.1, CLIP)
            && size != (0, 0)
        {
            *b = inside;
            counts.add(CLIPPED, 1);
        }
    }
    (tags.len(), tag_findings(&tags, size))
}

/// What is wrong with a region's box in pixels, if anything.
fn fit_problem(b: [f32; 4], (width, height): (u32, u32), counts: &mut Counts) -> Option<String> {
    if (width, height) == (0, 0) {
        return box_problem(&b, 0, 0);
    }
    match fit(b, width, height, CLIP) {
        Ok(Fit::Inside) => None,
        Ok(Fit::Clipped(_)) => {
            counts.add(CLIPPED, 1);
            None
        }
        Ok(Fit::Empty) => Some(Fit::Empty.describe(b, width, height)),
        Err(found) => Some(found),
    }
}

fn labels(table: &TsvFile, row: usize, sizes: &Sizes, feature_dim: usize) -> Result<Row, Defect> {
    let (key, json) = table.key_and_content(row)?;
    let parsed = parse_labels(json, TagChoice::Objects);
    // Some files hold nothing but what people annotated.
    let parsed =
        parsed.or_else(|first| parse_labels(json, TagChoice::GtObjects).map_err(|_| first));
    let parsed = parsed.map_err(|defect| {
        let kind = match serde_json::from_str::<serde::de::IgnoredAny>(&json_text(json)) {
            Ok(_) => Kind::Field,
            Err(_) => Kind::Json,
        };
        Defect::of(kind, defect.found)
    })?;
    let mut read = Row::default();
    let size = parsed.size.or_else(|| sizes.get(key).copied());
    if memchr::memmem::find(json.as_bytes(), b"\"feature\"").is_some() {
        // Objects with their features: the form in which the VinVL tools write them.
        let image = parse_vinvl(&json_text(json), feature_dim, TagChoice::Objects, false);
        let image = image.map_err(|defect| Defect::of(Kind::Field, defect.found))?;
        read = image_row(SourceImage { size, ..image }, feature_dim);
    } else {
        let (tags, findings) = tags_in(parsed.tags, size.unwrap_or_default(), &mut read.counts);
        read.findings = findings;
        read.counts.add("tags", tags);
        read.counts
            .add("images without tags", usize::from(tags == 0));
    }
    if let (Some(said), Some(known)) = (parsed.size, sizes.get(key))
        && said != *known
    {
        read.findings.push(other_size(said, *known));
    }
    Ok(read)
}

fn size(table: &TsvFile, row: usize) -> Result<Row, Defect> {
    let (_, field) = table.key_and_content(row)?;
    let size = parse_size(field).map_err(|defect| Defect::of(Kind::Field, defect.found))?;
    Ok(Row {
        size: Some(size),
        ..Row::default()
    })
}

fn picture(table: &TsvFile, row: usize, sizes: &Sizes) -> Result<Row, Defect> {
    let (key, field) = table.key_and_content(row)?;
    let size = picture_size(field).map_err(|found| Defect::of(Kind::Picture, found))?;
    let mut read = Row::default();
    read.counts.add("pictures", 1);
    if let Some(known) = sizes.get(key)
        && size != *known
    {
        read.findings.push(other_size(size, *known));
    }
    Ok(read)
}

fn other_size(found: (u32, u32), known: (u32, u32)) -> Defect {
    let found = format!(
        "{}x{} pixels, but {}x{} in the table of sizes",
        found.0, found.1, known.0, known.1
    );
    Defect::of(Kind::Mismatch, found)
}
