#!/usr/bin/env python3
"""Oscar-rs beside PyTorch on this machine, in turns.

    python benches/run.py --rust flex:f32 --torch official:f32,best:f32,best:bf16
    python benches/run.py --rust flex:f32 --torch transformers:f32 --work clip --batch-size 32
    python benches/run.py --rust flex:f32 --torch torchvision:f32 --work detector --batch-size 1

Each contender is measured for a short while, then the next, round after round, so that whatever else
the machine does slows all of them alike. A step is the same examples for everyone; for each step the
median over the rounds counts. Needs nothing but Python; the PyTorch contenders need the interpreter of
--python to have benches/pytorch/requirements.txt.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
WORKS = ("pretrain", "vqa", "retrieval", "caption")
CLIPCAP = ("clip", "clipcap", "clipcap-train")
# Scripts of benches/pytorch by the style of their contender, with the works that they do.
SCRIPTS = {
    "official": ("bench.py", WORKS),
    "best": ("bench.py", WORKS),
    "transformers": ("clipcap.py", CLIPCAP),
    "torchvision": ("detector.py", ("detector",)),
}
ALL_WORKS = WORKS + CLIPCAP + ("detector",)

# What oscar-bin tells glibc (oscar-bin/src/allocator.rs): freed memory is kept for the next step.
KEEP_FREED_MEMORY = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(1 << 62),
    "MALLOC_TOP_PAD_": str(64 << 20),
}


def main():
    args = arguments()
    contenders = [("before", *split(name)) for name in args.rust if args.against]
    contenders += [("rust", *split(name)) for name in args.rust]
    contenders += [("torch", *split(name)) for name in args.torch]
    if not contenders:
        sys.exit("name at least one contender: --rust flex:f32 or --torch best:f32")
    rounds = {}
    total = args.rounds * len(args.work) * len(contenders)
    done = 0
    for number in range(args.rounds):
        for work in args.work:
            for contender in contenders:
                done += 1
                say(f"[{done}/{total}] round {number + 1}: {work}, {label(contender)}")
                document = measure(args, work, contender)
                rounds.setdefault((work, contender), []).append(document)
    rows = []
    # The models of a work are compared each for itself.
    for work, model in [(work, model) for work in args.work
                        for model in range(len(rounds[work, contenders[0]][0]))]:
        of_model = lambda contender: [results[model] for results in rounds[work, contender]]
        group = [summary(of_model(contender), contender) for contender in contenders]
        same_work(work, group)
        for row in group:
            row["ratio"] = row["samples_per_s"] / group[0]["samples_per_s"]
        rows += group
    table(rows, args)
    if args.json:
        # Written aside first: a file is there whole or not at all.
        aside = args.json.with_name(args.json.name + ".partial")
        settings = {name: value for name, value in vars(args).items() if name != "json"}
        text = json.dumps({"settings": settings, "results": rows}, indent=2, default=str)
        aside.write_text(text + "\n")
        aside.replace(args.json)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    names = lambda text: [part for part in text.split(",") if part]
    parser.add_argument("--rust", type=names, default=[], metavar="BACKEND:DTYPE,...",
                        help="flex:f32")
    parser.add_argument("--torch", type=names, default=[], metavar="STYLE:DTYPE,...",
                        help="official:f32,best:f32,best:bf16")
    parser.add_argument("--work", type=names, default=list(WORKS), metavar="WORK,...",
                        help=", ".join(ALL_WORKS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=5, help="timed steps of a round")
    parser.add_argument("--warmup", type=int, default=1)
    parser.add_argument("--preset", default="base", help="tiny, base or large")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--lengths", choices=["real", "fixed"], default="real")
    parser.add_argument("--text", type=int, help="with --lengths fixed")
    parser.add_argument("--regions", type=int, help="with --lengths fixed")
    parser.add_argument("--device", default="cpu", help="where PyTorch computes: cpu, cuda")
    parser.add_argument("--threads", type=int, default=cores(), help="of each contender")
    parser.add_argument("--binary", type=pathlib.Path,
                        default=HERE.parent / "target" / "release" / "oscar-bin",
                        help="oscar-bin, as `cargo build --release` makes it")
    parser.add_argument("--against", type=pathlib.Path, metavar="OSCAR-BIN",
                        help="another build, measured in turns with --binary on the same backends")
    parser.add_argument("--python", default=sys.executable, help="an interpreter that has torch")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="also write the results")
    args = parser.parse_args()
    for work in args.work:
        if work not in ALL_WORKS:
            parser.error(f"--work {work}: must be of {', '.join(ALL_WORKS)}")
        for style, _ in map(split, args.torch):
            if style not in SCRIPTS:
                parser.error(f"--torch {style}: must be of {', '.join(SCRIPTS)}")
            if work not in SCRIPTS[style][1]:
                able = [style for style, (_, works) in SCRIPTS.items() if work in works]
                parser.error(f"--torch {style} does not do --work {work}, but {', '.join(able)}")
    if min(args.rounds, args.steps, args.batch_size, args.threads) < 1 or args.warmup < 0:
        parser.error("--rounds, --steps, --batch-size and --threads must be at least 1")
    return args


def cores():
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def split(name):
    """`flex:f32` to its two parts; without a type it is f32."""
    first, _, dtype = name.partition(":")
    return first, dtype or "f32"


def label(contender):
    kind, name, dtype = contender
    return f"{kind} {name} {dtype}"


def measure(args, work, contender):
    """The results of one run: one for each model that the work has."""
    kind, name, dtype = contender
    common = ["--work", work, "--preset", args.preset, "--batch-size", str(args.batch_size),
              "--steps", str(args.steps), "--warmup", str(args.warmup),
              "--lengths", args.lengths, "--json"]
    for flag, value in (("--text", args.text), ("--regions", args.regions)):
        if value is not None:
            common += [flag, str(value)]
    if kind != "torch":
        binary = args.against if kind == "before" else args.binary
        command = [str(binary), "--quiet", "bench", "--backend", name, *common]
        if dtype != "f32":
            command += ["--precision", dtype]
    else:
        command = [args.python, str(HERE / "pytorch" / SCRIPTS[name][0]), "--style", name,
                   "--dtype", dtype, "--device", args.device, *common]
    threads = str(args.threads)
    environment = os.environ | {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads,
                                "RAYON_NUM_THREADS": threads}
    if kind == "torch" and name != "official":
        environment |= KEEP_FREED_MEMORY
    try:
        run = subprocess.run(command, env=environment, capture_output=True, text=True)
    except OSError as error:
        sys.exit(f"cannot start {command[0]}: {error}")
    if run.returncode != 0:
        sys.exit(f"{label(contender)} failed on {work}:\n{' '.join(command)}\n{run.stderr.strip()}")
    document = json.loads(run.stdout)
    results = [result | {"device": document["device"]} for result in document["results"]]
    for result in results:
        if result["dtype"] != dtype:
            sys.exit(f"{label(contender)} computed in {result['dtype']}")
    return results


def summary(results, contender):
    """One row of several rounds: for each step the median over the rounds."""
    kind, name, dtype = contender
    first = results[0]
    seconds = [statistics.median(step) for step in zip(*(r["step_seconds"] for r in results))]
    took = sum(seconds)
    peak = max(result["peak_flops_per_s"] for result in results)
    median = lambda key: None if first[key] is None else statistics.median(r[key] for r in results)
    flops = sum(first["step_flops"]) / took
    rates = [sum(r["step_samples"]) / sum(r["step_seconds"]) for r in results]
    return {
        "work": " ".join(filter(None, (first["work"], first.get("model")))), "contender": f"{kind} {name}", "dtype": dtype,
        "device": first["device"], "preset": first["preset"], "batch_size": first["batch_size"],
        "samples_per_s": sum(first["step_samples"]) / took,
        "slowest_round": min(rates), "fastest_round": max(rates),
        "tokens_per_s": sum(first["step_tokens"]) / took,
        "flops_per_s": flops, "share_of_peak": flops / peak, "peak_flops_per_s": peak,
        "peak_memory_bytes": max((r["peak_memory_bytes"] or 0) for r in results) or None,
        "padding_share": first["padding_share"],
        "optimizer_seconds": median("optimizer_seconds"),
        "optimizer_floor_seconds": median("optimizer_floor_seconds"),
        "step_seconds": seconds,
        "totals": [sum(first["step_samples"]), sum(first["step_tokens"]), sum(first["step_flops"])],
        "parameters": first["parameters"],
    }


def same_work(work, rows):
    """Ratios mean something only where everyone did the same."""
    first = rows[0]
    for row in rows[1:]:
        same = row["parameters"] == first["parameters"] and all(
            abs(a - b) <= 1e-6 * max(a, b) for a, b in zip(row["totals"], first["totals"]))
        if not same:
            sys.exit(f"{work}: {first['contender']} and {row['contender']} did other work: "
                     f"{first['parameters']} parameters, {first['totals']} samples, tokens, "
                     f"operations; {row['parameters']}, {row['totals']}")


def table(rows, args):
    shape = "real lengths" if args.lengths == "real" else "fixed lengths"
    print(f"{args.preset}, batch {args.batch_size}, {shape}; {args.rounds} rounds of {args.steps} "
          f"steps, {args.threads} threads; {rows[0]['device']}")
    head = ("work", "contender", "dtype", "samples/s", "slowest-fastest", "ratio", "tokens/s",
            "GFLOP/s", "of peak", "padding", "memory MiB", "optimiser s (floor)")
    print("| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head))
    for row in rows:
        memory = row["peak_memory_bytes"]
        update = row["optimizer_seconds"]
        print("| " + " | ".join([
            row["work"], row["contender"], row["dtype"], f"{row['samples_per_s']:.2f}",
            f"{row['slowest_round']:.2f}-{row['fastest_round']:.2f}", f"{row['ratio']:.2f}",
            f"{row['tokens_per_s']:.0f}", f"{row['flops_per_s'] / 1e9:.1f}",
            f"{100 * row['share_of_peak']:.0f} %", f"{100 * row['padding_share']:.0f} %",
            f"{memory / 2**20:.0f}" if memory else "-",
            f"{update:.3f} ({row['optimizer_floor_seconds']:.3f})" if update is not None else "-",
        ]) + " |")


def say(text):
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
