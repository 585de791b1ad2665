"""Compute instances: started and stopped by people, by schedules, and when they are idle."""

import datetime
import itertools
import os

import pytest

from job_helpers import ended, run, show, submit, until
from lathe_server import Server, wait_for

_numbers = itertools.count(1)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only a server that runs as root takes a second user")


def instance(server, expect=201, **more):
    """Makes an instance of one core and answers it."""
    document = {"name": f"ci-{next(_numbers)}", "type": "computeinstance", "size": "cpu-1", **more}
    made = server.post("/api/v1/compute", json=document)
    assert made.status_code == expect, made.text
    return made.json()


def look(server, name):
    return server.get(f"/api/v1/compute/{name}").json()


def act(server, name, verb):
    answer = server.post(f"/api/v1/compute/{name}/{verb}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def until_state(server, name, state, limit_s=60):
    def there():
        seen = look(server, name)
        return seen if seen["state"] == state else None

    return wait_for(there, limit_s, f"{name} being {state}")


def holders(server):
    usage = {one["name"]: one for one in server.get("/api/v1/compute-usage").json()["value"]}
    return usage["cores"]["holders"]


def in_seconds(seconds):
    """A trigger that acts first in so many seconds, and then not for hours."""
    start = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)
    return {"type": "recurrence", "frequency": "minute", "interval": 1000, "start_time": start.strftime("%Y-%m-%dT%H:%M:%S.%fZ")}


@pytest.fixture
def made(server):
    """An instance that is gone after the test, so that the next one has room."""
    name = instance(server)["name"]
    yield name
    act(server, name, "stop")
    until_state(server, name, "Stopped")
    for job in server.get("/api/v1/jobs").json()["value"]:
        if job["status"] == "Queued":
            server.post(f"/api/v1/jobs/{job['name']}/cancel")
    assert wait_for(lambda: server.delete(f"/api/v1/compute/{name}").status_code == 204, 60, "the instance going")


def test_a_new_instance_runs_and_holds_its_part_of_the_machine(server, made):
    seen = look(server, made)
    assert (seen["state"], seen["provisioning_state"], seen["current_node_count"]) == ("Running", "Succeeded", 1)
    assert seen["last_operation"]["operation_name"] == "Create"
    assert holders(server)[f"instance {made}"] == 1
    job, log = run(server, "echo on $LATHE_NODE", compute=made)
    assert (job["status"], log) == ("Completed", f"on {made}-0\n")


def test_a_stopped_instance_holds_nothing_and_its_jobs_wait_for_its_start(server, made):
    stopped = act(server, made, "stop")
    assert (stopped["state"], stopped["current_node_count"]) == ("Stopped", 0)
    assert f"instance {made}" not in holders(server)
    job = submit(server, "echo late", compute=made)["name"]
    assert f"waits for {made} to be started" in show(server, job)["waiting_for"]
    told = server.get(f"/api/v1/jobs/{job}/why").json()
    assert told["remedy"] == f"`lathe compute start -n {made}`" and "max_instances" not in told["sentence"]
    assert act(server, made, "start")["state"] == "Running"
    assert ended(server, job)["status"] == "Completed"
    assert look(server, made)["last_operation"]["operation_name"] == "Start"


def test_a_stop_ends_what_runs(server, made):
    job = submit(server, "exec sleep 600", compute=made)["name"]
    until(server, job, "Running")
    assert act(server, made, "stop")["state"] in ("Stopping", "Stopped")
    assert ended(server, job)["status"] == "Canceled"
    until_state(server, made, "Stopped")


def test_a_restart_ends_what_runs_and_comes_back(server, made):
    job = submit(server, "exec sleep 600", compute=made)["name"]
    until(server, job, "Running")
    assert act(server, made, "restart")["state"] in ("Restarting", "Running")
    assert ended(server, job)["status"] == "Canceled"
    seen = until_state(server, made, "Running")
    assert seen["last_operation"]["operation_name"] == "Restart"
    assert run(server, "true", compute=made)[0]["status"] == "Completed"


def test_an_idle_instance_is_stopped_and_a_busy_one_is_not(server, made):
    changed = server.patch(f"/api/v1/compute/{made}", json={"idle_time_before_shutdown": "PT1S"})
    assert changed.status_code == 200, changed.text
    seen = until_state(server, made, "Stopped")
    assert seen["last_operation"]["operation_trigger"] == "IdleShutdown"
    act(server, made, "start")
    job = submit(server, "sleep 2.5", compute=made)["name"]
    assert ended(server, job)["status"] == "Completed"
    until_state(server, made, "Stopped")


