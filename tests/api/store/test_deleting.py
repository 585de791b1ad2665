"""Deleting for good: rows, points and files go, names become free, and a crash in the middle is taken up."""

import sqlite3

import pytest

from job_helpers import ended, submit
from lathe_server import Server, wait_for

API = "/api/2.0/mlflow"


def call(server, path, body):
    answer = server.post(f"{API}/{path}", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def make_run(server, experiment="0", points=0, files=("model/MLmodel",)):
    run = call(server, "runs/create", {"experiment_id": experiment, "start_time": 1})["run"]["info"]["run_id"]
    call(server, "runs/log-batch", {"run_id": run, "params": [{"key": "p", "value": "1"}]})
    for first in range(0, points, 1000):
        metrics = [{"key": f"m{i % 7}", "value": i, "timestamp": 5, "step": i} for i in range(first, first + 1000)]
        call(server, "runs/log-batch", {"run_id": run, "metrics": metrics})
    for path in files:
        place = f"/api/2.0/mlflow-artifacts/artifacts/{experiment}/{run}/artifacts/{path}"
        assert server.put(place, data=b"flavors: {}").status_code == 200
    return run


def rows(server, table, where="TRUE"):
    sql = f"SELECT count(*) FROM {table} WHERE {where}"
    if server.database is not None:
        return int(server.database.ask(sql)[0])
    store = sqlite3.connect(f"file:{server.data}/lathe.db?mode=ro", uri=True)
    try:
        return store.execute(sql).fetchone()[0]
    finally:
        store.close()


def removed(server):
    return wait_for(lambda: server.get("/api/v1/removals").json()["value"] == [], 60, "everything being removed")


def test_a_deleted_run_comes_back_as_it_was(server):
    run = make_run(server, points=1000)
    server.cli("run", "delete", "-n", run)
    assert call(server, "runs/search", {"experiment_ids": ["0"], "filter": f"run_id = '{run}'"}) == {}
    server.cli("run", "restore", "-n", run)
    data = server.get(f"{API}/runs/get", params={"run_id": run}).json()["run"]
    assert data["info"]["lifecycle_stage"] == "active"
    assert len(data["data"]["metrics"]) == 7


def test_a_run_deleted_permanently_leaves_no_row_and_no_file(server):
    kept = make_run(server, points=1000)
    run = make_run(server, points=2000)
    points = rows(server, "metric_point")
    refused = server.cli("run", "delete", "-n", run, "--permanently", check=False)
    assert refused.returncode == 2 and "--yes" in refused.stderr

    done = server.cli("run", "delete", "-n", run, "--permanently", "--yes").json()
    assert done["state"] == "removing"
    assert server.get(f"{API}/runs/get", params={"run_id": run}).status_code == 404
    assert rows(server, "metric_point") == points - 2000
    assert rows(server, "run", f"id = '{run}'") == 0
    assert not (server.data / "artifacts" / "0" / run).exists()
    assert (server.data / "artifacts" / "0" / kept / "artifacts/model/MLmodel").exists()
    assert rows(server, "audit", f"action = 'run_remove' AND target = '{run}'") == 1


def test_nested_runs_stay_and_have_no_parent_any_more(server):
    parent, child_of_another = make_run(server), make_run(server)
    nested = [make_run(server), make_run(server)]
    for run, above in ((nested[0], parent), (nested[1], parent), (child_of_another, nested[0])):
        call(server, "runs/set-tag", {"run_id": run, "key": "mlflow.parentRunId", "value": above})
    call(server, "runs/set-tag", {"run_id": nested[0], "key": "mine", "value": parent})

    def tags(run):
        found = server.get(f"{API}/runs/get", params={"run_id": run}).json()["run"]["data"]["tags"]
        return {tag["key"]: tag["value"] for tag in found}

    server.cli("run", "delete", "-n", parent)
    assert tags(nested[0])["mlflow.parentRunId"] == parent, "what can be taken back changes nothing"
    server.cli("run", "delete", "-n", parent, "--permanently", "--yes")
    removed(server)
    assert not any("mlflow.parentRunId" in tags(run) for run in nested)
    assert tags(nested[0])["mine"] == parent and tags(child_of_another)["mlflow.parentRunId"] == nested[0]
    body = {"experiment_ids": ["0"], "filter": f"tags.`mlflow.parentRunId` = '{parent}'"}
    assert call(server, "runs/search", body) == {}


def test_an_experiment_goes_with_its_runs_and_its_name_is_free_at_once(server):
    first = server.cli("experiment", "create", "-n", "a/b ü", "--tags", "team=red").json()["experiment_id"]
    run = make_run(server, first, points=1000)
    trace = {"trace_id": "tr-going", "request_time": "2026-01-01T00:00:00Z", "state": "OK", "tags": {"a": "b"},
             "trace_location": {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": first}}}  # fmt: skip
    assert server.post("/api/3.0/mlflow/traces", json={"trace": {"trace_info": trace}}).status_code == 200
    server.cli("experiment", "delete", "-n", "a/b ü")
    taken = server.cli("experiment", "create", "-n", "a/b ü", check=False)
    assert taken.returncode != 0 and "deleted" in taken.stderr
    server.cli("experiment", "restore", "-n", "a/b ü")
    server.cli("experiment", "delete", "-n", "a/b ü", "--permanently", "--yes")
    second = server.cli("experiment", "create", "-n", "a/b ü").json()["experiment_id"]
    assert second != first
    assert rows(server, "run", f"id = '{run}'") == 0
    assert rows(server, "experiment_tag", f"experiment_id = {first}") == 0
    assert rows(server, "trace") == rows(server, "trace_tag") == 0
    assert not (server.data / "artifacts" / first).exists()
    assert server.delete("/api/v1/experiments/Default", params={"permanently": "true"}).status_code == 400


def test_a_registered_version_keeps_what_it_needs(server):
    experiment = server.cli("experiment", "create", "-n", "kept").json()["experiment_id"]
    run = make_run(server, experiment)
    call(server, "registered-models/create", {"name": "churn"})
    source = f"mlflow-artifacts:/{experiment}/{run}/artifacts/model"
    call(server, "model-versions/create", {"name": "churn", "source": source, "run_id": run})
    for words in (("run", "delete", "-n", run), ("experiment", "delete", "-n", "kept")):
        refused = server.cli(*words, "--permanently", "--yes", check=False)
        assert refused.returncode != 0
        assert "churn:1" in refused.stderr and "lathe model delete" in refused.stderr
    assert server.get("/api/v1/models/churn/versions/1").json()["files"]
    server.cli("model", "delete", "-n", "churn", "-v", "1", "--permanently", "--yes")
    assert (server.data / "artifacts" / experiment / run).exists()  # the run's, not the version's
    server.cli("run", "delete", "-n", run, "--permanently", "--yes")
    assert not (server.data / "artifacts" / experiment / run).exists()


def test_a_model_made_from_a_folder_takes_its_files_along(server, tmp_path):
    (tmp_path / "weights").write_bytes(b"1234")
    server.cli("model", "create", "-n", "own", "--path", tmp_path, "--type", "custom_model")
    folders = list((server.data / "artifacts" / "0" / "models").iterdir())
    assert len(folders) == 1
    server.cli("model", "delete", "-n", "own", "--permanently", "--yes")
    removed(server)
    assert not folders[0].exists()
    assert server.get("/api/v1/models/own").status_code == 404


def test_logged_models_go_with_their_run(server):
    run = make_run(server)
    made = call(server, "logged-models", {"experiment_id": "0", "name": "m", "source_run_id": run})["model"]["info"]
    place = f"/api/2.0/mlflow-artifacts/artifacts/0/models/{made['model_id']}/artifacts/MLmodel"
    assert server.put(place, data=b"x").status_code == 200
    server.cli("run", "delete", "-n", run, "--permanently", "--yes")
    assert rows(server, "logged_model", f"id = '{made['model_id']}'") == 0
    assert not (server.data / "artifacts" / "0" / "models" / made["model_id"]).exists()


def test_a_job_that_runs_is_not_deleted_and_an_ended_one_goes_with_its_folder(server):
    job = submit(server, "sleep 600", experiment_name="jobs")["name"]
    for extra in ((), ("--permanently", "--yes")):
        refused = server.cli("run", "delete", "-n", job, *extra, check=False)
        assert refused.returncode != 0 and "has not ended" in refused.stderr
        refused = server.cli("experiment", "delete", "-n", "jobs", *extra, check=False)
        assert refused.returncode != 0 and job in refused.stderr
    server.cli("job", "cancel", "-n", job)
    ended(server, job)
    server.cli("run", "delete", "-n", job, "--permanently", "--yes")
    assert server.get(f"/api/v1/jobs/{job}").status_code == 404
    assert not (server.data / "jobs" / job).exists()


def test_only_the_maker_or_an_administrator_deletes_permanently(server):
    run = make_run(server, files=())
    member = {"LATHE_TOKEN": server.cli("user", "create", "mia", "--role", "member").json()["token"]}
    refused = server.cli("run", "delete", "-n", run, "--permanently", "--yes", check=False, env=member)
    assert refused.returncode != 0 and "made by admin" in refused.stderr
    server.cli("run", "delete", "-n", run, env=member)  # as MLflow has it: any member, and it can be taken back
    assert rows(server, "run", f"id = '{run}'") == 1


@pytest.mark.parametrize("kind", ["run", "experiment"])
def test_a_crash_in_the_middle_is_taken_up(fresh_server, kind):
    server = fresh_server
    experiment = server.cli("experiment", "create", "-n", "big").json()["experiment_id"]
    run = make_run(server, experiment, points=40_000)
    name = run if kind == "run" else "big"
    server.cli(kind, "delete", "-n", name, "--permanently", "--yes", "--no-wait")
    wait_for(lambda: rows(server, "metric_point") < 40_000, 30, "the first points going")
    server.kill9()
    left = rows(server, "metric_point")
    server.restart()
    removed(server)
    assert left > 0, "the crash came too late to tell anything"
    assert rows(server, "metric_point") == rows(server, "metric") == rows(server, "run_param") == 0
    assert not (server.data / "artifacts" / experiment / run).exists()
    assert rows(server, "experiment", "name = 'big'") == (1 if kind == "run" else 0)


def test_what_is_deleted_long_enough_goes_by_itself():
    with Server("--deleted-retention", "1s") as server:
        kept, run = make_run(server), make_run(server, points=1000)
        call(server, "experiments/create", {"name": "old"})
        call(server, "runs/delete", {"run_id": run})
        server.cli("experiment", "delete", "-n", "old")
        wait_for(lambda: rows(server, "run") == 1 and rows(server, "experiment") == 1, 30, "the deleted going")
        removed(server)
        assert rows(server, "metric_point") == 0
        assert not (server.data / "artifacts" / "0" / run).exists()
        assert (server.data / "artifacts" / "0" / kept).exists()
        assert rows(server, "audit", "actor = 'lathe'") == 2


def test_a_retention_that_is_no_time_is_refused(server):
    refused = server.cli("serve", "--data", server.folder / "other", "--deleted-retention", "soon", check=False)
    assert refused.returncode == 2 and "30d" in refused.stderr
