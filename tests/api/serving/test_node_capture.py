"""What a node of the inference cluster captures of predictions comes into the server's data asset."""

import hashlib
import json

import pytest
import requests
from asking import ROWS, ask, train
from endpoint_helpers import deploy, make_endpoint, primary_key, register
from inference_nodes import NODES, Node
from lathe_server import wait_for

INPUTS = {"collections": {"model_inputs": {"enabled": True}}}
CAPTURED = "/api/v1/inference-node/captured"


@pytest.fixture(scope="module")
def model(server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    train(folder, 1, "one.ubj")
    return register(server, "kept-far", folder / "one.ubj")


def served(server, name, model):
    make_endpoint(server, name)
    made = deploy(server, name, "blue", model, "?all_traffic=true", data_collector=INPUTS)
    assert made["provisioning_state"] == "Succeeded", made
    return primary_key(server, name)


def folder_of(server, endpoint):
    return server.data / "datastore" / "modelDataCollector" / endpoint / "blue" / "model_inputs"


def lines_of(folder):
    return [json.loads(line) for file in sorted(folder.rglob("*.jsonl")) for line in file.read_text().splitlines()]


def ask_all(node, endpoint, key, rows):
    for row in rows:
        answer = ask(f"{node.url}/v2/models/{endpoint}/infer", key, row[None])
        assert answer.status_code == 200 and "x-lathe-node" not in answer.headers, answer.text


def first_values(lines):
    return sorted(line["data"][0]["input"][0] for line in lines)


def wait_for_lines(server, endpoint, rows):
    lines = wait_for(lambda: (found := lines_of(folder_of(server, endpoint))) and len(found) >= len(rows) and found,
                     120, f"{len(rows)} captured predictions")  # fmt: skip
    assert first_values(lines) == pytest.approx(sorted(float(row[0]) for row in rows))
    return lines


def kept_files(node):
    return [file for file in (node.folder / "capture").rglob("*.jsonl") if ".open" not in file.parts]


def test_what_enters_at_a_node_is_captured(server, model):
    key = served(server, "far", model)
    with Node(server, "far-1", "--capture-seconds", "1") as node:
        node.wait_ready("far.blue")
        ask_all(node, "far", key, ROWS[:5])
        lines = wait_for_lines(server, "far", ROWS[:5])
        assert {(each["endpoint"], each["deployment"], each["modelversion"]) for each in lines} == {("far", "blue", "1")}
        wait_for(lambda: not kept_files(node), 60, "the end of what the server has")
        # What it holds when it ends comes too.
        ask_all(node, "far", key, ROWS[5:8])
        assert node.stop() == 0
        wait_for_lines(server, "far", ROWS[:8])
    assert server.get("/api/v1/data/far-blue-model_inputs/versions/1").status_code == 200


def test_a_killed_node_and_a_killed_server_lose_nothing_that_was_written(fresh_server, tmp_path):
    server = fresh_server
    train(tmp_path, 1)
    key = served(server, "lasting", register(server, "lasting-model", tmp_path / "model.ubj"))
    with Node(server, "lasting-1", "--capture-seconds", "3600") as node:
        node.wait_ready("lasting.blue")
        ask_all(node, "lasting", key, ROWS[:4])
        opened = node.folder / "capture" / ".open"
        wait_for(lambda: sum(len(file.read_text().splitlines()) for file in opened.glob("*.jsonl")) == 4, 60, "the lines")
        server.kill9()
        node.kill9()
        node.restart()  # it moves what the one before left, and keeps it while nobody takes it
        wait_for(lambda: kept_files(node), 60, "the closed file")
        server.restart()
        wait_for_lines(server, "lasting", ROWS[:4])
        wait_for(lambda: not kept_files(node), 60, "the end of what the server has")


class Sender:
    """Sends pieces as a node does."""

    def __init__(self, server, name):
        self.server, self.name = server, name
        self.token = server.post(NODES, json={"name": name}).json()["token"]

    def send(self, path, content, offset=0, piece=None, sha256=None, **more):
        known = {"path": path, "sha256": sha256 or hashlib.sha256(content).hexdigest(), "size": len(content), "offset": offset}
        return requests.post(self.server.url + CAPTURED, params={**known, **more}, data=content[offset:] if piece is None else piece,
                             headers={"Authorization": f"Bearer {self.token}", "Content-Type": "application/octet-stream"},
                             timeout=60)  # fmt: skip


@pytest.fixture(scope="module")
def sender(server, model):
    served(server, "pieces", model)
    return Sender(server, "piecewise")


def test_pieces_are_taken_once_and_in_order(server, sender):
    content = b'{"a":1}\n' * 1000
    path = f"pieces/blue/model_inputs/2026/11/26/22/{'a' * 32}.jsonl"
    arrived = server.data / "datastore" / "modelDataCollector" / path
    assert sender.send(path, content, piece=content[:3000]).json() == {"have": 3000}
    for offset, piece in ((0, content[:3000]), (5000, content[5000:]), (100, b"x"), (0, b"")):
        assert sender.send(path, content, offset, piece).json() == {"have": 3000}
    assert not arrived.exists()
    assert sender.send(path, content, 3000).json() == {"have": len(content)}
    assert arrived.read_bytes() == content
    # Whoever did not hear that asks again, with the first piece.
    assert sender.send(path, content, piece=content[:3000]).json() == {"have": len(content)}
    assert arrived.read_bytes() == content
    other = sender.send(path, content.replace(b"1", b"2"))
    assert other.status_code == 409 and "another file" in other.json()["detail"]
    # What came damaged is taken from its beginning.
    path = path.replace("a" * 32, "b" * 32)
    assert sender.send(path, content, piece=content[:-1] + b"?").json() == {"have": 0}
    assert sender.send(path, content).json() == {"have": len(content)}
    assert not any(file.is_file() for file in (server.data / "datastore/modelDataCollector/.arriving").rglob("*"))


@pytest.mark.parametrize("path, more, status, words", [
    ("pieces/blue/model_inputs/2026/11/26/22/../aa.jsonl", {}, 400, "path"),
    ("../../../../../../etc/aa.jsonl", {}, 400, "path"),
    ("pieces/blue/model_inputs/2026/aa.txt", {}, 400, "path"),
    ("pieces/blue/model_inputs/2026/.aa.jsonl", {}, 400, "path"),
    ("pieces/blue/model_inputs/now/aa.jsonl", {}, 400, "path"),
    ("pieces/blue/model_outputs/2026/aa.jsonl", {}, 404, "nothing is captured"),
    ("other/blue/model_inputs/2026/aa.jsonl", {}, 404, "nothing is captured"),
    ("pieces/blue/model_inputs/2026/aa.jsonl", {"size": -1}, 400, "size"),
    ("pieces/blue/model_inputs/2026/aa.jsonl", {"size": 10**15}, 400, "size"),
    ("pieces/blue/model_inputs/2026/aa.jsonl", {"size": 1}, 400, "offset"),
    ("pieces/blue/model_inputs/2026/aa.jsonl", {"offset": "x"}, 400, "offset"),
    ("pieces/blue/model_inputs/2026/aa.jsonl", {"sha256": "../../x"}, 400, "sha256"),
])  # fmt: skip
def test_what_no_node_has_captured_is_refused(sender, path, more, status, words):
    known = {"sha256": None, **more}
    refused = sender.send(path, b"line\n", piece=b"line\n", **known)
    assert refused.status_code == status and words in refused.json()["detail"], refused.text


def test_only_a_nodes_token_opens_it(server, sender):
    administrator = {"Authorization": f"Bearer {server.token}", "Content-Type": "application/octet-stream"}
    assert requests.post(server.url + CAPTURED, headers=administrator, data=b"x", timeout=30).status_code == 401
    node = {"Authorization": f"Bearer {sender.token}", "Content-Type": "text/plain"}
    assert requests.post(server.url + CAPTURED, headers=node, data=b"x", timeout=30).status_code == 415
