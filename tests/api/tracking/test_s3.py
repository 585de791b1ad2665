"""Artifacts on S3: what only that place can do, and what happens when it is away."""

import hashlib
import http.server
import json
import os
import socket
import subprocess
import threading
import time

import pytest
import requests

from job_helpers import run
from lathe_server import Server, bin_folder, wait_for
from mlflow_rest import Rest
from s3_server import ACCESS_KEY, SECRET, Wire

ROOT = "/api/2.0/mlflow-artifacts/artifacts"
MPU = "/api/2.0/mlflow-artifacts/mpu"
MIB = 1 << 20


def start(place, **env):
    server = Server(*place.flags, env={**place.env, **env})
    server.place = place
    return server


@pytest.fixture
def server(s3):
    with start(s3.place()) as running:
        yield running


@pytest.fixture
def broken(s3):
    """A server on S3, for tests that stop S3: it runs again afterwards."""
    with start(s3.place()) as running:
        yield running
        s3.thaw()
        if s3.process.poll() is not None:
            s3.start()


@pytest.fixture
def wired(s3):
    """A server that reaches S3 by a wire that can be cut."""
    with Wire(s3.port) as wire, start(s3.place(wire.endpoint)) as running:
        running.wire = wire
        yield running


def artifacts_of(server):
    return f"0/{Rest(server).run()}/artifacts"


def upload_of(server, path, promised):
    """A connection that has promised a file of so many bytes."""
    host = server.url.split("//")[1]
    connection = socket.create_connection(host.split(":"), timeout=60)
    connection.sendall(f"PUT {ROOT}/{path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {server.token}\r\n"
                       f"Connection: close\r\nContent-Length: {promised}\r\n\r\n".encode())  # fmt: skip
    return connection


def test_a_small_file_is_one_object_and_a_large_one_comes_in_parts(server):
    place = artifacts_of(server)
    assert server.put(f"{ROOT}/{place}/small", data=b"x" * 1000).json() == {}
    assert server.place.stored() == [f"{place}/small"]
    assert server.place.parts() == []
    content = os.urandom(17 * MIB)
    assert server.put(f"{ROOT}/{place}/large", data=content).json() == {}
    assert server.place.stored() == [f"{place}/large", f"{place}/small"]
    assert len(server.place.parts()) == 3
    assert server.get(f"{ROOT}/{place}/large").content == content
    assert not (server.data / "artifacts").exists()
    assert list((server.data / "uploads").iterdir()) == []


def test_a_broken_upload_leaves_nothing(server):
    place = artifacts_of(server)
    with upload_of(server, f"{place}/half", 40 * MIB) as connection:
        connection.sendall(b"x" * (20 * MIB))
        wait_for(server.place.parts, limit_s=60, what="the upload's first part")
    wait_for(lambda: server.place.parts() == [], limit_s=60, what="the upload's end")
    wait_for(lambda: list((server.data / "uploads").iterdir()) == [], what="the end of the note")
    assert server.place.stored() == []
    assert server.get(f"{ROOT}/{place}/half").status_code == 404


def test_an_upload_of_a_killed_server_leaves_nothing(server):
    place = artifacts_of(server)
    with upload_of(server, f"{place}/half", 40 * MIB) as connection:
        connection.sendall(b"x" * (20 * MIB))
        wait_for(server.place.parts, limit_s=60, what="the upload's first part")
        server.kill9()
    assert server.place.parts()
    server.restart()
    assert server.place.parts() == []
    assert server.place.stored() == []
    assert list((server.data / "uploads").iterdir()) == []


def test_an_upload_of_a_client_survives_the_servers_restart(server):
    place = artifacts_of(server)
    begun = server.post(f"{MPU}/create/{place}", json={"path": "/tmp/big.bin", "num_parts": 1}).json()
    put = requests.put(begun["credentials"][0]["url"], data=b"part", timeout=30)
    server.kill9()
    server.restart()
    parts = [{"part_number": 1, "etag": put.headers["ETag"]}]
    end = {"path": "/tmp/big.bin", "upload_id": begun["upload_id"], "parts": parts}
    assert server.post(f"{MPU}/complete/{place}", json=end).json() == {}
    assert server.get(f"{ROOT}/{place}/big.bin").content == b"part"


