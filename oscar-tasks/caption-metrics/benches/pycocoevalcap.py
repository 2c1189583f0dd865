"""Times `oscar-bin score captions` beside pycocoevalcap on the same files, in turn, and compares scores.

    pip install pycocoevalcap        # its tokeniser needs Java
    cargo build --release
    python oscar-tasks/caption-metrics/benches/pycocoevalcap.py RESULTS.json ANNOTATIONS.json [RUNS]

RESULTS are COCO's ([{"image_id", "caption"}]), ANNOTATIONS too ({"images", "annotations"}). Both sides
are whole processes that read the files and compute BLEU, ROUGE-L and CIDEr of the images in RESULTS;
METEOR and SPICE run the same jars on both sides and are left out. Each runs once unmeasured, then
RUNS times (default 5), one after the other. Prints medians and their ratio.
"""

import json
import pathlib
import statistics
import subprocess
import sys
import time

TOOLKIT = """
import contextlib, json, os, sys
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

with open(sys.argv[1]) as file:
    results = {row["image_id"]: [row] for row in json.load(file)}
with open(sys.argv[2]) as file:
    references = {image: [] for image in results}
    for row in json.load(file)["annotations"]:
        if row["image_id"] in references:
            references[row["image_id"]].append(row)
tokenizer = PTBTokenizer()
with contextlib.redirect_stdout(open(os.devnull, "w")):
    references, results = tokenizer.tokenize(references), tokenizer.tokenize(results)
    bleu, _ = Bleu(4).compute_score(references, results)
    rouge, _ = Rouge().compute_score(references, results)
    cider, _ = Cider().compute_score(references, results)
print(json.dumps({**{f"BLEU-{n + 1}": score for n, score in enumerate(bleu)},
                  "ROUGE-L": float(rouge), "CIDEr": float(cider)}))
"""


def run(command):
    start = time.perf_counter()
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE).stdout
    return time.perf_counter() - start, json.loads(out)


def main():
    results, annotations = sys.argv[1:3]
    runs = int(sys.argv[3]) if len(sys.argv) > 3 else 5
    program = pathlib.Path(__file__).parents[3] / "target/release/oscar-bin"
    sides = {
        "oscar-bin": [str(program), "score", "captions", "--candidates", results, "--references",
                      annotations, "--subset", "--json"],
        "pycocoevalcap": [sys.executable, "-c", TOOLKIT, results, annotations],
    }
    scores = {name: run(command)[1] for name, command in sides.items()}
    times = {name: [] for name in sides}
    for _ in range(runs):
        for name, command in sides.items():
            times[name].append(run(command)[0])
    for name, seconds in times.items():
        print(f"{name:14} {statistics.median(seconds):8.3f} s  "
              f"(of {runs}: {min(seconds):.3f} to {max(seconds):.3f})")
    ratio = statistics.median(times["pycocoevalcap"]) / statistics.median(times["oscar-bin"])
    print(f"ratio of medians {ratio:.1f}")
    for name, score in scores["pycocoevalcap"].items():
        ours = scores["oscar-bin"][name]
        print(f"{name:8} {score:.12f}  difference {abs(ours - score):.1e}")


main()
