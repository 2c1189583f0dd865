//! What calling a class of the closed list makes.

use std::sync::Arc;

use safetensors::Dtype;

use super::Problem;
use super::classes::Class;
use super::error::printable;
use super::machine::{Machine, Node, Slot, StorageSpec, TensorSpec};
use super::numpy::{ArraySpec, NumpyType, scalar};
use crate::pytorch::convert::element_size;

/// Most arguments that a call of the list has.
const MAX_ARGUMENTS: usize = 16;

impl Machine<'_> {
    /// `REDUCE`: pushes what `callable(*arguments)` makes.
    pub(super) fn call(&mut self, callable: Slot, arguments: Slot) -> Result<(), Problem> {
        let class = class_of(callable)?;
        let arguments = self.arguments(arguments)?;
        let made = self.make(class, &arguments)?;
        self.stack.push(made);
        Ok(())
    }

    /// `NEWOBJ`: pushes what `class.__new__(class, *arguments)` makes.
    pub(super) fn new_object(&mut self, class: Slot, arguments: Slot) -> Result<(), Problem> {
        self.call(class, arguments)
    }

    /// `INST` and `OBJ`, of old protocols.
    pub(super) fn instance(&mut self, class: Slot, arguments: Slot) -> Result<(), Problem> {
        self.call(class, arguments)
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

    /// Classes of PyTorch and NumPy.
    fn make_number(&mut self, class: Class, arguments: &[Slot]) -> Result<Slot, Problem> {
        match (class, arguments) {
            (Class::TorchSize, [shape]) => match self.node_of(*shape) {
                Some(Node::Tuple(_)) => Ok(*shape),
                _ => Err(wrong(class, 1)),
            },
            (Class::TorchDevice, [name]) => self.str_of(*name).map(|_| *name),
            (Class::TorchDevice, [name, Slot::Int(index)]) => {
                let device = format!("{}:{index}", printable(self.str_of(*name)?));
                self.add(Node::Str(device.into()))
            }
            (Class::RebuildTensor, [storage, offset, shape, strides])
            | (Class::RebuildTensorV2, [storage, offset, shape, strides, _, _]) => {
                self.tensor(*storage, None, *offset, *shape, *strides)
            }
            (Class::RebuildTensorV2, [storage, offset, shape, strides, _, _, metadata]) => {
                self.require_plain(*metadata)?;
                self.tensor(*storage, None, *offset, *shape, *strides)
            }
            (Class::RebuildTensorV3, [storage, offset, shape, strides, _, _, dtype, rest @ ..]) => {
                if let Some(metadata) = rest.first() {
                    self.require_plain(*metadata)?;
                }
                match dtype {
                    Slot::Class(Class::TorchDtype(dtype, _)) => {
                        self.tensor(*storage, Some(*dtype), *offset, *shape, *strides)
                    }
                    _ => Err(wrong(class, arguments.len())),
                }
            }
            (Class::RebuildParameter, [data, _, _])
            | (Class::RebuildParameterWithState, [data, _, _, _]) => match self.node_of(*data) {
                Some(Node::Tensor(_)) => Ok(*data),
                _ => Err(wrong(class, arguments.len())),
            },
            (Class::RebuildFromType, [function, Slot::Class(Class::Tensor(_)), inner, _]) => {
                match class_of(*function)? {
                    function @ (Class::RebuildTensor
                    | Class::RebuildTensorV2
                    | Class::RebuildTensorV3
                    | Class::RebuildParameter) => {
                        let inner = self.arguments(*inner)?;
                        self.make_number(function, &inner)
                    }
                    _ => Err(wrong(class, arguments.len())),
                }
            }
            (Class::NumpyDtype, [code, ..]) => {
                let code = self.str_of(*code)?;
                let dtype = NumpyType {
                    big_endian: code.starts_with('>'),
                    code: code.trim_start_matches(['<', '>', '|', '=']).into(),
                    structured: false,
                };
                self.add(Node::NumpyType(Box::new(dtype)))
            }
            (Class::NumpyReconstruct, [Slot::Class(Class::NumpyArray), _, _]) => {
                let empty = ArraySpec {
                    dtype: Slot::None,
                    shape: Slot::None,
                    fortran: false,
                    data: Slot::None,
                };
                self.add(Node::Array(Box::new(empty)))
            }
            (Class::NumpyFromBuffer, [data, dtype, shape, order]) => {
                let array = ArraySpec {
                    dtype: *dtype,
                    shape: *shape,
                    fortran: &**self.str_of(*order)? == "F",
                    data: *data,
                };
                self.add(Node::Array(Box::new(array)))
            }
            (Class::NumpyScalar, [dtype, data]) => match self.node_of(*dtype) {
                Some(Node::NumpyType(dtype)) => scalar(dtype, self.bytes_of(*data)?),
                _ => Err(wrong(class, 2)),
            },
            _ => Err(wrong(class, arguments.len())),
        }
    }

    /// `BUILD`: gives the top of the stack its state.
    pub(super) fn build(&mut self, state: Slot) -> Result<(), Problem> {
        let Slot::Node(id) = self.top()? else {
            return Err(Problem::malformed("a plain value is given a state"));
        };
        match self.nodes.get(id as usize) {
            // Attributes of a dictionary (`_metadata` of state dictionaries) and of a parameter
            // hold nothing that is read.
            Some(Node::Dict(_) | Node::Tensor(_)) => Ok(()),
            Some(Node::Object(..)) => {
                let entries = self.state(state)?;
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
            _ => Err(Problem::malformed("a value that has no state is given one")),
        }
    }

    /// `BINPERSID`: pushes the storage that
    /// `("storage", type, key, location, elements[, view])` names.
    pub(super) fn persistent(&mut self, id: Slot) -> Result<(), Problem> {
        let (class, key, elements, view) = match self.tuple_of(id)? {
            [
                kind,
                Slot::Class(class),
                key,
                _,
                Slot::Int(elements),
                view @ ..,
            ] if &**self.str_of(*kind)? == "storage" && view.len() < 2 => {
                (*class, *key, *elements, view.first().copied())
            }
            _ => {
                return Err(Problem::unsupported(
                    "an object outside the pickle that is no storage",
                ));
            }
        };
        let Class::Storage(dtype, _) = class else {
            return Err(Problem::unsupported(format!(
                "a storage of type {}",
                class.name()
            )));
        };
        let size = dtype.map_or(1, element_size);
        let bytes = |elements: i64| {
            usize::try_from(elements)
                .ok()
                .and_then(|elements| elements.checked_mul(size))
                .ok_or_else(|| Problem::malformed(format!("a storage of {elements} elements")))
        };
        let mut spec = StorageSpec {
            key: self.str_of(key)?.clone(),
            dtype,
            bytes: bytes(elements)?,
            part: None,
        };
        match view {
            None | Some(Slot::None) => {}
            Some(view) => match self.tuple_of(view)? {
                [_, Slot::Int(offset), Slot::Int(length)] => {
                    let (start, length) = (bytes(*offset)?, bytes(*length)?);
                    let end = start.checked_add(length).filter(|end| *end <= spec.bytes);
                    let end = end.ok_or_else(|| Problem::malformed("a part of a storage"))?;
                    spec.part = Some(start..end);
                }
                _ => return Err(Problem::malformed("a part of a storage")),
            },
        }
        self.push_node(Node::Storage(Box::new(spec)))
    }

    fn tensor(
        &mut self,
        storage: Slot,
        dtype: Option<Dtype>,
        offset: Slot,
        shape: Slot,
        strides: Slot,
    ) -> Result<Slot, Problem> {
        let found = match (storage, self.node_of(storage)) {
            (Slot::Node(id), Some(Node::Storage(spec))) => Some((id, spec.dtype)),
            _ => None,
        };
        let (Some((storage, own)), Slot::Int(offset)) = (found, offset) else {
            return Err(Problem::malformed("a tensor without a storage"));
        };
        let dtype = dtype
            .or(own)
            .ok_or_else(|| Problem::malformed("a tensor without a type"))?;
        self.add(Node::Tensor(Box::new(TensorSpec {
            storage,
            dtype,
            offset,
            shape,
            strides,
        })))
    }

    /// Refuses a tensor whose elements stand for their conjugates or negatives.
    fn require_plain(&self, metadata: Slot) -> Result<(), Problem> {
        match (metadata, self.node_of(metadata)) {
            (Slot::None, _) => Ok(()),
            (_, Some(Node::Dict(entries))) if entries.is_empty() => Ok(()),
            _ => Err(Problem::unsupported(
                "a tensor whose elements stand for their conjugates or negatives",
            )),
        }
    }

    fn converted(&mut self, class: Class, value: Slot) -> Result<Slot, Problem> {
        let text = match self.node_of(value) {
            Some(Node::Str(text)) => Some(text.clone()),
            _ => None,
        };
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
        let encoding = self.str_of(encoding)?.to_ascii_lowercase();
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
            _ => return Err(Problem::malformed("a call with what is no list")),
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

    fn arguments(&self, slot: Slot) -> Result<Vec<Slot>, Problem> {
        let arguments = self.tuple_of(slot)?;
        match arguments.len() <= MAX_ARGUMENTS {
            true => Ok(arguments.to_vec()),
            false => Err(Problem::malformed(format!(
                "a call with {} arguments",
                arguments.len()
            ))),
        }
    }

    fn tuple_of(&self, slot: Slot) -> Result<&[Slot], Problem> {
        match self.node_of(slot) {
            Some(Node::Tuple(items)) => Ok(items),
            _ => Err(Problem::malformed(
                "a value that is no tuple where one is due",
            )),
        }
    }

    /// The bytes of `bytes`, or of a string of Python 2.
    fn bytes_of(&self, slot: Slot) -> Result<&[u8], Problem> {
        match self.node_of(slot) {
            Some(Node::Bytes(range)) => Ok(self.input.get(range.clone()).unwrap_or_default()),
            Some(Node::OwnedBytes(bytes)) => Ok(bytes),
            Some(Node::Str(text)) => Ok(text.as_bytes()),
            _ => Err(Problem::malformed(
                "a value that is no bytes where they are due",
            )),
        }
    }

    fn replace(&mut self, id: u32, node: Node) {
        if let Some(place) = self.nodes.get_mut(id as usize) {
            *place = node;
        }
    }
}

fn class_of(slot: Slot) -> Result<Class, Problem> {
    match slot {
        Slot::Class(class) => Ok(class),
        _ => Err(Problem::malformed("a value that is no class is called")),
    }
}

fn wrong(class: Class, arguments: usize) -> Problem {
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
