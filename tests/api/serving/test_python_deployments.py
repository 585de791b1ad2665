"""Deployments of Python through the server: Azure's YAML with a scoring script, MLflow's models, logs, environments."""

import json
import os
import pickle
import subprocess

import pytest
import requests
import yaml
from endpoint_helpers import ENDPOINTS, deploy, make_endpoint, primary_key, register
from lathe_server import ROOT
from sandbox_helpers import python_can_be_deployed

pytestmark = python_can_be_deployed

SCORE = """
import json, os

def init():
    global factor
    with open(os.path.join(os.environ["AZUREML_MODEL_DIR"], "model", "factor.txt")) as file:
        factor = float(file.read()) * float(os.environ.get("SCALE", "1"))
    print("factor is", factor, os.environ.get("FLAG"))

def run(raw_data):
    rows = json.loads(raw_data)["data"]
    return [sum(row) * factor for row in rows]
"""


def ask(server, endpoint, body, path="score", **headers):
    headers["Authorization"] = f"Bearer {primary_key(server, endpoint)}"
    return requests.post(f"{server.infer}/endpoints/{endpoint}/{path}", json=body, headers=headers, timeout=60)


@pytest.fixture
def project(tmp_path):
    """Files as an Azure example has them."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "factor.txt").write_text("2")
    (tmp_path / "onlinescoring").mkdir()
    (tmp_path / "onlinescoring" / "score.py").write_text(SCORE)
    document = {
        "$schema": "https://azuremlschemas.azureedge.net/latest/managedOnlineDeployment.schema.json",
        "name": "blue", "endpoint_name": "scripted", "model": "azureml:factor:1",
        "code_configuration": {"code": "./onlinescoring", "scoring_script": "score.py"},
        "environment": {"image": "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu20.04:latest"},
        "environment_variables": {"SCALE": 10, "FLAG": True},
        "instance_type": "Standard_DS3_v2", "instance_count": 1,
        "request_settings": {"request_timeout_ms": 60000, "max_concurrent_requests_per_instance": 2,
                             "max_queue_wait_ms": 30000},
        "liveness_probe": {"period": 10},
    }  # fmt: skip
    (tmp_path / "blue.yml").write_text(yaml.safe_dump(document))
    return tmp_path


def test_azures_yaml_with_a_scoring_script_works_as_it_is(server, project):
    make_endpoint(server, "scripted")
    made = server.cli("model", "create", "-n", "factor", "--version", "1", "--path", str(project / "model"), "--type", "custom_model")
    assert made.returncode == 0, made
    made = server.cli("online-deployment", "create", "-f", str(project / "blue.yml"), "--all-traffic")
    assert made.returncode == 0, made
    shown = made.json()
    assert shown["provisioning_state"] == "Succeeded" and shown["format"] == "script", shown
    assert shown["scoring_script"] == "score.py" and shown["environment"]
    assert shown["request_settings"]["max_queue_wait_ms"] == 30000
    said = {each["field"]: each["verdict"] for each in shown["report"]}
    assert said["environment.image"] == "substituted", said
    assert said["request_settings.max_concurrent_requests_per_instance"] == "substituted"
    assert ask(server, "scripted", {"data": [[1, 2], [3, 4]]}).json() == [60.0, 140.0]
    uri = server.cli("online-endpoint", "show", "-n", "scripted").json()["scoring_uri"]
    assert uri == f"{server.infer}/endpoints/scripted/score"

    (project / "request.json").write_text(json.dumps({"data": [[1]]}))
    invoked = server.cli("online-endpoint", "invoke", "-n", "scripted", "-r", str(project / "request.json"))
    assert invoked.json() == [20.0], invoked
    logs = server.cli("online-deployment", "get-logs", "-n", "blue", "-e", "scripted")
    assert logs.returncode == 0 and logs.stdout.count("factor is 20.0 True") == 2, logs
    assert len(server.cli("online-deployment", "get-logs", "-n", "blue", "-e", "scripted", "-l", "1").stdout.splitlines()) == 1

    changed = server.patch(f"{ENDPOINTS}/scripted/deployments/blue", json={"environment_variables": {"SCALE": "1"}})
    assert changed.json()["provisioning_state"] == "Succeeded", changed.text
    assert ask(server, "scripted", {"data": [[1, 2]]}).json() == [6.0]


def test_what_is_wrong_with_the_code_is_named(server, project):
    assert server.get(f"{ENDPOINTS}/scripted/deployments/blue").json()["format"] == "script"
    document = {"code_configuration": {"code": str(project / "onlinescoring"), "scoring_script": "scores.py"}}
    got = server.patch(f"{ENDPOINTS}/scripted/deployments/blue", json=document)
    assert got.status_code == 400 and 'the nearest is "score.py"' in got.json()["detail"], got.text
    for configuration, words in (({"scoring_script": "score.py"}, "code_configuration.code"),
                                 ({"code": str(project / "onlinescoring")}, "scoring_script"),
                                 ({"code": "relative", "scoring_script": "score.py"}, "code_configuration.code"),
                                 ({"code": "tree:" + "0" * 64, "scoring_script": "score.py"}, "code_configuration.code"),
                                 ({"codes": "x"}, "codes")):  # fmt: skip
        got = server.patch(f"{ENDPOINTS}/scripted/deployments/blue", json={"code_configuration": configuration})
        assert got.status_code in (400, 404) and words in got.json()["detail"], got.text
    for name, value in (("a=b", "1"), ("", "1"), ("A", "x\0y"), ("A", "x" * 200_000)):
        got = server.patch(f"{ENDPOINTS}/scripted/deployments/blue", json={"environment_variables": {name: value}})
        assert got.status_code == 400 and "environment_variables" in got.json()["detail"], got.text


def test_a_script_that_fails_is_a_failed_deployment_whose_log_tells(server, project):
    (project / "onlinescoring" / "score.py").write_text("def init():\n    print('before')\n    raise KeyError('weights')\n"
                                                        "def run(data): pass\n")
    made = server.cli("online-deployment", "create", "-f", str(project / "blue.yml"), "--name", "broken", check=False)
    shown = server.get(f"{ENDPOINTS}/scripted/deployments/broken").json()
    assert shown["provisioning_state"] == "Failed", made
    assert "init() of score.py failed: KeyError: 'weights'" in shown["error"]
    log = server.get(f"{ENDPOINTS}/scripted/deployments/broken/logs").text
    assert "before" in log and "KeyError" in log
    assert server.delete(f"{ENDPOINTS}/scripted/deployments/broken").status_code in (200, 204)
    assert server.get(f"{ENDPOINTS}/scripted/deployments/broken/logs").status_code == 404
    assert not (server.data / "infer/logs/scripted.broken").exists()


def test_scripts_go_on_while_the_server_is_away(server, project):
    (project / "onlinescoring" / "score.py").write_text(SCORE)
    key = primary_key(server, "scripted")
    uri = f"{server.infer}/endpoints/scripted/score"

    def answer():
        return requests.post(uri, json={"data": [[1]]}, headers={"Authorization": f"Bearer {key}"}, timeout=60)

    before = answer()
    assert before.status_code == 200, before.text
    server.kill9()
    assert answer().json() == before.json()
    server.start()
    assert answer().json() == before.json()


SAVE = """
import sys
import numpy, pandas
import mlflow.pyfunc, mlflow.sklearn
from mlflow.models import infer_signature
from sklearn.neighbors import KNeighborsClassifier

