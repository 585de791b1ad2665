"""Backups: one file, made while the server works, that becomes the same store again, or is refused as a whole."""

import shutil
import sqlite3
import subprocess
import threading

import pytest

from job_helpers import log_of, show, submit, until
from job_helpers import run as run_job
from lathe_server import Server

API = "/api/2.0/mlflow"


def call(server, path, body):
    answer = server.post(f"{API}/{path}", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def fill(server, folder):
    """A run with points, texts and files, a model from a folder and one from a run, data, a job, a user."""
    run = call(server, "runs/create", {"experiment_id": "0", "start_time": 1})["run"]["info"]["run_id"]
    points = [{"key": "läss", "value": value, "timestamp": i, "step": i}
              for i, value in enumerate([0.1, "NaN", 1e300, -0.0, 5e-324])]  # fmt: skip
    params = [{"key": "text", "value": "a\tb\\N\nü😀"}, {"key": "empty", "value": ""}]
    call(server, "runs/log-batch", {"run_id": run, "metrics": points, "params": params})
    for path, content in (("model/MLmodel", b"flavors: {}"), ("ü ä/b c+d", b"\0" * 100_000), ("leer", b"")):
        place = f"/api/2.0/mlflow-artifacts/artifacts/0/{run}/artifacts/{path}"
        assert server.put(place, data=content).status_code == 200
    call(server, "registered-models/create", {"name": "of_run"})
    source = {"name": "of_run", "source": f"mlflow-artifacts:/0/{run}/artifacts/model", "run_id": run}
    call(server, "model-versions/create", source)
    call(server, "registered-models/alias", {"name": "of_run", "alias": "best", "version": "1"})
    (folder / "weights").write_bytes(b"123")
    server.cli("model", "create", "-n", "own", "--path", folder, "--type", "custom_model")
    server.cli("data", "create", "-n", "d", "--path", folder / "weights", "--type", "uri_file")
    job, _ = run_job(server, "echo said; mkdir -p outputs; echo kept > outputs/x")
    return run, job["name"]


def what_is_there(server, run, job):
    """All that clients see of it, as one value."""
    get = lambda path, **query: server.get(path, params=query).json()
    artifacts = {}
    for path in ("model/MLmodel", "ü ä/b c+d", "leer"):
        answer = server.get(f"/api/2.0/mlflow-artifacts/artifacts/0/{run}/artifacts/{path}")
        assert answer.status_code == 200, path
        artifacts[path] = answer.content
    files = [file["path"] for file in get(f"/api/v1/jobs/{job}/files")["value"]]
    return {
        "run": get(f"{API}/runs/get", run_id=run),
        "points": get(f"{API}/metrics/get-history", run_id=run, metric_key="läss"),
        "artifacts": artifacts,
        "experiments": call(server, "experiments/search", {"max_results": 100}),
        "models": [get(f"/api/v1/models/{name}") for name in ("of_run", "own")],
        "alias": get(f"{API}/registered-models/alias", name="of_run", alias="best"),
        "data": get("/api/v1/data/d"),
        "job": show(server, job),
        "log": log_of(server, job),
        "output": server.get(f"/api/v1/jobs/{job}/files/artifacts/outputs/x").content,
        "files": files,
    }


@pytest.fixture(scope="module")
def filled(server, tmp_path_factory):
    return fill(server, tmp_path_factory.mktemp("filled"))


@pytest.fixture
def other():
    """A server that a test starts itself, when its data folder has been restored."""
    server = Server()
    yield server
    shutil.rmtree(server.folder, ignore_errors=True)


def test_a_restored_store_is_the_one_that_was_backed_up(server, filled, other):
    run, job = filled
    file = server.folder / "backup.lathe"
    stop = threading.Event()
    failed = []

    def keep_writing():
        while not stop.is_set():
            body = {"run_id": other_run, "key": "m", "value": 1, "timestamp": 1}
            answer = server.post(f"{API}/runs/log-metric", json=body)
            if answer.status_code != 200:
                failed.append(answer.text)

    other_run = call(server, "runs/create", {"experiment_id": "0", "start_time": 1})["run"]["info"]["run_id"]
    writer = threading.Thread(target=keep_writing)
    writer.start()
    try:
        said = server.cli("store", "backup", file, "--data", server.data).stdout
    finally:
        stop.set()
        writer.join()
    assert not failed
    assert "tokens" in said
    assert file.stat().st_mode & 0o777 == 0o600
    before = what_is_there(server, run, job)

    server.cli("store", "restore", file, "--data", other.data)
    with other:
        assert other.token == server.token
        assert what_is_there(other, run, job) == before
        assert "sound" in server.cli("store", "verify", "--data", other.data).stdout
        # And it goes on: numbers and ids follow.
        known = [each["experiment_id"] for each in before["experiments"]["experiments"]]
        assert call(other, "experiments/create", {"name": "new"})["experiment_id"] not in known
        assert run_job(other, "echo again")[0]["status"] == "Completed"


def test_a_store_moves_to_postgresql_and_back(server, filled):
    run, job = filled
    before = what_is_there(server, run, job)
    file = server.folder / "moving.lathe"
    server.cli("store", "backup", file, "--data", server.data)
    with_postgresql, again = Server(store="postgresql"), Server(store="sqlite")
    place = ["--data", with_postgresql.data, *with_postgresql.flags]
    server.cli("store", "restore", file, *place)
    with with_postgresql:
        assert what_is_there(with_postgresql, run, job) == before
        assert "sound" in server.cli("store", "verify", *place).stdout
        file.unlink()
        server.cli("store", "backup", file, *place)
        assert call(with_postgresql, "experiments/create", {"name": "goes on"})["experiment_id"]
        taken = server.cli("store", "restore", file, "--data", again.data, *with_postgresql.flags, check=False)
        assert taken.returncode == 5 and "holds a store already" in taken.stderr
    server.cli("store", "restore", file, "--data", again.data)
    with again:
        assert what_is_there(again, run, job) == before


def test_a_job_that_had_not_ended_is_failed_and_not_started_again(fresh_server, other):
    server = fresh_server
    job = submit(server, "sleep 600")["name"]
    until(server, job, "Running")
    file = server.folder / "backup.lathe"
    server.cli("store", "backup", file, "--data", server.data)
    server.cli("store", "restore", file, "--data", other.data)
    with other:
        restored = show(other, job)
        assert restored["status"] == "Failed" and "restored from a backup" in restored["error"]
        data = other.get(f"{API}/runs/get", params={"run_id": job}).json()["run"]
        assert data["info"]["status"] == "FAILED"
    assert show(server, job)["status"] == "Running"


def test_without_artifacts_the_rows_alone_come_back(server, filled, other):
    run, _ = filled
    file = server.folder / "rows.lathe"
    server.cli("store", "backup", file, "--data", server.data, "--no-artifacts")
    assert "rows only" in server.cli("store", "restore", file, "--data", other.data).stdout
    with other:
        history = other.get(f"{API}/metrics/get-history", params={"run_id": run, "metric_key": "läss"}).json()
        assert len(history["metrics"]) == 5
        done = server.cli("store", "verify", "--data", other.data, check=False)
        assert done.returncode == 1 and "of_run:1" in done.stdout


def test_what_is_there_is_not_overwritten_unless_forced(server, other):
    file = server.folder / "small.lathe"
    server.cli("store", "backup", file, "--data", server.data, "--no-artifacts")
    running = server.cli("store", "restore", file, "--data", server.data, "--force", check=False)
    assert running.returncode == 5 and "lathe stop" in running.stderr
    other.data.mkdir()
    (other.data / "mine").write_text("x")
    refused = server.cli("store", "restore", file, "--data", other.data, check=False)
    assert refused.returncode == 5 and "--force" in refused.stderr
    assert [path.name for path in other.data.iterdir()] == ["mine"]
    server.cli("store", "restore", file, "--data", other.data, "--force")
    aside = [path for path in other.folder.iterdir() if path.name.startswith("data.before-")]
    assert [(path / "mine").read_text() for path in aside] == ["x"]
    assert (other.data / "lathe.db").exists()


@pytest.mark.parametrize("damage", ["truncated", "changed", "twice", "one byte more", "zeros more", "empty", "other"])
def test_a_damaged_backup_is_named_and_nothing_is_restored(server, other, damage):
    file = server.folder / f"{damage}.lathe"
    server.cli("store", "backup", file, "--data", server.data)
    content = bytearray(file.read_bytes())
    if damage == "truncated":
        content = content[:-1000]
    elif damage == "changed":
        content[len(content) // 2] ^= 0xFF
    elif damage == "twice":
        content = content * 2
    elif damage == "one byte more":
        content += b"x"
    elif damage == "zeros more":
        content += bytes(4096)
    elif damage == "empty":
        content = b""
    else:
        content = b"PK" * 5000
    file.write_bytes(content)
    refused = server.cli("store", "restore", file, "--data", other.data, check=False)
    assert refused.returncode == 2, refused
    assert str(file) in refused.stderr
    assert damage != "twice" or "goes on after its end" in refused.stderr
    assert [path.name for path in other.folder.iterdir()] == ["home"]


def test_a_backup_is_a_tar_that_says_its_own_digests(server, tmp_path):
    file = server.folder / "tar.lathe"
    server.cli("store", "backup", file, "--data", server.data)
    subprocess.run(["tar", "--zstd", "-xf", file], cwd=tmp_path, check=True)
    subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=tmp_path, check=True)
    assert (tmp_path / "rows/experiment/000001.tsv").read_text().startswith("0\tDefault\t")


def test_verify_names_what_is_wrong_and_compact_gives_the_room_back(fresh_server, tmp_path):
    server = fresh_server
    run, _ = fill(server, tmp_path)
    assert "sound" in server.cli("store", "verify", "--data", server.data).stdout
    stray = server.data / "artifacts" / "0" / ("f" * 32) / "artifacts"
    stray.mkdir(parents=True)
    (stray / "x").write_bytes(b"1" * 1000)
    found = server.cli("store", "verify", "--data", server.data)
    assert "f" * 32 in found.stdout and "sound" in found.stdout

    busy = server.cli("store", "compact", "--data", server.data, check=False)
    assert busy.returncode == 5 and "lathe stop" in busy.stderr
    for _ in range(3):
        points = [{"key": f"k{i}", "value": i, "timestamp": 1, "step": 1} for i in range(1000)]
        gone = call(server, "runs/create", {"experiment_id": "0", "start_time": 1})["run"]["info"]["run_id"]
        call(server, "runs/log-batch", {"run_id": gone, "metrics": points})
        server.cli("run", "delete", "-n", gone, "--permanently", "--yes")
    server.cli("model", "delete", "-n", "own", "--permanently", "--yes")
    assert server.terminate() == 0
    blobs = lambda: {path.name for path in (server.data / "blobs/sha256").rglob("*") if path.is_file()}
    before, size = blobs(), (server.data / "lathe.db").stat().st_size
    server.cli("store", "compact", "--data", server.data)
    assert not stray.parent.exists()
    assert (server.data / "lathe.db").stat().st_size < size
    assert blobs() < before
    server.restart()
    assert server.get("/api/v1/models/of_run/versions/1").json()["files"]
    assert "sound" in server.cli("store", "verify", "--data", server.data).stdout

    blob = next(path for path in (server.data / "blobs/sha256").rglob("*") if path.is_file() and path.stat().st_size)
    blob.chmod(0o644)
    content = blob.read_bytes()
    blob.write_bytes(content[:-1] + b"?")
    shutil.rmtree(server.data / "artifacts" / "0" / run / "artifacts" / "model")
    wrong = server.cli("store", "verify", "--data", server.data, check=False)
    assert wrong.returncode == 1
    assert blob.name in wrong.stdout and "of_run:1" in wrong.stdout
    assert server.terminate() == 0
    kept = blobs()
    refused = server.cli("store", "compact", "--data", server.data, check=False)
    assert refused.returncode == 5 and "nothing was removed" in refused.stderr
    assert blobs() == kept
    server.restart()


def test_verify_finds_one_file_that_a_model_lost(fresh_server, tmp_path):
    """By the list that is kept of a version's files, or else by what its MLmodel names."""
    server = fresh_server
    run, _ = fill(server, tmp_path)
    flavors = b"flavors:\n  python_function: {model_path: model.pkl, env: {conda: conda.yaml}, code: code}\n"
    files = {"MLmodel": flavors, "model.pkl": b"1", "conda.yaml": b"2", "code/own.py": b"3", "notes": b"4"}
    place = lambda model: server.data / "artifacts/0" / run / "artifacts" / model

    def register(model):
        for path, content in files.items():
            where = f"/api/2.0/mlflow-artifacts/artifacts/0/{run}/artifacts/{model}/{path}"
            assert server.put(where, data=content).status_code == 200
        call(server, "registered-models/create", {"name": model})
        call(server, "model-versions/create", {"name": model, "run_id": run, "source": f"mlflow-artifacts:/0/{run}/artifacts/{model}"})

    for model in ("known", "unknown"):
        register(model)
    assert server.get("/api/v1/models/known/versions/1").json()["files"], "from now on its files are known"
    assert "sound" in server.cli("store", "verify", "--data", server.data).stdout

    def problems():
        done = server.cli("store", "verify", "--data", server.data, check=False)
        assert done.returncode == 1
        return [line.split(" at ")[0].strip() for line in done.stdout.splitlines() if line.startswith("  model ")]

    (place("known") / "notes").unlink()
    (place("unknown") / "conda.yaml").unlink()
    shutil.rmtree(place("unknown") / "code")
    assert problems() == ["model known:1: notes is missing", "model unknown:1: conda.yaml is missing",
                          "model unknown:1: code is missing"]  # fmt: skip
    (place("known") / "model.pkl").unlink()
    (place("known") / "model.pkl").write_bytes(b"longer")
    assert "model known:1: model.pkl" in problems()


def break_store(file, how):
    content = bytearray(file.read_bytes())
    if how == "head":
        content[:100] = b"?" * 100
    elif how == "steps":  # by which it is known which steps of the schema there are
        store = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
        (page,) = store.execute("SELECT rootpage FROM sqlite_master WHERE type = 'index' AND tbl_name = 'schema_step'").fetchone()
        store.close()
        size = int.from_bytes(content[16:18], "big")
        content[(page - 1) * size : page * size] = bytes([10, 0, 0, 0, 0]) + size.to_bytes(2, "big") + bytes(size - 7)  # empty
    else:
        content = content[: len(content) // 2]
    file.write_bytes(content)


@pytest.mark.parametrize("how", ["head", "steps", "half"])
def test_a_damaged_store_is_called_one(fresh_server, how):
    server = fresh_server
    backup = server.folder / "good.lathe"
    server.cli("store", "backup", backup, "--data", server.data)
    assert server.terminate() == 0
    break_store(server.data / "lathe.db", how)
    said = server.cli("serve", "--data", server.data, "--port", "0", check=False)
    assert said.returncode == 1 and "is damaged" in said.stderr and "migration" not in said.stderr
    assert f"lathe store restore BACKUP --data {server.data} --force" in said.stderr
    checked = server.cli("store", "verify", "--data", server.data, check=False)
    assert checked.returncode == 1 and "damaged" in checked.stdout + checked.stderr
    busy = server.cli("store", "restore", backup, "--data", server.data, "--force", check=False)
    assert busy.returncode == 5 and "lathe stop --all" in busy.stderr, "the data plane goes on answering from this folder"
    server.cli("stop", "--all", "--data", server.data)
    server.cli("store", "restore", backup, "--data", server.data, "--force")
    server.restart()


def test_a_verb_that_is_not_there_is_told_the_nearest(server):
    refused = server.cli("store", "bakcup", check=False)
    assert refused.returncode == 2 and 'no verb "bakcup"; the nearest are backup' in refused.stderr


def test_a_backup_takes_no_other_files_place(server, tmp_path):
    file = tmp_path / "precious"
    file.write_text("of somebody")
    refused = server.cli("store", "backup", file, "--data", server.data, check=False)
    assert refused.returncode == 5 and "is there already" in refused.stderr
    assert file.read_text() == "of somebody"


def test_a_folder_whose_records_are_in_postgresql_is_not_taken_for_another():
    with Server(store="postgresql") as server:
        assert server.terminate() == 0
        for words in (("serve", "--port", "0"), ("store", "compact"), ("store", "verify"), ("store", "backup", "x")):
            refused = server.cli(*words, "--data", server.data, check=False)
            code = 1 if words[0] == "serve" else 5
            assert refused.returncode == code and "--store" in refused.stderr, words
        assert not (server.data / "lathe.db").exists()
        server.restart()


def test_a_time_without_a_unit_is_refused(tmp_path, server):
    refused = server.cli("serve", "--data", tmp_path / "d", "--deleted-retention", "30", check=False)
    assert refused.returncode == 2 and "30d" in refused.stderr


def test_verify_finds_rows_that_name_nothing(fresh_server):
    server = fresh_server
    assert server.terminate() == 0
    store = sqlite3.connect(server.data / "lathe.db")
    store.execute("INSERT INTO experiment_tag (experiment_id, key, value) VALUES (4711, 'a', 'b')")
    store.execute("INSERT INTO metric_point (metric, timestamp_ms, step, value, is_nan) VALUES (4711, 1, 1, 1.0, 0)")
    store.commit()
    store.close()
    wrong = server.cli("store", "verify", "--data", server.data, check=False)
    assert wrong.returncode == 1 and "experiment_tag" in wrong.stdout and "metric 4711" in wrong.stdout
    server.restart()


def test_a_folder_without_a_store_is_told_so(server, tmp_path):
    for verb in ("verify", "compact"):
        done = server.cli("store", verb, "--data", tmp_path, check=False)
        assert done.returncode == 3 and "--data" in done.stderr
    done = server.cli("store", "backup", tmp_path / "no/such/folder/x", "--data", server.data, check=False)
    assert done.returncode == 3 and "no/such/folder" in done.stderr
