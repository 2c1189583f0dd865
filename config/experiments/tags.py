#!/usr/bin/env python3
"""The tags experiment: do object tags ease the alignment of words with regions?

Three arms (own tags, no tags, another image's tags), each pre-trained for the same steps from the
same seeds on the described boxes of the shipped sample, and then fine-tuned on questions and on
statements; with unchanged regions, and with regions that are harder to read. Everything is
measured on held-out images.

    python3 config/experiments/tags.py --oscar target/release/oscar-bin --out runs/tags

Finished parts are kept: started again, it resumes. It needs Python 3.9, and matplotlib for the
picture. `--human TRAIN DEV` adds the human statements of NLVR v1, from two data sets that
`oscar-bin data build nlvr1` built.
"""

import argparse
from pathlib import Path

from runner import Experiment, settings, wilson

HERE = Path(__file__).resolve().parent
ARMS = {"own": "own tags", "none": "no tags", "other": "another image's tags"}
# How the regions of training and held-out images are changed.
CONDITIONS = {
    "clean": ("unchanged", ""),
    "noise": ("with noise", "noise=0.7"),
    "shift": ("colours shifted", "shift=0.1"),
    "project": ("rotated randomly", "project=1"),
}


def view(path, *parts):
    """`path` with the parts of a view behind it."""
    question = "&".join(part for part in parts if part)
    return f"{path}?{question}" if question else path


def tags_view(arm):
    return "swap_tags=1" if arm == "other" else ""


class Tags(Experiment):
    """The arms of the experiment."""

    def pretrain(self, arm, condition, seed):
        name = f"pretrain-{arm}-{condition}-{seed}"
        regions = [CONDITIONS[condition][1], tags_view(arm)]

        def work():
            self.start(
                "train", name, "--config", HERE / f"tags-{arm}.toml", "--seed", seed,
                "--set", "data.train.regions=" + view("sample:train/regions", *regions),
                "--set", "data.validation.regions=" + view("sample:dev/regions", *regions),
            )  # fmt: skip
            return self.call("probe", self.runs / name, "--every")["checkpoints"]

        self.measure(name, work)
        return self.runs / name / "last"

    def finetune(self, task, arm, condition, seed, sets, data):
        """Fine-tunes on top of the arm; the arm's tags are read there too."""
        name = f"{task}-{arm}-{condition}-{seed}"
        start = self.pretrain(arm, condition, seed)
        parts = [CONDITIONS[condition][1], tags_view(arm)]
        values = {
            "init.checkpoint": start,
            "encoder.use_tags": str(arm != "none").lower(),
            "data.train.regions": view(data["train"], *parts),
            "data.validation.regions": view(data["validation"], *parts),
            **sets,
        }

        def work():
            scores = self.start(
                "finetune", name, "--task", task if task != "human" else "nlvr2",
                "--config", data["recipe"], "--seed", seed, *settings(values),
            )  # fmt: skip
            rows = self.validations(name)
            return {"scores": scores, "curve": [[row["step"], row["Accuracy"]] for row in rows]}

        return self.measure(name, work)


