"""Deployments whose number of workers follows the load: more of them, fewer, none, and one again."""

import concurrent.futures
import contextlib
import os
import socket
import threading

import pytest
import requests

from data_plane import KEY, DataPlane, endpoint
from lathe_server import wait_for
from python_workers import interpreters_of, log_of, scoring_script
from sandbox_helpers import python_can_be_deployed

pytestmark = python_can_be_deployed

# Takes the time that it is told to; a file "broken" beside it lets no worker start.
SCRIPT = """
    import json, os, time

    def init():
        global begun
        begun = time.time_ns()
        if os.path.exists(os.path.join(os.path.dirname(os.path.abspath(__file__)), "broken")):
            raise RuntimeError("it is broken")

    def run(data):
        time.sleep(json.loads(data)["s"])
        return begun
"""
LIMITS = {"request_timeout_ms": 120_000, "max_queue_wait_ms": 120_000}


def scaled(plane, least, most, quiet_ms=1000, target_percent=100, **python):
    deployed = scoring_script(plane, SCRIPT, **{**LIMITS, **python})
    deployed["model"]["scale"] = {"min": least, "max": most, "target_percent": target_percent, "polling_ms": 50,
                                  "quiet_ms": quiet_ms}  # fmt: skip
    return deployed


def deploy(plane, deployed):
    state = plane.desire(endpoint("e", [deployed]))["e.blue"]
    assert state["state"] == "ready", state


def ask(plane, seconds=0.0):
    headers = {"Authorization": f"Bearer {KEY}"}
    return requests.post(f"{plane.url}/endpoints/e/score", json={"s": seconds}, headers=headers, timeout=120)


def instances(plane):
    (one,) = plane.get("/endpoints/e/statistics").json()["deployments"]
    assert f'lathe_infer_instances{{endpoint="e",deployment="blue"}} ' in plane.get("/metrics").text
    return one["instances"]


def reported_instances(plane):
    return plane.reported()["deployments"][0]["instances"]


