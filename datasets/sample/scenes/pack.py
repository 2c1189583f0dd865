"""Packs the drawings of the shipped kinds, and their names, into this directory.

    python3 -m venv env && env/bin/pip install pillow==13.0.0
    env/bin/python datasets/sample/scenes/pack.py EMOJI datasets/sample/scenes

EMOJI holds one sheet of 64-pixel cells, 24 a row, for each style (`noto.png`, ...), and `kinds.json`,
which names the kinds in the order of the cells and marks those to ship. README.md beside this file says
where the drawings come from. The same input and version of Pillow give the same bytes.
"""

import json
import sys
from pathlib import Path

from PIL import Image

CELL, COLUMNS_FROM, COLUMNS = 64, 24, 16
STYLES = ["noto", "noto_v1", "fluent_flat", "fluent_3d", "twemoji"]
# Kinds whose drawings carry letters, digits, dials or a map: never mirrored.
ONE_WAY = {
    "alarm clock", "ambulance", "bus", "fire truck", "globe", "hospital", "medal", "phone", "piano",
    "police car", "race car", "radio", "school", "taxi", "telephone", "watch",
}
KEPT = ["name", "plural", "article", "category", "novel", "codepoint"]


def cell(index, columns):
    left, top = index % columns * CELL, index // columns * CELL
    return left, top, left + CELL, top + CELL


def main(source, out):
    kinds = json.loads((source / "kinds.json").read_text())["kinds"]
    kinds = [kind for kind in kinds if kind["ship"]]
    assert ONE_WAY <= {kind["name"] for kind in kinds}
    rows = -(-len(kinds) // COLUMNS)
    for style in STYLES:
        sheet = Image.open(source / f"{style}.png").convert("RGBA")
        packed = Image.new("RGBA", (COLUMNS * CELL, rows * CELL))
        for index, kind in enumerate(kinds):
            drawing = sheet.crop(cell(kind["index"], COLUMNS_FROM))
            assert drawing.getbbox(), (style, kind["name"])
            packed.paste(drawing, cell(index, COLUMNS)[:2])
        packed.save(out / f"{style}.webp", lossless=True, quality=100, method=6)
    lines = []
    for kind in kinds:
        row = {key: kind[key] for key in KEPT} | {"one_way": kind["name"] in ONE_WAY}
        lines.append(json.dumps(row))
    (out / "kinds.json").write_text("[\n" + ",\n".join(lines) + "\n]\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
