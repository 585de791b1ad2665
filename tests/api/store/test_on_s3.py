"""Backups, checks, deletion for good and imports where the artifacts lie on S3."""

import os

import pytest

from lathe_server import Server, wait_for

API = "/api/2.0/mlflow"
ROOT = "/api/2.0/mlflow-artifacts/artifacts"
LARGE = os.urandom(17 << 20)  # comes in three parts


def on(place, **options):
    server = Server(*place.flags, env=place.env, **options)
    server.place = place
    return server


@pytest.fixture
def server(s3):
    with on(s3.place()) as running:
        yield running


def call(server, path, body):
    answer = server.post(f"{API}/{path}", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


FILES = {"model/MLmodel": b"flavors: {python_function: {model_path: model.pkl}}", "model/model.pkl": LARGE,
         "notes ü/a b+c": b"text", "empty": b""}  # fmt: skip


def fill(server):
    """A run with files, one of them large, of which a model was registered."""
    run = call(server, "runs/create", {"experiment_id": "0", "start_time": 1})["run"]["info"]["run_id"]
    for path, content in FILES.items():
        assert server.put(f"{ROOT}/0/{run}/artifacts/{path}", data=content).status_code == 200
    call(server, "registered-models/create", {"name": "m"})
    source = f"mlflow-artifacts:/0/{run}/artifacts/model"
    call(server, "model-versions/create", {"name": "m", "source": source, "run_id": run})
    call(server, "runs/update", {"run_id": run, "status": "FINISHED", "end_time": 2})
    return run


def check_files(server, run):
    for path, content in FILES.items():
        uri = server.get(f"{API}/runs/get", params={"run_id": run}).json()["run"]["info"]["artifact_uri"]
        answer = server.get(f"{ROOT}/{uri.removeprefix('mlflow-artifacts:/')}/{path}")
        assert answer.status_code == 200 and answer.content == content, path


@pytest.mark.parametrize("to", ["folder", "s3"])
def test_a_backup_holds_what_lies_on_s3_and_goes_to_either_place(server, s3, to):
    run = fill(server)
    file = server.folder / "backup.lathe"
    server.cli("store", "backup", file, "--data", server.data, *server.place.flags)
    other = on(s3.place()) if to == "s3" else Server()
    flags = ["--data", other.data, *other.flags]
    server.cli("store", "restore", file, *flags)
    with other:
        assert to == "folder" or other.place.stored() == server.place.stored()
        check_files(other, run)
        assert "sound" in server.cli("store", "verify", *flags).stdout
        assert [each["path"] for each in other.get("/api/v1/models/m/versions/1").json()["files"]] == ["MLmodel", "model.pkl"]


def test_a_run_deleted_for_good_leaves_no_object(server):
    run = fill(server)
    server.cli("model", "delete", "-n", "m", "--permanently", "--yes")
    server.cli("run", "delete", "-n", run, "--permanently", "--yes")
    wait_for(lambda: server.get("/api/v1/removals").json()["value"] == [], 60, "everything being removed")
    assert server.place.stored() == [] and server.place.parts() == []


def test_verify_looks_at_s3_and_compact_removes_what_nobody_has(server):
    run = fill(server)
    flags = ["--data", server.data, *server.flags]
    call(server, "runs/create", {"experiment_id": "0", "start_time": 1})
    assert "sound" in server.cli("store", "verify", *flags).stdout
    assert server.delete(f"{ROOT}/0/{run}/artifacts/model/model.pkl").status_code == 200
    lost = server.cli("store", "verify", *flags, check=False)
    assert lost.returncode == 1 and "m:1: model.pkl is missing" in lost.stdout
    assert server.put(f"{ROOT}/0/{run}/artifacts/model/model.pkl", data=LARGE).status_code == 200

    kept = server.place.stored()
    with on(server.place) as forgotten:  # a server that is no more, in the same place
        stray = call(forgotten, "runs/create", {"experiment_id": "0", "start_time": 1})["run"]["info"]["run_id"]
        assert forgotten.put(f"{ROOT}/0/{stray}/artifacts/x", data=b"x").status_code == 200
    found = server.cli("store", "verify", *flags)
    assert stray in found.stdout and "sound" in found.stdout
    assert server.terminate() == 0
    server.cli("store", "compact", *flags)
    assert server.place.stored() == kept
    server.restart()
    check_files(server, run)


def test_an_import_reads_from_s3_and_writes_to_s3(server, s3):
    run = fill(server)
    with on(s3.place()) as target:
        env = {"MLFLOW_TRACKING_TOKEN": server.token}
        said = target.cli("store", "import", "--from-mlflow", server.url, env=env).json()
        assert (said["taken"]["artifacts"], said["skipped"]) == (len(FILES), [])
        check_files(target, run)
        assert target.get("/api/v1/models/m/versions/1").json()["files"]
        again = target.cli("store", "import", "--from-mlflow", server.url, env=env).json()
        assert again["taken"]["artifacts"] == 0 and again["here_before"]["runs"] == 1
