//! What values take of the memory that a pickle may use.
//!
//! A value is charged once, when the program makes it, for its place in the arena and for the
//! [`Value`](super::super::Value) that it becomes: a program that would build too much is stopped
//! before the second half is allocated. Vectors are charged with what growing them leaves free.

use super::arena::Node;

/// A place on the stack or in the memo.
pub(super) const SLOT: u64 = 32;

/// A node of the arena, and its finished value.
const NODE: u64 = 112;

/// The look-up table of a dictionary.
const DICT: u64 = 64;

/// A value in a list, tuple or set.
const ITEM: u64 = 56;

/// A key and a value in a dictionary, and their place in its look-up table.
const ENTRY: u64 = 128;

/// A storage, a tensor or an array with what it is described by.
const TENSOR: u64 = 384;

/// Bytes that a node takes with what is in it.
pub(super) fn of(node: &Node) -> u64 {
    NODE + match node {
        Node::BigInt(bytes) => bytes.len() as u64,
        Node::Str(text) => text.len() as u64,
        Node::OwnedBytes(bytes) => bytes.len() as u64,
        Node::List(items) | Node::Tuple(items) | Node::Set(items) => items.len() as u64 * ITEM,
        Node::Dict(entries) | Node::Object(_, entries) => DICT + entries.len() as u64 * ENTRY,
        Node::Storage(_) | Node::Tensor(_) | Node::Array(_) => TENSOR,
        Node::Complex(..) | Node::Bytes(_) | Node::NumpyType(_) => DICT,
    }
}

/// Bytes that `values` take which an opcode adds to a list, set or dictionary.
pub(super) fn filled(opcode: u8, values: usize) -> u64 {
    let values = values as u64;
    match opcode {
        b's' | b'u' => values.div_ceil(2) * ENTRY,
        _ => values * ITEM,
    }
}

/// Bytes that `entries` of an object's state take.
pub(super) fn entries(entries: usize) -> u64 {
    entries as u64 * ENTRY
}
