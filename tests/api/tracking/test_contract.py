"""What MLflow's clients send and read, field by field, where nothing else tests it: numbers for names, old forms,
texts of errors, and what a record changes in others."""

import pytest
import requests

from mlflow_rest import EXISTS, INVALID, UNKNOWN


def millis(rest, name):
    return rest.get("registered-models/get", name=name)["registered_model"]["last_updated_timestamp"]


def model_with_version(rest, name, **fields):
    rest.post("registered-models/create", {"name": name})
    return rest.post("model-versions/create", {"name": name, "source": "runs:/run_id/model", **fields})["model_version"]


def test_experiment_ids_may_be_numbers(rest):
    experiment = int(rest.experiment("numbered"))
    run_id = rest.post("runs/create", {"experiment_id": experiment})["run"]["info"]["run_id"]
    page = rest.post("runs/search", {"experiment_ids": [experiment]})
    assert [run["info"]["run_id"] for run in page["runs"]] == [run_id]
    rest.post("experiments/set-experiment-tag", {"experiment_id": experiment, "key": "a", "value": "b"})


@pytest.mark.parametrize("status, name", [(3, "FINISHED"), ("4", "FAILED"), ("KILLED", "KILLED"), (1, "RUNNING"), (2, "SCHEDULED")])
def test_a_status_is_a_name_or_its_number(rest, status, name):
    run_id = rest.run()
    assert rest.post("runs/update", {"run_id": run_id, "status": status})["run_info"]["status"] == name
    for wrong in (0, 6, "DONE", "7", 1.5, [], True):
        message = rest.post("runs/update", {"run_id": run_id, "status": wrong}, code=INVALID)
        assert "for parameter 'status' supplied. It must be one of RUNNING, SCHEDULED, FINISHED, FAILED, KILLED" in message


def test_a_read_may_come_with_a_body(rest, server):
    body = {"experiment_id": "0"}
    answer = server.request("GET", "/api/2.0/mlflow/experiments/get", json=body)
    assert answer.json()["experiment"]["name"] == "Default"


@pytest.mark.parametrize("query", ["run_id=%ff", "run_id=%00", "run_id=a%00b"])
def test_a_query_is_text(server, query):
    answer = server.get(f"/api/2.0/mlflow/runs/get?{query}")
    assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")


def test_a_json_body_needs_its_content_type(server):
    place = server.url + "/api/2.0/mlflow/runs/create"
    headers = {"Authorization": f"Bearer {server.token}"}
    answer = requests.post(place, data=b"{}", headers=headers, timeout=30)
    assert answer.json() == {"error_code": "INVALID_PARAMETER_VALUE",
                             "message": "Bad Request. Content-Type header is missing."}  # fmt: skip
    for wrong in ("text/plain", "multipart/form-data", "application/jsonx", "<script>alert(1)</script>"):
        answer = requests.post(place, data=b"{}", headers={**headers, "Content-Type": wrong}, timeout=30)
        assert answer.status_code == 400 and "script" not in answer.text
        assert answer.json()["message"] == "Bad Request. Content-Type must be one of ['application/json']."
    for right in ("application/json; charset=utf-8", "Application/JSON"):
        assert requests.post(place, data=b"{}", headers={**headers, "Content-Type": right}, timeout=30).status_code == 200


def test_an_experiment_is_deleted_and_restored_once(rest):
    made = rest.experiment("once")
    gone = f"No Experiment with id={made} exists"
    assert rest.post("experiments/restore", {"experiment_id": made}, code=UNKNOWN) == gone
    rest.post("experiments/delete", {"experiment_id": made})
    assert rest.post("experiments/delete", {"experiment_id": made}, code=UNKNOWN) == gone
    message = rest.post("experiments/update", {"experiment_id": made, "new_name": "x"}, code="400 INVALID_STATE")
    assert message == "Cannot rename a non-active experiment."
    assert "already exists" in rest.post("experiments/create", {"name": "once"}, code=EXISTS)


NAMES = ("Names may only contain alphanumerics, underscores (_), dashes (-), periods (.), spaces ( ), colon(:) and "
         "slashes (/).")  # fmt: skip


