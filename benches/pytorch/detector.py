"""Both region detectors at their published size in PyTorch, with random weights: seconds a picture.

Only what takes the time: stem, residual stages, proposal head, res5 of 300 regions (in chunks of 32, as
`cargo bench -p oscar-vision --bench detector` has it) and the predictors. Proposals and the pooling of
regions are left out: their output is random numbers.

    python benches/pytorch/detector.py [frcnn|vinvl] [PICTURES]
"""

import sys
import time

import torch
from torch import nn
from torch.nn import functional as F


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
        self.hidden, self.attributes = nn.Linear(2048 + 256, 512), nn.Linear(512, attributes)

    def forward(self, pixels):
        x = F.max_pool2d(F.relu_(self.stem(pixels)), 3, 2, 1)
        for stage in self.stages[:3]:
            x = stage(x)
        rpn = F.relu_(self.rpn(x))
        self.logits(rpn), self.deltas(rpn)
        features = []
        for start in range(0, 300, 32):
            cells = x.new_empty(min(32, 300 - start), 1024, 14, 14).normal_()
            features.append(self.stages[3](cells).mean((2, 3)))
        features = torch.cat(features)
        self.classes(features), self.boxes(features)
        embedded = features.new_zeros(len(features), 256)
        return self.attributes(F.relu_(self.hidden(torch.cat([features, embedded], 1))))


SIZES = {
    "frcnn": (dict(blocks=[3, 4, 23], groups=1, width=64, first=True, hidden=512, anchors=12, classes=1601,
                   slots=1600, attributes=401, dilated=True), (800, 1067)),
    "vinvl": (dict(blocks=[3, 8, 36], groups=32, width=8, first=False, hidden=1024, anchors=15, classes=1595,
                   slots=1595, attributes=525, dilated=False), (600, 800)),
}

if __name__ == "__main__":
    chosen = sys.argv[1] if len(sys.argv) > 1 else None
    pictures = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    for name, (options, (height, width)) in SIZES.items():
        if chosen not in (None, name):
            continue
        with torch.inference_mode():
            detector = Detector(**options).eval()
            pixels = torch.randn(1, 3, height, width)
            for channels_last in (False, True):
                if channels_last:
                    detector = detector.to(memory_format=torch.channels_last)
                    pixels = pixels.to(memory_format=torch.channels_last)
                for _ in range(pictures):
                    start = time.time()
                    detector(pixels)
                    layout = "channels last" if channels_last else "planes"
                    print(f"{name}: {time.time() - start:.2f} s a picture, {layout}", flush=True)
