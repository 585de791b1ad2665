"""Signatures, input examples and MLmodel: MLflow's forms, written and read without its package."""

import json
import pathlib
import random
import string
import sys

import numpy
import pandas
import pytest
import yaml

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "python"))

from lathe import example, yaml_text  # noqa: E402
from lathe.models import folder as folders  # noqa: E402
from lathe.models import pickle_flavor, save  # noqa: E402
from lathe.signature import Signature, infer  # noqa: E402


def column(kind, name=None, required=True):
    return {"type": kind, **({"name": name} if name else {}), "required": required}


def tensor(dtype, shape, name=None):
    return {**({"name": name} if name else {}), "type": "tensor", "tensor-spec": {"dtype": dtype, "shape": shape}}


MIXED = pandas.DataFrame({
    "i": [1, 2], "small": numpy.int32([1, 2]), "f": numpy.float32([1, 2]), "d": [1.5, None], "s": ["a", "b"],
    "b": [True, False], "t": pandas.to_datetime(["2020-01-01", "2020-01-02"]), "l": [["x"], ["y", "z"]],
})  # fmt: skip
LIST_OF_TEXTS = {"type": "array", "items": {"type": "string"}}


@pytest.mark.parametrize("data, wanted", [
    (numpy.zeros((4, 3)), [tensor("float64", [-1, 3])]),
    (numpy.zeros((2, 3, 8, 8), "uint8"), [tensor("uint8", [-1, 3, 8, 8])]),
    (numpy.array(["a", "bb"]), [tensor("str", [-1])]),
    ({"x": numpy.zeros((2, 2)), "y": numpy.zeros(2, "int64")},
     [tensor("float64", [-1, 2], "x"), tensor("int64", [-1], "y")]),
    (MIXED, [column("long", "i"), column("integer", "small"), column("float", "f"), column("double", "d", False),
             column("string", "s"), column("boolean", "b"), column("datetime", "t"),
             {**LIST_OF_TEXTS, "name": "l", "required": True}]),
    (MIXED["i"], [column("long", "i")]),
    (["a", "b"], [column("string")]), ([1.5, 2.5], [column("double")]), ("hello", [column("string")]),
    ([{"a": 1, "b": "x"}, {"a": 2}], [column("long", "a"), column("string", "b", False)]),
    ({"messages": [{"role": "user", "n": 1}]}, [{
        "type": "array", "name": "messages", "required": True, "items": {"type": "object", "properties": {
            "role": column("string"), "n": column("long")}}}]),
])  # fmt: skip
def test_a_signature_says_what_data_are_in_mlflow_s_words(data, wanted):
    found = infer(data, params={"k": 3}).to_dict()
    assert json.loads(found["inputs"]) == wanted and found["outputs"] is None
    assert json.loads(found["params"]) == [{"name": "k", "type": "long", "default": 3, "shape": None}]
    assert json.loads(Signature.from_dict(found).to_dict()["inputs"]) == wanted


@pytest.mark.parametrize("data", [[], [1, "a"], {"a": None}, object()])
def test_data_without_a_clear_type_have_no_signature(data):
    with pytest.raises(ValueError):
        infer(data)


@pytest.mark.parametrize("data, kind, serving", [
    (pandas.DataFrame({"a": [1, None], "b": ["x", "y"]}), "dataframe",
     {"dataframe_split": {"columns": ["a", "b"], "data": [[1.0, "x"], [None, "y"]]}}),
    (numpy.array([[1.0, 2.0]], "float32"), "ndarray", {"inputs": [[1.0, 2.0]]}),
    ({"x": numpy.array([1])}, "ndarray", {"inputs": {"x": [1]}}),
    (["a", "b"], "json_object", {"inputs": ["a", "b"]}),
])  # fmt: skip
def test_an_example_is_kept_as_mlflow_does_and_comes_back(tmp_path, data, kind, serving):
    info = example.save(data, tmp_path)
    assert info["type"] == kind and json.loads((tmp_path / info["serving_input_path"]).read_text()) == serving
    back = example.load(tmp_path, info)
    if kind == "dataframe":
        pandas.testing.assert_frame_equal(back, data)
    else:
        numpy.testing.assert_equal(back, data)


def test_a_folder_holds_what_mlflow_expects_of_it(tmp_path):
    from sklearn.linear_model import LinearRegression

    rows = pandas.DataFrame({"a": [1.0, 2.0], "b c": [3.0, 5.0]})
    model = LinearRegression().fit(rows, [1.0, 2.0])
    save(model, str(tmp_path), input_example=rows, run_id="r" * 32, artifact_path="model")
    mlmodel = yaml.safe_load((tmp_path / "MLmodel").read_text())
    assert folders.read(tmp_path) == mlmodel
    assert set(mlmodel["flavors"]) == {"python_function", "sklearn", "lathe_native"} and mlmodel["run_id"] == "r" * 32
    assert json.loads(mlmodel["signature"]["inputs"]) == [column("double", "a"), column("double", "b c")]
    assert json.loads(mlmodel["signature"]["outputs"]) == [tensor("float64", [-1])]
    conda = yaml.safe_load((tmp_path / "conda.yaml").read_text())
    requirements = (tmp_path / "requirements.txt").read_text().split()
    assert conda["dependencies"][-1] == {"pip": requirements} and requirements[0].startswith("scikit-learn==")
    assert yaml.safe_load((tmp_path / "python_env.yaml").read_text())["dependencies"] == ["-r requirements.txt"]
    assert (pickle_flavor.load(tmp_path / "model.pkl").predict(rows) == model.predict(rows)).all()


def random_document(random, depth=0):
    words = ["null", "1.5", "-", "a: b", "# x", "x #y", "'", '"', "é", "\n", "\\", " lead", "trail ", "{", "[", "%",
             "&", "*b", "!c", "|", ">", "@", "`", ",", "x" * 30, "long text " * 9, "\t", "~", "2020-01-01", "1e3", ":", "😀"]  # fmt: skip
    kind = random.random()
    if depth > 3 or kind < 0.5:
        text = "".join(random.choice(words) for _ in range(random.randint(0, 6)))
        return random.choice([text, text, None, True, random.randint(-(10**9), 10**9), random.uniform(-1e5, 1e5)])
    if kind < 0.75:
        keys = [*string.ascii_lowercase, "two words", "x:y", "f#", "0", "true", "'quoted'"]
        return {key: random_document(random, depth + 1) for key in random.sample(keys, random.randint(1, 4))}
    return [random_document(random, depth + 1) for _ in range(random.randint(1, 4))]


@pytest.mark.parametrize("seed", range(5))
def test_yaml_that_pyyaml_writes_is_read_and_ours_is_read_by_it(seed):
    source = random.Random(seed)
    for _ in range(200):
        document = {"a": random_document(source), "b": random_document(source)}
        unicode = source.random() < 0.5
        assert yaml_text.load(yaml.safe_dump(document, default_flow_style=False, allow_unicode=unicode)) == document
        assert yaml_text.load(yaml_text.dump(document)) == document
        assert yaml.safe_load(yaml_text.dump(document)) == document


@pytest.mark.parametrize("text, says", [
    ("a: &x 1", "line 1"), ("a: |\n  text", "line 1"), ("b: 1\na: 'open", "line 2"), ("a: {b: 1}", "JSON only"),
    ("a: 1\n   b: 2\nc", "line"), ("? a\n: b", "a key and a colon"),
])  # fmt: skip
def test_yaml_beyond_it_is_refused_with_its_line(text, says):
    with pytest.raises(ValueError, match=says):
        yaml_text.load(text)
