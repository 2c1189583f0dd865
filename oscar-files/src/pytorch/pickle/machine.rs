//! The stack machine: one instruction after the other.

use std::sync::Arc;

use bytes::Bytes;

use super::arena::{Node, Parsed, Slot};
use super::classes::Class;
use super::cursor::Cursor;
use super::error::printable;
use super::{Limits, PickleError, Problem};

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
    pub cursor: Cursor<'a>,
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
                self.call(class, arguments)?;
            }
            0x92 => {
                let keywords = self.pop()?;
                let arguments = self.pop()?;
                let class = self.pop()?;
                if !matches!(self.node_of(keywords), Some(Node::Dict(entries)) if entries.is_empty())
                {
                    return Err(Problem::unsupported("an object made from keywords"));
                }
                self.call(class, arguments)?;
            }
            b'o' => {
                let items = self.pop_mark()?;
                let (class, arguments) = items
                    .split_first()
                    .ok_or_else(|| Problem::malformed("an object without a class"))?;
                let arguments = self.add(Node::Tuple(arguments.to_vec()))?;
                self.call(*class, arguments)?;
            }
            b'i' => {
                let module = self.cursor.text_line()?;
                let name = self.cursor.text_line()?;
                let arguments = self.pop_mark()?;
                self.push_class(module, name)?;
                let class = self.pop()?;
                let arguments = self.add(Node::Tuple(arguments))?;
                self.call(class, arguments)?;
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

    fn push_class(&mut self, module: &str, name: &str) -> Result<(), Problem> {
        let class = Class::find(module, name).ok_or_else(|| match (module, name) {
            ("torch.storage", "_load_from_bytes") => Problem::unsupported(
                "tensors that pickle.dump wrote are not read; save them with torch.save",
            ),
            _ => Problem::Refused {
                class: printable(&format!("{module}.{name}")),
            },
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
