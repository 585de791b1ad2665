"""How requests find the data plane that computes them: the server's own one and nodes that joined it."""

import collections
import concurrent.futures
import threading

import numpy
import pytest
import requests
import xgboost
from asking import ROWS, ask, body_of, predictions, train
from certificates import make_certificate
from endpoint_helpers import ENDPOINTS, deploy, make_endpoint, primary_key, register
from grpc_client import Client, infer_request, tensor
from inference_nodes import NODES, Between, Node
from lathe_server import Server, wait_for

EVERY = 10**6
BINARY = {"Inference-Header-Content-Length": "0"}


@pytest.fixture(scope="module")
def model(server, tmp_path_factory):
    """A registered model, and what the library predicts for the first eight rows."""
    folder = tmp_path_factory.mktemp("models")
    booster = train(folder, 1)
    return register(server, "trees", folder / "model.ubj"), booster.predict(xgboost.DMatrix(ROWS[:8]))


@pytest.fixture
def empty(server):
    """A node to which no model comes whole: all that it is asked, others answer."""
    with Between(server, damage=EVERY) as between, Node(server, "empty", join=between.url) as node:
        yield node
    server.delete(f"{NODES}/empty").raise_for_status()


def served(server, name, model, *deployments, **more):
    make_endpoint(server, name, **more)
    for deployment in deployments:
        made = deploy(server, name, deployment, model)
        assert made["provisioning_state"] == "Succeeded", made
    changed = server.patch(f"{ENDPOINTS}/{name}", json={"traffic": {deployments[0]: 100}})
    assert changed.status_code == 200, changed.text
    return primary_key(server, name)


def asked_at(node, endpoint, key, **headers):
    return ask(f"{node.url}/v2/models/{endpoint}/infer", key, ROWS[:8], **headers)


def reached(node, endpoint, key):
    """Waits until others answer for this one."""
    wait_for(lambda: asked_at(node, endpoint, key).status_code == 200, 120, f"answers for {node.name}")


def test_what_is_not_ready_here_is_answered_by_another(server, model, empty):
    key = served(server, "elsewhere", model[0], "blue")
    reached(empty, "elsewhere", key)
    answer = asked_at(empty, "elsewhere", key)
    assert numpy.abs(predictions(answer) - model[1]).max() <= 1e-6
    assert answer.headers["x-lathe-node"] == "server"
    assert answer.headers["azureml-model-deployment"] == "blue"
    # The same by every protocol, errors too.
    with requests.Session() as client:
        client.headers["Authorization"] = f"Bearer {key}"
        raw = client.post(f"{empty.url}/v2/models/elsewhere/infer", data=ROWS[:8].tobytes(), headers=BINARY, timeout=60)
        assert raw.status_code == 200, raw.text
        assert raw.headers["x-lathe-node"] == "server"
        azures = {"input_data": ROWS[:8].tolist()}
        scored = client.post(f"{empty.url}/endpoints/elsewhere/score", timeout=60, json=azures)
        assert numpy.abs(numpy.array(scored.json()) - model[1]).max() <= 1e-6
        wrong = client.post(f"{empty.url}/v2/models/elsewhere/infer", json=body_of(ROWS[:8, :3]), timeout=60)
        direct = client.post(f"{server.infer}/v2/models/elsewhere/infer", json=body_of(ROWS[:8, :3]), timeout=60)
        assert (wrong.status_code, wrong.text) == (direct.status_code, direct.text)
        assert wrong.status_code == 400
    assert asked_at(empty, "elsewhere", "another key").status_code == 403
    with Client(empty.grpc, key) as client:
        asked = infer_request("elsewhere", [tensor("input", "FP32", [8, 5])], [ROWS[:8].tobytes()])
        by_grpc = client.call("ModelInfer", asked).raw_output_contents[0]
        assert numpy.abs(numpy.frombuffer(by_grpc, "f4") - model[1]).max() <= 1e-6
        narrow = infer_request("elsewhere", [tensor("input", "FP32", [1, 2])], [ROWS[:1, :2].tobytes()])
        assert client.refusal("ModelInfer", narrow)[0] == "INVALID_ARGUMENT"


def test_a_mark_that_a_client_invents_opens_nothing(server, model, empty):
    key = served(server, "marked", model[0], "blue", rate_limit={"requests_per_second": 0.001, "burst": 1})
    wait_for(lambda: asked_at(empty, "marked", "no key").status_code == 403, 120, "the endpoint")
    mine = {"x-lathe-forwarded": "me"}
    wait_for(lambda: asked_at(empty, "marked", key, **mine).status_code in (429, 503), 120, "an answer")
    assert ask(f"{server.infer}/v2/models/marked/infer", key, ROWS[:8], **mine).status_code == 200
    assert ask(f"{server.infer}/v2/models/marked/infer", key, ROWS[:8], **mine).status_code == 429
    for url in (server.infer, empty.url):
        assert requests.get(f"{url}/cluster", timeout=30).status_code == 404
        assert requests.get(f"{url}/cluster", headers=mine, timeout=30).status_code == 404
        head = {**mine, "Authorization": f"Bearer {key}"}
        by_grpc = requests.post(f"{url}/inference.GRPCInferenceService/ModelInfer", headers=head, data=b"x", timeout=30)
        assert by_grpc.status_code == 404


