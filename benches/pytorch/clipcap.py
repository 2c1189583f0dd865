#!/usr/bin/env python3
"""CLIP and ClipCap with HuggingFace's classes, at their published sizes with random weights.

    python benches/pytorch/clipcap.py --work clip,clipcap,clipcap-train --batch-size 8 --json

The works and the document are those of `oscar-bin bench` (oscar-bin/src/commands/bench/clipcap.rs).
Captions are written by the library's own beam search over its cache, all of the same length; a training step
is the official one: logits at every position, AdamW. Needs torch and transformers (4.57 was used).
"""

import time

import torch
import transformers

from timed import run

BEAMS, WRITTEN, LEARNED = 5, 20, 14
EMBEDDING, PREFIX = 512, 10


class Pictures:
    """ViT-B/32; a step embeds a batch of pixels."""

    def __init__(self, tiny, batch_size):
        side, patch, width, layers = (32, 8, 64, 2) if tiny else (224, 32, 768, 12)
        config = transformers.CLIPVisionConfig(
            hidden_size=width, intermediate_size=4 * width, num_hidden_layers=layers,
            num_attention_heads=width // 64, image_size=side, patch_size=patch, projection_dim=EMBEDDING,
            hidden_act="quick_gelu",
        )
        self.model = transformers.CLIPVisionModelWithProjection(config).eval()
        self.pixels = torch.randn(batch_size, 3, side, side)
        patches = (side // patch) ** 2
        positions = patches + 1
        layer = positions * 12 * width**2 + 2 * positions**2 * width
        products = patches * 3 * patch**2 * width + layers * layer + width * EMBEDDING
        self.tokens, self.flops = batch_size * positions, 2.0 * batch_size * products

    def step(self):
        with torch.inference_mode():
            self.model(self.pixels).image_embeds


class ClipCap:
    """The MLP variant with GPT-2 small."""

    def __init__(self, tiny, batch_size):
        sizes = dict(vocab_size=2000, n_embd=64, n_layer=2, n_head=4) if tiny else {}
        gpt = transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes))
        self.width, self.batch_size = gpt.config.n_embd, batch_size
        outputs = self.width * PREFIX
        project = torch.nn.Sequential(
            torch.nn.Linear(EMBEDDING, outputs // 2), torch.nn.Tanh(), torch.nn.Linear(outputs // 2, outputs)
        )
        self.model = torch.nn.ModuleDict({"clip_project": project, "gpt": gpt})
        self.embeddings = torch.randn(batch_size, EMBEDDING)
        self.mapper = EMBEDDING * outputs / 2 + outputs / 2 * outputs
        self.word = gpt.config.vocab_size * self.width

    def position(self, context):
        """Products of a position that reads `context` positions, without the output matrix."""
        return self.model["gpt"].config.n_layer * (12 * self.width**2 + 2 * context * self.width)

    def prefix(self):
        return self.model["clip_project"](self.embeddings).view(self.batch_size, PREFIX, self.width)


class Captions(ClipCap):
    def __init__(self, tiny, batch_size):
        super().__init__(tiny, batch_size)
        self.model.eval()
        first = sum(self.position(context) for context in range(1, PREFIX + 1)) + self.word
        words = sum(self.position(PREFIX + word) + self.word for word in range(1, WRITTEN))
        self.tokens = batch_size * WRITTEN
        self.flops = 2.0 * batch_size * (self.mapper + first + BEAMS * words)

    def step(self):
        with torch.inference_mode():
            found = self.model["gpt"].generate(
                inputs_embeds=self.prefix(), num_beams=BEAMS, do_sample=False, max_new_tokens=WRITTEN,
                attention_mask=torch.ones(self.batch_size, PREFIX, dtype=torch.long),
                min_new_tokens=WRITTEN, pad_token_id=self.model["gpt"].config.vocab_size - 1,
            )
        assert found.shape[1] >= WRITTEN, found.shape


class Training(ClipCap):
    def __init__(self, tiny, batch_size):
        super().__init__(tiny, batch_size)
        self.model.train()
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=1e-6, eps=1e-6, weight_decay=0.0, fused=True
        )
        vocabulary = self.model["gpt"].config.vocab_size
        tokens = torch.arange(1, LEARNED + 1) * 97 % vocabulary
        self.words = tokens.expand(batch_size, LEARNED)
        positions = sum(self.position(context) for context in range(1, PREFIX + LEARNED + 1))
        self.tokens = batch_size * (PREFIX + LEARNED)
        self.flops = 6.0 * batch_size * (self.mapper + positions + LEARNED * self.word)

    def step(self):
        gpt = self.model["gpt"]
        self.optimizer.zero_grad()
        vectors = torch.cat((self.prefix(), gpt.transformer.wte(self.words)), dim=1)
        logits = gpt(inputs_embeds=vectors).logits[:, PREFIX - 1 : -1]
        loss = torch.nn.functional.cross_entropy(
            logits.reshape(-1, logits.shape[-1]), self.words.flatten(), ignore_index=0
        )
        loss.backward()
        start = time.perf_counter()
        self.optimizer.step()
        return time.perf_counter() - start


WORKS = {"clip": Pictures, "clipcap": Captions, "clipcap-train": Training}

if __name__ == "__main__":
    works = {work: {None: make} for work, make in WORKS.items()}
    run(__doc__, "transformers", works, batch_size=8, steps=5)
