"""Which job is next, who gives way to whom, and why a job waits."""

import os

import pytest

from job_helpers import cluster, ended, log_of, show, submit, until, until_log
from lathe_server import Server, wait_for

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only a server that runs as root takes a second user")

needs_two_cores = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two nodes need two cores")

UNTIL_GO = "while [ ! -e $HOME/go ]; do sleep 0.02; done"

# Counts its attempts in its checkpoint folder. The first goes on until it is asked to end.
CHECKPOINTED = """
cd "$LATHE_CHECKPOINT_DIR"
n=$(( $(cat n 2>/dev/null || echo 0) + 1 ))
echo $n > n
echo attempt $n
[ $n = 2 ] && exit 0
trap 'echo saved > state; exit 3' TERM
while :; do sleep 0.02; done
"""


def go(server, name):
    (server.data / "jobs" / name / "work" / "go").touch()


def why(server, name):
    answer = server.get(f"/api/v1/jobs/{name}/why")
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_tiers_come_before_priorities_and_those_before_the_order_of_submission(server):
    one = cluster(server, max_instances=1)
    first = submit(server, UNTIL_GO, compute=one)["name"]
    until(server, first, "Running")
    asked = [("Standard", "low"), ("standard", "medium"), ("standard", "medium"), ("basic", "high"), ("premium", "Low"), ("standard", "high")]
    names = [submit(server, "true", compute=one, queue_settings={"job_tier": tier, "priority": priority})["name"] for tier, priority in asked]
    assert [why(server, names[i])["place"] for i in range(6)] == [5, 3, 4, 6, 1, 2]
    go(server, first)
    started = sorted(names, key=lambda name: ended(server, name)["phases"]["prepared"])
    assert started == [names[i] for i in (4, 5, 1, 2, 0, 3)]


def test_unknown_queue_settings_are_refused_with_those_that_are_known(server):
    refused = submit(server, "true", queue_settings={"job_tier": "cheap"}, expect=400)
    assert refused["detail"].startswith("queue_settings.job_tier:") and "premium" in refused["detail"]
    refused = submit(server, "true", queue_settings={"urgency": 1}, expect=400)
    assert refused["detail"].startswith("queue_settings.urgency:")


def test_a_spot_job_gives_way_and_goes_on_from_its_checkpoint(server):
    one = cluster(server, max_instances=1)
    spot = submit(server, CHECKPOINTED, compute=one, queue_settings={"job_tier": "spot"})["name"]
    until_log(server, spot, "attempt 1")
    wanted = submit(server, UNTIL_GO, compute=one)["name"]
    until(server, wanted, "Running")
    waits = until(server, spot, "Queued")
    assert waits["attempt"] == 2 and "exit_code" not in waits
    assert why(server, spot)["place"] == 1
    go(server, wanted)
    assert ended(server, wanted)["status"] == "Completed"
    job = ended(server, spot)
    assert (job["status"], job["attempt"]) == ("Completed", 2)
    assert log_of(server, spot) == "attempt 2\n"
    kept = server.data / "jobs" / spot / "checkpoint"
    assert (kept / "state").read_text() == "saved\n"


def test_a_spot_job_that_was_cancelled_while_it_gave_way_stays_cancelled(server):
    one = cluster(server, max_instances=1)
    spot = submit(server, "trap 'sleep 0.5; exit 0' TERM; echo up; while :; do sleep 0.02; done", compute=one,
                  queue_settings={"job_tier": "spot"})["name"]
    until_log(server, spot, "up")
    wanted = submit(server, "true", compute=one)["name"]
    wait_for(lambda: "gives way" in why(server, spot)["sentence"], what="giving way")
    assert server.post(f"/api/v1/jobs/{spot}/cancel").status_code == 200
    assert ended(server, spot)["status"] == "Canceled"
    assert ended(server, wanted)["status"] == "Completed"


def test_giving_way_survives_kill_9_of_the_server(fresh_server):
    server = fresh_server
    one = cluster(server, max_instances=1)
    slow = CHECKPOINTED.replace("echo saved > state; exit 3", "sleep 1; echo saved > state; exit 3")
    spot = submit(server, slow, compute=one, queue_settings={"job_tier": "spot"})["name"]
    until_log(server, spot, "attempt 1")
    wanted = submit(server, "true", compute=one)["name"]
    wait_for(lambda: "gives way" in why(server, spot)["sentence"], what="giving way")
    server.kill9()
    server.restart()
    assert ended(server, wanted)["status"] == "Completed"
    job = ended(server, spot)
    assert (job["status"], job["attempt"]) == ("Completed", 2)


