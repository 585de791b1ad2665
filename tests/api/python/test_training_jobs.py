"""Jobs that log by themselves: child runs under a job's token, torch from training to endpoint, tables of runs."""

import json
import pathlib

import numpy
import pytest
import requests
from python_jobs import API, artifact, children, get_run, run_outside, run_script

EXAMPLES = pathlib.Path(__file__).resolve().parents[3] / "examples"
ENDPOINTS = "/api/v1/online-endpoints"


def test_a_search_in_a_job_makes_child_runs_with_the_job_s_token(server):
    job, log = run_script(server, """
        import lathe, numpy
        lathe.autolog(max_tuning_runs=2)
        from sklearn.linear_model import Ridge
        from sklearn.model_selection import GridSearchCV
        rows = numpy.random.RandomState(0).rand(40, 2)
        GridSearchCV(Ridge(), {"alpha": [0.1, 1.0, 10.0]}, cv=2).fit(rows, rows[:, 0])
        with lathe.start_run(run_name="by hand", nested=True): lathe.log_metric("x", 1)
        """, experiment_name="grid")  # fmt: skip
    assert job["status"] == "Completed", log
    made = children(server, job["name"])
    assert len(made) == 3 and {each["info"]["status"] for each in made} == {"FINISHED"}
    assert {each["info"]["experiment_id"] for each in made} == {get_run(server, job["name"])["info"]["experiment_id"]}
    assert get_run(server, job["name"])["tags"]["estimator_name"] == "GridSearchCV"


def test_the_machine_is_sampled_where_the_job_asks_for_it(server):
    job, log = run_script(server, """
        import lathe, os, threading
        from lathe.client import Client
        lathe.log_metric("start", 1)
        client = Client(os.environ["MLFLOW_TRACKING_URI"], os.environ["MLFLOW_TRACKING_TOKEN"])
        def names():
            run = client.get("runs/get", {"run_id": os.environ["MLFLOW_RUN_ID"]})["run"]
            return {each["key"] for each in run["data"].get("metrics", ())}
        for _ in range(600):
            if "system/cpu_utilization_percentage" in names(): break
            threading.Event().wait(0.05)
        """, environment_variables={"MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING": "true",
                                    "MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL": "0.1"})  # fmt: skip
    assert job["status"] == "Completed", log
    metrics = get_run(server, job["name"])["metrics"]
    assert 0 <= metrics["system/cpu_utilization_percentage"] <= 100
    assert 0 < metrics["system/system_memory_usage_percentage"] < 100
    assert metrics["system/system_memory_usage_megabytes"] > 10
    assert {"system/disk_usage_percentage", "system/disk_usage_megabytes", "system/disk_available_megabytes",
            "system/network_receive_megabytes", "system/network_transmit_megabytes"} <= set(metrics)  # fmt: skip


def test_search_runs_is_a_table(server, tmp_path):
    out = run_outside(server, """
import lathe
for depth in (1, 2, 3):
    with lathe.start_run("table", f"depth {depth}"):
        lathe.log_param("depth", depth)
        if depth > 1: lathe.log_metric("score", depth / 10)
        assert len(lathe.search_runs(f"params.depth = '{depth}'")) == 1  # what was logged just now is found
table = lathe.search_runs(order_by=["metrics.score DESC"], experiment_names=["table", "no such one"])
print(list(table["params.depth"]), table["metrics.score"].dtype, table["metrics.score"].isna().tolist())
assert str(table["start_time"].dtype) == "datetime64[ns, UTC]" and (table["end_time"] >= table["start_time"]).all()
print(table["tags.mlflow.runName"].tolist(), table.status.unique().tolist())
rows = lathe.search_runs("metrics.score > 0.25", experiment_names=["table"], output_format="list")
print([(row["params.depth"], row["metrics.score"]) for row in rows])
print(*(len(lathe.search_runs(experiment_names=[name], max_results=2)) for name in ("table", "none")))
print(len(lathe.search_runs("params.depth = '1'", search_all_experiments=True)))
""", tmp_path)
    assert out.splitlines() == ["['3', '2', '1'] float64 [False, False, True]",
                                "['depth 3', 'depth 2', 'depth 1'] ['FINISHED']", "[('3', 0.3)]", "2 0", "1"]  # fmt: skip


def test_search_runs_finds_more_than_one_page(server, tmp_path):
    experiment = server.post(API + "experiments/create", json={"name": "pages"}).json()["experiment_id"]
    for _ in range(1003):
        server.post(API + "runs/create", json={"experiment_id": experiment, "start_time": 1}).raise_for_status()
    count = "len(set(lathe.search_runs(experiment_names=['pages'])['run_id']))"
    out = run_outside(server, f"import lathe; print({count})", tmp_path)
    assert out == "1003\n"


def test_a_torch_model_predicts_through_its_endpoint_as_it_did_in_its_job(server):
    pytest.importorskip("torch")
    script = (EXAMPLES / "torch-job" / "src" / "train.py").read_text()
    job, log = run_script(server, script, experiment_name="torch")
    assert job["status"] == "Completed", log
    found = get_run(server, job["name"])
    assert found["params"]["optimizer_name"] == "Adam" and found["metrics"]["loss"] < 0.2
    wanted = json.loads(artifact(server, job["name"], "heldback.json"))
    rows, predictions = numpy.array(wanted["rows"], "float32"), numpy.array(wanted["predictions"])

    server.post(ENDPOINTS, json={"name": "waves", "auth_mode": "key"}).raise_for_status()
    document = {"name": "blue", "endpoint_name": "waves", "model": "azureml:waves:1", "instance_count": 1}
    made = server.post(f"{ENDPOINTS}/waves/deployments?all_traffic=true", json=document)
    assert made.status_code == 201 and made.json()["provisioning_state"] == "Succeeded", made.text
    assert made.json()["format"] == "onnx"
    endpoint = server.get(f"{ENDPOINTS}/waves").json()
    key = server.get(f"{ENDPOINTS}/waves/credentials").json()["primaryKey"]
    for count in (1, 3, len(rows)):
        answer = requests.post(endpoint["invocations_uri"], json={"inputs": rows[:count].tolist()}, timeout=30,
                               headers={"Authorization": f"Bearer {key}"})  # fmt: skip
        assert answer.status_code == 200, answer.text
        assert numpy.abs(numpy.array(answer.json()["predictions"]) - predictions[:count]).max() <= 1e-5


def test_a_torch_model_comes_back_as_a_module_and_as_a_function(server):
    pytest.importorskip("torch")
    job, log = run_script(server, """
        import mlflow, mlflow.pytorch, mlflow.pyfunc, torch, numpy, pandas
        class Doubled(torch.nn.Module):
            def __init__(self): super().__init__(); self.inner = torch.nn.Linear(2, 1)
            def forward(self, rows): return 2 * self.inner(rows)
        model, rows = Doubled(), torch.rand(4, 2)
        info = mlflow.pytorch.log_model(model, "net", input_example=rows.numpy())
        assert {"pytorch", "onnx", "python_function"} == set(info.flavors)
        wanted = model(rows).detach()
        assert torch.equal(mlflow.pytorch.load_model(info.model_uri)(rows), wanted)
        function = mlflow.pyfunc.load_model(info.model_uri)
        assert numpy.array_equal(function.predict(rows.numpy()), wanted.numpy())
        assert numpy.array_equal(function.predict(pandas.DataFrame(rows.numpy())).to_numpy(), wanted.numpy())
        plain = mlflow.pytorch.log_model(model, "plain")
        assert set(plain.flavors) == {"pytorch", "python_function"}
        """)
    assert job["status"] == "Completed", log
