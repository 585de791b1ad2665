"""Searches, single runs, histories and charts: how long an answer takes until its last byte."""

import json
import time

from table import line, timed


def search(target, what, times, experiment, **body):
    asked = {"experiment_ids": [experiment], **body}
    found = timed(target, f"search: {what}", times, lambda: target.ask("POST", "/api/2.0/mlflow/runs/search", asked))
    return len(json.loads(found).get("runs", []))


def page_through(target, experiment):
    began, spent, count, pages, token = time.perf_counter(), target.cpu_seconds(), 0, 0, ""
    while True:
        body = {"experiment_ids": [experiment], "max_results": 1000} | ({"page_token": token} if token else {})
        answer = target.ask("POST", "/api/2.0/mlflow/runs/search", body)
        count += answer.count(b'"run_name"')
        pages += 1
        end = answer[-400:].split(b'"next_page_token"')  # not parsed: that would be Python's time
        token = json.loads(b'{"t"' + end[1]).get("t") if len(end) == 2 else ""
        if not token:
            break
    took = time.perf_counter() - began
    cpu = "" if spent is None else f", {target.cpu_seconds() - spent:.2f} s of the server's CPU"
    line("search: all runs, 1000 a page", f"{took:.2f} s", f"{count:,} runs, {pages:,} pages{cpu}")


def runs(target, experiment, times, all_pages=True):
    body = {"experiment_ids": [experiment], "max_results": 1}
    some = json.loads(target.ask("POST", "/api/2.0/mlflow/runs/search", body))["runs"][0]["info"]["run_id"]
    timed(target, "runs/get", times, lambda: target.get("runs/get", run_id=some))
    search(target, "newest 100", times, experiment, max_results=100)
    search(target, "best by a metric", times, experiment, max_results=1, order_by=["metrics.m3 DESC"])
    search(target, "best 100 by a metric", times, experiment, max_results=100, order_by=["metrics.m3 DESC"])
    search(target, "100 by a metric and a parameter", times, experiment, max_results=100,
           filter="metrics.m1 > 0.9 AND params.p2 = '7'")  # fmt: skip
    search(target, "the same, ordered by a metric", times, experiment, max_results=100, order_by=["metrics.m3 ASC"],
           filter="metrics.m1 > 0.9 AND params.p2 = '7'")  # fmt: skip
    search(target, "100 by a tag and a name", times, experiment, max_results=100,
           filter="tags.t1 = '3' AND attributes.run_name LIKE 'run-1%'")  # fmt: skip
    search(target, "100 ordered by a parameter", times, experiment, max_results=100, order_by=["params.p1 ASC"])
    search(target, "nothing found", times, experiment, max_results=100, filter="params.p2 = 'none'")
    if all_pages:
        page_through(target, experiment)


def history(target, run_id, points, times):
    def whole():
        token = ""
        while True:
            query = {"run_id": run_id, "metric_key": "h0", "max_results": 25_000 if target.store is None else points}
            answer = target.get("metrics/get-history", **query, **({"page_token": token} if token else {}))
            end = answer[-400:].split(b'"next_page_token"')
            token = json.loads(b'{"t"' + end[1]).get("t") if len(end) == 2 else ""
            if not token:
                return

    timed(target, f"get-history of {points:,} points", times, whole)
    interval = {"run_ids": run_id, "metric_key": "h0", "max_results": 320}
    timed(target, "get-history-bulk-interval, 320 steps of these", times,
          lambda: target.get("metrics/get-history-bulk-interval", **interval))  # fmt: skip


def series(target, run_id, what, times):
    """Lathe's own route."""
    timed(target, f"series of 1000 points, {what}", times,
          lambda: target.ask("GET", f"/api/v1/runs/{run_id}/series?key=h0&points=1000"))  # fmt: skip
