//! The classes and functions that a pickle may name. There are no others.

use safetensors::Dtype;

use crate::pytorch::value::TORCH_SCRIPT;

/// What a name of the closed list stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// `dict` and its kin.
    Dict(&'static str),
    /// `collections.defaultdict`
    DefaultDict,
    /// `collections.Counter`
    Counter,
    Set,
    FrozenSet,
    List,
    Tuple,
    Int,
    Float,
    Bool,
    Str,
    Bytes(&'static str),
    Complex,
    /// `object`, as a base only.
    Base,
    /// `copyreg._reconstructor`
    Reconstructor,
    /// `_codecs.encode`
    Encode,
    /// A class whose objects are kept as their plain fields.
    Fields(&'static str),
    /// `torch.FloatStorage` and so on; none for bytes without a type.
    Storage(Option<Dtype>, &'static str),
    /// `torch.float32` and so on.
    TorchDtype(Dtype, &'static str),
    /// `torch.storage._load_from_bytes`
    LoadFromBytes,
    RebuildTensor,
    RebuildTensorV2,
    RebuildTensorV3,
    RebuildParameter,
    RebuildParameterWithState,
    RebuildFromType,
    /// `torch.Tensor` or `Parameter` as a type.
    Tensor(&'static str),
    TorchSize,
    TorchDevice,
    NumpyDtype,
    NumpyArray,
    NumpyReconstruct,
    NumpyFromBuffer,
    NumpyScalar,
}

impl Class {
    /// The class called `name` in `module`, if it is one of the list.
    pub fn find(module: &str, name: &str) -> Option<&'static Self> {
        let class = match (module, name) {
            ("collections", "OrderedDict") => &Self::Dict("collections.OrderedDict"),
            ("collections", "defaultdict") => &Self::DefaultDict,
            ("collections", "Counter") => &Self::Counter,
            ("builtins" | "__builtin__", name) => builtin(name)?,
            ("copyreg" | "copy_reg", "_reconstructor") => &Self::Reconstructor,
            ("_codecs", "encode") => &Self::Encode,
            ("argparse", "Namespace") => &Self::Fields("argparse.Namespace"),
            // A module of a TorchScript archive: its code is in other members, which are never read.
            ("__torch__", _) => &Self::Fields(TORCH_SCRIPT),
            (module, _) if module.starts_with("__torch__.") => &Self::Fields(TORCH_SCRIPT),
            ("torch", name) => torch(name)?,
            ("torch.storage", "UntypedStorage") => &Self::Storage(None, "torch.UntypedStorage"),
            ("torch.storage", "_load_from_bytes") => &Self::LoadFromBytes,
            ("torch._utils", "_rebuild_tensor") => &Self::RebuildTensor,
            ("torch._utils", "_rebuild_tensor_v2") => &Self::RebuildTensorV2,
            ("torch._utils", "_rebuild_tensor_v3") => &Self::RebuildTensorV3,
            ("torch._utils", "_rebuild_parameter") => &Self::RebuildParameter,
            ("torch._utils", "_rebuild_parameter_with_state") => &Self::RebuildParameterWithState,
            ("torch._tensor", "_rebuild_from_type_v2") => &Self::RebuildFromType,
            ("torch.nn.parameter", "Parameter") => &Self::Tensor("torch.nn.parameter.Parameter"),
            ("numpy", "dtype") => &Self::NumpyDtype,
            ("numpy", "ndarray") => &Self::NumpyArray,
            ("numpy.core.multiarray" | "numpy._core.multiarray", "_reconstruct") => {
                &Self::NumpyReconstruct
            }
            ("numpy.core.multiarray" | "numpy._core.multiarray", "scalar") => &Self::NumpyScalar,
            ("numpy.core.numeric" | "numpy._core.numeric", "_frombuffer") => &Self::NumpyFromBuffer,
            _ => return None,
        };
        Some(class)
    }

    /// Its name in Python.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dict(name)
            | Self::Bytes(name)
            | Self::Fields(name)
            | Self::Storage(_, name)
            | Self::TorchDtype(_, name)
            | Self::Tensor(name) => name,
            Self::DefaultDict => "collections.defaultdict",
            Self::Counter => "collections.Counter",
            Self::Set => "set",
            Self::FrozenSet => "frozenset",
            Self::List => "list",
            Self::Tuple => "tuple",
            Self::Int => "int",
            Self::Float => "float",
            Self::Bool => "bool",
            Self::Str => "str",
            Self::Complex => "complex",
            Self::Base => "object",
            Self::Reconstructor => "copyreg._reconstructor",
            Self::Encode => "_codecs.encode",
            Self::LoadFromBytes => "torch.storage._load_from_bytes",
            Self::RebuildTensor => "torch._utils._rebuild_tensor",
            Self::RebuildTensorV2 => "torch._utils._rebuild_tensor_v2",
            Self::RebuildTensorV3 => "torch._utils._rebuild_tensor_v3",
            Self::RebuildParameter => "torch._utils._rebuild_parameter",
            Self::RebuildParameterWithState => "torch._utils._rebuild_parameter_with_state",
            Self::RebuildFromType => "torch._tensor._rebuild_from_type_v2",
            Self::TorchSize => "torch.Size",
            Self::TorchDevice => "torch.device",
            Self::NumpyDtype => "numpy.dtype",
            Self::NumpyArray => "numpy.ndarray",
            Self::NumpyReconstruct => "numpy.core.multiarray._reconstruct",
            Self::NumpyFromBuffer => "numpy.core.numeric._frombuffer",
            Self::NumpyScalar => "numpy.core.multiarray.scalar",
        }
    }
}

fn builtin(name: &str) -> Option<&'static Class> {
    Some(match name {
        "set" => &Class::Set,
        "frozenset" => &Class::FrozenSet,
        "bytearray" => &Class::Bytes("bytearray"),
        "bytes" => &Class::Bytes("bytes"),
        "list" => &Class::List,
        "dict" => &Class::Dict("dict"),
        "tuple" => &Class::Tuple,
        "int" | "long" => &Class::Int,
        "float" => &Class::Float,
        "bool" => &Class::Bool,
        "str" | "unicode" => &Class::Str,
        "complex" => &Class::Complex,
        "object" => &Class::Base,
        _ => return None,
    })
}

fn torch(name: &str) -> Option<&'static Class> {
    use Class::{Storage, TorchDtype};
    Some(match name {
        "FloatStorage" => &Storage(Some(Dtype::F32), "torch.FloatStorage"),
        "DoubleStorage" => &Storage(Some(Dtype::F64), "torch.DoubleStorage"),
        "HalfStorage" => &Storage(Some(Dtype::F16), "torch.HalfStorage"),
        "BFloat16Storage" => &Storage(Some(Dtype::BF16), "torch.BFloat16Storage"),
        "LongStorage" => &Storage(Some(Dtype::I64), "torch.LongStorage"),
        "IntStorage" => &Storage(Some(Dtype::I32), "torch.IntStorage"),
        "ShortStorage" => &Storage(Some(Dtype::I16), "torch.ShortStorage"),
        "CharStorage" => &Storage(Some(Dtype::I8), "torch.CharStorage"),
        "ByteStorage" => &Storage(Some(Dtype::U8), "torch.ByteStorage"),
        "BoolStorage" => &Storage(Some(Dtype::BOOL), "torch.BoolStorage"),
        "UntypedStorage" => &Storage(None, "torch.UntypedStorage"),
        "float32" | "float" => &TorchDtype(Dtype::F32, "torch.float32"),
        "float64" | "double" => &TorchDtype(Dtype::F64, "torch.float64"),
        "float16" | "half" => &TorchDtype(Dtype::F16, "torch.float16"),
        "bfloat16" => &TorchDtype(Dtype::BF16, "torch.bfloat16"),
        "int64" | "long" => &TorchDtype(Dtype::I64, "torch.int64"),
        "int32" | "int" => &TorchDtype(Dtype::I32, "torch.int32"),
        "int16" | "short" => &TorchDtype(Dtype::I16, "torch.int16"),
        "int8" => &TorchDtype(Dtype::I8, "torch.int8"),
        "uint8" => &TorchDtype(Dtype::U8, "torch.uint8"),
        "uint16" => &TorchDtype(Dtype::U16, "torch.uint16"),
        "uint32" => &TorchDtype(Dtype::U32, "torch.uint32"),
        "uint64" => &TorchDtype(Dtype::U64, "torch.uint64"),
        "bool" => &TorchDtype(Dtype::BOOL, "torch.bool"),
        "Size" => &Class::TorchSize,
        "device" => &Class::TorchDevice,
        "Tensor" => &Class::Tensor("torch.Tensor"),
        _ => return None,
    })
}
