"""Files and models are on the server when the call returns."""

import json

import pytest
import yaml

ROOT = "7/job-1/artifacts/"

XGBOOST = """
import numpy, xgboost
rows = numpy.random.RandomState(0).rand(60, 3)
labels = (rows[:, 0] > 0.5).astype(int)
settings = {"max_depth": 3, "eta": 0.1, "objective": "binary:logistic", "nthread": 1}
"""


def test_files_and_folders_land_below_the_run(script, recorder, tmp_path):
    (tmp_path / "a b.txt").write_bytes(b"one")
    (tmp_path / "plots" / "deep").mkdir(parents=True)
    (tmp_path / "plots" / "deep" / "p.png").write_bytes(b"two")
    (tmp_path / "empty").write_bytes(b"")
    script.run("""
lathe.log_artifact("a b.txt")
lathe.log_artifact("a b.txt", "notes")
lathe.log_artifacts("plots")
lathe.log_artifact("plots", "all/")
lathe.log_artifact("empty")
lathe.log_text("hi", "t.txt")
lathe.log_dict({"x": [1]}, "d/x.json")
""")
    assert {path: data for path, data in recorder.artifacts.items() if not path.endswith("x.json")} == {
        ROOT + "a b.txt": b"one", ROOT + "notes/a b.txt": b"one", ROOT + "deep/p.png": b"two",
        ROOT + "all/plots/deep/p.png": b"two", ROOT + "empty": b"", ROOT + "t.txt": b"hi",
    }
    assert json.loads(recorder.artifacts[ROOT + "d/x.json"]) == {"x": [1]}


def test_an_upload_is_repeated_from_its_start_when_the_server_fails(script, recorder, tmp_path):
    (tmp_path / "big").write_bytes(bytes(range(256)) * 4000)
    recorder.failures = [503, "lose the answer", "hang up"]
    script.run("lathe.log_artifact('big')")
    assert recorder.artifacts[ROOT + "big"] == bytes(range(256)) * 4000


def test_a_huge_file_is_streamed(script, recorder, tmp_path):
    with open(tmp_path / "huge", "wb") as file:
        file.truncate(300_000_000)
    script.run("""
import resource
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
lathe.log_artifact("huge")
grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
assert grown_kib < 20_000, grown_kib
""")
    assert ROOT + "huge" in recorder.artifacts


def test_an_upload_that_is_refused_raises_with_the_reason(script, recorder, tmp_path):
    (tmp_path / "x").write_bytes(b"x" * 5_000_000)
    recorder.failures = [403]
    assert "LatheError" in script.run("""
try: lathe.log_artifact("x")
except lathe.LatheError as error: print("LatheError", error)
""").out
    assert script.run("lathe.log_artifact('missing')", expect=1).err.splitlines()[-1].startswith("FileNotFoundError")


def test_a_booster_is_stored_in_its_own_format_and_registered(script, recorder):
    done = script.run(XGBOOST + """
data = xgboost.DMatrix(rows, labels, feature_names=["mean radius", "b", "c"])
lathe.log_param("eta", "0.10")
booster = xgboost.train(settings, data, 4)
assert lathe.log_model(booster, "model", registered_model_name="cancer") == "1"
assert lathe.log_model(booster, "model", registered_model_name="cancer") == "2"
""")
    assert done.out == "Registered model 'cancer' version 1\nRegistered model 'cancer' version 2\n"
    mlmodel = yaml.safe_load(recorder.artifacts[ROOT + "model/MLmodel"])
    assert mlmodel["flavors"]["xgboost"]["model_class"] == "xgboost.core.Booster"
    assert mlmodel["flavors"]["xgboost"]["data"] == "model.ubj"
    assert mlmodel["flavors"]["python_function"]["loader_module"] == "mlflow.xgboost"
    assert mlmodel["run_id"] == "job-1"
    assert [column["name"] for column in json.loads(mlmodel["signature"]["inputs"])] == ["mean radius", "b", "c"]
    assert recorder.artifacts[ROOT + "model/requirements.txt"].startswith(b"xgboost==")
    assert recorder.params["eta"] == "0.10"  # what the script said stands
    assert recorder.params["max_depth"] == "3" and recorder.params["base_score"] == "0.5"
    assert recorder.params["num_boost_round"] == "4" and recorder.params["lambda"] == "1"
    version = recorder.versions[0]
    assert version["source"] == "mlflow-artifacts:/7/job-1/artifacts/model" and version["run_id"] == "job-1"


def test_the_stored_booster_predicts_as_before(script, recorder):
    script.run(XGBOOST + """
booster = xgboost.train(settings, xgboost.DMatrix(rows, labels), 4)
lathe.log_model(booster, "model")
lathe.log_dict(booster.predict(xgboost.DMatrix(rows)).tolist(), "predictions.json")
""")
    import numpy
    import xgboost
    booster = xgboost.Booster()
    booster.load_model(bytearray(recorder.artifacts[ROOT + "model/model.ubj"]))
    rows = numpy.random.RandomState(0).rand(60, 3)
    assert booster.predict(xgboost.DMatrix(rows)).tolist() == json.loads(recorder.artifacts[ROOT + "predictions.json"])
    assert recorder.versions == []


def test_a_scikit_learn_wrapper_keeps_its_class_and_its_names_of_parameters(script, recorder):
    script.run(XGBOOST + """
model = xgboost.XGBClassifier(n_estimators=3, learning_rate=0.3, reg_lambda=2, n_jobs=1).fit(rows, labels)
lathe.log_model(model, "model")
""")
    mlmodel = yaml.safe_load(recorder.artifacts[ROOT + "model/MLmodel"])
    assert mlmodel["flavors"]["xgboost"]["model_class"] == "xgboost.sklearn.XGBClassifier"
    assert json.loads(mlmodel["signature"]["inputs"])[0]["tensor-spec"]["shape"] == [-1, 3]
    assert recorder.params["n_estimators"] == "3" and recorder.params["learning_rate"] == "0.3"
    assert recorder.params["reg_lambda"] == "2" and "eta" not in recorder.params


def test_a_scikit_learn_model_is_pickled(script, recorder):
    script.run("""
from sklearn.linear_model import LogisticRegression
lathe.log_model(LogisticRegression(C=0.5).fit([[0.0], [1.0]], [0, 1]), "model", "line")
""")
    mlmodel = yaml.safe_load(recorder.artifacts[ROOT + "model/MLmodel"])
    assert mlmodel["flavors"]["sklearn"]["pickled_model"] == "model.pkl"
    assert recorder.artifacts[ROOT + "model/model.pkl"][:1] == b"\x80"
    assert recorder.params["C"] == "0.5"


def test_any_other_object_is_pickled_and_one_that_cannot_be_says_so(script, recorder):
    script.run("lathe.log_model({'a': 1}, 'model')")
    mlmodel = yaml.safe_load(recorder.artifacts[ROOT + "model/MLmodel"])
    assert mlmodel["flavors"]["python_function"]["loader_module"] == "lathe.models"
    assert "cannot be pickled" in script.run("import threading; lathe.log_model(threading.Lock(), 'm')", expect=1).err


@pytest.mark.parametrize("failure", ["lose the answer", "hang up", 503])
def test_a_version_is_created_once_whatever_the_server_does(script, recorder, failure):
    recorder.fail_on = {"model-versions/create": failure}
    done = script.run("lathe.log_model({'a': 1}, 'model', 'm')")
    assert "Registered model 'm' version 1" in done.out
    assert len(recorder.versions) == 1
