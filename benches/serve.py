#!/usr/bin/env python3
"""Load on `oscar-bin serve`: many clients that ask all the time, with batching and without.

    python3 benches/serve.py --clients 64 --seconds 60

Starts the server itself (the shipped captioner and drawings), once for each size of a batch. Needs
nothing but the standard library. Prints requests per second, percentiles of the time to an answer,
answers by status, and the resident memory of the server after the first seconds and at the end.
"""

import argparse
import base64
import http.client
import json
import pathlib
import subprocess
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent


def resident(pid):
    """Resident memory in MiB."""
    with open(f"/proc/{pid}/status") as status:
        for line in status:
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
    return float("nan")


def client(address, bodies, until, found):
    """Asks until the time is over; keeps status and seconds of every answer."""
    host, port = address
    connection = http.client.HTTPConnection(host, port, timeout=120)
    at = 0
    while time.monotonic() < until:
        start = time.monotonic()
        try:
            connection.request(
                "POST", "/v1/caption", bodies[at % len(bodies)], {"Content-Type": "application/json"}
            )
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
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        url = server.stdout.readline().strip()
        host, port = url.removeprefix("http://").rstrip("/").rsplit(":", 1)
        address = (host, int(port))
        pictures = sorted((ROOT / "datasets/sample/pictures").glob("*.png"))
        encoded = [base64.b64encode(path.read_bytes()).decode() for path in pictures]
        bodies = [json.dumps({"picture": picture}) for picture in encoded]
        # The first seconds fill caches and the allocator.
        load(address, bodies, args.clients, min(5, args.seconds))
        before = resident(server.pid)
        found, seconds = load(address, bodies, args.clients, args.seconds)
        after = resident(server.pid)
    finally:
        server.terminate()
        code = server.wait(timeout=60)
    times = sorted(seconds for status, seconds in found if status == 200)
    statuses = {}
    for status, _ in found:
        statuses[status] = statuses.get(status, 0) + 1

    def percentile(share):
        return 1000 * times[min(len(times) - 1, int(share * len(times)))] if times else None

    return {
        "max_batch": batch,
        "clients": args.clients,
        "seconds": round(seconds, 1),
        "requests_per_second": round(len(times) / seconds, 1),
        "p50_ms": round(percentile(0.50), 1),
        "p95_ms": round(percentile(0.95), 1),
        "p99_ms": round(percentile(0.99), 1),
        "statuses": statuses,
        "memory_start_mib": round(before, 1),
        "memory_end_mib": round(after, 1),
        "exit_code": code,
    }


def load(address, bodies, clients, seconds):
    """The answers that so many clients get in this time, and how long it took."""
    lists = [[] for _ in range(clients)]
    start = time.monotonic()
    threads = [
        threading.Thread(target=client, args=(address, bodies[at % len(bodies):] + bodies, start + seconds, found))
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
    parser.add_argument("--batches", type=int, nargs="+", default=[32, 1])
    args = parser.parse_args()
    results = [measure(args, batch) for batch in args.batches]
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
