"""`lathe model rebuild`: the job that made a version runs again from its code, data and parameters, registers nothing, and
both models are compared: their files, and what they predict."""

import json
import textwrap

import pytest
from job_helpers import show
from python_jobs import API, get_run

# A "training" that is quick: the model subtracts the mean of its data from each row, and divides by --scale.
TRAIN = textwrap.dedent("""
    import json, os, pathlib, sys, tempfile
    import lathe
    from lathe.models.registry import register

    numbers = [float(text) for text in pathlib.Path(sys.argv[1]).read_text().split()]
    noise = int.from_bytes(os.urandom(2), "big") / 65536 if sys.argv[3] == "noisy" else 0
    if sys.argv[3] == "once" and "lathe.rebuilds" in [tag["key"] for tag in lathe.active_run().info()["data"]["tags"]]:
        sys.exit(3)
    model = {"format": "lathe.native", "version": 1, "features": 1,
             "steps": [{"do": "elementwise", "subtract": [sum(numbers) / len(numbers)],
                        "divide": [float(sys.argv[2])]},
                       {"do": "elementwise", "subtract": [-noise]}],
             "outputs": [{"name": "predict", "take": "first"}]}
    with tempfile.TemporaryDirectory() as folder:
        (pathlib.Path(folder) / "mean.native.json").write_text(json.dumps(model))
        lathe.log_artifacts(folder, "model")
    lathe.log_param("mean", model["steps"][0]["subtract"][0])
    run = lathe.active_run()
    register(run, sys.argv[4], f"{run.artifact_uri()}/model")
""")
JOB = """
    code: src
    command: python3 train.py ${{inputs.data}} ${{inputs.scale}} %s
    inputs:
      scale: 2
      data: {type: uri_file, path: %s}
    outputs:
      unused: {type: uri_folder}
    experiment_name: rebuilds
"""


class Work:
    """A folder with a training job, whose model is `name`."""

    def __init__(self, server, folder, name, data="numbers.txt", how="plain"):
        self.server, self.folder, self.name = server, folder, name
        (folder / "src").mkdir()
        (folder / "src/train.py").write_text(TRAIN)
        (folder / "numbers.txt").write_text("1 2 3 6")
        (folder / "job.yml").write_text(textwrap.dedent(JOB % (f"{how} {name}", data)))

    def lathe(self, *args, **options):
        return self.server.cli(*args, cwd=self.folder, **options)

    def train(self):
        self.lathe("job", "create", "-f", "job.yml", "--stream", "-o", "none")
        return self

    def rebuild(self, *flags, version="1", **options):
        return self.lathe("model", "rebuild", f"{self.name}:{version}", *flags, **options)

    def versions(self):
        return [model["version"] for model in self.lathe("model", "list", "-n", self.name).json()]


@pytest.fixture
def work(server, tmp_path, request):
    tmp_path.chmod(0o755)
    return lambda *args, **more: Work(server, tmp_path, request.node.name.replace("test_", "")[:40], *args, **more)


def test_a_rebuild_predicts_the_same_and_registers_nothing(server, work):
    made = work().train()
    # The code is kept as it was: the folder may go on.
    (made.folder / "src/train.py").write_text("raise SystemExit('another script')")
    done = made.rebuild()
    assert "equal: 256 predicted values for generated rows, and none differs" in done.stdout, done
    assert "mean.native.json" in done.stdout and "same" in done.stdout
    assert made.versions() == ["1"]

    job = done.stderr.split("lathe: job ", 1)[1].split(" ", 1)[0]
    run = get_run(server, job)
    assert run["tags"]["lathe.rebuilds"] == f"{made.name}:1" and run["params"]["mean"] == "3.0"
    first = get_run(server, made.lathe("model", "show", f"{made.name}:1").json()["run_id"])
    assert run["tags"]["lathe.code"] == first["tags"]["lathe.code"]
    assert run["info"]["experiment_id"] == first["info"]["experiment_id"]

    (made.folder / "numbers.txt").write_text("100")
    refused = made.rebuild(check=False)
    assert refused.returncode == 5 and f"{made.folder}/numbers.txt has changed since the job ran" in refused.stderr, refused


def test_equal_rebuilds_are_registered_when_asked(work):
    made = work().train()
    told = made.rebuild("--register", "-o", "json").json()
    assert told["equal"] is True and told["registered"] == f"{made.name}:2" and told["greatest_difference"] == 0
    version = made.lathe("model", "show", f"{made.name}:2").json()
    assert version["tags"] == {"lathe.rebuilds": f"{made.name}:1"} and version["run_id"] == told["job"]
    assert version["digest"] == made.lathe("model", "show", f"{made.name}:1").json()["digest"]
    # And it is a version like any other: it can be rebuilt itself.
    assert "is equal" in made.rebuild(version="2").stdout


