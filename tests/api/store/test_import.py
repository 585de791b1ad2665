"""`lathe store import`: another MLflow server's content comes whole, once, and under its own ids."""

import json
import math
import os
import signal
import subprocess

import pytest

from lathe_server import Server, bin_folder, wait_for

API = "/api/2.0/mlflow"


@pytest.fixture
def target():
    with Server() as running:
        yield running


def post(server, path, body, expect=200):
    answer = server.post(f"{API}/{path}", json=body)
    assert answer.status_code == expect, answer.text
    return answer.json()


def get(server, path, **query):
    answer = server.get(f"{API}/{path}", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def make_run(server, experiment, name, points=0, **fields):
    run = post(server, "runs/create", {"experiment_id": experiment, "start_time": 1700000000123, "run_name": name,
                                       "user_id": "maría", **fields})["run"]["info"]["run_id"]  # fmt: skip
    for first in range(0, points, 1000):
        metrics = [{"key": "löss/a", "value": "NaN" if i % 1000 == 7 else i / 3, "timestamp": i, "step": i}
                   for i in range(first, min(points, first + 1000))]  # fmt: skip
        post(server, "runs/log-batch", {"run_id": run, "metrics": metrics})
    return run


def put(server, place, content):
    answer = server.put(f"/api/2.0/mlflow-artifacts/artifacts/{place}", data=content)
    assert answer.status_code == 200, answer.text


def import_from(target, source, *flags, check=True, **environment):
    env = {"MLFLOW_TRACKING_TOKEN": source.token, **environment}
    return target.cli("store", "import", "--from-mlflow", source.url, *flags, check=check, env=env)


@pytest.fixture(scope="module")
def source(server):
    """A server with something of every kind: ids by name."""
    made = {}
    churn = post(server, "experiments/create", {"name": "churn/ü", "tags": [{"key": "team", "value": "röd"}]})["experiment_id"]
    gone = post(server, "experiments/create", {"name": "gone"})["experiment_id"]
    run = made["run"] = make_run(server, churn, "first", points=26_000)
    params = [{"key": "p", "value": "a\tb\n'ü'"}]
    tags = [{"key": "mlflow.note.content", "value": "**note**"}]
    post(server, "runs/log-batch", {"run_id": run, "params": params, "tags": tags})
    dataset = {"name": "d", "digest": "1", "source_type": "local", "source": "{}", "schema": "{\"a\": 1}"}
    post(server, "runs/log-inputs", {"run_id": run, "datasets": [{"dataset": dataset, "tags": [{"key": "mlflow.data.context", "value": "training"}]}]})
    for path in ("model/MLmodel", "plots/ä b/c+d.txt", "empty"):
        put(server, f"{churn}/{run}/artifacts/{path}", b"" if path == "empty" else path.encode() * 1000)
    model = post(server, "logged-models", {"experiment_id": churn, "name": "net", "source_run_id": run,
                                           "params": [{"key": "depth", "value": "3"}]})["model"]["info"]["model_id"]  # fmt: skip
    made["model"] = model
    put(server, f"{churn}/models/{model}/artifacts/MLmodel", b"flavors: {}")
    server.patch(f"{API}/logged-models/{model}", json={"model_id": model, "status": "LOGGED_MODEL_READY"})
    post(server, "runs/log-batch", {"run_id": run, "metrics": [
        {"key": "auc", "value": 0.5, "timestamp": 5, "step": 2, "model_id": model, "dataset_name": "d", "dataset_digest": "1"}]})  # fmt: skip
    post(server, "runs/outputs", {"run_id": run, "models": [{"model_id": model, "step": 3}]})
    post(server, "runs/update", {"run_id": run, "status": "FAILED", "end_time": 1700000009999})
    deleted = made["deleted"] = make_run(server, churn, "deleted")
    post(server, "runs/update", {"run_id": deleted, "status": "FINISHED", "end_time": 1700000000999})
    post(server, "runs/delete", {"run_id": deleted})
    of_gone = made["of_gone"] = make_run(server, gone, "of gone")
    post(server, "runs/update", {"run_id": of_gone, "status": "FINISHED", "end_time": 1700000000999})
    post(server, "experiments/delete", {"experiment_id": gone})
    made["going"] = make_run(server, churn, "still going")

    post(server, "registered-models/create", {"name": "o'model ü", "description": "d", "tags": [{"key": "k", "value": "v"}]})
    for place in (f"mlflow-artifacts:/{churn}/{run}/artifacts/model", f"models:/{model}", "s3://elsewhere/x"):
        post(server, "model-versions/create", {"name": "o'model ü", "source": place, "run_id": run if "elsewhere" not in place else ""})
    # The first number is not given again: versions 2 and 3 are left, and 2 is in a stage.
    server.delete(f"{API}/model-versions/delete", json={"name": "o'model ü", "version": "1"})
    post(server, "model-versions/create", {"name": "o'model ü", "source": f"runs:/{run}/model", "run_id": run})
    post(server, "model-versions/transition-stage", {"name": "o'model ü", "version": "2", "stage": "Production"})
    post(server, "registered-models/alias", {"name": "o'model ü", "alias": "best", "version": "4"})
    post(server, "registered-models/create", {"name": "ask", "tags": [{"key": "mlflow.prompt.is_prompt", "value": "true"}]})
    post(server, "model-versions/create", {"name": "ask", "source": "prompt", "tags": [
        {"key": "mlflow.prompt.is_prompt", "value": "true"}, {"key": "mlflow.prompt.text", "value": "Why {{x}}?"}]})  # fmt: skip
    server.made = made
    return server


def comparable(server, run):
    """A run as both servers must show it: all but where it is kept."""
    record = get(server, "runs/get", run_id=run)["run"]
    info = record["info"]
    experiment = get(server, "experiments/get", experiment_id=info.pop("experiment_id"))["experiment"]["name"]
    info.pop("artifact_uri")
    return experiment, json.dumps(record, sort_keys=True)


def history(server, run, key):
    points, token = [], None
    while True:
        page = get(server, "metrics/get-history", run_id=run, metric_key=key, max_results=25_000,
                   **({"page_token": token} if token else {}))  # fmt: skip
        points += [(p["timestamp"], p["step"], str(p["value"])) for p in page["metrics"]]
        token = page.get("next_page_token")
        if not token:
            return points


def check_all(source, target):
    made = source.made
    for name in ("run", "deleted", "of_gone", "going"):
        assert comparable(target, made[name]) == comparable(source, made[name]), name
    there = history(source, made["run"], "löss/a")
    assert len(there) == 26_000 and any(value == "NaN" or math.isnan(float(value)) for *_, value in there)
    assert history(target, made["run"], "löss/a") == there
    places = [get(each, "runs/get", run_id=made["run"])["run"]["info"]["artifact_uri"] for each in (source, target)]
    for path in ("model/MLmodel", "plots/ä b/c+d.txt", "empty"):
        contents = [each.get("/api/2.0/mlflow-artifacts/artifacts" + place.removeprefix("mlflow-artifacts:") + "/" + path)
                    for each, place in zip((source, target), places)]  # fmt: skip
        assert [answer.status_code for answer in contents] == [200, 200], path
        assert contents[0].content == contents[1].content

    def experiment(server, name):
        found = get(server, "experiments/get-by-name", experiment_name=name)["experiment"]
        return {key: found.get(key) for key in ("name", "lifecycle_stage", "creation_time", "tags")}

    for name in ("churn/ü", "gone"):
        assert experiment(target, name) == experiment(source, name)

    def logged(server):
        model = get(server, f"logged-models/{made['model']}")["model"]
        for key in ("experiment_id", "artifact_uri"):
            model["info"].pop(key)
        tags = {tag["key"]: tag["value"] for tag in model["info"].pop("tags", [])}
        return model, tags

    assert logged(target) == logged(source)

    def registered(server, name):
        model = get(server, "registered-models/get", name=name)["registered_model"]
        versions = {}
        for number in ("1", "2", "3", "4"):
            answer = server.get(f"{API}/model-versions/get", params={"name": name, "version": number})
            if answer.status_code == 200:
                version = answer.json()["model_version"]
                versions[number] = {key: version.get(key) for key in
                                    ("current_stage", "run_id", "tags", "aliases", "creation_timestamp", "description")}  # fmt: skip
        kept = ("name", "description", "tags", "aliases", "creation_timestamp", "last_updated_timestamp")
        return {key: model.get(key) for key in kept}, versions

    for name in ("o'model ü", "ask"):
        assert registered(target, name) == registered(source, name), name
    assert set(registered(target, "o'model ü")[1]) == {"2", "3", "4"}
    files = target.get("/api/v1/models/o'model ü/versions/4").json()
    assert [file["path"] for file in files["files"]] == ["MLmodel"]


def test_everything_comes_and_a_second_import_adds_nothing(source, target):
    done = import_from(target, source, check=False)
    said = done.json()
    # The one thing that cannot come: a version whose files lie on S3.
    assert done.returncode == 1
    assert [(each["kind"], each["id"]) for each in said["skipped"]] == [("files_of_version", "o'model ü:3")]
    assert "s3://elsewhere/x" in said["skipped"][0]["why"] and "traces" in said["never_taken"]
    assert said["taken"]["metric_points"] == 26_001 and said["taken"]["experiments"] == 2
    check_all(source, target)

    again = import_from(target, source, check=False).json()
    assert again["taken"]["metric_points"] == 0 or again["taken"]["runs"] == 1  # the run that still goes
    assert again["taken"]["artifacts"] == 0
    assert [again["taken"][kind] for kind in ("experiments", "registered_models", "model_versions")] == [0, 0, 0]
    assert again["here_before"] == {"experiments": 2, "runs": 3, "registered_models": 2, "model_versions": 4}
    check_all(source, target)


def test_a_source_is_the_same_whatever_url_leads_to_it(source, target):
    import_from(target, source, check=False)
    port = source.url.rsplit(":", 1)[1]
    for url in (f"{source.url}/", f"http://localhost:{port}"):
        env = {"MLFLOW_TRACKING_TOKEN": source.token}
        said = target.cli("store", "import", "--from-mlflow", url, check=False, env=env).json()
        assert (said["taken"]["experiments"], said["here_before"]["runs"]) == (0, 3), url
        assert [each["kind"] for each in said["skipped"]] == ["files_of_version"], "and nothing by its name"
    check_all(source, target)


def test_a_source_that_does_not_answer_is_one_error(target):
    done = target.cli("store", "import", "--from-mlflow", "http://127.0.0.1:1", check=False)
    assert done.returncode == 6 and done.stdout == "" and done.stderr.count("\n") == 1
    assert "http://127.0.0.1:1" in done.stderr


def test_a_run_that_went_on_is_taken_up_by_the_next_import(source, target):
    run = make_run(source, "0", "goes on", points=10)
    import_from(target, source, check=False)
    metrics = [{"key": "löss/a", "value": 1, "timestamp": 99, "step": 99}]
    post(source, "runs/log-batch", {"run_id": run, "metrics": metrics})
    post(source, "runs/update", {"run_id": run, "status": "FINISHED", "end_time": 1700000000999})
    import_from(target, source, check=False)
    assert comparable(target, run) == comparable(source, run)
    assert len(history(target, run, "löss/a")) == 11


@pytest.mark.parametrize("victim", ["import", "server"])
def test_a_kill_in_the_middle_is_taken_up_without_duplicates(source, target, victim):
    env = {**target.env, "LATHE_URL": target.url, "LATHE_TOKEN": target.token, "MLFLOW_TRACKING_TOKEN": source.token}
    command = [bin_folder() / "lathe", "store", "import", "--from-mlflow", source.url]
    running = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: rows_of(target, source.made["run"]) > 0, 30, "the first points")
        if victim == "import":
            os.kill(running.pid, signal.SIGKILL)
        else:
            target.kill9()
    finally:
        if victim == "import":
            running.wait(30)
    if victim == "server":
        target.restart()
        running.kill()
        running.wait(30)
    assert rows_of(target, source.made["run"]) < 26_000, "the kill came too late to tell anything"
    import_from(target, source, check=False)
    check_all(source, target)