def test_why_tells_what_a_job_waits_for_its_place_and_what_would_help(server):
    one = cluster(server, max_instances=1)
    first = submit(server, UNTIL_GO, compute=one, limits={"timeout": 600})["name"]
    until(server, first, "Running")
    second = submit(server, "true", compute=one, limits={"timeout": 60})["name"]
    third = submit(server, "true", compute=one)["name"]
    told = why(server, third)
    assert told["place"] == 2
    assert "time limits" in told["basis"] and told["expected_start"] > show(server, third)["phases"]["submitted"]
    assert first in told["remedy"] and "max_instances" in told["remedy"]
    for part in ("its only node is busy", "1 ahead of it", told["remedy"]):
        assert part in told["sentence"]
    assert server.cli("job", "why", "-n", third).stdout.startswith(f"{third} waits for {one}")
    assert "\n" not in server.cli("job", "why", third).stdout.strip()
    assert why(server, first)["sentence"].endswith(f"it has {one}-0")
    go(server, first)
    ended(server, third)
    assert "has ended: Completed" in why(server, third)["sentence"]
    assert server.get("/api/v1/jobs/none-such/why").status_code == 404
    assert ended(server, second)["status"] == "Completed"


@needs_two_cores
def test_a_job_that_its_cluster_can_hold_no_more_holds_up_nobody(server):
    shrinks, other = cluster(server, max_instances=2), cluster(server, max_instances=1)
    first = submit(server, UNTIL_GO, compute=shrinks)["name"]
    until(server, first, "Running")
    wide = submit(server, "true", compute=shrinks, resources={"instance_count": 2}, distribution={"type": "pytorch"})["name"]
    assert server.patch(f"/api/v1/compute/{shrinks}", json={"max_instances": 1}).status_code == 200
    told = why(server, wide)
    assert "cannot start as things are" in told["sentence"] and "max_instances" in told["sentence"] and "expected_start" not in told
    go(server, first)
    for target in (shrinks, other):
        assert ended(server, submit(server, "true", compute=target)["name"])["status"] == "Completed"
    assert show(server, wide)["status"] == "Queued"
    assert server.patch(f"/api/v1/compute/{shrinks}", json={"max_instances": 2}).status_code == 200
    assert ended(server, wide)["status"] == "Completed"


@needs_two_cores
def test_a_job_that_an_instance_leaves_no_room_for_holds_up_nobody(fresh_server):
    server = fresh_server
    cores = int(server.get("/api/v1/compute/local").json()["node"].split()[0])
    assert server.post("/api/v1/compute", json={"name": "held", "type": "computeinstance", "size": "cpu-1"}).status_code == 201
    both = cluster(server, max_instances=cores)
    wide = submit(server, "true", compute=both, resources={"instance_count": cores}, distribution={"type": "pytorch"})["name"]
    assert "to be free on this machine" in why(server, wide)["sentence"]
    short = submit(server, "true", compute=cluster(server), limits={"timeout": 60})["name"]
    assert ended(server, short)["status"] == "Completed"
    assert server.delete("/api/v1/compute/held").status_code == 204
    assert ended(server, wide)["status"] == "Completed"


@needs_root
def test_who_has_used_the_machine_less_comes_first(server):
    one = cluster(server, max_instances=1)
    other = server.post("/api/v1/users", json={"name": "modest", "role": "member"}).json()["token"]
    first = submit(server, UNTIL_GO, compute=one)["name"]
    until(server, first, "Running")
    mine = submit(server, "true", compute=one)["name"]
    answer = server.request("POST", "/api/v1/jobs", json={"command": "true", "compute": one}, headers={"Authorization": f"Bearer {other}"})
    assert answer.status_code == 201, answer.text
    modest = answer.json()["name"]
    assert (why(server, modest)["place"], why(server, mine)["place"]) == (1, 2)
    go(server, first)
    assert ended(server, modest)["phases"]["prepared"] < ended(server, mine)["phases"]["prepared"]


@needs_root
@needs_two_cores
def test_a_quota_holds_back_its_user_and_one_of_0_refuses_the_job():
    with Server("--user-quotas", "admin=1,*=0") as own:
        both = cluster(own, size="cpu-1", max_instances=2)
        first = submit(own, UNTIL_GO, compute=both)["name"]
        until(own, first, "Running")
        second = submit(own, "true", compute=both)["name"]
        waits = show(own, second)
        assert waits["status"] == "Queued" and "quota" in waits["waiting_for"]
        assert "place" not in why(own, second)
        go(own, first)
        assert ended(own, second)["status"] == "Completed"
        other = own.post("/api/v1/users", json={"name": "other", "role": "member"}).json()["token"]
        refused = own.request("POST", "/api/v1/jobs", json={"command": "true"}, headers={"Authorization": f"Bearer {other}"})
        assert refused.status_code == 400
        assert "could never start on local" in refused.json()["detail"] and "quota of other is 0" in refused.json()["detail"]


