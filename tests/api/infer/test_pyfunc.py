"""MLflow's python_function models in workers: the Open Inference Protocol by their signatures, and what is refused."""

import json
import os
import subprocess

import grpc
import numpy
import pytest

from data_plane import KEY, DataPlane, digest_of, endpoint
from grpc_client import Client, infer_request, pb, tensor
from lathe_server import ROOT, wait_for
from python_workers import log_of, python_of
from sandbox_helpers import python_can_be_deployed

pytestmark = python_can_be_deployed

SAVE = """
import sys
import numpy, pandas
import mlflow.pyfunc
from mlflow.models import ModelSignature, infer_signature
from mlflow.types.schema import ColSpec, Schema, TensorSpec

folder = sys.argv[1]


class Model(mlflow.pyfunc.PythonModel):
    def __init__(self, compute):
        self.compute = compute

    def predict(self, context, model_input, params=None):
        return self.compute(model_input, params or {})


def table(data, params):
    assert list(data.columns) == ["x", "n", "s"] and str(data["n"].dtype) == "int64", data.dtypes
    return pandas.DataFrame({"sum": data["x"] + data["n"], "loud": data["s"].str.upper()})


def matrix(data, params):
    assert type(data) is numpy.ndarray and data.dtype == "float32"
    if data[0, 0] == -1:
        raise ValueError("the private reason")
    data *= 2
    return data[:, :2]


def pair(data, params):
    return {"sum": data["a"] + data["b"], "longest": numpy.array(max(len(each) for each in data["words"]))}


def free(data, params):
    return sum(data.values()) if isinstance(data, dict) else data


def told(data, params):
    return [f"{name}={params[name]!r}" for name in sorted(params)]


columns = Schema([ColSpec("double", "x"), ColSpec("long", "n"), ColSpec("string", "s")])
models = {
    "table": (table, ModelSignature(columns, Schema([ColSpec("double", "sum"), ColSpec("string", "loud")]))),
    "matrix": (matrix, ModelSignature(Schema([TensorSpec("float32", (-1, 3))]), Schema([TensorSpec("float32", (-1, 2))]))),
    "pair": (pair, ModelSignature(Schema([TensorSpec("int32", (-1,), "a"), TensorSpec("float64", (-1,), "b"),
                                          TensorSpec("str", (-1,), "words")]))),
    "free": (free, None),
    "told": (told, infer_signature(numpy.zeros((2, 1)), params={"times": 2, "rate": 0.5, "name": "a"})),
}
for name, (compute, signature) in models.items():
    mlflow.pyfunc.save_model(f"{folder}/{name}", python_model=Model(compute), signature=signature)
"""


@pytest.fixture(scope="module")
def pyfuncs():
    """Models with different signatures, as deployments of the endpoint "e"."""
    with DataPlane() as plane:
        env = {**os.environ, "PYTHONPATH": f"{ROOT / 'python'}:{ROOT / 'python/lathe_mlflow'}"}
        subprocess.run(["/usr/bin/python3", "-c", SAVE, str(plane.models)], check=True, env=env, timeout=300)
        names = ["free", "matrix", "pair", "table", "told"]
        state = plane.desire(endpoint("e", [pyfunc(plane, name) for name in names]))
        assert all(state[f"e.{name}"]["state"] == "ready" for name in names), state
        yield plane


def pyfunc(plane, name):
    folder = plane.models / name
    files = [{"path": str(path.relative_to(folder)), "sha256": digest_of(path), "size": path.stat().st_size}
             for path in sorted(folder.rglob("*")) if path.is_file()]  # fmt: skip
    slow = {"request_timeout_ms": 60000, "max_queue_wait_ms": 60000}  # sanitizers, on a loaded machine
    return {"name": name, "model": {"name": name, "version": "1", "format": "pyfunc", "folder": str(folder), "files": files,
                                    "python": python_of(**slow)}}  # fmt: skip


