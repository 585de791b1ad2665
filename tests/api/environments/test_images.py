"""Environments that are container images: fetched or built by podman, once, and entered by jobs as a folder."""

import os
import pathlib
import re
import shutil
import tempfile

import pytest

import image_helpers
from image_helpers import Store, add_python, busybox_root
from job_helpers import cluster, ended, limited, log_of, show, submit, until, until_log
from lathe_server import Server, cmdline, wait_for
from wheels import Index

UNPRIVILEGED = 64999

pytestmark = pytest.mark.skipif(image_helpers.why_not() is not None, reason=str(image_helpers.why_not()))


@pytest.fixture(scope="module")
def store():
    with Store() as made, tempfile.TemporaryDirectory(prefix="lathe-root.") as name:
        root = busybox_root(pathlib.Path(name) / "root")
        made.add("base:1", root, "ENV COLOR=green", "ENV PATH=/opt/none:/bin", "WORKDIR /elsewhere", 'ENTRYPOINT ["/bin/false"]')
        (root / "bin/sh").rename(root / "bin/hidden")
        made.add("bare:1", root)
        (root / "bin/hidden").rename(root / "bin/sh")
        made.add("python:1", add_python(root), "ENV PATH=/usr/local/bin:/usr/bin:/bin")
        yield made


@pytest.fixture(scope="module")
def server(store):
    with Server("--environment-images", "podman", "--sizes", "small=cores:1 memory:96MiB", env=store.env) as running:
        yield running


@pytest.fixture
def open_folder():
    """A folder that other accounts can read, which is more than tmp_path is."""
    with tempfile.TemporaryDirectory(prefix="lathe-open.") as name:
        pathlib.Path(name).chmod(0o755)
        yield pathlib.Path(name)


def run_in(server, environment, command, **document):
    job = ended(server, submit(server, command, environment=environment, **document)["name"], limit_s=180)
    return job, log_of(server, job["name"])


def builds(server):
    return server.get("/api/v1/environment-builds").json()["value"]


def running(text):
    lines = [cmdline(pid) for pid in os.listdir("/proc") if pid.isdigit()]
    return [line for line in lines if text in line]


def context(folder, dockerfile, **files):
    folder.mkdir(exist_ok=True)
    for name, text in {"Dockerfile": dockerfile, **files}.items():
        (folder / name).write_text(text)
    return {"build": {"path": str(folder)}}


def test_a_job_runs_in_its_image(server, tmp_path):
    (tmp_path / "data.txt").write_text("given\n")
    (tmp_path / "data.txt").chmod(0o666)
    (tmp_path / "secret").write_text("of this machine\n")
    command = ("cat /etc/motd ${{inputs.data}}; echo $COLOR $FRUIT; echo made > ${{outputs.out}}/x; pwd; id -u; "
               f"ls /etc/debian_version {tmp_path}/secret {server.data}/admin.token; touch /etc/x; echo tmp > /tmp/x && cat /tmp/x; echo x >> ${{{{inputs.data}}}}")  # fmt: skip
    document = {"inputs": {"data": {"type": "uri_file", "path": str(tmp_path / "data.txt")}}, "outputs": {"out": {"type": "uri_folder"}},
                "environment_variables": {"FRUIT": "pear"}}  # fmt: skip
    job, log = run_in(server, {"image": "base:1"}, command, **document)
    lines = log.splitlines()
    assert lines[:3] == ["an image of busybox", "given", "green pear"], log
    assert lines[3] == str((server.data / "jobs").resolve() / job["name"] / "work/code")
    assert int(lines[4]) >= 700000
    assert log.count("No such file or directory") == 3 and log.count("Read-only file system") == 2 and "\ntmp\n" in log, log
    assert (server.data / "jobs" / job["name"] / "work/outputs/out/x").read_text() == "made\n"
    assert job["plan"]["environment"] == "the image base:1" and job["report"] == []
    # The next one finds it.
    before = builds(server)
    assert run_in(server, {"image": "docker://base:1"}, "exit 0")[0]["status"] == "Completed"
    after = builds(server)
    assert [(one["digest"], one["created_at"]) for one in after] == [(one["digest"], one["created_at"]) for one in before]
    assert after[0]["words"] == "the image base:1" and after[0]["size_bytes"] > 1_000_000


