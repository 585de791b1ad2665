#!/usr/bin/python3
"""Tracking: requests a second that log, and how long searches take in a store with many runs.

    bench/tracking.py [--bin build/release/bin] [--seconds 10] [--runs 100000]

Logging is measured with wrk (Debian package) over keep-alive connections; a request is answered when it is on disk.
The runs to search are put into the store directly; the searches go over HTTP.
"""

import argparse
import http.client
import json
import pathlib
import random
import re
import shutil
import signal
import sqlite3
import statistics
import subprocess
import tempfile
import time

SCRIPT = """
local thread_count = 0
function setup(thread) thread:set("id", thread_count); thread_count = thread_count + 1 end
local step = 0
local refused = 0
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer %(token)s"
function request()
  step = step + 1
  return wrk.format("POST", "/api/2.0/mlflow/runs/%(path)s", nil, string.format(%(body)s))
end
function response(status)
  if status ~= 200 and refused == 0 then refused = 1; print("status", status) end
end
"""
METRIC = """'{"run_id":"%(run)s","key":"loss%%d","value":%%f,"timestamp":%%d,"step":%%d}',
                       id, step / 7, 1700000000000 + step, step"""
BATCH = """'{"run_id":"%(run)s","metrics":[' .. batch() .. ']}'"""
POINTS = """
function batch()
  local points = {}
  for i = 1, 1000 do
    points[i] = string.format('{"key":"m%d_%d","value":%f,"timestamp":%d,"step":%d}',
                              id, i % 10, i / 7, 1700000000000 + step * 1000 + i, step * 100 + i)
  end
  return table.concat(points, ",")
end
"""


class Server:
    def __init__(self, lathe, folder):
        self.lathe, self.data = lathe, folder / "data"

    def start(self):
        command = [self.lathe, "serve", "--data", self.data, "--port", "0", "--infer-port", "0", "--grpc-port", "0"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.url = self.process.stdout.readline().split()[1]
        self.token = (self.data / "admin.token").read_text().strip()
        self.connection = http.client.HTTPConnection(self.url.split("//")[1])

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)
        subprocess.run([self.lathe, "stop", "--all", "--data", self.data], stderr=subprocess.DEVNULL, check=True)

    def post(self, path, body):
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        self.connection.request("POST", "/api/2.0/mlflow/" + path, json.dumps(body), headers)
        answer = self.connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise SystemExit(f"{path} answered {answer.status}: {content[:300]}")
        return json.loads(content)

    def cpu_seconds(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / 100


def log(server, folder, what, path, body, functions, connections, seconds, points):
    run = server.post("runs/create", {"experiment_id": "0", "start_time": 1})["run"]["info"]["run_id"]
    script = folder / "log.lua"
    script.write_text(SCRIPT % {"token": server.token, "path": path, "body": body % {"run": run}} + functions)
    before = server.cpu_seconds()
    command = ["wrk", "--latency", "-t", "1", "-c", str(connections), "-d", f"{seconds}s", "-s", script, server.url]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in out or "status" in out:
        raise SystemExit(out)
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1])
    latency = {name: value for name, value in re.findall(r"(50|99)%\s+(\S+)", out)}
    spent = (server.cpu_seconds() - before) / (rate * seconds) * 1e6
    print(f"{what}, {connections} connection{'s' * (connections > 1)}: {rate * points:,.0f}/s (p50 {latency['50']}, "
          f"p99 {latency['99']}, {spent / points:.1f} us of the server's CPU each)", flush=True)  # fmt: skip


def seed(store, runs):
    """Runs of experiment 0 with ten metrics, five parameters and three tags each."""
    db = sqlite3.connect(store)
    first = db.execute("SELECT COALESCE(MAX(number), 0) + 1 FROM run").fetchone()[0]
    metric = db.execute("SELECT COALESCE(MAX(id), 0) + 1 FROM metric").fetchone()[0]
    chance = random.Random(7)
    for number in range(first, first + runs):
        run_id = f"{number:032x}"
        db.execute("INSERT INTO run VALUES (?,?,0,?,'ann','FINISHED',?,?,'active',NULL,?,0,NULL,'ann')",
                   (number, run_id, f"run-{number}", 1700000000000 + number, 1700000000000 + number,
                    f"mlflow-artifacts:/0/{run_id}/artifacts"))  # fmt: skip
        for k in range(10):
            db.execute("INSERT INTO metric VALUES (?,?,0,?,100,1,?,0)", (metric, number, f"m{k}", chance.random()))
            metric += 1
        db.executemany("INSERT INTO run_param VALUES (?,?,?)",
                       [(number, f"p{k}", str(chance.randrange(100))) for k in range(5)])
        db.executemany("INSERT INTO run_tag VALUES (?,?,?)",
                       [(number, f"t{k}", str(chance.randrange(10))) for k in range(3)])
    db.commit()
    db.close()


def search(server, what, **body):
    times = []
    for _ in range(7):
        began = time.perf_counter()
        found = server.post("runs/search", {"experiment_ids": ["0"], **body})
        times.append((time.perf_counter() - began) * 1000)
    count = len(found.get("runs", []))
    print(f"search: {what}: {count} runs in {statistics.median(times):.1f} ms (worst {max(times):.1f} ms)", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", default=pathlib.Path(__file__).resolve().parents[1] / "build/release/bin",
                        type=pathlib.Path)
    parser.add_argument("--seconds", default=10, type=int)
    parser.add_argument("--runs", default=100_000, type=int)
    options = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="lathe-bench."))
    server = Server(options.bin / "lathe", folder)
    server.start()
    try:
        for connections in (1, 64):
            log(server, folder, "log-metric", "log-metric", METRIC, "", connections, options.seconds, 1)
        for connections in (1, 8):
            log(server, folder, "points by log-batch of 1000", "log-batch", BATCH, POINTS, connections,
                options.seconds, 1000)
        server.stop()
        seed(server.data / "lathe.db", options.runs)
        server.start()
        print(f"{options.runs:,} runs in one experiment:")
        search(server, "newest 100", max_results=100)
        search(server, "newest 1000", max_results=1000)
        search(server, "best by a metric", max_results=1, order_by=["metrics.m3 DESC"])
        search(server, "best 100 by a metric", max_results=100, order_by=["metrics.m3 DESC"])
        search(server, "metric and parameter filter, by a metric", max_results=100, order_by=["metrics.m3 ASC"],
               filter="metrics.m1 > 0.9 AND params.p2 = '7'")  # fmt: skip
        search(server, "a tag and a name", max_results=100, filter="tags.t1 = '3' AND run_name LIKE 'run-1%'")
        search(server, "nothing found", max_results=100, filter="params.p2 = 'none'")
    finally:
        server.stop()
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
