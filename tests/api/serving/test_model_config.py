"""`model_config` of a deployment: Triton's batching, cache and warm-up, from the document to the data plane."""

import sys
import pathlib

import pytest
import requests
from endpoint_helpers import ENDPOINTS, deploy, make_endpoint, primary_key, register

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "infer"))
import onnx_file  # noqa: E402

CONFIG = {"max_batch_size": 8,
          "dynamic_batching": {"preferred_batch_size": [4, 8], "max_queue_delay_microseconds": 100, "priority_levels": 2,
                               "default_priority_level": 2,
                               "default_queue_policy": {"timeout_action": "DELAY", "default_timeout_microseconds": 1000}},
          "response_cache": {"enable": True},
          "model_warmup": [{"name": "w", "batch_size": 8,
                            "inputs": {"x": {"data_type": "TYPE_FP32", "dims": [3], "random_data": True}}}]}  # fmt: skip


@pytest.fixture(scope="module")
def model(server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return register(server, "linear", onnx_file.linear(folder / "linear.onnx"))


def told(server, endpoint, deployment):
    """What the data plane says of it."""
    uri = server.get(f"{ENDPOINTS}/{endpoint}").json()["scoring_uri"]
    base = uri[: uri.index("/v2/")]
    headers = {"Authorization": f"Bearer {primary_key(server, endpoint)}"}
    return requests.get(f"{base}/v2/models/{endpoint}.{deployment}/config", headers=headers, timeout=60).json()


def test_it_is_kept_and_reaches_the_data_plane(server, model):
    make_endpoint(server, "batches")
    made = deploy(server, "batches", "blue", model, "?all_traffic=true", model_config=CONFIG)
    assert made["provisioning_state"] == "Succeeded", made
    for shown in (made, server.get(f"{ENDPOINTS}/batches/deployments/blue").json()):
        config = shown["model_config"]
        assert config["max_batch_size"] == 8 and config["response_cache"] == {"enable": True}
        assert config["dynamic_batching"]["default_queue_policy"]["timeout_action"] == "DELAY"
        assert config["model_warmup"][0]["inputs"]["x"]["random_data"]
    assert told(server, "batches", "blue")["dynamic_batching"] == made["model_config"]["dynamic_batching"]
    again = server.patch(f"{ENDPOINTS}/batches/deployments/blue", json={"model_config": {}})
    assert again.status_code == 200 and "model_config" not in again.json(), again.text
    assert told(server, "batches", "blue")["max_batch_size"] == 0


def test_each_field_is_honoured_ignored_or_refused_with_the_reason(server, model):
    make_endpoint(server, "fields")
    made = deploy(server, "fields", "blue", model,
                  model_config={"platform": "onnxruntime_onnx", "max_batch_size": 4})  # fmt: skip
    assert [(each["field"], each["verdict"]) for each in made["report"]] == [("model_config.platform", "ignored")]
    for config, words in (({"instance_group": [{"count": 2}]}, "instance_count"),
                          ({"dynamic_batching": {}}, "model_config.max_batch_size"),
                          ({"max_batch_size": 4, "dynamic_batching": {"prefered_batch_size": [4]}}, "preferred_batch_size"),
                          ({"max_batch_size": 4, "dynamic_batching": {"priority_levels": 2}}, "default_priority_level"),
                          ({"model_warmup": [{"inputs": {"x": {"data_type": "TYPE_FP32", "input_data_file": "x"}}}]},
                           "zero_data")):  # fmt: skip
        refused = server.post(f"{ENDPOINTS}/fields/deployments",
                              json={"name": "green", "model": model, "model_config": config})  # fmt: skip
        assert refused.status_code == 400 and words in refused.json()["detail"], refused.text


def test_a_model_that_cannot_batch_fails_with_the_reason_and_the_old_one_answers(server, model, tmp_path):
    fixed = onnx_file.write_model(tmp_path / "fixed.onnx", [onnx_file.node("Identity", ["x"], ["y"])],
                                  [onnx_file.value_info("x", onnx_file.FLOAT, [1, 3])],
                                  [onnx_file.value_info("y", onnx_file.FLOAT, [1, 3])])  # fmt: skip
    make_endpoint(server, "stays")
    deploy(server, "stays", "blue", model, "?all_traffic=true", model_config={"max_batch_size": 8, "dynamic_batching": {}})
    failed = server.patch(f"{ENDPOINTS}/stays/deployments/blue", json={"model": register(server, "fixed", fixed)})
    assert failed.status_code == 200, failed.text
    assert "open first dimension" in failed.json()["error"]
    rows = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [0, 1, 2]}]}
    answer = server.post(f"{ENDPOINTS}/stays/invoke", json=rows)
    assert answer.status_code == 200 and answer.json()["outputs"][0]["data"] == [8.5]
