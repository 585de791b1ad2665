"""CORS and rate limits of endpoints: the document's fields, and that they hold by both ports."""

import numpy
import pytest
import requests
import xgboost

from endpoint_helpers import ENDPOINTS, deploy, make_endpoint, primary_key, register

ROWS = numpy.random.default_rng(6).normal(size=(50, 4)).astype("f4")
PAGE = "https://app.example.com"


@pytest.fixture(scope="module")
def served(server, tmp_path_factory):
    """An endpoint "open" that pages of PAGE may ask."""
    path = tmp_path_factory.mktemp("models") / "model.ubj"
    xgboost.train({"max_depth": 2, "nthread": 1}, xgboost.DMatrix(ROWS, ROWS @ numpy.arange(4)), 2).save_model(path)
    made = make_endpoint(server, "open", cors={"allowed_origins": ["https://APP.example.com"]})
    assert made["cors"] == {"allowed_origins": [PAGE]}
    deploy(server, "open", "blue", register(server, "open-model", path), "?all_traffic=true")
    return {"Authorization": f"Bearer {primary_key(server, 'open')}", "Origin": PAGE}


def test_a_page_may_ask_by_both_ports(server, served):
    for base in (server.url, server.infer):
        for path in ("/v2/models/open/infer", "/endpoints/open/invocations"):
            got = requests.options(base + path, headers={"Origin": PAGE, "Access-Control-Request-Method": "POST",
                                                         "Access-Control-Request-Headers": "authorization"}, timeout=60)  # fmt: skip
            assert got.status_code == 200, got.text
            assert got.headers["Access-Control-Allow-Origin"] == PAGE
            assert got.headers["Access-Control-Allow-Headers"] == "authorization"
        got = requests.post(f"{base}/endpoints/open/invocations", json={"inputs": ROWS[:2].tolist()}, headers=served, timeout=60)
        assert got.status_code == 200 and got.headers["Access-Control-Allow-Origin"] == PAGE
    # Only OPTIONS asks about what follows.
    got = requests.post(f"{server.url}/endpoints/open/invocations", json={"inputs": ROWS[:2].tolist()}, timeout=60,
                        headers={**served, "Access-Control-Request-Method": "POST"})  # fmt: skip
    assert got.status_code == 200 and len(got.json()["predictions"]) == 2
    # The server's own routes stay closed to other sites.
    got = requests.get(server.url + ENDPOINTS, headers={"Authorization": f"Bearer {server.token}", "Origin": PAGE}, timeout=60)
    assert got.status_code == 403


def test_a_limit_can_be_set_and_taken_away(server, served):
    def ask():
        return requests.post(f"{server.url}/endpoints/open/invocations", json={"inputs": ROWS[:1].tolist()}, headers=served,
                             timeout=60)  # fmt: skip

    got = server.patch(f"{ENDPOINTS}/open", json={"rate_limit": {"requests_per_second": 0.01}})
    assert got.status_code == 200 and got.json()["rate_limit"] == {"requests_per_second": 0.01, "burst": 1}
    assert got.json()["cors"] == {"allowed_origins": [PAGE]}
    assert [ask().status_code for _ in range(2)] == [200, 429]
    assert int(ask().headers["Retry-After"]) > 1
    got = server.patch(f"{ENDPOINTS}/open", json={"rate_limit": None}).json()
    assert not got.get("rate_limit")
    assert ask().status_code == 200
    assert not server.patch(f"{ENDPOINTS}/open", json={"cors": {"allowed_origins": []}}).json().get("cors")
    assert "Access-Control-Allow-Origin" not in ask().headers


def test_the_slowest_limit_with_the_largest_burst_holds_nobody_up(server, served):
    got = server.patch(f"{ENDPOINTS}/open", json={"rate_limit": {"requests_per_second": 0.001, "burst": 1_000_000}})
    assert got.status_code == 200, got.text
    for _ in range(3):
        got = requests.post(f"{server.infer}/endpoints/open/invocations", json={"inputs": ROWS[:1].tolist()}, headers=served, timeout=60)
        assert got.status_code == 200, got.text
    server.patch(f"{ENDPOINTS}/open", json={"rate_limit": None}).raise_for_status()


@pytest.mark.parametrize("field, value, words", [
    ("cors", {"allowed_origins": ["example.com"]}, "cors.allowed_origins"),
    ("cors", {"allowed_origins": ["https://a.example/path"]}, "cors.allowed_origins"),
    ("cors", {"allowed_origins": ["https://a\r\nX: y"]}, "cors.allowed_origins"),
    ("cors", {"allowed_origins": "*"}, "allowed_origins"), ("cors", {"origins": []}, "allowed_origins"),
    ("cors", 3, "cors"), ("rate_limit", {"requests_per_second": -1}, "requests_per_second"),
    ("rate_limit", {"burst": 1}, "requests_per_second"), ("rate_limit", {"requests_per_second": 1, "burst": 0}, "burst"),
    ("rate_limit", {"requests_per_second": 1e9}, "requests_per_second"), ("rate_limit", {"requests_per_second": 1e-4}, "requests_per_second"),
    ("rate_limit", {"requests_per_second": 5e-324}, "requests_per_second"), ("rate_limit", {"per_second": 1}, "per_second"),
])  # fmt: skip
def test_what_cannot_be_is_refused(server, served, field, value, words):
    got = server.patch(f"{ENDPOINTS}/open", json={field: value})
    assert got.status_code == 400 and words in got.json()["detail"], got.text
