"""kill -9 of the server loses no job, no log line and no exit status; a job whose shim was killed is started again."""

import os
import random
import signal
import time

import pytest

from job_helpers import cluster, ended, log_of, shims, show, submit, until, until_log
from lathe_server import wait_for

WAIT = 'until [ -e "$HOME/go" ]; do sleep 0.02; done'


def test_a_job_goes_on_while_the_server_is_away(fresh_server):
    server = fresh_server
    name = submit(server, f"echo before; {WAIT}; echo after; exit 5")["name"]
    until_log(server, name, "before")
    server.kill9()
    server.restart()
    assert show(server, name)["status"] == "Running"
    (server.data / "jobs" / name / "work" / "go").touch()
    job = ended(server, name)
    assert (job["status"], job["exit_code"]) == ("Failed", 5)
    assert log_of(server, name) == "before\nafter\n"


def test_a_job_that_ended_meanwhile_has_its_exit_status(fresh_server):
    server = fresh_server
    name = submit(server, f"{WAIT}; echo done; exit 6")["name"]
    until(server, name, "Running")
    server.kill9()
    (server.data / "jobs" / name / "work" / "go").touch()
    wait_for(lambda: not shims(server, name), what="the job's end")
    server.restart()
    job = ended(server, name)
    assert (job["status"], job["exit_code"], log_of(server, name)) == ("Failed", 6, "done\n")


def test_what_waited_starts_after_the_restart_in_its_order(fresh_server):
    server = fresh_server
    name = cluster(server, max_instances=1)
    jobs = [submit(server, f"date +%s%N; {WAIT}", compute=name)["name"] for _ in range(3)]
    until(server, jobs[0], "Running")
    server.kill9()
    server.restart()
    assert [show(server, job)["status"] for job in jobs] == ["Running", "Queued", "Queued"]
    for job in jobs:
        until(server, job, "Running")
        (server.data / "jobs" / job / "work" / "go").touch()
        assert ended(server, job)["status"] == "Completed"
    starts = [int(log_of(server, job).split()[0]) for job in jobs]
    assert starts == sorted(starts)


def test_a_job_that_waited_over_a_restart_may_log(fresh_server):
    server = fresh_server
    one = cluster(server, max_instances=1)
    first = submit(server, WAIT, compute=one)["name"]
    until(server, first, "Running")
    waits = submit(server, "python3 -c \"import lathe; lathe.log_metric('late', 3)\"", compute=one)["name"]
    server.kill9()
    server.restart()
    (server.data / "jobs" / first / "work" / "go").touch()
    assert ended(server, waits)["status"] == "Completed"
    run = server.get("/api/2.0/mlflow/runs/get", params={"run_id": waits}).json()["run"]
    assert [(metric["key"], metric["value"]) for metric in run["data"]["metrics"] if metric["key"] == "late"] == [("late", 3)]


def test_a_cancel_is_not_forgotten(fresh_server):
    server = fresh_server
    name = submit(server, "trap '' TERM; echo ready; while :; do sleep 0.05; done")["name"]
    until_log(server, name, "ready")
    server.post(f"/api/v1/jobs/{name}/cancel")
    server.kill9()
    server.restart()
    assert ended(server, name, limit_s=40)["status"] == "Canceled"


TWICE = 'cd "$LATHE_CHECKPOINT_DIR"; [ -e first ] && echo again && exit 0; touch first; echo $$; sleep 300'


def test_a_job_whose_shim_is_killed_is_started_again_after_its_processes_have_ended(fresh_server):
    server = fresh_server
    name = submit(server, TWICE)["name"]
    until_log(server, name, "\n")
    child = int(log_of(server, name))
    [shim] = shims(server, name)
    os.kill(shim, signal.SIGKILL)
    job = ended(server, name)
    assert (job["status"], job["attempt"]) == ("Completed", 2), job
    assert log_of(server, name) == "again\n"
    wait_for(lambda: not os.path.exists(f"/proc/{child}"), what="the first attempt's process ending")


@pytest.mark.long
def test_a_job_that_is_lost_again_and_again_fails_and_says_so(fresh_server):
    server = fresh_server
    name = submit(server, "echo up; sleep 300")["name"]
    for attempt in range(1, 5):
        wait_for(lambda: (job := show(server, name))["status"] == "Running" and job["attempt"] == attempt, 60, f"attempt {attempt}")
        [shim] = shims(server, name)
        os.kill(shim, signal.SIGKILL)
    job = ended(server, name)
    assert job["status"] == "Failed" and "lost" in job["error"]


def test_so_is_one_whose_shim_was_killed_while_the_server_was_away(fresh_server):
    server = fresh_server
    name = submit(server, TWICE)["name"]
    until_log(server, name, "\n")
    server.kill9()
    [shim] = shims(server, name)
    os.kill(shim, signal.SIGKILL)
    server.restart()
    job = ended(server, name)
    assert (job["status"], job["attempt"]) == ("Completed", 2), job


def test_kills_at_random_moments_lose_no_exit_status_and_run_nothing_twice(fresh_server):
    kill_and_check(fresh_server, rounds=4, jobs_per_round=6)


@pytest.mark.long
def test_hundreds_of_kills(fresh_server):
    kill_and_check(fresh_server, rounds=100, jobs_per_round=4)


def kill_and_check(server, rounds, jobs_per_round):
    seed = random.randrange(1 << 30)
    chance = random.Random(seed)
    codes = {}
    for _ in range(rounds):
        for _ in range(jobs_per_round):
            code = chance.randrange(4)
            delay = chance.choice(("0", "0.05", "0.2"))
            name = submit(server, f"echo x >> $HOME/runs; sleep {delay}; echo done; exit {code}")["name"]
            codes[name] = code
        time.sleep(chance.random() * 0.15)  # the moment of the kill
        server.kill9()
        server.restart()
    for name, code in codes.items():
        job = ended(server, name, limit_s=60)
        assert (job["status"], job["exit_code"]) == ("Failed" if code else "Completed", code), f"seed {seed}: {job}"
        assert log_of(server, name) == "done\n"
        assert (server.data / "jobs" / name / "work" / "runs").read_text() == "x\n", f"{name} ran twice, seed {seed}"
