"""Azure's scale_settings of deployments: what they say, what is refused, and what they do."""

import threading

import pytest
import requests
from endpoint_helpers import ENDPOINTS, deploy, make_endpoint, primary_key, register
from lathe_server import wait_for
from sandbox_helpers import python_can_be_deployed

pytestmark = python_can_be_deployed

BLUE = f"{ENDPOINTS}/scaled/deployments/blue"


@pytest.fixture(scope="module")
def scripted(server, tmp_path_factory):
    """A deployment of a scoring script that takes as long as it is told to, one to three instances of it."""
    folder = tmp_path_factory.mktemp("scaled")
    (folder / "factor.txt").write_text("2")
    (folder / "code").mkdir()
    (folder / "code" / "score.py").write_text("import json, time\ndef run(data): time.sleep(json.loads(data))\n")
    make_endpoint(server, "scaled")
    scale = {"type": "target_utilization", "min_instances": 1, "max_instances": 3, "target_utilization_percentage": 90,
             "polling_interval": 1, "idle_time_before_scale_down": 1}  # fmt: skip
    return deploy(server, "scaled", "blue", register(server, "factor-scaled", folder / "factor.txt"), "?all_traffic=true",
                  code_configuration={"code": str(folder / "code"), "scoring_script": "score.py"}, scale_settings=scale,
                  request_settings={"request_timeout_ms": 120_000, "max_queue_wait_ms": 120_000})  # fmt: skip


def instances(server):
    (one,) = server.get(f"{ENDPOINTS}/scaled/statistics").json()["deployments"]
    return one["instances"]


def ask(server, seconds, key):
    return requests.post(f"{server.infer}/endpoints/scaled/score", json=seconds, timeout=120,
                         headers={"Authorization": f"Bearer {key}"})  # fmt: skip


def test_target_utilization_is_shown_and_said_to_mean_workers(scripted):
    assert scripted["provisioning_state"] == "Succeeded", scripted
    assert scripted["scale_settings"] == {
        "type": "target_utilization", "min_instances": 1, "max_instances": 3, "target_utilization_percentage": 90,
        "polling_interval": 1, "idle_time_before_scale_down": 1}  # fmt: skip
    (said,) = [each for each in scripted["report"] if each["field"] == "scale_settings"]
    assert said["verdict"] == "substituted" and "worker processes on this machine, 1 to 3" in said["detail"], said


def test_instances_come_with_the_load_and_go_after_it(server, scripted):
    key = primary_key(server, "scaled")
    end = threading.Event()
    statuses = []

    def go():
        while not end.is_set():
            statuses.append(ask(server, 0.05, key).status_code)

    threads = [threading.Thread(target=go) for _ in range(6)]
    for thread in threads:
        thread.start()
    try:
        wait_for(lambda: instances(server) == 3, 120, "three instances")
        wait_for(lambda: server.get(BLUE).json()["instances"] == 3, 120, "their number in the view")
    finally:
        end.set()
        for thread in threads:
            thread.join()
    assert set(statuses) == {200}
    wait_for(lambda: instances(server) == 1, 120, "one instance")
    wait_for(lambda: server.get(BLUE).json()["instances"] == 1, 120, "its number in the view")


@pytest.mark.parametrize("change, words", [
    ({"min_instances": 4}, "scale_settings.min_instances: is 4, more than max_instances (3)"),
    ({"min_instances": -1}, "scale_settings.min_instances"), ({"max_instances": 0}, "scale_settings.max_instances"),
    ({"max_instances": 1000}, "scale_settings.max_instances"), ({"polling_interval": "PT1S"}, "scale_settings.polling_interval"),
    ({"target_utilization_percentage": 101}, "scale_settings.target_utilization_percentage"),
    ({"min_instance": 1}, 'the nearest are "min_instances"'), ({"type": "cpu"}, "scale_settings.type"),
    ({"type": "default", "min_instances": 1}, "scale_settings.type"), ({"idle_time_before_scale_down": 0}, "idle_time_before_scale_down"),
])  # fmt: skip
def test_what_is_wrong_with_it_is_named(server, scripted, change, words):
    refused = server.patch(BLUE, json={"scale_settings": change})
    assert refused.status_code == 400 and words in refused.json()["detail"], refused.text


def test_a_change_keeps_the_rest_and_default_takes_it_back(server, scripted):
    changed = server.patch(BLUE, json={"scale_settings": {"min_instances": 0}}).json()
    assert changed["provisioning_state"] == "Succeeded", changed
    assert (changed["scale_settings"]["min_instances"], changed["scale_settings"]["max_instances"]) == (0, 3)
    wait_for(lambda: instances(server) == 0, 120, "no instance")
    assert ask(server, 0, primary_key(server, "scaled")).status_code == 200
    fixed = server.patch(BLUE, json={"scale_settings": {"type": "default"}, "instance_count": 2}).json()
    assert fixed["provisioning_state"] == "Succeeded" and fixed["instance_count"] == 2, fixed
    assert fixed.get("scale_settings") is None and fixed.get("instances") is None, fixed
    wait_for(lambda: instances(server) == 2, 120, "two instances")
