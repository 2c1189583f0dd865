"""Captions by beam search: all again at each step as the official default, or with a cache.

Every caption takes all its steps: random weights end none early, here as in Rust.
"""

import torch

from model import FAR, additive

CLS, SEP, MASK = 101, 102, 103


@torch.inference_mode()
def uncached(model, batch, beams, length):
    """Tags, regions and words are encoded anew for every beam and step, and all positions of the text
    get logits, of which one is read."""
    device = batch["ids"].device
    images, tags = batch["ids"].shape
    context = batch["mask"].shape[1]

    def expand(tensor):
        return tensor.repeat_interleave(beams, 0)

    tag_ids, tag_types = expand(batch["ids"]), expand(batch["types"])
    attended, regions = expand(batch["mask"]), expand(batch["regions"])
    rows = images * beams
    words = torch.full((rows, 1), CLS, device=device)

    def next_logits(words):
        count = words.shape[1] + 1
        mask_ids = torch.full((rows, 1), MASK, device=device)
        ids = torch.cat([words, mask_ids, tag_ids], 1)
        types = torch.cat([torch.zeros_like(ids[:, :count]), tag_types], 1)
        positions = torch.cat([torch.arange(count, device=device), batch["positions"]])
        mask = torch.zeros(rows, count + context, count + context, device=device)
        mask[:, :count, :count] = torch.ones(count, count, device=device).tril()
        mask[:, :, count:] = attended[:, None]
        step = {"ids": ids, "types": types, "positions": positions, "mask": mask,
                "regions": regions}
        hidden = model.bert(step)
        logits = model.mlm(hidden[:, :count + tags])
        return logits[:, count - 1]

    scores = start_scores(images, beams, device)
    for _ in range(length - 1):
        words, _, scores = choose(next_logits(words), words, scores, beams, one_by_one=True)
    return words


@torch.inference_mode()
def cached(model, batch, beams, length):
    """Tags and regions once per image; then the newest word and the [MASK] of each beam."""
    bert = model.bert
    device = batch["ids"].device
    images = batch["ids"].shape[0]
    context = batch["mask"].shape[1]
    x = bert.embed(batch)
    dtype = x.dtype
    mask = additive(batch["mask"], dtype)
    keys, values = [], []
    for layer in bert.layers:
        attention = layer.attention
        k, v = attention.split(attention.key(x)), attention.split(attention.value(x))
        keys.append(k)
        values.append(v)
        q = attention.split(attention.query(x))
        x = layer.finish(x, attention.attend(q, k, v, mask))

    def room(tensor, rows):
        """`tensor` with room for words behind the context."""
        _, heads, _, size = tensor.shape
        new = torch.empty(rows, heads, context + length + 1, size, device=device, dtype=dtype)
        new[:, :, :context] = tensor.repeat_interleave(rows // images, 0)
        return new

    def next_logits(words, cache, rows):
        """Logits after the newest of `words`; its key and value stay in `cache`."""
        at = words.shape[1] - 1
        pair = torch.stack([words[:, -1], torch.full_like(words[:, -1], MASK)], 1)
        positions = torch.arange(at, at + 2, device=device)
        x = bert.embed_text(pair, torch.zeros_like(pair), positions)
        end = context + at + 2
        seen = torch.zeros(rows, 1, 2, end, device=device, dtype=dtype)
        seen[..., :context] = mask.repeat_interleave(rows // images, 0)
        seen[:, :, 0, -1] = FAR
        for layer, (k_all, v_all) in zip(bert.layers, cache):
            attention = layer.attention
            k_all[:, :, end - 2:end] = attention.split(attention.key(x))
            v_all[:, :, end - 2:end] = attention.split(attention.value(x))
            q = attention.split(attention.query(x))
            attended = attention.attend(q, k_all[:, :, :end], v_all[:, :, :end], seen)
            x = layer.finish(x, attended)
        return model.mlm(x[:, 1])

    # All beams are alike at first: one is enough.
    words = torch.full((images, 1), CLS, device=device)
    cache = [(room(k, images), room(v, images)) for k, v in zip(keys, values)]
    logits = next_logits(words, cache, images).repeat_interleave(beams, 0)
    rows = images * beams
    words = words.repeat_interleave(beams, 0)
    cache = [(k.repeat_interleave(beams, 0), v.repeat_interleave(beams, 0)) for k, v in cache]
    scores = start_scores(images, beams, device)
    for step in range(length - 1):
        if step:
            logits = next_logits(words, cache, rows)
        words, parents, scores = choose(logits, words, scores, beams, one_by_one=False)
        # An image's beams share its context: only words move.
        known = slice(context, context + step + 1)
        for k, v in cache:
            k[:, :, known] = k[parents, :, known]
            v[:, :, known] = v[parents, :, known]
    return words


def start_scores(images, beams, device):
    scores = torch.full((images, beams), -1e9, device=device)
    scores[:, 0] = 0.0
    return scores


def choose(logits, words, scores, beams, one_by_one):
    """The best ways on of each image's beams: words, the rows they come from, and scores.

    `one_by_one` reads candidates as the official code does, each number by itself."""
    images = scores.shape[0]
    vocab = logits.shape[-1]
    ways = logits.float().log_softmax(-1).view(images, beams, vocab) + scores[..., None]
    best, index = ways.flatten(1).topk(2 * beams, 1)
    if not one_by_one:
        best, index = best.tolist(), index.tolist()
    parents, chosen, sums = [], [], []
    for image in range(images):
        taken = 0
        for score, way in zip(best[image], index[image]):
            if one_by_one:
                score, way = score.item(), way.item()
            if way % vocab == SEP:
                continue
            parents.append(image * beams + way // vocab)
            chosen.append(way % vocab)
            sums.append(score)
            taken += 1
            if taken == beams:
                break
    device = words.device
    parents = torch.tensor(parents, device=device)
    words = torch.cat([words[parents], torch.tensor(chosen, device=device)[:, None]], 1)
    return words, parents, torch.tensor(sums, device=device).view(images, beams)
