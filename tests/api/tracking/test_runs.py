"""Experiments and runs over MLflow's REST."""

import re

import pytest

from mlflow_rest import EXISTS, INVALID, UNKNOWN, Rest


def test_the_default_experiment_exists(rest):
    experiment = rest.get("experiments/get", experiment_id="0")["experiment"]
    assert experiment["name"] == "Default"
    assert experiment["artifact_location"] == "mlflow-artifacts:/0"
    assert experiment["lifecycle_stage"] == "active"


def test_an_experiment_is_made_found_renamed_deleted_and_restored(rest):
    made = rest.experiment("life", tags=[{"key": "team", "value": "red"}])
    assert re.fullmatch(r"[1-9]\d*", made)
    found = rest.get("experiments/get-by-name", experiment_name="life")["experiment"]
    assert found["experiment_id"] == made
    assert found["tags"] == [{"key": "team", "value": "red"}]
    assert isinstance(found["creation_time"], int)

    rest.post("experiments/update", {"experiment_id": made, "new_name": "death"})
    rest.post("experiments/set-experiment-tag", {"experiment_id": made, "key": "k", "value": "v"})
    rest.post("experiments/delete-experiment-tag", {"experiment_id": made, "key": "team"})
    rest.post("experiments/delete-experiment-tag", {"experiment_id": made, "key": "team"}, code=UNKNOWN)
    rest.post("experiments/delete", {"experiment_id": made})
    gone = rest.get("experiments/get", experiment_id=made)["experiment"]
    assert (gone["name"], gone["lifecycle_stage"], gone["tags"]) == ("death", "deleted", [{"key": "k", "value": "v"}])
    rest.post("experiments/create", {"name": "death"}, code=EXISTS)
    rest.post("runs/create", {"experiment_id": made}, code=INVALID)
    rest.post("experiments/restore", {"experiment_id": made})
    assert rest.get("experiments/get", experiment_id=made)["experiment"]["lifecycle_stage"] == "active"


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_experiments_are_searched_by_name_and_view(rest, method):
    name = f"search-{method}"
    made = rest.experiment(name)
    rest.post("experiments/delete", {"experiment_id": rest.experiment(name + "-gone")})

    def search(**fields):
        how = {"params": fields} if method == "GET" else {"json": fields}
        return [found["name"] for found in rest.call(method, "experiments/search", **how).get("experiments", [])]

    assert search(filter=f"name LIKE '{name}%'", max_results=10) == [name]
    assert search(filter=f"name LIKE '{name}%'", view_type="DELETED_ONLY") == [name + "-gone"]
    assert search(filter=f"name LIKE '{name}%'", view_type="ALL", order_by=["name ASC"]) == [name, name + "-gone"]
    assert made


def test_a_run_is_made_with_the_fields_that_clients_read(rest):
    run = rest.post("runs/create",
                    {"experiment_id": "0", "user_id": "ann", "start_time": 1700000000000, "run_name": "first",
                                    "tags": [{"key": "a", "value": "b"}]})["run"]  # fmt: skip
    info = run["info"]
    assert re.fullmatch("[0-9a-f]{32}", info["run_id"])
    assert info["run_uuid"] == info["run_id"]
    assert info["artifact_uri"] == f"mlflow-artifacts:/0/{info['run_id']}/artifacts"
    assert {**info, "run_id": "", "run_uuid": "", "artifact_uri": ""} == {
        "run_id": "", "run_uuid": "", "artifact_uri": "", "run_name": "first", "experiment_id": "0", "user_id": "ann",
        "status": "RUNNING", "start_time": 1700000000000, "lifecycle_stage": "active"}  # fmt: skip
    assert run["inputs"] == {}
    assert run["data"]["tags"] == [{"key": "a", "value": "b"}, {"key": "mlflow.runName", "value": "first"}]


def test_a_run_without_a_name_gets_one(rest):
    run_id = rest.run()
    info = rest.get("runs/get", run_id=run_id)["run"]["info"]
    assert re.fullmatch(r"[a-z]+-[a-z]+-\d+", info["run_name"])
    assert rest.run_data(run_id)[2]["mlflow.runName"] == info["run_name"]


