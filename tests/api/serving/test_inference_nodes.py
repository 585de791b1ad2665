"""An inference cluster: other `lathe-infer` processes that join the server and answer what its endpoints answer."""

import hashlib
import json
import stat

import numpy
import pytest
import requests
import xgboost
from asking import ROWS, Asking, ask, predictions, train
from endpoint_helpers import ENDPOINTS, deploy, make_endpoint, primary_key, register
from grpc_client import Client, infer_request, tensor
from inference_nodes import NODES, Between, Node
from lathe_server import Server, wait_for


@pytest.fixture(scope="module")
def models(server, tmp_path_factory):
    """Two registered versions of one model, with the library's own predictions."""
    folder = tmp_path_factory.mktemp("models")
    one, two = train(folder, 1, "one.ubj"), train(folder, 2, "two.ubj")
    rows = xgboost.DMatrix(ROWS[:8])
    return [(register(server, "trees", folder / "one.ubj"), one.predict(rows)),
            (register(server, "trees", folder / "two.ubj"), two.predict(rows))]  # fmt: skip


def served(server, name, model):
    """An endpoint with a deployment "blue"; its key."""
    make_endpoint(server, name)
    made = deploy(server, name, "blue", model, "?all_traffic=true")
    assert made["provisioning_state"] == "Succeeded", made
    return primary_key(server, name)


def asked_at(node, endpoint, key, **headers):
    return ask(f"{node.url}/v2/models/{endpoint}/infer", key, ROWS[:8], **headers)


def answers_with(node, endpoint, key, wanted):
    return numpy.abs(predictions(asked_at(node, endpoint, key)) - wanted).max() <= 1e-6


def test_a_node_answers_what_the_server_answers(server, models):
    key = served(server, "shared", models[0][0])
    with Node(server, "alpha") as node:
        node.wait_ready("shared.blue")
        shown = node.shown()
        assert (shown["state"], shown["url"], shown["grpc"]) == ("online", node.url, node.grpc)
        assert shown["version"] and shown["cores"] > 0 and shown["last_seen"]
        assert "token" not in shown
        assert answers_with(node, "shared", key, models[0][1])
        with Client(node.grpc, key) as client:
            asked = infer_request("shared", [tensor("input", "FP32", [8, 5])], [ROWS[:8].tobytes()])
            by_grpc = client.call("ModelInfer", asked).raw_output_contents[0]
        assert numpy.abs(numpy.frombuffer(by_grpc, "f4") - models[0][1]).max() <= 1e-6
        assert asked_at(node, "shared", "another key").status_code == 403
        listed = server.cli("inference-node", "list", "-o", "table").stdout
        assert "alpha" in listed and "online" in listed and node.url in listed
        # A new key holds there too, and the old one no longer.
        fresh = server.post(f"{ENDPOINTS}/shared/regenerate-keys", json={"key_type": "primary"}).json()["primaryKey"]
        wait_for(lambda: asked_at(node, "shared", fresh).status_code == 200, 60, "the new key")
        assert asked_at(node, "shared", key).status_code == 403
        node.stop()
        wait_for(lambda: node.shown()["state"] == "silent", 60, "silence")


def test_a_node_takes_an_endpoints_tokens_and_cannot_make_them(server, models):
    make_endpoint(server, "signed", auth_mode="aml_token")
    assert deploy(server, "signed", "blue", models[0][0], "?all_traffic=true")["provisioning_state"] == "Succeeded"
    token = server.post(f"{ENDPOINTS}/signed/token").json()["accessToken"]
    with Node(server, "signed-1") as node:
        node.wait_ready("signed.blue")
        assert answers_with(node, "signed", token, models[0][1])
        changed = token[:-1] + ("0" if token[-1] != "0" else "1")
        assert asked_at(node, "signed", changed).status_code == 403
        for key_type in ("primary", "secondary"):
            server.post(f"{ENDPOINTS}/signed/regenerate-keys", json={"key_type": key_type}).raise_for_status()
        wait_for(lambda: asked_at(node, "signed", token).status_code == 403, 60, "the end of the token")


