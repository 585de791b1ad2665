"""A job in a sandbox sees what is its own, whatever it tries; the server runs as root, or as nobody with several users."""

import os
import shutil
import subprocess

import pytest
import requests

from job_helpers import cluster, ended, log_of, run, submit, until_log
from lathe_server import Server
from sandbox_helpers import UNPRIVILEGED, needs_sandbox, works

pytestmark = needs_sandbox


class Box:
    """A server, and a second user's way to submit."""

    def __init__(self, server):
        self.server = server
        made = server.post("/api/v1/users", json={"name": "eve", "role": "member"})
        assert made.status_code == 201, made.text
        self.eve = {"Authorization": f"Bearer {made.json()['token']}"}

    def attack(self, command, **document):
        """Runs a job of eve's and answers its log."""
        answer = requests.post(f"{self.server.url}/api/v1/jobs", json={"command": command, **document}, headers=self.eve, timeout=60)
        assert answer.status_code == 201, answer.text
        name = answer.json()["name"]
        ended(self.server, name)
        return log_of(self.server, name)


@pytest.fixture(scope="module", params=["root", "unprivileged"])
def box(request):
    if request.param == "root":
        with Server("--isolation", "sandbox") as server:
            yield Box(server)
    else:
        with Server(account=UNPRIVILEGED) as server:
            yield Box(server)


def test_it_runs_as_any_other_job(box, tmp_path):
    data = box.server.folder / "given.txt"
    data.write_text("given\n")
    data.chmod(0o666)
    job, log = run(
        box.server,
        "cat ${{inputs.x}}; echo kept > ${{outputs.o}}/file; echo more >> ${{inputs.x}}; python -c 'import lathe; lathe.log_metric(\"m\", 2)'",
        inputs={"x": {"type": "uri_file", "path": str(data)}}, outputs={"o": {"type": "uri_folder", "name": "made-in-a-box"}})  # fmt: skip
    assert job["status"] == "Completed", (job["error"], log)
    assert log.startswith("given\n") and "Read-only file system" in log
    got = box.server.get(f"/api/2.0/mlflow/metrics/get-history?run_id={job['name']}&metric_key=m").json()
    assert got["metrics"][0]["value"] == 2
    assert box.server.get("/api/v1/data/made-in-a-box").status_code == 200


def test_it_cannot_read_the_data_folder(box):
    data = box.server.data
    paths = [data, data / "admin.token", data / "lathe.db", data / "blobs", data / "server.json", data / "lock", data / "jobs/.lathe/environments",
             os.path.realpath(data / "jobs"), box.server.home]  # fmt: skip
    log = box.attack("; ".join(f"(cat {path} || ls -A {path}) 2>&1 | sed 's/^/[/'" for path in paths))
    assert box.server.token not in log
    for line in log.splitlines():
        # Where its own folder lies within, there are empty folders on the way to it.
        assert line.startswith("[cat: ") or line.startswith("[ls: cannot access") or line.strip("[") in ("jobs", ".lathe", *os.listdir(data / "jobs")), log
    assert "admin.token\n" not in log.replace(f"{data}/admin.token", "") and "lathe.db\n" not in log


def test_it_cannot_reach_another_job(box):
    victim = submit(box.server, 'echo secret > $HOME/secret; echo ready; until [ -e "$HOME/go" ]; do sleep 0.02; done', environment_variables={"KEY": "hidden"})["name"]
    until_log(box.server, victim, "ready")
    folder = os.path.realpath(box.server.data / "jobs" / victim)
    log = box.attack(f"cat {folder}/work/secret; ls {folder}; cat {folder}/attempt-1/spec; touch {folder}/work/go; pgrep -f 'echo secret' | grep -v $$; "
                     "grep -l hidden -a /proc/*/environ 2>/dev/null; echo end")  # fmt: skip
    assert log.count("No such file") == 4 and log.endswith("\nend\n") and "/proc/" not in log, log
    assert box.server.get(f"/api/v1/jobs/{victim}").json()["status"] == "Running"
    box.server.post(f"/api/v1/jobs/{victim}/cancel").raise_for_status()
    ended(box.server, victim)