@pytest.mark.parametrize("path, body, words", [
    ("runs/log-metric", {"key": "a*", "value": 1, "timestamp": 1}, f"Invalid value \"a*\" for parameter 'name' supplied: {NAMES}"),
    ("runs/log-metric", {"key": "../a", "value": 1, "timestamp": 1},
     "Invalid value \"../a\" for parameter 'name' supplied: Names may be treated as files in certain cases, and must not "
     "resolve to other names when treated as such. This name would resolve to '../a'"),
    ("runs/log-metric", {"key": "k" * 251, "value": 1, "timestamp": 1}, "'Metric name' exceeds the maximum length of 250 characters"),
    ("runs/log-metric", {"key": "a", "value": 1, "timestamp": -1}, "Invalid value -1 for parameter 'timestamp' supplied"),
    ("runs/log-metric", {"key": "a", "value": "x", "timestamp": 1}, "Invalid value \"x\" for parameter 'value' supplied"),
    ("runs/log-metric", {"key": "a", "value": 1, "timestamp": "foo"}, "Invalid value \"foo\" for parameter 'timestamp' supplied"),
    ("runs/log-metric", {"key": "a", "value": 1, "timestamp": 1, "step": "foo"}, "Invalid value \"foo\" for parameter 'step' supplied"),
    ("runs/log-metric", {"key": "a", "value": 1}, "Missing value for required parameter 'timestamp'"),
    ("runs/log-metric", {"key": None, "value": 1, "timestamp": 1}, "Missing value for required parameter 'key'"),
    ("runs/log-parameter", {"key": "a*", "value": "1"}, f"Invalid value \"a*\" for parameter 'key' supplied: {NAMES}"),
    ("runs/log-parameter", {"key": "k" * 251, "value": "1"}, "'Param key' exceeds the maximum length of 250 characters"),
    ("runs/log-parameter", {"key": "a", "value": 41}, "Invalid value 41 for parameter 'value' supplied"),
    ("runs/set-tag", {"key": "k" * 251, "value": "1"}, "'key' exceeds the maximum length of 250 characters"),
    ("runs/log-batch", {"metrics": "foo"}, "Invalid value \"foo\" for parameter 'metrics' supplied"),
    ("runs/log-batch", {"metrics": [{"key": "mae", "value": 2.5}]}, "Missing value for required parameter 'metrics[0].timestamp'"),
    ("runs/log-batch", {"metrics": [{"key": "a", "value": 1, "timestamp": 1}, {"key": "b*", "value": 1, "timestamp": 1}]},
     "Invalid value \"b*\" for parameter 'metrics[1].name' supplied"),
    ("runs/log-batch", {"params": [{"value": "x"}]}, "Missing value for required parameter 'params[0].key'"),
    ("runs/log-batch", {"tags": [{"key": "a", "value": "b"}, {"value": "x"}]}, "Missing value for required parameter 'tags[1].key'"),
    ("runs/log-inputs", {"datasets": [{"dataset": {"name": "d" * 501, "digest": "x", "source_type": "l", "source": "s"}}]},
     "'name' exceeds the maximum length of 500 characters"),
    ("runs/log-inputs", {"datasets": [{"dataset": {"name": "d", "digest": "x" * 37, "source_type": "l", "source": "s"}}]},
     "'digest' exceeds the maximum length of 36 characters"),
    ("runs/outputs", {}, "Missing value for required parameter 'models'"),
    ("runs/log-model", {"model_json": "{"}, "Malformed model info."), ("runs/log-model", {"model_json": "{}"}, "missing mandatory fields"),
])  # fmt: skip
def test_errors_have_mlflows_words(rest, path, body, words):
    assert words in rest.post(path, {"run_id": rest.run(), **body}, code=INVALID)


def test_names_of_experiments_have_a_limit(rest):
    words = "'name' exceeds the maximum length of 500 characters"
    assert rest.post("experiments/create", {"name": "n" * 501}, code=INVALID) == words
    assert rest.post("experiments/create", {"name": "x", "artifact_location": 9.0}, code=INVALID).startswith(
        "Invalid value 9.0 for parameter 'artifact_location' supplied")  # fmt: skip