def outputs_of(answer):
    assert answer.status_code == 200, answer.text
    return {each["name"]: (each["datatype"], each["shape"], each["data"]) for each in answer.json()["outputs"]}


def test_a_table_has_an_input_and_an_output_for_each_column(pyfuncs):
    metadata = pyfuncs.get("/v2/models/e.table").json()
    assert metadata["inputs"] == [{"name": "x", "datatype": "FP64", "shape": [-1]},
                                  {"name": "n", "datatype": "INT64", "shape": [-1]},
                                  {"name": "s", "datatype": "BYTES", "shape": [-1]}]  # fmt: skip
    assert [each["name"] for each in metadata["outputs"]] == ["sum", "loud"]
    assert pyfuncs.get("/v2/models/e.table/ready").json() == {"name": "e.table", "ready": True}
    columns = {"s": ("BYTES", [2, 1], ["a", "ä"]), "n": ("INT32", [2], [1, 2]), "x": ("FP32", [2, 1], [0.5, 1.5])}
    got = pyfuncs.infer("e.table", columns, id="mine")
    assert outputs_of(got) == {"sum": ("FP64", [2], [1.5, 3.5]), "loud": ("BYTES", [2], ["A", "Ä"])}
    assert got.json()["id"] == "mine" and got.json()["model_name"] == "e"
    assert got.headers["azureml-model-deployment"] == "table"
    got = pyfuncs.infer("e.table", columns, outputs=[{"name": "loud"}])
    assert outputs_of(got) == {"loud": ("BYTES", [2], ["A", "Ä"])}


@pytest.mark.parametrize("change, words", [
    ({"n": ("FP64", [2], [1, 2.5])}, 'column "n": expected whole numbers (long), row 2 has 2.5'),
    ({"n": None}, 'column "n" is missing'), ({"more": ("FP64", [2], [1, 2])}, 'no input "more"'),
    ({"x": ("FP64", [3], [1, 2, 3])}, "as many values"), ({"s": ("INT64", [2], [1, 2])}, "expected texts"),
])  # fmt: skip
def test_what_does_not_fit_the_columns_is_named(pyfuncs, change, words):
    columns = {"x": ("FP64", [2], [1, 2]), "n": ("INT64", [2], [1, 2]), "s": ("BYTES", [2], ["a", "b"]), **change}
    got = pyfuncs.infer("e.table", {name: each for name, each in columns.items() if each})
    assert got.status_code == 400 and words in got.json()["error"], got.text


def test_an_output_that_is_not_there_is_refused(pyfuncs):
    got = pyfuncs.infer("e.matrix", {"any": ("FP32", [1, 3], [1, 2, 3])}, outputs=[{"name": "nobody"}])
    assert got.status_code == 400 and '"nobody"' in got.json()["error"] and '"predict"' in got.json()["error"]


def test_one_tensor_comes_as_an_array_of_its_type(pyfuncs):
    assert pyfuncs.get("/v2/models/e.matrix").json()["inputs"] == [{"name": "input", "datatype": "FP32", "shape": [-1, 3]}]
    for kind in ("FP32", "FP64", "INT64"):
        got = pyfuncs.infer("e.matrix", {"any": (kind, [2, 3], [1, 2, 3, 4, 5, 6])})
        assert outputs_of(got) == {"predict": ("FP32", [2, 2], [2, 4, 8, 10])}
    got = pyfuncs.infer("e.matrix", {"any": ("FP32", [2, 3], [1, 2, 3, 4, 5, 6])},
                        outputs=[{"name": "predict", "parameters": {"classification": 1}}])  # fmt: skip
    assert outputs_of(got)["predict"][2] == ["4:1", "10:1"]
    for shape in ([3], [1, 2], [1, 3, 1]):
        count = int(numpy.prod(shape))
        got = pyfuncs.infer("e.matrix", {"any": ("FP32", shape, [0] * count)})
        assert got.status_code == 400 and "[-1, 3]" in got.json()["error"], got.text
    assert pyfuncs.post("/endpoints/e/invocations", json={"inputs": [[1, 2, 3]]},
                        headers={"azureml-model-deployment": "matrix"}).json() == {"predictions": [[2, 4]]}  # fmt: skip


