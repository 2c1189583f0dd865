//! One `.npz` archive per image: bottom-up attention as its many extractors write it.
//!
//! | array | spellings |
//! |---|---|
//! | features `[regions, D]`, or transposed | `x`, `features`, `feature`, `feat`, `image_feat` |
//! | boxes `[regions, 4]` in pixels | `bbox`, `boxes`, `bboxes` |
//! | boxes `[regions, 6]` as shares of the image | `norm_bb`, of UNITER |
//! | regions, where arrays are padded | `num_bbox`, `num_boxes` |
//! | size in pixels | `image_h` and `image_w`, `image_height` and `image_width`, `img_h` and `img_w`, `height` and `width` |
//! | classes by number, and their scores | `objects_id`, `objects`; `objects_conf`, `cls_prob`, `conf` |
//! | scores of all classes `[regions, classes]` | `soft_labels`, of UNITER |
//! | attributes by number, and their scores | `attrs_id`; `attrs_conf` |
//! | classes by name | `objects`, `classes`, `class_names` as arrays of text |
//!
//! What is not there as an array is looked for in the dictionary `info`, which is pickled and read
//! without executing it. Other arrays are not looked at.

use super::archive::Archive;
use super::info::{ATTRIBUTE_SCORES, ATTRIBUTES, CLASSES, FEATURES, Info, SCORES};
use super::matrix::{Arrays, Matrix};
use super::source::{SourceBoxes, SourceImage};
use super::vocabulary::{Numbers, Vocabularies};
use oscar_core::input::RegionLabels;

use crate::findings::Defect;
use crate::official::pixels;
use crate::store::Tag;

const BOXES: &[&str] = &["bbox", "boxes", "bboxes"];
const RELATIVE_BOXES: &[&str] = &["norm_bb"];
const COUNT: &[&str] = &["num_bbox", "num_boxes"];
const WIDTH: &[&str] = &["image_w", "image_width", "img_w", "width"];
const HEIGHT: &[&str] = &["image_h", "image_height", "img_h", "height"];
const ALL_SCORES: &[&str] = &["soft_labels"];
const NAMES: &[&str] = &["objects", "classes", "class_names"];
const INFO: &str = "info";

pub(super) const DAMAGED: &str = "copy or make the file again";

/// An image, and whether its file gives classes by number.
pub(super) type Read = (SourceImage, bool);

/// Reads the archive of one image, whose key the file's name is.
///
/// # Errors
/// No whole archive; an array that is missing, there under two names, or no plain array of
/// numbers; arrays that do not fit each other. An array is inflated to the size its header says at
/// most; one that would take more memory than its [`Budget`](oscar_files::Budget) is refused
/// before.
pub fn parse_npz(
    bytes: &[u8],
    feature_dim: usize,
    vocabularies: &Vocabularies,
) -> Result<SourceImage, Defect> {
    read_npz(bytes, feature_dim, vocabularies).map(|(image, _)| image)
}

/// The same, and whether classes are given by number.
pub(super) fn read_npz(
    bytes: &[u8],
    feature_dim: usize,
    vocabularies: &Vocabularies,
) -> Result<Read, Defect> {
    let mut archive = Archive::open(bytes)?;
    let features = archive.read(FEATURES)?.ok_or_else(|| {
        let found = format!(
            "no array {} in it, but {}",
            FEATURES.join(" or "),
            archive.names().join(", ")
        );
        Defect::new(found, "is it an archive of region features?")
    })?;
    let info = archive.info(INFO)?;
    let info = info.as_ref();
    let mut boxes = archive.read(BOXES)?;
    if boxes.is_none() {
        boxes = archive.read(RELATIVE_BOXES)?;
    }
    if let (None, Some(info)) = (&boxes, info) {
        boxes = info.boxes()?;
    }
    let count = match (archive.read(COUNT)?, info) {
        (None, Some(info)) => info.count()?,
        (count, _) => count,
    };
    let arrays = Arrays::counted(features, boxes, count)?;
    let padded = arrays.count.is_some();
    let (features, boxes) = arrays.regions(feature_dim)?;
    let mut size = archive.read(WIDTH)?.zip(archive.read(HEIGHT)?);
    if let (None, Some(info)) = (&size, info) {
        size = info.size()?;
    }
    let side = |side: &Matrix| pixels(side.number()?);
    let size = size.map(|(width, height)| Ok::<_, Defect>((side(&width)?, side(&height)?)));
    let objects = objects(&mut archive, info, &boxes, vocabularies, padded)?;
    let image = SourceImage {
        key: String::new(),
        size: size.transpose()?,
        features,
        boxes,
        tags: objects.tags,
        labels: objects.labels,
    };
    Ok((image, objects.numbered))
}

