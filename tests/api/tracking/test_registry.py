"""Registered models, versions, aliases, stages and logged models over MLflow's REST."""

import pytest

from mlflow_rest import EXISTS, INVALID, UNKNOWN


def version(rest, name, **fields):
    run_id = rest.run()
    body = {"name": name, "source": f"mlflow-artifacts:/0/{run_id}/artifacts/model", "run_id": run_id, **fields}
    return rest.post("model-versions/create", body)["model_version"]


def test_a_model_is_made_found_described_renamed_and_deleted(rest):
    made = rest.post("registered-models/create",
                     {"name": "m1", "tags": [{"key": "k", "value": "v"}], "description": "d"})
    assert made["registered_model"]["name"] == "m1"
    rest.post("registered-models/create", {"name": "m1"}, code=EXISTS)
    rest.patch("registered-models/update", {"name": "m1", "description": "new"})
    rest.post("registered-models/set-tag", {"name": "m1", "key": "a", "value": "b"})
    rest.delete("registered-models/delete-tag", {"name": "m1", "key": "k"})
    assert rest.post("registered-models/rename", {"name": "m1", "new_name": "m2"})["registered_model"]["name"] == "m2"
    model = rest.get("registered-models/get", name="m2")["registered_model"]
    assert (model["description"], model["tags"]) == ("new", [{"key": "a", "value": "b"}])
    assert rest.get("registered-models/get", name="m1", code=UNKNOWN) == "Registered Model with name=m1 not found"
    rest.delete("registered-models/delete", {"name": "m2"})
    rest.get("registered-models/get", name="m2", code=UNKNOWN)


def test_versions_count_from_one_and_are_ready(rest):
    rest.post("registered-models/create", {"name": "counted"})
    first = version(rest, "counted", tags=[{"key": "k", "value": "v"}], description="d")
    known = {"version": "1", "status": "READY", "current_stage": "None", "description": "d"}
    assert {key: first[key] for key in known} == known
    second = version(rest, "counted")
    assert (second["version"], second["description"]) == ("2", "")
    got = rest.get("model-versions/get", name="counted", version="1")["model_version"]
    assert got == first
    assert rest.get("model-versions/get-download-uri", name="counted", version="1")["artifact_uri"] == first["source"]
    found = rest.get("model-versions/search",
                     filter=f"run_id = '{first['run_id']}' AND name = 'counted'")["model_versions"]
    assert [item["version"] for item in found] == ["1"]
    rest.patch("model-versions/update", {"name": "counted", "version": "1", "description": "new"})
    rest.post("model-versions/set-tag", {"name": "counted", "version": "1", "key": "a", "value": "b"})
    rest.delete("model-versions/delete-tag", {"name": "counted", "version": "1", "key": "k"})
    got = rest.get("model-versions/get", name="counted", version="1")["model_version"]
    assert (got["description"], got["tags"]) == ("new", [{"key": "a", "value": "b"}])
    rest.delete("model-versions/delete", {"name": "counted", "version": "2"})
    rest.get("model-versions/get", name="counted", version="2", code=UNKNOWN)
    assert version(rest, "counted")["version"] == "3"
    elsewhere = rest.post("model-versions/create", {"name": "counted", "source": "s3://b/k"})["model_version"]
    assert elsewhere["run_id"] == ""
    rest.post("model-versions/create", {"name": "nobody", "source": "s3://b/k"}, code=UNKNOWN)
    rest.get("model-versions/get", name="counted", version="x", code=INVALID)


def test_an_alias_names_a_version(rest):
    rest.post("registered-models/create", {"name": "aliased"})
    version(rest, "aliased"), version(rest, "aliased")
    rest.post("registered-models/alias", {"name": "aliased", "alias": "champion", "version": "1"})
    rest.post("registered-models/alias", {"name": "aliased", "alias": "champion", "version": "2"})
    found = rest.get("registered-models/alias", name="aliased", alias="champion")["model_version"]
    assert (found["version"], found["aliases"]) == ("2", ["champion"])
    model = rest.get("registered-models/get", name="aliased")["registered_model"]
    assert model["aliases"] == [{"alias": "champion", "version": "2"}]
    rest.delete("registered-models/alias", {"name": "aliased", "alias": "champion"})
    rest.get("registered-models/alias", name="aliased", alias="champion", code=INVALID)
    for alias in ("latest", "v1", "a/b", "..", "x" * 256):
        rest.post("registered-models/alias", {"name": "aliased", "alias": alias, "version": "1"}, code=INVALID)


def test_stages_move_versions(rest):
    rest.post("registered-models/create", {"name": "staged"})
    version(rest, "staged"), version(rest, "staged")
    move = {"name": "staged", "stage": "Production", "archive_existing_versions": True}
    for number in ("1", "2"):
        moved = rest.post("model-versions/transition-stage", {**move, "version": number})["model_version"]
        assert moved["current_stage"] == "Production"
    latest = rest.post("registered-models/get-latest-versions",
                       {"name": "staged", "stages": ["Production", "Archived"]})
    stages = {item["version"]: item["current_stage"] for item in latest["model_versions"]}
    assert stages == {"2": "Production", "1": "Archived"}
    latest = rest.get("registered-models/get-latest-versions", name="staged", stages="Production")
    assert [item["version"] for item in latest["model_versions"]] == ["2"]
    rest.post("model-versions/transition-stage", {**move, "version": "1", "stage": "Nowhere"}, code=INVALID)


