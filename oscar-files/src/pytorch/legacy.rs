//! The format of PyTorch 0.1.10 to 1.5: five pickles, then the storages one after the other.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use super::pickle::{self, Limits, PickleError, Problem, StorageSpec};
use super::{Dtype, Storage, Value};

/// The integer that the first pickle holds: 0x1950a86a20f9469cfc6c.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];

const PROTOCOL: i64 = 1001;

/// The error of a file from a big-endian machine, in either format.
pub(super) const BIG_ENDIAN: &str = "its numbers have the most significant byte first; save it \
    again with PyTorch on a machine with the other order";

/// Why a file of this format cannot be read.
pub(super) enum LegacyError {
    Pickle(PickleError),
    Format(String),
}

impl From<PickleError> for LegacyError {
    fn from(error: PickleError) -> Self {
        Self::Pickle(error)
    }
}

/// Whether a file's first pickle is that of this format.
pub(super) fn is_magic(first: &pickle::Parsed) -> bool {
    first.is_big_int(&MAGIC)
}

/// Reads what follows the magic number, from byte `start`.
pub(super) fn read(file: &Bytes, start: usize, limits: &Limits) -> Result<Value, LegacyError> {
    let (object, places) = open(file, start, limits, pickle::run)?;
    let mut find = |spec: &StorageSpec| {
        let bytes = places
            .get(&*spec.key)
            .ok_or_else(|| format!("the file has no storage {:?}", spec.key))?;
        let part = match &spec.part {
            None => bytes.clone(),
            Some(part) => match bytes.get(part.clone()) {
                Some(_) => bytes.slice(part.clone()),
                None => return Err(format!("storage {:?} is too short", spec.key)),
            },
        };
        Ok(Arc::new(Storage::of_bytes(spec.key.clone(), part)))
    };
    Ok(object.freeze(&mut find)?)
}

/// Type and bytes of the storage that `file`, a whole file inside a pickle, holds.
pub(super) fn read_storage(
    file: &Bytes,
    limits: &Limits,
) -> Result<(Option<Dtype>, Bytes), Problem> {
    let inside = |reason: String| Problem::Malformed {
        what: format!("the file of a tensor inside it: {reason}"),
    };
    let pickled = |error: PickleError| match error.problem {
        Problem::Malformed { what } => inside(what),
        other => other,
    };
    let first = pickle::run_nested(file, 0, limits).map_err(pickled)?;
    if !is_magic(&first) {
        return Err(inside("it is not one of torch.save".into()));
    }
    let opened = open(file, first.end(), limits, pickle::run_nested);
    let (object, places) = opened.map_err(|error| match error {
        LegacyError::Pickle(error) => pickled(error),
        LegacyError::Format(reason) => inside(reason),
    })?;
    let storage = object.storage();
    let storage = storage.ok_or_else(|| inside("it does not hold a storage".into()))?;
    match places.get(&*storage.key) {
        Some(bytes) if storage.part.is_none() => Ok((storage.dtype, bytes.clone())),
        _ => Err(inside(format!("it has no storage {:?}", storage.key))),
    }
}

/// Runs the program that starts at a byte of a file.
type Run = fn(&Bytes, usize, &Limits) -> Result<pickle::Parsed, PickleError>;

/// The object of a file, not frozen yet, and the bytes of its storages.
fn open(
    file: &Bytes,
    start: usize,
    limits: &Limits,
    run: Run,
) -> Result<(pickle::Parsed, HashMap<String, Bytes>), LegacyError> {
    let mut at = start;
    let mut next = || {
        let parsed = run(file, at, limits)?;
        at = parsed.end();
        Ok::<_, PickleError>(parsed)
    };
    let version = next()?.freeze(&mut pickle::no_storages)?;
    if version.as_i64() != Some(PROTOCOL) {
        return Err(LegacyError::Format(format!(
            "its protocol is {version:?}; only {PROTOCOL} is supported"
        )));
    }
    let system = next()?.freeze(&mut pickle::no_storages)?;
    let little_endian = system
        .as_dict()
        .and_then(|system| system.get("little_endian"));
    if little_endian.and_then(Value::as_bool) == Some(false) {
        return Err(LegacyError::Format(BIG_ENDIAN.into()));
    }
    let object = next()?;
    let keys = next()?.freeze(&mut pickle::no_storages)?;
    let storages = Storages {
        file,
        keys: &keys,
        sizes: object.storages(),
        start: at,
    };
    let places = storages.places().map_err(LegacyError::Format)?;
    Ok((object, places))
}

/// The storages behind the pickles: for each key, the number of elements and their bytes.
struct Storages<'a> {
    file: &'a Bytes,
    keys: &'a Value,
    /// Bytes of each storage that the object names.
    sizes: HashMap<Arc<str>, StorageSpec>,
    start: usize,
}

impl Storages<'_> {
    fn places(&self) -> Result<HashMap<String, Bytes>, String> {
        let keys = self
            .keys
            .as_slice()
            .ok_or("its list of storages is missing")?;
        let mut at = self.start;
        let mut places = HashMap::new();
        for key in keys {
            let key = key
                .as_str()
                .ok_or("the name of a storage is not a string")?;
            let spec = self
                .sizes
                .get(key)
                .ok_or_else(|| format!("storage {key:?} belongs to no tensor"))?;
            let cut = || format!("it is cut short at storage {key:?}");
            let elements = self
                .file
                .get(at..)
                .and_then(|rest| rest.first_chunk())
                .map(|bytes| u64::from_le_bytes(*bytes))
                .ok_or_else(cut)?;
            let size = spec.dtype.map_or(1, super::convert::element_size);
            let bytes = usize::try_from(elements)
                .ok()
                .and_then(|elements| elements.checked_mul(size));
            if bytes != Some(spec.bytes) {
                return Err(format!(
                    "storage {key:?} has {elements} elements of {size} bytes, its tensors say {} \
                     bytes",
                    spec.bytes
                ));
            }
            let from = at + size_of::<u64>();
            let end = from
                .checked_add(spec.bytes)
                .filter(|end| *end <= self.file.len());
            at = end.ok_or_else(cut)?;
            if places
                .insert(key.to_string(), self.file.slice(from..at))
                .is_some()
            {
                return Err(format!("storage {key:?} is there twice"));
            }
        }
        Ok(places)
    }
}
