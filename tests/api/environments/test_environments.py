"""Environments: built once, found again, with packages from a folder of wheels, an index, or the system's Python."""

import os
import pathlib
import tempfile

import pytest

from job_helpers import cluster, ended, log_of, show, submit, until
from lathe_server import ROOT, Server, wait_for
from wheels import Index, make_wheel


@pytest.fixture(scope="module")
def wheels():
    """A folder of wheels that builds' accounts can read."""
    with tempfile.TemporaryDirectory(prefix="lathe-wheels.") as name:
        folder = pathlib.Path(name)
        folder.chmod(0o755)
        make_wheel(folder, "lathe-pear", "1.5", "COLOR = 'green'\n")
        make_wheel(folder, "lathe-tart", "2.0", "import lathe_pear\n", requires=["lathe-pear>=1", "numpy"])
        make_wheel(folder, "lathe-sour", "1.0", requires=["lathe-nowhere"])
        yield folder


@pytest.fixture(scope="module")
def server(wheels):
    with Server("--environment-index", "none", "--environment-find-links", str(wheels), "--environment-conda", "none") as running:
        yield running


def conda(*packages, **more):
    return {"conda_file": {"name": "x", "channels": ["conda-forge"], "dependencies": ["python=3.11", {"pip": list(packages)}], **more}}


def builds(server):
    answer = server.get("/api/v1/environment-builds")
    assert answer.status_code == 200, answer.text
    return answer.json()["value"]



def run_in(server, environment, command, **document):
    job = ended(server, submit(server, command, environment=environment, **document)["name"], limit_s=180)
    return job, log_of(server, job["name"])


def test_a_job_has_the_packages_that_its_conda_file_names(server):
    job, log = run_in(server, conda("lathe-tart==2.0", "numpy"), "python -c 'import lathe_tart, lathe_pear, numpy; print(lathe_tart.VERSION, lathe_pear.COLOR)'")
    assert job["status"] == "Completed", (job["error"], log)
    assert log == "2.0 green\n"
    assert job["plan"]["environment_recipe"]["requirements"] == ["lathe-tart==2.0", "numpy"]
    assert "virtual environment" in job["plan"]["environment"]


def test_the_next_job_finds_it_built(server):
    environment = conda("lathe-pear")
    before, _ = run_in(server, environment, "python -c 'import lathe_pear'")
    assert before["status"] == "Completed", before["error"]
    known = {one["digest"]: one for one in builds(server)}
    again, log = run_in(server, {**environment, "image": "another"}, "echo $VIRTUAL_ENV; which python")
    assert again["status"] == "Completed"
    assert log.splitlines()[1] == log.splitlines()[0] + "/bin/python"
    assert {one["digest"] for one in builds(server)} == set(known)
    mine = next(one for one in builds(server) if one["recipe"]["requirements"] == ["lathe-pear"])
    assert mine["created_at"] == known[mine["digest"]]["created_at"] and mine["size_bytes"] > 0


def test_what_the_systems_python_has_needs_no_index(server):
    job, log = run_in(server, {"conda_file": {"dependencies": ["numpy>=1.2", "scikit-learn"]}}, "python -c 'import sklearn, numpy; print(numpy.__file__)'")
    assert job["status"] == "Completed", (job["error"], log)
    assert log.startswith("/usr/lib/python3/dist-packages")


def test_a_package_that_cannot_be_had_is_named_before_the_job_starts(server):
    job, log = run_in(server, conda("lathe-nowhere==3", "numpy==0.1"), "echo started")
    assert job["status"] == "Failed" and log == ""
    assert "lathe-nowhere==3" in job["error"] and "numpy==0.1 (this machine has" in job["error"]
    assert "started" not in job["phases"]
    # What another package needs is named too.
    job, _ = run_in(server, conda("lathe-sour"), "echo started")
    assert job["status"] == "Failed" and "lathe-nowhere" in job["error"]
    build = next(one for one in builds(server) if one["recipe"]["requirements"] == ["lathe-sour"])
    assert build["state"] == "failed" and "lathe-nowhere" in build["error"]


