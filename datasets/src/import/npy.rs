//! NumPy's array files.

use std::io::{self, Read};

use half::f16;
use serde::Deserialize;

use super::matrix::Matrix;
use crate::error::excerpt;
use crate::findings::Defect;

const MAGIC: &[u8] = b"\x93NUMPY";
const FIX: &str = "write it with numpy.save or numpy.savez as a plain array of numbers";
const DAMAGED: &str = "the array is damaged or cut off: copy or make it again";

/// Header of an array file longer than this is not NumPy's.
const MAX_HEADER: usize = 1 << 16;

/// Values of an array take at most this many bytes, 64 MiB: a thousand regions of 8,192 doubles.
pub(super) const MAX_BYTES: usize = 1 << 26;

/// Type of an array's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Float(usize),
    Int(usize),
    Unsigned(usize),
}

impl Kind {
    fn size(self) -> usize {
        match self {
            Self::Float(size) | Self::Int(size) | Self::Unsigned(size) => size,
        }
    }
}

/// What an array file says of its values, which follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NpyHeader {
    kind: Kind,
    big_endian: bool,
    fortran_order: bool,
    shape: Vec<usize>,
    len: usize,
}

impl NpyHeader {
    /// Reads the header at the beginning of `bytes`.
    ///
    /// # Errors
    /// No header of NumPy; values that are no plain numbers, Python objects above all (which are
    /// pickled: not read here); values that would take more than 64 MiB.
    pub fn parse(bytes: &[u8]) -> Result<Self, Defect> {
        let text = bytes.get(preamble(bytes)?..header_len(bytes)?);
        let text = text.ok_or_else(|| Defect::new("its header is cut off", DAMAGED))?;
        let dictionary = dictionary(text).map_err(|found| Defect::new(found, FIX))?;
        let (kind, big_endian) = kind(&dictionary.descr)?;
        let header = Self {
            kind,
            big_endian,
            fortran_order: dictionary.fortran_order,
            shape: dictionary.shape,
            len: header_len(bytes)?,
        };
        header.data_bytes()?;
        Ok(header)
    }

    /// Where the pickled objects of an array of them begin.
    ///
    /// # Errors
    /// No header of NumPy; an array of anything else.
    pub(super) fn object_start(bytes: &[u8]) -> Result<usize, Defect> {
        match describe(bytes)?.is_object() {
            true => header_len(bytes),
            false => Err(Defect::new("an array without Python objects", FIX)),
        }
    }

    /// Bytes that the values take in memory, as 32-bit numbers.
    pub(super) fn memory(&self) -> u64 {
        let sides = self.shape.iter().map(|side| *side as u64);
        sides.fold(4, u64::saturating_mul)
    }

    /// Rows and columns, of at most two axes, or of three whose first is a batch of one.
    pub(super) fn sides(&self) -> (usize, usize) {
        match self.shape[..] {
            [] => (1, 1),
            [rows] => (rows, 1),
            [1, rows, cols] | [rows, cols, ..] => (rows, cols),
        }
    }

    /// Size of every axis.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Length of the header, after which the values come.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Bytes that the values take.
    pub(super) fn data_bytes(&self) -> Result<usize, Defect> {
        let values = self
            .shape
            .iter()
            .try_fold(1usize, |all, side| all.checked_mul(*side));
        let bytes = values.and_then(|values| values.checked_mul(self.kind.size()));
        bytes.filter(|bytes| *bytes <= MAX_BYTES).ok_or_else(|| {
            let found = format!("values of shape {:?}, over {MAX_BYTES} bytes", self.shape);
            Defect::new(found, "an array of one image is smaller: check what it is")
        })
    }

