#!/usr/bin/env python3
"""Both region detectors at their published size in PyTorch, with random weights.

    python benches/pytorch/detector.py --batch-size 1 --json

The work and the document are those of `oscar-bin bench --work detector`, with torchvision's suppression of
proposals and its pooling of regions. What its steps leave out is in PyTorch's favour: reading and scaling
the picture, and the choice of regions by class. Needs torch and torchvision.
"""

import argparse
import json
import resource
import statistics
import sys
import time

import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from bench import device_name, peak_flops

# Regions of a picture, in chunks of res5 as here; candidates before suppression; the side of a pooled region.
REGIONS, CHUNK, CANDIDATES, POOLED = 300, 32, 6000, 14


class Block(nn.Module):
    def __init__(self, channels, inner, out, stride, dilation, groups, first):
        super().__init__()
        a, b = (stride, 1) if first else (1, stride)
        self.conv1 = nn.Conv2d(channels, inner, 1, a)
        self.conv2 = nn.Conv2d(inner, inner, 3, b, dilation, dilation, groups)
        self.conv3 = nn.Conv2d(inner, out, 1)
        self.shortcut = nn.Conv2d(channels, out, 1, stride) if channels != out else None

    def forward(self, x):
        y = F.relu_(self.conv1(x))
        y = F.relu_(self.conv2(y))
        y = self.conv3(y)
        y += x if self.shortcut is None else self.shortcut(x)
        return F.relu_(y)


