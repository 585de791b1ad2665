"""Lathe's native form of a model: what is done to a row of numbers, as a list of steps that run without Python.

What the steps are stands in src/infer/runtimes/native_steps.h. Some rows with the original's answers go with it:
whoever loads the model compares, and refuses one that answers otherwise."""

import json
import math
import random

FILE = "model.native.json"
_CHECKED_ROWS = 32


class NotNative(Exception):
    """The model, or a part of it, has no native form. Its text says what."""


class Program:
    """The steps so far. `origins`: which feature of the input each column still is, or None."""

    def __init__(self, features):
        self.features, self.steps, self.width = features, [], features
        self.origins = list(range(features))
        self.seen = [[] for _ in range(features)]  # values of each feature at which something changes
        self.only_seen = set()  # features that take no other values

    def part(self):
        """An empty list of steps that begins with the row as it is here."""
        out = Program(self.features)
        out.width, out.origins, out.seen, out.only_seen = self.width, list(self.origins), self.seen, self.only_seen
        return out

    def add(self, do, **what):
        self.steps.append({"do": do, **what})

    def note(self, column, values, only=False):
        origin = self.origins[column]
        if origin is not None:
            self.seen[origin].extend(values)
            if only:
                self.only_seen.add(origin)

    def finite(self, single=False):
        """scikit-learn's estimators refuse what is missing, most transformers do not."""
        step = {"do": "finite", **({"single": True} if single else {})}
        if self.steps[-1:] != [step]:
            self.steps.append(step)

    def elementwise(self, **what):
        """Each of subtract, divide, multiply, add: a number for each column."""
        self.add("elementwise", **{name: _list(values) for name, values in what.items()})
        self.origins = [None] * self.width

    def select(self, columns):
        columns = [int(column) for column in columns]
        self.add("select", columns=columns)
        self.width, self.origins = len(columns), [self.origins[column] for column in columns]

    def linear(self, weights, bias):
        """`weights`: a list of rows, one for each new column."""
        rows = [_list(row) for row in weights]
        self.add("linear", weights=[value for row in rows for value in row], bias=_list(bias))
        self.mixed(len(rows))

    def mixed(self, width):
        self.width, self.origins = width, [None] * width

    def two(self, do):
        self.add(do)
        self.mixed(2)

    def forest(self, trees, width, start, single, groups=None, missing_left=None):
        """`trees`: for each (feature, threshold, left, right, values), lists over its nodes; a leaf has the feature -1,
        and `values` holds lists of numbers, of inner nodes too, which are left out."""
        step = {"roots": [], "feature": [], "threshold": [], "left": [], "right": [], "leaves": []}
        step["start"] = _list(start)
        for feature, threshold, left, right, values in trees:
            base = len(step["feature"])
            step["roots"].append(base)
            for i, at in enumerate(feature):
                step["feature"].append(at)
                step["threshold"].append(threshold[i] if at >= 0 else 0)
                step["left"].append(base + left[i] if at >= 0 else len(step["leaves"]))
                step["right"].append(base + right[i] if at >= 0 else 0)
                if at < 0:
                    step["leaves"].extend(values[i])
                else:
                    self.note(at, [threshold[i]])
        if groups is not None:
            step["groups"] = groups
        if missing_left is not None:
            step["missing_left"] = missing_left
        self.add("forest", single=single, **step)
        self.mixed(width)

    def sample(self, given=()):
        """Rows to compare by: those `given` first, then some around the values at which something changes."""
        rng = random.Random(20240501)
        rows = [list(map(float, row)) for row in given][:_CHECKED_ROWS // 2]
        while len(rows) < _CHECKED_ROWS:
            rows.append([self._value(rng, feature, len(rows)) for feature in range(self.features)])
        return rows

    def _value(self, rng, feature, row):
        seen = self.seen[feature]
        if feature in self.only_seen:
            return float(rng.choice(seen))
        if seen and rng.random() < 0.8:
            value = float(rng.choice(seen))
            return value if row % 4 == 0 else value + rng.gauss(0, 0.3 * (abs(value) or 1))
        return rng.gauss(0, 1) * 10.0 ** (row % 4 - 1)


def document(program, outputs, columns, rows, answers):
    """`answers`: for each output, by name, what the original gives for `rows`."""
    rows = [[None if value != value else value for value in row] for row in rows]
    out = {"format": "lathe.native", "version": 1, "features": program.features, "steps": program.steps,
           "outputs": outputs, "check": {"rows": rows, "answers": answers}}
    if columns:
        out["columns"] = columns
    return out


def write(path, document):
    try:
        with open(path, "w", encoding="utf-8") as file:
            json.dump(document, file, allow_nan=False, separators=(",", ":"))
    except ValueError as error:
        raise NotNative("it holds NaN or infinity") from error


def _list(values):
    out = [float(value) for value in values]
    if not all(map(math.isfinite, out)):
        raise NotNative("it holds NaN or infinity")
    return out
