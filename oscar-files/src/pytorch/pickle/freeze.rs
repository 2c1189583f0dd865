//! From the arena to a value, from the leaves up and without recursion.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use super::arena::{Node, Parsed, Slot, StorageSpec, TensorSpec};
use super::error::printable;
use super::numpy::{ArraySpec, NumpyType};
use super::{PickleError, Problem};
use crate::pytorch::convert::{MAX_RANK, element_size};
use crate::pytorch::{Dict, Object, Storage, TorchTensor, Value};

/// Finds the storage that a pickle names; says why if it cannot.
pub(in super::super) type FindStorage<'a> =
    &'a mut dyn FnMut(&StorageSpec) -> Result<Arc<Storage>, String>;

/// A finished node.
struct Done {
    value: Value,
    /// Levels below and including it.
    depth: usize,
    /// Values that a walk from it meets.
    size: u64,
}

/// A node whose children are being finished.
struct Frame {
    id: u32,
    /// The child that comes next.
    next: usize,
}

impl Parsed {
    /// The value that the program left; storages come from `find`.
    pub fn freeze(self, find: FindStorage<'_>) -> Result<Value, PickleError> {
        let mut freezer = Freezer {
            largest: self.limits.expansion_of(self.end() - self.start),
            open: vec![false; self.nodes.len()],
            done: std::iter::repeat_with(|| None)
                .take(self.nodes.len())
                .collect(),
            storages: HashMap::new(),
            types: HashMap::new(),
            copied: 0,
            frames: Vec::new(),
            parsed: self,
            find,
        };
        freezer.run().map_err(|problem| PickleError {
            offset: None,
            problem,
        })
    }
}

struct Freezer<'a> {
    parsed: Parsed,
    find: FindStorage<'a>,
    largest: u64,
    open: Vec<bool>,
    done: Vec<Option<Done>>,
    /// Storages by key and part, so that tensors share them.
    storages: HashMap<(Arc<str>, usize, usize), Arc<Storage>>,
    /// NumPy's types by node: arrays need more of them than their value says.
    types: HashMap<u32, NumpyType>,
    /// Bytes of text that arrays have copied.
    copied: usize,
    frames: Vec<Frame>,
}

