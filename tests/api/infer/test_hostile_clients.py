"""Clients that take connections and time and give nothing: everybody else is answered meanwhile."""

import json
import resource
import select
import socket

import pytest

import onnx_file
from data_plane import KEY, DataPlane, deployment, endpoint

HEAD = (f"POST /v2/models/e/infer HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
        "Content-Type: application/json\r\n")  # fmt: skip
BODY = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}]})
REQUEST = f"{HEAD}Content-Length: {len(BODY)}\r\n\r\n{BODY}".encode()
MOST_BODY = 50_000_000


@pytest.fixture(scope="module")
def plane():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, hard), hard))  # what Debian gives a program
    try:
        with DataPlane("--max-body-bytes", str(MOST_BODY)) as running:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            running.desire(endpoint("e", [deployment("d", onnx_file.identity(running.models / "m.onnx", onnx_file.FLOAT), format="onnx")]))
            yield running
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def connect(plane, limit_s=60):
    return socket.create_connection(("127.0.0.1", plane.port), timeout=limit_s)


def ask(client):
    """The status of an answer on this connection."""
    client.sendall(REQUEST)
    return status_of(client)


def status_of(client):
    got = b""
    while b"\r\n\r\n" not in got:
        piece = client.recv(65536)
        assert piece, f"closed after {got!r}"
        got += piece
    return int(got.split()[1])


def test_ten_thousand_idle_connections(plane):
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(10_000, hard - 200)
    idle = []
    try:
        for _ in range(count):
            idle.append(connect(plane))
        with connect(plane) as client:
            assert ask(client) == 200
        assert [ask(client) for client in idle[:: count // 50]] == [200] * len(idle[:: count // 50])
    finally:
        for client in idle:
            client.close()
    with connect(plane) as client:
        assert ask(client) == 200


def test_a_client_that_sends_byte_by_byte(plane):
    with connect(plane) as slow, connect(plane) as other:
        for i in range(len(REQUEST)):
            slow.sendall(REQUEST[i : i + 1])
            if i % 20 == 0:
                assert ask(other) == 200
        assert status_of(slow) == 200


def test_a_head_that_does_not_end_is_given_up(plane):
    with connect(plane) as slow, connect(plane) as other:
        slow.sendall(HEAD.encode())
        assert ask(other) == 200
        assert slow.recv(1) == b""
        assert ask(other) == 200


def test_a_client_that_never_reads_is_read_no_further(plane):
    values = 250_000
    body = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [values // 2, 2], "data": [0.5] * values}]})
    request = f"{HEAD}Content-Length: {len(body)}\r\n\r\n{body}".encode()
    given = 100 * len(request)  # 125 MB
    sent = 0
    with connect(plane) as greedy, connect(plane) as other:
        greedy.setblocking(False)
        while sent < given and select.select([], [greedy], [], 3)[1]:
            at = sent % len(request)
            sent += greedy.send(request[at : at + 65536])
        assert sent < given / 2
        assert ask(other) == 200


def test_a_body_of_a_gibibyte(plane):
    with connect(plane) as client:
        client.sendall(f"{HEAD}Content-Length: {1 << 30}\r\n\r\n".encode())
        assert status_of(client) == 413
    piece = b"100000\r\n" + b" " * (1 << 20) + b"\r\n"
    with connect(plane) as client:
        client.sendall(f"{HEAD}Transfer-Encoding: chunked\r\n\r\n".encode())
        sent = 0
        while sent < 1 << 30 and not select.select([client], [], [], 0)[0]:
            try:
                client.sendall(piece)
            except ConnectionError:
                break
            sent += len(piece)
        assert sent < 4 * MOST_BODY
        assert status_of(client) == 413
    with connect(plane) as client:
        assert ask(client) == 200