def test_mlflow_is_no_reason_to_fail(server):
    job, log = run_in(server, conda("mlflow", "azureml-mlflow", "lathe-pear"), "python -c 'import mlflow, lathe_pear; mlflow.log_metric(\"x\", 1)'")
    assert job["status"] == "Completed", (job["error"], log)
    assert any("azureml-mlflow is left out" in one["detail"] for one in job["report"])


def test_what_pip_would_take_for_an_option_or_a_path_is_refused(server):
    for line in ("--extra-index-url http://x/", "-e .", "./wheel.whl", "x @ file:///etc/passwd", "a\nb"):
        refused = submit(server, "true", environment=conda(line), expect=400)
        assert "conda_file" in refused["detail"], refused


def test_nobody_else_can_change_an_environment(server):
    job, log = run_in(server, conda("lathe-pear"), "touch $VIRTUAL_ENV/x; echo x >> $(python -c 'import lathe_pear; print(lathe_pear.__file__)'); ls -ld $VIRTUAL_ENV")
    if os.geteuid() == 0:
        assert log.count("Permission denied") == 2 and " root root " in log


def test_missing_modules_are_named(server, tmp_path):
    tmp_path.chmod(0o755)
    (tmp_path / "train.py").write_text("import json\nimport lathe_pear\nimport lathe_absent.part\nimport helper\n")
    (tmp_path / "helper.py").write_text("try:\n  import lathe_maybe\nexcept ImportError:\n  pass\n")
    said = submit(server, "python train.py", code=str(tmp_path))
    assert [one["detail"] for one in said["report"] if one["verdict"] == "missing"] == [
        "its environment lacks Python modules that the code imports: lathe_pear (train.py:2), lathe_absent (train.py:3)"]  # fmt: skip
    ended(server, said["name"])
    refused = submit(server, "python train.py", code=str(tmp_path), params={"strict": "true"}, expect=400)
    assert "lathe_absent" in refused["detail"]
    # With an environment that has one of them, built after the submission.
    built, _ = run_in(server, conda("lathe-pear", "six"), "python train.py", code=str(tmp_path))
    assert [one["detail"] for one in built["report"] if one["verdict"] == "missing"] == [
        "its environment lacks Python modules that the code imports: lathe_absent (train.py:3)"]  # fmt: skip


def test_builds_are_listed_shown_and_deleted(server):
    environment = conda("lathe-pear==1.5", "lathe-tart")
    assert run_in(server, environment, "true")[0]["status"] == "Completed"
    digest = next(one["digest"] for one in builds(server) if one["recipe"]["requirements"] == ["lathe-pear==1.5", "lathe-tart"])
    shown = server.cli("environment", "show-build", digest[:12]).json()
    assert {"lathe-pear==1.5", "lathe-tart==2.0"} <= set(shown["packages"])
    log = server.cli("environment", "build-log", digest[:12])
    assert "lathe-tart" in log.stdout and "Completed" in log.stderr
    busy = submit(server, 'until [ -e "$HOME/go" ]; do sleep 0.02; done', environment=environment)["name"]
    until(server, busy, "Running")
    assert server.delete(f"/api/v1/environment-builds/{digest}").status_code == 409
    (server.data / "jobs" / busy / "work" / "go").touch()
    ended(server, busy)
    server.cli("environment", "delete-build", digest[:12], "--yes")
    assert server.get(f"/api/v1/environment-builds/{digest}").status_code == 404
    assert run_in(server, environment, "python -c 'import lathe_tart'")[0]["status"] == "Completed"


def test_a_version_is_built_ahead(server):
    server.post("/api/v1/environments", json={"name": "ahead", **conda("lathe-pear>=1")}).raise_for_status()
    started = server.cli("environment", "build", "-n", "ahead").json()
    assert started["state"] in ("waiting", "building", "ready")
    wait_for(lambda: server.get(f"/api/v1/environment-builds/{started['digest']}").json()["state"] == "ready", 60, "the build")
    plain = server.post("/api/v1/environments", json={"name": "plain", "image": "x"})
    assert plain.status_code == 201
    assert server.post("/api/v1/environments/plain/build").status_code == 409
    for path in ("zz", "..", "0" * 64):
        assert server.get(f"/api/v1/environment-builds/{path}").status_code == 404


