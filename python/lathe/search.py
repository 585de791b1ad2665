"""Runs as a table: MLflow's search, page after page, and its columns."""

import datetime
import importlib.util
import os

from lathe import session
from lathe.client import Refused

_PAGE = 1000


def search_runs(filter_string="", order_by=None, max_results=100_000, *, experiment_names=None, experiment_ids=None,
                search_all_experiments=False, run_view_type="ACTIVE_ONLY", output_format=None):
    """See `lathe.search_runs`."""
    if output_format not in (None, "pandas", "list"):
        raise ValueError(f"output_format is 'pandas' or 'list', not {output_format!r}")
    session.flush_all()
    client = session.client()
    ids = experiments(client, experiment_names, experiment_ids, search_all_experiments)
    runs = list(find_runs(client, ids, filter_string, order_by, max_results, run_view_type))
    if output_format == "pandas" or (output_format is None and importlib.util.find_spec("pandas")):
        return frame(runs)
    return [_row(run) for run in runs]


def find_runs(client, experiment_ids, filter_string="", order_by=None, max_results=100_000,
              run_view_type="ACTIVE_ONLY"):
    """The runs as runs/search answers them, at most `max_results`."""
    token = None
    while experiment_ids and max_results > 0:
        request = {"experiment_ids": list(experiment_ids), "filter": filter_string or "",
                   "order_by": list(order_by or ()), "max_results": min(max_results, _PAGE),
                   "run_view_type": run_view_type}
        if token:
            request["page_token"] = token
        answer = client.post("runs/search", request)
        found = answer.get("runs", [])
        yield from found
        max_results -= len(found)
        token = answer.get("next_page_token")
        if not token:
            return


def allexperiments(client):
    token = ""
    while token is not None:
        answer = client.get("experiments/search", {"max_results": _PAGE, "page_token": token})
        yield from answer.get("experiments", [])
        token = answer.get("next_page_token") or None


def experiments(client, names, ids, everything):
    """The ids of the experiments that a search is about; the active run's where nothing is said."""
    if names and ids:
        raise ValueError("give experiment_names or experiment_ids, not both")
    if everything:
        return [experiment["experiment_id"] for experiment in allexperiments(client)]
    if ids is not None:
        return [str(each) for each in ids]
    if names is None:
        run = session.active()
        if run is not None:
            return [run.info()["info"]["experiment_id"]]
        return [os.environ.get("MLFLOW_EXPERIMENT_ID", "0")]
    found = []
    for name in names:
        try:
            answer = client.get("experiments/get-by-name", {"experiment_name": name})
            found.append(answer["experiment"]["experiment_id"])
        except Refused as error:
            if error.status != 404:
                raise
    return found


def _row(run):
    info, data = run["info"], run.get("data", {})
    row = {key: info.get(key) for key in ("run_id", "experiment_id", "status", "artifact_uri")}
    row.update({key: _time(info.get(key)) for key in ("start_time", "end_time")})
    for kind in ("metrics", "params", "tags"):
        for entry in data.get(kind, ()):
            value = entry.get("value", "")
            row[f"{kind}.{entry['key']}"] = float(value) if kind == "metrics" else value
    return row


def _time(milliseconds):
    if not milliseconds:
        return None
    return datetime.datetime.fromtimestamp(int(milliseconds) / 1000, datetime.timezone.utc)


def frame(runs):
    """Runs as runs/search answers them, as a DataFrame."""
    import pandas

    rows = [_row(run) for run in runs]
    first = ["run_id", "experiment_id", "status", "artifact_uri", "start_time", "end_time"]
    columns = dict.fromkeys(first)
    for kind in ("metrics.", "params.", "tags."):
        columns.update(dict.fromkeys(key for row in rows for key in row if key.startswith(kind)))
    table = {}
    for column in columns:
        values = [row.get(column) for row in rows]
        if column in ("start_time", "end_time"):
            table[column] = pandas.to_datetime(pandas.Series(values, dtype="object"), utc=True)
        elif column.startswith("metrics."):
            table[column] = pandas.Series(values, dtype="float64")
        else:
            table[column] = pandas.Series(values, dtype="object")
    return pandas.DataFrame(table)
