#!/usr/bin/env python3
"""The tags experiment on scenes: do object tags ease the alignment of words with regions?

Six arms, each pre-trained for 500 steps from several seeds, that differ in their object tags. What a
model reads from regions is measured on names masked in captions of new scenes, by the artists of training
and by one that no model has seen: with its tags, with the tags taken away, and with another scene's regions
and tags. Then each is fine-tuned for a moment on referring expressions, which have to be found among regions
without tags.

    python3 config/experiments/scenes.py --oscar target/release/oscar-bin --out runs/scenes
    python3 config/experiments/scenes.py --long-tail --steps 750 --arms own none matched --out runs/tail

Finished parts are kept: started again, it resumes. At the end it writes `report.md` and `curves.svg`.
It needs Python 3.9.
"""

import argparse
import math
from pathlib import Path

from runner import Experiment, settings, written

HERE = Path(__file__).resolve().parent
ARMS = {
    "own": "own tags",
    "none": "no tags",
    "other": "another scene's tags",
    "shown": "own tags, never predicted",
    "detected": "a detector's tags",
    "matched": "own tags, none mismatched",
}
COLORS = {
    "own": "#0072b2", "none": "#000000", "other": "#999999",
    "shown": "#d55e00", "detected": "#56b4e9", "matched": "#009e73",
}  # fmt: skip
# Scenes of each split, with the options that draw them.
SPLITS = {
    "train": ["--count", 16000],
    "near": ["--count", 1000],
    "far": ["--count", 1000, "--style", "twemoji"],
}
SECTIONS = {"train": "train", "near": "validation", "far": "out_of_domain"}


class Scenes(Experiment):
    def __init__(self, options):
        super().__init__(options.oscar, options.out)
        self.drawing = ["--long-tail"] if options.long_tail else []
        self.steps = options.steps

    def drawn(self, kind, split, *options):
        """Scenes of `split`, drawn once into the folder `kind`."""
        directory = self.out / kind / split
        if not (directory / "dataset.json").exists():
            place = ["--out", directory, "--split", split, "--no-pictures"]
            self.call("dev", "scenes", *place, *SPLITS[split], *self.drawing, *options)
        return directory

    def sets(self, arm):
        """What the arm's recipe leaves to be set."""
        values = {} if self.steps is None else {"train.steps": self.steps}
        for split, section in SECTIONS.items():
            if self.drawing:
                scenes = self.drawn("long-tail", split)
                values[f"data.{section}.corpus"] = scenes / "captions.jsonl"
                values[f"data.{section}.regions"] = scenes / "regions"
            if arm == "detected":
                regions = self.drawn("detected", split, "--tags", "detected") / "regions"
                values[f"data.{section}.regions"] = regions
        return settings(values)

    def pretrain(self, arm, seed):
        name = f"{arm}-{seed}"
        config = ["--config", HERE / f"scenes-{arm}.toml", "--seed", seed]
        report = self.measure(name, lambda: self.start("train", name, *config, *self.sets(arm)))
        probe = ["probe", self.runs / name, "--every"]
        self.measure(f"{name}-curve", lambda: self.call(*probe)["checkpoints"])
        return report


def reading(found):
    """What is read from regions alone; a model without tags is always shown these."""
    return found["own_image"] if found["without_tags"] is None else found["without_tags"]


def share(value):
    """A share, with or without its interval."""
    return value["share"] if isinstance(value, dict) else value


