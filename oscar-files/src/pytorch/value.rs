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

/// Class of the modules of a TorchScript archive, whatever their names are.
pub const TORCH_SCRIPT: &str = "a TorchScript module";

/// An object as its plain fields.
#[derive(Clone, Debug)]
pub struct Object {
    /// Its class, `argparse.Namespace` or [`TORCH_SCRIPT`].
    pub class: &'static str,
    /// Its attributes.
    pub fields: Dict,
}

/// A `dict` in the order of insertion.
#[derive(Clone, Debug, Default)]
pub struct Dict {
    entries: Vec<(Value, Value)>,
    /// Positions of string keys, collected at the first look-up. Boxed, since data sets consist of
    /// many small dictionaries.
    #[expect(
        clippy::box_collection,
        reason = "an empty map has six times the size of a box"
    )]
    strings: OnceLock<Box<HashMap<Arc<str>, usize>>>,
}

impl Dict {
    /// A dictionary of `entries`; of equal string or integer keys the last value is kept at the
    /// position of the first, as in Python.
    pub(crate) fn new(mut entries: Vec<(Value, Value)>) -> Self {
        let (mut strings, mut integers) = (HashMap::new(), HashMap::new());
        // In place: `next` entries are kept.
        let mut next = 0;
        for from in 0..entries.len() {
            let at = match &entries[from].0 {
                Value::Str(key) => *strings.entry(key.clone()).or_insert(next),
                Value::Int(key) => *integers.entry(*key).or_insert(next),
                _ => next,
            };
            if at == next {
                entries.swap(next, from);
                next += 1;
            } else {
                entries[at].1 = std::mem::replace(&mut entries[from].1, Value::None);
            }
        }
        entries.truncate(next);
        entries.shrink_to_fit();
        Self {
            entries,
            strings: OnceLock::new(),
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
        let strings = self.strings.get_or_init(|| {
            let keys = self.entries.iter().enumerate();
            keys.filter_map(|(at, (key, _))| match key {
                Value::Str(key) => Some((key.clone(), at)),
                _ => None,
            })
            .collect::<HashMap<_, _>>()
            .into()
        });
        let (_, value) = self.entries.get(*strings.get(key)?)?;
        Some(value)
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
}

/// Methods that return the content of one kind of value, and none for others.
macro_rules! accessors {
    ($($(#[$doc:meta])* $name:ident: $output:ty = $($pattern:pat => $result:expr),+;)*) => {
        impl Value {
            $($(#[$doc])*
            pub fn $name(&self) -> Option<$output> {
                match self {
                    $($pattern => Some($result),)+
                    _ => None,
                }
            })*
        }
    };
}

accessors! {
    /// The text of a `str`.
    as_str: &str = Self::Str(text) => text;
    /// The bytes of `bytes`.
    as_bytes: &Bytes = Self::Bytes(bytes) => bytes;
    /// The value of a `bool`.
    as_bool: bool = Self::Bool(value) => *value;
    /// The value of an `int` of 64 bits.
    as_i64: i64 = Self::Int(value) => *value;
    /// The value of a `float` or `int`.
    as_f64: f64 = Self::Float(value) => *value, Self::Int(value) => *value as f64;
    /// The elements of a list, tuple or set.
    as_slice: &[Value] = Self::List(items) | Self::Tuple(items) | Self::Set(items) => items;
    /// The entries of a dictionary.
    as_dict: &Dict = Self::Dict(dict) => dict;
    /// A tensor.
    as_tensor: &TorchTensor = Self::Tensor(tensor) => tensor;
    /// A NumPy array.
    as_array: &TorchTensor = Self::Array(array) => array;
    /// An object as its plain fields.
    as_object: &Object = Self::Object(object) => object;
}
