//! NumPy's arrays, types and scalars, as their pickles describe them.

use std::sync::Arc;

use safetensors::Dtype;

use super::Problem;
use super::arena::Slot;

/// `numpy.dtype`
#[derive(Clone, Debug)]
pub(super) struct NumpyType {
    /// Kind and size: `f4`.
    pub code: Arc<str>,
    /// Whether the most significant byte comes first.
    pub big_endian: bool,
    /// Whether it has fields or is an array itself.
    pub structured: bool,
}

/// `numpy.ndarray`, before its state is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct ArraySpec {
    pub dtype: Slot,
    pub shape: Slot,
    pub fortran: bool,
    pub data: Slot,
}

impl NumpyType {
    /// The type of its elements if it is one number; text, objects and records have none.
    pub fn number(&self) -> Option<Dtype> {
        if self.structured {
            return None;
        }
        Some(match &*self.code {
            "f2" => Dtype::F16,
            "f4" => Dtype::F32,
            "f8" => Dtype::F64,
            "i1" => Dtype::I8,
            "i2" => Dtype::I16,
            "i4" => Dtype::I32,
            "i8" => Dtype::I64,
            "u1" => Dtype::U8,
            "u2" => Dtype::U16,
            "u4" => Dtype::U32,
            "u8" => Dtype::U64,
            "b1" | "?" => Dtype::BOOL,
            _ => return None,
        })
    }

    /// As NumPy writes it: `<f4`.
    pub fn description(&self) -> String {
        let order = match (self.big_endian, self.number()) {
            (true, _) => ">",
            (false, Some(Dtype::BOOL | Dtype::I8 | Dtype::U8)) => "|",
            (false, _) => "<",
        };
        format!("{order}{}", self.code)
    }
}

/// The value of a NumPy scalar.
pub(super) fn scalar(dtype: &NumpyType, bytes: &[u8]) -> Result<Slot, Problem> {
    fn exact<const N: usize>(bytes: &[u8], big_endian: bool) -> Option<[u8; N]> {
        let mut bytes: [u8; N] = bytes.try_into().ok()?;
        if big_endian {
            bytes.reverse();
        }
        Some(bytes)
    }
    let big = dtype.big_endian;
    let integer = |value: Option<i64>| value.map(Slot::Int);
    let slot = match dtype.number() {
        Some(Dtype::F64) => exact(bytes, big).map(|b| Slot::Float(f64::from_le_bytes(b))),
        Some(Dtype::F32) => {
            exact(bytes, big).map(|b| Slot::Float(f64::from(f32::from_le_bytes(b))))
        }
        Some(Dtype::F16) => {
            exact(bytes, big).map(|b| Slot::Float(half::f16::from_le_bytes(b).to_f64()))
        }
        Some(Dtype::I64) => integer(exact(bytes, big).map(i64::from_le_bytes)),
        Some(Dtype::I32) => integer(exact(bytes, big).map(|b| i32::from_le_bytes(b).into())),
        Some(Dtype::I16) => integer(exact(bytes, big).map(|b| i16::from_le_bytes(b).into())),
        Some(Dtype::I8) => integer(exact(bytes, big).map(|b| i8::from_le_bytes(b).into())),
        Some(Dtype::U32) => integer(exact(bytes, big).map(|b| u32::from_le_bytes(b).into())),
        Some(Dtype::U16) => integer(exact(bytes, big).map(|b| u16::from_le_bytes(b).into())),
        Some(Dtype::U8) => integer(exact(bytes, big).map(|b| u8::from_le_bytes(b).into())),
        Some(Dtype::U64) => {
            integer(exact(bytes, big).and_then(|b| i64::try_from(u64::from_le_bytes(b)).ok()))
        }
        Some(Dtype::BOOL) => exact(bytes, big).map(|[b]| Slot::Bool(b != 0)),
        _ => None,
    };
    slot.ok_or_else(|| {
        Problem::unsupported(format!(
            "a NumPy scalar of type {} in {} bytes",
            dtype.description(),
            bytes.len()
        ))
    })
}
