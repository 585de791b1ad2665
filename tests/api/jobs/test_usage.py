"""What a running job uses is logged as system metrics of its run."""

import pytest

from job_helpers import cluster, ended, log_of, submit
from lathe_server import Server, wait_for

BUSY = ("x=$(head -c 30000000 /dev/zero | tr '\\0' x); echo up; "
        "until [ -e $HOME/go ]; do :; done")  # fmt: skip


@pytest.fixture(scope="module")
def sampling():
    with Server("--job-metrics-interval", "1s") as running:
        yield running


def metrics(server, name):
    run = server.get("/api/2.0/mlflow/runs/get", params={"run_id": name}).json()["run"]
    return {each["key"]: each["value"] for each in run["data"].get("metrics", ())}


def go(server, name):
    (server.data / "jobs" / name / "work/go").touch()
    assert ended(server, name)["status"] == "Completed"


def test_processor_and_memory_are_sampled_for_each_job(sampling):
    name = submit(sampling, BUSY, compute=cluster(sampling))["name"]
    idle = submit(sampling, "until [ -e $HOME/go ]; do sleep 0.2; done")["name"]
    wait_for(lambda: "up" in log_of(sampling, name), 60, "the job holding its memory")
    wait_for(lambda: metrics(sampling, name).get("system/system_memory_usage_megabytes", 0) > 30, 60, "a sample of that")
    wait_for(lambda: metrics(sampling, name).get("system/cpu_utilization_percentage"), 60, "the second sample")
    wait_for(lambda: "system/cpu_utilization_percentage" in metrics(sampling, idle), 60, "the idle job's second sample")
    seen, other = metrics(sampling, name), metrics(sampling, idle)
    assert 0 < seen["system/cpu_utilization_percentage"] <= 110
    assert other["system/cpu_utilization_percentage"] < seen["system/cpu_utilization_percentage"]
    assert seen["system/system_memory_usage_megabytes"] < 1000 and other["system/system_memory_usage_megabytes"] < 30
    assert 0 < seen["system/system_memory_usage_percentage"] < 100
    assert {"system/disk_read_megabytes", "system/disk_write_megabytes"} <= set(seen)
    go(sampling, name)
    go(sampling, idle)


def test_the_samples_go_on_after_a_kill_of_the_server(sampling):
    name = submit(sampling, "until [ -e $HOME/go ]; do sleep 0.2; done")["name"]
    wait_for(lambda: metrics(sampling, name), 60, "the first sample")
    history = {"run_id": name, "metric_key": "system/system_memory_usage_megabytes"}
    count = lambda: len(sampling.get("/api/2.0/mlflow/metrics/get-history", params=history).json()["metrics"])  # noqa: E731
    sampling.kill9()
    sampling.restart()
    before = count()
    wait_for(lambda: count() > before, 60, "another sample")
    go(sampling, name)


def test_each_node_has_samples_of_its_own(sampling):
    name = submit(sampling, "until [ -e $HOME/go ]; do sleep 0.2; done", compute=cluster(sampling, max_instances=2),
                  resources={"instance_count": 2})["name"]  # fmt: skip
    wanted = {f"system/{node}/system_memory_usage_megabytes" for node in (0, 1)}
    wait_for(lambda: wanted <= set(metrics(sampling, name)), 60, "samples of both nodes")
    go(sampling, name)


def test_an_interval_that_is_none_is_refused(sampling):
    refused = sampling.cli("serve", "--data", sampling.folder / "other", "--job-metrics-interval", "10", check=False)
    assert refused.returncode != 0 and "job_metrics_interval" in refused.stderr
