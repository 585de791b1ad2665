"""GPUs: who gets which, who uses them behind our back, and one ledger for all that needs a part of the machine."""

import hashlib
import os
import subprocess

import numpy
import pytest
import xgboost

from job_helpers import cluster, ended, run, show, submit, until, until_log
from lathe_server import wait_for

ENDPOINTS = "/api/v1/online-endpoints"


def gpu_list(server):
    return server.get("/api/v1/compute-gpus").json()["value"]


def until_gpu(server, number, state):
    return wait_for(lambda: gpu_list(server)[number]["state"] == state, 60, f"GPU {number} being {state}")


@pytest.fixture
def outside():
    """A process that Lathe has not started; the test tells the fake library on which GPU it computes."""
    process = subprocess.Popen(["sleep", "600"])
    yield process.pid
    process.kill()
    process.wait()


def model(server, folder):
    rows = numpy.arange(40, dtype=numpy.float32).reshape(20, 2)
    booster = xgboost.train({"max_depth": 2, "nthread": 1}, xgboost.DMatrix(rows, rows[:, 0] > 20), num_boost_round=2)
    booster.save_model(folder / "m.ubj")
    content = (folder / "m.ubj").read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    server.put(f"/api/v1/blobs/{digest}", data=content).raise_for_status()
    files = [{"path": "m.ubj", "sha256": digest, "size": len(content), "executable": False}]
    tree = server.post("/api/v1/trees", json={"files": files}).json()["digest"]
    server.post("/api/v1/models", json={"name": "m", "path": f"tree:{tree}/m.ubj"}).raise_for_status()
    return "azureml:m:1"


def deploy(server, name, **more):
    server.post(ENDPOINTS, json={"name": "e"}).raise_for_status()
    made = server.post(f"{ENDPOINTS}/e/deployments", json={"name": name, "endpoint_name": "e", **more})
    assert made.status_code == 201, made.text
    return made.json()


def test_the_machines_gpus_are_listed_with_their_sizes(gpu_server):
    answer = gpu_server.get("/api/v1/compute-gpus").json()
    assert answer["source"].startswith("NVML")
    assert [(gpu["uuid"], gpu["memory_gib"], gpu["state"]) for gpu in answer["value"]] == [
        ("GPU-aaaa", 16, "free"), ("GPU-bbbb", 16, "free")]
    sizes = {size["name"]: size for size in gpu_server.cli("compute", "list-sizes").json()}
    assert (sizes["half-gpu"]["gpus"], sizes["half-gpu"]["from"]) == (0.5, "administrator")
    assert sizes["gpu-0.5"]["here"].endswith("0.5 GPU")
    assert sizes["Standard_NC6"]["from"] == "azure"


def test_each_job_sees_a_gpu_of_its_own_by_uuid(gpu_server):
    name = cluster(gpu_server, size="one-gpu", max_instances=2)
    command = 'echo "sees $CUDA_VISIBLE_DEVICES"; until [ -e "$HOME/go" ]; do sleep 0.02; done'
    jobs = [submit(gpu_server, command, compute=name)["name"] for _ in range(2)]
    for job in jobs:
        until_log(gpu_server, job, "sees")
    logs = {gpu_server.get(f"/api/v1/jobs/{job}/log").text for job in jobs}
    assert logs == {"sees GPU-aaaa\n", "sees GPU-bbbb\n"}
    assert [gpu["state"] for gpu in gpu_list(gpu_server)] == ["held", "held"]
    for job in jobs:
        (gpu_server.data / "jobs" / job / "work/go").touch()
        assert ended(gpu_server, job)["status"] == "Completed"


def test_a_job_cannot_open_the_device_of_another_gpu(gpu_server):
    devices = gpu_server.folder / "dev"
    devices.mkdir(mode=0o755)
    try:
        for minor in (0, 1):
            os.mknod(devices / f"nvidia{minor}", 0o020666, os.makedev(195, minor))
            (devices / f"nvidia{minor}").chmod(0o666)
            with pytest.raises(OSError, match="No such device"):
                (devices / f"nvidia{minor}").open()
    except PermissionError:
        pytest.skip("device files cannot be made here")
    name = cluster(gpu_server, size="one-gpu")
    _, log = run(gpu_server, f"cat {devices}/nvidia0; cat {devices}/nvidia1; true", compute=name)
    assert "nvidia0: No such device" in log
    assert "nvidia1: Operation not permitted" in log


