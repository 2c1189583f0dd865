//! The stack machine: one instruction after the other.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use safetensors::Dtype;

use super::classes::Class;
use super::cursor::{Cursor, raw_unicode, string_literal, text};
use super::error::printable;
use super::numpy::{ArraySpec, NumpyType};
use super::{Limits, PickleError, Problem};

/// A value on the stack or inside another: small ones themselves, others by number.
#[derive(Clone, Copy, Debug)]
pub(super) enum Slot {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Class(Class),
    Node(u32),
}

/// A value in the arena.
pub(super) enum Node {
    BigInt(Arc<[u8]>),
    Complex(f64, f64),
    Str(Arc<str>),
    /// In place.
    Bytes(Range<usize>),
    /// Made by the program.
    OwnedBytes(Vec<u8>),
    List(Vec<Slot>),
    Tuple(Vec<Slot>),
    Set(Vec<Slot>),
    Dict(Vec<(Slot, Slot)>),
    Object(&'static str, Vec<(Slot, Slot)>),
    Storage(Box<StorageSpec>),
    Tensor(Box<TensorSpec>),
    NumpyType(Box<NumpyType>),
    Array(Box<ArraySpec>),
}

/// What the pickle says about a storage.
#[derive(Clone, Debug)]
pub(in super::super) struct StorageSpec {
    pub key: Arc<str>,
    /// Type of its elements; none if it is bytes.
    pub dtype: Option<Dtype>,
    /// Its size in bytes.
    pub bytes: usize,
    /// The part of storage `key` that it is, in bytes; none if it is the whole.
    pub part: Option<Range<usize>>,
}

/// What the pickle says about a tensor; checked when it is frozen.
pub(super) struct TensorSpec {
    pub storage: u32,
    pub dtype: Dtype,
    pub offset: i64,
    pub shape: Slot,
    pub strides: Slot,
}

/// A program that has run.
pub(in super::super) struct Parsed {
    pub(super) input: Bytes,
    pub(super) limits: Limits,
    pub(super) nodes: Vec<Node>,
    pub(super) root: Slot,
    /// First byte of the program, and the first after it.
    pub(super) start: usize,
    end: usize,
}

impl Parsed {
    /// The byte after the pickle.
    pub fn end(&self) -> usize {
        self.end
    }

    /// The storages that the program names, by key.
    pub fn storages(&self) -> HashMap<Arc<str>, StorageSpec> {
        let specs = self.nodes.iter().filter_map(|node| match node {
            Node::Storage(spec) => Some((spec.key.clone(), StorageSpec::clone(spec))),
            _ => None,
        });
        specs.collect()
    }

    /// Whether the value is the integer with these bytes, little-endian and above 64 bits.
    pub fn is_big_int(&self, bytes: &[u8]) -> bool {
        match self.root {
            Slot::Node(id) => {
                matches!(self.nodes.get(id as usize), Some(Node::BigInt(found)) if **found == *bytes)
            }
            _ => false,
        }
    }
}

/// Runs the program that starts at byte `start` of `input`.
pub(in super::super) fn run(
    input: &Bytes,
    start: usize,
    limits: &Limits,
) -> Result<Parsed, PickleError> {
    let mut machine = Machine {
        input,
        cursor: Cursor::new(input, start),
        start,
        limits,
        nodes: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: Vec::new(),
        copied: 0,
    };
    loop {
        let at = machine.cursor.position();
        let step = machine.step().map_err(|problem| problem.at(at))?;
        if let Some(root) = step {
            return Ok(Parsed {
                input: input.clone(),
                limits: *limits,
                root,
                start,
                end: machine.cursor.position(),
                nodes: machine.nodes,
            });
        }
    }
}

pub(super) struct Machine<'a> {
    pub input: &'a Bytes,
    cursor: Cursor<'a>,
    start: usize,
    pub limits: &'a Limits,
    pub nodes: Vec<Node>,
    pub stack: Vec<Slot>,
    /// Heights of the stack at which a mark lies.
    marks: Vec<usize>,
    memo: Vec<Slot>,
    /// Values and bytes that calls have copied; a program copies less than it reads.
    copied: usize,
}

