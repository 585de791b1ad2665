"""Triton's trace extension: settings by REST and gRPC, and the times of the phases of predictions."""

import json

import pytest

import onnx_file
from data_plane import deployment, endpoint
from grpc_client import Client, pb
from python_workers import scoring_script

NAMES = ["REQUEST_START", "QUEUE_START", "COMPUTE_START", "COMPUTE_INPUT_END", "COMPUTE_OUTPUT_START", "COMPUTE_END",
         "REQUEST_END"]  # fmt: skip
AT_FIRST = {"trace_level": ["OFF"], "trace_rate": "1000", "trace_count": "-1", "log_frequency": "0", "trace_file": ""}


@pytest.fixture
def operator(plane):
    return {"Authorization": "Bearer " + (plane.folder / "operator.key").read_text().strip()}


@pytest.fixture
def linear(plane):
    """An endpoint "e" with y = x W + b, and an endpoint "other" with the same."""
    path = onnx_file.linear(plane.models / "m.onnx")
    plane.desire(endpoint("e", [deployment("blue", path, "7", "onnx")]), endpoint("other", [deployment("d", path, format="onnx")]))


def ask(plane, times=1, model="e"):
    for _ in range(times):
        assert plane.infer(model, {"x": ("FP32", [1, 3], [1, 2, 3])}).status_code == 200


def traces(plane, operator, path="/v2/trace"):
    got = plane.get(path, headers=operator)
    assert got.status_code == 200, got.text
    return got.json()


def change(plane, operator, path="/v2/trace/setting", **settings):
    got = plane.post(path, json=settings, headers=operator)
    assert got.status_code == 200, got.text
    return got.json()


def test_nothing_is_traced_until_it_is_asked_for(plane, operator, linear):
    assert plane.get("/v2/trace/setting", headers=operator).json() == AT_FIRST
    ask(plane)
    assert traces(plane, operator) == []
    assert "trace" in plane.get("/v2").json()["extensions"]


def test_a_trace_tells_the_phases_in_their_order(plane, operator, linear):
    assert change(plane, operator, trace_level=["TIMESTAMPS"], trace_rate="1") == {**AT_FIRST, "trace_level": ["TIMESTAMPS"], "trace_rate": "1"}
    ask(plane)
    assert plane.infer("e", {"x": ("FP32", [1, 2], [1, 2])}).status_code == 400
    good, bad = traces(plane, operator)
    assert (good["model_name"], good["model_version"], good["status"], bad["status"]) == ("e.blue", "7", 200, 400)
    assert good["id"] < bad["id"]
    for each in (good, bad):
        assert [time["name"] for time in each["timestamps"]] == NAMES
        times = [time["ns"] for time in each["timestamps"]]
        assert times == sorted(times)
    start, queued, compute, decoded, computed, *_ = [time["ns"] for time in good["timestamps"]]
    assert start == queued == compute < decoded < computed


def test_rate_and_count_choose_the_predictions(plane, operator, linear):
    change(plane, operator, trace_level=["TIMESTAMPS"], trace_rate="3", trace_count="2")
    ask(plane, 5)
    assert len(traces(plane, operator)) == 1
    assert plane.get("/v2/trace/setting", headers=operator).json()["trace_count"] == "1"
    ask(plane, 20)
    assert len(traces(plane, operator)) == 2
    assert plane.get("/v2/trace/setting", headers=operator).json()["trace_count"] == "0"


def test_a_model_has_settings_of_its_own_over_those_of_all(plane, operator, linear):
    change(plane, operator, trace_rate="1")
    mine = change(plane, operator, "/v2/models/e/trace/setting", trace_level="TIMESTAMPS")
    assert mine["trace_level"] == ["TIMESTAMPS"] and mine["trace_rate"] == "1"
    assert plane.get("/v2/trace/setting", headers=operator).json()["trace_level"] == ["OFF"]
    assert plane.get("/v2/models/e.blue/trace/setting", headers=operator).json()["trace_level"] == ["TIMESTAMPS"]
    ask(plane)
    ask(plane, model="other")
    assert [each["model_name"] for each in traces(plane, operator)] == ["e.blue"]
    assert len(traces(plane, operator, "/v2/models/e/trace")) == len(traces(plane, operator, "/v2/models/e.blue/trace")) == 1
    assert traces(plane, operator, "/v2/models/other/trace") == []
    change(plane, operator, "/v2/models/e.blue/trace/setting", trace_level=["OFF"])
    ask(plane)
    change(plane, operator, "/v2/models/e.blue/trace/setting", trace_level=None)
    ask(plane)
    assert len(traces(plane, operator)) == 2


