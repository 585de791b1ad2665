"""Predictions by the server's own port: the same requests, answered as the data plane answers them."""

import json

import numpy
import pytest
import requests
import xgboost

from endpoint_helpers import deploy, make_endpoint, primary_key, register

ROWS = numpy.random.default_rng(6).normal(size=(50, 4)).astype("f4")
TENSOR = {"name": "input", "shape": [2, 4], "datatype": "FP32", "data": ROWS[:2].flatten().tolist()}


@pytest.fixture(scope="module")
def key(server, tmp_path_factory):
    """An endpoint "by-one-port" with a deployment "blue"; the headers with its key."""
    path = tmp_path_factory.mktemp("models") / "model.ubj"
    xgboost.train({"max_depth": 2, "nthread": 1}, xgboost.DMatrix(ROWS, ROWS @ numpy.arange(4)), 5).save_model(path)
    make_endpoint(server, "by-one-port")
    deploy(server, "by-one-port", "blue", register(server, "one-port", path), "?all_traffic=true")
    return {"Authorization": f"Bearer {primary_key(server, 'by-one-port')}"}


def both(server, method, path, **more):
    """The answers by the server's port and by the data plane's; times of day and ports are not compared."""
    answers = [requests.request(method, base + path, timeout=60, **more) for base in (server.url, server.infer)]
    for answer in answers:
        for name in ("Date", "Connection", "Server", "Content-Length", "Transfer-Encoding", "X-Content-Type-Options"):
            answer.headers.pop(name, None)
    return answers


@pytest.mark.parametrize("method, path, body", [
    ("POST", "/v2/models/by-one-port/infer", {"id": "7", "inputs": [TENSOR]}),
    ("POST", "/v2/models/by-one-port.blue/versions/1/infer", {"inputs": [TENSOR]}),
    ("POST", "/endpoints/by-one-port/v2/models/by-one-port/infer", {"inputs": [TENSOR]}),
    ("POST", "/endpoints/by-one-port/invocations", {"inputs": ROWS[:3].tolist()}),
    ("POST", "/endpoints/by-one-port/score", {"input_data": ROWS[:3].tolist()}),
    ("POST", "/v2/repository/index", {}),
    ("POST", "/v2/models/by-one-port/infer", {"inputs": "none"}),
    ("POST", "/v2/models/nobody/infer", {"inputs": [TENSOR]}),
    ("GET", "/v2/models/by-one-port", None),
    ("GET", "/v2/models/by-one-port/ready", None),
    ("GET", "/v2/health/ready", None),
    ("HEAD", "/v2/health/live", None),
    ("GET", "/v2", None),
    ("GET", "/ping", None),
    ("GET", "/v2/nothing/here?x=1", None),
])  # fmt: skip
def test_both_ports_answer_alike(server, key, method, path, body):
    here, there = both(server, method, path, headers=key, json=body)
    assert (here.status_code, here.content) == (there.status_code, there.content)
    assert here.status_code != 200 or here.headers.get("azureml-model-deployment") == there.headers.get("azureml-model-deployment")
    assert here.headers.get("Content-Type") == there.headers.get("Content-Type")


def test_tensors_go_as_bytes_and_packed(server, key):
    head = json.dumps({"inputs": [{**{k: TENSOR[k] for k in ("name", "shape", "datatype")}, "parameters": {"binary_data_size": 32}}],
                       "parameters": {"binary_data_output": True}}).encode()  # fmt: skip
    headers = {**key, "Inference-Header-Content-Length": str(len(head)), "Content-Type": "application/octet-stream"}
    here, there = both(server, "POST", "/v2/models/by-one-port/infer", headers=headers, data=head + ROWS[:2].tobytes())
    assert here.status_code == 200 and here.content == there.content
    assert here.headers["Inference-Header-Content-Length"] == there.headers["Inference-Header-Content-Length"]


def test_the_data_plane_checks_the_key(server, key):
    path = "/v2/models/by-one-port/infer"
    for headers, status in ({}, 401), ({"Authorization": "Bearer wrong"}, 403), ({"Authorization": f"Bearer {server.token}"}, 403):
        here, there = both(server, "POST", path, headers=headers, json={"inputs": [TENSOR]})
        assert here.status_code == there.status_code == status


def test_a_body_beyond_what_is_held_is_refused(server, key):
    answer = requests.post(server.url + "/v2/models/by-one-port/infer", headers=key, data=bytes((64 << 20) + 1), timeout=120)
    assert answer.status_code == 413 and "64 MiB" in answer.json()["error"]


def test_a_body_in_chunks_is_passed_on(server, key):
    text = json.dumps({"inputs": [TENSOR]}).encode()
    answer = requests.post(server.url + "/v2/models/by-one-port/infer", headers=key, data=iter([text[:10], text[10:]]), timeout=60)
    assert answer.status_code == 200 and answer.json()["outputs"]