/// What a file says of the objects of an image.
#[derive(Default)]
struct Objects {
    tags: Option<Vec<Tag>>,
    labels: Option<RegionLabels>,
    /// Whether classes are given by number.
    numbered: bool,
}

/// The objects of an image; of `padded` arrays, those of its regions.
fn objects(
    archive: &mut Archive<'_>,
    info: Option<&Info>,
    boxes: &SourceBoxes,
    vocabularies: &Vocabularies,
    padded: bool,
) -> Result<Objects, Defect> {
    let mut either = |names: &[&str]| match (archive.read_numbers(names)?, info) {
        (None, Some(info)) => info.numbers(names),
        (found, _) => Ok(found),
    };
    let mut scores = either(SCORES)?;
    let mut classes = either(CLASSES)?;
    let attributes = either(ATTRIBUTES)?;
    let attribute_scores = values(either(ATTRIBUTE_SCORES)?);
    let named = match (archive.texts(NAMES)?, info) {
        (None, Some(info)) => info.texts(NAMES).filter(|names| !names.is_empty()),
        (names, _) => names,
    };
    if let Some(names) = named {
        let own = Vocabularies {
            classes: Some(names),
            attributes: vocabularies.attributes.clone(),
        };
        let places: Vec<i64> = (0..own.classes.as_ref().map_or(0, Vec::len) as i64).collect();
        let (scores, attributes) = (values(scores), ids(attributes.as_ref())?);
        let tags = own.tags(boxes, &places, scores.as_deref(), attributes.as_deref())?;
        return Ok(Objects {
            tags: Some(tags),
            ..Objects::default()
        });
    }
    if classes.is_none()
        && let Some(all) = archive.read(ALL_SCORES)?
    {
        let best = vocabularies.best_of(&all)?;
        scores = scores.or(Some(column(best.iter().map(|(_, score)| *score))));
        classes = Some(column(best.iter().map(|(class, _)| *class as f32)));
    }
    let Some(classes) = ids(classes.as_ref())? else {
        return Ok(Objects::default());
    };
    let numbers = Numbers {
        classes,
        scores: values(scores),
        attributes: ids(attributes.as_ref())?,
        attribute_scores,
    };
    let numbers = numbers.of_regions(boxes.len(), padded);
    let (scores, attributes) = (numbers.scores.as_deref(), numbers.attributes.as_deref());
    let tags = match vocabularies.classes {
        None => None,
        Some(_) => Some(vocabularies.tags(boxes, &numbers.classes, scores, attributes)?),
    };
    Ok(Objects {
        tags,
        labels: Some(numbers.labels(boxes.len())?),
        numbered: true,
    })
}

fn column(values: impl Iterator<Item = f32>) -> Matrix {
    let values: Vec<f32> = values.collect();
    Matrix {
        rows: values.len(),
        cols: 1,
        values,
    }
}

/// The score of each region: the highest, where there are those of all classes.
pub(super) fn values(matrix: Option<Matrix>) -> Option<Vec<f32>> {
    let matrix = matrix?;
    Some(match matrix.cols {
        0 | 1 => matrix.values,
        cols => {
            let rows = matrix.values.chunks_exact(cols);
            rows.map(|row| row.iter().copied().fold(0.0, f32::max))
                .collect()
        }
    })
}

