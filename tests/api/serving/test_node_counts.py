"""What nodes of the inference cluster compute counts as much as what the server's own machine does."""

import re

import pytest
import requests
from asking import ROWS, ask, train
from endpoint_helpers import ENDPOINTS, deploy, make_endpoint, primary_key, register
from inference_nodes import NODES, Between, Node
from lathe_server import wait_for

EVERY = 10**6


@pytest.fixture(scope="module")
def models(server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    train(folder, 1, "one.ubj"), train(folder, 2, "two.ubj")
    return [register(server, "counted", folder / "one.ubj"), register(server, "counted", folder / "two.ubj")]


def served(server, name, model):
    make_endpoint(server, name)
    made = deploy(server, name, "blue", model, "?all_traffic=true")
    assert made["provisioning_state"] == "Succeeded", made
    return primary_key(server, name)


def ask_at(url, endpoint, key, times, wanted=200):
    for _ in range(times):
        answer = ask(f"{url}/v2/models/{endpoint}/infer", key, ROWS[:2])
        assert answer.status_code == wanted, answer.text
    return answer


def told(server, endpoint, deployment="blue"):
    shown = server.get(f"{ENDPOINTS}/{endpoint}/statistics").json()["deployments"]
    return next((each for each in shown if each["name"] == deployment), {"requests": None})


def wait_for_requests(server, endpoint, wanted):
    wait_for(lambda: told(server, endpoint)["requests"] == wanted, 60, f"{wanted} requests of {endpoint}")


def test_statistics_are_those_of_all_machines(server, models):
    key = served(server, "summed", models[0])
    with Node(server, "sum-1") as one, Node(server, "sum-2") as two:
        one.wait_ready("summed.blue")
        two.wait_ready("summed.blue")
        ask_at(one.url, "summed", key, 5)
        ask_at(two.url, "summed", key, 7)
        ask_at(server.infer, "summed", key, 3)
        assert ask(f"{two.url}/v2/models/summed/infer", key, ROWS[:1, :2]).status_code == 400
        wait_for_requests(server, "summed", 16)
        shown = told(server, "summed")
        assert shown["errors"] == 0 and 0 < shown["p50_us"] <= shown["p99_us"]
        # One that ends has said all, and what it said stays.
        ask_at(two.url, "summed", key, 4)
        assert two.stop() == 0
        wait_for_requests(server, "summed", 20)
        # One that starts again begins anew.
        two.restart()
        wait_for(lambda: ask(f"{two.url}/v2/models/summed/infer", key, ROWS[:2]).status_code == 200, 60, "answers again")
        wait_for(lambda: 8 < told(server, "summed")["requests"] < 20, 60, "the counts of the new process")
    server.delete(f"{ENDPOINTS}/summed/deployments/blue")


def test_a_server_that_starts_again_hears_all_again(fresh_server, tmp_path):
    server = fresh_server
    train(tmp_path, 1)
    key = served(server, "again", register(server, "again-model", tmp_path / "model.ubj"))
    with Node(server, "steady") as node:
        node.wait_ready("again.blue")
        ask_at(node.url, "again", key, 6)
        wait_for_requests(server, "again", 6)
        server.kill9()
        ask_at(node.url, "again", key, 2)
        server.restart()
        wait_for_requests(server, "again", 8)


def test_a_request_that_is_sent_on_counts_once(server, models):
    key = served(server, "onward", models[0])
    with Between(server, damage=EVERY) as between, Node(server, "sends-on", join=between.url) as node:
        wait_for(lambda: ask(f"{node.url}/v2/models/onward/infer", key, ROWS[:2]).status_code == 200, 120, "answers")
        before = told(server, "onward")["requests"]
        answer = ask_at(node.url, "onward", key, 10)
        assert answer.headers["x-lathe-node"] == "server"
        ask_at(server.infer, "onward", key, 1)
        assert told(server, "onward")["requests"] == before + 11
        # And it stays so when the node has spoken again.
        seen = node.shown()["last_seen"]
        wait_for(lambda: node.shown()["last_seen"] > seen, 60, "the node's next word")
        assert told(server, "onward")["requests"] == before + 11


def asleep(node, endpoint, deployment):
    found = re.search(rf'^lathe_infer_instances{{endpoint="{endpoint}",deployment="{deployment}"}} (\d+)$',
                      requests.get(f"{node.url}/metrics", timeout=30).text, re.M)  # fmt: skip
    return found is not None and found[1] == "0"


def test_errors_at_a_node_alone_send_a_guarded_shift_back(server, models):
    key = served(server, "nodeguard", models[0])
    with Node(server, "ill") as ill, Node(server, "well") as well:
        made = deploy(server, "nodeguard", "green", models[1], scale_settings={
            "type": "target_utilization", "min_instances": 0, "max_instances": 1, "idle_time_before_scale_down": 1})  # fmt: skip
        assert made["provisioning_state"] == "Succeeded", made
        ill.wait_ready("nodeguard.green", "2")
        well.wait_ready("nodeguard.green", "2")
        # Its model sleeps, and cannot wake: there is nothing left to read.
        wait_for(lambda: asleep(ill, "nodeguard", "green"), 120, "sleep")
        for file in (ill.folder / "models").rglob("two.ubj"):
            file.chmod(0o600)
            file.write_bytes(b"rubbish")
        changed = server.patch(f"{ENDPOINTS}/nodeguard",
                               json={"traffic": {"green": 50}, "guard": "errors<5%", "for": "1h"})  # fmt: skip
        assert changed.status_code == 200 and changed.json()["shift"]["state"] == "watching", changed.text

        def outcome():
            ask(f"{ill.url}/v2/models/nodeguard/infer", key, ROWS[:2])
            shown = server.get(f"{ENDPOINTS}/nodeguard").json()
            return shown["shift"]["state"] != "watching" and shown

        shown = wait_for(outcome, 120, "the end of the watch")
        assert shown["shift"]["state"] == "rolled back" and "errors was 100.0 %" in shown["shift"]["why"], shown
        assert shown["traffic"] == {"blue": 100}
        own = requests.get(f"{server.infer}/endpoints/nodeguard/statistics", timeout=30,
                           headers={"Authorization": f"Bearer {key}"}).json()["deployments"]  # fmt: skip
        assert [each["counts"]["requests"] for each in own if each["name"] == "green"] == [0]


COUNTS = {"requests": 1, "errors": 0, "succeeded": 1, "total_us": 9, "latency_us": {"9": 1}, "began_us": 1}


@pytest.mark.parametrize("counts, words", [
    ({}, "must be a list"), ([7], "counts[0]"), ([{}], "endpoint"),
    ([{"endpoint": "e", "deployment": "d", "version": "1"}], "counts[0]"),
    ([{"endpoint": "e", "deployment": "d", "version": "1", "counts": {**COUNTS, "requests": -1}}], "counts[0]"),
    ([{"endpoint": "e", "deployment": "d", "version": "1", "counts": {**COUNTS, "requests": 1e30}}], "counts[0]"),
    ([{"endpoint": "e", "deployment": "d", "version": "1", "counts": {**COUNTS, "latency_us": {"x\n": 1}}}], "latency_us"),
    ([{"endpoint": "e", "deployment": "d", "version": "1", "counts": {**COUNTS, "more": 1}}], "more"),
    ([{"endpoint": "e", "deployment": "d", "version": "1", "counts": COUNTS}] * 2, "before"),
])  # fmt: skip
def test_what_no_node_can_have_counted_is_refused(server, counts, words):
    made = server.post(NODES, json={"name": "liar"}).json()
    said = requests.post(server.url + "/api/v1/inference-node/sync", timeout=30,
                         headers={"Authorization": f"Bearer {made['token']}"},
                         json={"url": "http://127.0.0.1:1", "instance": "a", "now_us": 5, "counts": counts})  # fmt: skip
    server.delete(f"{NODES}/liar").raise_for_status()
    assert said.status_code == 400 and words in said.json()["detail"], said.text


def test_what_is_not_served_is_not_kept(server, models):
    served(server, "known", models[0])
    made = server.post(NODES, json={"name": "talker"}).json()
    counts = [{"endpoint": endpoint, "deployment": deployment, "version": "1", "counts": {**COUNTS, "requests": 40}}
              for endpoint, deployment in (("known", "blue"), ("known", "red"), ("other", "blue"))]  # fmt: skip
    said = requests.post(server.url + "/api/v1/inference-node/sync", timeout=30,
                         headers={"Authorization": f"Bearer {made['token']}"},
                         json={"url": "http://127.0.0.1:1", "instance": "a", "now_us": 5, "counts": counts})  # fmt: skip
    assert said.status_code == 200, said.text
    shown = server.get(f"{ENDPOINTS}/known/statistics").json()["deployments"]
    assert [(each["name"], each["requests"]) for each in shown] == [("blue", 40)]
    server.delete(f"{NODES}/talker").raise_for_status()
    assert told(server, "known")["requests"] == 0
