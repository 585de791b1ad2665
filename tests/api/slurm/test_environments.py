"""Environments on nodes: made there once for all jobs, from packages that the nodes can reach."""

import pytest

from job_helpers import ended, log_of, log_of_rank, run, show, submit, until, until_log
from lathe_server import wait_for
from slurm_cluster import Bridge, SlurmServer
from wheels import Index, make_wheel

SHOW = "python -c 'import {0}, sys; print({0}.VERSION, sys.prefix)'"


def conda(*packages):
    return {"conda_file": {"dependencies": ["python=3.11", {"pip": list(packages)}]}}


def with_package(name, **document):
    """The rest of a job's document; its command prints the package's version and where it is."""
    return {"command": SHOW.format(name), "environment": conda(name), **document}


@pytest.fixture(scope="module")
def wheels(cluster):
    folder = cluster.folder / "tmp" / "wheels"  # which nodes see under this name, too
    folder.mkdir(mode=0o755)
    for name in ("gadget", "widget"):
        make_wheel(folder, name)
    return folder


def builds(log):
    """How many environments were made, as the job's log says."""
    return log.count("a virtual environment over")


@pytest.fixture
def cleared(cluster):
    yield
    cluster.clear()


def test_an_environment_is_made_once_on_each_node(cluster, wheels, cleared):
    with SlurmServer(cluster, "--environment-index", "none", "--environment-find-links", str(wheels)) as slurm:
        slurm.target("main", cores=1)
        three = {"compute": "main", "resources": {"instance_count": 3}}
        job = ended(slurm, submit(slurm, **with_package("gadget"), **three)["name"], limit_s=90)
        assert job["status"] == "Completed", job
        logs = [log_of_rank(slurm, job["name"], rank) for rank in range(3)]
        assert all(builds(log) == 1 and "to be installed: gadget" in log for log in logs), logs
        assert all(log.splitlines()[-1].startswith("1.0 ") for log in logs), logs

        job = ended(slurm, submit(slurm, **with_package("gadget"), **three)["name"], limit_s=90)
        assert job["status"] == "Completed", job
        warm = [log_of_rank(slurm, job["name"], rank) for rank in range(3)]
        assert warm == [log.splitlines(keepends=True)[-1] for log in logs]

        two = {"compute": "main", "resources": {"instance_count": 2}}
        job = ended(slurm, submit(slurm, **with_package("no-such-gadget"), **two)["name"], limit_s=90)
        assert job["status"] == "Failed"
        assert "environment cannot be made on n" in job["error"] and "pip cannot install no-such-gadget" in job["error"]
        assert "No matching distribution" in "".join(log_of_rank(slurm, job["name"], rank) for rank in range(2))

        _, log = run(slurm, "python -c 'import sys; print(sys.prefix)'", compute="main")
        assert log == "/usr\n"


def test_in_a_shared_folder_it_is_made_once_for_all_nodes(cluster, wheels, cleared):
    shared = cluster.folder / "tmp" / "environments"
    shared.mkdir()
    flags = ("--environment-index", "none", "--environment-find-links", str(wheels), "--slurm-environments", str(shared))
    with SlurmServer(cluster, *flags) as slurm:
        slurm.target("main", cores=1)
        document = with_package("widget", compute="main", resources={"instance_count": 3})
        job = ended(slurm, submit(slurm, **document)["name"], limit_s=90)
        assert job["status"] == "Completed", job
        logs = [log_of_rank(slurm, job["name"], rank) for rank in range(3)]
        assert sum(map(builds, logs)) == 1, logs
        [line] = {log.splitlines()[-1] for log in logs}
        assert line.startswith(f"1.0 {shared}/")


@pytest.fixture(scope="module")
def index(cluster, tmp_path_factory):
    """An index that the node n1 sees as its own."""
    folder = tmp_path_factory.mktemp("index")
    for name in ("shared-by-two", "cancelled", "killed"):
        make_wheel(folder, name)
    with Index(folder) as running:
        bridge = Bridge(cluster, int(running.url.split(":")[2].split("/")[0]), "127.0.0.1", 8081, "n1")
        yield running
        bridge.close()


@pytest.fixture(scope="module")
def server_of_n1(cluster, index):
    with SlurmServer(cluster, "--environment-index", "http://127.0.0.1:8081/simple/") as running:
        running.target("one", partition="short", cores=1)  # n1 alone
        yield running


@pytest.fixture
def slurm(cluster, server_of_n1, index):
    index.gate.clear()  # builds wait
    yield server_of_n1
    index.gate.set()
    cluster.clear()


def building(slurm, name, package):
    """Waits until the job's environment is being made, and answers the job."""
    until_log(slurm, name, f"to be installed: {package}", limit_s=60)
    return show(slurm, name)


def build_processes(cluster):
    lines = cluster.on_node("n1", "ps", "-eo", "pid,args").splitlines()
    return [line.split()[0] for line in lines if "build.py" in line or "pip install" in line or "lathe-remote" in line]


def test_jobs_that_need_it_at_once_wait_for_one_build(slurm, index):
    names = [submit(slurm, **with_package("shared_by_two", compute="one"))["name"] for _ in range(3)]
    for name in names:
        until(slurm, name, "Preparing", limit_s=60)
    wait_for(lambda: index.asked, 60, "a build that asks the index")
    index.gate.set()
    assert [ended(slurm, name, limit_s=90)["status"] for name in names] == ["Completed"] * 3
    assert sorted(builds(log_of(slurm, name)) for name in names) == [0, 0, 1]


def test_a_cancel_ends_the_build_and_the_next_job_makes_it(slurm, index):
    name = submit(slurm, **with_package("cancelled", compute="one"))["name"]
    assert building(slurm, name, "cancelled")["status"] == "Preparing"
    slurm.post(f"/api/v1/jobs/{name}/cancel")
    assert ended(slurm, name, limit_s=60)["status"] == "Canceled"
    wait_for(lambda: not build_processes(slurm.cluster), 60, "the build's end")
    index.gate.set()
    job = ended(slurm, submit(slurm, **with_package("cancelled", compute="one"))["name"], limit_s=90)
    assert job["status"] == "Completed", job
    assert builds(log_of(slurm, job["name"])) == 1


def test_half_an_environment_is_never_taken_for_a_whole_one(slurm, index):
    name = submit(slurm, **with_package("killed", compute="one"))["name"]
    assert building(slurm, name, "killed")["attempt"] == 1
    slurm.cluster.on_node("n1", "sh", "-c", f"kill -9 {' '.join(build_processes(slurm.cluster))} || true")
    index.gate.set()
    job = ended(slurm, name, limit_s=90)
    assert (job["status"], job["attempt"]) == ("Completed", 2), job
    assert builds(log_of(slurm, name)) == 1
    assert log_of(slurm, name).splitlines()[-1].startswith("1.0 ")
