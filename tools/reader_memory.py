#!/usr/bin/env python3
"""Peak memory of every reader beside the size of its file.

    python3 tools/reader_memory.py target/release/oscar-bin [READER …]

makes a large or hostile file for each reader in a temporary folder, lets the program read it, and prints
the peak of its resident memory (`getrusage`) as a Markdown table. A reader may take 64 MiB and K times its
file (ARCHITECTURE.md, Files) beyond what the program takes for an empty task; the exit status is 1 if one
takes more, panics, is killed or does not end. Python's standard library is enough.
"""
import gzip
import io
import json
import os
import pickle
import resource
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib

MIB = 1 << 20
BASE = 64 * MIB
LIMIT_SECONDS = 120
ADDRESSES = 8 << 30


def npy(descr, shape, data=b""):
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"
    header += " " * (-(len(header) + 11) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + data


def archive(path, arrays, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as file:
        for name, data in arrays.items():
            file.writestr(name + ".npy", data)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, extra=b""):
    pixels = zlib.compressobj(1)
    row, data = bytes(1 + width), b""
    for _ in range(height):
        data += pixels.compress(row)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", data + pixels.flush()) + chunk(b"IEND", b"")


def write(path, data):
    with open(path, "wb") as file:
        file.write(data.encode() if isinstance(data, str) else data)


def safetensors(path, header, data=b""):
    text = json.dumps(header).encode()
    write(path, struct.pack("<Q", len(text)) + text + data)


def torch(path, pickled):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", pickled)
        file.writestr("archive/version", "3\n")


# Each maker writes a file into the current folder and returns its path and the command that reads it.


def npz_of_zeros():
    os.mkdir("zeros")
    zeros = npy("<f4", (64, 1 << 18), bytes(64 << 20))
    archive("zeros/1.npz", {"x": zeros, "bbox": npy("<f4", (64, 4), bytes(1024))})
    return "zeros/1.npz", ["data", "build", "regions", "zeros", "--out", "s1"]


def npz_of_many_arrays():
    os.mkdir("many")
    archive("many/1.npz", {f"a{i}": npy("<f4", (), bytes(4)) for i in range(60_000)}, zipfile.ZIP_STORED)
    return "many/1.npz", ["data", "build", "regions", "many", "--out", "s2"]


def npz_of_a_shape():
    os.mkdir("shape")
    archive("shape/1.npz", {"x": npy("<f4", (1 << 40, 1 << 20))})
    return "shape/1.npz", ["data", "build", "regions", "shape", "--out", "s3"]


def npz_of_features():
    os.mkdir("honest")
    for image in range(40):
        boxes = b"".join(struct.pack("<4f", i, i, i + 9, i + 9) for i in range(100))
        arrays = {"x": npy("<f4", (100, 2048), os.urandom(2048 * 100 * 4).replace(b"\xff", b"\0").replace(b"\x7f", b"\0"))}
        arrays |= {"bbox": npy("<f4", (100, 4), boxes), "image_w": npy("<i8", (), struct.pack("<q", 640))}
        archive(f"honest/{image}.npz", arrays | {"image_h": npy("<i8", (), struct.pack("<q", 480))})
    return "honest", ["data", "build", "regions", "honest", "--dtype", "f32", "--out", "s4"]


def gzip_of_blanks():
    with gzip.open("blanks.json.gz", "wb") as file:
        for _ in range(1 << 8):
            file.write(b" " * MIB)
    return "blanks.json.gz", ["data", "check", "--task", "vqa", "blanks.json.gz"]


def gzip_of_rows():
    row = b'{"image": 1, "question": "a", "answer": "b"}\n' * (1 << 12)
    with gzip.open("rows.jsonl.gz", "wb", 1) as file:
        for _ in range(1 << 9):
            file.write(row)
    return "rows.jsonl.gz", ["data", "check", "--task", "vqa", "rows.jsonl.gz"]


def png_of_zeros():
    write("zeros.png", png(23_000, 23_000))
    return "zeros.png", ["data", "inspect", "regions", "1", "--image", "zeros.png", "--out", "z.png"]


def png_with_a_profile():
    profile = chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(128 << 20), 1))
    write("profile.png", png(64, 48, profile))
    return "profile.png", ["data", "inspect", "regions", "1", "--image", "profile.png", "--out", "p.png"]


