"""Triton's extensions of the Open Inference Protocol v2 by REST."""

import gzip
import json
import struct
import zlib

import pytest
import requests

import onnx_file
from data_plane import DataPlane, deployment, endpoint


@pytest.fixture
def linear(plane):
    """An endpoint "e" with y = x W + b."""
    plane.desire(endpoint("e", [deployment("blue", onnx_file.linear(plane.models / "m.onnx"), "7", "onnx")]))


X = {"name": "x", "datatype": "FP32", "shape": [2, 3], "data": [0, 1, 2, 3, 4, 5]}


def identity(plane, kind, shape=("N", 2)):
    path = onnx_file.write_model(plane.models / "m.onnx", [onnx_file.node("Identity", ["x"], ["y"])],
                                 [onnx_file.value_info("x", kind, shape)], [onnx_file.value_info("y", kind, shape)])  # fmt: skip
    plane.desire(endpoint("e", [deployment("d", path, format="onnx")]))


def test_parameters_are_echoed_but_for_orders(plane, linear):
    given = {"who": "me \"x\"", "depth": 3, "sure": True, "priority": 1, "timeout": 5_000_000, "binary_data_output": False}
    answer = plane.post("/v2/models/e/infer", json={"id": "7", "inputs": [X], "parameters": given}).json()
    assert answer["parameters"] == {"who": "me \"x\"", "depth": 3, "sure": True} and answer["id"] == "7"
    assert "parameters" not in plane.post("/v2/models/e/infer", json={"inputs": [X]}).json()
    refused = plane.post("/v2/models/e/infer", json={"inputs": [X], "parameters": {"list": [1]}})
    assert refused.status_code == 400 and "list" in refused.json()["error"]


def test_classification_names_the_greatest_values(plane):
    identity(plane, onnx_file.FLOAT, ("N", 4))
    x = {"name": "x", "datatype": "FP32", "shape": [2, 4], "data": [0.5, 2, -1, 2, None, 1, 3, 2]}
    for most, expected in ((2, ["2:1", "2:3", "3:2", "2:3"]),
                           (9, ["2:1", "2:3", "0.5:0", "-1:2", "3:2", "2:3", "1:1", "nan:0"])):  # fmt: skip
        asked = {"inputs": [x], "outputs": [{"name": "y", "parameters": {"classification": most}}]}
        output = plane.post("/v2/models/e/infer", json=asked).json()["outputs"][0]
        assert (output["datatype"], output["shape"], output["data"]) == ("BYTES", [2, min(most, 4)], expected)
    plain = plane.post("/v2/models/e/infer", json={"inputs": [{**X, "shape": [1, 4], "data": [1, 2, 3, 4]}]}).json()
    assert plain["outputs"][0]["data"] == [1, 2, 3, 4]


def test_a_raw_request_is_the_elements_alone(plane, linear):
    raw = {"Inference-Header-Content-Length": "0", "Content-Type": "application/octet-stream"}
    answer = plane.post("/v2/models/e/infer", data=struct.pack("<6f", *range(6)), headers=raw)
    size = int(answer.headers["Inference-Header-Content-Length"])
    assert json.loads(answer.content[:size])["outputs"][0]["shape"] == [2, 1]
    assert struct.unpack("<2f", answer.content[size:]) == (8.5, 26.5)
    refused = plane.post("/v2/models/e/infer", data=bytes(13), headers=raw)
    assert refused.status_code == 400 and "13" in refused.json()["error"]


def test_a_raw_request_of_one_text_and_of_several_inputs(plane):
    raw = {"Inference-Header-Content-Length": "0"}
    identity(plane, onnx_file.STRING, (1,))
    answer = plane.post("/v2/models/e/infer", data="ä text".encode(), headers=raw)
    assert answer.content.endswith(struct.pack("<I", 7) + "ä text".encode())
    plane.desire(endpoint("e", [deployment("d", onnx_file.two_columns(plane.models / "two.onnx"), format="onnx")]))
    refused = plane.post("/v2/models/e/infer", data=bytes(8), headers=raw)
    assert refused.status_code == 400 and '"a", "b"' in refused.json()["error"]


