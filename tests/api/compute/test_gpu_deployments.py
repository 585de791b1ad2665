"""GPUs of online deployments: from the same ledger as jobs', and nobody else sees them."""

import concurrent.futures
import os
import pathlib
import uuid

import pytest
import requests
from endpoint_helpers import ENDPOINTS, make_endpoint, primary_key, register
from job_helpers import cluster, ended, show, submit, until, until_log
from lathe_server import wait_for
from sandbox_helpers import python_can_be_deployed

pytestmark = python_can_be_deployed

SCORE = """
import os

def init():
    pass

def run(data):
    return {name: os.environ.get(name) for name in ("CUDA_VISIBLE_DEVICES", "LATHE_WORKER", "MARK")}
"""
WAITS_FOR_GO = 'echo "sees $CUDA_VISIBLE_DEVICES"; until [ -e "$HOME/go" ]; do sleep 0.02; done'


@pytest.fixture
def project(gpu_server):
    """An endpoint, and what a deployment of a scoring script needs besides its name and size."""
    folder = gpu_server.folder / "code"
    folder.mkdir()
    (folder / "score.py").write_text(SCORE)
    (folder / "weights.txt").write_text("1")
    make_endpoint(gpu_server, "e")
    return {"endpoint_name": "e", "model": register(gpu_server, "m", folder / "weights.txt"),
            "code_configuration": {"code": str(folder), "scoring_script": "score.py"},
            "request_settings": {"request_timeout_ms": 60000, "max_queue_wait_ms": 60000}}  # fmt: skip


def deploy(server, project, name, query="?wait_s=120", **more):
    made = server.post(f"{ENDPOINTS}/e/deployments{query}", json={"name": name, **project, **more})
    assert made.status_code == 201, made.text
    return made.json()


def deployment(server, name):
    return server.get(f"{ENDPOINTS}/e/deployments/{name}").json()


def until_ready(server, name):
    def settled():
        found = deployment(server, name)
        return found["provisioning_state"] in ("Succeeded", "Failed") and found

    found = wait_for(settled, 120, f"{name} being ready")
    assert found["provisioning_state"] == "Succeeded", found
    return found


def ask(server, name):
    headers = {"Authorization": f"Bearer {primary_key(server, 'e')}", "azureml-model-deployment": name}
    answer = requests.post(f"{server.infer}/endpoints/e/score", json={}, headers=headers, timeout=120)
    assert answer.status_code == 200, answer.text
    return answer.json()


def sees(server, name):
    return ask(server, name)["CUDA_VISIBLE_DEVICES"]


def gpus_held(server):
    return [(gpu["state"], gpu["holders"]) for gpu in server.get("/api/v1/compute-gpus").json()["value"]]


def go(server, job):
    (server.data / "jobs" / job / "work/go").touch()
    assert ended(server, job)["status"] == "Completed"


def interpreter(mark):
    """The number of the worker process that has MARK=mark in its environment, as this machine counts it."""
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            if words[0].endswith(b"python3") and f"MARK={mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                return int(folder.name)
        except OSError:
            continue
    return None


def test_deployments_and_jobs_never_see_the_same_gpu(gpu_server, project):
    deploy(gpu_server, project, "one", instance_type="one-gpu")
    deploy(gpu_server, project, "two", instance_type="one-gpu")
    assert (sees(gpu_server, "one"), sees(gpu_server, "two")) == ("GPU-aaaa", "GPU-bbbb")
    assert gpus_held(gpu_server) == [("held", ["deployment e/one"]), ("held", ["deployment e/two"])]

    job = submit(gpu_server, WAITS_FOR_GO, compute=cluster(gpu_server, size="one-gpu"))["name"]
    waits = show(gpu_server, job)
    assert waits["status"] == "Queued" and "1 GPU to be free" in waits["waiting_for"], waits
    assert gpu_server.delete(f"{ENDPOINTS}/e/deployments/one").status_code == 204
    until_log(gpu_server, job, "sees GPU-aaaa", limit_s=60)

    # Three want a GPU, and there are two.
    waits = deploy(gpu_server, project, "three", query="?wait_s=0", instance_type="one-gpu")
    assert waits["provisioning_state"] == "Creating" and waits["serving_state"] == "waiting", waits
    assert waits["reserved"].startswith("waits for 1 core, 0.25 GiB, 1 GPU to be free on this machine"), waits
    assert sees(gpu_server, "two") == "GPU-bbbb"
    go(gpu_server, job)
    until_ready(gpu_server, "three")
    assert (sees(gpu_server, "three"), sees(gpu_server, "two")) == ("GPU-aaaa", "GPU-bbbb")