def report(experiment, options):
    results, seeds = experiment.results, options.seeds
    lines = [
        f"| arm ({len(seeds)} seeds) | own regions and tags | **own regions, no tags** | held-out artist "
        "| **held-out artist, no tags** | another scene's | mismatched tags told apart | expressions |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for arm in options.arms:
        reports = [results[f"{arm}-{seed}"] for seed in seeds]
        near = [report["grounding"] for report in reports]
        far = [report["out_of_domain"]["grounding"] for report in reports]
        referring = [results.get(f"refer-{arm}-{seed}") for seed in seeds]
        last = [results[f"{arm}-{seed}-curve"][-1] for seed in seeds]
        tags = arm != "none"
        cells = [
            ARMS[arm],
            written([share(found["own_image"]) for found in near]) if tags else "–",
            written([share(reading(found)) for found in near]),
            written([share(found["own_image"]) for found in far]) if tags else "–",
            written([share(reading(found)) for found in far]),
            written([share(found["other_image"]) for found in near]),
            written([share(found["relation"]) for found in last]) if arm not in ("none", "matched") else "–",
            written([found and found["referring"] for found in referring]),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    text = "\n".join(lines) + "\n"
    (options.out / "report.md").write_text(text)
    print(text)
    (options.out / "curves.svg").write_text(draw(results, options))
    print(f"picture: {options.out / 'curves.svg'}")


WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 680, 340, 56, 230, 28, 44


def draw(results, options):
    """Learning curves as SVG: names read from regions alone, a line a seed and a heavy one of their mean."""
    curves = {
        arm: [
            [(point["step"], share(reading(point))) for point in results[f"{arm}-{seed}-curve"]]
            for seed in options.seeds
        ]
        for arm in options.arms
    }
    points = [point for lines in curves.values() for line in lines for point in line]
    steps, most = max(step for step, _ in points), max(0.1, max(value for _, value in points))
    top = math.ceil(most * 10) / 10

    def place(step, value):
        x = LEFT + (WIDTH - LEFT - RIGHT) * step / steps
        return f"{x:.1f},{HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / top:.1f}"

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        'font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="16">names read from regions alone, new scenes by the artists of training</text>',
    ]
    for tenth in range(round(top * 10) + 1):
        (x, y), end = place(0, tenth / 10).split(","), WIDTH - RIGHT
        parts.append(f'<line x1="{x}" y1="{y}" x2="{end}" y2="{y}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{float(y) + 4:.1f}" text-anchor="end">{tenth / 10:.1f}</text>')
    for step in sorted({step for step, _ in points}):
        x = place(step, 0).split(",")[0]
        parts.append(f'<text x="{x}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{step}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 8}" text-anchor="middle">pre-training step</text>')
    for number, (arm, lines) in enumerate(curves.items()):
        mean = [(at[0][0], sum(value for _, value in at) / len(at)) for at in zip(*lines)]
        for line, look in [*((line, 'stroke-width="0.7" opacity="0.6"') for line in lines), (mean, 'stroke-width="2.5"')]:
            shape = " ".join(place(step, value) for step, value in [(0, 0), *line])
            parts.append(f'<polyline points="{shape}" fill="none" stroke="{COLORS[arm]}" {look}/>')
        y = TOP + 18 * number + 8
        parts.append(f'<line x1="{WIDTH - RIGHT + 12}" y1="{y}" x2="{WIDTH - RIGHT + 32}" y2="{y}" '
                     f'stroke="{COLORS[arm]}" stroke-width="2.5"/>')  # fmt: skip
        parts.append(f'<text x="{WIDTH - RIGHT + 38}" y="{y + 4}">{ARMS[arm]}</text>')
    return "\n".join([*parts, "</svg>\n"])


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--oscar", type=Path, default=Path("target/release/oscar-bin"))
    parser.add_argument("--out", type=Path, default=Path("runs/scenes"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 43, 44])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--steps", type=int, help="steps of pre-training; those of the recipes by default")
    parser.add_argument("--long-tail", action="store_true", help="the n-th kind is 1/n as frequent as the first")
    parser.add_argument("--refer-steps", type=int, default=100, help="0: no fine-tuning on expressions")
    options = parser.parse_args()
    experiment = Scenes(options)
    for seed in options.seeds:
        for arm in options.arms:
            experiment.pretrain(arm, seed)
    for seed in options.seeds if options.refer_steps else []:
        for arm in options.arms:
            last = experiment.runs / f"{arm}-{seed}" / "last"
            experiment.expressions(arm, seed, last, options.refer_steps)
    report(experiment, options)


if __name__ == "__main__":
    main()
