//! The base64 text of an image's region features.

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::BOX_VALUES;
use crate::findings::Defect;

/// The layout of the values of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobLayout {
    /// Values per region: appearance values, with or without the six of the box.
    pub dim: usize,
    /// Half precision: two bytes a value instead of four.
    pub half: bool,
}

impl BlobLayout {
    /// Finds the layout of a blob of `regions` regions by its length: `feature_dim + 6` or
    /// `feature_dim` values a region, of four or two bytes each.
    ///
    /// # Errors
    /// A length that is none of these, or that no whole base64 text has.
    pub fn of(blob: &[u8], regions: usize, feature_dim: usize) -> Result<Self, Defect> {
        let with_boxes = feature_dim.saturating_add(BOX_VALUES);
        let padding = blob.iter().rev().take(2).take_while(|b| **b == b'=');
        if !blob.len().is_multiple_of(4) {
            let found = format!(
                "{} characters of base64, where a whole text has a multiple of four",
                blob.len()
            );
            return Err(Defect::new(
                found,
                "the row was cut off or changed: copy the file again",
            ));
        }
        let bytes = blob.len() / 4 * 3 - padding.count();
        let layouts = [
            (with_boxes, 4),
            (with_boxes, 2),
            (feature_dim, 4),
            (feature_dim, 2),
        ];
        for (dim, size) in layouts {
            let wanted = regions.checked_mul(dim).and_then(|n| n.checked_mul(size));
            if wanted == Some(bytes) {
                let half = size == 2;
                return Ok(Self { dim, half });
            }
        }
        let each = match regions {
            0 => String::new(),
            _ if bytes.is_multiple_of(regions) => format!(" ({} a region)", bytes / regions),
            _ => " (not a multiple)".into(),
        };
        let found = format!(
            "{bytes} bytes of features for {regions} regions{each}, where one takes {} or {} bytes \
             with its box, {} or {} without (32 or 16 bits a value)",
            with_boxes.saturating_mul(4),
            with_boxes.saturating_mul(2),
            feature_dim.saturating_mul(4),
            feature_dim.saturating_mul(2),
        );
        Err(Defect::new(
            found,
            "the row is damaged, its count of boxes is wrong, or the features have another \
             dimension than feature_dim",
        ))
    }

    /// Bytes of `values` values.
    fn bytes(self, values: usize) -> usize {
        values * if self.half { 2 } else { 4 }
    }
}

/// Decodes the first `out.len()` values of `blob`, which must hold as many.
///
/// # Errors
/// A character that is not base64 where it is read; a blob that is too short; a value that is not
/// finite: its region and column are named.
pub fn decode_blob(blob: &[u8], layout: BlobLayout, out: &mut [f32]) -> Result<(), Defect> {
    if layout.half {
        let mut halves = vec![f16::ZERO; out.len()];
        decode_bytes(blob, bytemuck::cast_slice_mut(&mut halves))?;
        halves.convert_to_f32_slice(out);
    } else {
        debug_assert_eq!(layout.bytes(out.len()), size_of_val(out));
        decode_bytes(blob, bytemuck::cast_slice_mut(out))?;
    }
    check_finite(out, layout.dim.max(1))
}

/// The first value that is NaN or infinite, by region and column, as an error.
pub(crate) fn check_finite(values: &[f32], dim: usize) -> Result<(), Defect> {
    // Without a branch per value, so that it is a loop over vectors.
    let finite = |chunk: &[f32]| chunk.iter().fold(true, |all, v| all & v.is_finite());
    let Some(chunk) = values.chunks(1024).position(|chunk| !finite(chunk)) else {
        return Ok(());
    };
    let at = values
        .iter()
        .skip(1024 * chunk)
        .position(|v| !v.is_finite());
    let at = 1024 * chunk + at.unwrap_or(0);
    let found = format!("region {}, value {} is {}", at / dim, at % dim, values[at]);
    Err(Defect::new(
        found,
        "compute the features of this image again",
    ))
}