def test_a_gpu_that_another_process_uses_is_not_given_out_until_that_ends(gpu_server, gpus, outside):
    gpus.processes(0, (outside, 1000))
    until_gpu(gpu_server, 0, "outside")
    assert gpu_list(gpu_server)[0]["outside"] == [outside]
    name = cluster(gpu_server, size="one-gpu", max_instances=2)
    command = 'echo "sees $CUDA_VISIBLE_DEVICES"; exec sleep 600'
    first = submit(gpu_server, command, compute=name)["name"]
    until_log(gpu_server, first, "sees GPU-bbbb")
    second = submit(gpu_server, command, compute=name)["name"]
    assert show(gpu_server, second)["status"] == "Queued"
    gpus.processes(0)
    until_log(gpu_server, second, "sees GPU-aaaa")


def test_jobs_share_a_gpu_and_who_takes_more_than_its_part_is_ended(gpu_server, gpus):
    name = cluster(gpu_server, size="half-gpu", max_instances=2)
    command = 'echo "pid $$ sees $CUDA_VISIBLE_DEVICES"; until [ -e "$HOME/go" ]; do sleep 0.02; done'
    modest, greedy = (submit(gpu_server, command, compute=name)["name"] for _ in range(2))
    pids = {}
    for job in (modest, greedy):
        until_log(gpu_server, job, "sees GPU-aaaa")
        pids[job] = int(gpu_server.get(f"/api/v1/jobs/{job}/log").text.split()[1])
    assert len(gpu_list(gpu_server)[0]["holders"]) == 2
    gpus.processes(0, (pids[modest], 8000), (pids[greedy], 8193))
    failed = ended(gpu_server, greedy)
    assert failed["status"] == "Failed"
    assert "8.00 GiB of the memory of GPU 0 (Fake GPU), of which its part is 0.5" in failed["error"]
    assert show(gpu_server, modest)["status"] == "Running"
    assert gpu_list(gpu_server)[0]["state"] == "held"  # by their own processes
    (gpu_server.data / "jobs" / modest / "work/go").touch()
    assert ended(gpu_server, modest)["status"] == "Completed"


def test_the_box_is_filled_from_all_four_sides(gpu_server, gpus, outside, tmp_path):
    # Two cores and two GPUs: an instance has a core and a GPU, a deployment the other core, another's process the other GPU.
    gpus.processes(0, (outside, 1))
    until_gpu(gpu_server, 0, "outside")
    made = gpu_server.post("/api/v1/compute", json={"name": "mia", "type": "computeinstance", "size": "one-gpu"}).json()
    assert made["state"] == "Running"
    deployed = deploy(gpu_server, "blue", model=model(gpu_server, tmp_path), instance_type="slot", instance_count=1)
    assert deployed["reserved"] == "1 core, 0.25 GiB"
    usage = {one["name"]: one for one in gpu_server.cli("compute", "list-usage").json()}
    assert usage["cores"]["holders"] == {"instance mia": 1, "deployment e/blue": 1}
    assert usage["gpus"]["holders"] == {"instance mia": 1, "processes outside": 1}

    plain = cluster(gpu_server, size="slot")
    on_gpu = cluster(gpu_server, size="one-gpu")
    first = submit(gpu_server, "exec sleep 600", compute=plain)["name"]
    waits = show(gpu_server, first)
    assert waits["status"] == "Queued" and "1 core, 0.25 GiB to be free" in waits["waiting_for"]

    # The deployment's core goes to the job; the instance's core and GPU to the next; the other GPU comes free at last.
    assert gpu_server.delete(f"{ENDPOINTS}/e").status_code == 204
    until(gpu_server, first, "Running")
    second = submit(gpu_server, "echo got $CUDA_VISIBLE_DEVICES", compute=on_gpu)["name"]
    assert show(gpu_server, second)["status"] == "Queued"
    assert gpu_server.post("/api/v1/compute/mia/stop").json()["state"] == "Stopped"
    assert ended(gpu_server, second)["status"] == "Completed"
    assert gpu_server.get(f"/api/v1/jobs/{second}/log").text == "got GPU-bbbb\n"
    gpus.processes(0)
    until_gpu(gpu_server, 0, "free")
    # What others hold makes a start wait, not fail.
    third = submit(gpu_server, "exec sleep 600", compute=on_gpu)["name"]
    until(gpu_server, third, "Running")
    starting = gpu_server.post("/api/v1/compute/mia/start").json()
    assert starting["state"] == "Starting" and "1 core" in starting["waiting_for"]
    gpu_server.post(f"/api/v1/jobs/{third}/cancel")
    wait_for(lambda: gpu_server.get("/api/v1/compute/mia").json()["state"] == "Running", 60, "the instance getting its room")


