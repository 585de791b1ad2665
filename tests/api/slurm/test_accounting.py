"""How jobs ended that the controller has forgotten, by a real slurmdbd."""

import shutil

import pytest

from job_helpers import ended, show, submit, until_log
from lathe_server import wait_for
from slurm_cluster import Cluster, SlurmServer, why_not

MISSING = [name for name in ("slurmdbd", "mariadbd") if not shutil.which(name)]
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(bool(MISSING), reason=f"{', '.join(MISSING)} not installed: apt-get install slurmdbd mariadb-server"),
]


@pytest.fixture(scope="module")
def slurm():
    if reason := why_not():
        pytest.skip(reason)
    with Cluster("-a") as cluster, SlurmServer(cluster) as server:
        server.target("main", cores=1)
        yield server


def forgotten(slurm, number):
    return not slurm.cluster.run("squeue", "--noheader", "--all", "--states=all", f"--jobs={number}", check=False).strip()


def test_a_job_that_an_operator_ended_while_the_server_was_away_is_cancelled(slurm):
    """Without accounts it would be one that Slurm has lost, and get another attempt."""
    name = submit(slurm, "echo up; sleep 600", compute="main")["name"]
    until_log(slurm, name, "up")
    [(number, _, _)] = slurm.cluster.queue()
    slurm.kill9()
    slurm.cluster.run("scancel", number)
    wait_for(lambda: forgotten(slurm, number), 150, "the controller to forget the job")
    slurm.restart()
    job = ended(slurm, name, limit_s=90)
    assert (job["status"], job["attempt"]) == ("Canceled", 1), job
    assert not slurm.cluster.queue()


def test_a_job_whose_node_died_while_the_server_was_away_is_tried_again(slurm):
    name = submit(slurm, "echo up; sleep 600", compute="main")["name"]
    until_log(slurm, name, "up")
    [(number, _, _)] = slurm.cluster.queue()
    node = show(slurm, name)["node"]
    slurm.kill9()
    slurm.cluster.verb("node-off", node)
    wait_for(lambda: forgotten(slurm, number), 200, "the controller to forget the job")
    slurm.restart()
    wait_for(lambda: (show(slurm, name)["status"], show(slurm, name)["attempt"]) == ("Running", 2), 120, "a second attempt")
    assert show(slurm, name)["node"] != node
