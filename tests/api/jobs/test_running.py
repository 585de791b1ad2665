"""A job from its submission to its end: states, log, events, verdicts."""

import time

import pytest

from job_helpers import ENDED, cluster, ended, events_of, log_of, run, show, submit, until, until_log


def test_a_job_runs_and_says_when_each_phase_was(server):
    job, log = run(server, 'echo "hello ${{inputs.who}}"', inputs={"who": "world"}, experiment_name="hello")
    assert (job["status"], job["exit_code"], log) == ("Completed", 0, "hello world\n")
    phases = job["phases"]
    assert phases["submitted"] <= phases["prepared"] <= phases["user_code"] <= phases["ended"]
    assert job["creation_context"]["created_by"] == "admin"


def test_a_name_is_taken_once(server):
    submit(server, "true", name="only-once")
    refused = submit(server, "true", name="only-once", expect=409)
    assert refused["detail"].startswith("name:")


@pytest.mark.parametrize(
    "command, code, evidence",
    [
        ("echo before; exit 7", 7, ["status 7", "before"]),
        ("no-such-program", 127, ["does not exist", "no-such-program"]),
        ('python3 -c "import no_such_module"', 1, ["lacks the Python module 'no_such_module'", "ModuleNotFoundError"]),
        ("kill -SEGV $$", None, ["signal 11"]),
    ],
)
def test_a_failure_says_why_with_the_last_lines(server, command, code, evidence):
    job, _ = run(server, command)
    assert job["status"] == "Failed"
    assert job.get("exit_code") == code
    for text in evidence:
        assert text in job["error"]


def test_whatever_a_failed_job_printed_it_is_listed_and_the_server_goes_on(server):
    printed = (
        r"printf 'ModuleNotFoundError: No module named \nfoo\n'; exit 1",
        r"printf '\xff\xfe bad\n'; exit 1",
        "python3 -c \"print('\u00e9' * 20000)\"; exit 1",
        "python3 -c \"print('\u2588' * 9000)\"; exit 1",
    )
    for command in printed:
        job = ended(server, submit(server, command)["name"])
        assert (job["status"], job["exit_code"]) == ("Failed", 1)
        assert "status 1" in job["error"]
        job["error"].encode()  # no half of a character
    assert server.get("/api/v1/jobs").status_code == 200


def test_a_job_that_has_not_begun_has_no_files_yet(server):
    one = cluster(server, max_instances=1)
    first = submit(server, "sleep 60", compute=one)["name"]
    until(server, first, "Running")
    waits = submit(server, "true", compute=one)["name"]
    answer = server.get(f"/api/v1/jobs/{waits}/files")
    assert (answer.status_code, answer.json()["value"]) == (200, [])
    server.post(f"/api/v1/jobs/{first}/cancel")
    assert ended(server, waits)["status"] == "Completed"


def test_a_parent_that_is_not_there_is_refused(server):
    refused = submit(server, "true", parent_job_name="no-such-parent", expect=400)
    assert refused["detail"].startswith("parent_job_name:")
    parent = run(server, "true")[0]["name"]
    assert run(server, "true", parent_job_name=parent)[0]["status"] == "Completed"


def test_output_and_states_come_while_the_job_runs(server):
    name = submit(server, 'echo one; until [ -e "$HOME/go" ]; do sleep 0.02; done; echo two', name="live")["name"]
    kinds, text = [], ""
    for kind, _, data in events_of(server, name):
        kinds.append((kind, data.get("status")))
        if kind == "log":
            text += data["text"]
            if text == "one\n":
                until(server, name, "Running")
                (server.data / "jobs" / name / "work" / "go").touch()
    assert text == "one\ntwo\n"
    assert kinds[-1] == ("end", "Completed")
    assert ("state", "Running") in kinds


def test_events_resume_where_a_client_left_off(server):
    name = submit(server, "echo one; echo two")["name"]
    ended(server, name)
    first = [(kind, number, data) for kind, number, data in events_of(server, name) if kind == "log"]
    assert "".join(data["text"] for _, _, data in first) == "one\ntwo\n"
    again = [data["text"] for kind, _, data in events_of(server, name, {"Last-Event-ID": "4"}) if kind == "log"]
    assert "".join(again) == "two\n"
    assert log_of(server, name, offset=4) == "two\n"


