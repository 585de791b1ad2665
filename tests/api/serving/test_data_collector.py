"""`data_collector` of a deployment: what is kept of its predictions is a data asset that jobs read."""

import json
import os
import signal

import pytest
from asking import ROWS, ask, train
from endpoint_helpers import ENDPOINTS, deploy, make_endpoint, primary_key, register
from job_helpers import run
from lathe_server import wait_for

BOTH = {"model_inputs": {"enabled": "True"}, "model_outputs": {"enabled": True, "sampling_rate": 0.5}}


@pytest.fixture(scope="module")
def model(server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    train(folder, 1, "one.ubj")
    return register(server, "kept", folder / "one.ubj")


def files_of(server, endpoint, collection):
    folder = server.data / "datastore" / "modelDataCollector" / endpoint / "blue" / collection
    return sorted(folder.rglob("*.jsonl"))


def end_the_data_plane(server):
    """It writes what it holds, and is started again."""
    before = json.loads((server.data / "infer" / "reported.json").read_text())["pid"]
    os.kill(before, signal.SIGTERM)

    def again():
        try:
            said = json.loads((server.data / "infer" / "reported.json").read_text())
        except (FileNotFoundError, ValueError):
            return False
        return said["pid"] != before and said["generation"] > 0

    wait_for(again, 120, "the data plane that is started again")


def test_what_is_kept_becomes_a_data_asset_that_a_job_reads(server, model):
    endpoint = make_endpoint(server, "watched")
    made = deploy(server, "watched", "blue", model, "?all_traffic=true",
                  data_collector={"collections": BOTH, "rolling_rate": "day",
                                  "request_logging": {"capture_headers": ["X-Tenant"]}})  # fmt: skip
    assert made["provisioning_state"] == "Succeeded", made
    assert "report" not in made
    for shown in (made, server.get(f"{ENDPOINTS}/watched/deployments/blue").json()):
        collector = shown["data_collector"]
        assert collector["collections"]["model_inputs"]["data"] == {"name": "watched-blue-model_inputs", "version": "1"}
        assert collector["collections"]["model_outputs"]["sampling_rate"] == 0.5
        assert collector["rolling_rate"] == "day" and collector["capture_headers"] == ["x-tenant"]
    asset = server.get("/api/v1/data/watched-blue-model_inputs/versions/1").json()
    assert asset["type"] == "uri_folder"
    assert asset["path"] == "azureml://datastores/workspaceblobstore/paths/modelDataCollector/watched/blue/model_inputs"

    key = primary_key(server, "watched")
    for row in ROWS[:4]:
        assert ask(endpoint["scoring_uri"], key, row[None]).status_code == 200
    end_the_data_plane(server)
    assert len(files_of(server, "watched", "model_inputs")) == 1
    job, log = run(server, "cat ${{inputs.kept}}/*/*/*/*.jsonl",
                   inputs={"kept": {"type": "uri_folder", "path": "azureml:watched-blue-model_inputs:1"}})  # fmt: skip
    assert job["status"] == "Completed", log
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    assert sorted(line["data"][0]["input"][0] for line in lines) == pytest.approx(sorted(float(row[0]) for row in ROWS[:4]))
    assert len(files_of(server, "watched", "model_outputs")) == 1

    off = server.patch(f"{ENDPOINTS}/watched/deployments/blue", json={"data_collector": None})
    assert off.status_code == 200 and "data_collector" not in off.json(), off.text
    desired = json.loads((server.data / "infer" / "desired.json").read_text())
    assert "capture" not in json.dumps(desired)
    assert server.get("/api/v1/data/watched-blue-model_inputs/versions/1").status_code == 200


def test_what_cannot_be_honoured_is_said(server, model):
    make_endpoint(server, "told")
    made = deploy(server, "told", "blue", model,
                  data_collector={"collections": {"request": {"enabled": True},
                                                  "my_own": {"enabled": True},
                                                  "model_outputs": {"enabled": "false"},
                                                  "model_inputs": {"enabled": True, "client_id": "x",
                                                                   "data": {"name": "mine", "version": 7, "path": "azureml://x"}}}})  # fmt: skip
    said = {each["field"]: each["verdict"] for each in made["report"]}
    base = "data_collector.collections."
    assert said == {base + "request": "substituted", base + "my_own": "ignored", base + "model_inputs.client_id": "ignored",
                    base + "model_inputs.data.path": "substituted"}  # fmt: skip
    assert sorted(made["data_collector"]["collections"]) == ["model_inputs", "request"]
    assert server.get("/api/v1/data/mine/versions/7").status_code == 200
    nothing = deploy(server, "told", "green", model, data_collector={"collections": {"model_inputs": {"enabled": False}}})
    assert "data_collector" not in nothing


@pytest.mark.parametrize("collector, words", [
    ({}, "data_collector.collections"),
    ({"collections": {"model_inputs": {}}}, "model_inputs.enabled"),
    ({"collections": {"model_inputs": {"enabled": "maybe"}}}, "model_inputs.enabled"),
    ({"collections": {"model_inputs": True}}, "data_collector.collections.model_inputs"),
    ({"collections": BOTH, "sampling_rate": 1.5}, "sampling_rate"),
    ({"collections": {"model_inputs": {"enabled": True, "sampling_rate": -1}}}, "model_inputs.sampling_rate"),
    ({"collections": BOTH, "rolling_rate": "week"}, "rolling_rate"),
    ({"collections": BOTH, "request_logging": {"capture_headers": ["Authorization"]}}, "secret"),
    ({"collections": BOTH, "request_logging": {"capture_headers": ["a b"]}}, "capture_headers"),
    ({"collections": BOTH, "destination": {}}, "destination"),
    ({"collections": {"model_inputs": {"enabled": True, "data": {"name": "../x"}}}}, "model_inputs.data"),
    ("yes", "data_collector"),
])  # fmt: skip
def test_a_wrong_document_is_refused_with_the_field(server, model, collector, words):
    if server.get(f"{ENDPOINTS}/wrong").status_code == 404:
        make_endpoint(server, "wrong")
    document = {"name": "blue", "endpoint_name": "wrong", "model": model, "data_collector": collector}
    refused = server.post(f"{ENDPOINTS}/wrong/deployments", json=document)
    assert refused.status_code == 400, refused.text
    assert words in refused.json()["detail"]


def test_a_name_that_other_data_has_is_a_conflict(server, model):
    make_endpoint(server, "taken")
    document = {"name": "blue", "endpoint_name": "taken", "model": model,
                "data_collector": {"collections": {"model_inputs": {"enabled": True, "data": {"name": "kept-elsewhere"}}}}}  # fmt: skip
    folder = server.data / "datastore" / "elsewhere"
    folder.mkdir(parents=True)
    (folder / "a.txt").write_text("a")
    other = {"name": "kept-elsewhere", "version": "1", "type": "uri_folder",
             "path": "azureml://datastores/workspaceblobstore/paths/elsewhere"}  # fmt: skip
    assert server.post("/api/v1/data", json=other).status_code == 201
    refused = server.post(f"{ENDPOINTS}/taken/deployments", json=document)
    assert refused.status_code == 409, refused.text
    assert "model_inputs.data" in refused.json()["detail"]
    assert server.get(f"{ENDPOINTS}/taken/deployments/blue").status_code == 404