def test_bodies_may_be_packed(plane, linear):
    body = json.dumps({"inputs": [X]}).encode()
    for encoding, packed in (("gzip", gzip.compress(body)), ("Deflate", zlib.compress(body)), ("identity", body)):
        answer = plane.post("/v2/models/e/infer", data=packed, headers={"Content-Encoding": encoding})
        assert answer.json()["outputs"][0]["data"] == [8.5, 26.5], encoding
    for encoding, packed, status in (("br", body, 415), ("gzip", body, 400), ("gzip", gzip.compress(body)[:-9], 400)):
        assert plane.post("/v2/models/e/infer", data=packed, headers={"Content-Encoding": encoding}).status_code == status
    assert plane.get("/v2/models/e", data=b"no body is read here", headers={"Content-Encoding": "br"}).status_code == 200
    strange = {"Content-Encoding": "br", "Authorization": "Bearer wrong"}
    assert plane.post("/v2/models/e/infer", data=body, headers=strange).status_code == 403
    packed_scores = gzip.compress(b'{"inputs": [[1, 2, 3]]}')
    answer = plane.post("/endpoints/e/invocations", data=packed_scores,
                        headers={"Content-Encoding": "gzip", "Content-Type": "application/json"})  # fmt: skip
    assert answer.json() == {"predictions": [[14.5]]}


def test_a_packed_body_may_not_grow_past_the_limit():
    with DataPlane("--max-body-bytes", "100000") as plane:
        plane.desire(endpoint("e", [deployment("blue", onnx_file.linear(plane.models / "m.onnx"), format="onnx")]))
        for size, status in ((200_000, 413), (90_000, 400)):
            packed = zlib.compress(b" " * size)
            answer = plane.post("/v2/models/e/infer", data=packed, headers={"Content-Encoding": "deflate"})
            assert answer.status_code == status, answer.text


def test_brain_floats_as_numbers_and_as_bytes(plane):
    identity(plane, 16)
    x = {"name": "x", "datatype": "BF16", "shape": [1, 2], "data": [1.5, -2]}
    assert plane.post("/v2/models/e/infer", json={"inputs": [x]}).json()["outputs"][0] == {**x, "name": "y"}
    too_large = plane.post("/v2/models/e/infer", json={"inputs": [{**x, "data": [1e39, 0]}]})
    assert too_large.status_code == 400
    assert plane.get("/v2/models/e").json()["inputs"][0]["datatype"] == "BF16"


def test_shared_memory_is_refused_with_a_sentence(plane, linear):
    region = {"shared_memory_region": "r", "shared_memory_byte_size": 24}
    there = {**{key: value for key, value in X.items() if key != "data"}, "parameters": region}
    for body in ({"inputs": [there]}, {"inputs": [X], "outputs": [{"name": "y", "parameters": region}]}):
        refused = plane.post("/v2/models/e/infer", json=body)
        assert refused.status_code == 400 and "shared memory" in refused.json()["error"]


def test_metrics_have_phases_and_tritons_names(plane, linear):
    for _ in range(2):
        assert plane.post("/v2/models/e/infer", json={"inputs": [X]}).status_code == 200
    assert plane.post("/v2/models/e/infer", json={}).status_code == 400
    lines = plane.get("/metrics").text.splitlines()
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    triton = '{model="e.blue",version="7"}'
    for name, expected in (("request_success", "2"), ("request_failure", "1"), ("count", "4"), ("exec_count", "2")):
        assert values[f"nv_inference_{name}{triton}"] == expected
    for phase in ("queue", "parse", "compute", "write"):
        labels = f'endpoint="e",deployment="blue",phase="{phase}"'
        assert values[f"lathe_infer_phase_duration_seconds_count{{{labels}}}"] == "2"
        assert values[f'lathe_infer_phase_duration_seconds_bucket{{{labels},le="+Inf"}}'] == "2"


def test_a_request_s_own_timeout_holds_while_it_waits(plane):
    path = onnx_file.slow(plane.models / "slow.onnx")
    plane.desire(endpoint("e", [deployment("d", path, format="onnx")]))
    x = {"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [1]}

    def ask(timeout):
        return requests.post(plane.url + "/v2/models/e/infer", json={"inputs": [x], "parameters": {"timeout": timeout}},
                             headers=plane.session.headers, timeout=60)  # fmt: skip

    hurried = ask(1)  # changing threads takes longer
    assert hurried.status_code == 504 and "parameter timeout" in hurried.json()["error"]
    assert ask(60_000_000).status_code == 200 and ask(2**64 - 1).status_code == 200
    assert ask("soon").status_code == 400
