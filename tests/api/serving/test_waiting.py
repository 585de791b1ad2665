"""A deployment that takes long to start keeps nobody waiting but who asked for it."""

import contextlib
import socket

import numpy
import pytest
import requests
import xgboost
from endpoint_helpers import ENDPOINTS, deploy, make_endpoint, primary_key, register
from lathe_server import wait_for
from sandbox_helpers import python_can_be_deployed

pytestmark = python_can_be_deployed

ROWS = numpy.random.default_rng(3).normal(size=(50, 4)).astype("f4")
SCORE = """
import os, socket

def init():
    with socket.create_connection(("127.0.0.1", int(os.environ["PORT"]))) as gate:
        gate.recv(1)

def run(data):
    return "open"
"""


@pytest.fixture
def gate():
    """A port; what connects to it is let on when the test says so."""
    with contextlib.ExitStack() as open_sockets:
        listening = open_sockets.enter_context(socket.create_server(("127.0.0.1", 0)))
        listening.settimeout(120)
        yield listening


def test_other_endpoints_change_while_an_init_hangs(server, gate, tmp_path):
    xgboost.train({"nthread": 1}, xgboost.DMatrix(ROWS, ROWS @ numpy.arange(4)), 3).save_model(tmp_path / "model.ubj")
    model = register(server, "patient", tmp_path / "model.ubj")
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "score.py").write_text(SCORE)
    make_endpoint(server, "hanging")
    made = deploy(server, "hanging", "blue", model, "?all_traffic=true&wait_s=0", environment_variables={
        "PORT": str(gate.getsockname()[1])},
        code_configuration={"code": str(tmp_path / "code"), "scoring_script": "score.py"})  # fmt: skip
    assert made["provisioning_state"] == "Creating", made
    waiting, _ = gate.accept()

    with waiting:
        make_endpoint(server, "quick")
        made = deploy(server, "quick", "blue", model, "?all_traffic=true&wait_s=60")
        assert (made["provisioning_state"], made["serving_state"]) == ("Succeeded", "ready"), made
        made = server.patch(f"{ENDPOINTS}/quick/deployments/blue?wait_s=60", json={"instance_count": 2}).json()
        assert made["provisioning_state"] == "Succeeded", made
        assert server.post("/v2/repository/models/quick/unload").status_code == 200
        assert server.post("/v2/repository/models/quick/load").status_code == 200
        assert server.get(f"{ENDPOINTS}/quick/deployments/blue").json()["serving_state"] == "ready"
        assert server.delete(f"{ENDPOINTS}/quick").status_code == 204
        assert requests.post(f"{server.infer}/v2/models/quick/infer", json={}, timeout=60).status_code == 404
        shown = server.get(f"{ENDPOINTS}/hanging/deployments/blue").json()
        assert (shown["provisioning_state"], shown["serving_state"]) == ("Creating", "loading")

    place = f"{ENDPOINTS}/hanging/deployments/blue"
    wait_for(lambda: server.get(place).json()["provisioning_state"] == "Succeeded", 120, "the end of init()")
    headers = {"Authorization": f"Bearer {primary_key(server, 'hanging')}"}
    answer = requests.post(f"{server.infer}/endpoints/hanging/score", json={}, headers=headers, timeout=60)
    assert answer.json() == "open", answer.text