def test_a_run_ends_and_is_renamed(rest):
    run_id = rest.run()
    body = {"run_id": run_id, "status": "FINISHED", "end_time": 5, "run_name": "done"}
    info = rest.post("runs/update", body)["run_info"]
    assert (info["status"], info["end_time"], info["run_name"]) == ("FINISHED", 5, "done")
    assert rest.run_data(run_id)[2]["mlflow.runName"] == "done"
    rest.post("runs/update", {"run_id": run_id, "status": "SLEEPING"}, code=INVALID)
    rest.post("runs/update", {"run_uuid": run_id, "status": "FAILED"})
    assert rest.get("runs/get", run_uuid=run_id)["run"]["info"]["status"] == "FAILED"


def test_a_deleted_run_refuses_writes_until_it_is_restored(rest):
    run_id = rest.run()
    rest.post("runs/delete", {"run_id": run_id})
    assert "must be in the 'active' state" in rest.metric(run_id, "m", 1, code=INVALID)
    rest.post("runs/set-tag", {"run_id": run_id, "key": "a", "value": "b"}, code=INVALID)
    rest.post("runs/update", {"run_id": run_id, "status": "FINISHED"}, code=INVALID)
    rest.post("runs/restore", {"run_id": run_id})
    rest.metric(run_id, "m", 1)


def test_an_unknown_run_or_experiment_is_named(rest):
    assert rest.get("runs/get", run_id="0" * 32, code=UNKNOWN) == f"Run with id={'0' * 32} not found"
    assert rest.get("experiments/get", experiment_id="999999", code=UNKNOWN) == "No Experiment with id=999999 exists"
    assert rest.get("experiments/get-by-name", experiment_name="nobody", code=UNKNOWN)


@pytest.mark.parametrize("root", ["/api/2.0/mlflow", "/api/3.0/mlflow", "/ajax-api/2.0/mlflow", "/ajax-api/3.0/mlflow"])
def test_every_root_answers(server, root):
    rest = Rest(server, root)
    assert rest.get("runs/get", run_id=rest.run())["run"]["info"]["status"] == "RUNNING"
    assert rest.get("server-info") == {"store_type": "SqlStore", "workspaces_enabled": False}


def test_what_is_not_spoken_is_said_in_mlflows_form(rest):
    rest.get("gateway/nothing", code="404 ENDPOINT_NOT_FOUND")


@pytest.mark.parametrize(
    "path, body, text",
    [
        ("experiments/create", {}, "Missing value for required parameter 'name'."),
        ("experiments/create", {"name": ""}, "Missing value for required parameter 'name'."),
        ("experiments/create", {"name": 123}, "Invalid value 123 for parameter 'name' supplied"),
        ("experiments/create", {"name": "x", "tags": 5}, "Invalid value 5 for parameter 'tags' supplied"),
        ("experiments/create", {"name": "x" * 501}, "'name' exceeds the maximum length of 500 characters"),
        ("experiments/create", {"name": " "}, "Invalid experiment name"),
        ("experiments/get", None, "Missing value for required parameter 'experiment_id'."),
        ("runs/get", None, "Missing value for required parameter 'run_id'."),
        ("runs/create", {"experiment_id": "0", "start_time": "soon"},
         "Invalid value \"soon\" for parameter 'start_time' supplied"),
        ("runs/create", {"experiment_id": "0", "tags": [{"value": "x"}]},
         "Missing value for required parameter 'tags[0].key'."),
        ("runs/create", {"experiment_id": "../x"}, "Invalid experiment ID: '../x'"),
        ("runs/log-metric", {"run_id": "r", "key": "a", "timestamp": 1},
         "Missing value for required parameter 'value'."),
        ("runs/log-metric", {"run_id": "r", "key": "a", "value": "x", "timestamp": 1},
         "Invalid value \"x\" for parameter 'value' supplied"),
        ("runs/log-batch", {"run_id": "r", "metrics": [{"value": 1, "timestamp": 1}]},
         "Missing value for required parameter 'metrics[0].key'."),
        ("runs/log-batch", {"run_id": "r", "metrics": {}}, "Invalid value {} for parameter 'metrics' supplied"),
        ("runs/search", {"max_results": 50001}, "max_results"),
        ("runs/search", {"max_results": 0}, "max_results"),
        ("runs/search", {"page_token": "nonsense"}, "Invalid page token"),
        ("runs/search", {"run_view_type": "SOME"}, "run_view_type"),
    ],
)
def test_bad_fields_are_named(rest, path, body, text):
    if body is None:
        message = rest.get(path, code=INVALID)
    else:
        message = rest.post(path, body, code=INVALID)
    assert text in message


