"""`import mlflow` inside a job: the environment's own where there is one, else the subset that logs to Lathe."""

import pytest
from python_jobs import API, children, get_run, own_metrics, run_script


def test_a_script_written_for_mlflow_logs_to_its_job(server):
    job, log = run_script(server, """
        import mlflow
        assert mlflow.is_lathe and tuple(map(int, mlflow.__version__.split("."))) > (2, 0, 0)
        assert mlflow.utils.validation.MAX_PARAM_VAL_LENGTH == 6000  # transformers' callback asks for it like this
        mlflow.set_tracking_uri("http://elsewhere:5000")
        mlflow.set_experiment("another")
        with mlflow.start_run(run_name="main", tags={"team": "red"}) as run:
            import os
            assert run.info.run_id == os.environ["LATHE_JOB"] == mlflow.active_run().info.run_id
            mlflow.log_params({"depth": 3, "eta": 0.1})
            for step in range(5): mlflow.log_metric("loss", 1 / (1 + step), step=step)
            mlflow.log_metrics({"a": 1, "b": 2}, step=7)
            mlflow.log_text("hello", "notes/hello.txt")
            mlflow.log_dict({"a": [1, {"b": None}]}, "config.yaml")
            with mlflow.start_run(run_name="fold", nested=True) as child:
                mlflow.log_metric("score", 0.5)
                try: mlflow.start_run()
                except Exception as error: assert "is already active" in str(error)
                else: raise AssertionError
            client = mlflow.MlflowClient()
            assert client.get_run(run.info.run_id).data.metrics["loss"] == 0.2
            history = client.get_metric_history(run.info.run_id, "loss")
            assert [point.value for point in history] == [1, 1 / 2, 1 / 3, 1 / 4, 1 / 5]
            assert client.get_run(child.info.run_id).info.status == "FINISHED"
            assert mlflow.get_parent_run(child.info.run_id).info.run_id == run.info.run_id
            found = client.search_runs([run.info.experiment_id], "metrics.score > 0.4")
            assert [each.info.run_id for each in found] == [child.info.run_id]
            assert mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/notes/hello.txt") == "hello"
            assert sorted(file.path for file in client.list_artifacts(run.info.run_id)) == ["config.yaml", "notes"]
        assert mlflow.active_run() is None
        with mlflow.start_run(run_name="second") as second: mlflow.log_metric("later", 1)
        assert mlflow.last_active_run().info.run_id == second.info.run_id != run.info.run_id
        try: mlflow.log_param("depth", 4)
        except mlflow.MlflowException: pass
        """, experiment_name="subset")  # fmt: skip
    assert job["status"] == "Completed", log
    assert log.count("set_tracking_uri('http://elsewhere:5000') changes nothing") == 1
    assert log.count("set_experiment('another') changes nothing") == 1 and "'subset'" in log
    run = get_run(server, job["name"])
    assert run["params"] == {"depth": "3", "eta": "0.1"}
    assert own_metrics(server, job["name"]) == {"loss": 0.2, "a": 1.0, "b": 2.0} and run["tags"]["team"] == "red"
    assert run["info"]["status"] == "FINISHED"
    made = children(server, job["name"])
    assert [each["info"]["run_name"] for each in made][:2] == ["fold", "second"]
    assert {each["info"]["status"] for each in made} == {"FINISHED"}


def test_models_are_saved_logged_registered_and_loaded(server):
    job, log = run_script(server, """
        import mlflow, mlflow.sklearn, mlflow.xgboost, mlflow.pyfunc, numpy, pandas, xgboost
        from mlflow.models import infer_signature
        from sklearn.linear_model import LinearRegression
        rows = pandas.DataFrame(numpy.random.RandomState(0).rand(40, 2), columns=["a", "b"])
        labels = rows["a"] * 2 - rows["b"]
        linear = LinearRegression().fit(rows, labels)
        info = mlflow.sklearn.log_model(linear, "linear", signature=infer_signature(rows, linear.predict(rows)),
                                        input_example=rows.head(2), registered_model_name="subset-linear")
        assert info.registered_model_version == "1" and info.model_uri.endswith("/linear")
        same = mlflow.pyfunc.load_model("models:/subset-linear/1")
        assert (same.predict(rows[["b", "a"]]) == linear.predict(rows)).all()  # columns by their names
        assert same.input_example.equals(rows.head(2)) and same.metadata.signature == info.signature
        try: same.predict(rows[["a"]])
        except mlflow.MlflowException as error: assert "'b'" in str(error)
        else: raise AssertionError
        assert mlflow.sklearn.load_model(info.model_uri).coef_.tolist() == linear.coef_.tolist()

        booster = xgboost.train({"max_depth": 2}, xgboost.DMatrix(rows, labels), 3)
        mlflow.xgboost.save_model(booster, "saved")
        again = mlflow.xgboost.load_model("saved")
        assert (again.predict(xgboost.DMatrix(rows)) == booster.predict(xgboost.DMatrix(rows))).all()

        class Add(mlflow.pyfunc.PythonModel):
            def load_context(self, context): self.number = int(open(context.artifacts["number"]).read())
            def predict(self, context, model_input, params=None): return model_input["a"] + self.number
        open("number.txt", "w").write("7")
        added = mlflow.pyfunc.log_model(name="add", python_model=Add(), artifacts={"number": "number.txt"})
        assert (mlflow.pyfunc.load_model(added.model_uri).predict(rows) == rows["a"] + 7).all()
        version = mlflow.register_model(added.model_uri, "subset-add", tags={"k": "v"})
        assert (version.version, version.status, version.tags) == ("1", "READY", {"k": "v"})
        found = mlflow.MlflowClient().search_model_versions("name = 'subset-add'")
        assert [each.run_id for each in found] == [added.run_id]
        """)
    assert job["status"] == "Completed", log
    query = {"name": "subset-linear", "version": "1"}
    version = server.get(API + "model-versions/get", params=query).json()["model_version"]
    assert version["status"] == "READY" and version["run_id"] == job["name"]


