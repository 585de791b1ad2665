"""scikit-learn's models that MLflow pickled: a worker finds their native form, and no Python answers from then on."""

import json
import os
import pathlib
import signal
import subprocess

import pytest
import requests
from endpoint_helpers import ENDPOINTS, deploy, make_endpoint, primary_key
from lathe_server import ROOT, wait_for
from sandbox_helpers import python_can_be_deployed

pytestmark = python_can_be_deployed

# As MLflow itself writes them: without our flavor. "other" answers by something that is not in the estimator's parts.
SAVE = """
import json, os, sys
import cloudpickle, numpy, yaml
import mlflow.sklearn
from mlflow.models import infer_signature
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

folder = sys.argv[1]
frame = load_iris(as_frame=True).data
names = numpy.array(["setosa", "versicolor", "virginica"])[load_iris().target]


def save(name, model, y, **options):
    model.fit(frame, y)
    mlflow.sklearn.save_model(model, f"{folder}/{name}", signature=infer_signature(frame, model.predict(frame)),
                              input_example=frame.head(3), **options)
    path = f"{folder}/{name}/MLmodel"
    with open(path) as file:
        document = yaml.safe_load(file)
    document["flavors"].pop("lathe_native", None)
    with open(path, "w") as file:
        yaml.safe_dump(document, file)
    if os.path.exists(f"{folder}/{name}/model.native.json"):
        os.remove(f"{folder}/{name}/model.native.json")
    with open(f"{folder}/{name}.answers", "w") as file:
        json.dump(model.predict(frame).tolist(), file)


save("forest", make_pipeline(StandardScaler(), RandomForestClassifier(50, random_state=1)), names)
save("near", KNeighborsClassifier(3), names)
other = LinearRegression().fit(frame, load_iris().target)
other.predict = lambda table: numpy.zeros(len(table)) - 1
save("other", other, load_iris().target)
save("chances", RandomForestClassifier(5, random_state=1), names, pyfunc_predict_fn="predict_proba")
with open(folder + "/rows.json", "w") as file:
    json.dump({"columns": list(frame.columns), "data": frame.to_numpy().tolist()}, file)
"""


@pytest.fixture(scope="module")
def models(server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sklearn")
    env = {**os.environ, "PYTHONPATH": f"{ROOT / 'python'}:{ROOT / 'python/lathe_mlflow'}",
           "LATHE_URL": server.url, "LATHE_TOKEN": server.token}  # fmt: skip
    subprocess.run(["/usr/bin/python3", "-c", SAVE, str(folder)], check=True, env=env, timeout=300)
    for name in ("forest", "near", "other", "chances"):
        made = server.cli("model", "create", "-n", name, "--version", "1", "--path", str(folder / name), "--type", "mlflow_model")
        assert made.returncode == 0, made
    make_endpoint(server, "converted")
    return folder


def read(path):
    return json.loads(path.read_text())


def put(server, name):
    made = deploy(server, "converted", name, f"azureml:{name}:1", request_settings={"request_timeout_ms": 60000, "max_queue_wait_ms": 30000})
    assert (made["provisioning_state"], made["format"]) == ("Succeeded", "pyfunc"), made
    return made["runtime"]


def shown(server, name):
    return server.get(f"{ENDPOINTS}/converted/deployments/{name}").json()


def answers(server, models, name):
    headers = {"Authorization": f"Bearer {primary_key(server, 'converted')}", "azureml-model-deployment": name}
    got = requests.post(f"{server.infer}/endpoints/converted/invocations", json={"dataframe_split": read(models / "rows.json")},
                        headers=headers, timeout=60)  # fmt: skip
    assert got.status_code == 200, got.text
    return got.json()["predictions"]


def logs(server, name):
    return server.cli("online-deployment", "get-logs", "-n", name, "-e", "converted").stdout


def kept(server):
    return list((pathlib.Path(server.folder) / "data" / "infer" / "converted").glob("*"))


def kill_data_plane(server):
    report = pathlib.Path(server.folder) / "data" / "infer" / "reported.json"
    before = json.loads(report.read_text())["pid"]
    os.kill(before, signal.SIGKILL)
    wait_for(lambda: json.loads(report.read_text())["pid"] != before, 60, "the data plane to come back")
    wait_for(lambda: shown(server, "forest")["serving_state"] == "ready", 60, "the deployment to come back")


def test_a_forest_is_answered_without_python(server, models):
    assert put(server, "forest") == "lathe_native"
    assert answers(server, models, "forest") == read(models / "forest.answers")
    assert len(kept(server)) == 1


def test_the_protocol_takes_its_columns_as_inputs_too(server, models):
    rows, expected = read(models / "rows.json"), read(models / "forest.answers")
    headers = {"Authorization": f"Bearer {primary_key(server, 'converted')}"}

    def infer(inputs):
        body = {"inputs": inputs, "outputs": [{"name": "predict"}]}
        return requests.post(f"{server.infer}/v2/models/converted.forest/infer", json=body, headers=headers, timeout=60)

    columns = [{"name": name, "shape": [150, 1], "datatype": "FP32", "data": [row[i] for row in rows["data"]]}
               for i, name in enumerate(rows["columns"])]  # fmt: skip
    got = infer(columns[::-1])
    assert got.status_code == 200 and got.json()["outputs"][0]["data"] == expected, got.text
    got = infer([{"name": "any", "shape": [150, 4], "datatype": "FP64", "data": rows["data"]}])
    assert got.json()["outputs"][0]["data"] == expected, got.text
    columns[0]["name"] = "petal colour"
    got = infer(columns)
    assert got.status_code == 400 and "petal colour" in got.json()["error"], got.text


def test_after_a_kill_it_goes_on_without_a_worker(server, models):
    before = logs(server, "forest")
    kill_data_plane(server)
    assert answers(server, models, "forest") == read(models / "forest.answers")
    assert shown(server, "forest")["runtime"] == "lathe_native"
    assert logs(server, "forest") == before


def test_a_damaged_form_is_made_again(server, models):
    [form] = kept(server)
    form.write_bytes(form.read_bytes()[:-100])
    kill_data_plane(server)
    assert answers(server, models, "forest") == read(models / "forest.answers")
    wait_for(lambda: len(kept(server)) == 1, 60, "the new form")


@pytest.mark.parametrize(("name", "why"), [("near", "KNeighborsClassifier has no native form"), ("chances", "by predict_proba, not by predict")])
def test_what_has_no_native_form_stays_in_python_and_says_why(server, models, name, why):
    assert put(server, name) == "python_pyfunc"
    assert f"the model stays in Python: {'it answers ' if name == 'chances' else ''}{why}" in logs(server, name)
    got = answers(server, models, name)
    assert got == read(models / "near.answers") if name == "near" else len(got[0]) == 3


def test_one_that_answers_otherwise_than_its_parts_stays_in_python(server, models):
    assert put(server, "other") == "python_pyfunc"
    assert answers(server, models, "other") == [-1.0] * 150


def test_the_form_goes_with_its_deployment(server, models):
    for name in ("forest", "near", "other", "chances"):
        server.delete(f"{ENDPOINTS}/converted/deployments/{name}").raise_for_status()
    wait_for(lambda: not kept(server), 60, "the form to go")
