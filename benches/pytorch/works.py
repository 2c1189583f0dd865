"""The four works: what is prepared before the clock starts, and what a step does.

A work is a list of steps (warm-up first), each with its useful numbers and a function that does it.
Batches are ready in main memory before the clock starts, as if a loader had cost nothing; copying
them to the device is timed.
"""

from dataclasses import dataclass
from typing import Callable

import torch

import captions
import optim
from flops import Flops
from lengths import IMAGES, Row
from model import Captioner, Classifier, Pretraining, initialise

ANSWERS = 3129
LABELS = 2
CLIP = 1.0
LEARNING_RATE = 5e-5
BEAMS, CAPTION = 5, 20
# Positions of the longest caption to learn: tags follow them.
FIRST_TAG = 40
CLS, SEP, MASK = 101, 102, 103


@dataclass
class Step:
    samples: int
    tokens: int
    padded: int
    flops: float
    # Does it, and returns the optimiser's seconds or None.
    run: Callable


@dataclass
class Setting:
    config: object
    lengths: object
    batch_size: int
    warmup: int
    steps: int
    style: str
    dtype: str
    device: torch.device
    compile: bool
    fused_attention: bool
    clock: Callable

    @property
    def official(self):
        return self.style == "official"

    def autocast(self):
        enabled = self.dtype == "bf16"
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=enabled)

    def batches(self, rows, key):
        """Rows by step; `best` sorts those of the timed steps by length, as loaders with buckets do."""
        first = self.warmup * self.batch_size
        head, tail = rows[:first], rows[first:]
        if not self.official:
            tail = sorted(tail, key=key)
        rows = head + tail
        size = self.batch_size
        return [rows[at:at + size] for at in range(0, len(rows), size)]

    def place(self, model):
        return initialise(model).to(self.device)

    def to_device(self, batch):
        return {name: value.to(self.device, non_blocking=True) for name, value in batch.items()}


def shape(setting, work, texts, regions):
    """Text positions and regions of a batch: official code pads to the limit."""
    if setting.official:
        return setting.lengths.limits(work)
    return max(texts), max(regions)


def text_and_regions(setting, sizes, padded):
    """Tensors of rows with (text positions, of these text A, regions), padded."""
    text, regions = padded
    rows, dim = len(sizes), setting.config.region_dim
    ids = torch.randint(1000, setting.config.vocab, (rows, text))
    types = torch.zeros(rows, text, dtype=torch.long)
    mask = torch.zeros(rows, text + regions)
    features = torch.rand(rows, regions, dim)
    for row, (length, first, count) in enumerate(sizes):
        ids[row, length:] = 0
        types[row, first:length] = 1
        mask[row, :length] = 1.0
        mask[row, text:text + count] = 1.0
        features[row, count:] = 0.0
    return {"ids": ids, "types": types, "mask": mask, "regions": features}


def numbers(sizes, padded):
    tokens = sum(length + count for length, _, count in sizes)
    return len(sizes), tokens, len(sizes) * sum(padded)


def training_rows(setting, work):
    limit, _ = setting.lengths.limits(work)
    rows = setting.lengths.rows(work, (setting.warmup + setting.steps) * setting.batch_size)
    for batch in setting.batches(rows, key=lambda row: (row.regions, row.text(limit))):
        sizes = [(row.text(limit), row.text_a + 2, row.regions) for row in batch]
        padded = shape(setting, work, [s[0] for s in sizes], [s[2] for s in sizes])
        yield sizes, padded, text_and_regions(setting, sizes, padded)


class Trainer:
    def __init__(self, setting, model, clip):
        self.setting, self.clip = setting, clip
        self.model = setting.place(model).train()
        self.forward = torch.compile(self.model, dynamic=True) if setting.compile else self.model
        make = OFFICIAL if setting.official else optim.fused
        self.optimizer = make(self.model.named_parameters(), LEARNING_RATE)

    def step(self, batch):
        setting = self.setting
        with setting.autocast():
            loss = self.forward(setting.to_device(batch))
        loss.backward()
        if self.clip:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        if setting.official:
            loss.item()
        middle = setting.clock()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return setting.clock() - middle


OFFICIAL = optim.OfficialAdamW


def pretrain(setting):
    trainer = Trainer(setting, Pretraining(setting.config, setting.fused_attention), 0.0)
    count = Flops(setting.config)
    steps = []
    for sizes, padded, batch in training_rows(setting, "pretrain"):
        text, regions = padded
        rows = len(sizes)
        chosen = torch.rand(rows, text + regions) < 0.15
        for row, (length, first, _) in enumerate(sizes):
            chosen[row, [0, first - 1, length - 1]] = False
            chosen[row, length:] = False
        labels = torch.full((rows, text + regions), -1)
        labels[:, :text][chosen[:, :text]] = batch["ids"][chosen[:, :text]]
        batch["ids"][chosen[:, :text]] = MASK
        if setting.official:
            batch["labels"] = labels.flatten()
        else:
            batch["masked"] = chosen.flatten().nonzero().flatten()
            batch["labels"] = labels.flatten()[batch["masked"]]
        batch["relation"] = torch.zeros(rows, dtype=torch.long)
        flops = sum(count.pretrain(length, regions, 2) for length, _, regions in sizes)
        steps.append(Step(*numbers(sizes, padded), flops, lambda b=batch: trainer.step(b)))
    return steps, trainer.model


