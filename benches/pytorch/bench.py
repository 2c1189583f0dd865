"""Times one work in PyTorch, as the official code computes or as well as PyTorch can.

    python bench.py --work pretrain --style best --dtype f32 --lengths real --json

The document is that of `oscar-bin bench --json`. See README.md.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import sys
import time

import torch

from lengths import Lengths
from model import PRESETS
from works import WORKS, Setting

# Edges of the square matrices that are multiplied; larger ones only while a product is quick.
EDGES = (512, 1024, 2048, 4096, 8192)
ADAMW_BYTES = 28


def main():
    args = arguments()
    device = torch.device(args.device)
    torch.manual_seed(42)

    def clock():
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[args.dtype]
    peak = peak_flops(device, dtype, clock)
    results = []
    for work in args.work:
        for batch_size in args.batch_size:
            results.append(measure(args, work, batch_size, device, clock, peak))
    document = {"device": device_name(device), "results": results}
    if args.json:
        json.dump(document, sys.stdout, indent=2)
        print()
        return
    for result in results:
        print(f"{result['work']:<10} batch {result['batch_size']:>3} "
              f"{result['samples_per_s']:9.2f} samples/s {result['flops_per_s'] / 1e9:8.1f} GFLOP/s "
              f"({100 * result['share_of_peak']:.1f} % of peak) "
              f"padding {100 * result['padding_share']:.1f} %")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    comma = lambda kind: lambda text: [kind(part) for part in text.split(",")]
    parser.add_argument("--work", type=comma(str), default=["pretrain"])
    parser.add_argument("--style", choices=["official", "best"], default="best")
    parser.add_argument("--dtype", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--preset", choices=list(PRESETS), default="base")
    parser.add_argument("--batch-size", type=comma(int), default=[8])
    parser.add_argument("--lengths", choices=["fixed", "real"], default="fixed")
    parser.add_argument("--text", type=int)
    parser.add_argument("--regions", type=int)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--warmup", type=int, default=1)
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1")
    parser.add_argument("--compile", choices=["auto", "on", "off"], default="auto",
                        help="torch.compile for --style best; auto: on GPUs")
    parser.add_argument("--attention", choices=["auto", "eager", "sdpa"], default="auto",
                        help="of --style best; auto: the faster one, see README.md")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    unknown = [work for work in args.work if work not in WORKS]
    if unknown:
        parser.error(f"--work {unknown[0]}: must be of {', '.join(WORKS)}")
    if min([args.steps, *args.batch_size]) < 1 or args.warmup < 0:
        parser.error("--steps and --batch-size must be at least 1, --warmup at least 0")
    if args.lengths == "real" and (args.text is not None or args.regions is not None):
        parser.error("--text and --regions are for --lengths fixed")
    return args


def measure(args, work, batch_size, device, clock, peak):
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    text = args.text if args.text is not None else (30 if work == "caption" else 35)
    regions = args.regions if args.regions is not None else 50
    lengths = Lengths() if args.lengths == "real" else Lengths(text, regions)
    training = work in ("pretrain", "vqa")
    best = args.style == "best"
    on_gpu = device.type == "cuda"
    setting = Setting(
        config=PRESETS[args.preset],
        lengths=lengths,
        batch_size=batch_size,
        warmup=args.warmup,
        steps=args.steps,
        style=args.style,
        dtype=args.dtype,
        device=device,
        compile=best and (on_gpu if args.compile == "auto" else args.compile == "on"),
        fused_attention=best and (on_gpu or not training if args.attention == "auto"
                                  else args.attention == "sdpa"),
        clock=clock,
    )
    steps, model = WORKS[work](setting)
    if setting.compile:
        # Compiles for every shape that is timed.
        for step in steps:
            step.run()
    seconds, optimizer = [], []
    for number, step in enumerate(steps):
        start = clock()
        update = step.run()
        took = clock() - start
        if number >= args.warmup:
            seconds.append(took)
            optimizer.append(update)
    timed = steps[args.warmup:]
    rate = lambda of: statistics.median(of(s) / t for s, t in zip(timed, seconds))
    parameters = sum(p.numel() for p in model.parameters())
    memory = peak_memory(device)
    flops = rate(lambda step: step.flops)
    del steps, model
    return {
        "work": work,
        "preset": args.preset,
        "parameters": parameters,
        "backend": f"pytorch {args.style}",
        "dtype": args.dtype,
        "batch_size": batch_size,
        "samples_per_s": rate(lambda step: step.samples),
        "tokens_per_s": rate(lambda step: step.tokens),
        "flops_per_s": flops,
        "share_of_peak": flops / peak,
        "peak_flops_per_s": peak,
        "peak_memory_bytes": memory,
        "padding_share": 1 - sum(s.tokens for s in timed) / sum(s.padded for s in timed),
        "step_samples": [step.samples for step in timed],
        "step_tokens": [step.tokens for step in timed],
        "step_flops": [step.flops for step in timed],
        "step_seconds": seconds,
        "optimizer_seconds": statistics.median(optimizer) if training else None,
        "optimizer_floor_seconds": adamw_floor(parameters, device, clock) if training else None,
    }


def peak_flops(device, dtype, clock):
    """Operations per second of the fastest of some products of square matrices."""
    peak = 0.0
    for edge in EDGES:
        a, b = (torch.rand(edge, edge, device=device).to(dtype) for _ in range(2))

        def products(count):
            start = clock()
            for _ in range(count):
                a @ b
            return (clock() - start) / count

        products(1)
        seconds, count, spent = products(1), 1, 0.0
        while spent < 0.3:
            each = products(count)
            seconds = min(seconds, each)
            spent += each * count
            count *= 2
        peak = max(peak, 2.0 * edge**3 / seconds)
        if seconds > 0.2:
            break
    return peak


def adamw_floor(parameters, device, clock):
    """Seconds that memory needs for the bytes of an AdamW step: those of scaling in place, by byte."""
    values = torch.ones(parameters, device=device)
    fastest = float("inf")
    for _ in range(4):
        start = clock()
        values.mul_(0.999)
        fastest = min(fastest, clock() - start)
    return fastest * ADAMW_BYTES / 8


def peak_memory(device):
    """Bytes at most: of the GPU's memory, or of the process since it began."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def device_name(device):
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    model = platform.machine()
    try:
        with open("/proc/cpuinfo") as file:
            model = next(line.split(":", 1)[1].strip() for line in file
                         if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return f"cpu on {model}, {os.cpu_count()} cores"


if __name__ == "__main__":
    main()
