"""What the tests of the Python package share: scripts as jobs, and what the server knows of them afterwards."""

import os
import pathlib
import subprocess
import sys
import textwrap

from job_helpers import ended, log_of, submit

API = "/api/2.0/mlflow/"
PACKAGES = pathlib.Path(__file__).resolve().parents[2] / "python"


def run_script(server, script, before="", python="python", **document):
    """Runs Python code as a job, after the shell lines `before`; answers the job and its log."""
    command = f"set -e\n{before}\n{python} - <<'END'\n{textwrap.dedent(script)}\nEND"
    name = submit(server, command, **document)["name"]
    return ended(server, name, limit_s=150), log_of(server, name)


def run_outside(server, code, cwd):
    """Runs Python code as a person would, with LATHE_URL and LATHE_TOKEN; answers what it printed."""
    environment = {**server.env, "PATH": os.environ["PATH"], "PYTHONPATH": str(PACKAGES), "LATHE_URL": server.url,
                   "LATHE_TOKEN": server.token}  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], cwd=cwd, env=environment, text=True, capture_output=True,
                          timeout=150)  # fmt: skip
    assert done.returncode == 0 and done.stderr == "", done.stderr
    return done.stdout


def get_run(server, run_id):
    """The run as runs/get answers it, with its metrics, params and tags as dicts."""
    answer = server.get(API + "runs/get", params={"run_id": run_id})
    assert answer.status_code == 200, answer.text
    run = answer.json()["run"]
    return {**run, **{kind: {each["key"]: each["value"] for each in run["data"].get(kind, ())}
                      for kind in ("metrics", "params", "tags")}}  # fmt: skip


def own_metrics(server, run_id):
    """The run's metrics but for those of its processes, which a job has that takes ten seconds."""
    return {key: value for key, value in get_run(server, run_id)["metrics"].items() if not key.startswith("system/")}


def children(server, run_id):
    """The runs below this one, oldest first."""
    body = {"experiment_ids": [get_run(server, run_id)["info"]["experiment_id"]],
            "filter": f"tags.`mlflow.parentRunId` = '{run_id}'", "order_by": ["start_time ASC"]}  # fmt: skip
    return server.post(API + "runs/search", json=body).json().get("runs", [])


def artifact(server, run_id, path):
    root = get_run(server, run_id)["info"]["artifact_uri"].split(":", 1)[1].lstrip("/")
    answer = server.get(f"/api/2.0/mlflow-artifacts/artifacts/{root}/{path}")
    assert answer.status_code == 200, answer.text
    return answer.content
