//! Opcodes that push plain values: numbers, text and bytes.

use super::Problem;
use super::arena::{Node, Slot};
use super::cursor::{raw_unicode, string_literal, text};
use super::machine::Machine;

impl Machine<'_> {
    /// An opcode that pushes a plain value.
    pub(super) fn literal(&mut self, opcode: u8) -> Result<(), Problem> {
        let slot = match opcode {
            b'N' => Slot::None,
            0x88 => Slot::Bool(true),
            0x89 => Slot::Bool(false),
            b'K' => Slot::Int(i64::from(self.cursor.byte()?)),
            b'M' => Slot::Int(i64::from(u16::from_le_bytes(self.cursor.array()?))),
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
            0x8a | 0x8b => {
                let length = self.length(opcode)?;
                return self.long(length);
            }
            b'G' => Slot::Float(f64::from_be_bytes(self.cursor.array()?)),
            b'F' => {
                let value = self.cursor.text_line()?.parse();
                Slot::Float(value.map_err(|_| Problem::malformed("an invalid float"))?)
            }
            // A buffer that is read-only stays what it is.
            0x98 => return self.top().map(drop),
            _ => return self.text_or_bytes(opcode),
        };
        self.stack.push(slot);
        Ok(())
    }

    fn text_or_bytes(&mut self, opcode: u8) -> Result<(), Problem> {
        match opcode {
            0x8c | b'X' | 0x8d => {
                let length = self.length(opcode)?;
                let string = text(self.cursor.take(length)?)?;
                self.push_node(Node::Str(string.into()))
            }
            b'V' => {
                let string = raw_unicode(self.cursor.line()?)?;
                self.push_node(Node::Str(string.into()))
            }
            // Strings of Python 2: text if they are UTF-8.
            b'U' | b'T' => {
                let length = self.length(opcode)?;
                let range = self.cursor.range(length)?;
                let bytes = self.input.get(range.clone()).unwrap_or_default();
                self.push_node(match std::str::from_utf8(bytes) {
                    Ok(string) => Node::Str(string.into()),
                    Err(_) => Node::Bytes(range),
                })
            }
            b'S' => {
                let bytes = string_literal(self.cursor.line()?)?;
                self.push_node(match String::from_utf8(bytes) {
                    Ok(string) => Node::Str(string.into()),
                    Err(error) => Node::OwnedBytes(error.into_bytes()),
                })
            }
            b'C' | b'B' | 0x8e | 0x96 => {
                let length = self.length(opcode)?;
                let range = self.cursor.range(length)?;
                self.push_node(Node::Bytes(range))
            }
            0x97 => Err(Problem::unsupported("a pickle with out-of-band buffers")),
            0x82..=0x84 => Err(Problem::unsupported("the registry of pickle extensions")),
            b'P' => Err(Problem::unsupported("a persistent id in text form")),
            byte => Err(Problem::Opcode { byte }),
        }
    }

    /// The length that precedes the content of a string, bytes or a long integer.
    fn length(&mut self, opcode: u8) -> Result<u64, Problem> {
        match opcode {
            0x8a | 0x8c | b'U' | b'C' => self.cursor.unsigned(1),
            b'X' | b'B' => self.cursor.unsigned(4),
            0x8b | b'T' => self.cursor.length(),
            _ => self.cursor.unsigned(8),
        }
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
