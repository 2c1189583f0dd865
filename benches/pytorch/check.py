"""Checks the baseline itself: `python check.py`, a few seconds, no output but the last line.

Sizes are those of the published models, rows are drawn as in Rust, and what `best` leaves out changes
nothing: masked positions alone give the same loss, the cache the same captions, padding the same
scores.
"""

import torch

import captions
import works
from lengths import Draw, Lengths
from model import PRESETS, Captioner, Classifier, Config, Pretraining, initialise

SMALL = Config(hidden=32, layers=2, heads=2, inner=64, vocab=1200, region_dim=20)


def setting(style):
    return works.Setting(config=SMALL, lengths=Lengths(), batch_size=4, warmup=0, steps=1,
                         style=style, dtype="f32", device=torch.device("cpu"), compile=False,
                         fused_attention=style == "best", clock=lambda: 0.0)


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def draws():
    draw = Draw(1234567)
    assert [draw.next() for _ in range(3)] == [
        6457827717110365317, 3203168211198807973, 9817491932198370423]
    rows = Lengths().rows("pretrain", 20000)
    mean = sum(row.text(35) + row.regions for row in rows) / len(rows)
    assert 56 < mean < 58, mean


def sizes():
    for preset, expected in [("base", 111_684_668), ("large", 338_330_428)]:
        with torch.device("meta"):
            model = Pretraining(PRESETS[preset], False)
        found = sum(p.numel() for p in model.parameters())
        assert found == expected, (preset, found)


def batch(config=SMALL, padded=(12, 8)):
    sizes = [(12, 6, 8), (9, 5, 3), (7, 4, 8)]
    return works.text_and_regions(setting("official"), sizes, padded)


def losses():
    plain, fused = (initialise(Pretraining(SMALL, f)).eval() for f in (False, True))
    fused.load_state_dict(plain.state_dict())
    full = batch() | {"relation": torch.tensor([0, 1, 0])}
    labels = torch.full((3, 20), -1)
    labels[0, 2], labels[1, 1], labels[2, 5] = 7, 8, 9
    few = full | {"masked": (labels.flatten() >= 0).nonzero().flatten()}
    few["labels"] = labels.flatten()[few["masked"]]
    close(plain(full | {"labels": labels.flatten()}), fused(few))


def scores():
    model = initialise(Classifier(SMALL, True, 2)).eval()
    tight = batch()
    wide = {"ids": torch.nn.functional.pad(tight["ids"], (0, 5)),
            "types": torch.nn.functional.pad(tight["types"], (0, 5)),
            "regions": torch.nn.functional.pad(tight["regions"], (0, 0, 0, 4))}
    text, regions = tight["mask"][:, :12], tight["mask"][:, 12:]
    pad = torch.nn.functional.pad
    wide["mask"] = torch.cat([pad(text, (0, 5)), pad(regions, (0, 4))], 1)
    close(model(tight), model(wide))


def decoding():
    model = initialise(Captioner(SMALL, True)).eval()
    images = batch()
    images["positions"] = works.FIRST_TAG + torch.arange(images["ids"].shape[1])
    with_cache = captions.cached(model, images, 3, 8)
    without = captions.uncached(model, images, 3, 8)
    assert with_cache.shape == (9, 8) and torch.equal(with_cache, without)


def optimisers():
    """Both optimisers go the same way where epsilon does not matter."""
    torch.manual_seed(1)
    start = torch.randn(50)
    ends = []
    for make in (works.OFFICIAL, works.optim.fused):
        p = torch.nn.Parameter(start.clone())
        optimizer = make([("weight", p)], 1e-2)
        for _ in range(5):
            (p**2).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        ends.append(p.detach())
    torch.testing.assert_close(*ends, rtol=1e-3, atol=1e-3)


if __name__ == "__main__":
    torch.manual_seed(0)
    for check in (draws, sizes, losses, scores, decoding, optimisers):
        check()
    print("all checks pass")
