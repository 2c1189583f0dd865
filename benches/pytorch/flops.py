"""Useful floating-point operations: oscar-bin/src/commands/bench/flops.rs in Python. Change both."""

MASKED_SHARE = 0.15


class Flops:
    def __init__(self, config):
        self.c = config

    def layers(self, positions, keys):
        return self.c.layers * self.layer(positions, positions, keys)

    def layers_asked(self, positions, asked):
        before = (self.c.layers - 1) * self.layer(positions, positions, positions)
        return before + self.layer(asked, positions, positions)

    def layer(self, queries, positions, keys):
        square = self.c.hidden**2
        query = 2 * square + 2 * self.c.hidden * self.c.inner + 2 * keys * self.c.hidden
        return 2.0 * (queries * query + positions * 2 * square)

    def regions(self, regions):
        return 2.0 * regions * self.c.region_dim * self.c.hidden

    def words(self, tokens):
        return 2.0 * tokens * self.c.hidden * (self.c.hidden + self.c.vocab)

    def head(self, labels):
        return 2.0 * self.c.hidden * (self.c.hidden + labels)

    def classify(self, text, regions, labels):
        return self.layers_asked(text + regions, 1) + self.head(labels)

    def pretrain(self, text, regions, relations):
        masked = MASKED_SHARE * (text - 3)
        layers = self.layers_asked(text + regions, 1 + masked)
        return 3.0 * (layers + self.head(relations) + self.words(masked)) + 2.0 * self.regions(regions)

    def train_classifier(self, text, regions, labels):
        return 3.0 * self.classify(text, regions, labels) + 2.0 * self.regions(regions)

    def caption(self, tags, regions, beams, steps):
        context = tags + regions
        total = self.regions(regions) + self.layers(context, context)
        for step in range(steps):
            rows = 1 if step == 0 else beams
            total += self.layers(2 * rows, context + step + 2) + self.words(rows)
        return total
