"""Jobs: how soon user code runs after the submission, how many jobs a second are accepted and run to their end, and how
long a list of jobs takes while ten times JOBS wait.

    /usr/bin/python3 bench/jobs.py [JOBS]

The latency is from just before the request to the first thing that the job's command does, and stands beside what it
costs to start the same command as a plain process. Times are milliseconds; the clients share the machine with the server.
"""

import json
import multiprocessing
import os
import pathlib
import statistics
import subprocess
import sys
import time

import requests

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests" / "api")]

from lathe_server import Server, wait_for  # noqa: E402

NOW = "echo $EPOCHREALTIME"
CLIENTS = 8


def quantiles(values):
    values = sorted(values)
    return {"p50": round(statistics.median(values), 2), "p99": round(values[int(len(values) * 0.99) - 1], 2)}


def ended(server, name):
    def look():
        job = server.get(f"/api/v1/jobs/{name}").json()
        return job if job["status"] in ("Completed", "Failed", "Canceled") else None

    return wait_for(look, 60, name)


def latency(server, jobs):
    """One after the other, on warm compute."""
    found = []
    for _ in range(jobs):
        begun = time.time()
        name = server.post("/api/v1/jobs", json={"command": NOW}).json()["name"]
        ended(server, name)
        found.append((float(server.get(f"/api/v1/jobs/{name}/log").text) - begun) * 1000)
    return found


def plain(jobs):
    found = []
    for _ in range(jobs):
        begun = time.time()
        done = subprocess.run(["/bin/bash", "-c", NOW], capture_output=True, text=True, check=True)
        found.append((float(done.stdout) - begun) * 1000)
    return found


def submit_many(url, token, jobs, compute):
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {token}"
    for _ in range(jobs):
        answer = session.post(f"{url}/api/v1/jobs", json={"command": "true", "compute": compute})
        assert answer.status_code == 201, answer.text


def accepted(server, jobs, compute):
    """Jobs a second that CLIENTS processes have accepted."""
    work = [multiprocessing.Process(target=submit_many, args=(server.url, server.token, jobs // CLIENTS, compute)) for _ in range(CLIENTS)]
    begun = time.monotonic()
    for process in work:
        process.start()
    for process in work:
        process.join()
    return (jobs // CLIENTS) * CLIENTS / (time.monotonic() - begun)


def cpu_s(server):
    """What the server has used of processors, in seconds."""
    fields = pathlib.Path(f"/proc/{server.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def all_done(server):
    time.sleep(0.1)  # the clients share the machine with what is measured
    return not any(server.get("/api/v1/jobs", params={"state": state, "limit": 1}).json()["value"] for state in ("Queued", "Preparing", "Running"))


def main():
    jobs = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    with Server() as server:
        latency(server, 5)
        with_lathe, bare = latency(server, jobs), plain(jobs)
        result = {"submit_to_user_code_ms": quantiles(with_lathe), "plain_process_ms": quantiles(bare)}
        result["over_plain_p50_ms"] = round(result["submit_to_user_code_ms"]["p50"] - result["plain_process_ms"]["p50"], 2)

        # Accepted while nothing of it can start: one node, which is taken.
        server.post("/api/v1/compute", json={"name": "busy", "type": "amlcompute", "size": "cpu-1", "max_instances": 1})
        holder = server.post("/api/v1/jobs", json={"command": "sleep 600", "compute": "busy"}).json()["name"]
        before = cpu_s(server)
        result["accepted_per_s"] = round(accepted(server, 10 * jobs, "busy"))
        result["server_cpu_ms_per_submission"] = round((cpu_s(server) - before) * 100 / jobs, 2)
        result["list_ms"] = quantiles([server.get("/api/v1/jobs").elapsed.total_seconds() * 1000 for _ in range(20)])

        # Run to their end on as many nodes as there are cores.
        server.patch("/api/v1/compute/busy", json={"max_instances": len(os.sched_getaffinity(0))})
        server.post(f"/api/v1/jobs/{holder}/cancel")
        before, begun = cpu_s(server), time.monotonic()
        wait_for(lambda: all_done(server), 600, "the end of the queued jobs")
        result["run_to_their_end_per_s"] = round(10 * jobs / (time.monotonic() - begun), 1)
        result["server_cpu_ms_per_run"] = round((cpu_s(server) - before) * 100 / jobs, 2)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
