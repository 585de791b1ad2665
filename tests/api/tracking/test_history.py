"""The points of metrics: page by page, of several runs, at some of their steps, and as series for charts."""

import base64

import pytest

from mlflow_rest import INVALID, UNKNOWN


def log(rest, run_id, points, key="m"):
    """`points`: (value, timestamp, step)."""
    for first in range(0, len(points), 1000):
        rest.post("runs/log-batch", {"run_id": run_id, "metrics": [
            {"key": key, "value": value, "timestamp": timestamp, "step": step}
            for value, timestamp, step in points[first:first + 1000]]})  # fmt: skip


def history(rest, run_id, **query):
    return rest.get("metrics/get-history", run_id=run_id, metric_key="m", **query)


def test_without_a_limit_all_points_come_at_once(rest):
    run_id = rest.run()
    log(rest, run_id, [(i / 8, 1000 + i, i) for i in range(30_000)])
    answer = history(rest, run_id)
    assert "next_page_token" not in answer
    assert [(p["value"], p["timestamp"], p["step"]) for p in answer["metrics"]] == [
        (i / 8, 1000 + i, i) for i in range(30_000)]  # fmt: skip


def test_pages_follow_each_other_also_by_a_token_that_only_counts(rest):
    run_id = rest.run()
    log(rest, run_id, [(float(i), 5, i) for i in range(10)])
    first = history(rest, run_id, max_results=4)
    assert [p["step"] for p in first["metrics"]] == [0, 1, 2, 3]
    second = history(rest, run_id, max_results=4, page_token=first["next_page_token"])
    assert [p["step"] for p in second["metrics"]] == [4, 5, 6, 7]
    last = history(rest, run_id, max_results=4, page_token=second["next_page_token"])
    assert [p["step"] for p in last["metrics"]] == [8, 9] and "next_page_token" not in last
    counted = base64.b64encode(b'{"offset": 7}').decode()
    assert [p["step"] for p in history(rest, run_id, page_token=counted)["metrics"]] == [7, 8, 9]


@pytest.mark.parametrize("token", [b'{"offset":9223372036854775807}', b'{"offset":9223372036854775807,"after":[1,2,3]}',
                                   b'{"offset":1,"after":[]}', b'{"offset":1,"after":{}}', b'{"offset":1,"after":[1,2,{}]}',
                                   b'{"offset":1,"after":["x",2,3]}', b'{"after":[1,2,3]}'])
def test_a_token_that_makes_no_sense_is_refused(rest, token):
    run_id = rest.run()
    rest.metric(run_id, "m", 1)
    history(rest, run_id, page_token=base64.b64encode(token).decode(), code=INVALID)


def test_bulk_gives_several_runs_by_id_up_to_the_limit(rest):
    one, two = sorted([rest.run(), rest.run()])
    log(rest, one, [(1.0, 30, 1), (2.0, 20, 2)])
    log(rest, two, [(3.0, 10, 3), ("NaN", 11, 4)])
    answer = rest.get("metrics/get-history-bulk", run_id=[two, one, "unknown"], metric_key="m")
    assert answer == {"metrics": [
        {"key": "m", "value": 2.0, "timestamp": 20, "step": 2, "run_id": one},
        {"key": "m", "value": 1.0, "timestamp": 30, "step": 1, "run_id": one},
        {"key": "m", "value": 3.0, "timestamp": 10, "step": 3, "run_id": two},
        {"key": "m", "value": "NaN", "timestamp": 11, "step": 4, "run_id": two}]}  # fmt: skip
    few = rest.get("metrics/get-history-bulk", run_id=[two, one], metric_key="m", max_results=3)["metrics"]
    assert [(p["run_id"], p["step"]) for p in few] == [(one, 2), (one, 1), (two, 3)]
    assert rest.get("metrics/get-history-bulk", run_id=one, metric_key="other") == {"metrics": []}


def test_bulk_says_what_is_missing(rest):
    bulk = "metrics/get-history-bulk"
    assert rest.get(bulk, metric_key="m", code=INVALID) == "GetMetricHistoryBulk request must specify at least one run_id."
    assert rest.get(bulk, run_id="a", code=INVALID) == "GetMetricHistoryBulk request must specify a metric_key."
    assert (rest.get(bulk, run_id=[f"r{i}" for i in range(101)], metric_key="m", code=INVALID) ==
            "GetMetricHistoryBulk request cannot specify more than 100 run_ids. Received 101 run_ids.")  # fmt: skip


def interval(rest, runs, **query):
    return rest.get("metrics/get-history-bulk-interval", run_ids=runs, metric_key="m", **query).get("metrics", [])


