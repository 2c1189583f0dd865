#!/usr/bin/env python3
"""Both region detectors at their published size in PyTorch, with random weights.

    python benches/pytorch/detector.py --batch-size 1 --json

The work and the document are those of `oscar-bin bench --work detector`, with torchvision's suppression of
proposals and its pooling of regions. What its steps leave out is in PyTorch's favour: reading and scaling
the picture, and the choice of regions by class. Needs torch and torchvision.
"""

import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from timed import run

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


class Pictures:
    """Pictures of the size that photographs of 640 x 480 are scaled to; a step finds their regions."""

    def __init__(self, name, batch_size):
        options, side = SIZES[name]
        self.model = Detector(**options).eval().to(memory_format=torch.channels_last)
        self.pixels = torch.randn(batch_size, 3, *side).to(memory_format=torch.channels_last)
        self.tokens, self.flops = batch_size * REGIONS, 2.0 * batch_size * self.products()

    def products(self):
        """How many products the convolutions and matrices of one picture add up."""
        counted = []

        def count(module, inputs, output):
            counted.append(module.weight[0].numel() * output.numel())

        layers = [m for m in self.model.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
        hooks = [layer.register_forward_hook(count) for layer in layers]
        with torch.inference_mode():
            self.model(self.pixels[:1])
        for hook in hooks:
            hook.remove()
        return sum(counted)

    def step(self):
        with torch.inference_mode():
            self.model(self.pixels)


if __name__ == "__main__":
    of_size = lambda name: lambda tiny, batch_size: Pictures(name, batch_size)
    works = {"detector": {name: of_size(name) for name in SIZES}}
    # The published size is the only one.
    run(__doc__, "torchvision", works, batch_size=1, steps=3, presets=["base"])
