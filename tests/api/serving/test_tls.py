"""TLS on the data plane with the server's certificate: by both ports, over restarts, and when the server no longer has one."""

import subprocess

import numpy
import pytest
import requests
import xgboost

from endpoint_helpers import ENDPOINTS, deploy, make_endpoint, register
from lathe_server import Server, wait_for

ROWS = numpy.random.default_rng(6).normal(size=(50, 4)).astype("f4")


class Trusting:
    """What the helpers of endpoints need of a server, by TLS."""

    def __init__(self, server):
        self.url, self.certificate = server.url.replace("0.0.0.0", "127.0.0.1"), str(server.data / "tls" / "certificate.pem")
        self.token = server.token

    def _ask(self, method, path, **more):
        return requests.request(method, self.url + path, headers={"Authorization": f"Bearer {self.token}"},
                                verify=self.certificate, timeout=120, **more)  # fmt: skip

    def get(self, path, **more):
        return self._ask("GET", path, **more)

    def post(self, path, **more):
        return self._ask("POST", path, **more)

    def put(self, path, **more):
        return self._ask("PUT", path, **more)


@pytest.fixture
def secured(tmp_path):
    """A server beyond loopback with an endpoint "e"."""
    with Server("--host", "0.0.0.0") as server:
        trusting = Trusting(server)
        path = tmp_path / "model.ubj"
        xgboost.train({"max_depth": 2, "nthread": 1}, xgboost.DMatrix(ROWS, ROWS @ numpy.arange(4)), 2).save_model(path)
        make_endpoint(trusting, "e")
        deploy(trusting, "e", "blue", register(trusting, "m", path), "?all_traffic=true")
        yield server, trusting


def test_predictions_go_by_tls_everywhere(secured):
    server, trusting = secured
    shown = trusting.get(f"{ENDPOINTS}/e").json()
    assert shown["scoring_uri"].startswith("https://") and shown["invocations_uri"].startswith("https://")
    key = trusting.get(f"{ENDPOINTS}/e/credentials").json()["primaryKey"]
    assert server.infer.startswith("https://0.0.0.0:")

    def ask(base):
        return requests.post(base + "/endpoints/e/invocations", json={"inputs": ROWS[:2].tolist()}, verify=trusting.certificate,
                             headers={"Authorization": f"Bearer {key}"}, timeout=60)  # fmt: skip

    infer = server.infer.replace("0.0.0.0", "127.0.0.1")
    direct, passed = ask(infer), ask(trusting.url)
    assert direct.status_code == 200 and direct.json() == passed.json(), (direct.text, passed.text)
    got = trusting.post(f"{ENDPOINTS}/e/invoke", json={"inputs": ROWS[:2].tolist()})
    assert got.status_code == 200 and got.json() == direct.json()

    told = trusting.get(f"{ENDPOINTS}/e/statistics")
    assert told.status_code == 200 and told.json()["deployments"][0]["requests"] >= 3, told.text

    # A server that comes back finds the data plane as it is; one without a certificate has it started again without.
    ports = [url.rsplit(":", 1)[1] for url in (server.url, server.infer, server.grpc)]
    server.kill9()
    server.start(*ports)
    assert server.infer.startswith("https://") and ask(infer).json() == direct.json()
    server.kill9()
    server.flags = ["--host", "127.0.0.1", *server.flags[2:]]
    server.start(*ports)
    assert server.infer == f"http://127.0.0.1:{ports[1]}"
    plain = f"http://127.0.0.1:{ports[1]}"
    wait_for(lambda: ask(plain).status_code == 200, 120, "a prediction by the data plane that was started again")
    assert ask(plain).json() == direct.json()


def test_a_certificate_with_anothers_key_is_refused_before_anything_is_touched(tmp_path):
    for name in ("one", "two"):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=x",
                        "-keyout", tmp_path / f"{name}.key", "-out", tmp_path / f"{name}.pem"], check=True, capture_output=True)  # fmt: skip
    with Server() as server:
        server.terminate()
        alive = requests.get(server.infer + "/ping", timeout=60).status_code
        server.flags = ["--tls-certificate", str(tmp_path / "one.pem"), "--tls-key", str(tmp_path / "two.key"), *server.flags]
        with pytest.raises(AssertionError):
            server.start(0, 0, 0)
        assert "is not the key of the certificate" in server.log.read_text()
        assert requests.get(server.infer + "/ping", timeout=60).status_code == alive == 200


def test_shared_memory_needs_an_administrator_by_the_servers_port(secured):
    _, trusting = secured
    key = trusting.get(f"{ENDPOINTS}/e/credentials").json()["primaryKey"]
    assert trusting.get("/v2/systemsharedmemory/status").json() == []
    assert trusting.post("/v2/systemsharedmemory/unregister").status_code == 200
    got = trusting.post("/v2/systemsharedmemory/region/r/register", json={"key": "/lathe-nobody-made-this", "byte_size": 1})
    assert got.status_code == 404 and "cannot be opened" in got.json()["error"]
    for headers in ({"Authorization": f"Bearer {key}"}, {}):
        got = requests.get(trusting.url + "/v2/systemsharedmemory/status", headers=headers, verify=trusting.certificate, timeout=60)
        assert got.status_code in (401, 403), got.text