def png_with_texts():
    text = chunk(b"zTXt", b"t\0\0" + zlib.compress(bytes(32 << 20), 1))
    write("texts.png", png(64, 48, text * 20))
    return "texts.png", ["data", "inspect", "regions", "1", "--image", "texts.png", "--out", "t.png"]


def pickle_of_lists():
    write("lists.pt", b"\x80\x02(" + b"]" * (8 << 20) + b"l.")
    return "lists.pt", ["model", "inspect", "lists.pt"]


def pickle_of_shared_lists():
    doubled = b"\x80\x02]q\x00" + b"".join(
        b"(h" + bytes([i]) + b"h" + bytes([i]) + b"lq" + bytes([i + 1]) for i in range(60)
    )
    torch("shared.pt", doubled + b".")
    return "shared.pt", ["model", "inspect", "shared.pt"]


def pickle_of_strings():
    torch("strings.pt", pickle.dumps({str(i): "x" for i in range(1 << 20)}, 2))
    return "strings.pt", ["model", "inspect", "strings.pt"]


def pickle_of_depth():
    write("depth.pt", b"\x80\x02" + b"(" * (4 << 20) + b"N" + b"t" * (4 << 20) + b".")
    return "depth.pt", ["model", "inspect", "depth.pt"]


def zip_of_zeros():
    with zipfile.ZipFile("zeros.pt", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("archive/data.pkl", bytes(128 << 20))
    return "zeros.pt", ["model", "inspect", "zeros.pt"]


def safetensors_of_names():
    header = {f"t{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(300_000)}
    safetensors("names.safetensors", header)
    return "names.safetensors", ["model", "inspect", "names.safetensors"]


def safetensors_of_a_header():
    write("header.safetensors", struct.pack("<Q", 1 << 40) + b"{" + bytes(4096))
    return "header.safetensors", ["model", "inspect", "header.safetensors"]


def safetensors_of_weights():
    shape, size = [16384, 1024], 16384 * 1024 * 4
    tensor = {"dtype": "F32", "shape": shape, "data_offsets": [0, size]}
    safetensors("weights.safetensors", {"bert.embeddings.word_embeddings.weight": tensor}, bytes(size))
    return "weights.safetensors", ["model", "inspect", "weights.safetensors"]


def index_of_parts():
    os.mkdir("parts")
    parts = {f"bert.t{i}": f"model-{i:05}-of-99999.safetensors" for i in range(200_000)}
    write("parts/model.safetensors.index.json", json.dumps({"weight_map": parts}))
    return "parts/model.safetensors.index.json", ["model", "inspect", "parts"]


def table_of_one_line():
    with open("line.tsv", "wb") as file:
        for _ in range(128):
            file.write(b"a" * MIB)
    return "line.tsv", ["data", "check", "line.tsv"]


def table_of_short_rows():
    with open("short.tsv", "wb") as file:
        for start in range(0, 2_000_000, 1000):
            file.write(b"".join(b"%d\t1\tAAAA\n" % i for i in range(start, start + 1000)))
    return "short.tsv", ["data", "check", "short.tsv"]


def table_of_tabs():
    write("tabs.tsv", b"\t" * (64 * MIB))
    return "tabs.tsv", ["data", "check", "tabs.tsv"]


def lines_of_one_object():
    write("open.jsonl", b'{"image": "' + b"a" * (128 * MIB))
    return "open.jsonl", ["data", "check", "--format", "corpus", "open.jsonl"]


def lines_of_short_rows():
    with open("corpus.jsonl", "wb") as file:
        for start in range(0, 2_000_000, 1000):
            rows = (b'{"image": %d, "text": "a dog"}\n' % i for i in range(start, start + 1000))
            file.write(b"".join(rows))
    return "corpus.jsonl", ["data", "check", "corpus.jsonl"]


def lines_without_content():
    write("newlines.jsonl", b"\n" * (8 * MIB) + b'{"image": 1, "text": "a"}\n')
    return "newlines.jsonl", ["data", "check", "--format", "corpus", "newlines.jsonl"]


def array_of_rows():
    rows = b",\n".join(b'{"image": %d, "text": "a dog"}' % i for i in range(1_000_000))
    write("corpus.json", b"[" + rows + b"]")
    return "corpus.json", ["data", "check", "corpus.json"]


def array_of_depth():
    write("depth.json", b"[" * (64 * MIB))
    return "depth.json", ["data", "check", "--task", "vqa", "depth.json"]


def questions():
    rows = [{"image": i, "question": "a b?", "answers": ["x"] * 10} for i in range(300_000)]
    write("questions.json", json.dumps(rows))
    return "questions.json", ["data", "check", "--task", "vqa", "questions.json"]


def captions():
    images = [{"id": i} for i in range(200_000)]
    annotations = [{"image_id": i % 200_000, "id": i, "caption": "a dog"} for i in range(1_000_000)]
    write("captions.json", json.dumps({"images": images, "annotations": annotations}))
    return "captions.json", ["data", "check", "--task", "captioning", "captions.json"]


def vocabulary_of_blank_lines():
    write("blank.txt", b"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n" + b"\n" * (32 * MIB))
    return "blank.txt", ["train", "--steps", "1", "--name", "blank", "--set", "data.vocab=blank.txt"]


def answers_of_one_line():
    write("answers.txt", b"a" * (64 * MIB))
    return "answers.txt", answering("answers.txt")


def answers_of_a_list():
    write("answers.json", json.dumps([f"answer {i}" for i in range(1_000_000)]))
    return "answers.json", answering("answers.json")


def answering(path):
    keys = ["task.answers=" + path, "data.train.questions=none.jsonl", "data.validation.questions=none.jsonl"]
    return ["finetune", "--config", "vqa-question-only", "--name", path] + [w for key in keys for w in ("--set", key)]


def yaml_of_aliases():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [" + ", ".join([f"*a{i - 1}"] * 10) + "]" for i in range(1, 12)]
    write("aliases.yaml", "\n".join(lines) + "\nfeature: f.tsv\n")
    return "aliases.yaml", ["data", "check", "--task", "captioning", "aliases.yaml"]


def yaml_of_lines():
    write("lines.yaml", "".join(f"key{i}: value\n" for i in range(4_000_000)))
    return "lines.yaml", ["data", "check", "--task", "captioning", "lines.yaml"]


def yaml_of_depth():
    write("depth.yaml", "[" * 1_000_000)
    return "depth.yaml", ["data", "check", "--task", "captioning", "depth.yaml"]


def recipe_of_depth():
    write("recipe.toml", "a = " + "[" * 1_000_000)
    return "recipe.toml", ["train", "--print-config", "--config", "recipe.toml"]


def recipe_of_keys():
    write("keys.toml", "[train]\n" + "".join(f"a{i} = 1\n" for i in range(500_000)))
    return "keys.toml", ["train", "--print-config", "--config", "keys.toml"]


def store_of_zeros():
    os.mkdir("store")
    write("store/index.safetensors", struct.pack("<Q", 64 * MIB) + b" " * (64 * MIB))
    return "store/index.safetensors", ["data", "check", "store"]


def store_of_tags():
    subprocess.run(["cp", "-r", "regions", "tagged"], check=True)
    with open("tagged/tags.jsonl", "wb") as file:
        file.write(b'[{"class": "' + b"a" * (64 * MIB) + b'"}]\n')
    return "tagged/tags.jsonl", ["data", "check", "tagged"]


def scored_captions():
    write("candidates.json", json.dumps([{"image_id": i, "caption": "a dog on a bed"} for i in range(300_000)]))
    command = ["score", "captions", "--candidates", "candidates.json", "--references", "candidates.json"]
    return "candidates.json", command


def logged_metrics():
    os.makedirs("runs/r")
    write("runs/r/config.toml", "# oscar-bin train\n")
    with open("runs/r/metrics.jsonl", "w") as file:
        for step in range(1, 400_001):
            file.write(f'{{"step": {step}, "split": "train", "Loss": 1.5}}\n')
    return "runs/r/metrics.jsonl", ["runs"]


# Memory per byte of the file that each format may take beyond 64 MiB.
READERS = {
    npz_of_zeros: 8,
    npz_of_many_arrays: 8,
    npz_of_a_shape: 8,
    npz_of_features: 8,
    gzip_of_blanks: 512,
    gzip_of_rows: 512,
    png_of_zeros: 32,
    png_with_a_profile: 32,
    png_with_texts: 32,
    pickle_of_lists: 32,
    pickle_of_shared_lists: 32,
    pickle_of_strings: 32,
    pickle_of_depth: 32,
    zip_of_zeros: 32,
    safetensors_of_names: 16,
    safetensors_of_a_header: 16,
    safetensors_of_weights: 2,
    index_of_parts: 16,
    table_of_one_line: 2,
    table_of_short_rows: 8,
    table_of_tabs: 2,
    lines_of_one_object: 2,
    lines_of_short_rows: 8,
    lines_without_content: 16,
    array_of_rows: 8,
    array_of_depth: 2,
    questions: 16,
    captions: 16,
    vocabulary_of_blank_lines: 8,
    answers_of_one_line: 8,
    answers_of_a_list: 16,
    yaml_of_aliases: 32,
    yaml_of_lines: 32,
    yaml_of_depth: 32,
    recipe_of_depth: 32,
    recipe_of_keys: 32,
    store_of_zeros: 4,
    store_of_tags: 4,
    scored_captions: 32,
    logged_metrics: 32,
}


def measure(program, command):
    """Exit status (minus the signal), peak resident bytes, seconds, last line of the command."""
    def limits():
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    start = time.monotonic()
    with open("output", "wb") as output:
        process = subprocess.Popen(
            [program, *command], stdin=subprocess.DEVNULL, stdout=output, stderr=output, preexec_fn=limits
        )
        ended = 0
        while not ended and time.monotonic() - start < LIMIT_SECONDS:
            ended, status, usage = os.wait4(process.pid, os.WNOHANG)
            time.sleep(0.005)
        if not ended:
            process.kill()
            _, status, usage = os.wait4(process.pid, 0)
    process.returncode = 0
    with open("output", "rb") as output:
        output.seek(0, os.SEEK_END)
        output.seek(max(0, output.tell() - 4096))
        lines = output.read().decode(errors="replace").strip().splitlines() or [""]
    return os.waitstatus_to_exitcode(status), usage.ru_maxrss * 1024, time.monotonic() - start, lines


def size_of(path):
    if os.path.isdir(path):
        return sum(os.path.getsize(os.path.join(path, name)) for name in os.listdir(path))
    return os.path.getsize(path)


def main():
    program, wanted = os.path.abspath(sys.argv[1]), sys.argv[2:]
    over = []
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        os.mkdir("images")
        archive("images/1.npz", {
            "x": npy("<f4", (1, 8), bytes(32)), "bbox": npy("<f4", (1, 4), struct.pack("<4f", 0, 0, 9, 9)),
            "image_w": npy("<i8", (), struct.pack("<q", 64)), "image_h": npy("<i8", (), struct.pack("<q", 48)),
        })
        build = ["data", "build", "regions", "images", "--feature-dim", "8", "--out", "regions"]
        status, empty, _, lines = measure(program, build)
        if status != 0:
            sys.exit("the small region store was not built: " + lines[-1])
        print("| reader | file, MiB | peak, MiB | allowed, MiB | k | ended |")
        print("|---|---|---|---|---|---|")
        for make, factor in READERS.items():
            name = make.__name__.replace("_", " ")
            if wanted and make.__name__ not in wanted:
                continue
            path, command = make()
            size = size_of(path)
            status, peak, seconds, lines = measure(program, command)
            allowed = empty + BASE + factor * size
            panicked = any("panicked" in line for line in lines)
            right = peak <= allowed and status in (0, 1) and not panicked
            ended = "read" if status == 0 else "refused" if status == 1 else f"status {status}"
            print(
                f"| {name} | {size / MIB:.1f} | {peak / MIB:.0f} | {allowed / MIB:.0f} | {factor} "
                f"| {ended} in {seconds:.1f} s{'' if right else ', **over**'} |", flush=True,
            )
            if os.environ.get("VERBOSE"):
                print("   ", lines[-1][:300], file=sys.stderr)
            if not right:
                over.append(name)
            top = path.split("/")[0]
            subprocess.run(["rm", "-rf", top])
        print(f"\nThe program alone: {empty / MIB:.0f} MiB. Over their budget: {', '.join(over) or 'none'}.")
        os.chdir("/")
    sys.exit(1 if over else 0)


if __name__ == "__main__":
    main()
