"""3. Trains. A job runs a command with code, data and an environment; every job is a run in an experiment."""

MLFLOW = "/api/2.0/mlflow"


def run_of(mission):
    return mission.server.get(f"{MLFLOW}/runs/get", params={"run_id": "mission"}).json()["run"]


def test_the_job_completes_and_its_stream_shows_it_training(trained):
    job, streamed = trained
    assert job["status"] == "Completed"
    assert job["experiment_name"] == "cancer"
    assert "test accuracy 0.9" in streamed
    assert "Completed" in streamed


def test_every_boosting_round_is_a_point_of_the_metric(mission, trained):
    query = {"run_id": "mission", "metric_key": "test-logloss", "max_results": 1000}
    points = mission.server.get(f"{MLFLOW}/metrics/get-history", params=query).json()["metrics"]
    assert [point["step"] for point in points] == list(range(60))
    assert points[-1]["value"] < points[0]["value"]


def test_metrics_parameters_and_artifacts_are_kept_with_the_run(mission, trained):
    run = run_of(mission)
    assert run["info"]["status"] == "FINISHED"
    metrics = {metric["key"]: metric["value"] for metric in run["data"]["metrics"]}
    assert metrics["test-accuracy"] > 0.9
    params = {param["key"]: param["value"] for param in run["data"]["params"]}
    assert params["max_depth"] == "3"
    files = mission.server.get(f"{MLFLOW}/artifacts/list", params={"run_id": "mission"}).json()["files"]
    assert {"model", "heldback.json"} <= {file["path"] for file in files}


def test_the_log_is_kept(mission, trained):
    assert "test accuracy" in mission.lathe("job", "stream", "-n", "mission").stdout


def test_a_job_that_fails_says_why_and_fails_the_command(mission, cluster):
    (mission.folder / "bad.yml").write_text("command: echo about to fail; exit 3\ncompute: azureml:cpu-cluster\n")
    said = mission.lathe("job", "create", "-f", "bad.yml", "--stream", check=False)
    assert said.returncode != 0
    assert "about to fail" in said.stdout + said.stderr
    assert "3" in said.stderr