    /// The values as numbers of one axis less than 3, row-major; `data` gives them all, and is read
    /// piece by piece.
    ///
    /// # Errors
    /// `data` of another length, or that cannot be read; three axes or more.
    pub(super) fn read(&self, mut data: impl Read) -> Result<Matrix, Defect> {
        let wanted = self.data_bytes()?;
        let size = self.kind.size();
        let (rows, cols) = self.sides();
        let mut matrix = Matrix::new(&self.shape, Vec::new())?;
        // A Fortran array is stored column by column.
        let by_column = self.fortran_order && self.shape.len() > 1;
        let mut piece = vec![0; PIECE * size];
        let mut read = 0;
        loop {
            let filled = fill(&mut data, &mut piece)
                .map_err(|error| Defect::new(format!("it cannot be read ({error})"), DAMAGED))?;
            if read == 0 {
                // Not before there is data: a short file may describe a large array.
                let values = if filled < piece.len() {
                    filled / size
                } else {
                    rows * cols
                };
                matrix.values.reserve_exact(values.min(rows * cols));
            }
            if by_column && matrix.values.is_empty() && filled > 0 {
                matrix.values.resize(rows * cols, 0.0);
            }
            for (at, bytes) in (read / size..).zip(piece[..filled].chunks_exact(size)) {
                match by_column {
                    false if at < rows * cols => matrix.values.push(self.value(bytes)),
                    true if at < rows * cols => {
                        matrix.values[at % rows * cols + at / rows] = self.value(bytes);
                    }
                    _ => {}
                }
            }
            read += filled;
            if filled < piece.len() || read > wanted {
                break;
            }
        }
        if read != wanted {
            let more = if read > wanted { "at least " } else { "" };
            let found = format!(
                "{more}{read} bytes of values, where its shape {:?} takes {wanted}",
                self.shape
            );
            return Err(Defect::new(found, DAMAGED));
        }
        Ok(matrix)
    }

    fn value(&self, bytes: &[u8]) -> f32 {
        let mut little = [0; 8];
        little[..bytes.len()].copy_from_slice(bytes);
        if self.big_endian {
            little[..bytes.len()].reverse();
        }
        let whole = u64::from_le_bytes(little);
        match self.kind {
            Kind::Float(2) => f16::from_bits(whole as u16).to_f32(),
            Kind::Float(4) => f32::from_bits(whole as u32),
            Kind::Float(_) => f64::from_bits(whole) as f32,
            Kind::Unsigned(_) => whole as f32,
            Kind::Int(size) => {
                let unused = 64 - 8 * size as u32;
                ((whole << unused) as i64 >> unused) as f32
            }
        }
    }
}

/// Values that are read at a time.
const PIECE: usize = 4096;

