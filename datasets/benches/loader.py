"""Assembles batches of region features from an official TSV file, as the official loader does:
seek, read a line, split it, decode base64, view as floats, pad to the number of regions, stack.

Arguments: table, images of each batch as JSON lists of rows, regions. Waits for a line on standard
input, then makes all batches and prints the seconds they took, and the sum of the last.
"""

import base64
import json
import sys
import time
import warnings

import numpy as np

try:
    import torch

    torch.set_num_threads(1)
    # It is only read.
    warnings.filterwarnings("ignore", message=".*not writable.*")
except ImportError:
    torch = None


def row_of(file, offset):
    file.seek(offset)
    return [field.strip() for field in file.readline().split("\t")]


def regions_of(fields, regions):
    features = np.frombuffer(base64.b64decode(fields[-1]), dtype=np.float32)
    features = features.reshape((int(fields[1]), -1))
    if torch is not None:
        features = torch.from_numpy(features)[:regions]
        missing = regions - features.shape[0]
        if missing > 0:
            features = torch.cat((features, torch.zeros((missing, features.shape[1]))), 0)
        return features
    features = features[:regions]
    missing = regions - features.shape[0]
    if missing > 0:
        padding = np.zeros((missing, features.shape[1]), dtype=np.float32)
        features = np.concatenate((features, padding), 0)
    return features


def main():
    table, batches, regions = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])
    with open(table.rsplit(".", 1)[0] + ".lineidx") as file:
        offsets = [int(line) for line in file]
    stack = torch.stack if torch is not None else np.stack
    print("torch" if torch is not None else "numpy", flush=True)
    with open(table) as file:
        for _ in sys.stdin:
            start = time.perf_counter()
            for batch in batches:
                out = stack([regions_of(row_of(file, offsets[row]), regions) for row in batch])
            seconds = time.perf_counter() - start
            print(json.dumps([seconds, float(out.sum())]), flush=True)


main()
