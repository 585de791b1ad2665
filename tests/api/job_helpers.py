"""What the tests of jobs share."""

import itertools
import json
import os

import pytest

from lathe_server import cmdline, wait_for

ENDED = ("Completed", "Failed", "Canceled")
_numbers = itertools.count(1)


def submit(server, command, expect=201, params=None, **document):
    """Submits a command job and answers it as the server shows it (or the refusal, when `expect` is another status)."""
    answer = server.post("/api/v1/jobs", json={"type": "command", "command": command, **document}, params=params)
    assert answer.status_code == expect, answer.text
    return answer.json()


def show(server, name):
    answer = server.get(f"/api/v1/jobs/{name}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def until(server, name, *statuses, limit_s=60):
    """Waits until the job has one of the statuses, and answers it."""

    def look():
        job = show(server, name)
        return job if job["status"] in statuses else None

    return wait_for(look, limit_s, f"{name} being {' or '.join(statuses)}")


def ended(server, name, limit_s=60):
    return until(server, name, *ENDED, limit_s=limit_s)


def run(server, command, **document):
    """Submits a job, waits for its end, and answers it with its log."""
    job = ended(server, submit(server, command, **document)["name"])
    return job, log_of(server, job["name"])


def log_of(server, name, offset=0):
    answer = server.get(f"/api/v1/jobs/{name}/log", params={"offset": offset})
    assert answer.status_code == 200, answer.text
    return answer.content.decode()


def until_log(server, name, text, limit_s=60):
    return wait_for(lambda: text in log_of(server, name), limit_s, f"{text!r} in the log of {name}")


def events_of(server, name, headers=None):
    """The job's events as they come: (event, id, data)."""
    with server.get(f"/api/v1/jobs/{name}/events", stream=True, headers=headers) as answer:
        assert answer.status_code == 200, answer.text
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        event = {}
        for line in answer.iter_lines(chunk_size=1, decode_unicode=True):
            if line and not line.startswith(":"):
                field, _, value = line.partition(": ")
                event[field] = value
            elif event:
                yield event["event"], event.get("id"), json.loads(event["data"])
                event = {}


def spread(kind=None, count=2, **fields):
    """What a job's document says to have several nodes."""
    out = {"resources": {"instance_count": count}}
    if kind:
        out["distribution"] = {"type": kind, **fields}
    return out


def log_of_rank(server, name, rank):
    answer = server.get(f"/api/v1/jobs/{name}/log", params={"rank": rank})
    assert answer.status_code == 200, answer.text
    return answer.text


def losses(server, name):
    """What the run logged as `loss`, step by step."""
    answer = server.get("/api/2.0/mlflow/metrics/get-history", params={"run_id": name, "metric_key": "loss"})
    return [point["value"] for point in sorted(answer.json()["metrics"], key=lambda point: point["step"])]


def cluster(server, **document):
    """Makes a training cluster and answers its name."""
    document = {"name": f"cluster-{next(_numbers)}", "type": "amlcompute", "size": "cpu-1", **document}
    answer = server.post("/api/v1/compute", json=document)
    assert answer.status_code in (200, 201), answer.text
    return document["name"]


def limited(server, what):
    """Skips where this machine cannot limit it."""
    if f"no {what}" in server.log_tail(1000) or f"and {what} limits (" in server.log_tail(1000):
        pytest.skip(f"{what} cannot be limited here")


def shims(server, job):
    """The pids of a job's shims, by their command lines."""
    folder = f"/{job}/attempt-"
    lines = {int(pid): cmdline(pid) for pid in filter(str.isdigit, os.listdir("/proc"))}
    return [pid for pid, line in lines.items() if "lathe-shim" in line and folder in line]