def test_what_was_recorded_can_be_played_again_by_another_policy(fresh_server):
    server = fresh_server
    one = cluster(server, max_instances=1)
    first = submit(server, UNTIL_GO, compute=one)["name"]
    until(server, first, "Running")
    low = submit(server, "sleep 0.3", compute=one, queue_settings={"priority": "low"})["name"]
    spot = submit(server, CHECKPOINTED, compute=one, queue_settings={"job_tier": "spot"})["name"]
    high = submit(server, "true", compute=one, queue_settings={"priority": "high"})["name"]
    go(server, first)
    for name in (low, high):
        assert ended(server, name)["status"] == "Completed"
    until_log(server, spot, "attempt 1")
    assert ended(server, submit(server, "true", compute=one)["name"])["status"] == "Completed"
    assert ended(server, spot)["status"] == "Completed"
    server.kill9()  # what was decided is in the file, whatever becomes of the server
    file = server.data / "scheduler" / "events.jsonl"
    played = server.cli("scheduler", "replay", file, "-o", "json").json()
    assert played["differences"] == 0 and played["events"] > 10
    recorded, replayed = played["value"]
    assert (recorded["what"], recorded["policy"], recorded["jobs"]) == ("recorded", "fair", 5)
    assert (replayed["jobs"], replayed["preemptions"], recorded["preemptions"]) == (5, 1, 1)
    fifo = server.cli("scheduler", "replay", file, "--policy", "fifo").json()["value"][1]
    assert (fifo["policy"], fifo["jobs"], fifo["preemptions"]) == ("fifo", 5, 0)
    wide = server.cli("scheduler", "replay", file, "--nodes", "5").json()["value"][1]
    assert (wide["jobs"], wide["longest_wait_s"]) == (5, 0)
    with open(file, "a") as cut_off:
        cut_off.write('{"at_us": 1, "wh')
    assert server.cli("scheduler", "replay", file).json()["events"] == played["events"]
    refused = server.cli("scheduler", "replay", server.log, check=False)
    assert refused.returncode != 0 and "server.log:1:" in refused.stderr


def test_a_recording_goes_on_over_restarts_and_a_line_that_a_crash_cut_off(fresh_server):
    server = fresh_server
    file = server.data / "scheduler" / "events.jsonl"
    one = cluster(server, max_instances=1)
    first = submit(server, UNTIL_GO, compute=one)["name"]
    until(server, first, "Running")
    second = submit(server, "true", compute=one)["name"]
    server.kill9()
    with open(file, "a") as cut_off:
        cut_off.write('{"at_us": 1, "wh')
    server.restart()
    go(server, first)
    for name in (first, second, submit(server, "true", compute=one)["name"]):
        assert ended(server, name)["status"] == "Completed"
    played = server.cli("scheduler", "replay", file).json()
    assert played["differences"] == 0
    assert [(each["jobs"], each["left_waiting"]) for each in played["value"]] == [(3, 0), (3, 0)]
    assert all(0 < each["utilisation"] <= 1 for each in played["value"])


def test_a_target_that_was_deleted_keeps_no_node_from_played_jobs(fresh_server):
    server = fresh_server
    holders = [f"holder-{i}" for i in range(int(server.get("/api/v1/compute/local").json()["node"].split()[0]))]
    for name in holders:
        assert server.post("/api/v1/compute", json={"name": name, "type": "computeinstance", "size": "cpu-1"}).status_code == 201
    waits = submit(server, "true", compute=cluster(server))["name"]
    assert "to be free on this machine" in why(server, waits)["sentence"]
    for name in holders:
        assert server.delete(f"/api/v1/compute/{name}").status_code == 204
    assert ended(server, waits)["status"] == "Completed"
    played = server.cli("scheduler", "replay", server.data / "scheduler" / "events.jsonl").json()
    assert [each["jobs"] for each in played["value"]] == [1, 1]


def test_a_made_up_load_is_played_without_a_server(server):
    options = ("--nodes", "50", "--jobs", "500", "--users", "5")
    once, again = (server.cli("scheduler", "simulate", *options).json()["figures"] for _ in range(2))
    assert once == again and once["jobs"] == 500
    assert 0 < once["utilisation"] <= 1
    fifo = server.cli("scheduler", "simulate", *options, "--policy", "fifo").json()["figures"]
    assert fifo["mean_wait_s"] > once["mean_wait_s"]  # gaps are filled
