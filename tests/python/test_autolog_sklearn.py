"""autolog() and scikit-learn: MLflow's names, the scores of the training data, searches, and never in the way."""

import json

import pytest

DATA = """
import json, numpy
from sklearn.linear_model import LogisticRegression, LinearRegression
rows = numpy.random.RandomState(0).rand(80, 3)
labels = (rows[:, 0] + rows[:, 1] > 1).astype(int)
def expect(**values): lathe.log_dict(values, "expected.json")
"""


def expected(recorder):
    return json.loads(recorder.file("/expected.json"))


def last_metrics(recorder, run_id="job-1"):
    return {key: value for key, value, _ in recorder.of(run_id)["metrics"]}


def test_a_classifier_logs_parameters_scores_tags_and_its_model(script, recorder):
    process = script.run("lathe.autolog(log_input_examples=True)\n" + DATA + """
from sklearn import metrics
model = LogisticRegression(C=0.5).fit(rows, labels)
got, chances = model.predict(rows), model.predict_proba(rows)
expect(training_precision_score=metrics.precision_score(labels, got, average="weighted"),
       training_recall_score=metrics.recall_score(labels, got, average="weighted"),
       training_f1_score=metrics.f1_score(labels, got, average="weighted"),
       training_accuracy_score=float((got == labels).mean()), training_score=float((got == labels).mean()),
       training_log_loss=metrics.log_loss(labels, chances),
       training_roc_auc=metrics.roc_auc_score(labels, chances[:, 1]))
""")
    assert process.err == ""
    run = recorder.of("job-1")
    assert last_metrics(recorder) == pytest.approx(expected(recorder))
    assert run["params"]["C"] == "0.5" and run["params"]["penalty"] == "l2" and run["params"]["class_weight"] == "None"
    assert run["tags"] == {"estimator_name": "LogisticRegression",
                           "estimator_class": "sklearn.linear_model._logistic.LogisticRegression"}  # fmt: skip
    mlmodel = recorder.file("/model/MLmodel").decode()
    assert "loader_module: \"mlflow.sklearn\"" in mlmodel
    assert r'\"tensor-spec\": {\"dtype\": \"float64\", \"shape\": [-1, 3]}' in mlmodel
    assert len(json.loads(recorder.file("/model/input_example.json"))) == 5
    assert b"LogisticRegression(C=0.5)" in recorder.file("estimator.html")


def test_a_regressor_logs_its_errors_with_the_weights_of_the_rows(script, recorder):
    script.run("import lathe\nlathe.autolog(log_models=False)\n" + DATA + """
weights = numpy.linspace(1, 2, 80)
model = LinearRegression().fit(rows, rows[:, 0] ** 2, sample_weight=weights)
off = model.predict(rows) - rows[:, 0] ** 2
squared = float(numpy.average(off ** 2, weights=weights))
mean = numpy.average(rows[:, 0] ** 2, weights=weights)
r2 = 1 - squared / numpy.average((rows[:, 0] ** 2 - mean) ** 2, weights=weights)
expect(training_mean_squared_error=squared, training_root_mean_squared_error=squared ** 0.5,
       training_mean_absolute_error=float(numpy.average(abs(off), weights=weights)),
       training_r2_score=r2, training_score=r2)
""")
    assert last_metrics(recorder) == pytest.approx(expected(recorder))
    assert not any("MLmodel" in name for name in recorder.artifacts)


def test_a_search_logs_its_best_candidates_as_child_runs_and_nothing_of_its_inner_fits(script, recorder):
    process = script.run("lathe.autolog(max_tuning_runs=2)\n" + DATA + """
from sklearn.model_selection import GridSearchCV
search = GridSearchCV(LogisticRegression(), {"C": [0.01, 0.1, 1.0]}, cv=3).fit(rows, labels)
scores = search.cv_results_["mean_test_score"]
best = sorted(zip(search.cv_results_["rank_test_score"], range(3)))[:2]
expect(best_C=str(search.best_params_["C"]), score=search.best_score_,
       children=[[str([0.01, 0.1, 1.0][i]), scores[i]] for _, i in best])
""")
    assert process.err == ""
    wanted = expected(recorder)
    run = recorder.of("job-1")
    assert run["tags"]["estimator_name"] == "GridSearchCV"
    assert run["params"]["best_C"] == wanted["best_C"] and "C" not in run["params"]
    assert last_metrics(recorder)["best_cv_score"] == pytest.approx(wanted["score"])
    assert [key for key, _, _ in run["metrics"]].count("training_score") == 1
    children = [recorder.of(name) for name in ("made-here", "made-here-2")]
    assert [child["params"]["C"] for child in children] == [params for params, _ in wanted["children"]]
    assert [dict((k, v) for k, v, _ in child["metrics"])["mean_test_score"] for child in children] == pytest.approx(
        [score for _, score in wanted["children"]])
    assert all({"key": "mlflow.parentRunId", "value": "job-1"} in made["tags"] for made in recorder.made())
    assert len(recorder.made()) == 2 and set(recorder.ended().values()) == {"FINISHED"}
    assert recorder.file("cv_results.csv").decode().count("\n") == 4
    assert recorder.file("/best_estimator/MLmodel") and recorder.file("/model/MLmodel")


