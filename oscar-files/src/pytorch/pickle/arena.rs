//! The values that a pickle's program builds, which refer to each other by number.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use safetensors::Dtype;

use super::Limits;
use super::classes::Class;
use super::numpy::{ArraySpec, NumpyType};

/// A value on the stack or inside another: small ones themselves, others by number.
#[derive(Clone, Copy, Debug)]
pub(super) enum Slot {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Class(&'static Class),
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
    /// Its bytes, if they are in the pickle itself.
    pub inline: Option<Bytes>,
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
    pub(super) end: usize,
}

impl Parsed {
    /// The byte after the pickle.
    pub fn end(&self) -> usize {
        self.end
    }

    /// The storages that the program names, by key.
    pub fn storages(&self) -> HashMap<Arc<str>, StorageSpec> {
        let specs = self.nodes.iter().filter_map(|node| match node {
            Node::Storage(spec) if spec.inline.is_none() => {
                Some((spec.key.clone(), StorageSpec::clone(spec)))
            }
            _ => None,
        });
        specs.collect()
    }

    /// The storage that the program left, if its value is one.
    pub fn storage(&self) -> Option<&StorageSpec> {
        match self.root {
            Slot::Node(id) => match self.nodes.get(id as usize)? {
                Node::Storage(spec) => Some(spec),
                _ => None,
            },
            _ => None,
        }
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
