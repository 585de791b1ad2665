"""Predictions of XGBoost models are the library's own, by every protocol."""

import json

import numpy
import pytest
import xgboost

from data_plane import deployment, endpoint


def as_json(rows):
    """NaN, which JSON lacks, as null."""
    return [[None if numpy.isnan(value) else float(value) for value in row] for row in rows]


def expected_of(booster, rows):
    return booster.predict(xgboost.DMatrix(rows, feature_names=booster.feature_names))


OBJECTIVES = [("binary:logistic", 0), ("binary:logitraw", 0), ("reg:squarederror", 0), ("reg:logistic", 0),
              ("multi:softprob", 3), ("multi:softmax", 3), ("count:poisson", 0), ("reg:gamma", 0),
              ("binary:hinge", 0)]  # fmt: skip


@pytest.mark.parametrize("suffix", ["json", "ubj", "model"])
@pytest.mark.parametrize("objective,classes", OBJECTIVES)
def test_predictions_equal_the_librarys_own(plane, make_booster, rows, objective, classes, suffix):
    booster = make_booster(objective, classes=classes)
    path = plane.models / f"model.{suffix}"
    booster.save_model(path)
    states = plane.desire(endpoint("e", [deployment("blue", path)]))
    assert states["e.blue"]["state"] == "ready", states

    got = plane.infer("e", {"input": ("FP32", [50, 8], as_json(rows))})
    assert got.status_code == 200, got.text
    output = got.json()["outputs"][0]
    assert (output["name"], output["datatype"]) == ("predict", "FP32")
    expected = expected_of(booster, rows)
    assert output["shape"] == list(expected.shape)
    numpy.testing.assert_allclose(numpy.reshape(output["data"], expected.shape), expected, rtol=1e-6, atol=1e-6)

    one = plane.infer("e", {"input": ("FP32", [1, 8], as_json(rows[:1])[0])}).json()["outputs"][0]
    numpy.testing.assert_allclose(numpy.ravel(one["data"]), numpy.ravel(expected[:1]), rtol=1e-6, atol=1e-6)
    none = plane.infer("e", {"input": ("FP32", [0, 8], [])}).json()["outputs"][0]
    assert none["shape"][0] == 0 and none["data"] == []


@pytest.mark.parametrize("settings", [
    {"booster": "gblinear"}, {"booster": "dart", "rate_drop": 0.2}, {"num_parallel_tree": 3}, {"base_score": 0.2},
    {"max_depth": 10}])  # fmt: skip
def test_other_boosters_and_settings(plane, make_booster, rows, settings):
    booster = make_booster("binary:logistic", **settings)
    path = plane.models / "model.ubj"
    booster.save_model(path)
    plane.desire(endpoint("e", [deployment("blue", path)]))
    got = plane.infer("e", {"input": ("FP32", [50, 8], as_json(rows))})
    assert got.status_code == 200, got.text
    numpy.testing.assert_allclose(got.json()["outputs"][0]["data"], expected_of(booster, rows), rtol=1e-6, atol=1e-6)


def test_batches_of_many_rows_and_other_number_types(plane, make_booster):
    booster = make_booster("multi:softprob", classes=3)
    path = plane.models / "model.json"
    booster.save_model(path)
    plane.desire(endpoint("e", [deployment("blue", path)]))
    many = numpy.random.default_rng(5).integers(-3, 4, size=(3000, 8))
    expected = expected_of(booster, many.astype(numpy.float32))
    for kind in ("INT64", "INT8", "FP64"):
        got = plane.infer("e", {"anything": (kind, [3000, 8], many.tolist())})
        assert got.status_code == 200, got.text
        numpy.testing.assert_allclose(numpy.reshape(got.json()["outputs"][0]["data"], (3000, 3)), expected, atol=1e-6)


def test_mlflow_and_azure_bodies(plane, make_booster, rows):
    names = [f"f{i}" for i in range(7)] + ["last one"]
    booster = make_booster("binary:logistic", names=names)
    path = plane.models / "model.ubj"
    booster.save_model(path)
    plane.desire(endpoint("e", [deployment("blue", path)]))
    expected = expected_of(booster, rows)
    table = as_json(rows)
    records = [dict(zip(names, row)) for row in table]
    shuffled = list(reversed(names))
    bodies = [
        {"dataframe_split": {"columns": names, "data": table}},
        {"dataframe_split": {"columns": shuffled, "index": list(range(50)), "data": [row[::-1] for row in table]}},
        {"dataframe_records": records},
        {"dataframe_records": [{**record, "extra": 1} for record in records]},
        {"inputs": table},
        {"instances": table},
        {"instances": records},
        {"inputs": {name: [row[i] for row in table] for i, name in enumerate(names)}},
        {"inputs": {"input": table}, "params": {"ignored": 1}},
    ]
    for body in bodies:
        for path in ("/invocations", "/endpoints/e/invocations"):
            got = plane.post(path, json=body)
            assert got.status_code == 200, (body.keys(), got.text)
            numpy.testing.assert_allclose(got.json()["predictions"], expected, atol=1e-6)
        assert got.headers["azureml-model-deployment"] == "blue"

    cells = [["" if value is None else repr(value) for value in row] for row in table]
    csv = "\n".join(",".join(line) for line in [[f'"{name}"' for name in shuffled]] + [row[::-1] for row in cells])
    for text in (csv, csv + "\n", csv.replace("\n", "\r\n")):
        got = plane.post("/invocations", data=text, headers={"Content-Type": "text/csv; charset=utf-8"})
        assert got.status_code == 200, got.text
        numpy.testing.assert_allclose(got.json()["predictions"], expected, atol=1e-6)

    for body in ({"input_data": {"columns": names, "index": [0], "data": table}}, {"input_data": table},
                 {"data": table}, {"input_data": {"columns": list(range(8)), "data": table}}):  # fmt: skip
        got = plane.post("/endpoints/e/score", json=body)
        assert got.status_code == 200, got.text
        numpy.testing.assert_allclose(got.json(), expected, atol=1e-6)


def test_a_missing_column_is_named(plane, make_booster, rows):
    names = [f"f{i}" for i in range(8)]
    path = plane.models / "model.ubj"
    make_booster("binary:logistic").save_model(path)
    plane.desire(endpoint("e", [deployment("blue", path, feature_names=names)]))
    got = plane.post("/invocations", json={"dataframe_split": {"columns": names[:7], "data": as_json(rows[:, :7])}})
    assert got.status_code == 400
    assert 'column "f7" is missing' in got.json()["error"]


def test_binary_tensors(plane, make_booster, rows):
    booster = make_booster("binary:logistic")
    path = plane.models / "model.ubj"
    booster.save_model(path)
    plane.desire(endpoint("e", [deployment("blue", path)]))
    head = json.dumps({"id": "é", "inputs": [{"name": "input", "datatype": "FP32", "shape": [50, 8],
                                              "parameters": {"binary_data_size": rows.nbytes}}],
                       "outputs": [{"name": "predict", "parameters": {"binary_data": True}}]}).encode()  # fmt: skip
    got = plane.post("/v2/models/e/infer", data=head + rows.tobytes(),
                     headers={"Inference-Header-Content-Length": str(len(head))})  # fmt: skip
    assert got.status_code == 200, got.text
    size = int(got.headers["Inference-Header-Content-Length"])
    answer = json.loads(got.content[:size])
    assert answer["id"] == "é"
    assert answer["outputs"][0]["parameters"] == {"binary_data_size": 200}
    numpy.testing.assert_allclose(numpy.frombuffer(got.content[size:], "<f4"), expected_of(booster, rows), atol=1e-6)