def test_models_are_searched_by_name_and_tag(rest):
    for name in ("find-a", "find-b"):
        rest.post("registered-models/create", {"name": name, "tags": [{"key": "n", "value": name}]})

    def names(**query):
        return [model["name"] for model in rest.get("registered-models/search", **query).get("registered_models", [])]

    assert names(filter="name LIKE 'find-%'") == ["find-a", "find-b"]
    assert names(filter="name LIKE 'find-%'", order_by="name DESC") == ["find-b", "find-a"]
    assert names(filter="tags.n = 'find-b'") == ["find-b"]
    first = rest.get("registered-models/search", filter="name LIKE 'find-%'", max_results=1)
    assert names(filter="name LIKE 'find-%'", max_results=1, page_token=first["next_page_token"]) == ["find-b"]
    rest.get("registered-models/search", max_results=1001, code=INVALID)
    rest.get("registered-models/search", filter="metrics.a > 1", code=INVALID)


@pytest.mark.parametrize("name", ["..", ".", "a/b", "a:b", "x" * 300])
def test_bad_model_names_are_refused(rest, name):
    rest.post("registered-models/create", {"name": name}, code=INVALID)


@pytest.mark.parametrize("prompt", [False, True])
@pytest.mark.parametrize("source", [
    "file:///etc/", "/etc/", "//proc/self/root", "file://./etc", "http://host/../../..",
    "mlflow-artifacts://host/..%2f..",
    "mlflow-artifacts:/../../etc", "dbfs:/RUN/artifacts/a%3f/../../..", "s3a://b/../..", "s3://b/../..", "s3://b/k%00",
    "mlflow-artifacts:/0/RUN/artifacts/../../x", "mlflow-artifacts:/0/RUN/artifacts/%252e%252e/x",
    "mlflow-artifacts:/0/RUN/artifacts/a?b",
    "mlflow-artifacts:/0/RUN/artifacts/a#b", "runs:/RUN/../../x", "C:/x", "x/y", "http://127.0.0.1:8080/x",
])  # fmt: skip
def test_sources_on_the_servers_disk_are_refused(rest, source, prompt):
    name = "attacked"
    rest.server.post("/api/2.0/mlflow/registered-models/create", json={"name": name})
    run_id = rest.run()
    tags = [{"key": "mlflow.prompt.is_prompt", "value": "true"}] if prompt else []
    body = {"name": name, "source": source.replace("RUN", run_id), "run_id": run_id, "tags": tags}
    rest.post("model-versions/create", body, code=INVALID)


def test_sources_that_clients_use_are_taken(server, rest):
    rest.post("registered-models/create", {"name": "sourced"})
    run_id = rest.run()
    model = rest.post("logged-models", {"experiment_id": "0", "source_run_id": run_id})["model"]["info"]
    for source in (f"runs:/{run_id}/model", f"mlflow-artifacts:/0/{run_id}/artifacts", f"models:/{model['model_id']}",
                   model["artifact_uri"], "s3://b/k/x"):
        rest.post("model-versions/create", {"name": "sourced", "source": source})
    uri = rest.get("model-versions/get-download-uri", name="sourced", version="1")["artifact_uri"]
    assert uri == f"mlflow-artifacts:/0/{run_id}/artifacts/model"
    rest.post("model-versions/create", {"name": "sourced", "source": "models:/sourced/1"})
    rest.post("model-versions/create", {"name": "sourced", "source": f"runs:/{rest.run()}/model", "run_id": run_id},
              code=INVALID)


def test_a_logged_model_lives(rest):
    run_id = rest.run()
    body = {"experiment_id": "0", "name": "net", "model_type": "xgb", "source_run_id": run_id,
            "params": [{"key": "p", "value": "1"}], "tags": [{"key": "t", "value": "1"}]}  # fmt: skip
    model = rest.post("logged-models", body)["model"]
    info = model["info"]
    assert info["artifact_uri"] == f"mlflow-artifacts:/0/models/{info['model_id']}/artifacts"
    known = {"status": "LOGGED_MODEL_PENDING", "name": "net", "model_type": "xgb", "source_run_id": run_id}
    assert {key: info[key] for key in known} == known
    assert model["data"]["params"] == [{"key": "p", "value": "1"}]
    path = f"logged-models/{info['model_id']}"
    done = rest.patch(path, {"model_id": info["model_id"], "status": "LOGGED_MODEL_READY"})
    assert done["model"]["info"]["status"] == "LOGGED_MODEL_READY"
    rest.post(path + "/params", {"params": [{"key": "q", "value": "2"}]})
    rest.patch(path + "/tags", {"tags": [{"key": "t2", "value": "2"}]})
    rest.delete(path + "/tags/t")
    metric = {"run_id": run_id, "key": "acc", "value": 0.9, "timestamp": 1, "step": 0, "model_id": info["model_id"],
              "dataset_name": "d"}
    rest.post("runs/log-metric", metric)
    got = rest.get(path)["model"]
    assert got["info"]["tags"] == [{"key": "t2", "value": "2"}]
    assert [(m["key"], m["value"], m["dataset_name"]) for m in got["data"]["metrics"]] == [("acc", 0.9, "d")]
    search = {"experiment_ids": ["0"], "filter": f"source_run_id = '{run_id}' AND metrics.acc > 0.5",
              "order_by": [{"field_name": "metrics.acc", "ascending": False}]}  # fmt: skip
    assert [m["info"]["model_id"] for m in rest.post("logged-models/search", search)["models"]] == [info["model_id"]]
    rest.delete(path)
    rest.get(path, code=UNKNOWN)
