//! Tables of LXMERT and of bottom-up attention: one image a row, its arrays in base64.
//!
//! | table | columns |
//! |---|---|
//! | LXMERT | `img_id img_h img_w objects_id objects_conf attrs_id attrs_conf num_boxes boxes features` |
//! | bottom-up attention | `image_id image_w image_h num_boxes boxes features` |
//! | ROSITA | `filename features image_h image_w num_boxes boxes objects_id objects_conf attrs_id attrs_conf` |

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use oscar_files::python::base64_text;

use super::source::{SourceBoxes, SourceImage};
use super::table::{Named, Table};
use super::vocabulary::{Numbers, Vocabularies};
use crate::error::{Result, excerpt_bytes};
use crate::findings::Defect;
use crate::official::{BlobLayout, decode_blob, decode_bytes, pixels};
use crate::tsv::TsvFile;

const COLUMNS: &str = "a row has the ten columns of LXMERT or ROSITA, or the six of bottom-up attention, \
                       separated by tabs; is a tab missing, or is this another file?";

/// Columns of an LXMERT table.
pub(super) const LXMERT_COLUMNS: usize = 10;
/// Columns of a bottom-up-attention table.
pub(super) const BUTD_COLUMNS: usize = 6;

/// The table at `path`.
///
/// # Errors
/// As [`Table::new`].
pub(super) fn open(
    path: &Path,
    feature_dim: usize,
    vocabularies: Vocabularies,
    repeated_keys: bool,
) -> Result<Table> {
    let named = Arc::new(Named {
        vocabularies,
        ..Named::default()
    });
    let names = named.clone();
    let read = move |file: &TsvFile, row: usize| {
        let image = parse_lxmert(file.line(row)?, feature_dim, &names.vocabularies)
            .map_err(|defect| file.located(row, defect))?;
        if image.labels.is_some() {
            names.numbered.store(true, Ordering::Relaxed);
        }
        Ok(image)
    };
    let table = Table::new(TsvFile::open(path)?, repeated_keys, None, Box::new(read))?;
    Ok(table.with_names(named))
}

/// Reads a row, which must have no newline.
///
/// # Errors
/// Another number of columns; a column that is not what it should be.
pub fn parse_lxmert(
    line: &[u8],
    feature_dim: usize,
    vocabularies: &Vocabularies,
) -> Result<SourceImage, Defect> {
    let columns: Vec<&[u8]> = line
        .split(|b| *b == b'\t')
        .map(base64_text)
        // One more than any table has: a line of tabs is none.
        .take(LXMERT_COLUMNS + 1)
        .collect();
    let (key, width, height, rest, objects) = match columns[..] {
        [
            key,
            features,
            height,
            width,
            regions,
            boxes,
            ref objects @ ..,
        ] if objects.len() == 4 && is_number(regions) && !is_number(features) => {
            let objects = [objects[0], objects[1], objects[2], objects[3]];
            (
                key,
                width,
                height,
                vec![regions, boxes, features],
                Some(objects),
            )
        }
        [
            key,
            height,
            width,
            class,
            conf,
            attr,
            attr_conf,
            ref rest @ ..,
        ] if rest.len() == 3 => {
            let objects = [class, conf, attr, attr_conf];
            (key, width, height, rest.to_vec(), Some(objects))
        }
        [key, width, height, ref rest @ ..] if rest.len() == 3 => {
            (key, width, height, rest.to_vec(), None)
        }
        _ => {
            let found = format!("{} columns", columns.len());
            return Err(Defect::new(found, COLUMNS));
        }
    };
    let key = match std::str::from_utf8(key) {
        Ok("") | Err(_) => {
            return Err(Defect::new(
                "its key is empty or not UTF-8 text",
                "give it a key",
            ));
        }
        Ok(key) => key.to_string(),
    };
    parse_arrays(
        &key,
        width,
        height,
        &rest,
        objects,
        feature_dim,
        vocabularies,
    )
    .map_err(|defect| defect.within(format_args!("image `{key}`")))
}

/// Four columns: classes, their scores, attributes and theirs.
type Objects<'a> = [&'a [u8]; 4];

/// Whether a column is a whole number in digits, as no base64 of an array is.
pub(super) fn is_number(column: &[u8]) -> bool {
    !column.is_empty() && column.len() < 10 && column.iter().all(u8::is_ascii_digit)
}

