"""The main job (examples/main-job), run once for all of these tests, step by step with the real command line."""

import json
import shutil

import pytest

from lathe_server import ROOT, Server


class Mission:
    """A server of its own, a copy of the example's files to work in, and what each step said."""

    def __init__(self, server):
        self.server = server
        self.folder = server.folder / "main-job"
        shutil.copytree(ROOT / "examples" / "main-job", self.folder)

    def lathe(self, *args, **options):
        return self.server.cli(*args, cwd=self.folder, **options)


@pytest.fixture(scope="session")
def mission():
    with Server() as server:
        yield Mission(server)


@pytest.fixture(scope="session")
def cluster(mission):
    """The training cluster, still without a node."""
    mission.lathe("compute", "create", "-f", "compute.yml", "--set", "idle_time_before_scale_down=1")
    return mission.lathe("compute", "show", "-n", "cpu-cluster").json()


@pytest.fixture(scope="session")
def trained(mission, cluster):
    """The training job, streamed to its end: (what it is then, what its stream showed)."""
    streamed = mission.lathe("job", "create", "-f", "job.yml", "--name", "mission", "--stream", limit_s=170)
    return mission.lathe("job", "show", "-n", "mission").json(), streamed.stdout + streamed.stderr


@pytest.fixture(scope="session")
def held_back(mission, trained):
    """What the job left in its output: the rows that the model never saw, their labels, the library's predictions."""
    place = mission.server.folder / "download"
    mission.lathe("job", "download", "-n", "mission", "--output-name", "results", "--download-path", place)
    return json.loads((place / "named-outputs" / "results" / "heldback.json").read_text())


@pytest.fixture(scope="session")
def deployed(mission, trained):
    """The endpoint with the first version of the model behind it."""
    mission.lathe("online-endpoint", "create", "-f", "endpoint.yml")
    version_1 = "model=azureml:cancer-classifier:1"
    mission.lathe("online-deployment", "create", "-f", "deployment.yml", "--all-traffic", "--set", version_1)
    return mission.lathe("online-endpoint", "show", "-n", "cancer").json()