def test_batches_caches_and_workers_are_traced(plane, operator):
    batches = deployment("blue", onnx_file.linear(plane.models / "m.onnx"), "1", "onnx")
    batches["model"]["config"] = {"max_batch_size": 4, "dynamic_batching": {}, "response_cache": {"enable": True}}
    script = scoring_script(plane, """
        def init(): pass
        def run(data): return data
        """, "green")  # fmt: skip
    plane.desire(endpoint("e", [batches, script], {"blue": 100}))
    change(plane, operator, trace_level=["TIMESTAMPS"], trace_rate="1")
    ask(plane, 2)
    asked = plane.post("/endpoints/e/score", json={"a": 1}, headers={"azureml-model-deployment": "green"})
    assert asked.status_code == 200, asked.text
    first, second, scored = traces(plane, operator)
    for each in (first, second):
        names = [time["name"] for time in each["timestamps"]]
        assert [name for name in names if not name.startswith("CACHE")] == NAMES
        assert names[1:3] == ["CACHE_LOOKUP_START", "CACHE_LOOKUP_END"]
    assert scored["model_name"] == "e.green" and [time["name"] for time in scored["timestamps"]] == NAMES


def test_traces_go_to_the_log_together(plane, operator, linear):
    change(plane, operator, trace_level=["TIMESTAMPS"], trace_rate="1", log_frequency="2")
    ask(plane, 3)
    lines = [line for line in plane.log.read_text().splitlines() if "traces model=e.blue" in line]
    assert len(lines) == 1
    logged = json.loads(lines[0].split("traces=", 1)[1])
    assert logged == traces(plane, operator)[:2]


@pytest.mark.parametrize("settings, words", [
    ({"trace_level": ["TENSORS"]}, "data_collector"), ({"trace_level": []}, "trace_level"), ({"trace_rate": "0"}, "trace_rate"),
    ({"trace_rate": "many"}, "trace_rate"), ({"trace_count": "-2"}, "trace_count"), ({"log_frequency": True}, "log_frequency"),
    ({"trace_file": "/etc/passwd"}, "no file is written"), ({"trace_mode": "opentelemetry"}, "no setting"),
])  # fmt: skip
def test_what_cannot_be_is_refused_and_changes_nothing(plane, operator, linear, settings, words):
    got = plane.post("/v2/trace/setting", json={"trace_rate": "5", **settings}, headers=operator)
    assert got.status_code == 400 and words in got.json()["error"], got.text
    assert plane.get("/v2/trace/setting", headers=operator).json() == AT_FIRST


def test_it_needs_the_operators_key_and_a_model_that_is_there(plane, operator, linear):
    for path in ("/v2/trace/setting", "/v2/trace", "/v2/models/e/trace/setting", "/v2/models/e/trace"):
        assert plane.get(path).status_code == 403
    assert plane.post("/v2/trace/setting", json={}).status_code == 403
    for model in ("nobody", "e.green", "nobody.blue"):
        got = plane.get(f"/v2/models/{model}/trace/setting", headers=operator)
        assert got.status_code == 404 and model in got.json()["error"]
    assert plane.post("/v2/trace", json={}, headers=operator).status_code == 405


def test_grpc_changes_and_tells_the_same_settings(plane, operator, linear):
    with Client(plane.grpc, operator["Authorization"].split()[1]) as administrator:
        asked = pb.TraceSettingRequest(model_name="e")
        asked.settings["trace_level"].value.append("TIMESTAMPS")
        asked.settings["trace_rate"].value.append("1")
        told = {name: list(value.value) for name, value in administrator.call("TraceSetting", asked).settings.items()}
        assert told == {"trace_level": ["TIMESTAMPS"], "trace_rate": ["1"], "trace_count": ["-1"], "log_frequency": ["0"], "trace_file": [""]}
        ask(plane)
        assert len(traces(plane, operator)) == 1
        back = pb.TraceSettingRequest(model_name="e")
        back.settings["trace_rate"].SetInParent()
        assert list(administrator.call("TraceSetting", back).settings["trace_rate"].value) == ["1000"]
        asked.settings["trace_file"].value.append("/etc/passwd")
        assert administrator.refusal("TraceSetting", asked)[0] == "INVALID_ARGUMENT"
        asked = pb.TraceSettingRequest(model_name="nobody")
        assert administrator.refusal("TraceSetting", asked)[0] == "NOT_FOUND"
    with Client(plane.grpc, None) as stranger:
        assert stranger.refusal("TraceSetting")[0] == "PERMISSION_DENIED"
