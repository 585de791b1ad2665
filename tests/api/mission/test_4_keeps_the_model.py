"""4. Keeps the model. By name and version, with the triple that made it: algorithm, data, hyperparameters."""

import hashlib
import re


def test_the_model_is_registered_with_what_made_it(mission, trained):
    model = mission.lathe("model", "show", "-n", "cancer-classifier", "--label", "latest").json()
    assert model["version"] == "1"
    text = str(model)
    assert "mission" in text, "the job that made it"
    data = (mission.folder / "data" / "breast-cancer.csv").read_bytes()
    assert hashlib.sha256(data).hexdigest() in text, "the digest of its data"
    assert len(set(re.findall(r"[0-9a-f]{64}", text))) > 1, "the digest of its code"
    assert "max_depth" in text and "eta" in text


def test_each_training_makes_a_version(mission, trained):
    before = {model["version"] for model in mission.lathe("model", "list", "-n", "cancer-classifier").json()}
    mission.lathe("job", "create", "-f", "job.yml", "--set", "inputs.rounds=5", "--stream", limit_s=170)
    after = {model["version"] for model in mission.lathe("model", "list", "-n", "cancer-classifier").json()}
    assert len(after - before) == 1


def test_the_model_can_be_downloaded(mission, trained, tmp_path):
    mission.lathe("model", "download", "-n", "cancer-classifier", "-v", "1", "--download-path", tmp_path)
    assert [file.name for file in tmp_path.rglob("model.ubj")] == ["model.ubj"]


def test_the_model_can_be_made_again_and_predicts_the_same(mission, trained):
    versions = lambda: [each["version"] for each in mission.lathe("model", "list", "-n", "cancer-classifier").json()]  # noqa: E731
    before = versions()
    told = mission.lathe("model", "rebuild", "cancer-classifier:1", "-r", "request.json", "-o", "json", limit_s=170).json()
    assert told["equal"] is True and told["greatest_difference"] == 0 and told["values"] == 4, told["verdict"]
    verdicts = {file["path"]: file["verdict"] for file in told["files"]}
    assert verdicts["model.ubj"] == "same" and verdicts["MLmodel"] == "same but for run and time"
    assert versions() == before, "nothing is registered"
    again = mission.lathe("model", "rebuild", "cancer-classifier:1", "--job", told["job"])
    assert "is equal: 256 predicted values for generated rows, and none differs" in again.stdout
