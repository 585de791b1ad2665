"""What docs/guide/tracking.md says of the API: what is spoken, what is not, and where Lathe differs."""

import pathlib
import re

import pytest

from mlflow_rest import INVALID, UNKNOWN

GUIDE = (pathlib.Path(__file__).resolve().parents[3] / "docs" / "guide" / "tracking.md").read_text()


def test_the_version_is_the_guides(server):
    [said] = re.findall(r"`/version` answers `([0-9.]+)`", GUIDE)
    assert server.get("/version").text == said


@pytest.mark.parametrize("root", ["/api/2.0", "/api/3.0", "/ajax-api/2.0"])
def test_what_is_not_spoken_is_not_found(server, root):
    answer = server.post(root + "/mlflow/webhooks", json={"name": "w", "url": "https://example.com", "events": []})
    assert (answer.status_code, answer.json()["error_code"]) == (404, "ENDPOINT_NOT_FOUND")


@pytest.mark.parametrize("location", ["file:///srv", "/srv", "s3://b/k", "mlflow-artifacts:/x"])
def test_the_server_keeps_the_artifacts(rest, location):
    body = {"name": "elsewhere " + location, "artifact_location": location}
    assert "leave it out" in rest.post("experiments/create", body, code=INVALID)
    assert rest.experiment(body["name"]) != "0"


def test_a_source_is_a_place_elsewhere_or_one_that_is_here(rest):
    rest.post("registered-models/create", {"name": "sources"})

    def make(source, code=None, **fields):
        return rest.post("model-versions/create", {"name": "sources", "source": source, **fields}, code)

    for elsewhere in ("s3://b/k", "dbfs:/models/m", "https://example.com/m"):
        assert make(elsewhere)["model_version"]["source"] == elsewhere
    for local in ("/srv/m", "m", "file:///srv/m"):
        assert "To use a local path" in make(local, INVALID)
    nobody = "0" * 32
    make(f"mlflow-artifacts:/0/{nobody}/artifacts/m", UNKNOWN)
    make(f"models:/m-{nobody}", UNKNOWN)
    mine, other = rest.run(), rest.run()
    source = f"mlflow-artifacts:/0/{mine}/artifacts/m"
    assert make(source, run_id=mine)["model_version"]["run_id"] == mine
    make(source, INVALID, run_id=other)


def test_restoring_an_experiment_leaves_the_runs_that_were_deleted_before(rest):
    experiment = rest.experiment("restored")
    before, along = rest.run(experiment), rest.run(experiment)
    rest.post("runs/delete", {"run_id": before})
    rest.post("experiments/delete", {"experiment_id": experiment})
    rest.post("experiments/restore", {"experiment_id": experiment})
    assert rest.search([experiment]) == [along]


def test_uploads_go_below_a_run_that_exists(rest, server):
    for place in ("models/m.txt", f"0/{rest.run()}/m.txt"):
        answer = server.put("/api/2.0/mlflow-artifacts/artifacts/" + place, data=b"x")
        assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")


def test_a_batch_has_at_most_a_million_bytes(rest):
    run_id = rest.run()
    tags = [{"key": f"t{i}", "value": "x" * 8000} for i in range(100)]
    rest.post("runs/log-batch", {"run_id": run_id, "tags": tags})
    wide = [{"key": f"w{i}", "value": "x" * 11_000} for i in range(100)]
    rest.post("runs/log-batch", {"run_id": run_id, "tags": wide}, code=INVALID)
    assert set(rest.run_data(run_id)[2]) == {"mlflow.runName", *(tag["key"] for tag in tags)}


def test_a_logged_model_shows_the_latest_of_each_metric(rest):
    run_id = rest.run()
    made = rest.post("logged-models", {"experiment_id": "0", "source_run_id": run_id})["model"]["info"]["model_id"]
    for step in range(3):
        point = {"key": "loss", "value": 10 - step, "timestamp": 1, "step": step, "model_id": made}
        rest.post("runs/log-batch", {"run_id": run_id, "metrics": [point]})
    [metric] = rest.get(f"logged-models/{made}")["model"]["data"]["metrics"]
    assert (metric["value"], metric["step"]) == (8, 2)
