"""A job is a run: what MLflow's clients see of it, and what its token may do."""

from job_helpers import ended, log_of, run, submit, until_log
from lathe_server import wait_for


def test_a_job_is_a_run_of_its_experiment(server):
    job, _ = run(server, "true", experiment_name="runs", display_name="first", tags={"team": "one"})
    found = server.get("/api/2.0/mlflow/experiments/get-by-name", params={"experiment_name": "runs"})
    assert found.status_code == 200, found.text
    answer = server.get("/api/2.0/mlflow/runs/get", params={"run_id": job["name"]}).json()["run"]
    assert answer["info"]["status"] == "FINISHED"
    assert answer["info"]["run_name"] == "first"
    assert {"key": "team", "value": "one"} in answer["data"]["tags"]


def test_a_job_has_a_token_for_its_own_run_that_ends_with_it(server):
    name = submit(server, 'echo "token $MLFLOW_TRACKING_TOKEN"; until [ -e "$HOME/go" ]; do sleep 0.02; done')["name"]
    until_log(server, name, "token ")
    token = log_of(server, name).split()[1]
    own = {"Authorization": f"Bearer {token}"}
    other = submit(server, "true")["name"]

    def tag(run):
        body = {"run_id": run, "key": "k", "value": "v"}
        return server.post("/api/2.0/mlflow/runs/set-tag", json=body, headers=own).status_code

    assert (tag(name), tag(other)) == (200, 403)
    assert server.post("/api/v1/jobs", json={"command": "true"}, headers=own).status_code == 403
    (server.data / "jobs" / name / "work" / "go").touch()
    ended(server, name)
    assert wait_for(lambda: tag(name) == 401, what="the token being worthless")


def test_end_run_of_a_client_does_not_end_the_job(server):
    script = ("import os,lathe; from lathe.client import Client; "
              "Client(os.environ['MLFLOW_TRACKING_URI'], os.environ['MLFLOW_TRACKING_TOKEN'])"
              ".post('runs/update', {'run_id': os.environ['MLFLOW_RUN_ID'], 'status': 'FINISHED'})")  # fmt: skip
    job, log = run(server, f'python -c "{script}" && exit 3')
    assert (job["status"], job["exit_code"]) == ("Failed", 3), log
    run_of_job = server.get("/api/2.0/mlflow/runs/get", params={"run_id": job["name"]}).json()["run"]
    assert run_of_job["info"]["status"] == "FAILED"