impl Freezer<'_> {
    fn run(&mut self) -> Result<Value, Problem> {
        if let Slot::Node(id) = self.parsed.root {
            self.enter(id)?;
        }
        while let Some(frame) = self.frames.last_mut() {
            let (id, next) = (frame.id, frame.next);
            frame.next += 1;
            let node = self.parsed.nodes.get(id as usize).ok_or_else(lost)?;
            match child(node, next) {
                Some(Slot::Node(child)) => {
                    if self.done.get(child as usize).is_some_and(Option::is_none) {
                        self.enter(child)?;
                    }
                }
                Some(_) => {}
                None => {
                    self.frames.pop();
                    self.finish(id)?;
                }
            }
        }
        self.value(self.parsed.root)
    }

    fn enter(&mut self, id: u32) -> Result<(), Problem> {
        match self.open.get_mut(id as usize) {
            Some(open) if !*open => *open = true,
            Some(_) => return Err(Problem::Recursive),
            None => return Err(lost()),
        }
        self.frames.push(Frame { id, next: 0 });
        Ok(())
    }

    fn finish(&mut self, id: u32) -> Result<(), Problem> {
        let place = self.parsed.nodes.get_mut(id as usize).ok_or_else(lost)?;
        let node = std::mem::replace(place, Node::Complex(0.0, 0.0));
        let (depth, mut size) = self.extent(&node);
        let limit = self.parsed.limits.max_depth;
        if depth > limit {
            return Err(Problem::Limit {
                what: "values nested too deep",
                limit: limit as u64,
            });
        }
        let value = match node {
            Node::BigInt(bytes) => Value::BigInt(bytes),
            Node::Complex(real, imaginary) => Value::Complex(real, imaginary),
            Node::Str(text) => {
                size += text.len() as u64 / 8;
                Value::Str(text)
            }
            Node::Bytes(range) => {
                size += range.len() as u64 / 8;
                let bytes = match self.parsed.input.get(range.clone()) {
                    Some(_) => self.parsed.input.slice(range),
                    None => return Err(lost()),
                };
                Value::Bytes(Arc::new(bytes))
            }
            Node::OwnedBytes(bytes) => {
                size += bytes.len() as u64 / 8;
                Value::Bytes(Arc::new(bytes.into()))
            }
            Node::List(items) => Value::List(self.values(&items)?),
            Node::Tuple(items) => Value::Tuple(self.values(&items)?),
            Node::Set(items) => Value::Set(self.values(&items)?),
            Node::Dict(entries) => Value::Dict(Arc::new(self.dict(&entries)?)),
            Node::Object(class, entries) => Value::Object(Arc::new(Object {
                class,
                fields: self.dict(&entries)?,
            })),
            Node::Storage(_) => {
                return Err(Problem::unsupported("a storage without a tensor"));
            }
            Node::Tensor(spec) => match self.tensor(&spec) {
                Ok(tensor) => Value::Tensor(Arc::new(tensor)),
                Err(reason) => return Err(self.named(reason)),
            },
            Node::NumpyType(dtype) => {
                let description = dtype.description();
                self.types.insert(id, *dtype);
                Value::Str(description.into())
            }
            Node::Array(spec) => self.array(&spec)?,
        };
        if size > self.largest {
            return Err(Problem::Limit {
                what: "a value that expands too far when shared parts are repeated",
                limit: self.largest,
            });
        }
        if let Some(done) = self.done.get_mut(id as usize) {
            *done = Some(Done { value, depth, size });
        }
        Ok(())
    }

    fn extent(&self, node: &Node) -> (usize, u64) {
        let (mut depth, mut size) = (0, 1u64);
        let mut next = 0;
        while let Some(slot) = child(node, next) {
            next += 1;
            let done = match slot {
                Slot::Node(id) => self.done.get(id as usize).and_then(Option::as_ref),
                _ => None,
            };
            depth = depth.max(done.map_or(0, |done| done.depth));
            size = size.saturating_add(done.map_or(1, |done| done.size));
        }
        (depth + 1, size)
    }

    fn value(&self, slot: Slot) -> Result<Value, Problem> {
        Ok(match slot {
            Slot::None => Value::None,
            Slot::Bool(value) => Value::Bool(value),
            Slot::Int(value) => Value::Int(value),
            Slot::Float(value) => Value::Float(value),
            Slot::Class(class) => Value::Class(class.name()),
            Slot::Node(id) => match self.done.get(id as usize) {
                Some(Some(done)) => done.value.clone(),
                _ => return Err(lost()),
            },
        })
    }

    fn values(&self, slots: &[Slot]) -> Result<Arc<[Value]>, Problem> {
        // Of a known length, so that a long list is allocated once.
        let mut failed = None;
        let values = slots.iter().map(|slot| match self.value(*slot) {
            Ok(value) => value,
            Err(error) => {
                failed = Some(error);
                Value::None
            }
        });
        let values = values.collect();
        failed.map_or(Ok(values), Err)
    }

    fn dict(&self, entries: &[(Slot, Slot)]) -> Result<Dict, Problem> {
        let entries = entries
            .iter()
            .map(|(key, value)| Ok((self.value(*key)?, self.value(*value)?)));
        Ok(Dict::new(entries.collect::<Result<_, Problem>>()?))
    }

    fn tensor(&mut self, spec: &TensorSpec) -> Result<TorchTensor, String> {
        let Some(Node::Storage(storage)) = self.parsed.nodes.get(spec.storage as usize) else {
            return Err("it has no storage".into());
        };
        let part = storage.part.clone().unwrap_or(0..storage.bytes);
        let key = (storage.key.clone(), part.start, part.end);
        let storage = match self.storages.get(&key) {
            Some(found) => found.clone(),
            None => {
                let found = match &storage.inline {
                    Some(bytes) => Arc::new(Storage::of_bytes(key.0.clone(), bytes.clone())),
                    None => (self.find)(storage)?,
                };
                self.storages.insert(key, found.clone());
                found
            }
        };
        let sizes = |slot: Slot, what: &str| {
            let value = self.value(slot).ok();
            let sizes = value.as_ref().and_then(sizes_of);
            sizes.ok_or_else(|| format!("its {what} is not a list of sizes"))
        };
        let offset = usize::try_from(spec.offset)
            .map_err(|_| format!("its offset {} is negative", spec.offset))?;
        let (shape, strides) = (sizes(spec.shape, "shape")?, sizes(spec.strides, "strides")?);
        TorchTensor::new(spec.dtype, shape, strides, offset, storage)
    }

    fn array(&mut self, spec: &ArraySpec) -> Result<Value, Problem> {
        let dtype = match spec.dtype {
            Slot::Node(id) => self.types.get(&id),
            _ => None,
        };
        let dtype = dtype.ok_or_else(|| Problem::malformed("a NumPy array without a type"))?;
        let (shape, data) = (self.value(spec.shape)?, self.value(spec.data)?);
        let Some(number) = dtype.number() else {
            // Arrays of text, objects or records: as their parts.
            let fields = [
                ("dtype", Value::Str(dtype.description().into())),
                ("shape", shape),
                ("fortran", Value::Bool(spec.fortran)),
                ("data", data),
            ];
            let fields = fields.map(|(key, value)| (Value::Str(key.into()), value));
            return Ok(Value::Object(Arc::new(Object {
                class: "numpy.ndarray",
                fields: Dict::new(fields.into()),
            })));
        };
        // Bytes of Python 2 that happen to be text; a program copies less than it reads.
        if let Value::Str(text) = &data {
            self.copied = self.copied.saturating_add(text.len());
            if self.copied > self.parsed.input.len() {
                return Err(Problem::Limit {
                    what: "copies of itself",
                    limit: self.parsed.input.len() as u64,
                });
            }
        }
        let array = || {
            if dtype.big_endian && element_size(number) > 1 {
                return Err(format!(
                    "it has the big-endian type {}, which is not supported",
                    dtype.description()
                ));
            }
            let shape = sizes_of(&shape).ok_or("its shape is not a list of sizes")?;
            let data = match data {
                Value::Bytes(bytes) => Bytes::clone(&bytes),
                Value::Str(text) => Bytes::copy_from_slice(text.as_bytes()),
                _ => return Err("its data is not a bytes object".to_string()),
            };
            TorchTensor::of_array(number, shape, spec.fortran, data)
        };
        match array() {
            Ok(array) => Ok(Value::Array(Arc::new(array))),
            Err(reason) => Err(self.named(reason)),
        }
    }

    /// An error of the tensor being finished, which names its place: the keys and indices that
    /// lead to it.
    fn named(&self, reason: String) -> Problem {
        let steps = self.frames.iter().filter_map(|frame| {
            let at = frame.next.checked_sub(1)?;
            match self.parsed.nodes.get(frame.id as usize)? {
                Node::List(_) | Node::Tuple(_) | Node::Set(_) => Some(at.to_string()),
                Node::Dict(entries) | Node::Object(_, entries) => {
                    let (key, _) = entries.get(at / 2)?;
                    match self.value(*key).ok()? {
                        Value::Str(key) => Some(printable(&key)),
                        Value::Int(key) => Some(key.to_string()),
                        _ => Some("?".into()),
                    }
                }
                _ => None,
            }
        });
        let name = steps.collect::<Vec<_>>().join(".");
        Problem::Tensor {
            name: if name.is_empty() {
                "(the whole value)".into()
            } else {
                name
            },
            reason,
        }
    }
}

