//! Calls of the classes of PyTorch and NumPy.

use safetensors::Dtype;

use super::Problem;
use super::arena::{Node, Slot, StorageSpec, TensorSpec};
use super::calls::{class_of, wrong};
use super::classes::Class;
use super::error::printable;
use super::machine::Machine;
use super::numpy::{ArraySpec, NumpyType, scalar};
use crate::pytorch::convert::element_size;
use crate::pytorch::legacy;

impl Machine<'_> {
    /// Classes of PyTorch and NumPy.
    pub(super) fn make_number(
        &mut self,
        class: Class,
        arguments: &[Slot],
    ) -> Result<Slot, Problem> {
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
            (Class::LoadFromBytes, [file]) => self.inline_storage(*file),
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
            _ => self.make_array(class, arguments),
        }
    }

    fn make_array(&mut self, class: Class, arguments: &[Slot]) -> Result<Slot, Problem> {
        match (class, arguments) {
            (Class::NumpyDtype, [code, ..]) => {
                let code = self.short_text(*code)?;
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
                (**class, *key, *elements, view.first().copied())
            }
            _ => {
                return Err(Problem::unsupported(
                    "a persistent id that is not a storage",
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
            inline: None,
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

    /// The storage in `file`, the bytes of a whole file of `torch.save`: `pickle.dump` writes tensors
    /// so.
    fn inline_storage(&mut self, file: Slot) -> Result<Slot, Problem> {
        let (id, bytes) = match (file, self.node_of(file)) {
            (Slot::Node(id), Some(Node::Bytes(range)))
                if self.input.get(range.clone()).is_some() =>
            {
                (id, self.input.slice(range.clone()))
            }
            (Slot::Node(id), Some(Node::OwnedBytes(bytes))) => (id, bytes.clone().into()),
            _ => return Err(wrong(Class::LoadFromBytes, 1)),
        };
        if self.nested {
            return Err(Problem::unsupported("a file inside a file inside a pickle"));
        }
        // The same bytes may be loaded often, but each time they are read.
        self.copy(bytes.len())?;
        let (dtype, storage) = legacy::read_storage(&bytes, self.limits)?;
        self.add(Node::Storage(Box::new(StorageSpec {
            key: format!("in the pickle, value {id}").into(),
            dtype,
            bytes: storage.len(),
            part: None,
            inline: Some(storage),
        })))
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
                "a tensor with the conjugate or negative bit set",
            )),
        }
    }
}
