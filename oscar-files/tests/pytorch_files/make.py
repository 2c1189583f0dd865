"""Makes the files of this folder with PyTorch, NumPy and Python's pickle.

    python make.py

writes every file beside this script, and `expected.json`: for each file the value it holds, as
JSON in which a tensor or array is {"dtype": .., "shape": [..], "bytes": hex of its elements in
row-major order, little-endian}. Needs torch 2.9 and numpy; the tests need neither.
"""

import argparse
import collections
import io
import json
import math
import pathlib
import pickle
import pickletools
import zipfile

import numpy
import torch

HERE = pathlib.Path(__file__).parent
EXPECTED = {}

DTYPES = {
    torch.float32: "F32", torch.float64: "F64", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8",
    torch.uint8: "U8", torch.uint16: "U16", torch.bool: "BOOL",
}
NUMPY = {"f2": "F16", "f4": "F32", "f8": "F64", "i1": "I8", "i2": "I16", "i4": "I32", "i8": "I64",
         "u1": "U8", "u2": "U16", "u4": "U32", "u8": "U64", "b1": "BOOL"}


def plain(value):
    """The value as expected.json shows it."""
    if isinstance(value, torch.Tensor):
        value = value.detach().contiguous()
        raw = bytes(value.reshape(-1).view(torch.uint8).tolist()) if value.numel() else b""
        return {"dtype": DTYPES[value.dtype], "shape": list(value.shape), "bytes": raw.hex()}
    if isinstance(value, numpy.ndarray):
        return {"dtype": NUMPY[value.dtype.str[1:]], "shape": list(value.shape),
                "bytes": numpy.ascontiguousarray(value).tobytes().hex()}
    if isinstance(value, numpy.generic):
        return value.item()
    if isinstance(value, (bytes, bytearray)):
        return {"hex": bytes(value).hex()}
    if isinstance(value, argparse.Namespace):
        return plain(vars(value))
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted(plain(item) for item in value)
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, int) and not -2**63 <= value < 2**63:
        return str(value)
    return value


def note(name, value):
    EXPECTED[name] = plain(value)


def save(name, value, **options):
    torch.save(value, HERE / name, **options)
    note(name, value)


def tensors():
    base = torch.arange(24, dtype=torch.float32).reshape(4, 6) / 8
    shared = torch.arange(12, dtype=torch.float32)
    return collections.OrderedDict(
        transposed=base.t(),
        column=base[:, 2],
        steps=base[::2, 1::2],
        permuted=torch.arange(24.0).reshape(2, 3, 4).permute(2, 0, 1),
        expanded=torch.tensor([[1.5], [2.5]]).expand(2, 3),
        head=shared[:5],
        tail=shared[7:],
        tied=shared,
        same=shared,
        scalar=torch.tensor(3.25),
        empty=torch.empty(0),
        no_rows=torch.empty(0, 7),
        parameter=torch.nn.Parameter(torch.tensor([1.0, -2.0])),
        f64=torch.tensor([math.pi, -math.inf], dtype=torch.float64),
        f16=torch.tensor([1.5, 65504.0, 6e-8], dtype=torch.float16),
        bf16=torch.tensor([[1.5, -3e38]], dtype=torch.bfloat16),
        i64=torch.tensor([-(2**62), 7]),
        i32=torch.tensor([-5, 2**31 - 1], dtype=torch.int32),
        i16=torch.tensor([-5, 300], dtype=torch.int16),
        i8=torch.tensor([-128, 127], dtype=torch.int8),
        u8=torch.tensor([0, 255], dtype=torch.uint8),
        flags=torch.tensor([True, False, True]),
    )


def structures():
    return {
        "epoch": 3, "negative": -70000, "large": 2**40, "huge": 2**80, "minus_huge": -2**80,
        "rate": 5e-5, "infinite": math.inf, "name": "Größe ☃", "none": None, "yes": True,
        "list": [1, [2, [3, []]]], "tuple": (1, "a", 2.5), "single": (1,), "empty": {},
        "bytes": b"\x00\xff", "set": {3, 1, 2}, "frozen": frozenset({"x"}), 5: "five",
        "bytearray": bytearray(b"ab"),
    }


def nested():
    counts = collections.defaultdict(float)
    counts[("a", "b")] = 1.0
    return {
        "model": {"weight": torch.ones(2, 3), "bias": torch.zeros(3)},
        "optimizer": {"state": {0: {"step": 10, "exp_avg": torch.full((2,), 0.5)}},
                      "param_groups": [{"lr": 5e-5, "betas": (0.9, 0.999), "params": [0]}]},
        "dtype_of": "float32", "size": torch.Size([2, 3]), "counts": dict(counts),
    }


def arrays():
    table = numpy.arange(6, dtype="<f4").reshape(2, 3)
    return {
        "f4": table, "fortran": numpy.asfortranarray(table), "i8": numpy.array([1, -2]),
        "u1": numpy.array([[255]], dtype="u1"), "f2": numpy.array([0.5], dtype="f2"),
        "flags": numpy.array([True, False]), "zero_d": numpy.array(1.25), "none": numpy.zeros((0, 4)),
        "scalar_f8": numpy.float64(0.1), "scalar_f4": numpy.float32(0.5),
        "scalar_i8": numpy.int64(-3), "scalar_flag": numpy.bool_(True),
    }


def main():
    save("tensors.pt", tensors())
    save("tensors_legacy.pt", tensors(), _use_new_zipfile_serialization=False)
    save("tensors_protocol4.pt", tensors(), pickle_protocol=4)
    save("tensors_protocol5_legacy.pt", tensors(), pickle_protocol=5,
         _use_new_zipfile_serialization=False)
    save("u16.pt", {"u16": torch.tensor([1, 65535], dtype=torch.uint16)})
    save("nested.pt", nested())
    save("wrapped.pt", {
        "epoch": 3,
        "state_dict": collections.OrderedDict([
            ("module.bert.embeddings.LayerNorm.gamma", torch.ones(2)),
            ("module.bert.embeddings.position_ids", torch.arange(4)),
        ]),
        "optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}},
    })
    save("one_tensor.pt", torch.tensor([[1.0, 2.0]]))
    save("namespace.bin", argparse.Namespace(do_lower_case=True, learning_rate=3e-5,
                                             model_name_or_path="bert", drop_out=None))
    for protocol in range(6):
        name = f"structures_{protocol}.pkl"
        (HERE / name).write_bytes(pickle.dumps(structures(), protocol))
        note(name, structures())
    for protocol in (2, 5):
        name = f"arrays_{protocol}.pkl"
        (HERE / name).write_bytes(pickle.dumps(arrays(), protocol))
        note(name, arrays())
    counts = collections.defaultdict(int, {("a",): 2.0, ("a", "b"): 1.0})
    (HERE / "counts.pkl").write_bytes(
        pickle.dumps({"df": counts, "ref_len": numpy.float64(12.5)}, 2))
    note("counts.pkl", {"df": counts, "ref_len": 12.5})
    (HERE / "expected.json").write_text(json.dumps(EXPECTED, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