def test_inputs_by_url_take_a_python(server, open_folder):
    (open_folder / "it").write_text("fetched\n")
    with Index(open_folder) as index:
        inputs = {"data": {"type": "uri_file", "path": index.url.replace("/simple/", "/files/it")}}
        job, log = run_in(server, {"image": "python:1"}, "cat ${{inputs.data}}", inputs=inputs)
        assert job["status"] == "Completed" and log.endswith("fetched\n"), log
        job, log = run_in(server, {"image": "base:1"}, "cat ${{inputs.data}}", inputs=inputs)
        assert job["status"] == "Failed" and "which this image does not have" in log, log


def test_the_images_python_logs_to_the_server(server):
    job, log = run_in(server, {"image": "python:1"}, "python3 -c 'import sys, lathe; lathe.log_metric(\"x\", 4); print(sys.executable)'")
    assert job["status"] == "Completed" and log == "/usr/local/bin/python3\n", (job["error"], log)
    metrics = server.get("/api/2.0/mlflow/runs/get", params={"run_id": job["name"]}).json()["run"]["data"]["metrics"]
    assert [(one["key"], one["value"]) for one in metrics if one["key"] == "x"] == [("x", 4)]


def test_verdicts_are_those_of_any_job(server):
    job, _ = run_in(server, {"image": "base:1"}, "exit 3")
    assert job["status"] == "Failed" and job["exit_code"] == 3
    limited(server, "memory")
    job, log = run_in(server, {"image": "base:1"}, "exec dd if=/dev/zero of=/dev/null bs=200M count=1", compute=cluster(server, size="small"))
    assert job["status"] == "Failed" and "ran out of memory" in job["error"], (job["error"], log)


def test_a_cancelled_job_is_asked_first_and_leaves_nothing(server):
    command = "trap 'echo asked; exit 0' TERM; (exec sleep 4321) & echo ready; while :; do sleep 0.1; done"
    name = submit(server, command, environment={"image": "base:1"})["name"]
    until_log(server, name, "ready", limit_s=120)
    server.post(f"/api/v1/jobs/{name}/cancel").raise_for_status()
    assert ended(server, name, limit_s=60)["status"] == "Canceled"
    assert log_of(server, name).endswith("asked\n")
    assert not running("sleep\0004321")


def test_what_cannot_be_had_is_said_with_what_to_do(server):
    job, log = run_in(server, {"image": "127.0.0.1:1/nothing:1"}, "echo started")
    assert job["status"] == "Failed" and log == "" and "started" not in job["phases"]
    assert "127.0.0.1:1/nothing:1" in job["error"] and "connection refused" in job["error"] and "podman pull" in job["error"]
    job, log = run_in(server, {"image": "bare:1"}, "echo started")
    assert job["status"] == "Failed" and "no shell" in job["error"] and log == "", job["error"]
    for image in ("dir:/etc", "oci-archive:/tmp/x.tar", "--help", "a b", "../x", ""):
        assert "environment.image" in submit(server, "true", environment={"image": image}, expect=400)["detail"], image


