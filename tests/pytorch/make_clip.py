"""Makes the sets `clip_resnet` and `clip_tokenizer` of tests/fixtures with OpenAI's own code.

    python tests/pytorch/make_clip.py CLIP OUT

CLIP is a clone of github.com/openai/CLIP (the sets were made at d05afc4); OUT is the folder of fixtures.
Needs torch (2.9), numpy, safetensors, ftfy and regex; the tests need none of them.
"""

import argparse
import gzip
import importlib.util
import json
import pathlib
import sys
import tempfile

import torch
from safetensors.torch import save_file

SEED = 43
SIZES = dict(
    embed_dim=40, image_resolution=96, vision_layers=(1, 2, 1, 1), vision_width=4, vision_patch_size=None,
    context_length=12, vocab_size=544, transformer_width=64, transformer_heads=1, transformer_layers=1,
)
MERGES = 600
TEXTS = [
    "a photo of a cat", "A Photo of a CAT.", "two dogs, running!", "it's the woman's hat; they'll go",
    "   spaces \t and\nlines  ", "1234 apples for $5.60", "", "!!!", "naïve café, Straße", "日本語 and emoji 🙂",
    "don't you've we're I'm he'd", "black-and-white", "<|endoftext|> is special", "the the the",
]


def module(clip, name):
    """A module of the clone; its package is not imported, which would want torchvision."""
    path = clip / "clip" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"clip_{name}", path)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def redraw(model):
    """Weights that leave nothing near zero, all of them fp16 numbers."""
    torch.manual_seed(SEED)
    for name, tensor in model.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        of_norm = ".bn" in name or "downsample.1" in name or ".ln_" in name or "ln_final" in name
        if name.endswith("running_var") or of_norm and name.endswith(".weight"):
            value = torch.rand_like(tensor) + 0.5
        elif of_norm or name.endswith("bias"):
            value = 0.2 * torch.randn_like(tensor)
        elif name == "logit_scale":
            value = torch.tensor(2.5)
        else:
            inputs = tensor[0].numel() if tensor.dim() > 1 else tensor.numel()
            value = 1.2 * torch.randn_like(tensor) / inputs**0.5
        tensor.copy_(value.half().float())


def outputs(model, pixels, ids):
    """What each part of the tower computes, and the two similarities."""
    found = {}
    visual = model.visual
    hooks = [visual.avgpool.register_forward_hook(lambda _, __, out: found.__setitem__("stem", out))]
    for number in range(1, 5):
        layer = getattr(visual, f"layer{number}")
        keep = lambda _, __, out, name=f"layer.{number}": found.__setitem__(name, out)
        hooks.append(layer.register_forward_hook(keep))
    embedding = model.encode_image(pixels)
    for hook in hooks:
        hook.remove()
    found["embedding"] = embedding
    found["embedding_normalized"] = embedding / embedding.norm(dim=1, keepdim=True)
    found["text_embedding"] = model.encode_text(ids)
    found["logits_per_image"] = model(pixels, ids)[0]
    return {name: tensor.contiguous() for name, tensor in found.items()}


@torch.no_grad()
def resnet(clip, out):
    code = module(clip, "model")
    model = code.CLIP(**SIZES).eval()
    redraw(model)
    pixels = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(SEED + 1))
    ids = torch.zeros(3, SIZES["context_length"], dtype=torch.long)
    for row, length in zip(ids, (3, 7, 12)):
        row[:length] = torch.randint(1, 542, (length,), generator=torch.Generator().manual_seed(length))
        row[0], row[length - 1] = 542, 543
    expected = outputs(model, pixels, ids)
    # The official LayerNorm computes in fp32 whatever it is given.
    code.LayerNorm.forward = torch.nn.LayerNorm.forward
    exact = outputs(model.double(), pixels.double(), ids)
    bounds = {
        name: {
            "max_abs_diff": (expected[name].double() - exact[name]).abs().max().item(),
            "max_abs": exact[name].abs().max().item(),
        }
        for name in expected
    }
    model = model.float()
    code.convert_weights(model)
    out.mkdir(parents=True, exist_ok=True)
    torch.save(model.state_dict(), out / "openai_state_dict.pt")
    save_file({"pixels": pixels, "text_ids": ids}, out / "inputs.safetensors")
    save_file(expected, out / "expected.safetensors")
    meta = {
        "name": "clip_resnet", "cls": "clip.model.CLIP", "seed": SEED, "openai": SIZES,
        "torch": torch.__version__, "fp32_vs_fp64": bounds,
        "note": "CLIP with a modified ResNet, small; the weights as convert_weights makes them (fp16 and fp32).",
    }
    (out / "meta.json").write_text(json.dumps(meta, indent=1) + "\n")


def tokenizer(clip, out):
    code = module(clip, "simple_tokenizer")
    lines = gzip.open(clip / "clip" / "bpe_simple_vocab_16e6.txt.gz").read().decode().split("\n")[: MERGES + 1]
    out.mkdir(parents=True, exist_ok=True)
    (out / "merges.txt").write_text("\n".join(lines) + "\n")
    with tempfile.NamedTemporaryFile(suffix=".gz") as short:
        short.write(gzip.compress("\n".join(lines).encode()))
        short.flush()
        official = code.SimpleTokenizer(bpe_path=short.name)
    encoded = [{"text": text, "ids": official.encode(text)} for text in TEXTS]
    specials = [official.encoder[name] for name in ("<|startoftext|>", "<|endoftext|>")]
    document = {"clip_encode": encoded, "specials": specials, "size": len(official.encoder)}
    (out / "expected.json").write_text(json.dumps(document, indent=1) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    resnet(args.clip, args.out / "clip_resnet")
    tokenizer(args.clip, args.out / "clip_tokenizer")


if __name__ == "__main__":
    sys.exit(main())