def test_a_batch_has_a_size(rest):
    run_id = rest.run()
    tags = [{"key": f"t{i}", "value": "v" * 7900} for i in range(100)]
    params = [{"key": f"p{i}", "value": "v" * 5000} for i in range(100)]
    rest.post("runs/log-batch", {"run_id": run_id, "tags": tags})
    message = rest.post("runs/log-batch", {"run_id": run_id, "tags": tags, "params": params}, code=INVALID)
    assert message.startswith("Batched logging API requests must be at most 1000000 bytes, got a request of size 1")
    assert rest.run_data(run_id)[1] == {}
    rest.post("runs/create", {"experiment_id": "0", "tags": tags + [{"key": f"u{i}", "value": "v" * 7900} for i in range(60)]})


@pytest.mark.parametrize("version", ["something not correct", "1.5", ""])
def test_a_version_is_a_number(rest, version):
    message = rest.get("model-versions/get", name="whatever", version=version, code=INVALID)
    expected = f"Parameter 'version' must be an integer, got '{version}'." if version else "Missing value for required parameter 'version'"
    assert message.startswith(expected)


def test_what_changes_a_version_is_no_news_of_its_model(rest):
    model_with_version(rest, "news")
    before = millis(rest, "news")
    rest.patch("model-versions/update", {"name": "news", "version": "1", "description": "d"})
    rest.post("model-versions/set-tag", {"name": "news", "version": "1", "key": "a", "value": "b"})
    rest.post("registered-models/set-tag", {"name": "news", "key": "a", "value": "b"})
    rest.post("registered-models/alias", {"name": "news", "alias": "champion", "version": "1"})
    assert millis(rest, "news") == before
    rest.post("model-versions/transition-stage", {"name": "news", "version": "1", "stage": "staging"})
    assert millis(rest, "news") > before


def test_runs_of_other_servers_are_names(rest):
    made = model_with_version(rest, "elsewhere", run_id="run_id_1")
    assert (made["source"], made["run_id"]) == ("runs:/run_id/model", "run_id_1")
    uri = rest.get("model-versions/get-download-uri", name="elsewhere", version="1")["artifact_uri"]
    assert uri == "runs:/run_id/model"
    copy = {"name": "elsewhere", "source": "models:/elsewhere/1", "run_id": "run_id_1"}
    assert rest.post("model-versions/create", copy)["model_version"]["version"] == "2"
    uri = rest.get("model-versions/get-download-uri", name="elsewhere", version="2")["artifact_uri"]
    assert uri == "runs:/run_id/model"
    for source in ("s3://b/k", "gs://b/k", "dbfs:/models/1", "https://host:8443/x", "abfss://c@a.dfs.core.windows.net/k"):
        body = {"name": "elsewhere", "source": source}
        assert rest.post("model-versions/create", body)["model_version"]["source"] == source


def test_the_newest_version_has_an_alias_of_its_own(rest):
    model_with_version(rest, "newest")
    rest.post("model-versions/create", {"name": "newest", "source": "s3://b/k"})
    for alias in ("latest", "Latest"):
        assert rest.get("registered-models/alias", name="newest", alias=alias)["model_version"]["version"] == "2"
    rest.post("registered-models/create", {"name": "none yet"})
    assert rest.get("registered-models/alias", name="none yet", alias="latest", code=UNKNOWN)
    assert "reserved" in rest.post("registered-models/alias", {"name": "newest", "alias": "latest", "version": "1"}, code=INVALID)


def test_a_name_is_a_models_or_a_prompts(rest):
    prompt = [{"key": "mlflow.prompt.is_prompt", "value": "true"}]
    rest.post("registered-models/create", {"name": "taken"})
    rest.post("registered-models/create", {"name": "asked", "tags": prompt})
    said = rest.post("registered-models/create", {"name": "taken"}, code=EXISTS)
    assert said == "Registered Model (name=taken) already exists."
    said = rest.post("registered-models/create", {"name": "asked", "tags": prompt}, code=EXISTS)
    assert said == "Prompt (name=asked) already exists."
    said = rest.post("registered-models/create", {"name": "asked"}, code=EXISTS)
    assert "Tried to create a registered model with name 'asked', but the name is already taken by a prompt." in said
    text = {"key": "mlflow.prompt.text", "value": "x" * 100_001}
    body = {"name": "asked", "source": "prompt-template", "tags": [*prompt, text]}
    said = rest.post("model-versions/create", body, code=INVALID)
    assert said == "Prompt text exceeds max length of 100000 characters."