def test_binary_tensors_and_named_ones(pyfuncs):
    words = b"".join(len(each).to_bytes(4, "little") + each for each in (b"one", b"three"))
    a, b = numpy.array([1, 2], "<i4").tobytes(), numpy.array([0.5, 0.25]).tobytes()
    head = json.dumps({"inputs": [
        {"name": "words", "datatype": "BYTES", "shape": [2], "parameters": {"binary_data_size": len(words)}},
        {"name": "a", "datatype": "INT32", "shape": [2], "parameters": {"binary_data_size": 8}},
        {"name": "b", "datatype": "FP64", "shape": [2], "parameters": {"binary_data_size": 16}}],
        "outputs": [{"name": "sum", "parameters": {"binary_data": True}}, {"name": "longest"}]}).encode()  # fmt: skip
    got = pyfuncs.post("/v2/models/e.pair/infer", data=head + words + a + b,
                       headers={"Inference-Header-Content-Length": str(len(head))})  # fmt: skip
    assert got.status_code == 200, got.text
    size = int(got.headers["Inference-Header-Content-Length"])
    told = json.loads(got.content[:size])["outputs"]
    assert told[1] == {"name": "longest", "datatype": "INT64", "shape": [1], "data": [5]}
    assert numpy.frombuffer(got.content[size:], "<f8").tolist() == [1.5, 2.25]


@pytest.mark.parametrize("kind, values", [
    ("BOOL", [True, False]), ("INT8", [-1, 2]), ("UINT16", [1, 65535]), ("INT64", [-(2**62), 1]), ("FP32", [0.5, -1]),
    ("FP64", [1e300, 0]), ("BYTES", ["x", "ÿ"]), ("FP32", []),
])  # fmt: skip
def test_without_a_signature_any_tensor_goes(pyfuncs, kind, values):
    assert outputs_of(pyfuncs.infer("e.free", {"x": (kind, [len(values)], values)})) == {
        "output-0": (kind, [len(values)], values)}  # fmt: skip


def test_without_a_signature_several_tensors_are_a_dict(pyfuncs):
    got = pyfuncs.infer("e.free", {"x": ("FP64", [2], [1, 2]), "y": ("FP64", [2], [3, 4])})
    assert outputs_of(got) == {"output-0": ("FP64", [2], [4, 6])}


def test_grpc_answers_the_same(pyfuncs):
    def ask(shape, values):
        return client.call("ModelInfer", infer_request("e.matrix", [tensor("input", "FP32", shape, "fp32_contents", values)]))

    with Client(pyfuncs.grpc, KEY) as client:
        assert client.call("ModelReady", pb.ModelReadyRequest(name="e.matrix")).ready
        made = ask([1, 3], [1, 2, 3])
        assert made.outputs[0].name == "predict" and list(made.outputs[0].contents.fp32_contents) == [2, 4]
        with pytest.raises(grpc.RpcError) as wrong:
            ask([3], [1, 2, 3])
        assert wrong.value.code() == grpc.StatusCode.INVALID_ARGUMENT and "[-1, 3]" in wrong.value.details()
        with pytest.raises(grpc.RpcError) as failed:
            ask([1, 3], [-1, 2, 3])
        assert failed.value.code() == grpc.StatusCode.INTERNAL and "private" not in failed.value.details()


def test_what_the_model_raises_is_424_and_its_own_frames_are_in_the_log(pyfuncs):
    here = {"azureml-model-deployment": "matrix"}
    for got in (pyfuncs.infer("e.matrix", {"input": ("FP32", [1, 3], [-1, 0, 0])}),
                pyfuncs.post("/endpoints/e/invocations", json={"inputs": [[-1, 0, 0]]}, headers=here),
                pyfuncs.post("/endpoints/e/score", json={"input_data": [[-1, 0, 0]]}, headers=here)):  # fmt: skip
        assert got.status_code == 424 and "private" not in got.text and "get-logs" in got.json()["error"], got.text
    wait_for(lambda: "ValueError: the private reason" in log_of(pyfuncs, "e.matrix"), 60, "the error in the log")
    assert "lathe_worker" not in log_of(pyfuncs, "e.matrix")


