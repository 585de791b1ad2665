"""Artifacts: streamed both ways, whole or not at all, and never outside their place. All of it for both places."""

import hashlib
import os
import pathlib
import socket
from urllib.parse import quote

import pytest

from lathe_server import Server, wait_for
from mlflow_rest import DENIED, Rest

ROOT = "/api/2.0/mlflow-artifacts/artifacts"
# AddressSanitizer holds freed memory back, 256 MiB of it, before it is used again.
HELD_BACK = (320 << 20) if "LATHE_SANITIZER_REPORTS" in os.environ else 0


def raw(server, method, target, body=b"", headers=()):
    """One request with the target exactly as given; answers status and body."""
    host = server.url.split("//")[1]
    with socket.create_connection(host.split(":"), timeout=30) as connection:
        lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", f"Authorization: Bearer {server.token}",
                 "Connection: close",
                 f"Content-Length: {len(body)}", *headers]  # fmt: skip
        connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        answer = b""
        while piece := connection.recv(1 << 16):
            answer += piece
    head, _, rest = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), rest


class Folder:
    """The place of artifacts when nothing else is said."""

    flags, env = (), {}

    def stored(self):
        """All files of the server, uploads in progress included."""
        root = self.server.data / "artifacts"
        return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


@pytest.fixture(scope="module", params=["folder", "s3"])
def server(request):
    place = request.getfixturevalue("s3").place() if request.param == "s3" else Folder()
    with Server(*place.flags, env=place.env) as running:
        running.place = place
        place.server = running
        yield running


@pytest.fixture
def folder_server(fresh_server):
    fresh_server.place = Folder()
    fresh_server.place.server = fresh_server
    return fresh_server


def test_a_file_goes_up_and_comes_back(server, rest):
    place = f"{ROOT}/0/{rest.run()}/artifacts"
    assert server.put(f"{place}/a/b c.txt", data=b"hello").json() == {}
    answer = server.get(f"{place}/a/b%20c.txt")
    assert answer.content == b"hello"
    assert answer.headers["Content-Disposition"].startswith("attachment")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    part = server.get(f"{place}/a/b%20c.txt", headers={"Range": "bytes=1-3"})
    assert (part.status_code, part.content, part.headers["Content-Range"]) == (206, b"ell", "bytes 1-3/5")
    assert server.request("HEAD", f"{place}/a/b%20c.txt").headers["Content-Length"] == "5"


def test_folders_are_listed_as_clients_expect(server, rest):
    run_id = rest.run()
    place = f"0/{run_id}/artifacts"
    assert server.get(ROOT, params={"path": place}).json() == {}
    server.put(f"{ROOT}/{place}/x.txt", data=b"1")
    server.put(f"{ROOT}/{place}/dir/y.txt", data=b"22")
    listed = {"files": [{"path": "dir", "is_dir": True}, {"path": "x.txt", "is_dir": False, "file_size": 1}]}
    assert server.get(ROOT, params={"path": place}).json() == listed
    assert rest.get("artifacts/list", run_id=run_id) == {"root_uri": f"mlflow-artifacts:/{place}", **listed}
    files = rest.get("artifacts/list", run_id=run_id, path="dir")["files"]
    assert files == [{"path": "dir/y.txt", "is_dir": False, "file_size": 2}]
    assert "files" not in rest.get("artifacts/list", run_id=run_id, path="x.txt")
    assert server.get("/get-artifact", params={"run_id": run_id, "path": "dir/y.txt"}).content == b"22"