fn parse_arrays(
    key: &str,
    width: &[u8],
    height: &[u8],
    rest: &[&[u8]],
    objects: Option<Objects<'_>>,
    feature_dim: usize,
    vocabularies: &Vocabularies,
) -> Result<SourceImage, Defect> {
    let &[num_boxes, boxes, features] = rest else {
        return Err(Defect::new("too few columns", COLUMNS));
    };
    let size = (
        pixels(number(width, "width")?)?,
        pixels(number(height, "height")?)?,
    );
    let regions = number(num_boxes, "num_boxes")?;
    // No region takes less than a character.
    if !(regions >= 0.0 && regions.fract() == 0.0 && regions <= features.len() as f64) {
        let found = format!("num_boxes is {regions}, more than its features take");
        return Err(Defect::new(found, COLUMNS));
    }
    let regions = regions as usize;

    let layout = BlobLayout::of(features, regions, feature_dim)?;
    if layout.dim != feature_dim && regions > 0 {
        let found = format!("features of {} values a region", layout.dim);
        return Err(Defect::new(
            found,
            "such a table has boxes in a column of their own",
        ));
    }
    let mut values = vec![0.0; regions * layout.dim];
    decode_blob(features, layout, &mut values)?;
    let boxes: Vec<[f32; 4]> = numbers::<4>(boxes, 4 * regions, "boxes")?
        .map(f32::from_le_bytes)
        .collect::<Vec<_>>()
        .as_chunks()
        .0
        .to_vec();
    let boxes = SourceBoxes::Pixels(boxes);
    let numbers = match objects {
        Some(columns) => read_objects(columns, regions, vocabularies.classes.is_some())?,
        None => None,
    };
    let tags = match (&numbers, &vocabularies.classes) {
        (Some(numbers), Some(_)) => {
            let named = vocabularies.attributes.is_some();
            let attributes = numbers.attributes.as_deref().filter(|_| named);
            let scores = numbers.scores.as_deref();
            Some(vocabularies.tags(&boxes, &numbers.classes, scores, attributes)?)
        }
        _ => None,
    };
    let labels = numbers.map(|numbers| numbers.labels(regions)).transpose()?;
    Ok(SourceImage {
        key: key.to_string(),
        size: Some(size),
        features: values,
        boxes,
        tags,
        labels,
    })
}

/// The classes of so many regions. Tables without them have other columns here, which matter only where
/// names of classes were given.
fn read_objects(
    [class, conf, attr, attr_conf]: Objects<'_>,
    regions: usize,
    wanted: bool,
) -> Result<Option<Numbers>, Defect> {
    let floats = |text: &[u8], name: &str| -> Result<Vec<f32>, Defect> {
        Ok(numbers::<4>(text, regions, name)?
            .map(f32::from_le_bytes)
            .collect())
    };
    let read = || -> Result<Numbers, Defect> {
        Ok(Numbers {
            classes: ids(class, regions, "objects_id")?,
            scores: Some(floats(conf, "objects_conf")?),
            attributes: Some(ids(attr, regions, "attrs_id")?),
            attribute_scores: Some(floats(attr_conf, "attrs_conf")?),
        })
    };
    match (read(), wanted) {
        (Ok(numbers), _) => Ok(Some(numbers)),
        (Err(_), false) => Ok(None),
        (Err(defect), true) => Err(defect),
    }
}

fn number(field: &[u8], name: &str) -> Result<f64, Defect> {
    let value = std::str::from_utf8(field)
        .ok()
        .and_then(|text| text.parse().ok());
    value.ok_or_else(|| {
        let found = format!("{name} is {}", excerpt_bytes(field));
        Defect::new(found, COLUMNS)
    })
}

/// `count` values of `N` bytes each, in base64.
fn numbers<const N: usize>(
    text: &[u8],
    count: usize,
    name: &str,
) -> Result<impl Iterator<Item = [u8; N]>, Defect> {
    let bytes = N * count;
    if text.len() != 4 * bytes.div_ceil(3) {
        let found = format!(
            "{name}: {} characters of base64, where {count} values of {N} bytes take {}",
            text.len(),
            4 * bytes.div_ceil(3)
        );
        return Err(Defect::new(found, COLUMNS));
    }
    let mut decoded = vec![0; bytes];
    decode_bytes(text, &mut decoded).map_err(|defect| defect.within(name))?;
    Ok((0..count).map(move |at| {
        let mut value = [0; N];
        value.copy_from_slice(&decoded[N * at..N * (at + 1)]);
        value
    }))
}

/// Numbers of classes: 64 bits wide, of some extractors 32.
fn ids(text: &[u8], count: usize, name: &str) -> Result<Vec<i64>, Defect> {
    if count > 0 && text.len() == 4 * (4 * count).div_ceil(3) {
        let ids = numbers::<4>(text, count, name)?;
        return Ok(ids.map(|id| i64::from(i32::from_le_bytes(id))).collect());
    }
    Ok(numbers::<8>(text, count, name)?
        .map(i64::from_le_bytes)
        .collect())
}