def test_a_token_opens_what_a_node_needs_and_nothing_else(server, models):
    served(server, "closed", models[0][0])
    made = json.loads(server.cli("inference-node", "create", "-n", "narrow").stdout)
    token = {"Authorization": f"Bearer {made['token']}"}
    assert made["state"] == "waiting"
    assert server.post(NODES, json={"name": "narrow"}).status_code == 409
    assert server.post(NODES, json={"name": "a/b"}).status_code == 400
    assert server.post(NODES, json={"name": "server"}).status_code == 400
    for method, path in (("GET", ENDPOINTS), ("GET", NODES), ("GET", f"{ENDPOINTS}/closed/credentials"),
                         ("GET", "/api/v1/me"), ("POST", NODES), ("DELETE", f"{NODES}/narrow")):  # fmt: skip
        refused = requests.request(method, server.url + path, headers=token, json={}, timeout=30)
        assert refused.status_code == 401 and "token of an inference node" in refused.json()["detail"], path
    said = {"url": "http://127.0.0.1:1", "instance": "a"}
    sync = server.url + "/api/v1/inference-node/sync"
    first = requests.post(sync, headers=token, json=said, timeout=30).json()
    digest = first["desired"]["endpoints"][0]["deployments"][0]["model"]["files"][0]["sha256"]
    again = requests.post(sync, headers=token, json={**said, "etag": first["etag"]}, timeout=30).json()
    assert (again["etag"], "desired" in again) == (first["etag"], False)
    files = server.url + "/api/v1/inference-node/files/"
    assert requests.get(files + digest, headers=token, timeout=30).status_code == 200
    other = b"an asset that nothing serves"
    server.put(f"/api/v1/blobs/{hashlib.sha256(other).hexdigest()}", data=other).raise_for_status()
    assert requests.get(files + hashlib.sha256(other).hexdigest(), headers=token, timeout=30).status_code == 404
    assert requests.get(files + digest, timeout=30).status_code == 401
    administrator = {"Authorization": f"Bearer {server.token}"}
    assert requests.post(sync, headers=administrator, json=said, timeout=30).status_code == 401
    for url in ("", "ftp://x", "http://", "http://h/path", 'http://h"'):
        refused = requests.post(sync, headers=token, json={**said, "url": url}, timeout=30)
        assert refused.status_code == 400 and "url" in refused.text
    # Two processes with one token would answer for each other.
    elsewhere = requests.post(sync, headers=token, json={"url": "http://127.0.0.1:2", "instance": "b"}, timeout=30)
    assert elsewhere.status_code == 409 and "token" in elsewhere.text
    server.cli("inference-node", "delete", "-n", "narrow", "--yes")
    assert requests.post(sync, headers=token, json=said, timeout=30).status_code == 401
    assert server.get(f"{NODES}/narrow").status_code == 404


def test_a_node_whose_token_is_revoked_stops_answering(server, models):
    key = served(server, "revoked", models[0][0])
    with Node(server, "leaver") as node:
        node.wait_ready("revoked.blue")
        server.delete(f"{NODES}/leaver").raise_for_status()
        wait_for(lambda: asked_at(node, "revoked", key).status_code == 404, 60, "the end of its answers")
        wait_for(lambda: requests.get(f"{node.url}/v2/health/ready", timeout=30).status_code == 400, 60, "its not being ready")
        # A new token in the same file lets it in again.
        node.token_file.write_text(server.post(NODES, json={"name": "leaver"}).json()["token"])
        wait_for(lambda: asked_at(node, "revoked", key).status_code == 200, 60, "its answers")


