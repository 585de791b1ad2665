"""scikit-learn's estimators in the native form: an endpoint answers what the estimator itself does."""

import functools
import json
import pathlib
import sys
import warnings

import numpy
import pandas
import pytest
import requests
from endpoint_helpers import ENDPOINTS, deploy, make_endpoint, primary_key, register
from python_jobs import run_script
from sklearn import datasets, ensemble, linear_model, tree
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.feature_selection import SelectKBest
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import (FunctionTransformer, MaxAbsScaler, MinMaxScaler, Normalizer, OneHotEncoder,
                                   RobustScaler, StandardScaler)  # fmt: skip
from sklearn.svm import LinearSVC, LinearSVR
from threadpoolctl import threadpool_limits

sys.path.append(str(pathlib.Path(__file__).resolve().parents[3] / "python"))

from lathe.models import native, sklearn_native  # noqa: E402

THREE = datasets.load_wine(return_X_y=True)  # 178 rows of 13 features, 3 classes
TWO = datasets.load_breast_cancer(return_X_y=True)
NUMBER = datasets.load_diabetes(return_X_y=True)
NAMED = (THREE[0], numpy.array(["barbera", "grignolino", "barolo"])[THREE[1]])
TRUTH = (TWO[0], TWO[1] == 1)
REAL = (TWO[0], TWO[1] + 1.0)
GAPS = (numpy.where(numpy.random.default_rng(3).random(THREE[0].shape) < 0.1, numpy.nan, THREE[0]), THREE[1])
MIXED = (numpy.column_stack([THREE[0], THREE[1] % 2, numpy.round(THREE[0][:, 0])]), THREE[1])

many = functools.partial(linear_model.LogisticRegression, max_iter=5000)
mixed = ColumnTransformer([("scaled", StandardScaler(), [0, 3, 5]), ("kept", "passthrough", [1]),
                           ("dropped", "drop", [2]), ("kinds", OneHotEncoder(handle_unknown="ignore"), [13, 14])],
                          remainder=MinMaxScaler())  # fmt: skip