def test_autolog_of_the_subset_logs_a_training(server):
    job, log = run_script(server, """
        import mlflow, numpy
        mlflow.autolog(exclude_flavors=["pytorch"])
        from sklearn.linear_model import LogisticRegression
        rows = numpy.random.RandomState(0).rand(40, 2)
        LogisticRegression(C=0.5).fit(rows, rows[:, 0] > 0.5)
        """)
    assert job["status"] == "Completed", log
    run = get_run(server, job["name"])
    assert run["params"]["C"] == "0.5" and "training_f1_score" in run["metrics"]
    files = server.get(API + "artifacts/list", params={"run_id": job["name"], "path": "model"}).json()["files"]
    assert "model/MLmodel" in [file["path"] for file in files]


@pytest.mark.parametrize("use, says", [
    ("import mlflow.langchain", "ModuleNotFoundError: mlflow.langchain is not in Lathe's subset"),
    ("import mlflow; mlflow.log_table", "AttributeError: mlflow.log_table is not in Lathe's subset"),
    ("import mlflow; mlflow.MlflowClient().create_webhook", "MlflowClient.create_webhook is not in Lathe's subset"),
])
def test_what_the_subset_lacks_is_named_plainly(server, use, says):
    job, log = run_script(server, use)
    assert job["status"] == "Failed" and says in log and "install mlflow" in log, log


STAND_IN = """
packages=$({python} -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
mkdir -p "$packages/mlflow"
echo 'standing = "in"' > "$packages/mlflow/__init__.py"
"""
VENV = "python -m venv --without-pip --system-site-packages env\n" + STAND_IN.format(python="env/bin/python")
CHECK = """
    import mlflow, importlib.util
    assert mlflow.standing == "in" and not hasattr(mlflow, "is_lathe")
    assert importlib.util.find_spec("mlflow").origin == mlflow.__file__
    import lathe; lathe.log_metric("both", 1)
    """


PUT = "mkdir -p $d/mlflow; echo 'standing = \"in\"' > $d/mlflow/__init__.py"


@pytest.mark.parametrize("before, python", [
    (VENV, "env/bin/python"),
    (VENV, "env/bin/python -E -c 'import mlflow; assert mlflow.standing' && env/bin/python"),
    (f"d=.; {PUT}", "python"),
    (f"d=lib; {PUT}; export PYTHONPATH=$PYTHONPATH:lib", "python"),
    (f"d=$(python -m site --user-site || true); {PUT}", "python"),
], ids=["venv", "isolated", "beside the script", "on PYTHONPATH", "user site"])  # fmt: skip
def test_an_mlflow_of_the_environment_wins(server, before, python):
    job, log = run_script(server, CHECK, before, python)
    assert job["status"] == "Completed", log
    assert own_metrics(server, job["name"]) == {"both": 1.0}


def test_an_mlflow_that_only_a_finder_of_the_environment_knows_wins_too(server):
    """As an editable installation does it: a .pth file that puts a finder on sys.meta_path."""
    before = VENV + """
mv "$packages/mlflow" elsewhere
cat > "$packages/editable_finder.py" <<'EOF'
import sys
from importlib.machinery import PathFinder
class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        return PathFinder.find_spec(name, [where]) if name == "mlflow" else None
EOF
mkdir place; mv elsewhere place/mlflow
echo "where = '$PWD/place'" >> "$packages/editable_finder.py"
echo "sys.meta_path.append(Finder)" >> "$packages/editable_finder.py"
echo "import editable_finder" > "$packages/editable.pth"
"""
    job, log = run_script(server, CHECK, before, "env/bin/python")
    assert job["status"] == "Completed", log


def test_the_environment_s_sitecustomize_still_runs(server):
    before = """
mkdir own
echo 'import builtins; builtins.customized = __file__' > own/sitecustomize.py
export PYTHONPATH=$PYTHONPATH:$PWD/own
"""
    job, log = run_script(server, """
        import sitecustomize, mlflow
        assert customized == sitecustomize.__file__ and customized.endswith("/own/sitecustomize.py") and mlflow.is_lathe
        """, before)
    assert job["status"] == "Completed", log


def test_the_subset_can_be_turned_off(server):
    script = """
        import importlib.util
        assert importlib.util.find_spec("mlflow") is None
        try: import mlflow
        except ModuleNotFoundError as error: assert str(error) == "No module named 'mlflow'"
        else: raise AssertionError
        import lathe; lathe.log_metric("still", 1)
        """
    job, log = run_script(server, script, environment_variables={"LATHE_MLFLOW": "off"})
    assert job["status"] == "Completed", log
    assert own_metrics(server, job["name"]) == {"still": 1.0}
