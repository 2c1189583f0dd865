#!/usr/bin/env python3
"""ClipCap's three works with HuggingFace's classes: see oscar-tasks/clipcap/benches/speed.rs.

    python benches/pytorch/clipcap.py [pictures] [captions] [step]

Random weights of the published sizes, f32. Captions are written by the library's own beam search over its
cache, all of the same length; the step is the official one: logits at every position, AdamW. Needs torch and
transformers.
"""

import json
import sys
import time

import torch
import transformers

PICTURES, CAPTIONS, BEAMS, WRITTEN = 32, 8, 5, 20
BATCH, LEARNED, PREFIX, ROUNDS = 40, 14, 10, 3


def rate(count, work):
    work()
    times = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return count / min(times)


def pictures():
    config = transformers.CLIPVisionConfig(
        hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12,
        image_size=224, patch_size=32, projection_dim=512, hidden_act="quick_gelu",
    )
    model = transformers.CLIPVisionModelWithProjection(config).eval()
    pixels = torch.randn(PICTURES, 3, 224, 224)
    with torch.inference_mode():
        return rate(PICTURES, lambda: model(pixels).image_embeds)


def mapper():
    inner = 768 * PREFIX
    return torch.nn.Sequential(
        torch.nn.Linear(512, inner // 2), torch.nn.Tanh(), torch.nn.Linear(inner // 2, inner)
    )


def captions():
    gpt = transformers.GPT2LMHeadModel(transformers.GPT2Config()).eval()
    project = mapper().eval()
    embeddings = torch.randn(CAPTIONS, 512)

    def work():
        prefix = project(embeddings).view(CAPTIONS, PREFIX, 768)
        found = gpt.generate(
            inputs_embeds=prefix, attention_mask=torch.ones(CAPTIONS, PREFIX, dtype=torch.long),
            num_beams=BEAMS, max_new_tokens=WRITTEN, min_new_tokens=WRITTEN, do_sample=False,
            pad_token_id=50256,
        )
        assert found.shape[1] >= WRITTEN, found.shape

    with torch.inference_mode():
        return rate(CAPTIONS, work)


def step():
    gpt = transformers.GPT2LMHeadModel(transformers.GPT2Config())
    project = mapper()
    gpt.train(), project.train()
    optimizer = torch.optim.AdamW([*project.parameters(), *gpt.parameters()], lr=1e-6, eps=1e-6, weight_decay=0.0)
    embeddings = torch.randn(BATCH, 512)
    tokens = (torch.arange(1, LEARNED + 1) * 97).expand(BATCH, LEARNED)

    def work():
        optimizer.zero_grad()
        words = gpt.transformer.wte(tokens)
        prefix = project(embeddings).view(BATCH, PREFIX, 768)
        logits = gpt(inputs_embeds=torch.cat((prefix, words), dim=1)).logits[:, PREFIX - 1 : -1]
        loss = torch.nn.functional.cross_entropy(
            logits.reshape(-1, logits.shape[-1]), tokens.flatten(), ignore_index=0
        )
        loss.backward()
        optimizer.step()

    return rate(1, work)


if __name__ == "__main__":
    works = {"pictures": pictures, "captions": captions, "step": step}
    for name in sys.argv[1:] or works:
        print(json.dumps({"work": name, "per_second": round(works[name](), 3)}), flush=True)