impl Machine<'_> {
    /// Does one instruction; the value of the program if it was the last.
    fn step(&mut self) -> Result<Option<Slot>, Problem> {
        let opcode = self.cursor.byte()?;
        match opcode {
            b'.' => return self.pop().map(Some),
            // Framing and protocol.
            0x80 => {
                let version = self.cursor.byte()?;
                if version > 5 {
                    return Err(Problem::unsupported(format!(
                        "pickle protocol {version}; protocols 0 to 5 are read"
                    )));
                }
            }
            0x95 => {
                let length = self.cursor.u64()?;
                let left = self.input.len().saturating_sub(self.cursor.position());
                if length > left as u64 {
                    return Err(Problem::Truncated {
                        wanted: length,
                        left,
                    });
                }
            }
            // The stack.
            b'(' => self.marks.push(self.stack.len()),
            b'0' => self.discard()?,
            b'1' => drop(self.pop_mark()?),
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
            }
            // The memo.
            b'p' => {
                let key = self.cursor.text_line()?;
                let key = parse_number(key)?;
                self.put(key)?;
            }
            b'q' => {
                let key = self.cursor.byte()?;
                self.put(u64::from(key))?;
            }
            b'r' => {
                let key = self.cursor.u32()?;
                self.put(u64::from(key))?;
            }
            0x94 => self.put(self.memo.len() as u64)?,
            b'g' => {
                let key = self.cursor.text_line()?;
                let key = parse_number(key)?;
                self.get(key)?;
            }
            b'h' => {
                let key = self.cursor.byte()?;
                self.get(u64::from(key))?;
            }
            b'j' => {
                let key = self.cursor.u32()?;
                self.get(u64::from(key))?;
            }
            // Containers.
            b']' => self.push_node(Node::List(Vec::new()))?,
            b'}' => self.push_node(Node::Dict(Vec::new()))?,
            b')' => self.push_node(Node::Tuple(Vec::new()))?,
            0x8f => self.push_node(Node::Set(Vec::new()))?,
            b'l' => {
                let items = self.pop_mark()?;
                self.push_node(Node::List(items))?;
            }
            b't' => {
                let items = self.pop_mark()?;
                self.push_node(Node::Tuple(items))?;
            }
            0x91 => {
                let items = self.pop_mark()?;
                self.push_node(Node::Set(items))?;
            }
            b'd' => {
                let items = pairs(&self.pop_mark()?)?;
                self.push_node(Node::Dict(items))?;
            }
            0x85 => self.tuple(1)?,
            0x86 => self.tuple(2)?,
            0x87 => self.tuple(3)?,
            b'a' => {
                let item = self.pop()?;
                self.extend_list(&[item])?;
            }
            b'e' => {
                let items = self.pop_mark()?;
                self.extend_list(&items)?;
            }
            0x90 => {
                let items = self.pop_mark()?;
                match self.top_node()? {
                    Node::Set(set) => set.extend(items),
                    _ => return Err(Problem::malformed("items are added to what is no set")),
                }
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.extend_dict(vec![(key, value)])?;
            }
            b'u' => {
                let items = pairs(&self.pop_mark()?)?;
                self.extend_dict(items)?;
            }
            // Classes and calls.
            b'c' => {
                let module = self.cursor.text_line()?;
                let name = self.cursor.text_line()?;
                self.push_class(module, name)?;
            }
            0x93 => {
                let name = self.pop()?;
                let module = self.pop()?;
                let (module, name) = (self.str_of(module)?.clone(), self.str_of(name)?.clone());
                self.push_class(&module, &name)?;
            }
            b'R' => {
                let arguments = self.pop()?;
                let callable = self.pop()?;
                self.call(callable, arguments)?;
            }
            0x81 => {
                let arguments = self.pop()?;
                let class = self.pop()?;
                self.new_object(class, arguments)?;
            }
            0x92 => {
                let keywords = self.pop()?;
                let arguments = self.pop()?;
                let class = self.pop()?;
                if !matches!(self.node_of(keywords), Some(Node::Dict(entries)) if entries.is_empty())
                {
                    return Err(Problem::unsupported("an object made from keywords"));
                }
                self.new_object(class, arguments)?;
            }
            b'o' => {
                let items = self.pop_mark()?;
                let (class, arguments) = items
                    .split_first()
                    .ok_or_else(|| Problem::malformed("an object without a class"))?;
                let arguments = self.add(Node::Tuple(arguments.to_vec()))?;
                self.instance(*class, arguments)?;
            }
            b'i' => {
                let module = self.cursor.text_line()?;
                let name = self.cursor.text_line()?;
                let arguments = self.pop_mark()?;
                self.push_class(module, name)?;
                let class = self.pop()?;
                let arguments = self.add(Node::Tuple(arguments))?;
                self.instance(class, arguments)?;
            }
            b'b' => {
                let state = self.pop()?;
                self.build(state)?;
            }
            b'Q' => {
                let id = self.pop()?;
                self.persistent(id)?;
            }
            _ => self.literal(opcode)?,
        }
        Ok(None)
    }

    /// An instruction that pushes a plain value.
    fn literal(&mut self, opcode: u8) -> Result<(), Problem> {
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

    fn push_class(&mut self, module: &str, name: &str) -> Result<(), Problem> {
        let class = Class::find(module, name).ok_or_else(|| Problem::Refused {
            class: printable(&format!("{module}.{name}")),
        })?;
        self.stack.push(Slot::Class(class));
        Ok(())
    }

    fn tuple(&mut self, count: usize) -> Result<(), Problem> {
        let floor = self.marks.last().copied().unwrap_or(0);
        let start = self.stack.len().checked_sub(count);
        match start {
            Some(start) if start >= floor => {
                let items = self.stack.split_off(start);
                self.push_node(Node::Tuple(items))
            }
            _ => Err(underflow()),
        }
    }

    fn extend_list(&mut self, items: &[Slot]) -> Result<(), Problem> {
        match self.top_node()? {
            Node::List(list) => list.extend_from_slice(items),
            _ => return Err(Problem::malformed("items are appended to what is no list")),
        }
        Ok(())
    }

    fn extend_dict(&mut self, items: Vec<(Slot, Slot)>) -> Result<(), Problem> {
        match self.top_node()? {
            Node::Dict(entries) => entries.extend(items),
            _ => return Err(Problem::malformed("items are set in what is no dictionary")),
        }
        Ok(())
    }

    /// Remembers the top of the stack.
    ///
    /// Numbers are given one after the other, so none is beyond the bytes read: a larger one is
    /// refused, instead of making room for it.
    fn put(&mut self, key: u64) -> Result<(), Problem> {
        let top = self.top()?;
        let read = self.cursor.position().saturating_sub(self.start);
        let key = match usize::try_from(key) {
            Ok(key) if key <= read => key,
            _ => return Err(Problem::malformed(format!("memo number {key}"))),
        };
        if key >= self.memo.len() {
            self.memo.resize(key + 1, Slot::None);
        }
        if let Some(slot) = self.memo.get_mut(key) {
            *slot = top;
        }
        Ok(())
    }

    fn get(&mut self, key: u64) -> Result<(), Problem> {
        let slot = usize::try_from(key)
            .ok()
            .and_then(|key| self.memo.get(key))
            .ok_or_else(|| Problem::malformed(format!("memo number {key} was never given")))?;
        self.stack.push(*slot);
        Ok(())
    }

    fn discard(&mut self) -> Result<(), Problem> {
        match self.marks.last() {
            Some(mark) if *mark == self.stack.len() => {
                self.marks.pop();
                Ok(())
            }
            _ => self.pop().map(drop),
        }
    }

    /// Takes the top, but nothing below the last mark.
    fn pop(&mut self) -> Result<Slot, Problem> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.len() > floor {
            true => self.stack.pop().ok_or_else(underflow),
            false => Err(underflow()),
        }
    }

    fn pop_mark(&mut self) -> Result<Vec<Slot>, Problem> {
        let mark = self.marks.pop();
        match mark {
            Some(mark) if mark <= self.stack.len() => Ok(self.stack.split_off(mark)),
            _ => Err(Problem::malformed("a mark is missing")),
        }
    }

    pub fn top(&self) -> Result<Slot, Problem> {
        self.stack.last().copied().ok_or_else(underflow)
    }

    fn top_node(&mut self) -> Result<&mut Node, Problem> {
        match self.top()? {
            Slot::Node(id) => self.nodes.get_mut(id as usize).ok_or_else(underflow),
            _ => Err(Problem::malformed("a plain value has no items")),
        }
    }

    /// The arena's value of a slot, if it lies there.
    pub fn node_of(&self, slot: Slot) -> Option<&Node> {
        match slot {
            Slot::Node(id) => self.nodes.get(id as usize),
            _ => None,
        }
    }

    pub fn str_of(&self, slot: Slot) -> Result<&Arc<str>, Problem> {
        match self.node_of(slot) {
            Some(Node::Str(string)) => Ok(string),
            _ => Err(Problem::malformed(
                "a value that is no text where text is due",
            )),
        }
    }

    pub fn push_node(&mut self, node: Node) -> Result<(), Problem> {
        let slot = self.add(node)?;
        self.stack.push(slot);
        Ok(())
    }

    pub fn add(&mut self, node: Node) -> Result<Slot, Problem> {
        let limit = self.limits.max_values;
        let id = u32::try_from(self.nodes.len());
        match id {
            Ok(id) if (id as usize) < limit => {
                self.nodes.push(node);
                Ok(Slot::Node(id))
            }
            _ => Err(Problem::Limit {
                what: "too many values",
                limit: limit as u64,
            }),
        }
    }

    /// Counts values or bytes that a call copies.
    pub fn copy(&mut self, count: usize) -> Result<(), Problem> {
        self.copied = self.copied.saturating_add(count);
        let limit = self.input.len();
        match self.copied <= limit {
            true => Ok(()),
            false => Err(Problem::Limit {
                what: "copies of itself",
                limit: limit as u64,
            }),
        }
    }
}

fn underflow() -> Problem {
    Problem::malformed("an instruction lacks its operands")
}

pub(super) fn pairs(items: &[Slot]) -> Result<Vec<(Slot, Slot)>, Problem> {
    let (pairs, rest) = items.as_chunks::<2>();
    match rest.is_empty() {
        true => Ok(pairs.iter().map(|[key, value]| (*key, *value)).collect()),
        false => Err(Problem::malformed("a key without a value")),
    }
}

fn parse_number(digits: &str) -> Result<u64, Problem> {
    digits
        .parse()
        .map_err(|_| Problem::malformed(format!("memo number {:?}", printable(digits))))
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
