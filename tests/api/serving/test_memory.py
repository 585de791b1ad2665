"""Native models that leave memory through the server: min_instances 0, and a budget for all of them."""

import os
import signal
import subprocess

import pytest
import requests
from asking import ROWS, ask, train
from endpoint_helpers import ENDPOINTS, deploy, make_endpoint, primary_key, register
from lathe_server import Server, bin_folder, cmdline, wait_for


def instances(server, endpoint):
    (one,) = server.get(f"{ENDPOINTS}/{endpoint}/statistics").json()["deployments"]
    return one["instances"]


def make(server, name, model, **more):
    made = make_endpoint(server, name)
    deployed = deploy(server, name, "blue", model, "?all_traffic=true", **more)
    assert deployed["provisioning_state"] == "Succeeded", deployed
    return made["scoring_uri"], primary_key(server, name), deployed


def test_a_native_model_of_no_instance_leaves_memory_and_comes_back_also_after_a_kill(tmp_path):
    train(tmp_path, 1)
    with Server() as server:
        uri, key, made = make(server, "sleepy", register(server, "trees", tmp_path / "model.ubj"), scale_settings={
            "type": "target_utilization", "min_instances": 0, "max_instances": 1, "idle_time_before_scale_down": 1})  # fmt: skip
        (said,) = [each for each in made["report"] if each["field"] == "scale_settings"]
        assert said["verdict"] == "substituted" and "leaving memory after 1 s" in said["detail"], said
        wait_for(lambda: instances(server, "sleepy") == 0, 120, "its sleep")
        wait_for(lambda: server.get(f"{ENDPOINTS}/sleepy/deployments/blue").json()["instances"] == 0, 120, "the view of it")
        assert server.get(f"{ENDPOINTS}/sleepy/deployments/blue").json()["serving_state"] == "ready"
        assert ask(uri, key, ROWS[:1]).status_code == 200
        wait_for(lambda: instances(server, "sleepy") == 0, 120, "its sleep again")
        for pid in [each for each in server.processes() if "lathe-infer\0" in cmdline(each)]:
            os.kill(pid, signal.SIGKILL)

        def answers():
            try:
                return ask(uri, key, ROWS[:1]).status_code == 200
            except requests.ConnectionError:
                return False

        wait_for(answers, 120, "the data plane")
        fixed = server.patch(f"{ENDPOINTS}/sleepy/deployments/blue", json={"scale_settings": {
            "type": "target_utilization", "min_instances": 1, "max_instances": 1}}).json()  # fmt: skip
        assert [each["verdict"] for each in fixed["report"] if each["field"] == "scale_settings"] == ["ignored"]
        assert fixed.get("scale_settings") is None and instances(server, "sleepy") == 1, fixed


def test_a_budget_holds_what_it_can_and_everything_answers(tmp_path):
    names = ["one", "two", "three"]
    for seed, name in enumerate(names):
        train(tmp_path, seed, f"{name}.ubj")
    size = max((tmp_path / f"{name}.ubj").stat().st_size for name in names)
    with Server("--inference-memory", f"{2.5 * size / 2**20:.6f}MiB") as server:
        asked = [make(server, name, register(server, name, tmp_path / f"{name}.ubj"))[:2] for name in names]
        wait_for(lambda: sum(instances(server, name) for name in names) == 2, 120, "two models in memory")
        for uri, key in asked * 3:
            assert ask(uri, key, ROWS[:1]).status_code == 200
        wait_for(lambda: sum(instances(server, name) for name in names) == 2, 120, "two models in memory, again")

        # Without the budget the data plane is started again, and all of them stay.
        server.terminate()
        server.flags = [each for each in server.flags if not each.endswith("MiB") and each != "--inference-memory"]
        server.start()
        wait_for(lambda: requests.get(f"{server.infer}/v2/health/ready", timeout=60).status_code == 200, 120, "its models")
        assert sum(instances(server, name) for name in names) == 3


@pytest.mark.parametrize("value", ["4", "4TB", "-1GiB", "lots", "0MiB"])
def test_a_budget_that_is_none_is_refused(value):
    shown = subprocess.run([bin_folder() / "lathe", "config", "show", f"--inference-memory={value}"],
                           capture_output=True, text=True, timeout=60)  # fmt: skip
    assert shown.returncode != 0 and "inference_memory must be unlimited or a size such as 4GiB" in shown.stderr, shown