def told(plane, params):
    return plane.post("/endpoints/e/invocations", json={"inputs": [[1.0]], "params": params},
                      headers={"azureml-model-deployment": "told"})  # fmt: skip


def test_parameters_are_held_against_the_signature(pyfuncs):
    assert told(pyfuncs, {"times": 3, "unknown": 1}).json()["predictions"] == ["name='a'", "rate=0.5", "times=3"]
    assert told(pyfuncs, {"rate": 1}).json()["predictions"] == ["name='a'", "rate=1.0", "times=2"]
    wait_for(lambda: "the parameter 'unknown' is ignored" in log_of(pyfuncs, "e.told"), 60, "the warning")
    for params, words in (({"times": "3"}, "times must be a whole number"), ({"times": 1.5}, "times"),
                          ({"name": 1}, "name must be a text"), ({"rate": True}, "rate must be a number")):  # fmt: skip
        got = told(pyfuncs, params)
        assert got.status_code == 400 and words in got.json()["error"], got.text


@pytest.mark.parametrize("body, words", [
    ({"dataframe_split": {"columns": ["x", "n", "s"], "data": [[1, 2, "a"], [1, 2]]}}, "row 2 has 2 values"),
    ({"dataframe_split": {"columns": ["x", "n", "s"], "data": [[1, "two", "a"]]}}, 'column "n"'),
    ({"dataframe_split": {"columns": ["x", "n", "s"], "data": [["one", 2, "a"]]}}, 'row 1 has "one"'),
    ({"dataframe_split": {"columns": ["x", "x"], "data": [[1, 2]]}}, "same name"),
    ({"dataframe_records": [{"x": 1, "n": 2, "s": "a"}, 3]}, "row 2"),
    ({"dataframe_records": [{"x": 1, "n": None, "s": "a"}]}, "row 1 has no value"),
    ({"inputs": {"x": [1, 2], "n": [1], "s": ["a"]}}, "as many values"), ({"inputs": [[1, 2]]}, "rows of 3 values"),
])  # fmt: skip
def test_what_is_wrong_with_a_table_is_said_in_our_words(pyfuncs, body, words):
    got = pyfuncs.post("/endpoints/e/invocations", json=body, headers={"azureml-model-deployment": "table"})
    assert got.status_code == 400 and words in got.json()["error"], got.text


def csv(plane, text, kind="text/csv"):
    return plane.post("/endpoints/e/invocations", data=text,
                      headers={"azureml-model-deployment": "table", "Content-Type": kind})  # fmt: skip


def test_csv_by_the_signature(pyfuncs):
    assert csv(pyfuncs, "x,n,s\n1,2,007\n").json() == {"predictions": [{"sum": 3.0, "loud": "007"}]}
    for text, words in (("x,n,s\n1,2,a\n1,2\n", "line 3"), ("x,n,s\n1,2,a,b\n", "line 2"), ("", "empty"),
                        ("x,n,s\n1,two,a\n", 'column "n"')):  # fmt: skip
        got = csv(pyfuncs, text)
        assert got.status_code == 400 and words in got.json()["error"], got.text


def test_another_charset_is_refused(pyfuncs):
    for kind in ("text/csv; charset=latin-1", 'application/json; charset="utf-16"'):
        got = csv(pyfuncs, "x,n,s\n1,2,a\n", kind)
        assert got.status_code == 415 and "UTF-8" in got.json()["error"], got.text
    assert csv(pyfuncs, "x,n,s\n1,2,a\n", "text/csv; header=present; charset=UTF-8").status_code == 200
    assert csv(pyfuncs, "x", "text/plain").status_code == 415