/// Fills `out` with the first bytes of a base64 text.
pub(crate) fn decode_bytes(text: &[u8], out: &mut [u8]) -> Result<(), Defect> {
    use base64_simd::{AsOut, STANDARD};

    let whole = out.len() / 3;
    let needed = 4 * out.len().div_ceil(3);
    let Some(text) = text.get(..needed) else {
        let found = format!(
            "{} characters of base64, where {needed} are read",
            text.len()
        );
        return Err(Defect::new(
            found,
            "the row was cut off: copy the file again",
        ));
    };
    let (head, tail) = text.split_at(4 * whole);
    let (out_head, out_tail) = out.split_at_mut(3 * whole);
    let mut last = [0; 3];
    let decoded = STANDARD
        .decode(head, out_head.as_out())
        .map(|bytes| bytes.len())
        .and_then(|bytes| Ok(bytes + STANDARD.decode(tail, last.as_mut_slice().as_out())?.len()));
    match decoded {
        Ok(bytes) if bytes >= out_head.len() + out_tail.len() => {
            out_tail.copy_from_slice(&last[..out_tail.len()]);
            Ok(())
        }
        _ => Err(not_base64(text)),
    }
}

fn not_base64(text: &[u8]) -> Defect {
    let body = text.len()
        - text
            .iter()
            .rev()
            .take(2)
            .take_while(|b| **b == b'=')
            .count();
    let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/');
    let found = match text[..body].iter().position(|b| !known(*b)) {
        Some(at) => format!(
            "character {} of the base64 text is {:?}",
            at + 1,
            char::from(text[at])
        ),
        None => "invalid base64 padding".into(),
    };
    Defect::new(found, "the row is damaged: copy the file again")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(values: &[f32], half: bool) -> String {
        let bytes: Vec<u8> = match half {
            true => values
                .iter()
                .flat_map(|v| f16::from_f32(*v).to_le_bytes())
                .collect(),
            false => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        };
        base64_simd::STANDARD.encode_to_string(&bytes)
    }

    #[test]
    fn layouts_and_values() {
        for half in [false, true] {
            for dim in [5, 11] {
                for regions in 0..5 {
                    let values: Vec<f32> = (0..regions * dim).map(|v| v as f32 * 0.25).collect();
                    let blob = encode(&values, half);
                    let layout = BlobLayout::of(blob.as_bytes(), regions, 5).unwrap();
                    let wanted = BlobLayout { dim, half };
                    assert!(regions == 0 || layout == wanted, "{layout:?} {wanted:?}");
                    for first in 0..=values.len() {
                        let mut out = vec![f32::NAN; first];
                        decode_blob(blob.as_bytes(), wanted, &mut out).unwrap();
                        assert_eq!(out, values[..first]);
                    }
                }
            }
        }
    }

    #[test]
    fn damaged_blobs() {
        let layout = BlobLayout {
            dim: 3,
            half: false,
        };
        let blob = encode(&[1.0, 2.0, 3.0, 4.0, f32::NAN, 6.0], false);
        let decode = |blob: &str, values: usize| {
            decode_blob(blob.as_bytes(), layout, &mut vec![0.0; values])
                .unwrap_err()
                .found
        };
        assert_eq!(decode(&blob, 6), "region 1, value 1 is NaN");
        assert!(decode(&blob, 7).contains("32 characters of base64, where 40"));
        assert!(decode(&blob.replacen("AA", "A%", 1), 3).contains("of the base64 text is '%'"));
        assert!(decode(&"=".repeat(32), 6).contains("is '='"));
        let wrong = |blob: &str, regions: usize| {
            BlobLayout::of(blob.as_bytes(), regions, 3)
                .unwrap_err()
                .found
        };
        assert!(wrong(&blob[..31], 2).contains("31 characters of base64"));
        assert!(
            wrong(&blob[..28], 2).contains("21 bytes of features for 2 regions (not a multiple)")
        );
        assert!(wrong(&blob, 3).contains("24 bytes of features for 3 regions (8 a region)"));
        assert!(wrong(&blob, usize::MAX).contains("(not a multiple)"));
        assert!(wrong(&blob, 0).contains("24 bytes of features for 0 regions"));
    }
}
