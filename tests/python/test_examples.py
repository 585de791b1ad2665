"""The files in examples/ do what their README says, as far as a recorder can tell."""

import json
import pathlib

import pytest
import yaml

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples"
MAIN = EXAMPLES / "main-job"
DATA = MAIN / "data" / "breast-cancer.csv"
ROOT = "7/job-1/artifacts/"


@pytest.fixture
def trained(script, recorder):
    script.run(f"""
import runpy, sys
sys.argv = ["train.py", "--data", {str(DATA)!r}, "--rounds", "20", "--max-depth", "4", "--results", "out"]
sys.dont_write_bytecode = True
runpy.run_path({str(MAIN / "src" / "train.py")!r}, run_name="__main__")
""")
    return recorder


def test_the_main_job_logs_every_round_and_registers_a_good_model(trained, tmp_path):
    rounds = [step for key, _, step in trained.metrics() if key == "test-logloss"]
    assert rounds == list(range(20))
    accuracy = [value for key, value, _ in trained.metrics() if key == "test-accuracy"]
    assert accuracy[0] > 0.9
    assert trained.params["max_depth"] == "4" and trained.params["num_boost_round"] == "20"
    assert trained.versions[0]["name"] == "cancer-classifier"
    assert trained.artifacts[ROOT + "heldback.json"] == (tmp_path / "out" / "heldback.json").read_bytes()


def test_the_held_back_predictions_are_those_of_the_registered_model(trained):
    import numpy
    import xgboost
    held_back = json.loads(trained.artifacts[ROOT + "heldback.json"])
    booster = xgboost.Booster()
    booster.load_model(bytearray(trained.artifacts[ROOT + "model/model.ubj"]))
    rows = xgboost.DMatrix(numpy.array(held_back["rows"]), feature_names=held_back["feature_names"])
    assert booster.predict(rows).tolist() == held_back["predictions"]
    assert len(held_back["labels"]) == len(held_back["rows"]) == 143


def test_the_request_holds_the_first_held_back_rows(trained):
    held_back = json.loads(trained.artifacts[ROOT + "heldback.json"])
    request = json.loads((MAIN / "request.json").read_text())["inputs"][0]
    assert request["data"] == held_back["rows"][:4]
    assert request["shape"] == [4, 30]
    truth = ", ".join(held_back["classes"][label] for label in held_back["labels"][:4])
    assert f"the truth for these four is\n{truth}" in (MAIN / "README.md").read_text()


def test_the_data_are_those_that_scikit_learn_bundles():
    import numpy
    from sklearn.datasets import load_breast_cancer
    bundled = load_breast_cancer()
    with open(DATA) as file:
        assert file.readline().strip().split(",") == [*bundled.feature_names, "benign"]
        table = numpy.loadtxt(file, delimiter=",")
    assert (table == numpy.column_stack([bundled.data, bundled.target])).all()


def test_the_job_passes_the_arguments_that_the_script_takes():
    job = yaml.safe_load((MAIN / "job.yml").read_text())
    script = (MAIN / job["code"] / "train.py").read_text()
    for flag in [word for word in job["command"].split() if word.startswith("--")]:
        assert f'"{flag}"' in script
    for name in job["inputs"]:
        assert "${{inputs.%s}}" % name in job["command"]


AZURE_FILES = sorted(path for path in EXAMPLES.rglob("*.yml") if path.name != "conda.yml")


@pytest.mark.parametrize("path", AZURE_FILES, ids=lambda path: str(path.relative_to(EXAMPLES)))
def test_every_file_names_its_schema(path):
    assert yaml.safe_load(path.read_text())["$schema"].startswith("https://azuremlschemas.azureedge.net/latest/")