@pytest.mark.parametrize("name", ["..", "a/b", "a:b", "x" * 300, "a b"])
def test_ids_are_never_paths(server, rest, name):
    rest.get("runs/get", run_id=name, code=INVALID)
    rest.get("experiments/get", experiment_id=name, code=INVALID)
    rest.post("runs/log-metric", {"run_id": name, "key": "a", "value": 1, "timestamp": 1}, code=INVALID)


@pytest.mark.parametrize("body", ["", "[]", "5", "{", '{"a":', "\x00", '"not json"', "[" * 10000, "nul"])
def test_a_body_that_is_no_object_is_a_bad_request(server, body):
    answer = server.post("/api/2.0/mlflow/experiments/create", data=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["error_code"] == "INVALID_PARAMETER_VALUE"


def test_old_clients_send_json_within_json(server):
    import json

    body = json.dumps(json.dumps({"experiment_id": "0"}))
    answer = server.post("/api/2.0/mlflow/runs/create", data=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 200


def test_artifact_locations_are_the_servers_choice(rest):
    for location in ("http:///#/../../etc/", "file:///etc", "/etc", "mlflow-artifacts:/../..", "s3://bucket?x",
                     "a%252E%252E"):
        rest.post("experiments/create", {"name": "elsewhere", "artifact_location": location}, code=INVALID)


def test_inputs_and_outputs_of_a_run_are_kept(rest):
    run_id = rest.run()
    dataset = {"name": "iris", "digest": "d1", "source_type": "local", "source": "{}", "schema": "{}"}
    tags = [{"key": "mlflow.data.context", "value": "train"}]
    rest.post("runs/log-inputs", {"run_id": run_id, "datasets": [{"tags": tags, "dataset": dataset}]})
    rest.post("runs/log-inputs", {"run_id": run_id, "datasets": [{"tags": tags, "dataset": dataset}]})
    model = rest.post("logged-models", {"experiment_id": "0", "source_run_id": run_id})["model"]["info"]["model_id"]
    rest.post("runs/outputs", {"run_id": run_id, "models": [{"model_id": model, "step": 3}]})
    run = rest.get("runs/get", run_id=run_id)["run"]
    assert run["inputs"] == {"dataset_inputs": [{"tags": tags, "dataset": dataset}]}
    assert run["outputs"] == {"model_outputs": [{"model_id": model, "step": 3}]}
    assert rest.search(["0"], "dataset.name = 'iris' AND datasets.context = 'train'") == [run_id]
    assert rest.search(["0"], "dataset.digest = 'd2'") == []


def test_health_and_version_need_no_token(server):
    import requests

    assert requests.get(server.url + "/health", timeout=60).text == "OK"
    assert re.fullmatch(r"\d+\.\d+\.\d+", requests.get(server.url + "/version", timeout=60).text)


@pytest.mark.parametrize("root", ["/api/2.0", "/ajax-api/2.0", "/ajax-api/3.0"])
@pytest.mark.parametrize("method, path", [
    ("GET", "/mlflow/experiments/search"), ("POST", "/mlflow/runs/create"), ("POST", "/mlflow/runs/log-metric"),
    ("GET", "/mlflow-artifacts/artifacts"), ("PUT", "/mlflow-artifacts/artifacts/0/r/artifacts/x"),
    ("DELETE", "/mlflow-artifacts/artifacts/0/r/artifacts/x"), ("POST", "/mlflow-artifacts/mpu/create/x"),
    ("POST", "/mlflow/model-versions/create"), ("POST", "/mlflow/logged-models"),
])  # fmt: skip
def test_every_route_asks_who_calls(server, root, method, path):
    import requests

    answer = requests.request(method, server.url + root + path, timeout=10, json={})
    assert (answer.status_code, answer.json()["error_code"]) == (401, "UNAUTHENTICATED")
    for bare in ("/get-artifact", "/model-versions/get-artifact"):
        assert requests.get(server.url + bare, timeout=60).status_code == 401


def test_the_default_experiment_was_made_with_the_store(fresh_server):
    made = fresh_server.get("/api/2.0/mlflow/experiments/get?experiment_id=0").json()["experiment"]["creation_time"]
    assert abs(made / 1000 - (fresh_server.data / "admin.token").stat().st_mtime) < 60
