//! Calls of the classes in the closed list.

use std::sync::Arc;

use super::Problem;
use super::arena::{Node, Slot};
use super::classes::Class;
use super::cost;
use super::error::printable;
use super::machine::Machine;
use super::numpy::ArraySpec;

/// Most arguments that a call of the list has.
const MAX_ARGUMENTS: usize = 16;

/// Longest name of a type or an encoding.
const MAX_NAME: usize = 32;

impl Machine<'_> {
    /// `REDUCE` and its kin: pushes what `callable(*arguments)` makes. In the closed list, making
    /// an object without initialising it is the same as calling its class.
    pub(super) fn call(&mut self, callable: Slot, arguments: Slot) -> Result<(), Problem> {
        let class = class_of(callable)?;
        let arguments = self.arguments(arguments)?;
        let made = self.make(class, &arguments)?;
        self.stack.push(made);
        Ok(())
    }

    fn make(&mut self, class: Class, arguments: &[Slot]) -> Result<Slot, Problem> {
        match (class, arguments) {
            (Class::Dict(_) | Class::Counter | Class::DefaultDict, [])
            | (Class::DefaultDict, [_]) => self.add(Node::Dict(Vec::new())),
            (Class::Dict(_) | Class::Counter, [items]) | (Class::DefaultDict, [_, items]) => {
                let entries = self.entries(*items)?;
                self.add(Node::Dict(entries))
            }
            (Class::Set | Class::FrozenSet, []) => self.add(Node::Set(Vec::new())),
            (Class::Set | Class::FrozenSet, [items]) => {
                let items = self.items(*items)?;
                self.add(Node::Set(items))
            }
            (Class::List, []) => self.add(Node::List(Vec::new())),
            (Class::List, [items]) => {
                let items = self.items(*items)?;
                self.add(Node::List(items))
            }
            (Class::Tuple, []) => self.add(Node::Tuple(Vec::new())),
            (Class::Tuple, [items]) => {
                let items = self.items(*items)?;
                self.add(Node::Tuple(items))
            }
            (Class::Complex, [real, imaginary]) => {
                let (real, imaginary) = (float_of(*real), float_of(*imaginary));
                match (real, imaginary) {
                    (Some(real), Some(imaginary)) => self.add(Node::Complex(real, imaginary)),
                    _ => Err(wrong(class, arguments.len())),
                }
            }
            (Class::Int | Class::Float | Class::Bool | Class::Str, [value]) => {
                self.converted(class, *value)
            }
            (Class::Bytes(_), [Slot::Node(id)])
                if matches!(
                    self.nodes.get(*id as usize),
                    Some(Node::Bytes(_) | Node::OwnedBytes(_))
                ) =>
            {
                Ok(Slot::Node(*id))
            }
            (Class::Bytes(_), []) => self.add(Node::OwnedBytes(Vec::new())),
            (Class::Bytes(_), [items]) => {
                let items = self.items(*items)?;
                let bytes: Option<Vec<u8>> = items.into_iter().map(byte_of).collect();
                let bytes = bytes.ok_or_else(|| wrong(class, 1))?;
                self.add(Node::OwnedBytes(bytes))
            }
            (Class::Encode | Class::Bytes(_), [text, encoding]) => self.encode(*text, *encoding),
            (Class::Fields(name), []) => self.add(Node::Object(name, Vec::new())),
            (Class::Reconstructor, [made, Slot::Class(Class::Base), Slot::None]) => {
                match class_of(*made)? {
                    // Nothing in the list takes another class: no recursion.
                    Class::Reconstructor | Class::RebuildFromType => Err(wrong(class, 3)),
                    made => self.make(made, &[]),
                }
            }
            _ => self.make_number(class, arguments),
        }
    }

    /// `BUILD`: gives the top of the stack its state.
    pub(super) fn build(&mut self, state: Slot) -> Result<(), Problem> {
        let Slot::Node(id) = self.top()? else {
            return Err(Problem::malformed("BUILD on a plain value"));
        };
        match self.nodes.get(id as usize) {
            // Attributes of a dictionary (`_metadata` of state dictionaries) and of a parameter
            // hold nothing that is read.
            Some(Node::Dict(_) | Node::Tensor(_)) => Ok(()),
            Some(Node::Object(..)) => {
                let entries = self.state(state)?;
                self.budget.take(cost::entries(entries.len()))?;
                if let Some(Node::Object(_, fields)) = self.nodes.get_mut(id as usize) {
                    fields.extend(entries);
                }
                Ok(())
            }
            Some(Node::NumpyType(dtype)) => {
                let mut dtype = dtype.clone();
                let state = self.tuple_of(state)?;
                let [_, order, subtype, names, fields, ..] = state else {
                    return Err(Problem::malformed("the state of a NumPy type"));
                };
                dtype.structured = [subtype, names, fields]
                    .iter()
                    .any(|slot| !matches!(slot, Slot::None));
                dtype.big_endian = &**self.str_of(*order)? == ">";
                self.replace(id, Node::NumpyType(dtype));
                Ok(())
            }
            Some(Node::Array(_)) => {
                let array = match self.tuple_of(state)? {
                    [Slot::Int(_), shape, dtype, fortran, data] | [shape, dtype, fortran, data] => {
                        ArraySpec {
                            dtype: *dtype,
                            shape: *shape,
                            fortran: matches!(fortran, Slot::Bool(true) | Slot::Int(1)),
                            data: *data,
                        }
                    }
                    _ => return Err(Problem::malformed("the state of a NumPy array")),
                };
                self.replace(id, Node::Array(Box::new(array)));
                Ok(())
            }
            _ => Err(Problem::malformed("BUILD on a value without attributes")),
        }
    }

    fn converted(&mut self, class: Class, value: Slot) -> Result<Slot, Problem> {
        let text = match self.node_of(value) {
            Some(Node::Str(text)) => Some(text.clone()),
            _ => None,
        };
        self.copy(text.as_ref().map_or(0, |text| text.len()))?;
        let made = match (class, value, text) {
            (Class::Int, Slot::Int(_), _)
            | (Class::Float, Slot::Float(_), _)
            | (Class::Bool, Slot::Bool(_), _)
            | (Class::Str, _, Some(_)) => Some(value),
            (Class::Int, Slot::Bool(value), _) => Some(Slot::Int(value.into())),
            (Class::Bool, Slot::Int(value), _) => Some(Slot::Bool(value != 0)),
            (Class::Float, Slot::Int(value), _) => Some(Slot::Float(value as f64)),
            (Class::Float, _, Some(text)) => text.trim().parse().ok().map(Slot::Float),
            (Class::Int, _, Some(text)) => text.trim().parse().ok().map(Slot::Int),
            _ => None,
        };
        made.ok_or_else(|| wrong(class, 1))
    }

    fn encode(&mut self, text: Slot, encoding: Slot) -> Result<Slot, Problem> {
        let text: Arc<str> = self.str_of(text)?.clone();
        self.copy(text.len())?;
        let encoding = self.short_text(encoding)?.to_ascii_lowercase();
        let bytes: Option<Vec<u8>> = match encoding.as_str() {
            "latin1" | "latin-1" | "iso-8859-1" => text
                .chars()
                .map(|character| u8::try_from(u32::from(character)).ok())
                .collect(),
            "utf-8" | "utf8" => Some(text.as_bytes().to_vec()),
            "ascii" => text.is_ascii().then(|| text.as_bytes().to_vec()),
            _ => None,
        };
        let bytes = bytes.ok_or_else(|| {
            Problem::unsupported(format!(
                "bytes written as text in {:?}",
                printable(&encoding)
            ))
        })?;
        self.add(Node::OwnedBytes(bytes))
    }

    /// Copies the elements of a list, tuple or set.
    fn items(&mut self, slot: Slot) -> Result<Vec<Slot>, Problem> {
        let items = match self.node_of(slot) {
            Some(Node::List(items) | Node::Tuple(items) | Node::Set(items)) => items.clone(),
            _ => return Err(Problem::malformed("a call with a value that is not a list")),
        };
        self.copy(items.len())?;
        Ok(items)
    }

    /// Copies the entries of a dictionary, or of a list of pairs.
    fn entries(&mut self, slot: Slot) -> Result<Vec<(Slot, Slot)>, Problem> {
        if let Some(Node::Dict(entries)) = self.node_of(slot) {
            let entries = entries.clone();
            self.copy(entries.len())?;
            return Ok(entries);
        }
        let pairs = self.items(slot)?;
        let pairs = pairs.into_iter().map(|pair| match self.node_of(pair) {
            Some(Node::Tuple(pair) | Node::List(pair)) => match pair.as_slice() {
                [key, value] => Ok((*key, *value)),
                _ => Err(Problem::malformed("a key without a value")),
            },
            _ => Err(Problem::malformed("a key without a value")),
        });
        pairs.collect()
    }

    /// The attributes that a state holds: a dictionary, or one pair of them.
    fn state(&mut self, state: Slot) -> Result<Vec<(Slot, Slot)>, Problem> {
        if matches!(state, Slot::None) {
            return Ok(Vec::new());
        }
        let parts = match self.node_of(state) {
            Some(Node::Tuple(parts)) if parts.len() == 2 => parts.clone(),
            _ => vec![state],
        };
        let mut fields = Vec::new();
        for part in parts {
            if !matches!(part, Slot::None) {
                fields.extend(self.entries(part)?);
            }
        }
        Ok(fields)
    }

    pub(super) fn arguments(&self, slot: Slot) -> Result<Vec<Slot>, Problem> {
        let arguments = self.tuple_of(slot)?;
        match arguments.len() <= MAX_ARGUMENTS {
            true => Ok(arguments.to_vec()),
            false => Err(Problem::malformed(format!(
                "a call with {} arguments",
                arguments.len()
            ))),
        }
    }

    pub(super) fn tuple_of(&self, slot: Slot) -> Result<&[Slot], Problem> {
        match self.node_of(slot) {
            Some(Node::Tuple(items)) => Ok(items),
            _ => Err(Problem::malformed("expected a tuple, found another type")),
        }
    }

    /// The bytes of `bytes`, or of a string of Python 2.
    pub(super) fn bytes_of(&self, slot: Slot) -> Result<&[u8], Problem> {
        match self.node_of(slot) {
            Some(Node::Bytes(range)) => Ok(self.input.get(range.clone()).unwrap_or_default()),
            Some(Node::OwnedBytes(bytes)) => Ok(bytes),
            Some(Node::Str(text)) => Ok(text.as_bytes()),
            _ => Err(Problem::malformed("expected bytes, found another type")),
        }
    }

    /// The name of a type or an encoding.
    pub(super) fn short_text(&self, slot: Slot) -> Result<&str, Problem> {
        let text = self.str_of(slot)?;
        match text.len() <= MAX_NAME {
            true => Ok(text),
            false => Err(Problem::malformed(format!(
                "a name of {} bytes",
                text.len()
            ))),
        }
    }

    fn replace(&mut self, id: u32, node: Node) {
        if let Some(place) = self.nodes.get_mut(id as usize) {
            *place = node;
        }
    }
}

pub(super) fn class_of(slot: Slot) -> Result<Class, Problem> {
    match slot {
        Slot::Class(class) => Ok(*class),
        _ => Err(Problem::malformed("a call of a value that is not a class")),
    }
}

pub(super) fn wrong(class: Class, arguments: usize) -> Problem {
    Problem::unsupported(format!(
        "{} called with {arguments} arguments of unexpected types",
        class.name()
    ))
}

fn float_of(slot: Slot) -> Option<f64> {
    match slot {
        Slot::Float(value) => Some(value),
        Slot::Int(value) => Some(value as f64),
        _ => None,
    }
}

fn byte_of(slot: Slot) -> Option<u8> {
    match slot {
        Slot::Int(value) => u8::try_from(value).ok(),
        _ => None,
    }
}