folder = sys.argv[1]
random = numpy.random.default_rng(3)
rows = pandas.DataFrame(random.normal(size=(60, 3)), columns=["a", "b", "c"])
labels = (rows["a"] > rows["b"]).map({True: "yes", False: "no"})
near = KNeighborsClassifier(3).fit(rows, labels)
mlflow.sklearn.save_model(near, folder + "/near", signature=infer_signature(rows, near.predict(rows)),
                          input_example=rows.head(2))
rows.to_json(folder + "/rows.json", orient="split", index=False)
with open(folder + "/labels.txt", "w") as file:
    file.write("\\n".join(near.predict(rows)))


class Scaled(mlflow.pyfunc.PythonModel):
    def load_context(self, context):
        with open(context.artifacts["factor"]) as file:
            self.factor = float(file.read())

    def predict(self, context, model_input, params=None):
        if (params or {}).get("fail"):
            raise RuntimeError("the private reason")
        return pandas.DataFrame({"sum": model_input.sum(axis=1) * self.factor * (params or {}).get("times", 1)})


with open(folder + "/factor.txt", "w") as file:
    file.write("3")
mlflow.pyfunc.save_model(folder + "/scaled", python_model=Scaled(), artifacts={"factor": folder + "/factor.txt"})

with open(folder + "/own_loader.py", "w") as file:
    file.write("class Own:\\n    def predict(self, data):\\n        return [len(data), self.text]\\n"
               "def _load_pyfunc(path):\\n    own = Own()\\n    own.text = open(path).read()\\n    return own\\n")
sys.path.insert(0, folder)
mlflow.pyfunc.save_model(folder + "/own", loader_module="own_loader", data_path=folder + "/factor.txt",
                         code_path=[folder + "/own_loader.py"])
