"""Deployments whose environment is a container image: workers enter it as jobs do."""

import pathlib
import tempfile

import image_helpers
import pytest
import requests
from endpoint_helpers import ENDPOINTS, make_endpoint, primary_key, register
from image_helpers import Store, add_python, busybox_root
from lathe_server import Server

pytestmark = pytest.mark.skipif(image_helpers.why_not() is not None, reason=str(image_helpers.why_not()))

SCORE = """
import os, sys

def init():
    global weights
    weights = open(os.path.join(os.environ["AZUREML_MODEL_DIR"], "weights.txt")).read()

def run(data):
    def refused(path):
        try:
            open(path, "w").close()
        except OSError as error:
            return error.strerror
    open("/tmp/own", "w").close()
    return {"motd": open("/etc/motd").read(), "python": sys.executable, "weights": weights, "uid": os.getuid(),
            "color": os.environ.get("COLOR"), "fruit": os.environ.get("FRUIT"), "path": os.environ["PATH"],
            "debian": os.path.exists("/etc/debian_version"), "etc": refused("/etc/x"), "code": refused("x")}
"""


@pytest.fixture(scope="module")
def store():
    with Store() as made, tempfile.TemporaryDirectory(prefix="lathe-root.") as name:
        root = busybox_root(pathlib.Path(name) / "root")
        made.add("base:1", root)
        made.add("python:1", add_python(root), "ENV COLOR=green", "ENV FRUIT=apple", "ENV PATH=/usr/local/bin:/usr/bin:/bin")
        yield made


@pytest.fixture(scope="module")
def server(store):
    with Server("--environment-images", "podman", env=store.env) as running:
        folder = running.folder / "code"
        folder.mkdir()
        (folder / "score.py").write_text(SCORE)
        (folder / "weights.txt").write_text("7")
        make_endpoint(running, "e")
        running.model = register(running, "m", folder / "weights.txt")
        running.code = {"code": str(folder), "scoring_script": "score.py"}
        yield running


def deploy(server, name, environment, expect=201):
    document = {"name": name, "endpoint_name": "e", "model": server.model, "code_configuration": server.code,
                "environment": environment, "environment_variables": {"FRUIT": "pear"},
                "request_settings": {"request_timeout_ms": 60000, "max_queue_wait_ms": 60000}}  # fmt: skip
    made = server.post(f"{ENDPOINTS}/e/deployments?wait_s=180", json=document)
    assert made.status_code == expect, made.text
    return made.json()


def ask(server, name):
    headers = {"Authorization": f"Bearer {primary_key(server, 'e')}", "azureml-model-deployment": name}
    answer = requests.post(f"{server.infer}/endpoints/e/score", json={}, headers=headers, timeout=120)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_workers_run_in_the_image(server):
    made = deploy(server, "blue", {"image": "python:1"})
    assert made["provisioning_state"] == "Succeeded" and made["environment"] == "the image python:1", made
    assert not [entry for entry in made.get("report", ()) if entry["field"].startswith("environment.")], made
    seen = ask(server, "blue")
    assert seen.pop("uid") >= 700000
    assert seen == {"motd": "an image of busybox\n", "python": "/usr/local/bin/python3", "weights": "7", "color": "green",
                    "fruit": "pear", "path": "/usr/local/bin:/usr/bin:/bin", "debian": False,
                    "etc": "Read-only file system", "code": "Read-only file system"}  # fmt: skip
    digest = next(one["digest"] for one in server.get("/api/v1/environment-builds").json()["value"] if one["words"] == "the image python:1")
    refused = server.delete(f"/api/v1/environment-builds/{digest}")
    assert refused.status_code == 409 and "deployment e/blue" in refused.json()["detail"], refused.text
    server.kill9()
    server.restart()
    assert ask(server, "blue")["motd"] == "an image of busybox\n"


def test_an_image_is_built_for_a_deployment(server, tmp_path):
    (tmp_path / "Dockerfile").write_text("FROM python:1\nRUN echo built > /etc/motd\n")
    made = deploy(server, "built", {"build": {"path": str(tmp_path)}})
    assert made["provisioning_state"] == "Succeeded", made
    assert ask(server, "built")["motd"] == "built\n"


def test_what_cannot_be_is_said(server):
    refused = deploy(server, "bare", {"image": "base:1"}, expect=400)
    assert refused["detail"].startswith("environment: the image base:1 has no python3 in its PATH"), refused
    made = server.post(f"{ENDPOINTS}/e/deployments?wait_s=180",
                       json={"name": "none", "model": server.model, "code_configuration": server.code,
                             "environment": {"image": "127.0.0.1:1/nothing:1"}})  # fmt: skip
    assert 400 <= made.status_code < 600 and made.status_code != 500, made.text
    assert "127.0.0.1:1/nothing:1" in made.json()["detail"] and "podman pull" in made.json()["detail"], made.text
    assert {one["name"] for one in server.get(f"{ENDPOINTS}/e/deployments").json()["value"]} & {"bare", "none"} == set()


def test_a_conda_file_counts_more_than_its_image(server):
    conda = {"dependencies": ["python", {"pip": []}]}
    made = deploy(server, "conda", {"image": "base:1", "conda_file": conda})
    said = {entry["field"]: entry["verdict"] for entry in made["report"]}
    assert made["provisioning_state"] == "Succeeded" and said["environment.image"] == "substituted", made
    assert ask(server, "conda")["debian"]
