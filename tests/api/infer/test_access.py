"""Who may ask an endpoint, and how often: CORS and rate limits of the data plane."""

import concurrent.futures
import time

import grpc
import pytest
import requests

from data_plane import KEY, deployment, endpoint
from grpc_client import Client, infer_request, tensor
from lathe_server import wait_for
from python_workers import scoring_script
from sandbox_helpers import python_can_be_deployed

PAGE = "https://app.example.com"
ROW = {"input": ("FP32", [1, 8], [0.5] * 8)}


@pytest.fixture
def model(plane, make_booster):
    path = plane.models / "m.ubj"
    make_booster("reg:squarederror", rounds=2).save_model(path)
    return deployment("blue", path)


def preflight(plane, path, origin=PAGE, method="POST", **headers):
    return requests.options(plane.url + path, timeout=60, headers={
        "Origin": origin, "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "authorization,content-type", **headers})  # fmt: skip


def test_pages_of_the_sites_that_are_named_may_ask(plane, model):
    plane.desire({**endpoint("e", [model]), "allowed_origins": [PAGE, "http://localhost:3000"]})
    for path, method in (("/v2/models/e/infer", "POST"), ("/endpoints/e/invocations", "POST"), ("/v2/models/e.blue", "GET")):
        got = preflight(plane, path, method=method)
        assert got.status_code == 200 and got.content == b"", got.text
        assert got.headers["Access-Control-Allow-Origin"] == PAGE and got.headers["Vary"] == "Origin"
        assert got.headers["Access-Control-Allow-Methods"] == method
        assert got.headers["Access-Control-Allow-Headers"] == "authorization,content-type"
    got = plane.post("/endpoints/e/invocations", json={"inputs": [[0.5] * 8]}, headers={"Origin": PAGE})
    assert got.status_code == 200 and got.headers["Access-Control-Allow-Origin"] == PAGE
    assert "azureml-model-deployment" in got.headers["Access-Control-Expose-Headers"]
    # The page can read why it is refused, too.
    got = requests.post(plane.url + "/v2/models/e/infer", json={}, headers={"Origin": PAGE}, timeout=60)
    assert got.status_code == 401 and got.headers["Access-Control-Allow-Origin"] == PAGE
    for wrong in ("https://evil.example.com", "null", PAGE + ":444"):
        got = preflight(plane, "/v2/models/e/infer", wrong)
        assert "Access-Control-Allow-Origin" not in got.headers and got.headers["Vary"] == "Origin"
        got = plane.post("/v2/models/e/infer", json={}, headers={"Origin": wrong})
        assert "Access-Control-Allow-Origin" not in got.headers


def test_by_default_no_page_may_and_a_star_lets_all(plane, model):
    plane.desire(endpoint("e", [model]), {**endpoint("open", [model]), "allowed_origins": ["*"]})
    got = preflight(plane, "/v2/models/e/infer")
    assert got.status_code == 405 and "Access-Control-Allow-Origin" not in got.headers
    assert "Access-Control-Allow-Origin" not in plane.infer("e", ROW).headers
    got = preflight(plane, "/v2/models/open/infer", "https://anybody.example.org")
    assert got.status_code == 200 and got.headers["Access-Control-Allow-Origin"] == "*"
    got = plane.post("/v2/models/open/infer", json={}, headers={"Origin": PAGE})
    assert got.headers["Access-Control-Allow-Origin"] == "*" and "Vary" not in got.headers
    # What is no list of names does not come back.
    got = preflight(plane, "/v2/models/open/infer", **{"Access-Control-Request-Headers": "a\x01b"})
    assert got.status_code in (200, 400) and "\x01" not in str(got.headers)


@python_can_be_deployed
def test_answers_that_are_put_off_have_it_too_and_a_script_may_decide(plane):
    source = """
        from azureml.contrib.services.aml_response import AMLResponse
        def run(data):
            if "own" in data:
                return AMLResponse("mine", 200, {"Access-Control-Allow-Origin": "https://own.example.com"})
            return 1
    """
    plane.desire({**endpoint("e", [scoring_script(plane, source)]), "allowed_origins": [PAGE]})
    got = plane.post("/endpoints/e/score", json={}, headers={"Origin": PAGE})
    assert got.status_code == 200 and got.headers["Access-Control-Allow-Origin"] == PAGE, got.text
    got = plane.post("/endpoints/e/score", json={"own": 1}, headers={"Origin": PAGE})
    assert got.headers["Access-Control-Allow-Origin"] == "https://own.example.com", got.headers


def limited(plane, model, rate, burst, **more):
    plane.desire({**endpoint("e", [model]), "rate_limit": {"requests_per_second": rate, "burst": burst}, **more})


def test_a_key_that_asks_too_often_is_told_when_to_come_back(plane, model):
    limited(plane, model, 0.01, 3)  # one in 100 seconds
    assert [plane.infer("e", ROW).status_code for _ in range(5)] == [200, 200, 200, 429, 429]
    got = plane.post("/endpoints/e/invocations", json={"inputs": [[0.5] * 8]})
    assert got.status_code == 429 and "rate_limit" in got.json()["error"]
    assert 90 <= int(got.headers["Retry-After"]) <= 100
    assert plane.get("/v2/models/e/ready").status_code == 200  # only predictions count
    assert 'lathe_infer_rate_limited_total{endpoint="e"} 3' in plane.get("/metrics").text
    with Client(plane.grpc, KEY) as client, pytest.raises(grpc.RpcError) as refused:
        client.call("ModelInfer", infer_request("e", [tensor("input", "FP32", [1, 8], "fp32_contents", [0.5] * 8)]))
    assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_what_was_used_stays_used_when_something_else_changes(plane, model):
    limited(plane, model, 0.001, 2)
    assert plane.infer("e", ROW).status_code == 200
    limited(plane, model, 0.001, 2, allowed_origins=["*"])
    assert [plane.infer("e", ROW).status_code for _ in range(2)] == [200, 429]
    limited(plane, model, 0.001, 4)  # another limit begins anew
    assert plane.infer("e", ROW).status_code == 200
    plane.desire(endpoint("e", [model]))
    assert all(plane.infer("e", ROW).status_code == 200 for _ in range(10))


def test_clients_at_once_get_what_the_bucket_holds_and_it_fills_again(plane, model):
    limited(plane, model, 2, 10)
    begun = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda _: plane.infer("e", ROW).status_code, range(60)))
    took = time.monotonic() - begun
    assert set(statuses) <= {200, 429} and 10 <= statuses.count(200) <= 11 + 2 * took
    wait_for(lambda: plane.infer("e", ROW).status_code == 200, 60, "a request that goes again")