@contextlib.contextmanager
def clients(plane, count, seconds):
    """So many ask one request after the other; every answer must be good."""
    end = threading.Event()
    statuses = []

    def go():
        while not end.is_set():
            statuses.append(ask(plane, seconds).status_code)

    threads = [threading.Thread(target=go) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        end.set()
        for thread in threads:
            thread.join()
    assert set(statuses) == {200}, statuses


def break_it(plane):
    (plane.models / "code-blue-1" / "broken").write_text("")


def mend_it(plane):
    (plane.models / "code-blue-1" / "broken").unlink()


def test_load_starts_workers_and_quiet_ends_them_without_a_failed_request(plane):
    deploy(plane, scaled(plane, 1, 3))
    assert instances(plane) == 1
    with clients(plane, 8, 0.05):
        wait_for(lambda: instances(plane) == 3, 120, "three workers")
        assert len(interpreters_of(plane)) == 3
        wait_for(lambda: reported_instances(plane) == 3, 120, "the report of three workers")
    with clients(plane, 1, 0):
        wait_for(lambda: instances(plane) == 1, 120, "one worker")
    wait_for(lambda: len(interpreters_of(plane)) == 1, 120, "the end of the others")
    wait_for(lambda: reported_instances(plane) == 1, 120, "the report of one worker")
    assert "started again" not in log_of(plane)


def test_a_worker_that_cannot_start_takes_nothing_down(plane):
    deploy(plane, scaled(plane, 1, 3))
    break_it(plane)
    with clients(plane, 4, 0.02):
        wait_for(lambda: "it is broken" in log_of(plane), 120, "a start that fails")
        assert instances(plane) == 1 and plane.reported()["deployments"][0]["state"] == "ready"
        mend_it(plane)
        wait_for(lambda: instances(plane) == 3, 120, "three workers")


def test_a_worker_that_ends_while_it_is_needed_comes_back(plane):
    deploy(plane, scaled(plane, 2, 3, workers=2))
    (first, _) = interpreters_of(plane)
    os.kill(first, 9)
    wait_for(lambda: len(interpreters_of(plane)) == 2 and first not in interpreters_of(plane), 120, "its successor")
    wait_for(lambda: instances(plane) == 2, 120, "two workers")


@pytest.fixture
def unparked_plane():
    """One that keeps no interpreter for those that sleep."""
    with DataPlane("--parked-interpreters", "0") as running:
        yield running


def test_quiet_ends_the_last_worker_and_requests_wake_one_for_all_of_them(unparked_plane):
    plane = unparked_plane
    deploy(plane, scaled(plane, 0, 1))
    wait_for(lambda: instances(plane) == 0 and not interpreters_of(plane), 120, "the end of the last worker")
    assert plane.get("/v2/models/e").json()["platform"] == "python_script"
    assert plane.get("/v2/health/ready").json() == {"ready": True}
    assert plane.reached()["e.blue"]["state"] == "ready"
    assert interpreters_of(plane) == []
    with concurrent.futures.ThreadPoolExecutor(50) as threads:
        answers = list(threads.map(lambda _: ask(plane), range(50)))
    assert {each.status_code for each in answers} == {200}, {each.text for each in answers}
    assert len({each.json() for each in answers}) == 1
    wait_for(lambda: instances(plane) == 0, 120, "the end of the last worker, again")
    wait_for(lambda: not interpreters_of(plane), 120, "the end of its process")
    assert ask(plane).status_code == 200


def test_a_wake_that_fails_says_why_and_is_tried_again(plane):
    deploy(plane, scaled(plane, 0, 2))
    wait_for(lambda: instances(plane) == 0, 120, "the end of the last worker")
    break_it(plane)
    refused = ask(plane)
    assert refused.status_code == 503 and "it is broken" in refused.json()["error"], refused.text
    assert refused.headers["Retry-After"]
    wait_for(lambda: plane.reached()["e.blue"]["state"] == "failed", 120, "the report of it")
    told = plane.reached()["e.blue"]
    assert told["tries_again"] is True and "(the next request tries again)" in told["error"], told
    mend_it(plane)
    wait_for(lambda: ask(plane).status_code == 200, 120, "the next try")
    wait_for(lambda: plane.reached()["e.blue"]["state"] == "ready", 120, "a good report")


def test_a_data_plane_that_is_killed_while_its_deployments_sleep_answers_again(plane):
    deploy(plane, scaled(plane, 0, 1))
    wait_for(lambda: instances(plane) == 0, 120, "the end of the last worker")
    plane.kill9()
    plane.start()
    wait_for(lambda: plane.get("/v2/health/ready").status_code == 200, 120, "the data plane")
    assert ask(plane).status_code == 200
    wait_for(lambda: instances(plane) == 0, 120, "the end of the last worker, again")
    assert ask(plane).status_code == 200


def test_what_waits_for_its_turn_does_not_wait_the_shorter_for_a_wake(plane):
    """max_queue_wait_ms is how long the others may take, not how long a worker takes to start."""
    deploy(plane, scaled(plane, 0, 1, max_queue_wait_ms=1))
    wait_for(lambda: instances(plane) == 0, 120, "the end of the last worker")
    assert ask(plane).status_code == 200


# Its init() waits until a file "go" is beside it, but in the first worker, which has "first" instead.
HELD = """
    import os, pathlib, time
    here = pathlib.Path(__file__).resolve().parent

    def init():
        while not (here / "first").exists() and not (here / "go").exists():
            time.sleep(0.01)

    def run(data):
        return 1
"""


def waiting(plane):
    (line,) = [each for each in plane.get("/metrics").text.splitlines()
               if each.startswith("nv_inference_pending_request_count{")]  # fmt: skip
    return int(line.rsplit(" ", 1)[1])


@pytest.fixture
def held(plane):
    """The folder of a deployment that sleeps, and wakes when there is a file "go" in it; two requests may wait."""
    code = plane.models / "code-blue-1"
    deployed = scoring_script(plane, HELD, **{**LIMITS, "max_queue": 2})
    deployed["model"]["scale"] = {"min": 0, "max": 1, "polling_ms": 50, "quiet_ms": 200}
    (code / "first").write_text("")
    deploy(plane, deployed)
    wait_for(lambda: instances(plane) == 0, 120, "the end of the first worker")
    (code / "first").unlink()
    yield code
    (code / "go").write_text("")


def test_clients_that_go_away_while_a_deployment_wakes_leave_their_places(plane, held):
    body = b"{}"
    head = f"POST /endpoints/e/score HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Length: {len(body)}\r\n\r\n"
    gone = [socket.create_connection(("127.0.0.1", plane.port), timeout=60) for _ in range(2)]
    for client in gone:
        client.sendall(head.encode() + body)
    wait_for(lambda: waiting(plane) == 2, 120, "both in the queue")
    full = ask(plane)
    assert full.status_code == 503 and "queue is full" in full.json()["error"], full.text
    for client in gone:
        client.close()
    wait_for(lambda: waiting(plane) == 0, 120, "the places of those that went away")

    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        asked = [threads.submit(ask, plane) for _ in range(2)]
        wait_for(lambda: waiting(plane) == 2, 120, "two others in the queue")
        (held / "go").write_text("")
        assert [each.result().status_code for each in asked] == [200, 200]
    assert waiting(plane) == 0
    (one,) = plane.get("/v2/models/e/stats").json()["model_stats"]
    assert one["inference_stats"]["success"]["count"] == 2 and one["inference_stats"]["fail"]["count"] == 3, one
