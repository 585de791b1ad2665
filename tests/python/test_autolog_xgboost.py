"""autolog() and XGBoost: every round's metrics, the best round, the importances, the model."""

import json

import pytest

DATA = """
import numpy, xgboost
rows = numpy.random.RandomState(0).rand(80, 3)
labels = (rows[:, 0] + rows[:, 1] > 1).astype(int)
"""


def test_train_logs_parameters_and_every_metric_of_every_round(script, recorder):
    process = script.run("lathe.autolog()\n" + DATA + """
train, test = xgboost.DMatrix(rows[:60], labels[:60]), xgboost.DMatrix(rows[60:], labels[60:])
told = {}
booster = xgboost.train({"max_depth": 2, "objective": "binary:logistic", "eval_metric": ["logloss", "error"]}, train, 6,
                        evals=[(train, "train"), (test, "test")], evals_result=told, verbose_eval=False)
lathe.log_dict({"told": told, "importance": booster.get_score(importance_type="weight")}, "expected.json")
""")
    assert process.err == ""
    run, wanted = recorder.of("job-1"), json.loads(recorder.file("expected.json"))
    points = {(key, step): value for key, value, step in run["metrics"]}
    assert points == {(f"{data}-{name}", step): pytest.approx(value, abs=1e-12)
                      for data, metrics in wanted["told"].items() for name, values in metrics.items()
                      for step, value in enumerate(values)}  # fmt: skip
    assert run["params"]["max_depth"] == "2" and run["params"]["num_boost_round"] == "6"
    assert run["params"]["eval_metric"] == "['logloss', 'error']" and "evals" not in run["params"]
    assert json.loads(recorder.file("feature_importance_weight.json")) == wanted["importance"]
    assert "xgboost.core.Booster" in recorder.file("/model/MLmodel").decode()


def test_stopping_early_logs_the_best_round_again_after_the_last(script, recorder):
    script.run("lathe.autolog(log_models=False)\n" + DATA + """
train, test = xgboost.DMatrix(rows[:60], labels[:60]), xgboost.DMatrix(rows[60:], 1 - labels[60:])
told = {}
booster = xgboost.train({"objective": "binary:logistic"}, train, 50, evals=[(test, "test")], evals_result=told,
                        early_stopping_rounds=3, verbose_eval=False)
lathe.log_dict({"best": booster.best_iteration, "told": told["test"]["logloss"]}, "expected.json")
""")
    wanted = json.loads(recorder.file("expected.json"))
    found = [(key, value, step) for key, value, step in recorder.metrics() if not key.startswith("test-")]
    rounds = len(wanted["told"])
    assert found == [("stopped_iteration", rounds - 1.0, 0), ("best_iteration", float(wanted["best"]), 0)]
    points = {step: value for key, value, step in recorder.metrics() if key == "test-logloss"}
    assert points[rounds] == pytest.approx(wanted["told"][wanted["best"]]) and len(points) == rounds + 1


def test_a_wrapper_s_fit_logs_its_rounds_and_itself_once(script, recorder):
    process = script.run("lathe.autolog(registered_model_name='trees')\n" + DATA + """
model = xgboost.XGBClassifier(n_estimators=4, max_depth=2).fit(rows, labels, eval_set=[(rows, labels)], verbose=False)
""")
    assert process.err == "" and process.out == "Registered model 'trees' version 1\n"
    run = recorder.of("job-1")
    assert [(key, step) for key, _, step in run["metrics"]] == [("validation_0-logloss", step) for step in range(4)]
    assert run["tags"]["estimator_class"] == "xgboost.sklearn.XGBClassifier"
    assert run["params"]["max_depth"] == "2" and run["params"]["num_boost_round"] == "4"
    assert "xgboost.sklearn.XGBClassifier" in recorder.file("/model/MLmodel").decode()
    assert len([name for name in recorder.artifacts if name.endswith("MLmodel")]) == 1


def test_a_search_over_a_wrapper_does_not_log_its_inner_rounds(script, recorder):
    script.run("lathe.autolog(log_models=False, max_tuning_runs=0)\n" + DATA + """
from sklearn.model_selection import GridSearchCV
GridSearchCV(xgboost.XGBClassifier(n_estimators=2), {"max_depth": [1, 2]}, cv=2).fit(rows, labels)
""")
    run = recorder.of("job-1")
    assert run["tags"]["estimator_name"] == "GridSearchCV" and "num_boost_round" not in run["params"]
    assert recorder.made() == []


def test_names_of_metrics_with_an_at_sign_are_written_as_mlflow_does(script, recorder):
    script.run("lathe.autolog(log_models=False)\n" + DATA + """
data = xgboost.DMatrix(rows, labels); data.set_group([40, 40])
settings = {"objective": "rank:pairwise", "eval_metric": "ndcg@2"}
xgboost.train(settings, data, 1, evals=[(data, "train")], verbose_eval=False)
""")
    assert [key for key, _, _ in recorder.metrics()] == ["train-ndcg_at_2"]


def test_the_caller_s_callbacks_are_left_as_they_are(script, recorder):
    script.run("lathe.autolog(log_models=False)\n" + DATA + """
class Mine(xgboost.callback.TrainingCallback):
    rounds = 0
    def after_iteration(self, model, epoch, evals_log): self.rounds += 1; return False
mine = [Mine()]
data = xgboost.DMatrix(rows, labels)
xgboost.train({}, data, 3, evals=[(data, "train")], callbacks=mine, verbose_eval=False)
assert len(mine) == 1 and mine[0].rounds == 3
before = xgboost.train
lathe.autolog(disable=True)
assert xgboost.train is not before and xgboost.train.__module__ == "xgboost.training"
""")
    assert len(recorder.metrics()) == 3
