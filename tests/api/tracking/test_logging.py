"""What runs log: points, parameters and tags, their limits and their rules."""

import math

import pytest

from mlflow_rest import INVALID, UNKNOWN


def history(rest, run_id, key, **query):
    return rest.get("metrics/get-history", run_id=run_id, metric_key=key, **query)


def test_a_point_is_kept_with_its_time_and_step(rest):
    run_id = rest.run()
    rest.metric(run_id, "loss", 0.5, timestamp=1700000000123, step=7)
    points = [{"key": "loss", "value": 0.5, "timestamp": 1700000000123, "step": 7}]
    assert history(rest, run_id, "loss") == {"metrics": points}
    assert rest.get("runs/get", run_id=run_id)["run"]["data"]["metrics"] == points


def test_whole_numbers_may_be_texts_as_protobuf_writes_them(rest):
    run_id = rest.run()
    rest.metric(run_id, "loss", 1, timestamp="1700000000123", step="-3")
    point = history(rest, run_id, "loss")["metrics"][0]
    assert (point["timestamp"], point["step"]) == (1700000000123, -3)


def test_an_identical_point_is_dropped_silently(rest):
    run_id = rest.run()
    for _ in range(3):
        rest.metric(run_id, "loss", 0.5, 10, 1)
    rest.metric(run_id, "loss", 0.6, 10, 1)
    assert [point["value"] for point in history(rest, run_id, "loss")["metrics"]] == [0.5, 0.6]


def test_nan_and_infinities_are_kept(rest):
    run_id = rest.run()
    for key, value in (("nan", "NaN"), ("inf", "Infinity"), ("minus", "-Infinity")):
        rest.metric(run_id, key, value)
    metrics = rest.run_data(run_id)[0]
    assert math.isnan(float(metrics["nan"]))
    assert metrics["inf"] == 1.7976931348623157e308
    assert metrics["minus"] == -1.7976931348623157e308


def test_history_comes_in_pages(rest):
    run_id = rest.run()
    points = [{"key": "m", "value": i, "timestamp": i, "step": i} for i in range(1000)]
    rest.post("runs/log-batch", {"run_id": run_id, "metrics": points})
    seen, token = [], ""
    while True:
        page = history(rest, run_id, "m", max_results=300, page_token=token)
        seen += [point["value"] for point in page["metrics"]]
        token = page.get("next_page_token", "")
        if not token:
            break
    assert seen == list(range(1000))
    assert history(rest, run_id, "unknown") == {}
    history(rest, run_id, "m", page_token="nonsense", code=INVALID)


def test_a_parameter_does_not_change(rest):
    run_id = rest.run()
    body = {"run_id": run_id, "key": "depth", "value": "3"}
    rest.post("runs/log-parameter", body)
    rest.post("runs/log-parameter", body)
    message = rest.post("runs/log-parameter", {**body, "value": "5"}, code=INVALID)
    assert message.startswith("Changing param values is not allowed. Param with key='depth' was already logged with "
                              f"value='3' for run ID='{run_id}'.")
    batch = {"run_id": run_id, "params": [{"key": "a", "value": "1"}, {"key": "a", "value": "1"}]}
    assert rest.post("runs/log-batch", batch, code=INVALID).startswith("Duplicate parameter keys have been submitted")


def test_tags_are_set_changed_and_removed(rest):
    run_id = rest.run()
    for value in ("1", "2"):
        rest.post("runs/set-tag", {"run_id": run_id, "key": "t", "value": value})
    assert rest.run_data(run_id)[2]["t"] == "2"
    rest.post("runs/delete-tag", {"run_id": run_id, "key": "t"})
    again = rest.post("runs/delete-tag", {"run_id": run_id, "key": "t"}, code=UNKNOWN)
    assert again == f"No tag with name: t in run with id {run_id}"


def test_a_batch_is_all_or_nothing(rest):
    run_id = rest.run()
    rest.post("runs/log-parameter", {"run_id": run_id, "key": "p", "value": "1"})
    batch = {"run_id": run_id, "metrics": [{"key": "m", "value": 1, "timestamp": 1}],
             "params": [{"key": "p", "value": "2"}],
             "tags": [{"key": "t", "value": "v"}]}  # fmt: skip
    rest.post("runs/log-batch", batch, code=INVALID)
    metrics, params, tags = rest.run_data(run_id)
    assert (metrics, params, "t" in tags) == ({}, {"p": "1"}, False)
    rest.post("runs/log-batch", {**batch, "params": []})
    assert rest.run_data(run_id)[0] == {"m": 1}