def rows_of(server, run):
    answer = server.get(f"{API}/metrics/get-history", params={"run_id": run, "metric_key": "löss/a"})
    return len(answer.json().get("metrics", [])) if answer.status_code == 200 else 0


def test_names_that_something_else_has_are_refused_or_get_the_suffix(source, target):
    post(target, "experiments/create", {"name": "churn/ü"})
    post(target, "registered-models/create", {"name": "ask"})
    said = import_from(target, source, check=False).json()
    skipped = {(each["kind"], each["name"] or each["id"]): each["why"] for each in said["skipped"]}
    assert "--rename-suffix" in skipped[("experiment", "churn/ü")]
    assert "--rename-suffix" in skipped[("registered_model", "ask")]
    assert server_has_no_run(target, source.made["run"])

    import_from(target, source, "--rename-suffix", "_old", check=False)
    run = get(target, "runs/get", run_id=source.made["run"])["run"]["info"]
    assert get(target, "experiments/get", experiment_id=run["experiment_id"])["experiment"]["name"] == "churn/ü_old"
    assert get(target, "registered-models/get", name="ask_old")["registered_model"]
    import_from(target, source, check=False)  # merged with what came from the same server before
    names = [each["name"] for each in get(target, "experiments/search", max_results=100, view_type="ALL")["experiments"]]
    assert sorted(names) == ["Default", "churn/ü", "churn/ü_old", "gone"]