/// Fills the buffer as far as there is data.
fn fill(data: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match data.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// What kind of values an array has.
pub(super) struct Described {
    descr: String,
}

impl Described {
    /// Whether they are Python objects.
    pub(super) fn is_object(&self) -> bool {
        self.descr.contains('O')
    }

    /// Whether they are texts.
    pub(super) fn is_text(&self) -> bool {
        text_width(&self.descr).is_some()
    }
}

/// What the header of an array file says of its values.
///
/// # Errors
/// No header of NumPy.
pub(super) fn describe(bytes: &[u8]) -> Result<Described, Defect> {
    let text = bytes.get(preamble(bytes)?..header_len(bytes)?);
    let text = text.ok_or_else(|| Defect::new("its header is cut off", DAMAGED))?;
    let dictionary = dictionary(text).map_err(|found| Defect::new(found, FIX))?;
    Ok(Described {
        descr: dictionary.descr,
    })
}

/// Bytes of a character and characters of a text of this type: `<U5`, `|S5`.
fn text_width(descr: &str) -> Option<(usize, usize)> {
    let (order, rest) = descr.split_at_checked(1)?;
    let (kind, width) = rest.split_at_checked(1)?;
    let bytes = match (order, kind) {
        ("<" | "=", "U") => 4,
        (_, "S") => 1,
        _ => return None,
    };
    Some((
        bytes,
        width
            .parse()
            .ok()
            .filter(|width| (1..1 << 16).contains(width))?,
    ))
}

/// Arrays of text.
pub(super) struct Texts;

impl Texts {
    /// Reads an array file of one axis.
    pub(super) fn parse(bytes: &[u8]) -> Result<Vec<String>, Defect> {
        let described = describe(bytes)?;
        let data = bytes.get(header_len(bytes)?..).unwrap_or_default();
        let (size, width) = text_width(&described.descr).unwrap_or((1, 1));
        let texts = data.chunks_exact(size * width).map(|text| {
            let characters = text.chunks_exact(size).map(|character| {
                let mut wide = [0; 4];
                wide[..size].copy_from_slice(character);
                char::from_u32(u32::from_le_bytes(wide)).unwrap_or(char::REPLACEMENT_CHARACTER)
            });
            let text: String = characters.collect();
            text.trim_end_matches('\0').to_owned()
        });
        Ok(texts.collect())
    }
}

/// Reads a whole array file of at most two axes.
///
/// # Errors
/// As [`NpyHeader::parse`]; more or fewer values than its shape takes.
pub fn parse_npy(bytes: &[u8]) -> Result<Matrix, Defect> {
    let header = NpyHeader::parse(bytes)?;
    header.read(&bytes[header.len()..])
}

/// Length of what stands before the header's text.
fn preamble(bytes: &[u8]) -> Result<usize, Defect> {
    if !bytes.starts_with(MAGIC) {
        return Err(Defect::new("it does not begin as a NumPy array", FIX));
    }
    match bytes.get(6) {
        Some(1) => Ok(10),
        Some(2 | 3) => Ok(12),
        Some(version) => Err(Defect::new(format!("format version {version}"), FIX)),
        None => Err(Defect::new("its header is cut off", DAMAGED)),
    }
}

/// Length of the header with what stands before it, from its first twelve bytes.
pub(super) fn header_len(bytes: &[u8]) -> Result<usize, Defect> {
    let preamble = preamble(bytes)?;
    let cut = || Defect::new("its header is cut off", DAMAGED);
    let mut len = [0; 4];
    let field = bytes.get(8..preamble).ok_or_else(cut)?;
    len[..field.len()].copy_from_slice(field);
    match u32::from_le_bytes(len) as usize {
        len if len <= MAX_HEADER => Ok(preamble + len),
        len => Err(Defect::new(format!("a header of {len} bytes"), DAMAGED)),
    }
}

/// Type and byte order: `<f4`, `|u1`, `>i8`.
fn kind(descr: &str) -> Result<(Kind, bool), Defect> {
    let refused = |found: String| Err(Defect::new(found, FIX));
    if descr.contains('O') {
        return refused("an array of Python objects, which are pickled and never read".into());
    }
    let (order, rest) = descr.split_at_checked(1).unwrap_or_default();
    let kind = match rest {
        "f2" => Kind::Float(2),
        "f4" => Kind::Float(4),
        "f8" => Kind::Float(8),
        "i1" => Kind::Int(1),
        "i2" => Kind::Int(2),
        "i4" => Kind::Int(4),
        "i8" => Kind::Int(8),
        "u1" | "b1" => Kind::Unsigned(1),
        "u2" => Kind::Unsigned(2),
        "u4" => Kind::Unsigned(4),
        "u8" => Kind::Unsigned(8),
        _ => return refused(format!("values of type {}, not numbers", excerpt(descr))),
    };
    match order {
        "<" | "=" | "|" => Ok((kind, false)),
        ">" => Ok((kind, true)),
        _ => refused(format!("values of type {}, not numbers", excerpt(descr))),
    }
}

/// The header's text: a Python dictionary.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Dictionary {
    descr: String,
    fortran_order: bool,
    shape: Vec<usize>,
}

