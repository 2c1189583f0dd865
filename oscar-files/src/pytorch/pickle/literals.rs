//! Instructions that push plain values: numbers, text and bytes.

use super::Problem;
use super::arena::{Node, Slot};
use super::cursor::{raw_unicode, string_literal, text};
use super::machine::Machine;

impl Machine<'_> {
    /// An instruction that pushes a plain value.
    pub(super) fn literal(&mut self, opcode: u8) -> Result<(), Problem> {
        let slot = match opcode {
            b'N' => Slot::None,
            0x88 => Slot::Bool(true),
            0x89 => Slot::Bool(false),
            b'K' => Slot::Int(i64::from(self.cursor.byte()?)),
            b'M' => Slot::Int(i64::from(self.cursor.u16()?)),
            b'J' => Slot::Int(i64::from(self.cursor.i32()?)),
            b'I' => match self.cursor.text_line()? {
                "00" => Slot::Bool(false),
                "01" => Slot::Bool(true),
                digits => return self.decimal(digits),
            },
            b'L' => {
                let digits = self.cursor.text_line()?;
                return self.decimal(digits.strip_suffix('L').unwrap_or(digits));
            }
            0x8a => {
                let length = u64::from(self.cursor.byte()?);
                return self.long(length);
            }
            0x8b => {
                let length = self.cursor.length()?;
                return self.long(length);
            }
            b'G' => Slot::Float(f64::from_be_bytes(self.cursor.array()?)),
            b'F' => {
                let digits = self.cursor.text_line()?;
                let value = digits.parse();
                Slot::Float(value.map_err(|_| Problem::malformed("a float that is no number"))?)
            }
            // Text and bytes.
            0x8c => {
                let length = u64::from(self.cursor.byte()?);
                return self.string(length);
            }
            b'X' => {
                let length = u64::from(self.cursor.u32()?);
                return self.string(length);
            }
            0x8d => {
                let length = self.cursor.u64()?;
                return self.string(length);
            }
            b'V' => {
                let string = raw_unicode(self.cursor.line()?)?;
                return self.push_node(Node::Str(string.into()));
            }
            b'U' => {
                let length = u64::from(self.cursor.byte()?);
                return self.old_string(length);
            }
            b'T' => {
                let length = self.cursor.length()?;
                return self.old_string(length);
            }
            b'S' => {
                let bytes = string_literal(self.cursor.line()?)?;
                return self.push_node(match String::from_utf8(bytes) {
                    Ok(string) => Node::Str(string.into()),
                    Err(error) => Node::OwnedBytes(error.into_bytes()),
                });
            }
            b'C' => {
                let length = u64::from(self.cursor.byte()?);
                return self.bytes(length);
            }
            b'B' => {
                let length = u64::from(self.cursor.u32()?);
                return self.bytes(length);
            }
            0x8e | 0x96 => {
                let length = self.cursor.u64()?;
                return self.bytes(length);
            }
            // A buffer that is read-only stays what it is.
            0x98 => return self.top().map(drop),
            0x97 => {
                return Err(Problem::unsupported(
                    "a pickle whose buffers are kept outside of it",
                ));
            }
            0x82..=0x84 => return Err(Problem::unsupported("the registry of pickle extensions")),
            b'P' => return Err(Problem::unsupported("a persistent id in text form")),
            byte => return Err(Problem::Instruction { byte }),
        };
        self.stack.push(slot);
        Ok(())
    }

    fn decimal(&mut self, digits: &str) -> Result<(), Problem> {
        if let Ok(value) = digits.parse() {
            self.stack.push(Slot::Int(value));
            return Ok(());
        }
        let value: i128 = digits
            .parse()
            .map_err(|_| Problem::unsupported("an integer in text form beyond 127 bits"))?;
        self.push_node(Node::BigInt(minimal(&value.to_le_bytes()).into()))
    }

    fn long(&mut self, length: u64) -> Result<(), Problem> {
        let bytes = minimal(self.cursor.take(length)?);
        if bytes.len() > 8 {
            return self.push_node(Node::BigInt(bytes.into()));
        }
        let negative = bytes.last().is_some_and(|byte| *byte >= 0x80);
        let mut wide = if negative { [0xff; 8] } else { [0; 8] };
        for (to, from) in wide.iter_mut().zip(bytes) {
            *to = *from;
        }
        self.stack.push(Slot::Int(i64::from_le_bytes(wide)));
        Ok(())
    }

    fn string(&mut self, length: u64) -> Result<(), Problem> {
        let string = text(self.cursor.take(length)?)?;
        self.push_node(Node::Str(string.into()))
    }

    /// A string of Python 2: text if it is UTF-8.
    fn old_string(&mut self, length: u64) -> Result<(), Problem> {
        let range = self.cursor.range(length)?;
        let bytes = self.input.get(range.clone()).unwrap_or_default();
        self.push_node(match std::str::from_utf8(bytes) {
            Ok(string) => Node::Str(string.into()),
            Err(_) => Node::Bytes(range),
        })
    }

    fn bytes(&mut self, length: u64) -> Result<(), Problem> {
        let range = self.cursor.range(length)?;
        self.push_node(Node::Bytes(range))
    }
}

/// Two's complement bytes without those that only repeat the sign.
fn minimal(bytes: &[u8]) -> &[u8] {
    let mut bytes = bytes;
    while let [rest @ .., before, last] = bytes {
        let redundant = matches!((last, before), (0, 0..=0x7f) | (0xff, 0x80..=0xff));
        if !redundant {
            break;
        }
        bytes = &bytes[..rest.len() + 1];
    }
    bytes
}