@pytest.mark.parametrize("metrics, params, tags, refused", [
    (1000, 0, 0, None), (1001, 0, 0, "at most 1000 metrics. Got 1001 metrics"), (0, 100, 100, None),
    (0, 101, 0, "at most 100 params. Got 101 params"), (0, 0, 101, "at most 100 tags. Got 101 tags"),
    (900, 100, 1, "at most 1000 metrics, params, and tags. Got 1001"),
])  # fmt: skip
def test_a_batch_has_limits(rest, metrics, params, tags, refused):
    body = {"run_id": rest.run(),
            "metrics": [{"key": f"m{i}", "value": i, "timestamp": 1} for i in range(metrics)],
            "params": [{"key": f"p{i}", "value": "x"} for i in range(params)],
            "tags": [{"key": f"t{i}", "value": "x"} for i in range(tags)]}  # fmt: skip
    message = rest.post("runs/log-batch", body, code=INVALID if refused else None)
    assert not refused or refused in message


def test_keys_have_a_limit(rest):
    run_id = rest.run()
    rest.metric(run_id, "k" * 250, 1)
    assert "'Metric name' exceeds the maximum length of 250 characters" in rest.metric(run_id, "k" * 251, 1, code=INVALID)
    rest.post("runs/log-parameter", {"run_id": run_id, "key": "k" * 251, "value": "x"}, code=INVALID)
    rest.post("runs/set-tag", {"run_id": run_id, "key": "k" * 251, "value": "x"}, code=INVALID)


@pytest.mark.parametrize("key", [
    "..", ".", "../../etc", "/abs", "a//b", "a/../b", "a\\b", "a*b", "a\nb", "a\x00b", "<script>",
])  # fmt: skip
def test_keys_that_are_other_paths_are_refused(rest, key):
    run_id = rest.run()
    rest.metric(run_id, key, 1, code=INVALID)
    rest.post("runs/log-parameter", {"run_id": run_id, "key": key, "value": "x"}, code=INVALID)
    rest.post("runs/set-tag", {"run_id": run_id, "key": key, "value": "x"}, code=INVALID)


@pytest.mark.parametrize("key", ["a", "train/loss", "val loss", "a.b-c_d", "gpu:0", "größe"])
def test_keys_that_people_use_are_taken(rest, key):
    run_id = rest.run()
    rest.metric(run_id, key, 1)
    assert rest.run_data(run_id)[0] == {key: 1}


def test_long_values_are_cut_as_mlflow_cuts_them(rest):
    run_id = rest.run()
    rest.post("runs/log-parameter", {"run_id": run_id, "key": "p", "value": "x" * 6001})
    rest.post("runs/set-tag", {"run_id": run_id, "key": "t", "value": "ä" * 8001})
    _, params, tags = rest.run_data(run_id)
    assert len(params["p"]) == 6000
    assert len(tags["t"]) == 8000


def test_negative_times_are_refused(rest):
    assert "nonnegative" in rest.metric(rest.run(), "m", 1, timestamp=-1, code=INVALID)


def test_a_body_that_is_too_large_is_refused(server, rest):
    for size, status in ((2_000_000, 400), (9_000_000, 413)):
        body = {"run_id": rest.run(), "tags": [{"key": "t", "value": "x" * size}]}
        answer = server.post("/api/2.0/mlflow/runs/log-batch", json=body)
        assert (answer.status_code, "error_code" in answer.json()) == (status, True)


def test_the_latest_point_is_the_greatest_by_step_time_and_value(rest):
    run_id = rest.run()
    rest.metric(run_id, "m", 1, timestamp=100, step=5)
    rest.metric(run_id, "m", 2, timestamp=200, step=4)
    assert rest.run_data(run_id)[0] == {"m": 1}
    rest.metric(run_id, "m", 3, timestamp=100, step=5)
    assert rest.run_data(run_id)[0] == {"m": 3}


def test_a_logged_model_before_version_three_is_noted(rest):
    run_id = rest.run()
    model = '{"artifact_path": "model", "flavors": {}, "utc_time_created": "x", "run_id": "r"}'
    rest.post("runs/log-model", {"run_id": run_id, "model_json": model})
    rest.post("runs/log-model", {"run_id": run_id, "model_json": model})
    assert rest.run_data(run_id)[2]["mlflow.log-model.history"].count("artifact_path") == 2
    rest.post("runs/log-model", {"run_id": run_id, "model_json": "{"}, code=INVALID)
    assert "mandatory fields" in rest.post("runs/log-model", {"run_id": run_id, "model_json": "{}"}, code=INVALID)
