#!/usr/bin/env python3
"""Loads an exported .bin file with PyTorch into the official module tree.

    oscar-bin model export DIR --out out.bin
    python tests/pytorch/check_export.py out.bin DIR

DIR holds config.json and model.safetensors. The tree is built from config.json with the official
names and plain torch.nn modules. The file must load with weights_only=True and strict=True, hold
every tensor of model.safetensors bit for bit and no other, and share the storage of tied names.
Prints a line per check; exits with 1 if one fails. Needs torch and nothing else.
"""

import argparse
import json
import pathlib
import struct
import sys

import torch
from torch import nn

DECODER = "cls.predictions.decoder.weight"
DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def read_safetensors(path):
    """Name to tensor, read without the safetensors package."""
    data = bytearray(pathlib.Path(path).read_bytes())
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8:8 + length])
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        start, end = (8 + length + offset for offset in entry["data_offsets"])
        dtype = DTYPES[entry["dtype"]]
        flat = torch.frombuffer(data[start:end], dtype=dtype) if end > start else torch.empty(0, dtype=dtype)
        tensors[name] = flat.reshape(entry["shape"])
    return tensors


def tree(**children):
    """A module with these children and parameters."""
    module = nn.Module()
    for name, child in children.items():
        setattr(module, name, child)
    return module


class Names:
    """The modules of a configuration, under their official names."""

    def __init__(self, config):
        self.config = config
        self.hidden = config["hidden_size"]
        self.norms = bool(config.get("use_img_layernorm", 0))

    def norm(self, size=None):
        return nn.LayerNorm(size or self.hidden, eps=self.config.get("layer_norm_eps", 1e-12))

    def square(self):
        return nn.Linear(self.hidden, self.hidden)

    def layer(self):
        inner = self.config["intermediate_size"]
        attention = tree(output=tree(dense=self.square(), LayerNorm=self.norm()))
        attention.add_module("self", tree(query=self.square(), key=self.square(), value=self.square()))
        return tree(
            attention=attention,
            intermediate=tree(dense=nn.Linear(self.hidden, inner)),
            output=tree(dense=nn.Linear(inner, self.hidden), LayerNorm=self.norm()),
        )

    def backbone(self):
        config, hidden = self.config, self.hidden
        body = tree(
            embeddings=tree(
                word_embeddings=nn.Embedding(config["vocab_size"], hidden, padding_idx=0),
                position_embeddings=nn.Embedding(config["max_position_embeddings"], hidden),
                token_type_embeddings=nn.Embedding(config["type_vocab_size"], hidden),
                LayerNorm=self.norm(),
            ),
            encoder=tree(layer=nn.ModuleList(self.layer() for _ in range(config["num_hidden_layers"]))),
            pooler=tree(dense=self.square()),
            img_embedding=nn.Linear(config["img_feature_dim"], hidden),
        )
        if self.norms:
            body.LayerNorm = self.norm()
        return body

    def predictions(self, body, tied):
        vocab = self.config["vocab_size"]
        head = tree(
            transform=tree(dense=self.square(), LayerNorm=self.norm()),
            decoder=nn.Linear(self.hidden, vocab, bias=False),
            bias=nn.Parameter(torch.zeros(vocab)),
        )
        if tied:
            head.decoder.weight = body.embeddings.word_embeddings.weight
        return head

    def classifier(self, inputs, labels, norms):
        if self.config.get("classifier", "linear") == "linear":
            return nn.Linear(inputs, labels)
        inner = self.hidden * self.config.get("cls_hidden_scale", 2)
        layers = [nn.Linear(inputs, inner), nn.ReLU()]
        layers += [self.norm(inner)] if norms else []
        return nn.Sequential(*layers, nn.Linear(inner, labels))

    def model(self, names):
        """The official class that has these names."""
        config, body = self.config, self.backbone()
        if "cls.seq_relationship.weight" in names:
            head = nn.Linear(self.hidden, config.get("num_contrast_classes", 2))
            cls = tree(predictions=self.predictions(body, True), seq_relationship=head)
            return "BertImgForPreTraining", tree(bert=body, cls=cls)
        if DECODER in names:
            cls = tree(predictions=self.predictions(body, config.get("tie_weights", False)))
            return "BertForImageCaptioning", tree(bert=body, cls=cls)
        first = names.get("classifier.weight", names.get("classifier.0.weight"))
        if first is None:
            return "BertImgModel", body
        if first.shape[1] == self.hidden:
            head = self.classifier(self.hidden, config["num_labels"], False)
            return "ImageBertForSequenceClassification", tree(bert=body, classifier=head)
        head = self.classifier(self.hidden * config.get("num_choice", 2), 2, self.norms)
        return "ImageBertForMultipleChoice", tree(bert=body, classifier=head)


def same_bits(a, b):
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    return torch.equal(a.reshape(-1).view(torch.uint8), b.reshape(-1).view(torch.uint8))


def check(binary, directory):
    """Yields (what was checked, whether it holds)."""
    directory = pathlib.Path(directory)
    config = json.loads((directory / "config.json").read_text())
    expected = read_safetensors(directory / "model.safetensors")
    state = torch.load(binary, map_location="cpu", weights_only=True)
    yield f"weights_only=True reads {len(state)} tensors", len(state) > 0

    label, model = Names(config).model(expected)
    own = model.state_dict()
    missing, unexpected = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    yield f"{label} has the same names; missing {missing}, unexpected {unexpected}", not (missing or unexpected)
    try:
        model.load_state_dict(state, strict=True)
        yield "strict=True loads", True
    except RuntimeError as error:
        yield f"strict=True: {error}", False

    yield "the names are those of model.safetensors", state.keys() == expected.keys()
    loaded = model.state_dict()
    for name in sorted(expected.keys() & state.keys()):
        tensor = expected[name]
        yield f"{name} {tensor.dtype} {list(tensor.shape)} is the same", same_bits(state[name], tensor)
        yield f"{name} is in the module", torch.equal(loaded[name], tensor.to(loaded[name].dtype))

    word = next(name for name in expected if name.endswith("embeddings.word_embeddings.weight"))
    if DECODER in expected and same_bits(expected[DECODER], expected[word]):
        shared = state[DECODER].data_ptr() == state[word].data_ptr()
        yield "the tied output matrix shares the storage of the word embedding", shared
    parameters = sum(parameter.numel() for parameter in model.parameters())
    unique = {tensor.data_ptr(): tensor.numel() for tensor in state.values()}
    if label == "BertForImageCaptioning" or DECODER not in expected or same_bits(expected[DECODER], expected[word]):
        yield f"{parameters} parameters", parameters == sum(unique.values())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary", metavar="FILE.bin")
    parser.add_argument("directory", metavar="DIR")
    arguments = parser.parse_args()
    failed = total = 0
    for what, holds in check(arguments.binary, arguments.directory):
        print(f"{'ok    ' if holds else 'FAILED'} {what}")
        total, failed = total + 1, failed + (not holds)
    print(f"{arguments.binary}: {total} checks, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
