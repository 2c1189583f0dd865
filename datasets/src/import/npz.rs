//! One `.npz` archive per image: bottom-up attention as its many extractors write it.
//!
//! | array | spellings |
//! |---|---|
//! | features `[regions, D]`, or transposed | `x`, `features`, `feature`, `feat`, `image_feat` |
//! | boxes `[regions, 4]` in pixels | `bbox`, `boxes`, `bboxes` |
//! | regions, where arrays are padded | `num_bbox`, `num_boxes` |
//! | size in pixels | `image_h` and `image_w`, `img_h` and `img_w`, `height` and `width` |
//! | classes and their scores | `objects_id`, `objects`; `objects_conf`, `cls_prob` |
//!
//! Other arrays are not looked at. Arrays of Python objects are pickled: they are never read.

use std::io::{Cursor, Read};

use zip::ZipArchive;

use super::matrix::{Arrays, Matrix};
use super::npy::{self, NpyHeader};
use super::source::{SourceBoxes, SourceImage};
use super::vocabulary::Vocabularies;
use crate::findings::Defect;
use crate::official::pixels;

const FEATURES: &[&str] = &["x", "features", "feature", "feat", "image_feat"];
const BOXES: &[&str] = &["bbox", "boxes", "bboxes"];
const COUNT: &[&str] = &["num_bbox", "num_boxes"];
const WIDTH: &[&str] = &["image_w", "img_w", "width"];
const HEIGHT: &[&str] = &["image_h", "img_h", "height"];
const CLASSES: &[&str] = &["objects_id", "objects"];
const SCORES: &[&str] = &["objects_conf", "cls_prob"];

const DAMAGED: &str = "copy or make the file again";

/// Reads the archive of one image, whose key the file's name is.
///
/// # Errors
/// No whole archive; an array that is missing, there under two names, or no plain array of
/// numbers; arrays that do not fit each other. An array is inflated to the size its header says at
/// most, and to 64 MiB at most.
pub fn parse_npz(
    bytes: &[u8],
    feature_dim: usize,
    vocabularies: &Vocabularies,
) -> Result<SourceImage, Defect> {
    let mut archive = Archive::open(bytes)?;
    let features = archive.read(FEATURES)?.ok_or_else(|| {
        let found = format!("no array {} in it", FEATURES.join(" or "));
        Defect::new(found, "is it an archive of region features?")
    })?;
    let count = match archive.read(COUNT)? {
        None => None,
        Some(count) => Some(whole(count.number()?)?),
    };
    let arrays = Arrays {
        features,
        boxes: archive.read(BOXES)?,
        count,
    };
    let (features, boxes) = arrays.regions(feature_dim)?;
    let side = |side: Option<Matrix>| side.map(|side| pixels(side.number()?)).transpose();
    let (width, height) = (side(archive.read(WIDTH)?)?, side(archive.read(HEIGHT)?)?);
    let tags = match vocabularies.classes.is_some() {
        true => archive.tags(&boxes, vocabularies)?,
        false => None,
    };
    Ok(SourceImage {
        key: String::new(),
        size: width.zip(height),
        features,
        boxes,
        tags,
    })
}

fn whole(value: f64) -> Result<usize, Defect> {
    match value >= 0.0 && value.fract() == 0.0 && value < 4e9 {
        true => Ok(value as usize),
        false => Err(Defect::new(format!("{value} regions"), DAMAGED)),
    }
}

struct Archive<'a> {
    zip: ZipArchive<Cursor<&'a [u8]>>,
}

impl<'a> Archive<'a> {
    fn open(bytes: &'a [u8]) -> Result<Self, Defect> {
        let zip = ZipArchive::new(Cursor::new(bytes))
            .map_err(|error| Defect::new(format!("not a whole .npz archive ({error})"), DAMAGED))?;
        Ok(Self { zip })
    }

    /// The array that has one of these names, if there is one.
    fn read(&mut self, names: &[&str]) -> Result<Option<Matrix>, Defect> {
        let mut there = names
            .iter()
            .filter(|name| self.zip.index_for_name(&format!("{name}.npy")).is_some());
        let (first, second) = (there.next(), there.next());
        match (first, second) {
            (None, _) => Ok(None),
            (Some(name), Some(other)) => Err(Defect::new(
                format!("both arrays `{name}` and `{other}`"),
                "keep one of the two",
            )),
            (Some(name), None) => {
                let name = name.to_string();
                let array = self.read_array(&name);
                array
                    .map(Some)
                    .map_err(|defect| defect.within(format_args!("array `{name}`")))
            }
        }
    }

    fn read_array(&mut self, name: &str) -> Result<Matrix, Defect> {
        let unreadable = |error: &dyn std::fmt::Display| {
            Defect::new(format!("it cannot be inflated ({error})"), DAMAGED)
        };
        let mut entry = self
            .zip
            .by_name(&format!("{name}.npy"))
            .map_err(|error| unreadable(&error))?;
        let mut header = Vec::new();
        let mut read_to = |header: &mut Vec<u8>, len: usize| {
            let more = len.saturating_sub(header.len()) as u64;
            entry
                .by_ref()
                .take(more)
                .read_to_end(header)
                .map_err(|error| unreadable(&error))
        };
        read_to(&mut header, 12)?;
        let len = npy::header_len(&header)?;
        read_to(&mut header, len)?;
        let header = NpyHeader::parse(&header)?;
        // One byte more, to see that there are more than the header says.
        let mut data = Vec::new();
        let limit = header.data_bytes()? as u64 + 1;
        entry
            .take(limit)
            .read_to_end(&mut data)
            .map_err(|error| unreadable(&error))?;
        header.read(&data)
    }

    fn tags(
        &mut self,
        boxes: &SourceBoxes,
        vocabularies: &Vocabularies,
    ) -> Result<Option<Vec<crate::store::Tag>>, Defect> {
        let Some(ids) = self.read(CLASSES)? else {
            return Ok(None);
        };
        let scores = self.read(SCORES)?.map(|scores| scores.values);
        let ids: Vec<i64> = ids.values.iter().map(|id| *id as i64).collect();
        vocabularies
            .tags(boxes, &ids, scores.as_deref(), None)
            .map(Some)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

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
                ("info", npy("'|O'", "False", "()", b"\x80\x03.")),
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
        assert!(told.contains("no array x or features"), "{told}");
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
    fn bombs_do_not_go_off() {
        // A gigabyte of zeros in a megabyte: more than its header says, or than is allowed.
        let zeros = vec![0; 1 << 24];
        let bomb = npy("'<f4'", "False", "(2, 3)", &zeros);
        let told = found(&[("x", bomb)]);
        assert!(
            told.contains("25 bytes of values, where its shape [2, 3] takes 24"),
            "{told}"
        );
        let bomb = npy("'<f4'", "False", "(1000000, 3000)", &zeros);
        let told = found(&[("x", bomb)]);
        assert!(told.contains("over 67108864 bytes"), "{told}");
        let bomb = npy("'<f4'", "False", "(1000000, 3)", &zeros[..100]);
        let told = found(&[("x", bomb)]);
        assert!(told.contains("100 bytes of values"), "{told}");
    }
}
