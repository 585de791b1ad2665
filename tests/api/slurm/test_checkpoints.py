"""What a job keeps in LATHE_CHECKPOINT_DIR, its next attempt finds, on whatever node that is."""

import pytest

from job_helpers import ended, log_of, log_of_rank, show, submit, until, until_log
from lathe_server import wait_for


@pytest.fixture
def slurm(fresh_slurm):
    return fresh_slurm


def waits(name):
    """The end of a command: until `go`."""
    return f"until [ -e /tmp/{name} ]; do sleep 0.1; done"


def go(slurm, name):
    for node in ("n1", "n2", "n3"):
        slurm.cluster.on_node(node, "touch", f"/tmp/{name}")


def kept(slurm, name):
    """What the server has: path -> content. None: it is changing."""
    folder = slurm.data / "jobs" / name / "checkpoint"
    try:
        return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}
    except FileNotFoundError:
        return None


def second_attempt(slurm, name):
    return wait_for(lambda: (job := show(slurm, name))["attempt"] == 2 and job["status"] == "Running" and job, 120, "the second attempt")


def test_what_a_job_writes_when_it_has_to_go_is_kept_from_all_its_nodes(slurm):
    name = "gives-way"
    command = (
        "cd $LATHE_CHECKPOINT_DIR; echo begins with $(ls); "
        "trap 'echo epoch of $AZUREML_CR_NODE_RANK > state-$AZUREML_CR_NODE_RANK; exit 0' TERM; echo up; " + waits(name)
    )
    submit(slurm, command, name=name, compute="main", resources={"instance_count": 2})
    for rank in (0, 1):
        wait_for(lambda rank=rank: "up" in log_of_rank(slurm, name, rank), 60, "the job's log")
    [(number, _, _)] = slurm.cluster.queue()
    slurm.cluster.run("scancel", "--signal=TERM", number)  # as Slurm does before it takes the nodes away
    second_attempt(slurm, name)
    for rank in (0, 1):
        wait_for(lambda rank=rank: "up" in log_of_rank(slurm, name, rank), 60, "the job's log")
    assert [log_of_rank(slurm, name, rank) for rank in (0, 1)] == ["begins with state-0 state-1\nup\n"] * 2
    go(slurm, name)
    assert ended(slurm, name, limit_s=60)["status"] == "Completed"
    assert kept(slurm, name) == {"state-0": "epoch of 0\n", "state-1": "epoch of 1\n"}


def test_a_node_that_dies_loses_what_came_after_the_last_look_alone(slurm):
    name = "dies"
    command = (
        "cd $LATHE_CHECKPOINT_DIR; echo begins with $(find . -type f | sort) $(cat epochs/last); mkdir -p epochs; "
        "[ -e epochs/last ] || { echo 1 > epochs/1; echo 1 > epochs/last; }; echo up; "
        f"until [ -e /tmp/{name}-2 ]; do sleep 0.1; done; "
        "echo 22 > new; mv new epochs/last; rm -f epochs/1; echo moved; " + waits(name)
    )
    submit(slurm, command, name=name, compute="main")
    wait_for(lambda: kept(slurm, name) == {"epochs/1": "1\n", "epochs/last": "1\n"}, 60, "the first checkpoint here")
    go(slurm, f"{name}-2")
    wait_for(lambda: kept(slurm, name) == {"epochs/last": "22\n"}, 60, "the second one, and the first one's end")
    node = show(slurm, name)["node"]
    lines = slurm.cluster.on_node(node, "ps", "-eo", "pid,args").splitlines()
    pids = [line.split()[0] for line in lines if "lathe-remote" in line]
    slurm.cluster.on_node(node, "sh", "-c", f"kill -9 {' '.join(pids)} || true")
    second_attempt(slurm, name)
    until_log(slurm, name, "moved", limit_s=60)
    assert log_of(slurm, name).startswith("begins with ./epochs/last 22\nup\n")
    go(slurm, name)
    assert ended(slurm, name, limit_s=60)["status"] == "Completed"


def test_too_large_a_checkpoint_is_said_and_hinders_nothing(slurm):
    name = "large"
    command = "cd $LATHE_CHECKPOINT_DIR; echo small > b; truncate -s 17G a; truncate -s 17G c; " + waits(name)
    submit(slurm, command, name=name, compute="main")
    until(slurm, name, "Running", limit_s=60)
    wait_for(lambda: "16 GiB" in (show(slurm, name).get("notice") or ""), 60, "the notice")
    wait_for(lambda: kept(slurm, name) == {"b": "small\n"}, 60, "the file that is small enough")
    go(slurm, name)
    assert ended(slurm, name, limit_s=60)["status"] == "Completed"