def test_null_takes_settings_away_and_durations_have_units(server, made):
    schedules = {"compute_start_stop": [{"action": "stop", "trigger": in_seconds(600)}]}
    changed = server.patch(f"/api/v1/compute/{made}", json={"schedules": schedules, "idle_time_before_shutdown": "PT1H"}).json()
    assert (changed["schedules"], changed["idle_time_before_shutdown"]) == (schedules, "PT1H")
    refused = server.patch(f"/api/v1/compute/{made}", json={"idle_time_before_shutdown": "30"})
    assert refused.status_code == 400 and "unit" in refused.json()["detail"]
    changed = server.cli("compute", "update", "-n", made, "--set", "schedules=null", "--set", "idle_time_before_shutdown=null").json()
    assert "schedules" not in changed and "idle_time_before_shutdown" not in changed


@needs_root
def test_an_instance_is_its_persons_own(server, made):
    other = server.post("/api/v1/users", json={"name": "neighbour", "role": "member"}).json()["token"]
    theirs = {"headers": {"Authorization": f"Bearer {other}"}}
    own = {"name": "neighbours-own", "type": "computeinstance", "size": "cpu-1"}
    for method, path, body in (("POST", f"/{made}/stop", None), ("PATCH", f"/{made}", {"description": "mine"}),
                               ("DELETE", f"/{made}", None), ("POST", "", {"name": made, "type": "computeinstance"})):  # fmt: skip
        refused = server.request(method, "/api/v1/compute" + path, json=body, **theirs)
        assert refused.status_code == 403 and "administrator" in refused.json()["detail"], refused.text
    assert server.request("POST", "/api/v1/compute", json=own, **theirs).status_code == 201
    assert server.request("POST", "/api/v1/compute/neighbours-own/stop", **theirs).status_code == 200
    assert server.delete("/api/v1/compute/neighbours-own").status_code == 204


def test_a_schedule_stops_it_at_its_time(server, made):
    schedules = {"compute_start_stop": [{"action": "stop", "trigger": in_seconds(1)}]}
    changed = server.patch(f"/api/v1/compute/{made}", json={"schedules": schedules})
    assert changed.status_code == 200, changed.text
    assert changed.json()["schedules"] == schedules
    seen = until_state(server, made, "Stopped")
    assert seen["last_operation"]["operation_trigger"] == "Schedule"


def test_what_is_no_instance_is_not_started(server):
    assert server.post("/api/v1/compute", json={"name": "plain", "type": "amlcompute", "size": "cpu-1"}).status_code == 201
    for name, status in (("plain", 409), ("local", 409), ("nobody", 404)):
        for verb in ("start", "stop", "restart"):
            assert server.post(f"/api/v1/compute/{name}/{verb}").status_code == status
    assert server.post("/api/v1/compute", json={"name": "plain", "type": "computeinstance"}).status_code == 409


def test_documents_that_cannot_be_name_their_field(server):
    def refused(**more):
        return instance(server, expect=400, **more)["detail"]

    stop = {"action": "stop", "trigger": {"type": "cron", "expression": "0 18 * * *", "time_zone": "Mars Standard Time"}}
    assert refused(schedules={"compute_start_stop": [stop]}).startswith("schedules.compute_start_stop[0].trigger.time_zone:")
    assert refused(schedules={"compute_start_stop": [{"action": "nap"}]}).startswith("schedules.compute_start_stop[0].action:")
    assert refused(idle_time_before_shutdown="PT0S").startswith("idle_time_before_shutdown:")
    assert refused(max_instances=3).startswith("max_instances:")


def test_the_command_line_has_the_verbs(server, made):
    assert server.cli("compute", "stop", "-n", made).json()["state"] == "Stopped"
    assert server.cli("compute", "start", "--name", made).json()["state"] == "Running"
    assert server.cli("compute", "restart", made).json()["state"] in ("Running", "Restarting")
    usage = {one["name"]: one for one in server.cli("compute", "list-usage").json()}
    assert usage["cores"]["current_value"] >= 1
    assert made in [one["name"] for one in server.cli("compute", "list", "--type", "ComputeInstance").json()]
    assert server.cli("compute", "list-gpus").json() == []


def test_states_and_schedules_survive_the_server():
    with Server() as server:
        running = instance(server, name="on")["name"]
        stopped = instance(server, name="off", size="slim-of-none", expect=400)
        assert stopped["detail"].startswith("size:")
        schedules = {"compute_start_stop": [{"name": "missed", "action": "stop", "trigger": in_seconds(2)}]}
        assert server.patch(f"/api/v1/compute/{running}", json={"schedules": schedules}).status_code == 200
        job = submit(server, "exec sleep 600", compute=running)["name"]
        until(server, job, "Running")
        server.kill9()
        due = datetime.datetime.now() + datetime.timedelta(seconds=2)
        wait_for(lambda: datetime.datetime.now() > due, 60, "the time of the stop to pass")
        server.restart()
        # The stop that was missed is made up for, once.
        seen = until_state(server, running, "Stopped")
        assert seen["last_operation"]["operation_trigger"] == "Schedule"
        assert ended(server, job)["status"] == "Canceled"
        act(server, running, "start")
        server.kill9()
        server.restart()
        assert until_state(server, running, "Running")["last_operation"]["operation_name"] == "Start"
