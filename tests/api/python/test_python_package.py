"""python/lathe against the real server: what a script logs is what MLflow's REST answers."""

import json
import pathlib
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[3]
API = "/api/2.0/mlflow/"


def start(server, code, cwd, run_id=None):
    """Starts code as a job would be, but with the administrator's token and without compute."""
    environment = {**server.env, "PYTHONPATH": str(ROOT / "python"), "LATHE_URL": server.url,
                   "LATHE_TOKEN": server.token}  # fmt: skip
    if run_id:
        environment["MLFLOW_RUN_ID"] = run_id
    return subprocess.Popen([sys.executable, "-c", "import lathe\n" + code], cwd=cwd, env=environment, text=True,
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip


def run(server, code, cwd, run_id=None):
    process = start(server, code, cwd, run_id)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert err == ""
    return out


def new_run(server):
    body = {"experiment_id": "0", "start_time": int(time.time() * 1000), "tags": []}
    answer = server.post(API + "runs/create", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["run"]["info"]["run_id"]


def get_run(server, run_id):
    return server.get(API + "runs/get", params={"run_id": run_id}).json()["run"]


def history(server, run_id, key):
    query = {"run_id": run_id, "metric_key": key, "max_results": 50_000}
    found = server.get(API + "metrics/get-history", params=query).json().get("metrics", [])
    return [(point["step"], point["value"]) for point in found]


def artifact(server, run_id, path):
    root = get_run(server, run_id)["info"]["artifact_uri"].split(":", 1)[1].lstrip("/")
    answer = server.get(f"/api/2.0/mlflow-artifacts/artifacts/{root}/{path}")
    assert answer.status_code == 200, answer.text
    return answer.content


def test_what_a_script_logs_is_on_the_server_when_it_has_ended(server, tmp_path):
    run_id = new_run(server)
    (tmp_path / "note.txt").write_text("hello")
    run(server, """
for i in range(5000): lathe.log_metric("train/loss", i / 2, step=i)
lathe.log_metrics({"nan": float("nan"), "inf": float("inf")})
lathe.log_params({f"p{i}": i for i in range(250)})
lathe.set_tag("stage", "done")
lathe.log_artifact("note.txt", "notes")
""", tmp_path, run_id)
    data = get_run(server, run_id)["data"]
    assert history(server, run_id, "train/loss") == [(i, i / 2) for i in range(5000)]
    assert {metric["key"] for metric in data["metrics"]} == {"train/loss", "nan", "inf"}
    assert {param["key"]: param["value"] for param in data["params"]} == {f"p{i}": str(i) for i in range(250)}
    assert {"key": "stage", "value": "done"} in data["tags"]
    assert artifact(server, run_id, "notes/note.txt") == b"hello"


def test_start_run_makes_and_ends_a_run(server, tmp_path):
    out = run(server, """
with lathe.start_run("from python", "first") as run:
    lathe.log_metric("a", 1)
    print(run.run_id)
""", tmp_path)
    info = get_run(server, out.strip())["info"]
    assert info["status"] == "FINISHED" and info["run_name"] == "first"


def test_a_model_is_registered_with_the_run_that_made_it(server, tmp_path):
    run_id = new_run(server)
    code = """
import numpy, xgboost
rows = numpy.random.RandomState(0).rand(60, 3)
data = xgboost.DMatrix(rows, (rows[:, 0] > 0.5).astype(int), feature_names=["a b", "c", "d"])
booster = xgboost.train({"max_depth": 2, "eta": 0.3, "objective": "binary:logistic", "nthread": 1}, data, 3)
lathe.log_model(booster, "model", registered_model_name="tumours")
"""
    assert run(server, code, tmp_path, run_id) == "Registered model 'tumours' version 1\n"
    assert run(server, code, tmp_path, run_id) == "Registered model 'tumours' version 2\n"
    version = server.get(API + "model-versions/get", params={"name": "tumours", "version": "2"}).json()["model_version"]
    assert version["status"] == "READY" and version["run_id"] == run_id
    params = {param["key"]: param["value"] for param in get_run(server, run_id)["data"]["params"]}
    assert params["max_depth"] == "2" and params["eta"] == "0.3" and params["num_boost_round"] == "3"
    assert b"xgboost.core.Booster" in artifact(server, run_id, "model/MLmodel")


@pytest.mark.parametrize("end", ["kill9", "terminate"])
def test_a_restart_of_the_server_loses_and_repeats_nothing(fresh_server, tmp_path, end):
    run_id = new_run(fresh_server)
    gate = tmp_path / "gate"
    process = start(fresh_server, f"""
import os, time
step = 0
while not os.path.exists({str(gate)!r}):
    lathe.log_metric("loss", step, step=step)
    step += 1
    if step == 2000: print("up", flush=True)
    time.sleep(0.0002)
print(step, flush=True)
""", tmp_path, run_id)
    assert process.stdout.readline() == "up\n"
    getattr(fresh_server, end)()
    fresh_server.restart()
    gate.touch()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0 and err == ""
    count = int(out)
    assert [step for step, _ in history(fresh_server, run_id, "loss")] == list(range(count))


def test_a_refused_parameter_is_told_with_the_server_s_reason(server, tmp_path):
    run_id = new_run(server)
    run(server, "lathe.log_params({'a': 1, 'b': 1})", tmp_path, run_id)
    process = start(server, "lathe.log_params({'a': 1, 'b': 2, 'c': 3})\nlathe.log_metric('m', 1)", tmp_path, run_id)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "not recorded: parameter 'b': Changing param values is not allowed" in err
    data = get_run(server, run_id)["data"]
    assert {param["key"]: param["value"] for param in data["params"]} == {"a": "1", "b": "1", "c": "3"}
    assert [metric["key"] for metric in data["metrics"]] == ["m"]


def test_a_run_that_does_not_exist_is_said_and_does_not_end_the_script(server, tmp_path):
    process = start(server, "lathe.log_metric('m', 1)\nprint('end')", tmp_path, "no-such-run")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0 and out == "end\n"
    assert "not recorded: metric 'm'" in err and "no-such-run" in err


def test_the_main_job_s_script_registers_its_model(server, tmp_path):
    run_id = new_run(server)
    folder = ROOT / "examples" / "main-job"
    out = run(server, f"""
import runpy, sys
sys.argv = ["train.py", "--data", {str(folder / "data" / "breast-cancer.csv")!r}, "--rounds", "12"]
runpy.run_path({str(folder / "src" / "train.py")!r}, run_name="__main__")
""", tmp_path, run_id)
    assert "Registered model 'cancer-classifier' version 1" in out
    assert [step for step, _ in history(server, run_id, "test-logloss")] == list(range(12))
    assert len(json.loads(artifact(server, run_id, "heldback.json"))["rows"]) == 143