ESTIMATORS = {
    "tree": (tree.DecisionTreeClassifier(random_state=0), THREE),
    "tree-regressor": (tree.DecisionTreeRegressor(max_depth=6, random_state=0), NUMBER),
    "forest": (ensemble.RandomForestClassifier(50, random_state=0), NAMED),
    "forest-of-truths": (ensemble.RandomForestClassifier(10, random_state=0), TRUTH),
    "forest-of-reals": (ensemble.ExtraTreesClassifier(10, random_state=0), REAL),
    "forest-regressor": (ensemble.RandomForestRegressor(30, random_state=0), NUMBER),
    "boosted": (ensemble.GradientBoostingClassifier(n_estimators=20, random_state=0), THREE),
    "boosted-two": (ensemble.GradientBoostingClassifier(n_estimators=20, random_state=0), TWO),
    "boosted-exponential": (ensemble.GradientBoostingClassifier(loss="exponential", n_estimators=20), TWO),
    "boosted-regressor": (ensemble.GradientBoostingRegressor(n_estimators=20, init="zero"), NUMBER),
    "hist": (ensemble.HistGradientBoostingClassifier(max_iter=15), GAPS),
    "hist-two": (ensemble.HistGradientBoostingClassifier(max_iter=15), TWO),
    "hist-poisson": (ensemble.HistGradientBoostingRegressor(loss="poisson", max_iter=15), NUMBER),
    "logistic": (make_pipeline(StandardScaler(), many()), NAMED),
    "logistic-one-by-one": (make_pipeline(RobustScaler(), many(multi_class="ovr")), THREE),
    "logistic-two": (make_pipeline(MinMaxScaler(clip=True), many()), TWO),
    "logistic-two-softmax": (make_pipeline(MaxAbsScaler(), many(multi_class="multinomial")), TWO),
    "logistic-liblinear": (make_pipeline(StandardScaler(), many(solver="liblinear")), THREE),
    "sgd": (make_pipeline(StandardScaler(), linear_model.SGDClassifier(loss="log_loss", random_state=0)), THREE),
    "sgd-hinge": (make_pipeline(StandardScaler(), linear_model.SGDClassifier(random_state=0)), TWO),
    "svc": (make_pipeline(StandardScaler(), LinearSVC(dual=False)), THREE),
    "ridge-classifier": (linear_model.RidgeClassifier(), TWO),
    "discriminant": (LinearDiscriminantAnalysis(), THREE),
    "linear": (linear_model.LinearRegression(), NUMBER),
    "linear-several": (linear_model.LinearRegression(), (NUMBER[0], numpy.column_stack([NUMBER[1], NUMBER[1] ** 2]))),
    "lasso": (linear_model.LassoCV(), NUMBER),
    "svr": (make_pipeline(StandardScaler(), LinearSVR(random_state=0, max_iter=10000)), NUMBER),
    "poisson": (linear_model.PoissonRegressor(max_iter=500), NUMBER),
    "network": (make_pipeline(StandardScaler(), MLPClassifier((8, 6), max_iter=300, random_state=0)), THREE),
    "network-two": (make_pipeline(StandardScaler(), MLPClassifier((8,), activation="tanh", max_iter=200)), TWO),
    "network-regressor": (make_pipeline(StandardScaler(), MLPRegressor((8,), "logistic", max_iter=200)), NUMBER),
    "clusters": (make_pipeline(StandardScaler(), KMeans(4, n_init=3, random_state=0)), THREE),
    "components": (make_pipeline(StandardScaler(), PCA(4, whiten=True), many()), THREE),
    "components-alone": (PCA(3), THREE),
    "decomposed": (make_pipeline(Normalizer(), TruncatedSVD(4, random_state=0), many()), THREE),
    "selected": (make_pipeline(SelectKBest(k=5), StandardScaler(), many()), THREE),
    "filled": (make_pipeline(SimpleImputer(strategy="median"), StandardScaler(), many()), GAPS),
    "columns": (make_pipeline(mixed, many()), MIXED),
    "union": (make_pipeline(FeatureUnion([("a", PCA(2)), ("b", StandardScaler())]), many()), THREE),
    "searched": (GridSearchCV(tree.DecisionTreeClassifier(random_state=0), {"max_depth": [2, 4]}), THREE),
}


def rows_for(data):
    """The rows that it was trained on, and others between and around them."""
    rng = numpy.random.default_rng(11)
    mean, spread = numpy.nanmean(data, axis=0), numpy.nanstd(data, axis=0)
    rows = numpy.vstack([data[:150], rng.normal(mean, 2 * spread, size=(150, data.shape[1]))])
    if data.shape[1] == MIXED[0].shape[1]:
        rows[:, 13:] = numpy.round(rows[:, 13:])
    return rows


@pytest.fixture(scope="module")
def endpoint(server):
    made = make_endpoint(server, "sklearn")
    return made, {"Authorization": f"Bearer {primary_key(server, 'sklearn')}"}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_an_endpoint_answers_as_the_estimator_does(server, endpoint, tmp_path, name):
    estimator, (data, labels) = ESTIMATORS[name]
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore")  # of those that did not converge
        estimator.fit(data, labels)
    native.write(tmp_path / native.FILE, sklearn_native.convert(estimator, data[:5]))
    made = deploy(server, "sklearn", name, register(server, name, tmp_path / native.FILE))
    assert made["provisioning_state"] == "Succeeded", made
    assert made["format"] == "native"

    rows = rows_for(data)
    body = {"inputs": [{"name": "x", "shape": list(rows.shape), "datatype": "FP64",
                        "data": [[None if value != value else value for value in row] for row in rows.tolist()]}]}
    answer = requests.post(endpoint[0]["scoring_uri"], json=body, timeout=60,
                           headers={**endpoint[1], "azureml-model-deployment": name})  # fmt: skip
    assert answer.status_code == 200, answer.text
    outputs = answer.json()["outputs"]
    assert outputs
    for output in outputs:
        expected = numpy.asarray(getattr(estimator, output["name"])(rows))
        got = numpy.array(output["data"]).reshape(output["shape"])
        assert got.shape == expected.shape
        if expected.dtype.kind == "f":
            assert (numpy.abs(got - expected) <= 1e-5 * numpy.maximum(1, numpy.abs(expected))).all(), output["name"]
        else:
            assert (got == expected).all(), output["name"]
    if hasattr(estimator, "predict_proba"):
        assert [output["name"] for output in outputs] == ["predict", "predict_proba"]
    server.delete(f"{ENDPOINTS}/sklearn/deployments/{name}").raise_for_status()


