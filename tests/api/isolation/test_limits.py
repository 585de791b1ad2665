"""A job that takes too much ends alone, and its verdict names what it took; a disk that fills up lets nothing new start."""

import os
import subprocess

import pytest

from job_helpers import cluster, ended, limited, log_of, run, show, submit, until_log
from lathe_server import Server, wait_for

MIB = 1 << 20


def test_a_fork_bomb_is_stopped_by_its_limit(server):
    limited(server, "pids")
    name = cluster(server)
    # Not bash, which would wait and try again.
    job = ended(server, submit(server, "exec sh -c 'while :; do sleep 600 & done'", compute=name)["name"], limit_s=120)
    assert job["status"] == "Failed"
    assert "too many processes and threads" in job["error"], job["error"]
    assert run(server, "true", compute=name)[0]["status"] == "Completed"
    assert server.get("/healthz").status_code == 200


def test_a_time_limit_is_named(server):
    job, _ = run(server, "exec sleep 600", limits={"timeout": 1})
    assert job["status"] == "Failed" and "longer than its limit of 1 s" in job["error"]


@pytest.mark.long
def test_a_memory_hog_is_ended_and_its_limit_named(server):
    limited(server, "memory")
    name = cluster(server, size="Standard_DS1_v2")
    job, _ = run(server, "python3 -c 'x = [bytearray(64 << 20) for _ in range(200)]'", compute=name)
    assert job["status"] == "Failed" and "ran out of memory" in job["error"] and "it may have 3072 MiB" in job["error"], job["error"]
    assert run(server, "true", compute=name)[0]["status"] == "Completed"


class SmallDisk:
    """A server whose data folder lies on a disk of 64 MiB."""

    def __init__(self, *flags):
        self.server = Server(*flags)

    def __enter__(self):
        self.server.data.mkdir()
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m,mode=711", "tmpfs", self.server.data], capture_output=True, text=True)
        if mounted.returncode != 0:
            self.server.__exit__(None, None, None)
            pytest.skip("this machine does not let us mount a small disk: " + mounted.stderr.strip())
        try:
            return self.server.__enter__()
        except BaseException:
            subprocess.run(["umount", "-l", self.server.data], check=True)
            raise

    def __exit__(self, *error):
        try:
            self.server.__exit__(*error)
        finally:
            subprocess.run(["umount", "-l", self.server.data], check=True)


@pytest.fixture
def small_disk():
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk takes root")
    with SmallDisk("--disk-low-water", "16MiB") as server:
        yield server


@pytest.mark.sqlite
def test_below_the_low_water_mark_new_jobs_wait_and_running_ones_go_on(small_disk):
    server = small_disk
    goes_on = submit(server, 'echo ready; until [ -e "$HOME/go" ]; do sleep 0.02; done; echo went on')["name"]
    until_log(server, goes_on, "ready")
    ballast = server.data / "ballast"
    ballast.write_bytes(b"\0" * (52 * MIB))
    waits = [submit(server, "echo ran")["name"] for _ in range(3)]
    for name in waits:
        job = show(server, name)
        assert job["status"] == "Queued" and "16.0 MiB (disk_low_water)" in job["waiting_for"], job
    assert server.post(f"/api/v1/jobs/{waits[2]}/cancel").json()["status"] == "Canceled"
    (server.data / "jobs" / goes_on / "work" / "go").touch()
    assert ended(server, goes_on)["status"] == "Completed" and "went on" in log_of(server, goes_on)
    server.kill9()
    server.restart()
    assert show(server, waits[0])["status"] == "Queued"
    ballast.unlink()
    assert [ended(server, name)["status"] for name in waits] == ["Completed", "Completed", "Canceled"]


@pytest.mark.sqlite
def test_a_job_that_fills_the_disk_is_told_so_and_nobody_else_falls(small_disk):
    server = small_disk
    name = submit(server, "head -c 200M /dev/zero > big; head -c 1M /dev/zero > more")["name"]
    wait_for(lambda: "what became of a job cannot be written yet" in server.log_tail(), 60, "the full disk")
    assert server.get("/readyz").status_code == 200
    waits = server.post("/api/v1/jobs", json={"command": "echo ran"})
    assert waits.status_code in (201, 507), waits.text
    (server.data / "jobs" / name / "work/code/big").unlink()
    job = ended(server, name)
    assert job["status"] == "Failed" and "the disk of " in job["error"], job["error"]
    if waits.status_code == 201:
        assert ended(server, waits.json()["name"])["status"] == "Completed"
