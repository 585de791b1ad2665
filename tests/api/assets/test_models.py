"""The model registry's own REST: files by digest, what made a version, downloads."""

import hashlib


def put_folder(server, files):
    """Uploads files by digest and answers `tree:DIGEST`."""
    listed = []
    for path, content in files.items():
        digest = hashlib.sha256(content).hexdigest()
        server.put(f"/api/v1/blobs/{digest}", data=content).raise_for_status()
        listed.append({"path": path, "sha256": digest, "size": len(content), "executable": False})
    made = server.post("/api/v1/trees", json={"files": listed})
    assert made.status_code == 200, made.text
    return f"tree:{made.json()['digest']}"


def test_an_uploaded_model_is_a_version_that_can_be_downloaded(server):
    content = bytes(range(256)) * 4000
    path = put_folder(server, {"model.ubj": content, "extra/notes.txt": b"hello"})
    made = server.post("/api/v1/models", json={"name": "up", "path": path, "description": "d", "tags": {"a": "b"}})
    assert made.status_code == 201, made.text
    body = made.json()
    assert (body["name"], body["version"], body["type"]) == ("up", "1", "custom_model")
    assert body["triple"] == {"algorithm": {"code": "unknown", "environment": "unknown"}, "data": "unknown",
                              "hyperparameters": "unknown", "run_id": "unknown"}  # fmt: skip
    files = server.get("/api/v1/models/up/versions/1/files").json()["value"]
    assert [one["path"] for one in files] == ["extra/notes.txt", "model.ubj"]
    download = server.get("/api/v1/models/up/versions/1/files/model.ubj")
    assert download.content == content
    assert "attachment" in download.headers["Content-Disposition"]
    assert server.get("/api/v1/models/up/versions/1/files/extra/notes.txt").content == b"hello"
    assert server.get("/api/v1/models/up/versions/1/files/../../../lathe.db").status_code in (400, 404)


def test_versions_labels_and_archiving(server):
    for content in (b"one", b"two"):
        path = put_folder(server, {"model.ubj": content})
        server.post("/api/v1/models", json={"name": "many", "path": path}).raise_for_status()
    shown = server.get("/api/v1/models/many").json()
    assert shown["version"] == "2"
    assert [one["version"] for one in shown["versions"]] == ["2", "1"]
    assert server.post("/api/v1/models/many/versions/2/archive").status_code == 204
    assert server.get("/api/v1/models/many/labels/latest").json()["version"] == "1"
    assert [one["version"] for one in server.get("/api/v1/models?name=many").json()["value"]] == ["1"]
    assert server.post("/api/v1/models/many/versions/2/restore").status_code == 204
    assert "many" in [one["name"] for one in server.get("/api/v1/models").json()["value"]]


def test_the_same_version_with_other_content_is_a_conflict(server):
    for content, status in ((b"one", 201), (b"one", 201), (b"two", 409)):
        path = put_folder(server, {"model.ubj": content})
        made = server.post("/api/v1/models", json={"name": "fixed", "version": "4", "path": path})
        assert made.status_code == status, made.text


def test_an_unknown_model_is_named_with_the_nearest(server):
    path = put_folder(server, {"model.ubj": b"x"})
    server.post("/api/v1/models", json={"name": "classifier", "path": path}).raise_for_status()
    answer = server.get("/api/v1/models/clasifier")
    assert answer.status_code == 404
    assert "classifier" in answer.json()["detail"]
    assert server.get("/api/v1/models/classifier/versions/9").status_code == 404
    assert server.get("/api/v1/models/classifier/versions/nine").status_code == 400
