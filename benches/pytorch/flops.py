"""Useful floating-point operations: oscar-bin/src/bench/flops.rs in Python. Change both."""

MASKED_SHARE = 0.15


class Flops:
    def __init__(self, config):
        self.c = config

    def layers(self, positions, keys):
        c = self.c
        products = 4 * c.hidden**2 + 2 * c.hidden * c.inner
        return 2.0 * c.layers * positions * (products + 2 * keys * c.hidden)

    def regions(self, regions):
        return 2.0 * regions * self.c.region_dim * self.c.hidden

    def words(self, tokens):
        return 2.0 * tokens * self.c.hidden * (self.c.hidden + self.c.vocab)

    def classify(self, text, regions, labels):
        positions = text + regions
        head = 2.0 * self.c.hidden * (self.c.hidden + labels)
        return self.layers(positions, positions) + head

    def pretrain(self, text, regions, relations):
        masked = MASKED_SHARE * (text - 3)
        forward = self.classify(text, regions, relations) + self.words(masked)
        return 3.0 * forward + 2.0 * self.regions(regions)

    def train_classifier(self, text, regions, labels):
        return 3.0 * self.classify(text, regions, labels) + 2.0 * self.regions(regions)

    def caption(self, tags, regions, beams, steps):
        context = tags + regions
        total = self.regions(regions) + self.layers(context, context)
        for step in range(steps):
            rows = 1 if step == 0 else beams
            total += self.layers(2 * rows, context + step + 2) + self.words(rows)
        return total