def test_each_instance_has_a_gpu_of_its_own_and_growing_waits_while_the_rest_answers(gpu_server, project):
    job = submit(gpu_server, WAITS_FOR_GO, compute=cluster(gpu_server, size="one-gpu"))["name"]
    until_log(gpu_server, job, "sees GPU-aaaa", limit_s=60)
    deploy(gpu_server, project, "blue", instance_type="one-gpu")
    assert sees(gpu_server, "blue") == "GPU-bbbb"
    path = f"{ENDPOINTS}/e/deployments/blue"
    grown = gpu_server.patch(f"{path}?wait_s=0", json={"instance_count": 2})
    assert grown.status_code == 200 and grown.json()["provisioning_state"] == "Updating", grown.text
    assert grown.json()["reserved"].startswith("waits for 2 cores, 0.5 GiB, 2 GPUs"), grown.text
    assert sees(gpu_server, "blue") == "GPU-bbbb"
    go(gpu_server, job)
    until_ready(gpu_server, "blue")
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        seen = {}

        def both():  # of requests that come at once, some reach the second worker
            for answer in threads.map(lambda _: ask(gpu_server, "blue"), range(8)):
                seen[answer["LATHE_WORKER"]] = answer["CUDA_VISIBLE_DEVICES"]
            return len(seen) == 2

        wait_for(both, 120, "answers of both workers")
    assert sorted(seen.values()) == ["GPU-aaaa", "GPU-bbbb"]

    # What it gives back is another's only when its worker has ended.
    job = submit(gpu_server, WAITS_FOR_GO, compute=cluster(gpu_server, size="one-gpu"))["name"]
    assert show(gpu_server, job)["status"] == "Queued"
    assert gpu_server.patch(f"{path}?wait_s=120", json={"instance_count": 1}).json()["provisioning_state"] == "Succeeded"
    until_log(gpu_server, job, "sees GPU-", limit_s=60)
    assert {sees(gpu_server, "blue"), gpu_server.get(f"/api/v1/jobs/{job}/log").text.split()[1]} == {"GPU-aaaa", "GPU-bbbb"}
    go(gpu_server, job)


def test_a_server_that_was_killed_finds_the_same_gpus_in_use(gpu_server, project):
    job = submit(gpu_server, WAITS_FOR_GO, compute=cluster(gpu_server, size="one-gpu"))["name"]
    until_log(gpu_server, job, "sees GPU-aaaa", limit_s=60)
    mark = uuid.uuid4().hex
    deploy(gpu_server, project, "blue", instance_type="one-gpu", environment_variables={"MARK": mark})
    before = wait_for(lambda: interpreter(mark), 30, "its worker")
    deploy(gpu_server, project, "green", query="?wait_s=0", instance_type="one-gpu")
    gpu_server.kill9()
    go_file = gpu_server.data / "jobs" / job / "work/go"
    go_file.touch()  # the lowest GPU is free when the server comes back
    gpu_server.restart()
    assert sees(gpu_server, "blue") == "GPU-bbbb" and interpreter(mark) == before
    until_ready(gpu_server, "green")
    assert (sees(gpu_server, "blue"), sees(gpu_server, "green")) == ("GPU-bbbb", "GPU-aaaa")
    assert interpreter(mark) == before
    assert [holders for _, holders in gpus_held(gpu_server)] == [["deployment e/green"], ["deployment e/blue"]]


def test_workers_on_their_gpu_are_nobodys_foreign_processes(gpu_server, gpus, project):
    mark = uuid.uuid4().hex
    variables = {"MARK": mark, "CUDA_VISIBLE_DEVICES": "1"}
    made = deploy(gpu_server, project, "blue", instance_type="half-gpu", environment_variables=variables)
    said = {entry["field"]: entry["verdict"] for entry in made["report"]}
    assert said["environment_variables.CUDA_VISIBLE_DEVICES"] == "ignored"
    deploy(gpu_server, project, "none", instance_type="slot")
    assert (sees(gpu_server, "blue"), sees(gpu_server, "none")) == ("GPU-aaaa", "")
    gpus.processes(0, (wait_for(lambda: interpreter(mark), 30, "its worker"), 9000))
    gpus.processes(1, (os.getpid(), 1))
    # The second is looked at after the first, in every round.
    wait_for(lambda: gpus_held(gpu_server)[1][0] == "outside", 60, "the watch")
    assert gpus_held(gpu_server)[0] == ("held", ["deployment e/blue"])
    assert sees(gpu_server, "blue") == "GPU-aaaa"
    # The other half is a job's; who uses more than its part is known of jobs alone.
    gpu_server.delete(f"{ENDPOINTS}/e/deployments/none")
    job = submit(gpu_server, WAITS_FOR_GO, compute=cluster(gpu_server, size="half-gpu"))["name"]
    until_log(gpu_server, job, "sees GPU-aaaa", limit_s=60)
    go(gpu_server, job)


def test_a_deployment_that_sleeps_keeps_its_gpu(gpu_server, project):
    scale = {"type": "target_utilization", "min_instances": 0, "max_instances": 1, "idle_time_before_scale_down": 1}
    deploy(gpu_server, project, "blue", instance_type="one-gpu", scale_settings=scale)
    wait_for(lambda: deployment(gpu_server, "blue").get("instances") == 0, 60, "its sleep")
    assert gpus_held(gpu_server)[0] == ("held", ["deployment e/blue"])
    name = cluster(gpu_server, size="one-gpu")
    job = submit(gpu_server, WAITS_FOR_GO, compute=name)["name"]
    until_log(gpu_server, job, "sees GPU-bbbb", limit_s=60)
    assert sees(gpu_server, "blue") == "GPU-aaaa"
    go(gpu_server, job)
    until(gpu_server, job, "Completed")