def test_it_cannot_reach_the_server(box):
    pid = box.server.process.pid
    log = box.attack(f"ls -d /proc/{pid}; kill -9 {pid}; head -c1 /proc/{pid}/mem; ls /proc | grep -c '^[0-9]*$'; id -u; "
                     "python -c 'import os; print(sorted(os.listdir(\"/tmp\")), os.listdir(\"/run\") if os.path.exists(\"/run\") else 0)'; "
                     "unshare -Ur true; mount -t tmpfs none /mnt; grep CapEff /proc/self/status")  # fmt: skip
    assert f"/proc/{pid}': No such file" in log and "No such process" in log, log
    numbers = [line for line in log.splitlines() if line.isdigit()]
    assert int(numbers[0]) < 10, log
    assert "unshare failed" in log and "CapEff:\t0000000000000000" in log
    assert box.server.get("/healthz").status_code == 200


def test_it_cannot_write_outside(box):
    places = ["/", "/etc", "/usr", "/usr/local/lib/python3.11/dist-packages", "/root", "/home", "/var", "/opt", "/sys", "/dev", "/proc", box.server.data, box.server.folder]
    log = box.attack("; ".join(f"touch {place}/lathe-was-here" for place in places) + "; touch /tmp/mine && echo own; ls $PYTHONPATH/lathe >/dev/null; touch $PYTHONPATH/x")
    assert "own\n" in log
    for place in places:
        assert not os.path.exists(f"{place}/lathe-was-here"), log
    assert not os.path.exists("/tmp/mine")


def test_its_grace_is_its_own(box):
    name = submit(box.server, "trap 'echo saved; exit 0' TERM; echo ready; while :; do sleep 0.02; done")["name"]
    until_log(box.server, name, "ready")
    box.server.post(f"/api/v1/jobs/{name}/cancel").raise_for_status()
    assert ended(box.server, name)["status"] == "Canceled"
    assert log_of(box.server, name).endswith("saved\n")


def test_its_environment_is_there_and_closed(box):
    log = box.attack("python -c 'import sys, numpy; print(sys.prefix == \"'$VIRTUAL_ENV'\")'; touch $VIRTUAL_ENV/x; ls $VIRTUAL_ENV/../../..",
                     environment={"conda_file": {"dependencies": ["numpy"]}})  # fmt: skip
    assert log.startswith("True\n") and "Read-only file system" in log, log


def test_without_a_network_it_reaches_nothing():
    with Server("--isolation", "sandbox", "--isolation-network", "none") as server:
        job, log = run(server, "python -c 'import os, urllib.request; urllib.request.urlopen(os.environ[\"LATHE_URL\"] + \"/healthz\")'")
        assert job["status"] == "Failed" and "Connection refused" in log or "unreachable" in log, log
        job, log = run(server, "tail -n +3 /proc/net/dev | cut -d: -f1; echo fine > ${{outputs.o}}/x", outputs={"o": {}})
        assert (job["status"], log.strip()) == ("Completed", "lo"), log


def test_a_server_that_is_not_root_serves_one_user_when_isolation_is_off():
    with Server("--isolation", "off", account=UNPRIVILEGED) as server:
        refused = server.post("/api/v1/users", json={"name": "eve", "role": "member"})
        assert refused.status_code == 409 and "isolation is off" in refused.json()["detail"]
        _, log = run(server, "cat /proc/1/comm")
        assert log.strip() not in ("bwrap", "env")


def test_a_compute_target_may_differ_from_the_others():
    look = "ls -d /home /root 2>/dev/null | wc -l"
    with Server("--isolation", "off", "--isolation-targets", "boxed=sandbox") as server:
        cluster(server, name="boxed")
        cluster(server, name="open")
        assert [run(server, look, compute=target)[1] for target in ("boxed", "open", "local")] == ["0\n", "2\n", "2\n"]
    with Server("--isolation", "sandbox", "--isolation-targets", "local=off") as server:
        assert run(server, look)[1] == "2\n"
        assert run(server, look, compute=cluster(server))[1] == "0\n"


def test_jobs_are_not_apart_where_a_target_is_open_and_nobody_is_root():
    with Server("--isolation-targets", "local=off", account=UNPRIVILEGED) as server:
        refused = server.post("/api/v1/users", json={"name": "eve", "role": "member"})
        assert refused.status_code == 409 and "isolation_targets says off" in refused.json()["detail"], refused.text


@needs_sandbox
def test_with_several_users_isolation_cannot_be_taken_off_by_a_restart():
    with Server(account=UNPRIVILEGED) as server:
        assert server.post("/api/v1/users", json={"name": "eve", "role": "member"}).status_code == 201
        own = server.flags
        for flags in (["--isolation-targets", "local=off"], ["--isolation", "off"]):
            server.kill9()
            server.flags = [*own, *flags]
            with pytest.raises(AssertionError, match="several users"):
                server.restart()
            server.flags = own
            server.restart()