def test_a_running_job_is_cancelled_with_all_that_it_started(server):
    name = submit(server, "setsid sleep 300 & echo started; sleep 300")["name"]
    until_log(server, name, "started")
    answer = server.post(f"/api/v1/jobs/{name}/cancel")
    assert answer.json()["status"] in ("CancelRequested", "Canceled")
    assert ended(server, name)["status"] == "Canceled"
    assert server.post(f"/api/v1/jobs/{name}/cancel").status_code == 409


def test_a_cancelled_job_may_clean_up(server):
    name = submit(server, "trap 'echo cleaned; exit 0' TERM; echo started; while :; do sleep 0.05; done")["name"]
    until_log(server, name, "started")
    server.post(f"/api/v1/jobs/{name}/cancel")
    assert ended(server, name)["status"] == "Canceled"
    assert "cleaned" in log_of(server, name)


def test_a_job_that_runs_too_long_is_ended(server):
    began = time.monotonic()
    job, _ = run(server, "echo busy; sleep 300", limits={"timeout": 1})
    assert job["status"] == "Failed"
    assert "limit of 1 s" in job["error"] and "busy" in job["error"]
    assert time.monotonic() - began < 20


def test_the_log_is_among_the_files_of_the_job(server):
    job, _ = run(server, "echo something")
    files = [file["path"] for file in server.get(f"/api/v1/jobs/{job['name']}/files").json()["value"]]
    [path] = [path for path in files if path.endswith("user_logs/std_log.txt")]
    assert server.get(f"/api/v1/jobs/{job['name']}/files/{path}").content == b"something\n"


def test_an_archived_job_is_hidden_from_the_list(server):
    job, _ = run(server, "true", experiment_name="shelf")

    def listed(**params):
        answer = server.get("/api/v1/jobs", params={"experiment_name": "shelf", **params})
        return [found["name"] for found in answer.json()["value"]]

    assert listed() == [job["name"]]
    server.post(f"/api/v1/jobs/{job['name']}/archive")
    assert (listed(), listed(include_archived="true")) == ([], [job["name"]])
    server.post(f"/api/v1/jobs/{job['name']}/restore")
    assert listed() == [job["name"]]


def test_the_list_has_pages_newest_first(server):
    names = [submit(server, "true", experiment_name="pages")["name"] for _ in range(5)]
    seen, token = [], None
    while True:
        params = {"experiment_name": "pages", "limit": 2, **({"next": token} if token else {})}
        page = server.get("/api/v1/jobs", params=params).json()
        seen += [job["name"] for job in page["value"]]
        token = page.get("next")
        if not token:
            break
    assert seen == names[::-1]


def test_many_short_jobs_all_end_well(server):
    names = [submit(server, f"exit {number % 3}", experiment_name="many")["name"] for number in range(30)]
    for number, name in enumerate(names):
        job = ended(server, name, limit_s=60)
        assert (job["status"], job["exit_code"]) == ("Completed" if number % 3 == 0 else "Failed", number % 3)


def test_unknown_jobs_and_bad_numbers_are_refused(server):
    assert server.get("/api/v1/jobs/nobody").status_code == 404
    assert server.post("/api/v1/jobs/nobody/cancel").status_code == 404
    assert server.get("/api/v1/jobs/nobody/log").status_code == 404
    assert server.get("/api/v1/jobs/nobody/events").status_code == 404
    assert server.get("/api/v1/jobs", params={"limit": "many"}).status_code == 400
    assert server.get("/api/v1/jobs", params={"state": "Happy"}).status_code == 400
    assert set(ENDED) >= {"Completed"}
    job = submit(server, "true")
    assert server.get(f"/api/v1/jobs/{job['name']}/log", params={"offset": "-1"}).status_code == 400


def test_a_job_without_output_has_an_empty_log(server):
    job, log = run(server, "true")
    assert log == ""
    assert until(server, job["name"], "Completed")