@pytest.mark.parametrize(("estimator", "why"), [
    (KNeighborsClassifier().fit(*THREE), "KNeighborsClassifier"),
    (make_pipeline(FunctionTransformer(numpy.log1p), many()).fit(*THREE), "FunctionTransformer"),
    (tree.DecisionTreeRegressor().fit(THREE[0], THREE[0][:, :2]), "several outputs"),
    (make_pipeline(OneHotEncoder(), many()).fit([["a"], ["b"]], [0, 1]), "texts"),
])  # fmt: skip
def test_what_has_no_native_form_says_so(estimator, why):
    with pytest.raises(native.NotNative, match=why):
        sklearn_native.convert(estimator)


def test_missing_values_and_unknown_categories_are_refused_as_the_estimator_refuses_them(server, endpoint, tmp_path):
    model = make_pipeline(OneHotEncoder(), many()).fit([[1], [2], [3], [3]], [0, 1, 1, 0])
    native.write(tmp_path / native.FILE, sklearn_native.convert(model))
    deploy(server, "sklearn", "strict", register(server, "strict", tmp_path / native.FILE))
    headers = {**endpoint[1], "azureml-model-deployment": "strict"}
    ask = functools.partial(requests.post, endpoint[0]["invocations_uri"], headers=headers, timeout=30)
    assert ask(json={"instances": [[3]]}).status_code == 200
    unknown = ask(json={"instances": [[4]]})
    assert unknown.status_code == 400 and "category" in unknown.text
    assert "missing" in ask(json={"instances": [[None]]}).text


def test_a_model_that_was_changed_by_hand_is_refused(server, endpoint, tmp_path):
    document = sklearn_native.convert(linear_model.LinearRegression().fit(*NUMBER))
    document["steps"][-1]["bias"][0] += 1
    native.write(tmp_path / native.FILE, document)
    made = deploy(server, "sklearn", "changed", register(server, "changed", tmp_path / native.FILE))
    assert made["provisioning_state"] == "Failed"
    assert "answers otherwise" in json.dumps(made)


def test_a_logged_pipeline_is_served_with_its_labels_and_columns(server):
    job, log = run_script(server, """
        import lathe, numpy, pandas
        from sklearn.datasets import load_iris
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
        data = load_iris(as_frame=True)
        model = make_pipeline(StandardScaler(), LogisticRegression()).fit(data.data, data.target_names[data.target])
        lathe.log_model(model, "model", registered_model_name="flowers", input_example=data.data.head(3))
        """)
    assert job["status"] == "Completed", log
    made = make_endpoint(server, "flowers")
    assert deploy(server, "flowers", "blue", "azureml:flowers:1", "?all_traffic=true")["format"] == "native"
    frame = datasets.load_iris(as_frame=True).data.iloc[[0, 60, 120]]
    table = json.loads(frame[frame.columns[::-1]].to_json(orient="split"))  # columns go by their names
    answer = requests.post(made["invocations_uri"], json={"dataframe_split": table}, timeout=30,
                           headers={"Authorization": f"Bearer {primary_key(server, 'flowers')}"})  # fmt: skip
    assert answer.json() == {"predictions": ["setosa", "versicolor", "virginica"]}


def test_a_table_s_columns_go_with_the_model(tmp_path):
    frame = pandas.DataFrame({"age": [1.0, 2.0, 3.0], "height": [2.0, 1.0, 0.0]})
    document = sklearn_native.convert(linear_model.LinearRegression().fit(frame, [1, 2, 3]))
    assert document["columns"] == ["age", "height"]