def test_a_deployment_is_updated_while_nodes_serve(server, models):
    key = served(server, "swapped", models[0][0])
    with Node(server, "swapper") as node:
        node.wait_ready("swapped.blue")
        assert answers_with(node, "swapped", key, models[0][1])
        with Asking(f"{node.url}/v2/models/swapped/infer", key) as client:
            changed = server.patch(f"{ENDPOINTS}/swapped/deployments/blue", json={"model": models[1][0]})
            assert changed.json()["provisioning_state"] == "Succeeded", changed.text
            node.wait_ready("swapped.blue", "2")
            wait_for(lambda: answers_with(node, "swapped", key, models[1][1]), 60, "the new model")
        assert client.failed == [] and client.count > 0


def test_a_damaged_file_never_takes_traffic_and_is_fetched_again(server, models):
    key = served(server, "damaged", models[0][0])
    with Between(server, damage=2) as between, Node(server, "far", join=between.url) as node:
        node.wait_ready("damaged.blue")
        assert answers_with(node, "damaged", key, models[0][1])
        assert "came damaged" in node.log.read_text()
        assert between.files > between.damage
        # On its own disk, too.
        node.stop()
        for file in (node.folder / "models").rglob("*.ubj"):
            file.chmod(stat.S_IRUSR | stat.S_IWUSR)
            file.write_bytes(b"rubbish")
        node.restart()
        wait_for(lambda: asked_at(node, "damaged", key).status_code == 200, 120, "its answers")
        assert answers_with(node, "damaged", key, models[0][1])


def test_a_download_that_broke_goes_on_where_it_ended(fresh_server, tmp_path):
    server = fresh_server
    wanted = train(tmp_path, 3).predict(xgboost.DMatrix(ROWS[:8]))
    key = served(server, "resumed", register(server, "trees", tmp_path / "model.ubj"))
    digests = [each["sha256"] for each in json.loads((server.data / "infer" / "desired.json").read_text())["endpoints"]
               if each["name"] == "resumed" for each in each["deployments"][0]["model"]["files"]]  # fmt: skip
    with Between(server, cut=1) as between, Node(server, "resumer", join=between.url) as node:
        node.wait_ready("resumed.blue")
        assert answers_with(node, "resumed", key, wanted)
        (file,) = [each for each in (node.folder / "models").rglob("*.ubj")]
        size = file.stat().st_size
        assert hashlib.sha256(file.read_bytes()).hexdigest() in digests
        assert between.asked[:2] == [None, f"bytes={size // 2}-"] and between.sent == size
        # What is here of a file, and is not how it begins, or is longer, does no harm.
        for rubbish in (b"rubbish", b"x" * (size + 1)):
            node.stop()
            part = file.parent.with_name(file.parent.name + ".part")
            file.parent.rename(part)
            (part / file.name).chmod(stat.S_IRUSR | stat.S_IWUSR)
            (part / file.name).write_bytes(rubbish)
            (node.folder / "desired.json").unlink()
            node.restart()
            wait_for(file.exists, 120, "the whole file")
            assert hashlib.sha256(file.read_bytes()).hexdigest() in digests


def test_nodes_do_not_need_the_server(tmp_path):
    booster = train(tmp_path, 3)
    wanted = booster.predict(xgboost.DMatrix(ROWS[:8]))
    with Server() as server:
        key = served(server, "alone", register(server, "trees", tmp_path / "model.ubj"))
        with Node(server, "hermit") as node:
            node.wait_ready("alone.blue")
            with Asking(f"{node.url}/v2/models/alone/infer", key) as client:
                server.kill9()
                before = client.count
                wait_for(lambda: client.count > before + 5, 60, "answers without the server")
            assert client.failed == []
            node.kill9()
            node.restart()
            wait_for(lambda: asked_at(node, "alone", key).status_code == 200, 60, "its answers")
            assert answers_with(node, "alone", key, wanted)
            server.restart()
            assert node.name in [each["name"] for each in server.get(NODES).json()["value"]]
            node.wait_ready("alone.blue")