/// Numbers of classes or attributes.
///
/// # Errors
/// One that is no whole number, such as a score.
pub(super) fn ids(matrix: Option<&Matrix>) -> Result<Option<Vec<i64>>, Defect> {
    let whole = |id: &f32| match id.fract() == 0.0 {
        true => Ok(*id as i64),
        false => {
            let found = format!("{id} as the number of a class or attribute");
            Err(Defect::new(
                found,
                "give whole numbers; scores are in arrays of their own",
            ))
        }
    };
    match matrix {
        None => Ok(None),
        Some(matrix) => Ok(Some(
            matrix.values.iter().map(whole).collect::<Result<_, _>>()?,
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use super::super::npy::tests::npy;
    use super::*;

    fn archive(arrays: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (name, bytes) in arrays {
            let options = zip::write::SimpleFileOptions::default();
            zip.start_file(format!("{name}.npy"), options).unwrap();
            zip.write_all(bytes).unwrap();
        }
        zip.finish().unwrap().into_inner()
    }

    fn floats(rows: usize, cols: usize) -> Vec<u8> {
        let values = (0..rows * cols).flat_map(|v| (v as f32).to_le_bytes());
        npy(
            "'<f4'",
            "False",
            &format!("({rows}, {cols})"),
            &values.collect::<Vec<_>>(),
        )
    }

    fn number(value: i64) -> Vec<u8> {
        npy("'<i8'", "False", "()", &value.to_le_bytes())
    }

    fn found(arrays: &[(&str, Vec<u8>)]) -> String {
        let parsed = parse_npz(&archive(arrays), 3, &Vocabularies::default());
        parsed.unwrap_err().to_string()
    }

    #[test]
    fn spellings() {
        for [x, boxes, w, h, n] in [
            ["x", "bbox", "image_w", "image_h", "num_bbox"],
            ["features", "boxes", "img_w", "img_h", "num_boxes"],
        ] {
            let bytes = archive(&[
                (x, floats(2, 3)),
                (boxes, floats(2, 4)),
                (w, number(640)),
                (h, number(480)),
                (n, number(2)),
                ("info", npy("'|O'", "False", "()", b"\x80\x03}.")),
            ]);
            let image = parse_npz(&bytes, 3, &Vocabularies::default()).unwrap();
            assert_eq!(image.size, Some((640, 480)));
            assert_eq!(image.features, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
            let boxes = vec![[0.0, 1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 7.0]];
            assert_eq!(image.boxes, SourceBoxes::Pixels(boxes));
            assert_eq!(image.tags, None);
        }
    }

    #[test]
    fn archives_that_are_refused() {
        let object = npy("'|O'", "False", "()", b"\x80\x03.");
        let told = found(&[("x", object)]);
        assert!(
            told.contains("array `x`: an array of Python objects"),
            "{told}"
        );
        let told = found(&[("y", floats(2, 3))]);
        assert!(
            told.contains("no array x or features") && told.contains("but y"),
            "{told}"
        );
        let told = found(&[("x", floats(2, 3)), ("features", floats(2, 3))]);
        assert!(told.contains("both arrays `x` and `features`"), "{told}");
        let told = found(&[("x", floats(2, 3)), ("num_bbox", number(-1))]);
        assert!(told.contains("-1 regions"), "{told}");
        let whole = archive(&[("x", floats(2, 3))]);
        for cut in [0, 10, whole.len() / 2, whole.len() - 1] {
            assert!(parse_npz(&whole[..cut], 3, &Vocabularies::default()).is_err());
        }
    }

    #[test]
    fn classes_of_padded_arrays() {
        let names = Vocabularies {
            classes: Some(vec!["dog".into(), "cat".into()]),
            attributes: None,
        };
        let classes = [1i64, 0, 0].iter().flat_map(|class| class.to_le_bytes());
        let bytes = archive(&[
            ("x", floats(3, 3)),
            ("bbox", floats(3, 4)),
            ("num_bbox", number(2)),
            (
                "objects_id",
                npy("'<i8'", "False", "(3,)", &classes.collect::<Vec<_>>()),
            ),
        ]);
        let image = parse_npz(&bytes, 3, &names).unwrap();
        let tags: Vec<_> = image.tags.iter().flatten().map(|tag| &tag.class).collect();
        assert_eq!(tags, ["cat", "dog"]);
        assert_eq!(image.labels.unwrap().objects, [1, 0]);
        for score in [0.5, f32::NAN] {
            let told = found(&[
                ("x", floats(1, 3)),
                ("bbox", floats(1, 4)),
                (
                    "objects_id",
                    npy("'<f4'", "False", "(1,)", &score.to_le_bytes()),
                ),
            ]);
            assert!(told.contains("as the number of a class"), "{told}");
        }
    }

    #[test]
    fn bombs_do_not_go_off() {
        // A gigabyte of zeros in a megabyte: more than its header says, or than is allowed.
        let zeros = vec![0; 1 << 24];
        let bomb = npy("'<f4'", "False", "(2, 3)", &zeros);
        let told = found(&[("x", bomb)]);
        assert!(
            told.contains("bytes of values, where its shape [2, 3] takes 24"),
            "{told}"
        );
        let bomb = npy("'<f4'", "False", "(1000000, 3000)", &zeros);
        let told = found(&[("x", bomb)]);
        assert!(told.contains("over 67108864 bytes"), "{told}");
        let bomb = npy("'<f4'", "False", "(1000000, 3)", &zeros[..100]);
        let told = found(&[("x", bomb)]);
        assert!(
            told.contains("array `x`: values of shape") && told.contains("allowed"),
            "{told}"
        );
        // One byte a value, column by column, in a small archive.
        let bomb = npy("'|u1'", "True", "(16777215, 1)", &zeros[..(1 << 24) - 1]);
        let told = found(&[("x", bomb), ("bbox", floats(2, 4))]);
        assert!(told.contains("64 MiB") || told.contains("63 MiB"), "{told}");
    }
}