def test_interval_spreads_steps_over_all_runs_and_keeps_each_runs_ends(rest):
    one, two = rest.run(), rest.run()
    log(rest, one, [(float(i), i, i) for i in range(100)])
    log(rest, two, [(-1.0, 1, 33), (-2.0, 2, 207)])
    found = interval(rest, [one, two], max_results=10)
    assert [p["step"] for p in found if p["run_id"] == one] == [0, 10, 20, 30, 33, 40, 50, 60, 70, 80, 90, 99]
    assert [p["step"] for p in found if p["run_id"] == two] == [33, 207]
    assert set(found[0]) == {"key", "value", "timestamp", "step", "run_id"}
    assert [p["step"] for p in interval(rest, [one], start_step=40, end_step=44, max_results=2)] == [40, 42, 44]
    assert [p["step"] for p in interval(rest, [one])] == list(range(100))
    assert interval(rest, [one], start_step=500, end_step=600) == []
    assert interval(rest, ["unknown"]) == []


def test_interval_orders_points_of_one_step_by_time_and_value(rest):
    run_id = rest.run()
    log(rest, run_id, [(3.0, 20, 7), (2.0, 10, 7), (1.0, 10, 7), (0.0, 30, 6)])
    assert [p["value"] for p in interval(rest, run_id)] == [0.0, 1.0, 2.0, 3.0]


@pytest.mark.parametrize(("query", "message"), [
    ({"start_step": 1}, "If either start step or end step are specified, both must be specified."),
    ({"end_step": 1}, "If either start step or end step are specified, both must be specified."),
    ({"start_step": 5, "end_step": 1}, "end_step must be greater than start_step. Found start_step=5 and end_step=1."),
    ({"max_results": 0}, "max_results must be between 1 and 2500."),
    ({"max_results": 2501}, "max_results must be between 1 and 2500."),
])  # fmt: skip
def test_interval_refuses_what_mlflow_refuses(rest, query, message):
    path = "metrics/get-history-bulk-interval"
    assert rest.get(path, run_ids="a", metric_key="m", code=INVALID, **query) == message


def test_interval_needs_runs_and_a_key(rest):
    path = "metrics/get-history-bulk-interval"
    assert "Missing value for required parameter 'run_ids'" in rest.get(path, metric_key="m", code=INVALID)
    assert "Missing value for required parameter 'metric_key'" in rest.get(path, run_ids="a", code=INVALID)
    assert (rest.get(path, run_ids=[f"r{i}" for i in range(101)], metric_key="m", code=INVALID) ==
            "GetMetricHistoryBulkInterval request must specify at most 100 run_ids. Received 101 run_ids.")  # fmt: skip


def series(server, run_id, **query):
    return server.get(f"/api/v1/runs/{run_id}/series", params=query)


def test_series_of_several_metrics_and_runs(server, rest):
    one, two = rest.run(), rest.run()
    log(rest, one, [(1.0, 30, 1), ("NaN", 20, 2), (3.0, 10, 3)])
    log(rest, one, [(5.0, 1, 1)], key="other")
    log(rest, two, [(9.0, 1, 1)])
    answer = series(server, one, run=two, key=["m", "other"]).json()["series"]
    assert [(s["run_id"], s["key"], s["total"]) for s in answer] == [(one, "m", 3), (one, "other", 1), (two, "m", 1)]
    assert (answer[0]["steps"], answer[0]["timestamps"]) == ([1, 2, 3], [30, 20, 10])
    assert answer[0]["values"] == [1.0, None, 3.0]
    by_time = series(server, one, key="m", by="time", **{"from": 10, "to": 20}).json()["series"][0]
    assert (by_time["timestamps"], by_time["values"]) == ([10, 20], [3.0, None])


def test_a_long_series_becomes_few_points_and_keeps_its_peaks(server, rest):
    run_id = rest.run()
    log(rest, run_id, [(100.0 if i == 12_345 else i % 10, i, i) for i in range(20_000)])
    found = series(server, run_id, key="m", points=100).json()["series"][0]
    assert found["total"] == 20_000
    assert 50 <= len(found["steps"]) <= 100
    assert (found["steps"][0], found["steps"][-1]) == (0, 19_999)
    assert found["values"][found["steps"].index(12_345)] == 100.0


@pytest.mark.parametrize("query", [
    {}, {"key": "m", "points": 5}, {"key": "m", "points": 10_001}, {"key": "m", "points": "many"}, {"key": "m", "by": "mood"},
    {"key": "m", "from": "1.5"}, {"key": [f"m{i}" for i in range(101)]}, {"key": "m", "points": -1},
])  # fmt: skip
def test_a_series_is_refused_with_the_reason(server, rest, query):
    answer = series(server, rest.run(), **query)
    assert answer.status_code == 400 and answer.json()["detail"]


def test_a_series_of_an_unknown_run_is_not_found(server, rest):
    assert series(server, "0" * 32, key="m").status_code == 404
    rest.get("metrics/get-history", run_id="0" * 32, metric_key="m", code=UNKNOWN)


def test_a_run_that_is_named_twice_is_given_once(server, rest):
    run = rest.run()
    rest.metric(run, "twice", 1.0, step=3)
    answer = server.get("/ajax-api/2.0/mlflow/metrics/get-history-bulk-interval",
                        params=[("run_ids", run), ("run_ids", run), ("metric_key", "twice")])  # fmt: skip
    assert [point["run_id"] for point in answer.json()["metrics"]] == [run]
