"""Where requests go: shares, sessions, and copies for a mirror."""

import collections
import concurrent.futures
import re

import requests
from data_plane import KEY, deployment, endpoint
from lathe_server import wait_for
from python_workers import scoring_script
from sandbox_helpers import python_can_be_deployed

BODY = {"input_data": [[0.5] * 8]}


def three(plane, make_booster):
    path = plane.models / "model.ubj"
    make_booster("binary:logistic").save_model(path)
    return [deployment(name, path) for name in ("blue", "green", "red")]


def who_answers(plane, session=requests, **headers):
    headers["Authorization"] = f"Bearer {KEY}"
    got = session.post(f"{plane.url}/endpoints/e/score", json=BODY, headers=headers, timeout=60)
    assert got.status_code == 200, got.text
    return got.headers["azureml-model-deployment"]


def copies(plane, name):
    """What became of the copies that `name` got."""
    lines = re.findall(rf'lathe_infer_mirrored_requests_total{{endpoint="e",deployment="{name}",outcome="(\w+)"}} (\d+)',
                       plane.get("/metrics").text)  # fmt: skip
    return {outcome: int(count) for outcome, count in lines}


def test_a_thousand_requests_of_many_clients_are_split_exactly(plane, make_booster):
    plane.desire(endpoint("e", three(plane, make_booster), {"blue": 71, "green": 23, "red": 6}))

    def ask(_):
        with requests.Session() as session:
            return collections.Counter(who_answers(plane, session) for _ in range(125))

    with concurrent.futures.ThreadPoolExecutor(8) as clients:
        went = sum(clients.map(ask, range(8)), collections.Counter())
    assert went == {"blue": 710, "green": 230, "red": 60}


def test_a_session_stays_where_it_is(plane, make_booster):
    deployments = three(plane, make_booster)
    plane.desire(endpoint("e", deployments, {"blue": 70, "green": 30}))
    sessions = [f"client {i}" for i in range(100)]
    with requests.Session() as client:
        first = {each: who_answers(plane, client, **{"x-lathe-session": each}) for each in sessions}
        assert set(first.values()) == {"blue", "green"}
        assert {each: who_answers(plane, client, **{"X-Lathe-Session": each}) for each in sessions} == first
        named = {"azureml-model-deployment": "red", "x-lathe-session": sessions[0]}
        assert who_answers(plane, client, **named) == "red"
        plane.desire(endpoint("e", deployments, {"blue": 30, "green": 70}))
        moved = {each: who_answers(plane, client, **{"x-lathe-session": each}) for each in sessions}
    assert any(moved[each] != first[each] for each in sessions)
    assert all(moved[each] == "green" for each in sessions if first[each] == "green")


def test_a_mirror_gets_copies_of_its_share(plane, make_booster):
    wanted = endpoint("e", three(plane, make_booster), {"blue": 100})
    plane.desire({**wanted, "mirror": {"green": 10}})
    with requests.Session() as client:
        assert {who_answers(plane, client) for _ in range(200)} == {"blue"}
        # What names a deployment is not copied.
        for _ in range(20):
            who_answers(plane, client, **{"azureml-model-deployment": "blue"})
    wait_for(lambda: copies(plane, "green") == {"computed": 20}, 60, "the copies")
    stats = plane.get("/v2/models/e.green/stats").json()["model_stats"][0]
    assert stats["inference_stats"]["success"]["count"] == 20
    plane.desire({**wanted, "mirror": {"red": 50}})
    for _ in range(10):
        who_answers(plane)
    wait_for(lambda: copies(plane, "red") == {"computed": 5}, 60, "the copies")
    assert copies(plane, "green") == {"computed": 20}


@python_can_be_deployed
def test_a_mirror_that_hangs_harms_nobody(plane, make_booster):
    hangs = scoring_script(plane, """
        import threading
        def init(): pass
        def run(data): threading.Event().wait()
        """, "hangs", workers=1, max_queue=1, request_timeout_ms=600_000, max_queue_wait_ms=600_000)  # fmt: skip
    wanted = endpoint("e", [three(plane, make_booster)[0], hangs])
    plane.desire({**wanted, "mirror": {"hangs": 50}})
    with requests.Session() as client:
        assert {who_answers(plane, client) for _ in range(40)} == {"blue"}
    # One is computed and one waits; the others are dropped.
    wait_for(lambda: copies(plane, "hangs") == {"dropped": 18}, 60, "the copies")
