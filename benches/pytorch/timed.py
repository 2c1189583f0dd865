"""Times works of CPU models with random weights; the document is that of `oscar-bin bench --json`."""

import argparse
import json
import resource
import statistics
import sys
import time

import torch

from bench import adamw_floor, device_name, peak_flops


def run(about, style, works, batch_size, steps, presets=None):
    """Measures what the command line asks for, and prints it.

    `works` has the models of each work by name, None for the name of a work's only one. A model is made of
    whether it is tiny and of the batch size. It has the module `model`, the `tokens` and `flops` of a step, and
    `step()`, which gives the seconds of its optimiser, if it has one.
    """
    args = arguments(about, style, works, batch_size, steps, presets)
    torch.manual_seed(42)
    peak = peak_flops(torch.device("cpu"), torch.float32, time.perf_counter)
    results = [
        measure(args, work, name, make(args.preset == "tiny", size), size, peak)
        for work in args.work for size in args.batch_size for name, make in works[work].items()
    ]
    if args.json:
        json.dump({"device": device_name(torch.device("cpu")), "results": results}, sys.stdout, indent=2)
        print()
        return
    for result in results:
        work = " ".join(filter(None, (result["work"], result["model"])))
        print(f"{work:<14} batch {result['batch_size']:>3} {result['samples_per_s']:9.2f} samples/s "
              f"{result['flops_per_s'] / 1e9:8.1f} GFLOP/s")


def arguments(about, style, works, batch_size, steps, presets):
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    comma = lambda kind: lambda text: [kind(part) for part in text.split(",")]
    parser.add_argument("--work", type=comma(str), default=list(works))
    parser.add_argument("--style", choices=[style], default=style)
    parser.add_argument("--dtype", choices=["f32"], default="f32")
    parser.add_argument("--device", choices=["cpu"], default="cpu")
    parser.add_argument("--preset", choices=presets, default="base",
                        help="tiny, or anything else for the published sizes")
    parser.add_argument("--batch-size", type=comma(int), default=[batch_size])
    parser.add_argument("--lengths", help="all are fixed here; taken for benches/run.py")
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--warmup", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    unknown = [work for work in args.work if work not in works]
    if unknown:
        parser.error(f"--work {unknown[0]}: must be of {', '.join(works)}")
    return args


def measure(args, work, name, made, batch_size, peak):
    seconds, optimizer = [], []
    for number in range(args.warmup + args.steps):
        start = time.perf_counter()
        update = made.step()
        if number >= args.warmup:
            seconds.append(time.perf_counter() - start)
            optimizer.append(update)
    trains = optimizer[0] is not None
    parameters = sum(values.numel() for values in made.model.parameters())
    rate = lambda amount: statistics.median(amount / took for took in seconds)
    return {
        "work": work, "model": name, "preset": args.preset, "parameters": parameters, "backend": args.style,
        "dtype": args.dtype, "batch_size": batch_size, "samples_per_s": rate(batch_size),
        "tokens_per_s": rate(made.tokens), "flops_per_s": rate(made.flops),
        "share_of_peak": rate(made.flops) / peak, "peak_flops_per_s": peak,
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "padding_share": 0.0, "step_samples": [batch_size] * args.steps,
        "step_tokens": [made.tokens] * args.steps, "step_flops": [made.flops] * args.steps,
        "step_seconds": seconds,
        "optimizer_seconds": statistics.median(optimizer) if trains else None,
        "optimizer_floor_seconds":
            adamw_floor(parameters, torch.device("cpu"), time.perf_counter) if trains else None,
    }