def test_a_file_or_folder_is_removed(server, rest):
    place = f"{ROOT}/0/{rest.run()}/artifacts"
    for name in ("a", "d/b", "d/e/c"):
        server.put(f"{place}/{name}", data=b"x")
    assert server.delete(f"{place}/d").status_code == 200
    assert server.get(f"{place}/d/b").status_code == 404
    assert server.get(f"{place}/a").status_code == 200
    answer = server.delete(f"{place}/d")
    assert (answer.status_code, answer.json()["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")


def test_files_lie_only_where_a_run_or_model_is(server, rest):
    run_id = rest.run()
    model = rest.post("logged-models", {"experiment_id": "0"})["model"]["info"]["model_id"]
    assert server.put(f"{ROOT}/0/models/{model}/artifacts/m.bin", data=b"x").status_code == 200
    listed = server.get(f"/api/2.0/mlflow/logged-models/{model}/artifacts/directories").json()
    assert listed["files"][0]["path"] == "m.bin"
    file = server.get(f"/ajax-api/2.0/mlflow/logged-models/{model}/artifacts/files",
                      params={"artifact_file_path": "m.bin"})
    assert file.content == b"x"
    for place, status in ((f"0/{run_id}/x", 400), ("x", 400), (f"0/{'0' * 32}/artifacts/x", 404),
                          (f"7/{run_id}/artifacts/x", 404),
                          (f"0/models/m-{'0' * 32}/artifacts/x", 404)):  # fmt: skip
        assert server.put(f"{ROOT}/{place}", data=b"x").status_code == status, place
    rest.post("runs/delete", {"run_id": run_id})
    assert server.put(f"{ROOT}/0/{run_id}/artifacts/x", data=b"x").status_code == 400


ATTACKS = ["../..", "..", "%2e%2e/x", "..%2fx", "%252E%252E%252Fx", "%25252e%25252e%25252fx", "/abs", "%2fabs",
           "file:///etc/passwd", "a%23/../..",
           "a%00b", "..%5cx", "C:/x", "a/%2e%2e/%2e%2e/x", "%2%0952e%2%0952e/x", "a%0d%0ab"]  # fmt: skip

ABSOLUTE = ["/abs", "%2fabs", "C:/x"]  # harmless after a folder's path


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_paths_that_lead_elsewhere_are_bad_requests(server, rest, method, attack):
    for place in ("",) if attack in ABSOLUTE else (f"0/{rest.run()}/artifacts/", "0/traces/tr-1/artifacts/", ""):
        status, body = raw(server, method, f"{ROOT}/{place}{attack}", b"x" if method == "PUT" else b"")
        assert status == 400, body
        assert b"INVALID_PARAMETER_VALUE" in body


@pytest.mark.parametrize("attack", ATTACKS)
def test_query_paths_that_lead_elsewhere_are_bad_requests(server, rest, attack):
    run_id = rest.run()
    targets = [f"{ROOT}?path={attack}", f"/api/2.0/mlflow/artifacts/list?run_id={run_id}&path={attack}",
               f"/get-artifact?run_id={run_id}&path={attack}"]  # fmt: skip
    if attack not in ABSOLUTE:
        targets.append(f"{ROOT}?path=0/{run_id}/artifacts/{attack}")
    for target in targets:
        status, body = raw(server, "GET", target)
        assert status == 400, (target, body)
    body = b'{"path": "x", "num_parts": 1, "upload_id": "u", "parts": [{"part_number": 1, "etag": "e"}]}'
    for step in ("create", "complete", "abort"):
        status, _ = raw(server, "POST", f"/api/2.0/mlflow-artifacts/mpu/{step}/{attack}", body,
                        headers=["Content-Type: application/json"])  # fmt: skip
        assert status == 400, step
    assert raw(server, "GET", f"/api/2.0/mlflow-artifacts/presigned/{attack}")[0] == 400


def test_links_inside_the_folder_are_not_followed(folder_server):
    server = folder_server
    run_id = Rest(server).run()
    place = f"{ROOT}/0/{run_id}/artifacts"
    server.put(f"{place}/a", data=b"x")
    folder = server.data / "artifacts/0" / run_id / "artifacts"
    (folder / "link").symlink_to("/etc/passwd")
    (folder / "out").symlink_to(server.data)
    assert server.get(f"{place}/link").status_code == 400
    assert server.get(f"{place}/out/admin.token").status_code == 400
    assert server.put(f"{place}/out/new", data=b"x").status_code == 400
    assert not (server.data / "new").exists()


def test_html_is_never_shown_by_a_browser(server, rest):
    place = f"{ROOT}/0/{rest.run()}/artifacts"
    for name in ("x.html", "x.svg", "x.js", 'a"b.html'):
        server.put(f"{place}/{name}", data=b"<script>alert(1)</script>")
        headers = server.get(f"{place}/{name}").headers
        assert headers["Content-Type"] == "application/octet-stream"
        assert headers["Content-Disposition"].startswith("attachment")
        assert headers["X-Frame-Options"] == "DENY"


def test_clients_are_told_to_upload_to_the_server_itself(folder_server):
    """In words by which MLflow's client falls back to a plain PUT."""
    run_id = Rest(folder_server).run()
    calls = [("POST", f"/api/2.0/mlflow-artifacts/mpu/{step}/0/{run_id}/artifacts", "Multipart upload")
             for step in ("create", "complete", "abort")]  # fmt: skip
    calls += [("GET", f"/api/2.0/mlflow-artifacts/presigned/0/{run_id}/artifacts/x", "Multipart download"),
              ("POST", "/api/2.0/mlflow/artifacts/presigned-upload-url", "Presigned upload")]  # fmt: skip
    for method, path, what in calls:
        answer = folder_server.request(method, path, json={"path": "x", "num_parts": 1, "run_id": run_id})
        assert (answer.status_code, answer.json()["error_code"]) == (501, "NOT_IMPLEMENTED"), path
        said = f"{what} is not supported for the current artifact repository"
        assert answer.json()["message"].startswith(said), path


def half_an_upload(server, run_id):
    """A connection that has sent half of what it promised for the run's artifact "half"."""
    host = server.url.split("//")[1]
    head = (f"PUT {ROOT}/0/{run_id}/artifacts/half HTTP/1.1\r\nHost: {host}\r\n"
            f"Authorization: Bearer {server.token}\r\nContent-Length: 1000000\r\n\r\n")  # fmt: skip
    connection = socket.create_connection(host.split(":"), timeout=30)
    connection.sendall(head.encode() + b"x" * 500_000)
    return connection


def test_a_broken_upload_leaves_nothing(folder_server):
    server = folder_server
    run_id = Rest(server).run()
    with half_an_upload(server, run_id):
        wait_for(server.place.stored, what="the upload's temporary file")
    wait_for(lambda: server.place.stored() == [], what="the temporary file's removal")
    assert server.get(f"{ROOT}/0/{run_id}/artifacts/half").status_code == 404
    assert not (server.data / "artifacts/0" / run_id).exists()


def test_an_upload_that_was_killed_leaves_nothing(folder_server):
    run_id = Rest(folder_server).run()
    with half_an_upload(folder_server, run_id):
        wait_for(folder_server.place.stored, what="the upload's temporary file")
        folder_server.kill9()
    folder_server.restart()
    assert folder_server.place.stored() == []


def peak_memory(server):
    """The most memory that the server ever held, in bytes."""
    status = pathlib.Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def up_and_down(server, rest, megabytes):
    piece = bytes(range(256)) * 4096
    sent = hashlib.sha256()

    def pieces():
        for _ in range(megabytes):
            sent.update(piece)
            yield piece

    path = f"{ROOT}/0/{rest.run()}/artifacts/big.bin"
    before = peak_memory(server)
    assert server.put(path, data=pieces(), timeout=600).status_code == 200
    received = hashlib.sha256()
    with server.get(path, stream=True, timeout=600) as answer:
        assert answer.headers["Content-Length"] == str(megabytes << 20)
        for part in answer.iter_content(1 << 20):
            received.update(part)
    assert received.hexdigest() == sent.hexdigest()
    assert peak_memory(server) - before < (64 << 20) + HELD_BACK
    assert server.delete(path).status_code == 200


def test_a_large_artifact_streams_with_flat_memory(server, rest):
    up_and_down(server, rest, 512 if HELD_BACK else 256)


def test_a_part_of_a_large_artifact_is_read_alone(server, rest):
    path = f"{ROOT}/0/{rest.run()}/artifacts/parts.bin"
    content = os.urandom(20 << 20)
    assert server.put(path, data=content).status_code == 200
    for first, last in ((0, 0), (8 << 20, (8 << 20) + 9), ((8 << 20) - 5, (16 << 20) + 5), (len(content) - 3, len(content) - 1)):
        part = server.get(path, headers={"Range": f"bytes={first}-{last}"})
        assert (part.status_code, part.content) == (206, content[first : last + 1])
        assert part.headers["Content-Range"] == f"bytes {first}-{last}/{len(content)}"
    assert server.get(path, headers={"Range": "bytes=-7"}).content == content[-7:]
    beyond = server.get(path, headers={"Range": f"bytes={len(content)}-"})
    assert (beyond.status_code, beyond.headers["Content-Range"]) == (416, f"bytes */{len(content)}")
    assert server.get(path, headers={"Range": "bytes=0-1,4-5"}).status_code == 200


def test_folders_of_any_size_are_listed_and_removed(server, rest):
    place = f"0/{rest.run()}/artifacts"
    names = sorted([f"f{number:02}.txt" for number in range(45)] + ["a b+c%.txt", "é.txt", "~&<'.txt"])
    for name in names:
        assert server.put(f"{ROOT}/{place}/many/{quote(name)}", data=b"x").status_code == 200
    server.put(f"{ROOT}/{place}/many-more", data=b"x")
    server.put(f"{ROOT}/{place}/many/deep/er/x", data=b"x")
    listed = server.get(ROOT, params={"path": f"{place}/many"}).json()["files"]
    assert [file["path"] for file in listed] == sorted([*names, "deep"], key=lambda name: name.encode())
    assert server.delete(f"{ROOT}/{place}/many").status_code == 200
    listed = server.get(ROOT, params={"path": place}).json()["files"]
    assert [file["path"] for file in listed] == ["many-more"]


@pytest.mark.long
def test_a_two_gigabyte_artifact_streams_with_flat_memory(server, rest):
    up_and_down(server, rest, 2048)


def test_a_viewer_reads_but_does_not_write(server, rest):
    import requests

    viewer = server.post("/api/v1/users", json={"name": "looker", "role": "viewer"})
    if viewer.status_code == 409:
        pytest.skip("jobs of this machine's accounts cannot be kept apart: a second user is refused")
    headers = {"Authorization": f"Bearer {viewer.json()['token']}"}
    place = f"{server.url}{ROOT}/0/{rest.run()}/artifacts/x"
    rest.server.put(place[len(server.url):], data=b"x")
    assert requests.get(place, headers=headers, timeout=60).content == b"x"
    answer = requests.put(place, headers=headers, data=b"y", timeout=60)
    assert f"{answer.status_code} {answer.json()['error_code']}" == DENIED
    assert requests.delete(place, headers=headers, timeout=60).status_code == 403
    create = requests.post(server.url + "/api/2.0/mlflow/runs/create", headers=headers, json={}, timeout=60)
    assert create.status_code == 403




@pytest.mark.parametrize("path", ["x" * 300, "x/" * 3000 + "x", "%ff%fe", ".", ""])
def test_names_that_no_folder_can_hold_are_bad_requests(server, rest, path):
    target = f"{ROOT}/0/{rest.run()}/artifacts/{path}"
    status, body = raw(server, "PUT", target, b"x")
    assert status == 400, body
    assert b"INVALID_PARAMETER_VALUE" in body
    assert raw(server, "GET", target)[0] in (400, 404)
