"""Writes a small set of extended positives, random rankings of it, and the figures that the package
`eccv-caption` computes of them: `pip install eccv-caption numpy`, then `python make_extended.py`."""

import json
import pathlib
import random

from eccv_caption import Metrics

HERE = pathlib.Path(__file__).resolve().parent
random.seed(3)
IMAGES = [1000 + 7 * n for n in range(12)]
CAPTIONS = {20 + 3 * n: IMAGES[n // 3] for n in range(36)}


def both(pairs):
    i2t, t2i = {}, {}
    for caption, image in sorted(pairs):
        i2t.setdefault(image, []).append(caption)
        t2i.setdefault(caption, []).append(image)
    return i2t, t2i


original = set(CAPTIONS.items())
more = {(random.choice(list(CAPTIONS)), random.choice(IMAGES)) for _ in range(60)}
# Of CxC some own pairs are none; of ECCV Caption only some queries are asked.
cxc = {pair for pair in original if random.random() < 0.8} | set(random.sample(sorted(more), 15))
eccv_i2t, eccv_t2i = both(original | more)
eccv_t2i = {caption: eccv_t2i[caption] for caption in random.sample(sorted(eccv_t2i), 14)}
files = dict(zip(("original_image_to_caption", "original_caption_to_image"), both(original)))
files |= dict(zip(("cxc_image_to_caption", "cxc_caption_to_image"), both(cxc)))
files |= {"eccv_image_to_caption": eccv_i2t, "eccv_caption_to_image": eccv_t2i}
for name, positives in files.items():
    (HERE / f"{name}.json").write_text(json.dumps(positives) + "\n")

# A model that is right now and then.
def score(caption, image):
    return random.random() + 0.5 * ((caption, image) in original) + 0.3 * ((caption, image) in more)


scores = {(caption, image): score(caption, image) for caption in CAPTIONS for image in IMAGES}
i2t = {image: sorted(CAPTIONS, key=lambda caption: -scores[caption, image]) for image in IMAGES}
t2i = {caption: sorted(IMAGES, key=lambda image: -scores[caption, image]) for caption in CAPTIONS}
(HERE / "rankings.json").write_text(json.dumps({"i2t": i2t, "t2i": t2i}) + "\n")

metrics = Metrics()
metrics.set_coco_gts(*(HERE / f"original_{way}.json" for way in ("image_to_caption", "caption_to_image")))
metrics.set_cxc_gts(*(HERE / f"cxc_{way}.json" for way in ("image_to_caption", "caption_to_image")))
metrics.set_eccv_gts(*(HERE / f"eccv_{way}.json" for way in ("image_to_caption", "caption_to_image")))
rankings = {"i2t": i2t, "t2i": t2i}
expected = {
    **{f"coco_R@{k}": metrics.coco_5k_recalls(rankings, "all", K=k) for k in (1, 5, 10)},
    **{f"cxc_R@{k}": metrics.cxc_recalls(rankings, "all", K=k) for k in (1, 5, 10)},
    **{f"eccv_R@{k}": metrics.eccv_recalls(rankings, "all", K=k) for k in (1, 5, 10)},
}
of_eccv = metrics.eccv_metrics(rankings, "all")
expected["eccv_R-Precision"] = of_eccv["eccv_rprecision"]
expected["eccv_mAP@R"] = of_eccv["eccv_map_at_r"]
assert expected["eccv_R@1"] == of_eccv["eccv_r1"]
(HERE / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