@pytest.fixture
def slow(wheels):
    """A server whose packages come from an index that answers when the test lets it."""
    with Index(wheels) as index, Server("--environment-index", index.url, "--environment-conda", "none") as running:
        running.index = index
        yield running


def test_an_environment_is_built_once_for_all_who_wait_and_they_say_so(slow):
    slow.index.gate.clear()
    jobs = [submit(slow, "python -c 'import lathe_tart'", environment=conda("lathe-tart"))["name"] for _ in range(5)]
    wait_for(lambda: slow.index.asked, 30, "the index being asked")
    for name in jobs:
        job = show(slow, name)
        assert job["status"] == "Queued" and "its environment is being built" in job["waiting_for"], job
    assert slow.post(f"/api/v1/jobs/{jobs[4]}/cancel").status_code == 200
    slow.index.gate.set()
    assert [ended(slow, name, limit_s=60)["status"] for name in jobs] == ["Completed"] * 4 + ["Canceled"]
    assert [path for path in slow.index.asked if path == "/simple/lathe-tart/"] == ["/simple/lathe-tart/"]
    asked = len(slow.index.asked)
    assert ended(slow, submit(slow, "true", environment=conda("lathe-tart"))["name"])["status"] == "Completed"
    assert len(slow.index.asked) == asked


def test_a_build_outlives_the_server_and_is_not_done_twice(slow):
    slow.index.gate.clear()
    wanted = cluster(slow)
    name = submit(slow, "python -c 'import lathe_pear; print(lathe_pear.COLOR)'", compute=wanted, environment=conda("lathe-pear"))["name"]
    wait_for(lambda: slow.index.asked, 30, "the index being asked")
    slow.kill9()
    slow.restart()
    assert "being built" in show(slow, name)["waiting_for"]
    assert slow.delete(f"/api/v1/compute/{wanted}").status_code == 409  # the job wants it, though it is not in its line yet
    slow.index.gate.set()
    assert ended(slow, name, limit_s=60)["status"] == "Completed"
    assert log_of(slow, name) == "green\n"
    assert slow.index.asked.count("/simple/lathe-pear/") == 1


def test_a_build_can_be_cancelled(slow):
    slow.index.gate.clear()
    name = submit(slow, "true", environment=conda("lathe-pear"))["name"]
    wait_for(lambda: slow.index.asked, 30, "the index being asked")
    digest = builds(slow)[0]["digest"]
    slow.cli("environment", "cancel-build", digest[:8])
    job = ended(slow, name)
    assert job["status"] == "Failed" and "cancelled by admin" in job["error"]
    slow.index.gate.set()
    assert ended(slow, submit(slow, "true", environment=conda("lathe-pear"))["name"], limit_s=60)["status"] == "Completed"


def test_conda_makes_it_where_it_is_configured(wheels):
    """Conda itself is not to be had in a test: a script that takes micromamba's place makes a venv."""
    program = wheels / "micromamba"
    program.write_text('#!/bin/sh\nset -e\n[ "$1 $2 $3" = "create --yes --prefix" ] && [ "$5" = --file ]\n'
                       'grep -q \'"cudatoolkit=11"\' "$6"\npython3 -m venv --without-pip "$4"\necho transaction finished\n')  # fmt: skip
    program.chmod(0o755)
    with Server("--environment-conda", str(program)) as server:
        job, log = run_in(server, {"conda_file": {"dependencies": ["python=3.8", "cudatoolkit=11"]}}, "echo $CONDA_PREFIX; python -c 'import sys; print(sys.prefix)'")
        assert job["status"] == "Completed", (job["error"], log)
        assert len(set(log.splitlines())) == 1 and job["report"] == []


def test_the_example_runs(server):
    examples = ROOT / "examples/environment"
    server.cli("environment", "create", "-f", str(examples / "environment.yml"))
    streamed = server.cli("job", "create", "-f", str(examples / "job.yml"), "--stream", cwd=examples)
    assert "accuracy 0.9" in streamed.stdout, streamed
