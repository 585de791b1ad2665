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


@root_only
@pytest.mark.parametrize("folder", ["outputs", "logs", "../outputs"])
def test_a_job_cannot_have_the_server_read_for_it_through_a_link(server, folder):
    """The server may read everything: a job that puts a link in the place of its folders must gain nothing by it."""
    job, _ = run(server, f"rm -rf {folder}; ln -s {server.data} {folder}")
    assert job["status"] == "Completed"
    listed = server.get(f"/api/v1/jobs/{job['name']}/files").json()["value"]
    assert [file["path"] for file in listed if "admin.token" in file["path"]] == []
    for place in ("named-outputs", "artifacts/outputs", "artifacts/logs"):
        answer = server.get(f"/api/v1/jobs/{job['name']}/files/{place}/admin.token")
        assert (answer.status_code, server.token in answer.text) == (404, False)


@root_only
@pytest.mark.parametrize("command", ["rmdir {o}; ln -s {secret} {o}", "mv $HOME/outputs $HOME/x; mkdir $HOME/outputs; ln -s {secret} $HOME/outputs/o"])
def test_an_output_that_became_a_link_is_not_registered(server, tmp_path, command):
    (tmp_path / "secret.txt").write_text("secret")
    command = command.format(o="${{outputs.o}}", secret=tmp_path)
    job, log = run(server, command, outputs={"o": {"type": "uri_folder", "name": "stolen"}})
    assert job["status"] == "Failed", log
    assert "link" in job["error"]
    assert server.get("/api/v1/data/stolen").status_code == 404


@root_only
def test_a_new_user_never_gets_a_deleted_users_account(server):
    def uid_of_job(name):
        made = server.post("/api/v1/users", json={"name": name, "role": "member"})
        headers = {"Authorization": f"Bearer {made.json()['token']}"}
        answer = requests.post(f"{server.url}/api/v1/jobs", json={"command": "id -u"}, headers=headers, timeout=30)
        job = ended(server, answer.json()["name"])["name"]
        assert server.delete(f"/api/v1/users/{name}").status_code == 204
        return log_of(server, job)

    assert uid_of_job("first") != uid_of_job("second")
