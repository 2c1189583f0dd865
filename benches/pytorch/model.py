"""Oscar as plain PyTorch modules: a BERT that reads projected regions after its text."""

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

FAR = -10000.0


@dataclass(frozen=True)
class Config:
    hidden: int
    layers: int
    heads: int
    inner: int
    positions: int = 512
    vocab: int = 30522
    region_dim: int = 2054
    dropout: float = 0.1


PRESETS = {
    "tiny": Config(128, 3, 4, 512, positions=128),
    "base": Config(768, 12, 12, 3072),
    "large": Config(1024, 24, 16, 4096),
}


class Attention(nn.Module):
    """`fused` takes PyTorch's scaled_dot_product_attention, else the products are written out."""

    def __init__(self, config, fused):
        super().__init__()
        self.heads, self.dropout, self.fused = config.heads, config.dropout, fused
        self.query = nn.Linear(config.hidden, config.hidden)
        self.key = nn.Linear(config.hidden, config.hidden)
        self.value = nn.Linear(config.hidden, config.hidden)

    def split(self, x):
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def forward(self, x, mask):
        return self.attend(self.split(self.query(x)), self.split(self.key(x)),
                           self.split(self.value(x)), mask)

    def attend(self, q, k, v, mask):
        dropout = self.dropout if self.training else 0.0
        if self.fused:
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)
        else:
            scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]) + mask
            out = F.dropout(scores.softmax(-1), dropout) @ v
        return out.transpose(1, 2).flatten(2)


class Layer(nn.Module):
    def __init__(self, config, fused):
        super().__init__()
        self.attention = Attention(config, fused)
        self.output = nn.Linear(config.hidden, config.hidden)
        self.norm1 = nn.LayerNorm(config.hidden, eps=1e-12)
        self.inner = nn.Linear(config.hidden, config.inner)
        self.outer = nn.Linear(config.inner, config.hidden)
        self.norm2 = nn.LayerNorm(config.hidden, eps=1e-12)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x, mask):
        return self.finish(x, self.attention(x, mask))

    def finish(self, x, attended):
        x = self.norm1(x + self.dropout(self.output(attended)))
        return self.norm2(x + self.dropout(self.outer(F.gelu(self.inner(x)))))


class Backbone(nn.Module):
    def __init__(self, config, fused):
        super().__init__()
        self.words = nn.Embedding(config.vocab, config.hidden, padding_idx=0)
        self.places = nn.Embedding(config.positions, config.hidden)
        self.types = nn.Embedding(2, config.hidden)
        self.norm = nn.LayerNorm(config.hidden, eps=1e-12)
        self.project = nn.Linear(config.region_dim, config.hidden)
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(Layer(config, fused) for _ in range(config.layers))
        self.pooler = nn.Linear(config.hidden, config.hidden)

    def embed_text(self, ids, types, positions):
        x = self.words(ids) + self.places(positions) + self.types(types)
        return self.dropout(self.norm(x))

    def embed(self, batch):
        ids = batch["ids"]
        positions = batch.get("positions")
        if positions is None:
            positions = torch.arange(ids.shape[1], device=ids.device)
        text = self.embed_text(ids, batch["types"], positions)
        regions = batch["projected"] if "projected" in batch else self.project(batch["regions"])
        return torch.cat([text, self.dropout(regions)], 1)

    def forward(self, batch):
        x = self.embed(batch)
        mask = additive(batch["mask"], x.dtype)
        for layer in self.layers:
            x = layer(x, mask)
        return x

    def pool(self, x):
        return torch.tanh(self.pooler(x[:, 0]))


def additive(mask, dtype):
    """0 where a position is read, else far below; [B, 1, 1 or queries, keys]."""
    mask = mask[:, None, None] if mask.dim() == 2 else mask[:, None]
    return (1.0 - mask.to(dtype)) * FAR


class MlmHead(nn.Module):
    def __init__(self, config, words=None):
        super().__init__()
        self.dense = nn.Linear(config.hidden, config.hidden)
        self.norm = nn.LayerNorm(config.hidden, eps=1e-12)
        self.decoder = nn.Linear(config.hidden, config.vocab)
        if words is not None:
            self.decoder.weight = words

    def forward(self, x):
        return self.decoder(self.norm(F.gelu(self.dense(x))))


class Pretraining(nn.Module):
    """Loss of a batch: logits everywhere with labels of -1, or at `masked` positions alone."""

    def __init__(self, config, fused):
        super().__init__()
        self.bert = Backbone(config, fused)
        self.mlm = MlmHead(config, self.bert.words.weight)
        self.relation = nn.Linear(config.hidden, 2)

    def forward(self, batch):
        x = self.bert(batch)
        rows = x.flatten(0, 1)
        if "masked" in batch:
            rows = rows[batch["masked"]]
        logits = self.mlm(rows)
        words = F.cross_entropy(logits, batch["labels"], ignore_index=-1)
        return words + F.cross_entropy(self.relation(self.bert.pool(x)), batch["relation"])


class Classifier(nn.Module):
    def __init__(self, config, fused, labels):
        super().__init__()
        self.bert = Backbone(config, fused)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(config.hidden, labels)

    def forward(self, batch):
        logits = self.classifier(self.dropout(self.bert.pool(self.bert(batch))))
        if "scores" not in batch:
            return logits
        loss = F.binary_cross_entropy_with_logits(logits, batch["scores"])
        return loss * logits.shape[1]


class Captioner(nn.Module):
    def __init__(self, config, fused):
        super().__init__()
        self.bert = Backbone(config, fused)
        self.mlm = MlmHead(config)


def initialise(model):
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)
    return model