/// Reads the header's text, which is YAML once its tuples are lists. Python 2 wrote whole numbers as
/// `2L`.
fn dictionary(text: &[u8]) -> Result<Dictionary, String> {
    let text = std::str::from_utf8(text).map_err(|_| "its header is not text")?;
    let mut yaml = text.trim().replace('(', "[").replace(')', "]");
    for (long, short) in [("L,", ","), ("L]", "]")] {
        yaml = yaml.replace(long, short);
    }
    serde_saphyr::from_str(&yaml).map_err(|error| {
        format!(
            "its header {} cannot be read ({})",
            excerpt(text),
            error.without_snippet()
        )
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An array file with this header text.
    pub(in crate::import) fn npy(descr: &str, fortran: &str, shape: &str, data: &[u8]) -> Vec<u8> {
        let text =
            format!("{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}\n");
        let mut bytes = [MAGIC, &[1, 0], &(text.len() as u16).to_le_bytes()].concat();
        bytes.extend(text.bytes());
        bytes.extend(data);
        bytes
    }

    fn parse(descr: &str, fortran: &str, shape: &str, data: &[u8]) -> Result<Matrix, Defect> {
        parse_npy(&npy(descr, fortran, shape, data))
    }

    #[test]
    fn types_and_orders() {
        let floats = |values: &[f32]| {
            values
                .iter()
                .flat_map(|v| v.to_le_bytes())
                .collect::<Vec<_>>()
        };
        let six = floats(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let matrix = parse("'<f4'", "False", "(2, 3)", &six).unwrap();
        assert_eq!((matrix.rows, matrix.cols), (2, 3));
        assert_eq!(matrix.values, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let matrix = parse("'<f4'", "True", "(2L, 3L)", &six).unwrap();
        assert_eq!((matrix.rows, matrix.cols), (2, 3));
        assert_eq!(matrix.values, [1.0, 3.0, 5.0, 2.0, 4.0, 6.0]);
        for (descr, data) in [
            ("'<i8'", &480i64.to_le_bytes()[..]),
            ("\">i4\"", &480i32.to_be_bytes()),
            ("'<u2'", &480u16.to_le_bytes()),
            ("'>f8'", &480f64.to_be_bytes()),
            ("'<f2'", &f16::from_f32(480.0).to_le_bytes()),
        ] {
            let matrix = parse(descr, "False", "()", data).unwrap();
            assert_eq!(
                (matrix.values, matrix.rows, matrix.cols),
                (vec![480.0], 1, 1),
                "{descr}"
            );
        }
        assert_eq!(
            parse("'|i1'", "False", "(2,)", &[255, 1]).unwrap().values,
            [-1.0, 1.0]
        );
        assert_eq!(parse("'<f4'", "False", "(0, 4)", &[]).unwrap().rows, 0);
    }

    #[test]
    fn what_is_not_a_plain_array_of_numbers() {
        let ok = npy("'<f4'", "False", "(1,)", &[0; 4]);
        for (bytes, wanted) in [
            (
                npy("'|O'", "False", "()", &[0; 9]),
                "array of Python objects",
            ),
            (npy("'<U5'", "False", "(1,)", &[0; 20]), "type \"<U5\""),
            (
                npy("[('a', '<f4')]", "False", "(1,)", &[0; 4]),
                "its header",
            ),
            (npy("'<f4'", "False", "(2, 2, 3)", &[0; 48]), "3 axes"),
            (
                npy("'<f4'", "False", "(99999999999999, 99999999999999)", &[]),
                "over 67108864 bytes",
            ),
            (
                npy("'<f4'", "False", "(4096, 4097)", &[]),
                "over 67108864 bytes",
            ),
            (
                npy("'<f4'", "False", "(2,)", &[0; 4]),
                "4 bytes of values, where its shape [2] takes 8",
            ),
            (npy("'<f4'", "False", "(-1,)", &[]), "its header"),
            (npy("'<f4'", "Maybe", "(1,)", &[]), "its header"),
            (b"PK\x03\x04".to_vec(), "does not begin as a NumPy array"),
            (ok[..9].to_vec(), "its header is cut off"),
            (ok[..40].to_vec(), "its header is cut off"),
            ([&ok[..6], &[9], &ok[7..]].concat(), "format version 9"),
        ] {
            let found = parse_npy(&bytes).unwrap_err().found;
            assert!(found.contains(wanted), "{found}");
        }
    }
}
