#!/usr/bin/env python3
"""The structure experiment: does it matter which words and regions are masked?

Five arms, pre-trained for the same steps from the same weights on scenes of everyday things: masked by
chance as in BERT; by the scene graph of the caption (ROSITA's structural knowledge masking); by chance as
often as that; by the scene graph on both sides of a pair (the reverse direction); by chance as often as
that. All are measured on held-out scenes with the same masks, and after short fine-tunings on referring
expressions and on questions.

    python3 config/experiments/structure.py --oscar target/release/oscar-bin --out runs/structure

Finished parts are kept: started again, it resumes. It needs Python 3.9, and matplotlib for the picture.
"""

import argparse
from pathlib import Path

from runner import Experiment, over_seeds, settings, written

HERE = Path(__file__).resolve().parent
ARMS = {
    "structure-random": "chance, 15 %",
    "structure-random-matched": "chance, as many as structure",
    "structure": "structure",
    "structure-random-both": "chance, as many as structure and reverse",
    "structure-reverse": "structure and reverse",
}
# The weights that all arms start from, without further pre-training.
START = "none"
# Fine-tuning on questions: steps of 64.
ANSWER_STEPS = 500
# Masks under which every arm is measured: half of the regions of an image, other images half of the time.
MEASURED = {
    "encoder.masking.region_probability": 0.5,
    "encoder.unmatched": 0.5,
    "train.steps": 1,
    "train.validate_every": 1,
    "train.save_every": 1,
    # One step that changes nothing, and then the validation.
    "optimizer.learning_rate": 0,
    "optimizer.warmup_steps": 0,
    "grounding.examples": 1,
    "init.random": "[]",
}
COLUMNS = {
    "words": "names, own image",
    "words_other": "names, another image",
    "regions": "masked regions",
    "matching": "matching",
    "referring": "expressions",
    "sides": "of these with a side",
    "answers": "answers",
}


def pretrain(experiment, arm, seed, steps):
    """The measurements of an arm, and its last weights."""
    name = f"{arm}-{seed}"
    last = experiment.runs / name / "last"

    def work():
        length = {} if steps is None else {"train.steps": steps}
        recipe = ["--config", HERE / f"{arm}.toml", "--seed", seed]
        experiment.start("train", name, *recipe, *settings(length))
        probed = experiment.call("probe", experiment.runs / name)["checkpoints"][-1]
        measured = f"measured-{name}"
        masks = settings({**MEASURED, "init.checkpoint": last})
        recipe = ["--config", HERE / "structure-random.toml", "--seed", 1]
        experiment.start("train", measured, *recipe, *masks)
        validation = experiment.validations(measured)[-1]
        return {
            "words": probed["own_image"]["share"],
            "words_other": probed["other_image"]["share"],
            "regions": validation["Region object accuracy"],
            "matching": validation["Matching accuracy"],
        }

    return experiment.measure(name, work), last


def answers(experiment, arm, start, seed):
    """Accuracy on questions about scenes, without tags, after a short fine-tuning."""
    name = f"answers-{arm}-{seed}"
    values = {"encoder.use_tags": "false", "train.steps": ANSWER_STEPS}
    if start is not None:
        values["init.checkpoint"] = start
    recipe = ["--task", "vqa", "--config", "vqa-scenes", "--seed", seed]
    report = experiment.measure(name, lambda: experiment.start("finetune", name, *recipe, *settings(values)))
    return {"answers": report["evaluation"]["accuracy"]}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--oscar", type=Path, default=Path("target/release/oscar-bin"))
    parser.add_argument("--out", type=Path, default=Path("runs/structure"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 43, 44])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--steps", type=int, help="steps of pre-training; those of the recipe by default")
    parser.add_argument("--refer-steps", type=int, default=40)
    options = parser.parse_args()
    experiment = Experiment(options.oscar, options.out)
    found = {arm: [] for arm in [START, *options.arms]}
    for seed in options.seeds:
        trained = {arm: pretrain(experiment, arm, seed, options.steps) for arm in options.arms}
        for arm, (measured, last) in {START: ({}, None), **trained}.items():
            expressions = experiment.expressions(arm, seed, last, options.refer_steps)
            questions = answers(experiment, arm, last, seed)
            found[arm].append({**measured, **expressions, **questions})
    report(found, options.out)
    draw(found, options.out)


def title(arm):
    return "no further pre-training" if arm == START else ARMS[arm]


def report(found, out):
    """Writes the table: means over the seeds with their 95 % intervals."""
    lines = [
        "| masked by | " + " | ".join(COLUMNS.values()) + " |",
        "|---" * (len(COLUMNS) + 1) + "|",
    ]
    for arm, rows in found.items():
        cells = [written([row.get(column) for row in rows]) for column in COLUMNS]
        lines.append(f"| {title(arm)} | " + " | ".join(cells) + " |")
    text = "\n".join(lines) + "\n"
    (out / "report.md").write_text(text)
    print(text)


def draw(found, out):
    """A panel for each measurement: the arms with their intervals, and each seed as a dot."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        print("matplotlib is not installed: no picture")
        return
    shown = ["words", "regions", "matching", "referring", "answers"]
    figure, axes = pyplot.subplots(1, len(shown), figsize=(3 * len(shown), 2.8), sharey=True)
    arms = list(found)
    for panel, column in zip(axes, shown):
        for place, arm in enumerate(arms):
            values = [row[column] for row in found[arm] if column in row]
            if not values:
                continue
            mean, half = over_seeds(values)
            panel.errorbar(mean, place, xerr=half, fmt="o", color=f"C{place}", capsize=3)
            panel.plot(values, [place] * len(values), "|", color="black", markersize=8)
        panel.set_title(COLUMNS[column], fontsize=9)
        panel.tick_params(labelsize=8)
    axes[0].set_yticks(range(len(arms)), [title(arm) for arm in arms], fontsize=8)
    axes[0].invert_yaxis()
    figure.tight_layout()
    figure.savefig(out / "structure.png", dpi=110)
    print(f"picture: {out / 'structure.png'}")


if __name__ == "__main__":
    main()
