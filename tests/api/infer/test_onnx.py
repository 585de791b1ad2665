"""ONNX models: every type of the protocol, several inputs and outputs, and what ONNX Runtime refuses."""

import pytest

import onnx_file
from data_plane import DataPlane, deployment, endpoint


def serve(plane, path):
    states = plane.desire(endpoint("e", [deployment("blue", path, format="onnx")]))
    assert states["e.blue"]["state"] == "ready", states


def test_a_linear_model_with_its_metadata(plane):
    serve(plane, onnx_file.linear(plane.models / "linear.onnx"))
    assert plane.get("/v2/models/e").json() == {
        "name": "e", "versions": ["1"], "platform": "onnxruntime_onnx",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 1]}]}  # fmt: skip

    flat = plane.infer("e", {"x": ("FP32", [2, 3], [1, 1, 1, 0, 0, 2])}, id="seven")
    nested = plane.infer("e", {"x": ("FP32", [2, 3], [[1, 1, 1], [0, 0, 2]])}, id="seven")
    assert flat.status_code == 200, flat.text
    assert flat.json() == nested.json() == {
        "model_name": "e", "model_version": "1", "id": "seven",
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [2, 1], "data": [6.5, 6.5]}]}  # fmt: skip
    assert plane.post("/invocations", json={"instances": [[1, 1, 1]]}).json() == {"predictions": [[6.5]]}


TYPES = [
    ("BOOL", onnx_file.BOOL, [True, False]), ("UINT8", onnx_file.UINT8, [0, 255]),
    ("INT8", onnx_file.INT8, [-128, 127]), ("UINT16", onnx_file.UINT16, [0, 65535]),
    ("INT16", onnx_file.INT16, [-32768, 32767]), ("UINT32", onnx_file.UINT32, [0, 4294967295]),
    ("INT32", onnx_file.INT32, [-(2**31), 2**31 - 1]), ("UINT64", onnx_file.UINT64, [0, 2**64 - 1]),
    ("INT64", onnx_file.INT64, [-(2**63), 2**63 - 1]), ("FP16", onnx_file.FLOAT16, [0.5, -65504]),
    ("FP32", onnx_file.FLOAT, [0.1, -3e38]), ("FP64", onnx_file.DOUBLE, [0.1, 1e300]),
    ("BYTES", onnx_file.STRING, ["née", 'a "quoted" \\ line\n'])]  # fmt: skip


@pytest.mark.parametrize("name,kind,data", TYPES)
def test_every_type_comes_back_as_it_went(plane, name, kind, data):
    serve(plane, onnx_file.identity(plane.models / "identity.onnx", kind))
    got = plane.infer("e", {"x": (name, [1, 2], data)})
    assert got.status_code == 200, got.text
    back = got.json()["outputs"][0]
    assert (back["datatype"], back["shape"]) == (name, [1, 2])
    assert back["data"] == (pytest.approx(data, rel=1e-7) if name == "FP32" else data)

    both = {"parameters": {"binary_data_output": True}}
    binary = plane.infer("e", {"x": (name, [1, 2], data)}, **both)
    size = int(binary.headers["Inference-Header-Content-Length"])
    again = plane.post("/v2/models/e/infer", headers={"Inference-Header-Content-Length": str(size_of(name, binary, size)[0])},
                       data=size_of(name, binary, size)[1])  # fmt: skip
    assert again.status_code == 200, again.text
    assert again.json()["outputs"][0]["data"] == back["data"]

    other = "INT64" if name != "INT64" else "FP32"
    wrong = plane.infer("e", {"x": (other, [1, 2], [1, 2])})
    assert wrong.status_code == 400
    assert wrong.json()["error"] == f'input "x": expected datatype {name}, got {other}'


def size_of(name, answer, json_size):
    """The answer's binary tensor as a request: its JSON size and its body."""
    import json

    tensor = answer.content[json_size:]
    head = json.dumps({"inputs": [{"name": "x", "datatype": name, "shape": [1, 2],
                                   "parameters": {"binary_data_size": len(tensor)}}]}).encode()  # fmt: skip
    return len(head), head + tensor


def test_several_inputs_and_outputs(plane):
    serve(plane, onnx_file.two_columns(plane.models / "columns.onnx"))
    tensors = {"b": ("FP32", [2, 1], [1, 2]), "a": ("FP32", [2, 1], [10, 20])}
    outputs = plane.infer("e", tensors).json()["outputs"]
    assert {each["name"]: each["data"] for each in outputs} == {"sum": [11, 22], "difference": [9, 18]}
    one = plane.infer("e", tensors, outputs=[{"name": "difference"}]).json()["outputs"]
    assert [each["name"] for each in one] == ["difference"]

    expected = {"predictions": {"sum": [[11.0], [22.0]], "difference": [[9.0], [18.0]]}}
    for body in ({"dataframe_split": {"columns": ["b", "a"], "data": [[1, 10], [2, 20]]}},
                 {"inputs": {"a": [[10], [20]], "b": [[1], [2]]}},
                 {"dataframe_records": [{"a": 10, "b": 1}, {"a": 20, "b": 2}]}):  # fmt: skip
        assert plane.post("/invocations", json=body).json() == expected

    for broken, words in (({"a": tensors["a"]}, 'expected 2 inputs ("a", "b"), got 1'),
                          ({"a": tensors["a"], "c": tensors["b"]}, 'input "c": the model has no such input'),
                          ({"a": tensors["a"], "b": ("FP32", [3, 1], [1, 2, 3])}, "ONNX Runtime says")):  # fmt: skip
        got = plane.infer("e", broken)
        assert got.status_code == 400 and words in got.json()["error"], got.text
    assert plane.infer("e", tensors, outputs=[{"name": "product"}]).status_code == 400
    missing = plane.post("/invocations", json={"dataframe_split": {"columns": ["a"], "data": [[1]]}})
    assert missing.status_code == 400 and 'column "b" is missing' in missing.json()["error"]


def test_what_the_runtime_refuses_is_the_clients_error(plane):
    serve(plane, onnx_file.gather(plane.models / "gather.onnx"))
    assert plane.infer("e", {"x": ("INT64", [2], [3, 0])}).json()["outputs"][0]["data"] == [13, 10]
    got = plane.infer("e", {"x": ("INT64", [1], [99])})
    assert got.status_code == 400 and "ONNX Runtime says" in got.json()["error"]
    assert plane.infer("e", {"x": ("INT64", [0], [])}).json()["outputs"][0]["data"] == []
    fraction = plane.post("/invocations", json={"inputs": [0.5]})
    assert fraction.status_code == 400 and fraction.json()["error"] == 'input "x": expected INT64, got 0.5'


def test_a_broken_file_and_a_missing_library_fail_with_a_sentence(plane):
    path = plane.models / "broken.onnx"
    path.write_bytes(b"this is no model")
    failed = plane.desire(endpoint("e", [deployment("blue", path, format="onnx")]))["e.blue"]
    assert failed["state"] == "failed" and "ONNX Runtime says" in failed["error"]

    with DataPlane(env={"LATHE_ONNXRUNTIME": "/nowhere/libonnxruntime.so.1"}) as without:
        good = onnx_file.linear(without.models / "linear.onnx")
        failed = without.desire(endpoint("e", [deployment("blue", good, format="onnx")]))["e.blue"]
        assert failed["state"] == "failed" and "packaging/onnxruntime.sh" in failed["error"]
        assert without.get("/v2/health/live").status_code == 200