def test_what_differs_is_told_with_the_greatest_difference(work):
    made = work(how="noisy").train()
    done = made.rebuild("-o", "json", "--register", check=False)
    assert done.returncode == 1, done
    told = done.json()
    assert told["equal"] is False and 0 < told["greatest_difference"] < 1 and "registered" not in told
    assert "not equal" in told["verdict"] and "tolerance 1e-06" in told["verdict"]
    assert [file["verdict"] for file in told["files"]] == ["differs"]
    assert told["files"][0]["original"] != told["files"][0]["rebuilt"]
    assert made.versions() == ["1"]

    # The same two once more, with another tolerance, and for rows of one's own.
    tolerant = made.rebuild("--job", told["job"], "--tolerance", "1")
    assert "is equal" in tolerant.stdout, tolerant
    (made.folder / "rows.json").write_text(json.dumps({"inputs": [[7.0], [8.0], [9.0]]}))
    given = made.rebuild("--job", told["job"], "-r", "rows.json", "-o", "json", check=False).json()
    assert given["rows"] == "request" and given["values"] == 3
    (made.folder / "rows.csv").write_text("x\n7\n8\n")
    assert made.rebuild("--job", told["job"], "-r", "rows.csv", "-o", "json", check=False).json()["values"] == 2
    (made.folder / "rows.json").write_text(json.dumps({"inputs": [["a"]]}))
    refused = made.rebuild("--job", told["job"], "-r", "rows.json", check=False)
    assert refused.returncode == 2 and "does not answer the rows given" in refused.stderr, refused


def test_a_label_that_moved_leads_to_what_it_named_then(server, work):
    made = work(data="azureml:moving@latest")
    made.lathe("data", "create", "-n", "moving", "--type", "uri_file", "--path", "numbers.txt", "-o", "none")
    made.train()
    (made.folder / "others.txt").write_text("5 5")
    made.lathe("data", "create", "-n", "moving", "--type", "uri_file", "--path", "others.txt", "-o", "none")
    told = made.rebuild("-o", "json").json()
    assert told["equal"] is True
    assert show(server, told["job"])["document"]["inputs"]["data"]["path"] == "azureml:moving:1"


def test_data_that_changed_in_place_is_named(server, work):
    made = work(data="azureml:in-place:1")
    file = made.folder / "there.txt"
    file.write_text("1 2 3 6")
    told = server.post("/api/v1/data", json={"name": "in-place", "version": "1", "type": "uri_file", "path": str(file)})
    assert told.status_code == 200 or told.status_code == 201, told.text
    made.train()
    file.write_text("9")
    done = made.rebuild(check=False)
    assert done.returncode == 5 and "inputs.data: azureml:in-place:1 has changed since the job ran" in done.stderr, done
    file.unlink()
    done = made.rebuild(check=False)
    assert done.returncode == 5 and "inputs.data: azureml:in-place:1 is gone" in done.stderr, done
    assert made.versions() == ["1"]


def test_a_version_that_was_registered_from_files_has_nothing_to_run_again(work):
    made = work()
    (made.folder / "files").mkdir()
    (made.folder / "files/weights").write_text("1")
    made.lathe("model", "create", "-n", made.name, "-p", "files", "-o", "none")
    done = made.rebuild(check=False)
    assert done.returncode == 5 and "was registered from files" in done.stderr, done
    missing = made.rebuild(version="7", check=False)
    assert missing.returncode == 3, missing


def test_what_no_job_made_cannot_run_again(server, work):
    made = work().train()
    run = server.post(API + "runs/create", json={"experiment_id": "0"}).json()["run"]["info"]
    body = {"name": made.name, "source": f"runs:/{run['run_id']}/model", "run_id": run["run_id"]}
    assert server.post(API + "model-versions/create", json=body).status_code == 200
    done = made.rebuild(version="2", check=False)
    assert done.returncode == 5 and run["run_id"] in done.stderr and "which was no job" in done.stderr, done


def test_a_rebuild_on_compute_that_is_not_there_is_refused(work):
    made = work(data="azureml:fails:1")
    made.lathe("data", "create", "-n", "fails", "-v", "1", "--type", "uri_file", "--path", "numbers.txt", "-o", "none")
    made.train()
    missing = made.rebuild("--compute", "nowhere", check=False)
    assert missing.returncode == 2 and "nowhere" in missing.stderr, missing
    assert made.versions() == ["1"]


def test_a_rebuild_whose_job_fails_exits_with_1_and_registers_nothing(work):
    made = work(how="once").train()
    failed = made.rebuild("--register", check=False)
    assert failed.returncode == 1, failed
    assert made.versions() == ["1"]


def test_a_job_is_compared_when_it_has_ended_and_only_if_it_rebuilds(work):
    made = work().train()
    submitted = made.rebuild("--no-wait")
    job = submitted.json()["name"]
    assert f"--job {job}" in submitted.stderr
    made.lathe("job", "cancel", "-n", job, "-o", "none", check=False)
    ended = made.rebuild("--job", job, check=False)
    assert ended.returncode in (0, 5), ended  # it may have ended before it was cancelled
    other = made.rebuild("--job", made.lathe("model", "show", f"{made.name}:1").json()["run_id"], check=False)
    assert other.returncode == 2 and "does not rebuild" in other.stderr, other


@pytest.mark.parametrize("body", [{"tolerance": -1}, {"tolerance": "much"}, {"request": 3}, {"register": "yes"}])
def test_wishes_that_make_no_sense_are_refused(server, work, body):
    made = work()
    answer = server.post("/api/v1/models/nothing/versions/1/rebuilds/job/compare", json=body)
    assert answer.status_code == 400, answer.text
    assert made.name