def test_a_logged_model_says_which_versions_it_became(rest):
    run_id = rest.run()
    model = rest.post("logged-models", {"experiment_id": "0", "source_run_id": run_id})["model"]["info"]
    rest.post("registered-models/create", {"name": "promoted"})
    body = {"name": "promoted", "source": model["artifact_uri"], "model_id": model["model_id"]}
    for number in (1, 2):
        assert rest.post("model-versions/create", body)["model_version"]["run_id"] == run_id
        tags = rest.get(f"logged-models/{model['model_id']}")["model"]["info"]["tags"]
        said = ", ".join(f'{{"name": "promoted", "version": {n}}}' for n in range(1, number + 1))
        assert tags == [{"key": "mlflow.modelVersions", "value": f"[{said}]"}]


@pytest.mark.parametrize("status, name", [(1, "LOGGED_MODEL_PENDING"), ("2", "LOGGED_MODEL_READY"),
                                          ("LOGGED_MODEL_UPLOAD_FAILED", "LOGGED_MODEL_UPLOAD_FAILED")])  # fmt: skip
def test_a_logged_models_status_is_a_name_or_its_number(rest, status, name):
    place = "logged-models/" + rest.post("logged-models", {"experiment_id": "0"})["model"]["info"]["model_id"]
    assert rest.patch(place, {"status": status})["model"]["info"]["status"] == name
    for wrong in (0, 4, "READY"):
        rest.patch(place, {"status": wrong}, code=INVALID)
    assert "Missing value for required parameter 'status'" in rest.patch(place, {}, code=INVALID)
    assert "'experiment_ids'" in rest.post("logged-models/search", {}, code=INVALID)


def test_the_web_app_uploads_small_files(rest, server):
    run_id = rest.run()

    def upload(data=b"hello world", root="/ajax-api/2.0", **query):
        answer = server.post(root + "/mlflow/upload-artifact", params=query, data=data)
        return answer.status_code, answer.json()

    assert upload(run_uuid=run_id, path="a/test.txt") == (200, {})
    assert server.get("/get-artifact", params={"run_uuid": run_id, "path": "a/test.txt"}).content == b"hello world"
    for query, words in (({}, "Request must specify run_uuid."), ({"run_uuid": run_id}, "Request must specify path."),
                         ({"run_uuid": run_id, "path": ""}, "Request must specify path."),
                         ({"run_uuid": run_id, "path": "../x"}, "Invalid path")):  # fmt: skip
        status, said = upload(**query)
        assert (status, said["error_code"]) == (400, "INVALID_PARAMETER_VALUE") and said["message"].startswith(words)
    assert upload(b"", run_uuid=run_id, path="x")[1]["message"] == "Request must specify data."
    big = b"x" * (10 * 1024 * 1024 + 1)
    assert upload(big, run_uuid=run_id, path="x") == (400, {"error_code": "INVALID_PARAMETER_VALUE",
                                                            "message": "Artifact size is too large. Max size is 10MB."})  # fmt: skip
    assert upload(run_uuid="0" * 32, path="x")[0] == 404


def test_data_sets_are_asked_for_by_experiment(rest):
    assert rest.post("experiments/search-datasets", {"experiment_ids": ["0"]}) == {}
    said = rest.post("experiments/search-datasets", {}, code=INVALID)
    assert said == "SearchDatasets request must specify at least one experiment_id."
    said = rest.post("experiments/search-datasets", {"experiment_ids": ["0"] * 21}, code=INVALID)
    assert said.startswith("SearchDatasets request cannot specify more than 20 experiment_ids.")


@pytest.mark.parametrize("target", ["artifacts/list?run_id={run}&path=../path", "/get-artifact?run_id={run}&path=../path",
                                    "/model-versions/get-artifact?name=model&version=1&path=../path",
                                    "//model-versions//get-artifact?name=model&version=1&path=../path"])  # fmt: skip
def test_a_path_that_leads_out_is_an_invalid_path(rest, server, target):
    place = target if target.startswith("/") else f"{rest.root}/{target}"
    answer = server.get(place.format(run=rest.run()))
    assert answer.status_code == 400
    assert answer.json() == {"error_code": "INVALID_PARAMETER_VALUE", "message": "Invalid path"}
