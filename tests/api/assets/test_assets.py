"""Blobs, folders by digest, data and environments over HTTP."""

import hashlib
import json
import os


def upload(server, content):
    digest = hashlib.sha256(content).hexdigest()
    answer = server.put(f"/api/v1/blobs/{digest}", data=content)
    assert answer.status_code == 201, answer.text
    return digest


def test_a_folder_is_uploaded_once_by_digest(server):
    content = os.urandom(300_000)
    digest = hashlib.sha256(content).hexdigest()
    missing = server.post("/api/v1/blobs/missing", json={"digests": [digest]})
    assert missing.json() == {"missing": [digest]}
    files = [{"path": "pkg/a.bin", "sha256": digest, "size": len(content), "executable": False}]
    early = server.post("/api/v1/trees", json={"files": files})
    assert early.status_code == 409
    assert "pkg/a.bin" in early.json()["detail"]

    upload(server, content)
    assert server.post("/api/v1/blobs/missing", json={"digests": [digest]}).json() == {"missing": []}
    assert server.get(f"/api/v1/blobs/{digest}").content == content
    tree = server.post("/api/v1/trees", json={"files": files})
    canonical = json.dumps(files, separators=(",", ":"))
    assert tree.json()["digest"] == hashlib.sha256(canonical.encode()).hexdigest()

    data = server.post("/api/v1/data", json={"name": "up", "path": f"tree:{tree.json()['digest']}"})
    assert data.status_code == 201, data.text
    assert data.json()["type"] == "uri_folder"
    assert data.json()["digest"] == tree.json()["digest"]


def test_an_upload_whose_content_is_not_its_digest_is_refused(server):
    answer = server.put(f"/api/v1/blobs/{'0' * 64}", data=b"hello")
    assert answer.status_code == 400
    assert hashlib.sha256(b"hello").hexdigest() in answer.json()["detail"]
    assert not any((server.data / "blobs" / "tmp").iterdir())


def test_a_tree_cannot_lead_outside_its_folder(server):
    digest = upload(server, b"x")
    for path in ("../x", "/etc/x", "a/../../x", "a//b", ""):
        files = [{"path": path, "sha256": digest, "size": 1, "executable": False}]
        assert server.post("/api/v1/trees", json={"files": files}).status_code == 400, path


def test_data_is_registered_in_place_with_versions_and_labels(server, tmp_path):
    file = tmp_path / "train.csv"
    file.write_text("1,2\n")
    document = {"$schema": "https://azuremlschemas.azureedge.net/latest/data.schema.json", "name": "credit",
                "type": "uri_file", "path": str(file), "description": "of cards", "tags": {"year": 2024}}  # fmt: skip
    made = server.post("/api/v1/data", json=document)
    assert made.status_code == 201, made.text
    assert made.json()["version"] == "1"
    assert made.json()["digest"] == hashlib.sha256(b"1,2\n").hexdigest()
    assert made.json()["creation_context"]["created_by"] == "admin"
    assert server.post("/api/v1/data", json=document).json()["version"] == "2"

    shown = server.get("/api/v1/data/credit").json()
    assert shown["version"] == "2"
    assert [one["version"] for one in shown["versions"]] == ["2", "1"]
    assert server.get("/api/v1/data/credit/labels/latest").json()["version"] == "2"
    assert server.post("/api/v1/data/credit/versions/2/archive").status_code == 204
    assert server.get("/api/v1/data/credit/labels/latest").json()["version"] == "1"
    assert server.post("/api/v1/data/credit/versions/2/restore").status_code == 204
    assert "credit" in [one["name"] for one in server.get("/api/v1/data").json()["value"]]


def test_other_content_for_an_existing_version_is_a_conflict(server, tmp_path):
    file = tmp_path / "a.csv"
    file.write_text("1\n")
    document = {"name": "fixed", "version": 3, "path": str(file)}
    assert server.post("/api/v1/data", json=document).status_code == 201
    file.write_text("2\n")
    refused = server.post("/api/v1/data", json=document)
    assert refused.status_code == 409
    assert "leave the version out" in refused.json()["detail"]


def test_what_is_missing_or_misspelt_is_named(server, tmp_path):
    (tmp_path / "a.csv").write_text("1\n")
    server.post("/api/v1/data", json={"name": "churn-data", "path": str(tmp_path / "a.csv")}).raise_for_status()
    unknown = server.get("/api/v1/data/churn-dta")
    assert unknown.status_code == 404
    assert "churn-data" in unknown.json()["detail"]
    for document, word in [({"name": "x", "path": "/no/such"}, "path"), ({"name": "x", "path": "./rel"}, "relative"),
                           ({"name": "../x", "path": "/etc"}, "name"), ({"name": "x", "path": 7}, "path"),
                           ({"name": "x", "pth": "/etc"}, "pth"), ({"name": "x", "path": str(server.data)}, "data folder"),
                           ({"name": "x", "path": "wasbs://c@a/b"}, "wasbs")]:  # fmt: skip
        answer = server.post("/api/v1/data", json=document)
        assert 400 <= answer.status_code < 500, (document, answer.text)
        assert word in answer.json()["detail"], (document, answer.text)


def test_an_environment_says_what_stands_in_for_it(server):
    document = {"name": "sk", "image": "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu20.04",
                "conda_file": {"dependencies": ["python=3.11", {"pip": ["scikit-learn"]}]}}  # fmt: skip
    made = server.post("/api/v1/environments", json=document)
    assert made.status_code == 201, made.text
    assert {(one["field"], one["verdict"]) for one in made.json()["report"]} == {
        ("image", "substituted"), ("conda_file", "substituted")}  # fmt: skip
    assert server.post("/api/v1/environments", json=document).json()["version"] == "1"
    assert server.post("/api/v1/environments?strict=true", json=document).status_code == 400
    shown = server.get("/api/v1/environments/sk/versions/1").json()
    assert shown["definition"]["image"] == document["image"]
