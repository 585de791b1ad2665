"""Triton's repository control: it edits what should be served, and needs an administrator."""

import grpc
import numpy
import pytest
import requests
import xgboost

from endpoint_helpers import ENDPOINTS, deploy, make_endpoint, primary_key, register
from grpc_client import Client, pb

ROWS = numpy.random.default_rng(5).normal(size=(100, 4)).astype("f4")


@pytest.fixture(scope="module")
def model(server, tmp_path_factory):
    """A registered model."""
    path = tmp_path_factory.mktemp("models") / "model.ubj"
    xgboost.train({"max_depth": 2, "nthread": 1}, xgboost.DMatrix(ROWS, ROWS @ numpy.arange(4)), 5).save_model(path)
    return register(server, "repository", path)


@pytest.fixture
def endpoint(server, model, request):
    """An endpoint with one deployment "blue"; answers its name and the headers with its key."""
    name = request.node.name.replace("_", "-")[-60:]
    make_endpoint(server, name)
    deploy(server, name, "blue", model, "?all_traffic=true")
    return name, {"Authorization": f"Bearer {primary_key(server, name)}"}


def infer(server, name, headers):
    tensor = {"name": "input", "shape": [2, 4], "datatype": "FP32", "data": ROWS[:2].flatten().tolist()}
    return requests.post(f"{server.infer}/v2/models/{name}/infer", json={"inputs": [tensor]}, headers=headers, timeout=60)


def test_unloading_holds_until_it_is_loaded_again(server, endpoint):
    name, key = endpoint
    for model in (name, f"{name}.blue"):
        assert server.post(f"/v2/repository/models/{model}/unload").status_code == 200
        assert infer(server, name, key).status_code == 503
        assert server.get(f"{ENDPOINTS}/{name}/deployments/blue").json()["serving_state"] == "unloaded"
        index = requests.post(f"{server.infer}/v2/repository/index", headers=key, timeout=60).json()
        assert [(each["name"], each["state"]) for each in index] == [(name, "UNAVAILABLE")]
        # Another change to what is served does not bring it back.
        assert server.patch(f"{ENDPOINTS}/{name}", json={"description": "changed"}).status_code == 200
        assert infer(server, name, key).status_code == 503
        assert server.post(f"/v2/repository/models/{model}/load", json={}).status_code == 200
        assert infer(server, name, key).status_code == 200


def test_repository_control_needs_an_administrator(server, endpoint):
    name, key = endpoint
    path = f"/v2/repository/models/{name}/unload"
    assert requests.post(server.url + path, timeout=60).status_code == 401
    assert requests.post(server.url + path, headers=key, timeout=60).status_code == 401  # an endpoint's key is no user's
    refused = requests.post(server.infer + path, headers=key, timeout=60)
    assert refused.status_code == 403 and "administrator" in refused.json()["error"]
    with Client(server.grpc, key["Authorization"].removeprefix("Bearer ")) as client:
        for method in ("RepositoryModelLoad", "RepositoryModelUnload"):
            code, words = client.refusal(method, getattr(pb, method + "Request")(model_name=name))
            assert code == grpc.StatusCode.PERMISSION_DENIED.name and "administrator" in words
    assert infer(server, name, key).status_code == 200


def test_a_load_takes_nothing_but_the_registrys_models(server, endpoint):
    name, _ = endpoint
    for parameters in ({"config": "{}"}, {"file:1/model.onnx": "AAAA"}):
        refused = server.post(f"/v2/repository/models/{name}/load", json={"parameters": parameters})
        assert refused.status_code == 400 and "registry" in refused.text
    assert server.post("/v2/repository/models/nobody/load").status_code == 404
    assert server.post(f"/v2/repository/models/{name}.red/load").status_code == 404
