//! The stack machine, which executes one opcode after the other.

use std::sync::Arc;

use bytes::Bytes;

use super::arena::{Node, Parsed, Slot};
use super::classes::Class;
use super::cost;
use super::cursor::Cursor;
use super::error::printable;
use super::{Limits, PickleError, Problem};
use crate::Budget;

/// Runs the program that starts at byte `start` of `input`.
pub(in super::super) fn run(
    input: &Bytes,
    start: usize,
    limits: &Limits,
) -> Result<Parsed, PickleError> {
    run_with(input, start, limits, false)
}

/// As [`run`], for a file inside a pickle; there is none inside that one.
pub(in super::super) fn run_nested(
    input: &Bytes,
    start: usize,
    limits: &Limits,
) -> Result<Parsed, PickleError> {
    run_with(input, start, limits, true)
}

fn run_with(
    input: &Bytes,
    start: usize,
    limits: &Limits,
    nested: bool,
) -> Result<Parsed, PickleError> {
    let mut machine = Machine {
        nested,
        input,
        cursor: Cursor::new(input, start),
        start,
        limits,
        nodes: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: Vec::new(),
        copied: 0,
        budget: Budget::of_file(input.len() as u64, limits.memory_factor),
        highest: 0,
    };
    loop {
        let at = machine.cursor.position();
        let step = machine.step().map_err(|problem| problem.at(at))?;
        machine.account().map_err(|problem| problem.at(at))?;
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
    /// Whether the program is in a file inside another pickle.
    pub nested: bool,
    pub input: &'a Bytes,
    pub cursor: Cursor<'a>,
    start: usize,
    pub limits: &'a Limits,
    pub nodes: Vec<Node>,
    pub stack: Vec<Slot>,
    /// Heights of the stack at which marks were set.
    marks: Vec<usize>,
    memo: Vec<Slot>,
    /// Values and bytes that calls have copied; a program copies less than it reads.
    copied: usize,
    /// Memory for the arena and for the value that it is turned into.
    pub budget: Budget,
    /// Most values and marks that were on the stack.
    highest: usize,
}

impl Machine<'_> {
    /// Executes one opcode; returns the value of the program after the last one.
    fn step(&mut self) -> Result<Option<Slot>, Problem> {
        let opcode = self.cursor.byte()?;
        match opcode {
            b'.' => return self.pop().map(Some),
            0x80 | 0x95 => self.framing(opcode)?,
            b'(' => self.marks.push(self.stack.len()),
            b'0' => self.discard()?,
            b'1' => drop(self.pop_mark()?),
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
            }
            b'p' | b'q' | b'r' | 0x94 | b'g' | b'h' | b'j' => self.memo(opcode)?,
            b']' | b'}' | b')' | 0x8f | b'l' | b't' | 0x91 | b'd' | 0x85..=0x87 => {
                self.container(opcode)?;
            }
            b'a' | b'e' | 0x90 | b's' | b'u' => self.fill(opcode)?,
            b'c' | 0x93 | b'R' | 0x81 | 0x92 | b'o' | b'i' | b'b' | b'Q' => self.object(opcode)?,
            _ => self.literal(opcode)?,
        }
        Ok(None)
    }

    /// Takes memory for the stack when it grows.
    fn account(&mut self) -> Result<(), Problem> {
        let height = self.stack.len() + self.marks.len();
        if let Some(grown) = height.checked_sub(self.highest).filter(|grown| *grown > 0) {
            self.budget.take(grown as u64 * cost::SLOT)?;
            self.highest = height;
        }
        Ok(())
    }

    /// Protocol and frame.
    fn framing(&mut self, opcode: u8) -> Result<(), Problem> {
        if opcode == 0x80 {
            return match self.cursor.byte()? {
                0..=5 => Ok(()),
                version => Err(Problem::unsupported(format!(
                    "pickle protocol {version}; protocols 0 to 5 are supported"
                ))),
            };
        }
        let wanted = self.cursor.unsigned(8)?;
        let left = self.input.len().saturating_sub(self.cursor.position());
        match wanted <= left as u64 {
            true => Ok(()),
            false => Err(Problem::Truncated { wanted, left }),
        }
    }

    /// Stores to and loads from the memo.
    fn memo(&mut self, opcode: u8) -> Result<(), Problem> {
        let key = match opcode {
            b'p' | b'g' => parse_number(self.cursor.text_line()?)?,
            b'q' | b'h' => self.cursor.unsigned(1)?,
            b'r' | b'j' => self.cursor.unsigned(4)?,
            _ => self.memo.len() as u64,
        };
        match opcode {
            b'g' | b'h' | b'j' => self.get(key),
            _ => self.put(key),
        }
    }

    /// Pushes a new container.
    fn container(&mut self, opcode: u8) -> Result<(), Problem> {
        let node = match opcode {
            b']' => Node::List(Vec::new()),
            b'}' => Node::Dict(Vec::new()),
            b')' => Node::Tuple(Vec::new()),
            0x8f => Node::Set(Vec::new()),
            b'l' => Node::List(self.pop_mark()?),
            b't' => Node::Tuple(self.pop_mark()?),
            0x91 => Node::Set(self.pop_mark()?),
            b'd' => Node::Dict(pairs(&self.pop_mark()?)?),
            // 0x85 to 0x87: of one to three items.
            _ => Node::Tuple(self.pop_items(usize::from(opcode - 0x84))?),
        };
        self.push_node(node)
    }

    /// Adds items to the container at the top.
    fn fill(&mut self, opcode: u8) -> Result<(), Problem> {
        let items = match opcode {
            b'a' => self.pop_items(1)?,
            b's' => self.pop_items(2)?,
            _ => self.pop_mark()?,
        };
        self.budget.take(cost::filled(opcode, items.len()))?;
        match (opcode, self.top_node()?) {
            (b'a' | b'e', Node::List(list)) => list.extend(items),
            (0x90, Node::Set(set)) => set.extend(items),
            (b's' | b'u', Node::Dict(entries)) => entries.extend(pairs(&items)?),
            _ => {
                let found = "items are added to a value that is not of their kind of container";
                return Err(Problem::malformed(found));
            }
        }
        Ok(())
    }

    /// Classes and calls.
    fn object(&mut self, opcode: u8) -> Result<(), Problem> {
        match opcode {
            b'c' => {
                let module = self.cursor.text_line()?;
                let name = self.cursor.text_line()?;
                self.push_class(module, name)
            }
            0x93 => {
                let name = self.pop()?;
                let module = self.pop()?;
                let (module, name) = (self.str_of(module)?.clone(), self.str_of(name)?.clone());
                self.push_class(&module, &name)
            }
            b'R' | 0x81 => {
                let arguments = self.pop()?;
                let callable = self.pop()?;
                self.call(callable, arguments)
            }
            0x92 => {
                let keywords = self.pop()?;
                let arguments = self.pop()?;
                let class = self.pop()?;
                match self.node_of(keywords) {
                    Some(Node::Dict(entries)) if entries.is_empty() => self.call(class, arguments),
                    _ => Err(Problem::unsupported("a call with keyword arguments")),
                }
            }
            b'o' => {
                let items = self.pop_mark()?;
                let (class, arguments) = items
                    .split_first()
                    .ok_or_else(|| Problem::malformed("an object without a class"))?;
                let arguments = self.add(Node::Tuple(arguments.to_vec()))?;
                self.call(*class, arguments)
            }
            b'i' => {
                let module = self.cursor.text_line()?;
                let name = self.cursor.text_line()?;
                let arguments = self.pop_mark()?;
                self.push_class(module, name)?;
                let class = self.pop()?;
                let arguments = self.add(Node::Tuple(arguments))?;
                self.call(class, arguments)
            }
            b'b' => {
                let state = self.pop()?;
                self.build(state)
            }
            _ => {
                let id = self.pop()?;
                self.persistent(id)
            }
        }
    }

    fn push_class(&mut self, module: &str, name: &str) -> Result<(), Problem> {
        let class = Class::find(module, name).ok_or_else(|| Problem::Refused {
            class: printable(&format!("{module}.{name}")),
        })?;
        self.stack.push(Slot::Class(class));
        Ok(())
    }

    /// Takes the `count` topmost values, but nothing below the last mark.
    fn pop_items(&mut self, count: usize) -> Result<Vec<Slot>, Problem> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.len().checked_sub(count) {
            Some(start) if start >= floor => Ok(self.stack.split_off(start)),
            _ => Err(underflow()),
        }
    }

    /// Stores the top of the stack in the memo.
    ///
    /// Numbers are assigned in order, so none exceeds the number of bytes read: a larger one is
    /// refused instead of allocating memory for it.
    fn put(&mut self, key: u64) -> Result<(), Problem> {
        let top = self.top()?;
        let read = self.cursor.position().saturating_sub(self.start);
        let key = match usize::try_from(key) {
            Ok(key) if key <= read => key,
            _ => return Err(Problem::malformed(format!("memo number {key}"))),
        };
        if let Some(grown) = (key + 1).checked_sub(self.memo.len()) {
            self.budget.take(grown as u64 * cost::SLOT)?;
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
            .ok_or_else(|| Problem::malformed(format!("memo number {key} was never stored")))?;
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

    /// The node of a slot, if it is in the arena.
    pub fn node_of(&self, slot: Slot) -> Option<&Node> {
        match slot {
            Slot::Node(id) => self.nodes.get(id as usize),
            _ => None,
        }
    }

    pub fn str_of(&self, slot: Slot) -> Result<&Arc<str>, Problem> {
        match self.node_of(slot) {
            Some(Node::Str(string)) => Ok(string),
            _ => Err(Problem::malformed("expected a string, found another type")),
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
                self.budget.take(cost::of(&node))?;
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
    Problem::malformed("an opcode lacks its operands")
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