def test_an_image_is_built_once_for_all_who_wait_and_found_again(server, tmp_path):
    built = context(tmp_path / "it", "FROM base:1 AS first\nENV FRUIT=pear\nCOPY note.txt /opt/note\n"
                    "RUN cat /proc/self/uid_map; touch /opt/made && chown 33:33 /opt/made && stat -c %u /opt/made\nFROM first\nCOPY --from=first /opt/note /opt/again\n",
                    **{"note.txt": "a note\n"})  # fmt: skip
    jobs = [submit(server, "cat /opt/again; echo $COLOR $FRUIT; ls /opt", environment=built)["name"] for _ in range(3)]
    for name in jobs:
        job = ended(server, name, limit_s=180)
        assert job["status"] == "Completed", (job["error"], server.cli("environment", "build-log", builds(server)[0]["digest"]))
        assert log_of(server, name) == "a note\ngreen pear\nagain\nmade\nnote\n"
    mine = [one for one in builds(server) if one["recipe"]["manager"] == "build"]
    assert len(mine) == 1 and "built from Dockerfile" in mine[0]["words"]
    log = server.cli("environment", "build-log", mine[0]["digest"][:12]).stdout
    # Root of the Dockerfile is nobody outside.
    assert "STEP " in log and re.search(r"^ +0 +69000[01] +1$", log, re.MULTILINE) and "\n33\n" in log
    # Another folder with the same content is the same image, and another content another.
    again = context(tmp_path / "copy", (tmp_path / "it/Dockerfile").read_text(), **{"note.txt": "a note\n"})
    assert ended(server, submit(server, "true", environment=again)["name"])["status"] == "Completed"
    assert len([one for one in builds(server) if one["recipe"]["manager"] == "build"]) == 1
    (tmp_path / "it/note.txt").write_text("another\n")
    job, log = run_in(server, built, "cat /opt/again")
    assert log == "another\n", job["error"]


def test_a_dockerfile_that_fails_is_named_with_its_step(server, tmp_path):
    job, log = run_in(server, context(tmp_path, "FROM base:1\nRUN echo it says why >&2; exit 7\n"), "echo started")
    assert job["status"] == "Failed" and log == ""
    assert "Dockerfile cannot be built" in job["error"] and "exit 7" in job["error"] and "exit status 7" in job["error"]
    job, _ = run_in(server, context(tmp_path, "FROM 127.0.0.1:1/nothing:1\n"), "echo started")
    assert "127.0.0.1:1/nothing:1" in job["error"] and "connection refused" in job["error"]
    job, _ = run_in(server, {"build": {"path": str(tmp_path), "dockerfile_path": "other/Dockerfile"}}, "echo started")
    assert "there is no other/Dockerfile" in job["error"]
    for build in ({"path": str(tmp_path), "dockerfile_path": "../x"}, {"path": str(tmp_path / "none")}, {"path": "x"},
                  {"path": str(tmp_path), "dockerfile": "x"}):  # fmt: skip
        assert "environment.build" in submit(server, "true", environment={"build": build}, expect=400)["detail"], build


def left_of(folder):
    """Processes, mounts, cgroups and files that still have to do with a build in `folder`."""
    found = running(str(folder)) + [line for line in pathlib.Path("/proc/self/mounts").read_text().splitlines() if str(folder) in line]
    return found + [path for path, _, _ in os.walk("/sys/fs/cgroup") if "buildah" in path] + list(folder.glob("env-*"))


def test_a_cancelled_build_leaves_nothing(server, tmp_path):
    built = context(tmp_path, "FROM base:1\nRUN echo begun; sleep 4322 & while :; do sleep 0.1; done\n")
    name = submit(server, "true", environment=built)["name"]
    wait_for(lambda: (show(server, name).get("waiting_for") or "").endswith(": begun"), 120, "the Dockerfile's command")
    digest = next(one["digest"] for one in builds(server) if one["state"] == "building")
    server.cli("environment", "cancel-build", digest[:12])
    job = ended(server, name, limit_s=60)
    assert job["status"] == "Failed" and "cancelled by admin" in job["error"]
    folder = (server.data / "jobs").resolve() / ".lathe/environments" / digest
    assert not left_of(folder)
    assert not running("sleep\0004322")


def test_a_build_outlives_the_server(store, tmp_path):
    with Index(tmp_path) as index, Server("--environment-images", "podman", env=store.env) as server:
        index.gate.clear()
        built = context(tmp_path, f"FROM base:1\nRUN echo begun; wget -q -O /dev/null {index.url}x/; true\n")
        name = submit(server, "cat /etc/motd", environment=built)["name"]
        wait_for(lambda: index.asked, 120, "the Dockerfile's command")
        server.kill9()
        server.restart()
        assert "being built" in until(server, name, "Queued")["waiting_for"]
        index.gate.set()
        assert ended(server, name, limit_s=120)["status"] == "Completed"
        assert log_of(server, name) == "an image of busybox\n" and len(index.asked) == 1


