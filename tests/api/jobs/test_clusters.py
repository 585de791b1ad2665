"""Training clusters: they grow for what waits, shrink when idle, and say why."""

from job_helpers import cluster, ended, run, show, submit, until, until_log
from lathe_server import wait_for


def nodes(server, name):
    return server.get(f"/api/v1/compute/{name}").json()


def wait_at(file):
    return f'until [ -e "$HOME/{file}" ]; do sleep 0.02; done'


def go(server, name, file="go"):
    (server.data / "jobs" / name / "work" / file).touch()


def test_a_cluster_grows_for_a_job_and_shrinks_when_idle(server):
    name = cluster(server, min_instances=0, max_instances=1, idle_time_before_scale_down=1)
    assert nodes(server, name)["current_node_count"] == 0
    job = submit(server, "echo up; " + wait_at("go"), compute=f"azureml:{name}")["name"]
    until(server, job, "Running")
    seen = nodes(server, name)
    assert seen["current_node_count"] == 1
    assert (seen["nodes"][0]["state"], seen["nodes"][0]["job"]) == ("running", job)
    go(server, job)
    assert ended(server, job)["status"] == "Completed"
    wait_for(lambda: nodes(server, name)["current_node_count"] == 0, 60, "the idle node leaving")
    assert "idle for 1 s" in nodes(server, name)["recent"][-1]


def test_a_job_that_waits_says_what_for_and_starts_in_its_turn(server):
    name = cluster(server, max_instances=1)
    jobs = [submit(server, wait_at("go"), compute=name)["name"] for _ in range(3)]
    until(server, jobs[0], "Running")
    waiting = [show(server, job) for job in jobs[1:]]
    assert [job["status"] for job in waiting] == ["Queued", "Queued"]
    assert "first in line" in waiting[0]["waiting_for"] and "1 ahead" in waiting[1]["waiting_for"]
    for job in jobs:
        until(server, job, "Running")
        go(server, job)
        assert ended(server, job)["status"] == "Completed"


def test_a_queued_job_that_is_cancelled_never_starts(server):
    name = cluster(server, max_instances=1)
    first = submit(server, wait_at("go"), compute=name)["name"]
    until(server, first, "Running")
    second = submit(server, "echo never", compute=name)["name"]
    assert server.post(f"/api/v1/jobs/{second}/cancel").json()["status"] == "Canceled"
    go(server, first)
    ended(server, first)
    run(server, "true", compute=name)
    assert show(server, second)["status"] == "Canceled"
    assert "started" not in show(server, second)["phases"]


def test_what_does_not_fit_the_machine_is_refused(server):
    sizes = server.get("/api/v1/compute-sizes").json()["value"]
    assert sizes
    if not any(size["gpus"] for size in sizes):
        answer = server.post("/api/v1/compute", json={"name": "gpu", "type": "amlcompute", "size": "Standard_NC6"})
        assert answer.status_code == 400
        assert answer.json()["detail"].startswith("size:")


def test_azures_size_is_mapped_and_said(server):
    answer = server.post("/api/v1/compute", json={"name": "mapped", "type": "amlcompute", "size": "STANDARD_DS5_V2", "tier": "low_priority"})
    assert answer.status_code == 201, answer.text
    assert answer.json()["tier"] == "low_priority"
    sizes = {size["name"]: size for size in server.get("/api/v1/compute-sizes").json()["value"]}
    cut_down = sizes["Standard_DS5_v2"]["here"] != "16 cores, 56 GiB"
    assert ("size" in [entry["field"] for entry in answer.json().get("report", [])]) == cut_down


def test_a_cluster_with_jobs_is_not_deleted(server):
    name = cluster(server)
    job = submit(server, wait_at("go"), compute=name)["name"]
    until(server, job, "Running")
    assert server.delete(f"/api/v1/compute/{name}").status_code == 409
    server.post(f"/api/v1/jobs/{job}/cancel")
    ended(server, job)
    assert wait_for(lambda: server.delete(f"/api/v1/compute/{name}").status_code == 204, what="the cluster being deleted")
    assert server.get(f"/api/v1/compute/{name}").status_code == 404


def test_a_job_gets_what_its_node_has(server):
    name = cluster(server, size="cpu-1")
    _, log = run(server, 'echo "threads $OMP_NUM_THREADS"', compute=name)
    assert log == "threads 1\n"


def test_local_is_there_without_being_created(server):
    assert "local" in [target["name"] for target in server.get("/api/v1/compute").json()["value"]]
    assert server.delete("/api/v1/compute/local").status_code == 409
    name = submit(server, "echo here")["name"]
    until_log(server, name, "here")
    assert ended(server, name)["compute"] == "local"


def test_a_cluster_keeps_its_size(server):
    name = cluster(server, size="cpu-1")
    assert server.post("/api/v1/compute", json={"name": name, "type": "amlcompute", "size": "all"}).status_code == 409
    changed = server.patch(f"/api/v1/compute/{name}", json={"max_instances": 3})
    assert changed.status_code == 200, changed.text
    assert (changed.json()["max_instances"], changed.json()["size"]) == (3, "cpu-1")
