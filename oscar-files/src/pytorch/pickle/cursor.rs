//! Operands of pickle opcodes.

use std::ops::Range;

use super::Problem;
use super::error::printable;

/// Reads operands from the pickle.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    pub fn position(&self) -> usize {
        self.at
    }

    /// The place of the next `count` bytes.
    pub fn range(&mut self, count: u64) -> Result<Range<usize>, Problem> {
        let left = self.bytes.len().saturating_sub(self.at);
        match usize::try_from(count) {
            Ok(length) if length <= left => {
                let start = self.at;
                self.at += length;
                Ok(start..self.at)
            }
            _ => Err(Problem::Truncated {
                wanted: count,
                left,
            }),
        }
    }

    /// The next `count` bytes.
    pub fn take(&mut self, count: u64) -> Result<&'a [u8], Problem> {
        let range = self.range(count)?;
        Ok(self.bytes.get(range).unwrap_or_default())
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Problem> {
        let mut output = [0; N];
        output.copy_from_slice(self.take(N as u64)?);
        Ok(output)
    }

    pub fn byte(&mut self) -> Result<u8, Problem> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub fn i32(&mut self) -> Result<i32, Problem> {
        Ok(i32::from_le_bytes(self.array()?))
    }

    /// An unsigned little-endian number of up to eight bytes.
    pub fn unsigned(&mut self, width: usize) -> Result<u64, Problem> {
        let bytes = self.take(width as u64)?;
        let byte = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
        Ok(bytes.iter().rev().fold(0, byte))
    }

    /// A length of 32 bits that must not be negative.
    pub fn length(&mut self) -> Result<u64, Problem> {
        let length = self.i32()?;
        u64::try_from(length).map_err(|_| Problem::malformed(format!("a length of {length} bytes")))
    }

    /// Up to the end of the line, without it.
    pub fn line(&mut self) -> Result<&'a [u8], Problem> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        match rest.iter().position(|byte| *byte == b'\n') {
            Some(length) => {
                self.at += length + 1;
                Ok(rest.get(..length).unwrap_or_default())
            }
            None => Err(Problem::Truncated {
                wanted: rest.len() as u64 + 1,
                left: rest.len(),
            }),
        }
    }

    pub fn text_line(&mut self) -> Result<&'a str, Problem> {
        let line = self.line()?;
        text(line.strip_suffix(b"\r").unwrap_or(line))
    }
}

pub(super) fn text(bytes: &[u8]) -> Result<&str, Problem> {
    std::str::from_utf8(bytes).map_err(|error| {
        Problem::unsupported(format!(
            "text that is not UTF-8: {:?}",
            printable(&String::from_utf8_lossy(
                bytes.get(..error.valid_up_to() + 1).unwrap_or(bytes)
            ))
        ))
    })
}

/// The bytes of a Python string literal: `'it\'s'`.
pub(super) fn string_literal(line: &[u8]) -> Result<Vec<u8>, Problem> {
    let bad = || Problem::malformed("a string without quotes");
    let line = line.trim_ascii();
    let (quote, rest) = line.split_first().ok_or_else(bad)?;
    let (last, inner) = rest.split_last().ok_or_else(bad)?;
    if quote != last || !matches!(quote, b'\'' | b'"') {
        return Err(bad());
    }
    let mut output = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            output.push(byte);
            continue;
        }
        let escaped = bytes.next().ok_or_else(bad)?;
        match escaped {
            b'a' => output.push(7),
            b'b' => output.push(8),
            b't' => output.push(b'\t'),
            b'n' => output.push(b'\n'),
            b'v' => output.push(11),
            b'f' => output.push(12),
            b'r' => output.push(b'\r'),
            b'\\' | b'\'' | b'"' => output.push(escaped),
            b'x' => {
                let digits = [bytes.next(), bytes.next()];
                let value = digits.into_iter().try_fold(0u8, |value, digit| {
                    let digit = char::from(digit?).to_digit(16)?;
                    Some(value * 16 + u8::try_from(digit).ok()?)
                });
                output.push(value.ok_or_else(|| Problem::malformed("an invalid \\x escape"))?);
            }
            b'0'..=b'7' => {
                let mut value = u32::from(escaped - b'0');
                for _ in 0..2 {
                    let Some(digit) = bytes.next_if(|byte| matches!(byte, b'0'..=b'7')) else {
                        break;
                    };
                    value = value * 8 + u32::from(digit - b'0');
                }
                output.push((value & 0xff) as u8);
            }
            other => output.extend([b'\\', other]),
        }
    }
    Ok(output)
}

/// The text of a line in which `\uXXXX` and `\UXXXXXXXX` stand for characters and every other byte
/// for itself, as Latin-1.
pub(super) fn raw_unicode(line: &[u8]) -> Result<String, Problem> {
    let mut units: Vec<u32> = Vec::with_capacity(line.len());
    let mut rest = line;
    while let Some((&byte, after)) = rest.split_first() {
        let digits = match (byte, after.first()) {
            (b'\\', Some(b'u')) => 4,
            (b'\\', Some(b'U')) => 8,
            _ => {
                units.push(u32::from(byte));
                rest = after;
                continue;
            }
        };
        let value = after
            .get(1..1 + digits)
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u32::from_str_radix(digits, 16).ok());
        units.push(value.ok_or_else(|| Problem::malformed("a wrong \\u escape"))?);
        rest = after.get(1 + digits..).unwrap_or_default();
    }
    // Python 2 may have written a character as a pair of surrogates.
    let mut output = String::with_capacity(units.len());
    let mut units = units.into_iter().peekable();
    while let Some(unit) = units.next() {
        let low = units.peek().copied();
        let character = match (unit, low) {
            (0xd800..=0xdbff, Some(low @ 0xdc00..=0xdfff)) => {
                units.next();
                char::from_u32(0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00))
            }
            (unit, _) => char::from_u32(unit),
        };
        output.push(
            character.ok_or_else(|| Problem::unsupported("text with half a surrogate pair"))?,
        );
    }
    Ok(output)
}