mlflow.pyfunc.save_model(folder + "/lacking", loader_module="no_such_loader", data_path=folder + "/factor.txt")
"""


@pytest.fixture(scope="module")
def pyfuncs(server, tmp_path_factory):
    """Four registered models that only Python can read, behind the endpoint "pyfuncs"; the folder with what they say."""
    folder = tmp_path_factory.mktemp("pyfuncs")
    env = {**os.environ, "PYTHONPATH": f"{ROOT / 'python'}:{ROOT / 'python/lathe_mlflow'}",
           "LATHE_URL": server.url, "LATHE_TOKEN": server.token}  # fmt: skip
    subprocess.run(["/usr/bin/python3", "-c", SAVE, str(folder)], check=True, env=env, timeout=300)
    make_endpoint(server, "pyfuncs")
    for name in ("near", "scaled", "own", "lacking"):
        server.cli("model", "create", "-n", name, "--version", "1", "--path", str(folder / name), "--type", "mlflow_model")
    for name in ("near", "scaled", "own"):
        made = deploy(server, "pyfuncs", name, f"azureml:{name}:1", **SLOW)
        assert made["provisioning_state"] == "Succeeded" and made["format"] == "pyfunc", made
    return folder


SLOW = {"request_settings": {"request_timeout_ms": 60000, "max_queue_wait_ms": 30000}}


def test_a_pickled_estimator_answers_every_form_of_a_table(server, pyfuncs):
    rows = json.loads((pyfuncs / "rows.json").read_text())
    labels = (pyfuncs / "labels.txt").read_text().split("\n")
    split = {"columns": rows["columns"], "data": rows["data"]}
    records = [dict(zip(rows["columns"], row)) for row in rows["data"]]
    shuffled = {"columns": ["c", "a", "b"], "data": [[row[2], row[0], row[1]] for row in rows["data"]]}
    for body in ({"dataframe_split": split}, {"dataframe_records": records}, {"dataframe_split": shuffled},
                 {"inputs": rows["data"]}, {"instances": records},
                 {"inputs": {name: [row[i] for row in rows["data"]] for i, name in enumerate(rows["columns"])}}):
        got = ask(server, "pyfuncs", body, "invocations", **{"azureml-model-deployment": "near"})
        assert got.status_code == 200 and got.json() == {"predictions": labels}, (list(body), got.text)
    for body in ({"input_data": split}, {"input_data": rows["data"]}):
        got = ask(server, "pyfuncs", body, "score", **{"azureml-model-deployment": "near"})
        assert got.status_code == 200 and got.json() == labels, got.text
        got = server.post(f"{ENDPOINTS}/pyfuncs/invoke?deployment=near", json=body)
        assert got.status_code == 200 and got.json() == labels, got.text
    text = "a,b,c\n" + "\n".join(",".join(map(str, row)) for row in rows["data"])
    headers = {"Authorization": f"Bearer {primary_key(server, 'pyfuncs')}", "Content-Type": "text/csv",
               "azureml-model-deployment": "near"}  # fmt: skip
    got = requests.post(f"{server.infer}/endpoints/pyfuncs/invocations", data=text, headers=headers, timeout=60)
    assert got.json() == {"predictions": labels}, got.text
    metadata = requests.get(f"{server.infer}/v2/models/pyfuncs.near", headers=headers, timeout=60).json()
    assert metadata["platform"] == "python_pyfunc"
    assert metadata["inputs"][0] == {"name": "a", "datatype": "FP64", "shape": [-1]}


def test_a_model_in_python_with_artifacts_and_parameters(server, pyfuncs):
    here = {"azureml-model-deployment": "scaled"}
    body = {"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2], [3, None]]}}
    assert ask(server, "pyfuncs", body, "invocations", **here).json() == {"predictions": [{"sum": 9.0}, {"sum": 9.0}]}
    got = ask(server, "pyfuncs", {**body, "params": {"times": 2}}, "invocations", **here)
    assert got.json() == {"predictions": [{"sum": 18.0}, {"sum": 18.0}]}
    got = ask(server, "pyfuncs", {**body, "params": {"fail": True}}, "invocations", **here)
    assert got.status_code == 424 and "private" not in got.text
    log = server.get(f"{ENDPOINTS}/pyfuncs/deployments/scaled/logs").text
    assert "RuntimeError: the private reason" in log


def test_a_model_with_a_loader_of_its_own(server, pyfuncs):
    got = ask(server, "pyfuncs", {"inputs": [1, 2, 3]}, "invocations", **{"azureml-model-deployment": "own"})
    assert got.json() == {"predictions": [3, "3"]}, got.text


@pytest.mark.parametrize("body, words", [
    ({"inputs": [1], "instances": [1]}, "exactly one of"), ({}, "exactly one of"), ([1], "must be a JSON object"),
    ({"dataframe_split": 3}, "dataframe_split"), ({"dataframe_records": 3}, "dataframe_records"),
    ({"inputs": [[1], [2, 3]]}, "inputs"), ({"inputs": [[1]], "params": 3}, "params"),
    ({"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2]]}}, "c"),
])  # fmt: skip
def test_a_wrong_body_is_the_clients_error(server, pyfuncs, body, words):
    got = ask(server, "pyfuncs", body, "invocations", **{"azureml-model-deployment": "near"})
    assert got.status_code == 400 and words in got.json()["error"], got.text


def test_what_is_missing_is_named(server, pyfuncs):
    made = deploy(server, "pyfuncs", "lacking", "azureml:lacking:1")
    assert made["provisioning_state"] == "Failed" and "no_such_loader" in made["error"], made
    path = pyfuncs / "bare.pkl"
    path.write_bytes(pickle.dumps({}))
    document = {"name": "bare", "endpoint_name": "pyfuncs", "model": register(server, "bare", path)}
    got = server.post(f"{ENDPOINTS}/pyfuncs/deployments", json=document)
    assert got.status_code == 400 and "scoring script" in got.json()["detail"], got.text