/// The `index`-th value inside a node.
fn child(node: &Node, index: usize) -> Option<Slot> {
    match node {
        Node::List(items) | Node::Tuple(items) | Node::Set(items) => items.get(index).copied(),
        Node::Dict(entries) | Node::Object(_, entries) => {
            let (key, value) = entries.get(index / 2)?;
            Some(match index % 2 {
                0 => *key,
                _ => *value,
            })
        }
        Node::Tensor(spec) => [spec.shape, spec.strides].get(index).copied(),
        Node::Array(spec) => [spec.dtype, spec.shape, spec.data].get(index).copied(),
        Node::BigInt(_)
        | Node::Complex(..)
        | Node::Str(_)
        | Node::Bytes(_)
        | Node::OwnedBytes(_)
        | Node::Storage(_)
        | Node::NumpyType(_) => None,
    }
}

/// The sizes of a shape, unless there are more than an array can have.
fn sizes_of(value: &Value) -> Option<Vec<usize>> {
    let sizes = value.as_slice().filter(|sizes| sizes.len() <= MAX_RANK)?;
    sizes
        .iter()
        .map(|size| usize::try_from(size.as_i64()?).ok())
        .collect()
}

fn lost() -> Problem {
    Problem::malformed("a reference to a value that does not exist")
}
