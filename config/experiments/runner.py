"""What the scripts of the experiments share: runs of the program whose results are kept."""

import json
import math
import subprocess
import sys

# Fine-tuning on referring expressions is short.
REFERRING = {"train.validate_every": 1000, "train.save_every": 1000, "optimizer.warmup_steps": 10}
SIDES = ("left", "right", "above", "below")


class Experiment:
    """Runs in `out/runs`, and their results in `out/results.json`: started again, it resumes."""

    def __init__(self, oscar, out):
        self.oscar = oscar
        self.out = out
        self.runs = out / "runs"
        self.runs.mkdir(parents=True, exist_ok=True)
        self.results_file = out / "results.json"
        self.results = {}
        if self.results_file.exists():
            self.results = json.loads(self.results_file.read_text())

    def call(self, *arguments):
        """Runs `oscar-bin` and reads the JSON it prints."""
        command = [str(self.oscar), "--quiet", *map(str, arguments), "--json"]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        if done.returncode != 0:
            sys.exit(f"failed ({done.returncode}): {' '.join(command)}")
        return json.loads(done.stdout)

    def measure(self, key, work):
        """`work()`, unless its result is known."""
        if key not in self.results:
            print(f"{key} ...", flush=True)
            self.results[key] = work()
            aside = self.results_file.with_suffix(".tmp")
            aside.write_text(json.dumps(self.results, indent=1))
            aside.replace(self.results_file)
        return self.results[key]

    def start(self, command, name, *arguments):
        """Trains the run `name`, or resumes it."""
        directory = self.runs / name
        place = ["--name", name, "--runs-dir", self.runs]
        if (directory / "checkpoint").exists():
            return self.call(command, *place, "--resume", *arguments)
        return self.call(command, *place, *arguments)

    def expressions(self, arm, seed, checkpoint, steps):
        """Accuracy on referring expressions, found among regions without tags, after a fine-tuning of so many
        steps from `checkpoint`: of all, and of those that name a side. Without one it is from the weights of the
        quickstart."""
        name = f"refer-{arm}-{seed}"

        def work():
            values = {**REFERRING, "train.steps": steps}
            if checkpoint is not None:
                values["init.checkpoint"] = checkpoint
            recipe = ["--task", "refer", "--config", "refer-scenes", "--seed", seed]
            report = self.start("finetune", name, *recipe, *settings(values))
            lines = (self.runs / name / "predictions/validation.jsonl").read_text().splitlines()
            rows = [json.loads(line) for line in lines]
            sided = [row["iou"] >= 0.5 for row in rows if any(side in row["expression"] for side in SIDES)]
            return {"referring": report["evaluation"]["accuracy"], "sides": sum(sided) / len(sided)}

        return self.measure(name, work)

    def validations(self, name):
        """The measurements of the run `name` on its validation data."""
        lines = (self.runs / name / "metrics.jsonl").read_text().splitlines()
        rows = [json.loads(line) for line in lines]
        return [row for row in rows if row.get("split") == "valid"]


def settings(values):
    """Arguments that set keys of a recipe."""
    return [part for key, value in values.items() for part in ("--set", f"{key}={value}")]


def wilson(share, of, z=1.959964):
    """95 % confidence interval of a share."""
    middle = (share + z * z / (2 * of)) / (1 + z * z / of)
    half = z * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of)) / (1 + z * z / of)
    return middle - half, middle + half


# 97.5 % quantiles of Student's t for one degree of freedom and more.
STUDENT = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262]


def over_seeds(values):
    """Mean of one value a seed, and half of its 95 % confidence interval; None of a single value."""
    count, mean = len(values), sum(values) / len(values)
    if count == 1:
        return mean, None
    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / (count - 1))
    return mean, STUDENT[min(count - 1, len(STUDENT)) - 1] * deviation / math.sqrt(count)


def written(values):
    """The cell of a table with one value a seed; a dash where one is missing."""
    if not values or None in values:
        return "–"
    mean, half = over_seeds(values)
    return f"{mean:.3f}" if half is None else f"{mean:.3f} ± {half:.3f}"