def vqa(setting):
    model = Classifier(setting.config, setting.fused_attention, ANSWERS)
    trainer = Trainer(setting, model, CLIP)
    count = Flops(setting.config)
    steps = []
    for sizes, padded, batch in training_rows(setting, "vqa"):
        scores = torch.zeros(len(sizes), ANSWERS)
        scores[:, :3] = torch.tensor([0.9, 0.6, 0.3])
        batch["scores"] = scores
        flops = sum(count.train_classifier(length, regions, ANSWERS)
                    for length, _, regions in sizes)
        steps.append(Step(*numbers(sizes, padded), flops, lambda b=batch: trainer.step(b)))
    return steps, trainer.model


def inference(setting, model):
    """Weights in the type that is computed in: nothing is cast again and again."""
    model = setting.place(model).eval()
    return model.bfloat16() if setting.dtype == "bf16" else model


def cast(setting, batch):
    batch = setting.to_device(batch)
    if setting.dtype == "bf16":
        batch = {k: v.bfloat16() if v.is_floating_point() else v for k, v in batch.items()}
    return batch


def retrieval(setting):
    model = inference(setting, Classifier(setting.config, setting.fused_attention, LABELS))
    forward = torch.compile(model, dynamic=True) if setting.compile else model
    count = Flops(setting.config)
    size = setting.batch_size
    limit, most = setting.lengths.limits("retrieval")
    captions_each = -(-size // IMAGES)
    steps = []
    for group in setting.lengths.groups(setting.warmup + setting.steps, IMAGES, captions_each):
        texts = [caption for _, found in group for caption in found]
        pairs = []
        for image, (row, _) in enumerate(group):
            for text_a in texts:
                pair = Row(text_a, row.text_b, row.regions)
                pairs.append((pair.text(limit), text_a + 2, row.regions, image))
        if not setting.official:
            pairs.sort(key=lambda pair: (pair[2], pair[0]))
        features = [torch.rand(row.regions, setting.config.region_dim) for row, _ in group]
        batches, padded_total = [], 0
        for at in range(0, len(pairs), size):
            chunk = pairs[at:at + size]
            sizes = [pair[:3] for pair in chunk]
            padded = shape(setting, "retrieval", [s[0] for s in sizes], [s[2] for s in sizes])
            batch = text_and_regions(setting, sizes, padded)
            if not setting.official:
                # Regions are projected once per image, in the step.
                del batch["regions"]
            padded_total += len(chunk) * sum(padded)
            batches.append((batch, [pair[3] for pair in chunk], padded[1]))
        flops = sum(count.classify(pair[0], pair[2], LABELS) for pair in pairs)
        flops += count.regions(sum(row.regions for row, _ in group))
        tokens = sum(pair[0] + pair[2] for pair in pairs)

        def run(batches=batches, features=features):
            score(setting, model, forward, batches, features)

        steps.append(Step(len(pairs), tokens, padded_total, flops, run))
    return steps, model


@torch.inference_mode()
def score(setting, model, forward, batches, features):
    projected = None
    if not setting.official:
        flat = cast(setting, {"regions": torch.cat(features)})["regions"]
        projected = model.bert.project(flat).split([len(image) for image in features])
    scores = []
    for batch, images, regions in batches:
        batch = cast(setting, batch)
        if projected is not None:
            rows = [projected[image] for image in images]
            rows = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
            short = regions - rows.shape[1]
            batch["projected"] = torch.nn.functional.pad(rows, (0, 0, 0, short))
        logits = forward(batch)
        scores.append(logits.float().softmax(-1)[:, 1])
    return torch.cat(scores).cpu()


def caption(setting):
    model = inference(setting, Captioner(setting.config, setting.fused_attention))
    count = Flops(setting.config)
    rows = setting.lengths.rows("caption", (setting.warmup + setting.steps) * setting.batch_size)
    steps = []
    for batch in setting.batches(rows, key=lambda row: row.text_b + row.regions):
        sizes = [(row.text_b + 1, 0, row.regions) for row in batch]
        padded = shape(setting, "caption", [s[0] for s in sizes], [s[2] for s in sizes])
        tensors = text_and_regions(setting, sizes, padded)
        tensors["positions"] = FIRST_TAG + torch.arange(padded[0])
        flops = sum(count.caption(tags, regions, BEAMS, CAPTION - 1) for tags, _, regions in sizes)
        describe = captions.uncached if setting.official else captions.cached

        def run(tensors=tensors, describe=describe):
            describe(model, cast(setting, tensors), BEAMS, CAPTION)

        steps.append(Step(*numbers(sizes, padded), flops, run))
    return steps, model


WORKS = {"pretrain": pretrain, "vqa": vqa, "retrieval": retrieval, "caption": caption}
