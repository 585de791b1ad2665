"""What no honest client sends: the server refuses it and goes on."""

import json
import socket

import pytest


def raw(server, request):
    """Sends the bytes, ends the sending side, and answers all that comes back."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        try:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            answer = b""
            while piece := connection.recv(1 << 16):
                answer += piece
            return answer
        except TimeoutError:
            raise
        except OSError:
            return b""  # it was dropped


@pytest.mark.parametrize("line", ["GET /healthz", "POST /api/v1/jobs", f"PUT /api/v1/blobs/{'a' * 64}"])
def test_trailers_of_any_size_do_not_end_the_server(server, line):
    head = (f"{line} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {server.token}\r\n"
            "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")  # fmt: skip
    for _ in range(3):
        raw(server, head.encode() + b"2\r\n{}\r\n0\r\nX: " + b"x" * 200_000 + b"\r\n\r\n")
    assert server.process.poll() is None
    assert server.get("/readyz").status_code == 200


def test_an_error_that_quotes_the_request_is_bounded_json(server):
    answer = raw(server, f"GET /api/v1/jobs?state=%ff%fe HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {server.token}\r\n"
                         "Connection: close\r\n\r\n".encode())  # fmt: skip
    assert "no job state named" in json.loads(answer.split(b"\r\n\r\n", 1)[1])["detail"]
    answer = server.post("/api/v1/jobs", json={"command": "true", "compute": "c" * 100_000})
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith("compute: ") and len(answer.text) < 10_000
