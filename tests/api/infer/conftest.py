"""Fixtures of the data plane's tests: a running `lathe-infer`, and models made with XGBoost from fixed seeds."""

import pathlib
import sys

import numpy
import pytest
import xgboost

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from data_plane import DataPlane  # noqa: E402


@pytest.fixture
def plane():
    """A data plane of its own for one test."""
    with DataPlane() as running:
        yield running


def train(objective, features=8, rounds=20, classes=0, names=None, **parameters):
    """A small booster of this objective on made-up rows, some values of which are missing."""
    random = numpy.random.default_rng(7)
    rows = random.normal(size=(600, features)).astype(numpy.float32)
    rows[random.random(rows.shape) < 0.05] = numpy.nan
    score = numpy.nan_to_num(rows[:, 0] * 2 - rows[:, 1] + rows[:, 2] ** 2)
    labels = score
    if objective.startswith(("binary:", "rank:")):
        labels = (score > 0.5).astype(float)
    elif objective.startswith("multi:"):
        labels = numpy.digitize(score, [-0.5, 1.5])
    elif objective == "reg:logistic":
        labels = 1 / (1 + numpy.exp(-score))
    elif objective != "reg:squarederror":
        labels = numpy.abs(score) + 0.1
    settings = {"objective": objective, "max_depth": 4, "seed": 3, "nthread": 1, "verbosity": 0, **parameters}
    if classes:
        settings["num_class"] = classes
    matrix = xgboost.DMatrix(rows, labels, feature_names=names)
    return xgboost.train(settings, matrix, num_boost_round=rounds)


@pytest.fixture(scope="session")
def make_booster():
    return train


@pytest.fixture(scope="session")
def rows():
    """Rows to predict: 50 of 8 values, some missing."""
    random = numpy.random.default_rng(11)
    made = random.normal(size=(50, 8)).astype(numpy.float32)
    made[random.random(made.shape) < 0.1] = numpy.nan
    return made