def test_a_deployments_reservation_survives_the_server_and_follows_its_changes(gpu_server, tmp_path):
    deploy(gpu_server, "blue", model=model(gpu_server, tmp_path), instance_type="slot", instance_count=2)
    path = f"{ENDPOINTS}/e/deployments/blue"
    assert gpu_server.get(path).json()["reserved"] == "2 cores, 0.5 GiB"
    gpu_server.kill9()
    gpu_server.restart()
    assert gpu_server.get(path).json()["reserved"] == "2 cores, 0.5 GiB"
    changed = gpu_server.patch(path, json={"instance_count": 1})
    assert changed.status_code == 200, changed.text
    assert changed.json()["reserved"] == "1 core, 0.25 GiB"
    refused = gpu_server.patch(path, json={"instance_count": 3})
    assert refused.status_code == 400 and refused.json()["detail"].startswith("instance_count: 3 x slot is 3 cores")
    azures = gpu_server.patch(path, json={"instance_type": "Standard_DS3_v2", "instance_count": 3})
    assert azures.status_code == 200, azures.text
    assert azures.json()["reserved"].startswith("1 core, ")  # half of the machine
    assert "half of this machine at most" in azures.json()["report"][0]["detail"]


def test_a_cluster_of_the_whole_machine_leaves_a_deployment_its_part(gpu_server, tmp_path):
    name = cluster(gpu_server, size="Standard_DS3_v2", min_instances=1)
    assert gpu_server.get(f"/api/v1/compute/{name}").json()["node"].startswith("2 cores")
    deploy(gpu_server, "blue", model=model(gpu_server, tmp_path), instance_type="Standard_DS3_v2", instance_count=1)
    assert gpu_server.get(f"{ENDPOINTS}/e/deployments/blue").json()["reserved"].startswith("1 core")
    seen = gpu_server.get(f"/api/v1/compute/{name}").json()
    assert seen["node"].startswith("1 core") and seen["current_node_count"] == 1
    _, log = run(gpu_server, 'echo "threads $OMP_NUM_THREADS"', compute=name)
    assert log == "threads 1\n"


def metrics(server, name):
    run = server.get("/api/2.0/mlflow/runs/get", params={"run_id": name}).json()["run"]
    return {each["key"]: each["value"] for each in run["data"].get("metrics", ())}


def test_what_a_job_uses_of_its_gpus_is_logged_as_mlflow_names_it(gpu_server, gpus):
    gpus.use(0, 11, 1024, 50_000)
    gpus.use(1, 75, 4096, 300_000)
    name = cluster(gpu_server, size="one-gpu", max_instances=2)
    command = 'echo "sees $CUDA_VISIBLE_DEVICES"; until [ -e "$HOME/go" ]; do sleep 0.02; done'
    jobs = [submit(gpu_server, command, compute=name)["name"] for _ in range(2)]
    wanted = {
        "sees GPU-aaaa\n": {"utilization_percentage": 11, "memory_usage_megabytes": 1073.741824, "memory_usage_percentage": 6.25,
                            "power_usage_watts": 50, "power_usage_percentage": 12.5},
        "sees GPU-bbbb\n": {"utilization_percentage": 75, "memory_usage_megabytes": 4294.967296, "memory_usage_percentage": 25,
                            "power_usage_watts": 300, "power_usage_percentage": 75},
    }
    for job in jobs:
        until_log(gpu_server, job, "sees")
        wait_for(lambda: "system/gpu_0_power_usage_percentage" in metrics(gpu_server, job), 60, "a sample of its GPU")
        of_gpus = {key: value for key, value in metrics(gpu_server, job).items() if "/gpu_" in key}
        # Each job counts its own GPUs from 0, as its program does.
        expected = wanted.pop(gpu_server.get(f"/api/v1/jobs/{job}/log").text)
        assert of_gpus == {f"system/gpu_0_{key}": value for key, value in expected.items()}
        (gpu_server.data / "jobs" / job / "work/go").touch()
        assert ended(gpu_server, job)["status"] == "Completed"
    without = submit(gpu_server, command, compute=cluster(gpu_server, size="slot"))["name"]
    wait_for(lambda: metrics(gpu_server, without), 60, "a sample of the job without a GPU")
    assert not [key for key in metrics(gpu_server, without) if "/gpu_" in key]
    (gpu_server.data / "jobs" / without / "work/go").touch()
    assert ended(gpu_server, without)["status"] == "Completed"


def test_a_count_of_gpus_in_the_document_is_answered(gpu_server):
    job, _ = run(gpu_server, "true", resources={"properties": {"gpu": 1, "node": "a"}})
    report = {entry["field"]: entry for entry in job["report"]}
    assert report["resources.properties.gpu"]["verdict"] == "ignored"
    assert "size" in report["resources.properties.gpu"]["detail"]
    assert report["resources.properties"]["verdict"] == "ignored"