def server_has_no_run(server, run):
    return server.get(f"{API}/runs/get", params={"run_id": run}).status_code == 404


def test_only_administrators_import_and_the_other_server_must_let_us_in(source, target):
    member = target.cli("user", "create", "mia", "--role", "member").json()["token"]
    body = {"source": "http://x", "id": "1", "name": "x", "record": {}}
    headers = {"Authorization": f"Bearer {member}"}
    assert target.post("/api/v1/import/experiment", json=body, headers=headers).status_code == 403
    refused = import_from(target, source, check=False, MLFLOW_TRACKING_TOKEN="wrong")
    assert refused.returncode != 0 and "MLFLOW_TRACKING_TOKEN" in refused.stderr
    odd = target.cli("store", "import", "--from-mlflow", "file:///mlruns", check=False)
    assert odd.returncode == 2 and "mlflow server" in odd.stderr


@pytest.mark.parametrize("kind", ["experiment", "experiment_end", "run", "run_end", "logged_model", "logged_model_end",
                                  "registered_model", "registered_model_end", "model_version"])  # fmt: skip
def test_odd_records_are_refused_with_a_sentence(target, kind):
    for record in ({}, [], "x", {"info": 3}, {"data": {"metrics": [{"key": 1}]}}, {"version": "x", "tags": [1]}):
        for more in ({}, {"name": 5}, {"name": "n", "experiment": "0"}, {"name": "n", "experiment": "x"}):
            body = {"source": "http://s", "id": "../x", "record": record, **more}
            answer = target.post(f"/api/v1/import/{kind}", json=body)
            assert answer.status_code < 500, (body, answer.text)