class Detector(nn.Module):
    def __init__(self, blocks, groups, width, first, hidden, anchors, classes, slots, attributes, dilated):
        super().__init__()
        self.aligned = not dilated
        self.anchors = anchors
        self.stem = nn.Conv2d(3, 64, 7, 2, 3)
        stages = []
        channels = 64
        for stage, count in enumerate([*blocks, 3]):
            inner, out = groups * width << stage, 256 << stage
            stride = 1 if stage == 0 or (stage == 3 and dilated) else 2
            dilation = 2 if stage == 3 and dilated else 1
            stages.append(nn.Sequential(*[
                Block(channels if n == 0 else out, inner, out, stride if n == 0 else 1, dilation, groups, first)
                for n in range(count)
            ]))
            channels = out
        self.stages = nn.ModuleList(stages)
        self.rpn = nn.Conv2d(1024, hidden, 3, 1, 1)
        self.logits, self.deltas = nn.Conv2d(hidden, anchors, 1), nn.Conv2d(hidden, 4 * anchors, 1)
        self.classes, self.boxes = nn.Linear(2048, classes), nn.Linear(2048, 4 * slots)
        self.embedding = nn.Embedding(classes, 256)
        self.hidden, self.attributes = nn.Linear(2048 + 256, 512), nn.Linear(512, attributes)

    def forward(self, pixels):
        x = F.max_pool2d(F.relu_(self.stem(pixels)), 3, 2, 1)
        for stage in self.stages[:3]:
            x = stage(x)
        rpn = F.relu_(self.rpn(x))
        logits, deltas = self.logits(rpn), self.deltas(rpn)
        for picture in range(len(pixels)):
            boxes = self.proposals(logits[picture], deltas[picture])
            self.heads(x[picture : picture + 1], boxes)

    def proposals(self, logits, deltas):
        """Suppressed boxes in cells of the map; the first are repeated where too few are left."""
        height, width = logits.shape[1:]
        scores, order = logits.flatten().topk(min(CANDIDATES, logits.numel()))
        cells = order % (height * width)
        deltas = deltas.view(self.anchors, 4, -1)[order // (height * width), :, cells]
        side = 2.0 ** (order // (height * width) % 5)
        centre = torch.stack([cells % width, cells // width], 1) + deltas[:, :2] * side[:, None]
        half = 0.5 * side[:, None] * deltas[:, 2:].exp()
        boxes = torch.cat([centre - half, centre + half], 1)
        boxes = torchvision.ops.clip_boxes_to_image(boxes, (height, width))
        kept = torchvision.ops.nms(boxes, scores, 0.7)[:REGIONS]
        return boxes[kept.repeat(REGIONS // len(kept) + 1)[:REGIONS]]

    def heads(self, map, boxes):
        pool = torchvision.ops.roi_align if self.aligned else torchvision.ops.roi_pool
        features = []
        for chunk in boxes.split(CHUNK):
            features.append(self.stages[3](pool(map, [chunk], POOLED)).mean((2, 3)))
        features = torch.cat(features)
        classes = self.classes(features).argmax(1)
        self.boxes(features)
        self.attributes(F.relu_(self.hidden(torch.cat([features, self.embedding(classes)], 1))))


SIZES = {
    "frcnn": (dict(blocks=[3, 4, 23], groups=1, width=64, first=True, hidden=512, anchors=12, classes=1601,
                   slots=1600, attributes=401, dilated=True), (800, 1067)),
    "vinvl": (dict(blocks=[3, 8, 36], groups=32, width=8, first=False, hidden=1024, anchors=15, classes=1595,
                   slots=1595, attributes=525, dilated=False), (600, 800)),
}


def products(detector, pixels):
    """How many products the convolutions and matrices of one picture add up."""
    counted = []

    def count(module, inputs, output):
        per_value = module.weight[0].numel()
        counted.append(per_value * output.numel())

    layers = [m for m in detector.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    detector(pixels[:1])
    for hook in hooks:
        hook.remove()
    return sum(counted)


def measure(args, name, batch_size, peak):
    options, side = SIZES[name]
    detector = Detector(**options).eval().to(memory_format=torch.channels_last)
    pixels = torch.randn(batch_size, 3, *side).to(memory_format=torch.channels_last)
    flops = 2.0 * batch_size * products(detector, pixels)
    seconds = []
    for number in range(args.warmup + args.steps):
        start = time.perf_counter()
        detector(pixels)
        if number >= args.warmup:
            seconds.append(time.perf_counter() - start)
    rate = lambda amount: statistics.median(amount / took for took in seconds)
    regions = batch_size * REGIONS
    return {
        "work": "detector", "model": name, "preset": args.preset, "backend": "torchvision",
        "parameters": sum(values.numel() for values in detector.parameters()),
        "dtype": args.dtype, "batch_size": batch_size, "samples_per_s": rate(batch_size),
        "tokens_per_s": rate(regions), "flops_per_s": rate(flops), "share_of_peak": rate(flops) / peak,
        "peak_flops_per_s": peak,
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "padding_share": 0.0, "step_samples": [batch_size] * args.steps,
        "step_tokens": [regions] * args.steps, "step_flops": [flops] * args.steps,
        "step_seconds": seconds, "optimizer_seconds": None, "optimizer_floor_seconds": None,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", choices=["detector"], default="detector")
    parser.add_argument("--style", choices=["torchvision"], default="torchvision")
    parser.add_argument("--dtype", choices=["f32"], default="f32")
    parser.add_argument("--device", choices=["cpu"], default="cpu")
    parser.add_argument("--preset", choices=["base"], default="base", help="the published size is the only one")
    parser.add_argument("--batch-size", type=lambda text: [int(part) for part in text.split(",")], default=[1])
    parser.add_argument("--lengths", help="taken for benches/run.py")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--warmup", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.manual_seed(42)
    peak = peak_flops(torch.device("cpu"), torch.float32, time.perf_counter)
    with torch.inference_mode():
        results = [measure(args, name, size, peak) for size in args.batch_size for name in SIZES]
    if args.json:
        json.dump({"device": device_name(torch.device("cpu")), "results": results}, sys.stdout, indent=2)
        print()
        return
    for result in results:
        print(f"{result['model']:<6} batch {result['batch_size']:>3} "
              f"{1 / result['samples_per_s']:6.2f} s a picture {result['flops_per_s'] / 1e9:8.1f} GFLOP/s")


if __name__ == "__main__":
    main()
