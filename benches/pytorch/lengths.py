"""How long the rows of a benchmark are: oscar-bin/src/commands/bench/lengths.rs in Python. Change both.

`benches/run.py` refuses to compare contenders whose rows differ.
"""

from dataclasses import dataclass

SEED = 2020
WORD = (1 << 64) - 1
SPECIAL = 3  # [CLS] A [SEP] B [SEP]

# Text positions and regions where the published recipes cut; of captions the text is the tags.
LIMITS = {"pretrain": (35, 50), "vqa": (128, 50), "retrieval": (70, 50), "caption": (30, 50)}

# Images of a retrieval step; together with their captions they make four batches.
IMAGES = 4


@dataclass(frozen=True)
class Row:
    """Text pieces (without special tokens) and regions."""

    text_a: int
    text_b: int
    regions: int

    def text(self, longest):
        return min(self.text_a + self.text_b + SPECIAL, longest)


class Draw:
    """SplitMix64."""

    def __init__(self, state=SEED):
        self.state = state

    def next(self):
        self.state = (self.state + 0x9E3779B97F4A7C15) & WORD
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & WORD
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & WORD
        return z ^ (z >> 31)

    def between(self, least, most):
        return least + self.next() % (most - least + 1)


class Lengths:
    """Rows of `text` positions and `regions` each, or (with neither) as real data has them."""

    def __init__(self, text=None, regions=None):
        self.fixed = None if text is None else (text, regions)

    def limits(self, work):
        return self.fixed or LIMITS[work]

    def rows(self, work, count):
        draw = Draw()
        return [self._row(work, draw) for _ in range(count)]

    def groups(self, groups, images, captions):
        """Groups of images, each with the pieces of some captions."""
        draw = Draw()

        def image():
            row = self._row("retrieval", draw)
            fixed = self.fixed and row.text_a
            return row, [fixed or draw.between(9, 15) for _ in range(captions)]

        return [[image() for _ in range(images)] for _ in range(groups)]

    def _row(self, work, draw):
        if self.fixed:
            text, regions = self.fixed
            if work == "caption":
                return Row(0, text - 1, regions)
            return Row((text - SPECIAL + 1) // 2, (text - SPECIAL) // 2, regions)
        if work == "pretrain":
            if draw.between(1, 10) <= 3:
                text_a, text_b = draw.between(6, 12), draw.between(1, 3)
            else:
                text_a, text_b = draw.between(9, 15), draw.between(10, 29)
        elif work == "vqa":
            text_a, text_b = draw.between(6, 12), draw.between(4, 12)
        else:
            text_a, text_b = 0, draw.between(10, 29)
        return Row(text_a, text_b, draw.between(10, 50))
