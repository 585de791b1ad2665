"""Where the server runs as root, a job's account can read neither the data folder nor another user's files."""

import os

import pytest
import requests

from job_helpers import ended, log_of, run, submit, until_log

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="accounts of their own need a server that runs as root")


@root_only
def test_a_job_is_nobody_and_has_no_privileges(server):
    _, log = run(server, "id -u; id -G; grep -E 'CapEff|NoNewPrivs' /proc/self/status")
    uid, groups, *status = log.split("\n")
    assert int(uid) >= 700000 and groups == uid
    assert "0000000000000000" in status[0] and status[1].endswith("1")


@root_only
def test_a_job_cannot_read_the_data_folder(server):
    for path in ("admin.token", "lathe.db", "server.json", "blobs", "jobs", "artifacts", ""):
        target = server.data / path
        job, log = run(server, f"{'cat' if '.' in path else 'ls'} {target}")
        assert job["status"] == "Failed", f"{path}: {log}"
        assert "Permission denied" in log or "No such file" in log


@root_only
def test_a_job_cannot_read_what_another_users_job_has(server):
    made = server.post("/api/v1/users", json={"name": "eve", "role": "member"})
    assert made.status_code == 201, made.text
    victim = submit(server, 'echo secret > $HOME/secret; echo ready; until [ -e "$HOME/go" ]; do sleep 0.02; done',
                    outputs={"o": {}})["name"]  # fmt: skip
    until_log(server, victim, "ready")
    work = server.data / "jobs" / victim / "work"
    headers = {"Authorization": f"Bearer {made.json()['token']}"}
    command = (f"cat {work}/secret; ls {work}; ls {work}/outputs; cat {work.parent}/attempt-1/spec; "
               f"cat {work.parent}/attempt-1/log; kill -0 $(pgrep -f 'echo secret' | head -1)")  # fmt: skip
    answer = requests.post(f"{server.url}/api/v1/jobs", json={"command": command}, headers=headers, timeout=30)
    assert answer.status_code == 201, answer.text
    name = answer.json()["name"]
    assert ended(server, name)["status"] == "Failed"
    log = log_of(server, name)
    assert log.count("Permission denied") >= 5, log
    assert "secret\n" not in log.replace(f"{work}/secret", "")
    (work / "go").touch()
    ended(server, victim)


@root_only
def test_a_member_cannot_name_a_file_as_input_that_only_root_may_read(server):
    made = server.post("/api/v1/users", json={"name": "mallory", "role": "member"})
    headers = {"Authorization": f"Bearer {made.json()['token']}"}
    for path in ("/etc/shadow", str(server.data / "admin.token"), f"{server.data}/lathe.db"):
        document = {"command": "cat ${{inputs.x}}", "inputs": {"x": {"type": "uri_file", "path": path}}}
        answer = requests.post(f"{server.url}/api/v1/jobs", json=document, headers=headers, timeout=30)
        assert answer.status_code in (400, 403), answer.text