def test_s3_that_goes_away_fails_uploads_and_what_is_left_goes_when_it_is_back(broken, s3):
    place = artifacts_of(broken)
    with upload_of(broken, f"{place}/half", 60 * MIB) as connection:
        connection.sendall(b"x" * (20 * MIB))
        wait_for(broken.place.parts, limit_s=60, what="the upload's first part")
        s3.stop()
        answer = b""
        try:
            connection.sendall(b"x" * (40 * MIB))
        except OSError:
            pass  # refused before all was sent
        try:
            while piece := connection.recv(1 << 16):
                answer += piece
        except OSError:
            pass
    assert answer.startswith(b"HTTP/1.1 503"), answer[:300]
    assert b"cannot be reached" in answer
    assert f"s3://{s3.bucket}/".encode() in answer and SECRET.encode() not in answer
    s3.start()
    assert broken.place.parts(), "S3 still has parts of it"
    assert broken.put(f"{ROOT}/{place}/next", data=b"x").status_code == 200
    assert broken.place.parts() == []
    assert broken.place.stored() == [f"{place}/next"]


def test_while_s3_is_away_all_else_goes_on(broken, s3):
    rest = Rest(broken)
    place = artifacts_of(broken)
    broken.put(f"{ROOT}/{place}/before", data=b"x")
    s3.stop()
    for method, path in (("PUT", f"{ROOT}/{place}/x"), ("GET", f"{ROOT}/{place}/before"), ("DELETE", f"{ROOT}/{place}/before"),
                         ("GET", f"{ROOT}?path={place}"), ("POST", f"{MPU}/create/{place}"),
                         ("GET", f"/api/2.0/mlflow-artifacts/presigned/{place}/before")):  # fmt: skip
        body = {"json": {"path": "x", "num_parts": 1}} if method == "POST" else {}
        answer = broken.request(method, path, **body)
        assert (answer.status_code, answer.json()["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE"), (method, path)
        assert f"at {s3.endpoint} cannot be reached" in answer.json()["message"]
    rest.metric(rest.run(), "loss", 1.0)
    assert broken.get("/readyz").status_code == 200
    broken.kill9()
    broken.restart()
    assert "starting all the same" in broken.log_tail()
    s3.start()
    assert broken.get(f"{ROOT}/{place}/before").content == b"x"
    assert broken.place.stored() == [f"{place}/before"]


def test_an_s3_that_stands_still_holds_up_nobody_else(broken, s3):
    rest = Rest(broken)
    place = artifacts_of(broken)
    broken.put(f"{ROOT}/{place}/x", data=b"x")
    s3.freeze()
    answers = []
    headers = {"Authorization": f"Bearer {broken.token}"}
    waiting = [threading.Thread(target=lambda: answers.append(
        requests.get(f"{broken.url}{ROOT}/{place}/x", headers=headers, timeout=60).content)) for _ in range(8)]  # fmt: skip
    for each in waiting:
        each.start()
    for _ in range(20):
        rest.metric(rest.run(), "loss", 1.0)
        assert broken.get("/api/v1/jobs").status_code == 200
    assert answers == []
    s3.thaw()
    for each in waiting:
        each.join()
    assert answers == [b"x"] * 8


def test_a_server_ends_though_s3_stands_still(wired, s3):
    place = artifacts_of(wired)
    wired.put(f"{ROOT}/{place}/x", data=b"x")
    s3.freeze()
    try:
        asked = wired.wire.asked
        with socket.create_connection(("127.0.0.1", wired.port), timeout=60) as waiting:
            waiting.sendall(f"GET {ROOT}/{place}/x HTTP/1.1\r\nHost: localhost\r\n"
                            f"Authorization: Bearer {wired.token}\r\n\r\n".encode())  # fmt: skip
            wait_for(lambda: wired.wire.asked > asked, what="the question to S3")
            assert wired.terminate() == 0  # within its limit, far below the minute that S3 is given
    finally:
        s3.thaw()
    wired.restart()
    assert wired.get(f"{ROOT}/{place}/x").content == b"x"


def test_a_download_goes_on_where_a_connection_broke(wired):
    place = artifacts_of(wired)
    content = os.urandom(20 * MIB)
    assert wired.put(f"{ROOT}/{place}/large", data=content).status_code == 200
    wired.wire.budget = 3 * MIB
    assert wired.get(f"{ROOT}/{place}/large").content == content
    wired.wire.budget = 2 * MIB
    part = wired.get(f"{ROOT}/{place}/large", headers={"Range": f"bytes={5 * MIB}-{15 * MIB - 1}"})
    assert (part.status_code, part.content) == (206, content[5 * MIB : 15 * MIB])
    assert wired.wire.cuts == 2


def test_a_download_that_cannot_go_on_is_seen_to_be_cut_off(wired):
    place = artifacts_of(wired)
    wired.put(f"{ROOT}/{place}/large", data=os.urandom(20 * MIB))
    wired.wire.budget = 3 * MIB
    wired.wire.refuses_after_cut = True
    with wired.get(f"{ROOT}/{place}/large", stream=True) as answer:
        assert answer.headers["Content-Length"] == str(20 * MIB)
        got = sum(map(len, answer.iter_content(1 << 16)))
    assert 0 < got <= 3 * MIB
    assert wired.wire.cuts == 1
    assert "broke off" in wired.log_tail()


def test_a_lost_answer_does_not_lose_an_upload(wired):
    place = artifacts_of(wired)
    wired.wire.budget = 1
    assert wired.put(f"{ROOT}/{place}/x", data=b"x").status_code == 200
    assert wired.wire.cuts == 1
    assert wired.get(f"{ROOT}/{place}/x").content == b"x"


def test_a_client_uploads_in_parts_by_itself(server):
    place = artifacts_of(server)
    content = os.urandom(5 * MIB) + b"the end"
    begun = server.post(f"{MPU}/create/{place}/models", json={"path": "/home/me/model.bin", "num_parts": 2}).json()
    assert [each["part_number"] for each in begun["credentials"]] == [1, 2]
    parts = []
    for each, piece in zip(begun["credentials"], (content[: 5 * MIB], content[5 * MIB :])):
        put = requests.put(each["url"], data=piece, headers=each["headers"], timeout=60)
        assert put.status_code == 200, put.text
        parts.append({"part_number": each["part_number"], "etag": put.headers["ETag"], "url": each["url"]})
    end = {"path": "/home/me/model.bin", "upload_id": begun["upload_id"], "parts": parts}
    assert server.get(f"{ROOT}/{place}/models/model.bin").status_code == 404
    assert server.post(f"{MPU}/complete/{place}/models", json=end).json() == {}
    assert server.get(f"{ROOT}/{place}/models/model.bin").content == content


def test_a_client_gives_an_upload_up(server):
    place = artifacts_of(server)
    begun = server.post(f"{MPU}/create/{place}", json={"path": "x", "num_parts": 1}).json()
    assert requests.put(begun["credentials"][0]["url"], data=b"1", timeout=60).status_code == 200
    assert server.place.parts()
    gone = {"path": "x", "upload_id": begun["upload_id"]}
    assert server.post(f"{MPU}/abort/{place}", json=gone).json() == {}
    assert server.place.parts() == []
    end = {**gone, "parts": [{"part_number": 1, "etag": '"e"'}]}
    refused = server.post(f"{MPU}/complete/{place}", json=end)
    assert (refused.status_code, refused.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")


@pytest.mark.parametrize("fields", [{"num_parts": 1}, {"path": "x"}, {"path": "x", "num_parts": 0},
                                    {"path": "x", "num_parts": 10_001}, {"path": "x", "num_parts": "many"},
                                    {"path": "..", "num_parts": 1}, {"path": "a\\b", "num_parts": 1},
                                    {"path": "/home/me/", "num_parts": 1}])  # fmt: skip
def test_an_upload_in_parts_needs_a_name_and_their_number(server_for_refusals, fields):
    server, place = server_for_refusals
    refused = server.post(f"{MPU}/create/{place}", json=fields)
    assert (refused.status_code, refused.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")


def test_a_client_that_forgets_the_run_is_told_to_upload_to_the_server(server_for_refusals):
    """MLflow's client of 2.10 does so; it falls back to a plain PUT at these words."""
    server, _ = server_for_refusals
    answer = server.post(f"{MPU}/create/models", json={"path": "/home/me/model.bin", "num_parts": 2})
    assert (answer.status_code, answer.json()["error_code"]) == (501, "NOT_IMPLEMENTED")
    assert answer.json()["message"].startswith("Multipart upload is not supported for the current artifact repository")


@pytest.fixture(scope="module")
def server_for_refusals(s3):
    with start(s3.place()) as running:
        yield running, artifacts_of(running)


def test_an_artifact_is_downloaded_from_s3_itself(server_for_refusals):
    server, place = server_for_refusals
    server.put(f"{ROOT}/{place}/d/x y.txt", data=b"hello")
    presigned = "/api/2.0/mlflow-artifacts/presigned"
    signed = server.get(f"{presigned}/{place}/d/x%20y.txt").json()
    assert signed["file_size"] == 5
    assert signed["url"].startswith(server.place.s3.endpoint)
    assert requests.get(signed["url"], headers=signed["headers"], timeout=30).content == b"hello"
    tampered = signed["url"].replace("x%20y.txt", "other.txt")
    assert requests.get(tampered, timeout=30).status_code == 403
    assert server.get(f"{presigned}/{place}/nothing").status_code == 404
    short = server.get(f"{presigned}/{place}/d/x%20y.txt", params={"expiration": "60"}).json()["url"]
    assert "X-Amz-Expires=60" in short
    assert server.get(f"{presigned}/{place}/d/x%20y.txt", params={"expiration": "604801"}).status_code == 400


def test_an_artifact_is_uploaded_to_s3_itself(server_for_refusals):
    server, place = server_for_refusals
    run_id = place.split("/")[1]
    ask = "/api/2.0/mlflow/artifacts/presigned-upload-url"
    signed = server.post(ask, json={"run_id": run_id, "path": "up/x.bin", "expiration": 900}).json()
    assert requests.put(signed["presigned_url"], data=b"up", headers=signed["headers"], timeout=30).status_code == 200
    assert server.get(f"{ROOT}/{place}/up/x.bin").content == b"up"
    model = Rest(server).post("logged-models", {"experiment_id": "0"})["model"]["info"]["model_id"]
    signed = server.post(ask, json={"model_id": model, "path": "m.bin"}).json()
    assert requests.put(signed["presigned_url"], data=b"m", timeout=30).status_code == 200
    assert server.get(f"{ROOT}/0/models/{model}/artifacts/m.bin").content == b"m"
    for fields, status in (({"run_id": run_id}, 400), ({"run_id": run_id, "path": "../x"}, 400),
                           ({"run_id": run_id, "path": "a%2f..%2f..%2fb"}, 400), ({"run_id": "0" * 32, "path": "x"}, 404),
                           ({"run_id": run_id, "path": "x", "expiration": 0}, 400), ({"path": "x"}, 400)):  # fmt: skip
        assert server.post(ask, json=fields).status_code == status, fields


def test_who_may_not_write_gets_no_address(server_for_refusals):
    server, place = server_for_refusals
    run_id = place.split("/")[1]
    steps = [(f"{MPU}/create/{place}", {"path": "x", "num_parts": 1}),
             (f"{MPU}/complete/{place}", {"path": "x", "upload_id": "u", "parts": [{"part_number": 1, "etag": "e"}]}),
             (f"{MPU}/abort/{place}", {"path": "x", "upload_id": "u"}),
             ("/api/2.0/mlflow/artifacts/presigned-upload-url", {"run_id": run_id, "path": "x"})]  # fmt: skip
    for path, body in steps:
        assert requests.post(server.url + path, json=body, timeout=30).status_code == 401, path
    assert requests.get(f"{server.url}/api/2.0/mlflow-artifacts/presigned/{place}/x", timeout=30).status_code == 401
    Rest(server).post("runs/delete", {"run_id": run_id})
    for path, body in steps:
        assert server.post(path, json=body).status_code == 400, path
    Rest(server).post("runs/restore", {"run_id": run_id})


def refusal(place, **changed):
    """What `lathe serve` says when it does not start."""
    folder = place.folder
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), **place.env, **changed}
    done = subprocess.run([bin_folder() / "lathe", "serve", "--data", folder / "data", "--port", "0", "--infer-port", "0",
                           "--grpc-port", "0", *place.flags], env=env, capture_output=True, text=True, timeout=60)  # fmt: skip
    assert done.returncode == 1, done
    assert SECRET not in done.stderr
    return done.stderr.splitlines()[-1]


def test_what_s3_refuses_is_said_at_the_start(s3, tmp_path):
    place = s3.place()
    place.folder = tmp_path
    wrong = refusal(place, AWS_SECRET_ACCESS_KEY="not-this-one")
    assert "does not accept the credentials from the environment (SignatureDoesNotMatch)" in wrong
    assert "not-this-one" not in wrong
    assert "does not accept the credentials" in refusal(place, AWS_ACCESS_KEY_ID="nobody:nobody")
    place.flags = ("--artifacts", "s3://no-such-bucket/x", "--artifacts-endpoint", s3.endpoint)
    assert "there is no such bucket; make it first" in refusal(place)
    place.flags = ("--artifacts", "s3://artifacts", "--artifacts-endpoint", "ftp://host")
    assert "is not an S3 endpoint" in refusal(place)
    place.flags = ("--artifacts", "s3://UPPER/x")
    assert "is not s3://BUCKET/PREFIX" in refusal(place)
    place.flags = ("--artifacts", "gs://bucket/x")
    assert "must be s3://BUCKET/PREFIX or a folder" in refusal(place)
    place.flags = ("--artifacts", "s3://artifacts/x", "--artifacts-endpoint", s3.endpoint)
    assert "there are no S3 credentials: set AWS_ACCESS_KEY_ID" in refusal(place, AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="")


@pytest.mark.parametrize("status, body, said", [
    (403, "<Error><Code>RequestTimeTooSkewed</Code><Message>m</Message></Error>", "this machine's clock is wrong"),
    (403, "<Error><Code>AccessDenied</Code><Message>not you</Message></Error>", "does not allow this to the credentials"),
    (301, "<Error><Code>PermanentRedirect</Code><Region>eu-west-3</Region></Error>", 'but in "eu-west-3": set artifacts_region'),
    (200, "<html>welcome</html>", "is this an S3 endpoint?"),
    (418, "tea", "answered 418")])  # fmt: skip
def test_other_refusals_are_said_too(s3, tmp_path, status, body, said):
    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as fake:
        threading.Thread(target=fake.serve_forever, daemon=True).start()
        place = s3.place(f"http://127.0.0.1:{fake.server_port}")
        place.folder = tmp_path
        assert said in refusal(place)
        fake.shutdown()


def test_credentials_come_from_a_profile_too(s3, tmp_path):
    place = s3.place()
    keys = tmp_path / "keys"
    keys.write_text(f"[team]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET}\n")
    config = tmp_path / "config"
    config.write_text(f"[profile team]\nregion = us-east-1\nendpoint_url = {s3.endpoint}\n")
    place.flags = place.flags[:2]
    place.env = {"AWS_PROFILE": "team", "AWS_SHARED_CREDENTIALS_FILE": str(keys), "AWS_CONFIG_FILE": str(config)}
    with start(place) as server:
        path = artifacts_of(server)
        assert server.put(f"{ROOT}/{path}/x", data=b"x").status_code == 200
        assert place.stored() == [f"{path}/x"]
        keys.write_text(f"[team]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = rotated\n")
        os.utime(keys, (time.time() + 5, time.time() + 5))
        refused = server.put(f"{ROOT}/{path}/y", data=b"x")
        assert refused.status_code == 503
        assert "(SignatureDoesNotMatch)" in refused.json()["message"] and "rotated" not in refused.text


def test_a_model_on_s3_is_fetched_once(server):
    """Registered from a run's artifacts, and from a folder: its files are served from the blobs, S3 or not."""
    place = artifacts_of(server)
    run_id = place.split("/")[1]
    server.put(f"{ROOT}/{place}/model/model.ubj", data=b"trained")
    server.put(f"{ROOT}/{place}/model/MLmodel", data=b"flavors:\n  xgboost: {data: model.ubj}\n")
    made = server.post("/api/v1/models", json={"name": "m", "path": f"runs:/{run_id}/model"}).json()
    assert made["type"] == "mlflow_model"
    digests = {file["path"]: file["sha256"] for file in made["files"]}
    assert digests["model.ubj"] == hashlib.sha256(b"trained").hexdigest()
    missing = server.post("/api/v1/models", json={"name": "m", "path": f"runs:/{run_id}/nothing"})
    assert missing.status_code == 404 and "nothing" in missing.text

    folder = server.home / "mine"
    folder.mkdir()
    (folder / "w.bin").write_bytes(b"weights")
    folder.chmod(0o755)
    own = server.post("/api/v1/models", json={"name": "own", "path": str(folder)})
    assert own.status_code == 201, own.text
    source = Rest(server).get("model-versions/get", name="own", version="1")["model_version"]["source"]
    assert server.get(f"{ROOT}/{source.removeprefix('mlflow-artifacts:/')}/w.bin").content == b"weights"

    for path in [name for name in server.place.stored() if "/model/" in name]:
        assert server.delete(f"{ROOT}/{path}").status_code == 200
    assert server.get("/api/v1/models/m/versions/1/files/model.ubj").content == b"trained"


def test_the_main_job_works_on_s3(s3):
    """examples/main-job from the cluster to the prediction, with what the job logged on S3."""
    from lathe_server import ROOT as repository

    with start(s3.place()) as server:
        example = repository / "examples" / "main-job"
        lathe = lambda *args: server.cli(*args, cwd=example, limit_s=170)  # noqa: E731
        assert "AWS_" not in run(server, "env")[1]
        lathe("compute", "create", "-f", "compute.yml")
        lathe("job", "create", "-f", "job.yml", "--name", "main", "--stream")
        model = lathe("model", "show", "-n", "cancer-classifier", "--label", "latest").json()
        assert {"model.ubj", "MLmodel"} <= {file["path"] for file in model["files"]}
        assert any(name.endswith("/model.ubj") for name in server.place.stored())
        lathe("online-endpoint", "create", "-f", "endpoint.yml")
        lathe("online-deployment", "create", "-f", "deployment.yml", "--all-traffic")
        said = lathe("online-endpoint", "invoke", "-n", "cancer", "--request-file", "request.json")
        assert "outputs" in json.loads(said.stdout)
        lathe("job", "download", "-n", "main", "--all", "--download-path", server.home / "down")
        assert list((server.home / "down").rglob("model.ubj"))
        lathe("model", "download", "-n", "cancer-classifier", "-v", "1", "--download-path", server.home / "model")
        assert list((server.home / "model").rglob("model.ubj"))
        assert not list(server.data.glob("artifacts/*"))
