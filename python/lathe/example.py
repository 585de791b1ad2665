"""A few rows of a model's input as the JSON files that MLflow keeps beside a model, and back."""

import base64
import datetime
import json
import os
import sys

FILE, SERVING_FILE = "input_example.json", "serving_input_example.json"


def save(example, folder):
    """Writes the example in both forms. Answers what MLmodel says of them as `saved_input_example_info`."""
    stored, serving, info = _forms_of(example)
    with open(os.path.join(folder, FILE), "w", encoding="utf-8") as file:
        json.dump(stored, file, default=_plain)
    with open(os.path.join(folder, SERVING_FILE), "w", encoding="utf-8") as file:
        json.dump(serving, file, default=_plain, indent=2)
    return {"artifact_path": FILE, "serving_input_path": SERVING_FILE, **info}


def load(folder, info):
    """The example as it was given: a DataFrame, an array, or what JSON holds."""
    with open(os.path.join(folder, info["artifact_path"]), encoding="utf-8") as file:
        stored = json.load(file)
    if info["type"] == "dataframe":
        import pandas

        return pandas.DataFrame(stored["data"], columns=stored.get("columns"))
    if info["type"] == "ndarray":
        import numpy

        if isinstance(stored, dict):
            stored = stored.get("inputs", stored)  # as older versions of MLflow kept it
        if isinstance(stored, dict):
            return {key: numpy.array(value) for key, value in stored.items()}
        return numpy.array(stored)
    return stored


def first_rows(data, count=5):
    """A copy of the first rows of a data set, in its own type."""
    rows = data.iloc[:count] if hasattr(data, "iloc") else data[:count]
    return rows.copy() if hasattr(rows, "copy") else rows


def _forms_of(example):
    pandas, numpy = sys.modules.get("pandas"), sys.modules.get("numpy")
    if pandas and isinstance(example, pandas.Series):
        example = example.to_frame()
    if pandas and isinstance(example, pandas.DataFrame):
        split = {"columns": [_plain_name(name) for name in example.columns], "data": _rows_of(example)}
        return split, {"dataframe_split": split}, {"type": "dataframe", "pandas_orient": "split"}
    if hasattr(example, "detach"):
        example = example.detach().cpu().numpy()
    if hasattr(example, "toarray"):
        example = example.toarray()
    if numpy and isinstance(example, numpy.ndarray):
        return example.tolist(), {"inputs": example.tolist()}, {"type": "ndarray"}
    if isinstance(example, dict) and numpy and example and all(isinstance(v, numpy.ndarray) for v in example.values()):
        lists = {name: value.tolist() for name, value in example.items()}
        return lists, {"inputs": lists}, {"type": "ndarray"}
    return example, {"inputs": example}, {"type": "json_object"}


def _rows_of(frame):
    columns = [[None if missing else value for value, missing in zip(frame[name].tolist(), frame[name].isna())]
               for name in frame.columns]
    return [list(row) for row in zip(*columns)]


def _plain_name(name):
    return name if isinstance(name, (str, int)) else str(name)


def _plain(value):
    """What json cannot say by itself."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode()
    if isinstance(value, (datetime.date, datetime.datetime)):
        return value.isoformat()
    raise TypeError(f"a {type(value).__name__} cannot be kept as an input example")