STEPS = {
    "vqa": {"train.steps": 600, "train.validate_every": 100},
    "nlvr2": {"train.steps": 400, "train.validate_every": 100},
}
SAMPLE = {"train": "sample:train/regions", "validation": "sample:dev/regions"}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--oscar", type=Path, default=Path("target/release/oscar-bin"))
    parser.add_argument("--out", type=Path, default=Path("runs/tags"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[42])
    parser.add_argument("--conditions", nargs="+", choices=CONDITIONS, default=list(CONDITIONS))
    parser.add_argument("--tasks", nargs="+", choices=STEPS, default=list(STEPS))
    parser.add_argument("--human", type=Path, nargs=2, metavar=("TRAIN", "DEV"))
    options = parser.parse_args()
    experiment = Tags(options.oscar, options.out)
    for seed in options.seeds:
        for condition in options.conditions:
            for arm in ARMS:
                experiment.pretrain(arm, condition, seed)
                for task in options.tasks:
                    experiment.finetune(
                        task, arm, condition, seed, {"epochs": 0, **STEPS[task]},
                        {"recipe": f"{task}-mini", **SAMPLE},
                    )  # fmt: skip
        if options.human:
            train, dev = options.human
            for arm in ARMS:
                experiment.finetune(
                    "human", arm, "clean", seed,
                    {
                        "train.steps": 500,
                        "data.train.statements": train / "statements.jsonl",
                        "data.validation.statements": dev / "statements.jsonl",
                    },
                    {"recipe": HERE / "nlvr-human.toml", "train": train / "images", "validation": dev / "images"},
                )  # fmt: skip
    report(experiment, options)


def share(found):
    low, high = found["interval"]
    return f"{found['share']:.3f} [{low:.3f}, {high:.3f}]"


def accuracy(found):
    """Accuracy of a fine-tuned arm with its interval."""
    if found is None:
        return "-"
    scores = found["scores"]["evaluation"]
    value, of = scores["accuracy"], scores["examples"]
    low, high = wilson(value, of)
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


def report(experiment, options):
    """Writes the tables and the picture."""
    results = experiment.results
    lines = [
        "| regions | arm | words, own image | words, another image | own tags, another image's regions "
        "| own regions, another image's tags | contrastive | answers | statements |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for seed in options.seeds:
        for condition in options.conditions:
            for arm, title in ARMS.items():
                last = results[f"pretrain-{arm}-{condition}-{seed}"][-1]
                optional = [
                    share(last[key]) if last[key] else "-" for key in ("other_regions", "other_tags")
                ]
                cells = [
                    CONDITIONS[condition][0], title, share(last["own_image"]),
                    share(last["other_image"]), *optional,
                    share(last["relation"]) if arm != "none" else "-",
                    *(accuracy(results.get(f"{task}-{arm}-{condition}-{seed}")) for task in STEPS),
                ]  # fmt: skip
                lines.append("| " + " | ".join(cells) + " |")
        if options.human:
            lines += ["", "| human statements | accuracy |", "|---|---|"]
            for arm, title in ARMS.items():
                lines.append(f"| {title} | {accuracy(results[f'human-{arm}-clean-{seed}'])} |")
        lines.append("")
    text = "\n".join(lines)
    (options.out / "report.md").write_text(text)
    print(text)
    draw(results, options)


def draw(results, options):
    """Learning curves: masked words of pre-training, answers of fine-tuning."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        print("matplotlib is not installed: no picture")
        return
    seed = options.seeds[0]
    columns = len(options.conditions)
    figure, axes = pyplot.subplots(2, columns, figsize=(3.6 * columns, 6), sharey="row", squeeze=False)
    for column, condition in enumerate(options.conditions):
        for number, (arm, title) in enumerate(ARMS.items()):
            color = f"C{number}"
            curve = results[f"pretrain-{arm}-{condition}-{seed}"]
            steps = [point["step"] for point in curve]
            top, bottom = axes[0][column], axes[1][column]
            for key, style in (("own_image", "-"), ("other_image", ":")):
                top.plot(steps, [point[key]["share"] for point in curve], style, color=color,
                         label=title if style == "-" else None)  # fmt: skip
            intervals = [point["own_image"]["interval"] for point in curve]
            top.fill_between(steps, *zip(*intervals), color=color, alpha=0.2)
            answers = results.get(f"vqa-{arm}-{condition}-{seed}", {"curve": []})["curve"]
            bottom.plot(*zip(*answers), color=color, label=title)
        axes[0][column].set_title(f"regions {CONDITIONS[condition][0]}", fontsize=10)
        axes[0][column].set_xlabel("pre-training step")
        axes[1][column].set_xlabel("fine-tuning step")
    axes[0][0].set_ylabel("accuracy on masked words\n(dotted: another image)")
    axes[1][0].set_ylabel("accuracy on questions")
    axes[0][0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(options.out / "curves.png", dpi=110)
    print(f"picture: {options.out / 'curves.png'}")


if __name__ == "__main__":
    main()
