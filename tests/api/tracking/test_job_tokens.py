"""What a job's own token may write: its run, the runs it makes, their logged models, models registered from them."""

import pytest
import requests

from job_helpers import ended, log_of, run, submit, until_log
from lathe_server import wait_for
from mlflow_rest import DENIED, INVALID, Rest


class AsJob:
    """The server as the holder of a job's token sees it."""

    def __init__(self, server, token):
        self.server, self.token = server, token

    def request(self, method, path, **options):
        headers = {**options.pop("headers", {}), "Authorization": f"Bearer {self.token}"}
        return requests.request(method, self.server.url + path, headers=headers, timeout=30, **options)


@pytest.fixture
def job(server):
    """A running job, and its token at work."""
    command = """echo "<$MLFLOW_RUN_ID> <$MLFLOW_TRACKING_URI> <$MLFLOW_TRACKING_TOKEN>"
                 until [ -e "$HOME/go" ]; do sleep 0.02; done"""
    name = submit(server, command)["name"]
    until_log(server, name, "\n")
    run_id, url, token = log_of(server, name).strip().strip("<>").split("> <")
    assert (run_id, url) == (name, server.url)
    yield name, Rest(AsJob(server, token))
    (server.data / "jobs" / name / "work" / "go").touch()
    ended(server, name)


def test_a_job_is_a_run_that_no_client_ends(rest, job):
    name, mine = job
    answer = mine.post("runs/update", {"run_id": name, "status": "FINISHED", "end_time": 1})
    assert answer["run_info"]["status"] == "RUNNING"
    assert rest.post("runs/update", {"run_id": name, "status": "FAILED"})["run_info"]["status"] == "RUNNING"
    info = rest.get("runs/get", run_id=name)["run"]["info"]
    assert (info["status"], info.get("end_time")) == ("RUNNING", None)
    assert ended(rest.server, submit(rest.server, "true")["name"])["status"] == "Completed"


def test_a_job_writes_its_own_run_only(rest, job):
    name, mine = job
    mine.metric(name, "loss", 1)
    mine.post("runs/set-tag", {"run_id": name, "key": "a", "value": "b"})
    assert rest.run_data(name)[0] == {"loss": 1}
    other = rest.run()
    mine.metric(other, "loss", 1, code=DENIED)
    mine.post("runs/log-batch", {"run_id": other, "tags": [{"key": "a", "value": "b"}]}, code=DENIED)
    mine.post("runs/update", {"run_id": other, "status": "FAILED"}, code=DENIED)
    mine.post("runs/log-inputs", {"run_id": other}, code=DENIED)
    mine.post("runs/delete", {"run_id": name}, code=DENIED)
    mine.post("experiments/create", {"name": "mine"}, code=DENIED)
    assert mine.get("runs/get", run_id=other)["run"]["info"]["run_id"] == other


def test_a_job_makes_child_runs_and_writes_them(rest, job):
    name, mine = job
    child = mine.run()
    assert rest.run_data(child)[2]["mlflow.parentRunId"] == name
    mine.metric(child, "loss", 1)
    grandchild = mine.run(tags=[{"key": "mlflow.parentRunId", "value": child}])
    mine.post("runs/update", {"run_id": grandchild, "status": "FINISHED"})
    foreign = {"experiment_id": "0", "tags": [{"key": "mlflow.parentRunId", "value": rest.run()}]}
    mine.post("runs/create", foreign, code=DENIED)


def test_a_jobs_artifacts_are_its_own(rest, job):
    name, mine = job
    root = "/api/2.0/mlflow-artifacts/artifacts"
    info = rest.get("runs/get", run_id=name)["run"]["info"]
    place = info["artifact_uri"].removeprefix("mlflow-artifacts:/")
    assert mine.server.request("PUT", f"{root}/{place}/model/m.bin", data=b"x").status_code == 200
    other = f"{root}/0/{rest.run()}/artifacts/x"
    assert mine.server.request("PUT", other, data=b"x").status_code == 403
    assert mine.server.request("DELETE", other).status_code == 403


def test_a_job_registers_models_from_its_own_runs(rest, job):
    name, mine = job
    mine.post("registered-models/create", {"name": f"of-{name}"})
    made = mine.post("model-versions/create",
                     {"name": f"of-{name}", "source": f"runs:/{name}/model", "run_id": name})["model_version"]
    assert (made["version"], made["run_id"]) == ("1", name)
    model = mine.post("logged-models", {"experiment_id": "0"})["model"]["info"]
    assert model["source_run_id"] == name
    mine.patch(f"logged-models/{model['model_id']}", {"status": "LOGGED_MODEL_READY"})
    mine.post("model-versions/create", {"name": f"of-{name}", "source": f"models:/{model['model_id']}"})
    other = rest.run()
    for source in (f"runs:/{other}/model", "s3://bucket/key", f"mlflow-artifacts:/0/{other}/artifacts"):
        mine.post("model-versions/create", {"name": f"of-{name}", "source": source}, code=DENIED)
    theirs = rest.post("logged-models", {"experiment_id": "0"})["model"]["info"]["model_id"]
    mine.patch(f"logged-models/{theirs}", {"status": "LOGGED_MODEL_READY"}, code=DENIED)
    mine.post("registered-models/alias", {"name": f"of-{name}", "alias": "a", "version": "1"}, code=DENIED)
    mine.delete("registered-models/delete", {"name": f"of-{name}"}, code=DENIED)
    mine.post("model-versions/create", {"name": f"of-{name}", "source": "/etc"}, code=INVALID)


def test_a_jobs_token_ends_with_the_job(server):
    done, log = run(server, 'echo "<$MLFLOW_TRACKING_TOKEN>"')
    rest = Rest(AsJob(server, log.strip().strip("<>")))
    wait_for(lambda: rest.server.request("GET", "/api/2.0/mlflow/experiments/get?experiment_id=0").status_code == 401,
             what="the token's end")
    assert done["status"] == "Completed"


def test_the_python_package_logs_from_inside_a_job(rest, server):
    code = """import lathe
for i in range(50):
    lathe.log_metric('loss', 1 / (i + 1), step=i)
lathe.log_param('depth', 3)
lathe.set_tag('a', 'b')
open('f.txt', 'w').write('hello')
lathe.log_artifact('f.txt')"""
    done, log = run(server, f'cd $HOME; /usr/bin/python3 -c "{code}"')
    assert done["status"] == "Completed", log
    metrics, params, tags = rest.run_data(done["name"])
    assert (metrics["loss"], params["depth"], tags["a"]) == (0.02, "3", "b")
    assert len(rest.get("metrics/get-history", run_id=done["name"], metric_key="loss")["metrics"]) == 50
    files = rest.get("artifacts/list", run_id=done["name"])["files"]
    assert files == [{"path": "f.txt", "is_dir": False, "file_size": 5}]