def test_a_pipeline_is_one_training_with_the_parameters_of_its_parts(script, recorder):
    script.run("lathe.autolog(log_models=False)\n" + DATA + """
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
make_pipeline(StandardScaler(), LinearRegression()).fit(rows, labels)
""")
    run = recorder.of("job-1")
    assert run["tags"]["estimator_name"] == "Pipeline"
    assert run["params"]["linearregression__fit_intercept"] == "True"
    assert [key for key, _, _ in run["metrics"]].count("training_score") == 1


def test_it_works_on_what_was_imported_before_and_disable_puts_everything_back(script, recorder):
    script.run(DATA + """
import sys
before = LogisticRegression.fit
lathe.autolog(log_models=False)
assert LogisticRegression.fit is not before
LogisticRegression().fit(rows, labels)
lathe.autolog(disable=True)
assert LogisticRegression.fit is before
import sklearn.tree, sklearn.base
assert "__init_subclass__" not in vars(sklearn.base.BaseEstimator)
count = lathe.active_run().flush() and LogisticRegression(C=9).fit(rows, labels)
assert not any(type(finder).__module__.startswith("lathe") for finder in sys.meta_path)
""")
    assert recorder.of("job-1")["params"]["C"] == "1.0"
    assert [key for key, _, _ in recorder.metrics()].count("training_score") == 1


def test_a_second_training_leaves_the_first_one_s_parameters_and_says_how_to_part_them(script, recorder):
    process = script.run("lathe.autolog(log_models=False)\n" + DATA + """
for C in (1.0, 2.0): LogisticRegression(C=C).fit(rows, labels)
with lathe.start_run(nested=True): LogisticRegression(C=3.0).fit(rows, labels)
""")
    assert recorder.of("job-1")["params"]["C"] == "1.0"
    assert recorder.of("made-here")["params"]["C"] == "3.0"
    assert process.err.count("\n") == 1 and "nested=True" in process.err


def test_an_error_of_the_training_itself_passes_through_and_ours_never_show(script, recorder):
    process = script.run("lathe.autolog()\n" + DATA + """
class Odd(LogisticRegression):
    def predict(self, rows): raise RuntimeError("no predictions today")
try: LogisticRegression().fit(rows, labels[:-1])
except ValueError as error: assert "inconsistent" in str(error), error
else: raise AssertionError
for _ in range(2): assert Odd().fit(rows, labels).coef_.shape == (1, 3)
""")
    said = process.err.splitlines()
    assert "lathe: autolog of sklearn: predict failed: RuntimeError: no predictions today" in said
    assert len(said) == len(set(said)) and "Traceback" not in process.err
    assert "training_log_loss" not in last_metrics(recorder)


def test_a_server_that_refuses_does_not_end_the_training(script, recorder):
    recorder.refuse = lambda path, body: "the run is over" if path == "runs/log-batch" else None
    process = script.run("lathe.autolog()\n" + DATA + """
assert LogisticRegression().fit(rows, labels).coef_.shape == (1, 3)
""")
    assert "the run is over" in process.err


def test_without_a_run_one_is_made_for_each_training(script, recorder):
    del script.environment["MLFLOW_RUN_ID"]
    script.run("lathe.autolog(log_models=False)\n" + DATA + """
LogisticRegression(C=1.0).fit(rows, labels)
LogisticRegression(C=2.0).fit(rows, labels)
assert lathe.active_run() is None
""")
    assert [recorder.of(name)["params"]["C"] for name in ("made-here", "made-here-2")] == ["1.0", "2.0"]
    assert recorder.ended() == {"made-here": "FINISHED", "made-here-2": "FINISHED"}
    assert recorder.made()[0]["tags"] == [{"key": "mlflow.autologging", "value": "sklearn"}]


def test_an_option_that_does_not_exist_is_refused(script):
    script.run("""
try: lathe.autolog(log_modles=False)
except TypeError as error: assert "log_modles" in str(error)
else: raise AssertionError
""")