def test_a_version_keeps_its_folder(server, tmp_path):
    context(tmp_path / "image", "FROM base:1\nCOPY . /opt/it\n", note="first\n")
    file = tmp_path / "environment.yml"
    file.write_text("name: kept\nbuild:\n  path: image\n")
    made = server.cli("environment", "create", "-f", str(file)).json()
    (tmp_path / "image/note").write_text("second\n")
    started = server.cli("environment", "build", "-n", "kept").json()
    assert started["recipe"]["context"] in made["definition"]["build"]["path"]
    job, log = run_in(server, "azureml:kept:1", "cat /opt/it/note")
    assert job["status"] == "Completed" and log == "first\n"
    again = server.cli("environment", "create", "-f", str(file)).json()
    assert again["version"] == "2"


def test_a_server_that_is_not_root_has_images_too(open_folder):
    """Without a base image, which it would have to have in a store of its own, and without RUN, which takes more accounts."""
    built = context(open_folder, "FROM scratch\nCOPY busybox /bin/busybox\nCOPY busybox /bin/sh\nENV COLOR=green\n")
    shutil.copy(shutil.which("busybox"), open_folder)
    with Server("--environment-images", "podman", account=UNPRIVILEGED) as server:
        job, log = run_in(server, built, "busybox id -u; echo $COLOR; busybox ls /etc")
        assert job["status"] == "Completed" and log.splitlines()[:2] == [str(UNPRIVILEGED), "green"], (job["error"], log)
        job, _ = run_in(server, context(open_folder, "FROM scratch\nCOPY busybox /bin/sh\nRUN true\n"), "true")
        assert job["status"] == "Failed" and "/etc/subuid" in job["error"], job["error"]


def test_what_needs_no_image_is_as_ever(server):
    job, log = run_in(server, {"image": "base:1", "conda_file": {"dependencies": ["numpy"]}}, "python -c 'import numpy'; cat /etc/debian_version")
    assert job["status"] == "Completed", (job["error"], log)
    assert {one["field"]: one["verdict"] for one in job["report"]} == {"environment.image": "substituted", "environment.conda_file": "substituted"}


def test_an_engine_that_is_not_there_is_said_at_the_start(tmp_path):
    for engine, why in (("/nowhere/podman", "apt install podman"), ("docker", "podman, apptainer")):
        server = Server("--environment-images", engine)
        with pytest.raises(AssertionError, match=why):
            with server:
                pass


def test_apptainer_makes_it_where_it_is_configured(open_folder):
    """Apptainer is not to be had in a test: a script that takes its place makes the folder."""
    root = busybox_root(open_folder / "root")
    program = open_folder / "apptainer"
    program.write_text('#!/bin/sh\nset -e\n[ "$1 $2 $4" = "build --sandbox docker://base:1" ]\n'
                       f'cp -a {root} "$3"\nmkdir -p "$3/.singularity.d/env"\ncat > "$3/.singularity.d/env/10-docker2singularity.sh" <<"E"\n'
                       '#!/bin/sh\nexport PATH="/opt/none:/bin"\nexport COLOR="${COLOR:-"red"}"\nE\n')  # fmt: skip
    program.chmod(0o755)
    with Server("--environment-images", str(program)) as server:
        job, log = run_in(server, {"image": "base:1"}, "cat /etc/motd; echo $COLOR $PATH")
        assert job["status"] == "Completed" and log.startswith("an image of busybox\nred /opt/none:/bin:"), (job["error"], log)
        said = submit(server, "true", environment=context(open_folder / "it", "FROM base:1\n"))
        assert [one["detail"] for one in said["report"] if one["field"] == "environment.build"][0].endswith("only podman builds Dockerfiles")
