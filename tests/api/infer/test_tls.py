"""TLS on both ports of the data plane: plain clients, a certificate that is replaced, and what does not speak it."""

import concurrent.futures
import socket
import ssl
import subprocess

import grpc
import pytest
import requests

from certificates import make_certificate
from data_plane import KEY, DataPlane, deployment, endpoint
from grpc_client import SERVICE, infer_request, pb, tensor
from lathe_server import bin_folder, wait_for

ROW = {"input": ("FP32", [1, 8], [0.5] * 8)}
BIG = 200_000


@pytest.fixture
def secured(tmp_path, make_booster):
    """A data plane with TLS, whose certificate is in tmp_path/shown.pem, and an endpoint "e"."""
    make_certificate(tmp_path, "shown")
    with DataPlane("--tls-certificate", tmp_path / "shown.pem", "--tls-key", tmp_path / "shown.key") as plane:
        plane.session.verify = str(tmp_path / "shown.pem")
        plane.session.trust_env = False  # which would let REQUESTS_CA_BUNDLE win
        path = plane.models / "m.ubj"
        make_booster("reg:squarederror", rounds=2).save_model(path)
        plane.desire(endpoint("e", [deployment("blue", path)]))
        yield plane


def channel_of(plane, certificate):
    return grpc.secure_channel(plane.grpc, grpc.ssl_channel_credentials(certificate.read_bytes()))


def ask_by_grpc(channel, rows=1):
    infer = channel.unary_unary(f"{SERVICE}ModelInfer", pb.ModelInferRequest.SerializeToString,
                                pb.ModelInferResponse.FromString)  # fmt: skip
    asked = infer_request("e", [tensor("input", "FP32", [rows, 8], "fp32_contents", [0.5] * 8 * rows)])
    return infer(asked, metadata=(("authorization", f"Bearer {KEY}"),), timeout=60)


def test_both_ports_answer_by_tls(secured, tmp_path):
    assert secured.url.startswith("https://")
    one = secured.infer("e", ROW)
    assert one.status_code == 200, one.text
    # More than a record, a buffer and a socket hold, both ways.
    rows = [[0.5] * 8] * BIG
    many = secured.post("/endpoints/e/invocations", json={"inputs": rows})
    assert many.status_code == 200 and len(many.json()["predictions"]) == BIG
    with channel_of(secured, tmp_path / "shown.pem") as channel:
        assert ask_by_grpc(channel).model_name == "e"
        assert len(ask_by_grpc(channel, 40_000).outputs[0].contents.fp32_contents) == 40_000
    assert len(secured.reported()["certificate_sha256"]) == 64


def test_many_clients_at_once(secured):
    def ask(number):
        with requests.Session() as session:
            session.verify, session.trust_env = secured.session.verify, False
            answers = [session.post(secured.url + "/endpoints/e/invocations", json={"inputs": [[0.5] * 8] * (1 + number * 500)},
                                    headers={"Authorization": f"Bearer {KEY}"}, timeout=60) for _ in range(5)]  # fmt: skip
        return [(each.status_code, len(each.json()["predictions"])) for each in answers]

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for number, answers in enumerate(pool.map(ask, range(16))):
            assert answers == [(200, 1 + number * 500)] * 5


def test_requests_that_come_all_at_once_are_answered_in_their_order(secured):
    context = ssl.create_default_context(cafile=secured.session.verify)
    with context.wrap_socket(socket.create_connection(("127.0.0.1", secured.port), 60), server_hostname="127.0.0.1") as client:
        client.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n" * 400
                       + b"GET /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")  # fmt: skip
        got = b""
        while more := client.recv(65536):
            got += more
    assert got.count(b'{"live":true}') == 400 and got.endswith(b'{"status":"ok"}')


def test_the_certificate_is_replaced_while_clients_stay(secured, tmp_path):
    assert secured.infer("e", ROW).status_code == 200
    before = secured.reported()["certificate_sha256"]
    make_certificate(tmp_path, "next", ("-newkey", "rsa:2048"))
    # The certificate alone does not belong to the key: the old pair goes on until both are there.
    (tmp_path / "next.pem").replace(tmp_path / "shown.pem")
    wait_for(lambda: "the old one goes on" in secured.log.read_text(), 60, "the warning")
    assert secured.reported()["certificate_sha256"] == before
    (tmp_path / "next.key").replace(tmp_path / "shown.key")
    wait_for(lambda: secured.reported()["certificate_sha256"] != before, 60, "the new certificate")
    assert secured.infer("e", ROW).status_code == 200  # by the connection that was there
    fresh = requests.get(secured.url + "/v2/health/live", verify=str(tmp_path / "shown.pem"), timeout=60)
    assert fresh.status_code == 200
    with channel_of(secured, tmp_path / "shown.pem") as channel:
        assert ask_by_grpc(channel).model_name == "e"


def test_what_does_not_speak_it_is_let_go(secured):
    got = requests.get(f"http://127.0.0.1:{secured.port}/v2/health/live", timeout=60)
    assert got.status_code == 400 and "https" in got.json()["error"]
    for noise in (b"", b"\x16\x03\x01\x02\x00\x01\x00", b"\xff" * 5000):
        with socket.create_connection(("127.0.0.1", secured.port), 60) as client:
            client.settimeout(60)
            try:
                client.sendall(noise)
                client.shutdown(socket.SHUT_WR)
                while client.recv(4096):
                    pass
            except TimeoutError:
                raise
            except OSError:  # it has closed already
                pass
    # A client of HTTP/1.1 at the port of gRPC agrees on no protocol.
    context = ssl.create_default_context(cafile=secured.session.verify)
    context.set_alpn_protocols(["http/1.1"])
    host, port = secured.grpc.rsplit(":", 1)
    with pytest.raises(ssl.SSLError), socket.create_connection((host, int(port)), 60) as client:
        context.wrap_socket(client, server_hostname="127.0.0.1")
    old = ssl.create_default_context(cafile=secured.session.verify)
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_2
    with old.wrap_socket(socket.create_connection((host, secured.port), 60), server_hostname="127.0.0.1") as client:
        assert client.version() == "TLSv1.2"
    assert secured.infer("e", ROW).status_code == 200


def test_a_pair_that_cannot_be_used_is_said_at_once(tmp_path):
    make_certificate(tmp_path, "a")
    make_certificate(tmp_path, "b")
    for certificate, key, words in (("a.pem", "b.key", "cannot use the key"), ("none.pem", "a.key", "cannot use the certificate")):
        done = subprocess.run([bin_folder() / "lathe-infer", "--folder", tmp_path / "infer", "--port", "0", "--grpc-port", "0",
                               "--tls-certificate", tmp_path / certificate, "--tls-key", tmp_path / key],
                              capture_output=True, text=True, timeout=60)  # fmt: skip
        assert done.returncode == 1 and words in done.stderr, done.stderr