def test_traffic_is_split_once_wherever_deployments_are(server, model, empty):
    key = served(server, "split", model[0], "blue", "green")
    shares = server.patch(f"{ENDPOINTS}/split", json={"traffic": {"blue": 70, "green": 30}})
    assert shares.status_code == 200, shares.text
    with Node(server, "whole") as whole:
        whole.wait_ready("split.green")
        for node in (empty, whole):
            reached(node, "split", key)

            def who(headers, at=node):
                answer = asked_at(at, "split", key, **headers)
                assert answer.status_code == 200, answer.text
                return answer.headers["azureml-model-deployment"]

            with concurrent.futures.ThreadPoolExecutor(4) as clients:
                went = collections.Counter(clients.map(who, [{}] * 200))
            assert went == {"blue": 140, "green": 60}
            assert {who({"azureml-model-deployment": "green"}) for _ in range(5)} == {"green"}
        # A session stays with its deployment whichever machine it asks.
        for i in range(20):
            session = {"x-lathe-session": f"client {i}"}
            assert who(session, empty) == who(session, whole)


def test_peers_ask_each_other_by_tls(server, model, empty, tmp_path):
    key = served(server, "private", model[0], "blue")
    certificate, private = make_certificate(tmp_path, "node")
    with Node(server, "tls", "--tls-certificate", certificate, "--tls-key", private) as node:
        node.wait_ready("private.blue")
        assert node.url.startswith("https://")
        seen = set()

        def all_seen():
            answer = asked_at(empty, "private", key)
            seen.add(answer.headers.get("x-lathe-node"))
            return answer.status_code == 200 and {"tls", "server"} <= seen

        wait_for(all_seen, 120, "answers of both")
    server.delete(f"{NODES}/tls").raise_for_status()


@pytest.fixture
def heavy(tmp_path):
    """A model that takes long enough to be worth another machine's while, and rows for it."""
    rows = numpy.random.default_rng(3).normal(size=(3000, 20)).astype("f4")
    booster = xgboost.train({"max_depth": 6, "nthread": 1}, xgboost.DMatrix(rows, rows @ numpy.arange(20)), 100)
    path = tmp_path / "heavy.ubj"
    booster.save_model(path)
    return path, rows


class Crowd:
    """Clients that each ask again as soon as they are answered. `seen`: whose answers; `failed`: what was no answer."""

    def __init__(self, url, key, rows, clients):
        self.url, self.key, self.rows = f"{url}/v2/models/heavy/infer", key, rows
        self.seen, self.failed = collections.Counter(), []
        self.lock, self.ending = threading.Lock(), threading.Event()
        self.threads = [threading.Thread(target=self.ask) for _ in range(clients)]

    def __enter__(self):
        for each in self.threads:
            each.start()
        return self

    def __exit__(self, *_):
        self.ending.set()
        for each in self.threads:
            each.join()

    def ask(self):
        head = {"Authorization": f"Bearer {self.key}", **BINARY}
        with requests.Session() as session:
            while not self.ending.is_set():
                answer = session.post(self.url, data=self.rows.tobytes(), headers=head, timeout=120)
                with self.lock:
                    if answer.status_code == 200:
                        self.seen[answer.headers.get("x-lathe-node", "itself")] += 1
                    else:
                        self.failed.append(answer.json()["error"])

    def more(self, who, count=3):
        wanted = self.seen[who] + count
        wait_for(lambda: self.seen[who] >= wanted, 120, f"answers of {who}")


def test_a_killed_node_takes_along_what_it_computed_and_nothing_else(heavy):
    path, rows = heavy
    clients = 6
    with Server() as server:
        registered = register(server, "heavy", path)
        key = served(server, "heavy", registered, "blue")
        with Node(server, "a") as a, Node(server, "b") as b, Node(server, "c") as c:
            for node in (a, b, c):
                node.wait_ready("heavy.blue")
            with Crowd(a.url, key, rows, clients) as crowd:
                for who in ("itself", "b", "c", "server"):
                    crowd.more(who)
                b.kill9()
                crowd.more("c", 10)
                of_b = crowd.seen["b"]
                crowd.more("itself", 10)
                crowd.more("server")
                assert crowd.seen["b"] == of_b
                assert len(crowd.failed) <= clients
                assert all(each.startswith('the machine that computed this, "b", was lost') for each in crowd.failed)
                before = len(crowd.failed)
                # Nor does anybody need the server to know who lives.
                server.kill9()
                b.restart()
                crowd.more("b")
                assert len(crowd.failed) == before
                # One that ends in peace costs no request.
                assert c.stop() == 0
                crowd.more("b")
                crowd.more("itself")
                assert len(crowd.failed) == before, crowd.failed
            server.restart()
            wait_for(lambda: c.shown()["state"] == "silent", 60, "silence")
            wait_for(lambda: b.shown()["state"] == "online", 60, "b")
