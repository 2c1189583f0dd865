//! Rows of the official tables.

use std::collections::HashMap;

use super::Context;
use super::Counts;
use super::problem::{Finding, Kind};
use super::table::{Table, TableKind};
use crate::draw::decode_base64;
use crate::official::{FeatureRow, TagChoice, decode_blob, parse_labels, parse_size};
use crate::store::{feature_findings, tag_findings};

/// Sizes of images by key: width, height.
pub(super) type Sizes = HashMap<String, (u32, u32)>;

/// What a row holds.
#[derive(Default)]
pub(super) struct Row {
    pub(super) counts: Counts,
    pub(super) findings: Vec<Finding>,
    /// The image's size, if the row says.
    pub(super) size: Option<(u32, u32)>,
}

/// Reads row `row` of a table; `sizes` are known from others.
pub(super) fn check_row(
    kind: TableKind,
    table: &Table,
    row: usize,
    sizes: &Sizes,
    context: &Context,
) -> Row {
    let read = match kind {
        TableKind::Features => features(table, row, context.feature_dim),
        TableKind::Labels => labels(table, row, sizes),
        TableKind::Sizes => size(table, row),
        TableKind::Pictures => picture(table, row, sizes),
    };
    read.unwrap_or_else(|finding| Row {
        findings: vec![finding],
        ..Row::default()
    })
}

fn features(table: &Table, row: usize, feature_dim: usize) -> Result<Row, Finding> {
    let of_kind = |kind| move |defect: crate::defect::Defect| Finding::new(kind, defect.found);
    // Found by the table in its own words: no tab, no key, bytes that are no text.
    table.key_and_rest(row)?;
    let found = FeatureRow::parse(table.line(row)).map_err(of_kind(Kind::Field))?;
    let layout = found
        .layout(feature_dim)
        .map_err(of_kind(Kind::ByteLength))?;
    let mut values = vec![0.0; found.num_boxes * layout.dim];
    let decoded = decode_blob(&found.blob, layout, &mut values);
    if let Err(defect) = decoded
        && values.iter().all(|value| value.is_finite())
    {
        return Err(Finding::new(Kind::Base64, defect.found));
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

fn labels(table: &Table, row: usize, sizes: &Sizes) -> Result<Row, Finding> {
    let (key, json) = table.fields(row)?;
    let parsed = parse_labels(json, TagChoice::Objects);
    // Some files hold nothing but what people annotated.
    let parsed =
        parsed.or_else(|first| parse_labels(json, TagChoice::GtObjects).map_err(|_| first));
    let parsed = parsed.map_err(|defect| {
        let kind = match serde_json::from_str::<serde::de::IgnoredAny>(json) {
            Ok(_) => Kind::Field,
            Err(_) => Kind::Json,
        };
        Finding::new(kind, defect.found)
    })?;
    let size = parsed.size.or_else(|| sizes.get(key).copied());
    let mut read = Row {
        findings: tag_findings(&parsed.tags, size.unwrap_or_default()),
        ..Row::default()
    };
    if let (Some(said), Some(known)) = (parsed.size, sizes.get(key))
        && said != *known
    {
        read.findings.push(other_size(said, *known));
    }
    read.counts.add("tags", parsed.tags.len());
    read.counts
        .add("images without tags", usize::from(parsed.tags.is_empty()));
    Ok(read)
}

fn size(table: &Table, row: usize) -> Result<Row, Finding> {
    let (_, field) = table.fields(row)?;
    let size = parse_size(field).map_err(|defect| Finding::new(Kind::Field, defect.found))?;
    Ok(Row {
        size: Some(size),
        ..Row::default()
    })
}

fn picture(table: &Table, row: usize, sizes: &Sizes) -> Result<Row, Finding> {
    let (key, field) = table.fields(row)?;
    let picture = decode_base64(field).map_err(|found| Finding::new(Kind::Picture, found))?;
    let mut read = Row::default();
    read.counts.add("pictures", 1);
    if let Some(known) = sizes.get(key)
        && picture.dimensions() != *known
    {
        read.findings.push(other_size(picture.dimensions(), *known));
    }
    Ok(read)
}

fn other_size(found: (u32, u32), known: (u32, u32)) -> Finding {
    let found = format!(
        "{}x{} pixels, where the table of sizes says {}x{}",
        found.0, found.1, known.0, known.1
    );
    Finding::new(Kind::Mismatch, found)
}
