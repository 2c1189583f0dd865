"""Joins what benches/gpu.sh measured: `gpu.py RESULTS OUT`."""

import json
import pathlib
import re
import sys

# Steps before which kernels are still compiled.
WARMUP = 20


def rate(lines, warmup=WARMUP):
    """Samples per second of a run's `metrics.jsonl` after the first steps: all samples by all seconds."""
    rates = [line["Samples/s"] for line in map(json.loads, lines) if line.get("split") == "train"]
    rates = [rate for rate in rates[warmup:] if rate > 0]
    # All steps have as many samples, so that this is the harmonic mean.
    return len(rates) / sum(1 / rate for rate in rates) if rates else None


def collect(folder):
    """The document of a folder of results."""
    document = {"parts": {}, "one_gpu": None, "devices": []}
    for status in sorted(folder.glob("*.status")):
        document["parts"][status.stem] = status.read_text().strip()
    one = folder / "one_gpu.json"
    if one.exists():
        document["one_gpu"] = json.loads(one.read_text())["results"]
    runs = sorted(folder.glob("gpus-*/metrics.jsonl"), key=lambda run: gpus(run.parent))
    for run in runs:
        samples = rate(run.read_text().splitlines())
        document["devices"].append({"gpus": gpus(run.parent), "samples_per_s": samples})
    first = next((run["samples_per_s"] for run in document["devices"] if run["gpus"] == 1), None)
    for run in document["devices"]:
        known = first and run["samples_per_s"]
        run["efficiency"] = run["samples_per_s"] / (first * run["gpus"]) if known else None
    return document


def gpus(run):
    """How many GPUs the run of this name had."""
    return int(re.fullmatch(r"gpus-(\d+)", run.name)[1])


def main():
    folder, out = map(pathlib.Path, sys.argv[1:])
    document = collect(folder)
    # Written aside first: a file is there whole or not at all.
    aside = out.with_name(out.name + ".partial")
    aside.write_text(json.dumps(document, indent=2) + "\n")
    aside.replace(out)
    for name, status in document["parts"].items():
        print(f"{name}: {status}")
    for run in document["devices"]:
        print(f"{run['gpus']} GPUs: {run['samples_per_s']} samples/s, efficiency {run['efficiency']}")
    if any(status != "done" for status in document["parts"].values()):
        sys.exit(f"not everything was measured; {out} says what")


if __name__ == "__main__":
    main()
