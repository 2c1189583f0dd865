#!/usr/bin/env python3
"""Load on `oscar-bin serve`: many clients that ask all the time, with batching and without.

    python3 benches/serve.py --clients 64 --seconds 60

Starts the server itself (the shipped captioner of scenes), once for each size of a batch, and sends
the shipped scenes, or those of `--pictures`, as base64. The regions of the last pictures are kept by
the server, so what is measured is the captioner; `--changed` makes every picture another one, which
the detector has to read. Needs nothing but the standard library. Prints requests per second,
percentiles of the time to an answer, answers by status, images of a batch, and the resident memory of
the server after the first seconds and at the end. Exits with 1 if an answer is neither 200, 429 nor 503.
"""

import argparse
import base64
import http.client
import itertools
import json
import pathlib
import subprocess
import sys
import threading
import time
import zlib

ROOT = pathlib.Path(__file__).resolve().parent.parent


def resident(pid):
    """Resident memory in MiB."""
    with open(f"/proc/{pid}/status") as status:
        for line in status:
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
    return float("nan")


def body(picture, number=None):
    """A question about a PNG; with a number, in a chunk of text, it is a picture that nobody sent yet."""
    if number is not None:
        chunk = b"tEXt" + b"number\0" + str(number).encode()
        checksum = zlib.crc32(chunk).to_bytes(4, "big")
        # Behind the signature and the header, which has 25 bytes.
        picture = picture[:33] + (len(chunk) - 4).to_bytes(4, "big") + chunk + checksum + picture[33:]
    return json.dumps({"picture": base64.b64encode(picture).decode()})


def client(address, pictures, numbers, until, found):
    """Asks until the time is over; keeps status and seconds of every answer."""
    host, port = address
    connection = http.client.HTTPConnection(host, port, timeout=120)
    bodies = [body(picture) for picture in pictures]
    at = 0
    while time.monotonic() < until:
        question = bodies[at % len(bodies)]
        if numbers is not None:
            question = body(pictures[at % len(bodies)], next(numbers))
        start = time.monotonic()
        try:
            connection.request("POST", "/v1/caption", question, {"Content-Type": "application/json"})
            response = connection.getresponse()
            response.read()
            status = response.status
        except (OSError, http.client.HTTPException) as error:
            status = type(error).__name__
            connection.close()
        found.append((status, time.monotonic() - start))
        at += 1


def measure(args, batch):
    command = [args.program, "serve", "--listen", "127.0.0.1:0", "--max-batch", str(batch), "--quiet"]
    command += ["--checkpoint", args.checkpoint]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        url = server.stdout.readline().strip()
        host, port = url.removeprefix("http://").rstrip("/").rsplit(":", 1)
        address = (host, int(port))
        pictures = [path.read_bytes() for path in sorted(pathlib.Path(args.pictures).glob("*.png"))]
        numbers = itertools.count() if args.changed else None
        # The first seconds fill caches and the allocator.
        load(address, pictures, numbers, args.clients, min(5, args.seconds))
        before, images_before = resident(server.pid), batches(address)
        found, seconds = load(address, pictures, numbers, args.clients, args.seconds)
        after, images_after = resident(server.pid), batches(address)
    finally:
        server.terminate()
        code = server.wait(timeout=60)
    times = sorted(seconds for status, seconds in found if status == 200)
    statuses = {}
    for status, _ in found:
        statuses[status] = statuses.get(status, 0) + 1

    def percentile(share):
        return round(1000 * times[min(len(times) - 1, int(share * len(times)))], 1) if times else None

    images, count = (after - before for before, after in zip(images_before, images_after))
    return {
        "max_batch": batch,
        "clients": args.clients,
        "seconds": round(seconds, 1),
        "requests_per_second": round(len(times) / seconds, 1),
        "p50_ms": percentile(0.50),
        "p95_ms": percentile(0.95),
        "p99_ms": percentile(0.99),
        "statuses": statuses,
        "images_per_batch": round(images / max(1, count), 1),
        "memory_start_mib": round(before, 1),
        "memory_end_mib": round(after, 1),
        "exit_code": code,
    }


def batches(address):
    """Images that were computed so far, and in how many batches."""
    connection = http.client.HTTPConnection(*address, timeout=120)
    connection.request("GET", "/metrics")
    lines = connection.getresponse().read().decode().splitlines()
    connection.close()
    counters = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return float(counters["oscar_batch_images_sum"]), float(counters["oscar_batch_images_count"])


def load(address, pictures, numbers, clients, seconds):
    """The answers that so many clients get in this time, and how long it took."""
    lists = [[] for _ in range(clients)]
    start = time.monotonic()
    threads = [
        threading.Thread(
            target=client,
            args=(address, pictures[at % len(pictures) :] + pictures, numbers, start + seconds, found),
        )
        for at, found in enumerate(lists)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [answer for found in lists for answer in found], time.monotonic() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--program", default=str(ROOT / "target/release/oscar-bin"))
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60)
    sample = ROOT / "datasets/sample/scenes"
    parser.add_argument("--checkpoint", default=str(sample / "weights/captioning"))
    parser.add_argument("--pictures", default=str(sample / "pictures"), help="a folder of PNG files")
    parser.add_argument("--changed", action="store_true", help="send no picture twice")
    parser.add_argument("--batches", type=int, nargs="+", default=[32, 1])
    args = parser.parse_args()
    results = [measure(args, batch) for batch in args.batches]
    print(json.dumps(results, indent=2))
    statuses = {status for result in results for status in result["statuses"]}
    sys.exit(0 if statuses <= {200, 429, 503} else 1)


if __name__ == "__main__":
    main()
