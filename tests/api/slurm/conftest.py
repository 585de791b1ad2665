import pytest

from slurm_cluster import Cluster, SlurmServer, why_not


@pytest.fixture(scope="session")
def cluster():
    """A Slurm cluster of 3 static and 2 elastic nodes, which do not see the server's data folder."""
    reason = why_not()
    if reason:
        pytest.skip(reason)
    with Cluster() as running:
        yield running


def connected(cluster):
    with SlurmServer(cluster) as running:
        running.target("main", cores=1)
        yield running


@pytest.fixture(scope="module")
def server_of_file(cluster):
    yield from connected(cluster)


@pytest.fixture
def slurm(cluster, server_of_file):
    """A server on the cluster, shared by the tests of one file."""
    yield server_of_file
    cluster.clear()


@pytest.fixture
def fresh_slurm(cluster):
    """A server on the cluster for one test, which kills it or looks at all it has."""
    yield from connected(cluster)
    cluster.clear()
