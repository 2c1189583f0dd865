//! The values in a pickle.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::TorchTensor;

/// A Python value.
///
/// Values that the file shares are shared here, so cloning is cheap. No value nests deeper than
/// [`Limits::max_depth`](super::pickle::Limits), so walking one recursively is safe.
#[derive(Clone, Debug)]
pub enum Value {
    /// `None`
    None,
    /// `bool`
    Bool(bool),
    /// `int`
    Int(i64),
    /// `int` beyond 64 bits: two's complement, little-endian.
    BigInt(Arc<[u8]>),
    /// `float`
    Float(f64),
    /// `complex`: real and imaginary part.
    Complex(f64, f64),
    /// `str`; of Python 2 also byte strings that are UTF-8.
    Str(Arc<str>),
    /// `bytes` or `bytearray`; those of a mapped file stay in the map.
    Bytes(Arc<Bytes>),
    /// `list`
    List(Arc<[Value]>),
    /// `tuple` or `torch.Size`
    Tuple(Arc<[Value]>),
    /// `set` or `frozenset`
    Set(Arc<[Value]>),
    /// `dict`, `OrderedDict`, `defaultdict` or `Counter`; attributes of one are dropped.
    Dict(Arc<Dict>),
    /// `torch.Tensor` or `Parameter`
    Tensor(Arc<TorchTensor>),
    /// `numpy.ndarray` of numbers
    Array(Arc<TorchTensor>),
    /// Another object, as its plain fields.
    Object(Arc<Object>),
    /// A class or a `torch.dtype` itself, by its name.
    Class(&'static str),
}

/// An object as its plain fields.
#[derive(Clone, Debug)]
pub struct Object {
    /// Its class, `argparse.Namespace`.
    pub class: &'static str,
    /// Its attributes.
    pub fields: Dict,
}

/// A `dict` in the order of insertion.
#[derive(Clone, Debug, Default)]
pub struct Dict {
    entries: Vec<(Value, Value)>,
    /// Made at the first look-up.
    index: OnceLock<Index>,
}

#[derive(Clone, Debug, Default)]
struct Index {
    strings: HashMap<Arc<str>, usize>,
    integers: HashMap<i64, usize>,
}

impl Dict {
    /// A dictionary of `entries`; of equal string or integer keys the last one counts, in the
    /// place of the first, as in Python.
    pub(crate) fn new(entries: Vec<(Value, Value)>) -> Self {
        let mut index = Index::default();
        let mut kept: Vec<(Value, Value)> = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            let known = match &key {
                Value::Str(key) => match index.strings.get(key) {
                    Some(&at) => Some(at),
                    None => {
                        index.strings.insert(key.clone(), kept.len());
                        None
                    }
                },
                Value::Int(key) => match index.integers.get(key) {
                    Some(&at) => Some(at),
                    None => {
                        index.integers.insert(*key, kept.len());
                        None
                    }
                },
                _ => None,
            };
            match known {
                Some(at) => kept[at].1 = value,
                None => kept.push((key, value)),
            }
        }
        Self {
            entries: kept,
            index: OnceLock::new(),
        }
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Keys and values in the order of insertion.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Value, &Value)> {
        self.entries.iter().map(|(key, value)| (key, value))
    }

    /// The value of a string key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        let at = self.index().strings.get(key)?;
        self.entries.get(*at).map(|(_, value)| value)
    }

    /// The value of an integer key.
    pub fn get_int(&self, key: i64) -> Option<&Value> {
        let at = self.index().integers.get(&key)?;
        self.entries.get(*at).map(|(_, value)| value)
    }

    fn index(&self) -> &Index {
        self.index.get_or_init(|| {
            let mut index = Index::default();
            for (at, (key, _)) in self.entries.iter().enumerate() {
                match key {
                    Value::Str(key) => {
                        index.strings.insert(key.clone(), at);
                    }
                    Value::Int(key) => {
                        index.integers.insert(*key, at);
                    }
                    _ => {}
                }
            }
            index
        })
    }
}

impl Value {
    /// The Python type, for messages.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Bool(_) => "bool",
            Self::Int(_) | Self::BigInt(_) => "int",
            Self::Float(_) => "float",
            Self::Complex(..) => "complex",
            Self::Str(_) => "str",
            Self::Bytes(_) => "bytes",
            Self::List(_) => "list",
            Self::Tuple(_) => "tuple",
            Self::Set(_) => "set",
            Self::Dict(_) => "dict",
            Self::Tensor(_) => "torch.Tensor",
            Self::Array(_) => "numpy.ndarray",
            Self::Object(object) => object.class,
            Self::Class(_) => "type",
        }
    }

    /// The text of a `str`.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The bytes of `bytes`.
    pub fn as_bytes(&self) -> Option<&Bytes> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The value of a `bool`.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The value of an `int` of 64 bits.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Int(value) => Some(*value),
            _ => None,
        }
    }

    /// The value of a `float` or `int`.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Float(value) => Some(*value),
            Self::Int(value) => Some(*value as f64),
            _ => None,
        }
    }

    /// The elements of a list, tuple or set.
    pub fn as_slice(&self) -> Option<&[Value]> {
        match self {
            Self::List(items) | Self::Tuple(items) | Self::Set(items) => Some(items),
            _ => None,
        }
    }

    /// The entries of a dictionary.
    pub fn as_dict(&self) -> Option<&Dict> {
        match self {
            Self::Dict(dict) => Some(dict),
            _ => None,
        }
    }

    /// A tensor.
    pub fn as_tensor(&self) -> Option<&TorchTensor> {
        match self {
            Self::Tensor(tensor) => Some(tensor),
            _ => None,
        }
    }

    /// A NumPy array.
    pub fn as_array(&self) -> Option<&TorchTensor> {
        match self {
            Self::Array(array) => Some(array),
            _ => None,
        }
    }

    /// An object as its plain fields.
    pub fn as_object(&self) -> Option<&Object> {
        match self {
            Self::Object(object) => Some(object),
            _ => None,
        }
    }
}
