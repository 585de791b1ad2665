"""Requests that log, from wrk over keep-alive connections: one is answered when it is on disk."""

import re
import subprocess

from table import line

SCRIPT = """
local count = 0
function setup(thread) thread:set("id", count); count = count + 1 end
local step = 0
local refused = 0
wrk.headers["Content-Type"] = "application/json"
%(token)s
function request()
  step = step + 1
  return wrk.format("POST", "%(path)s", nil, %(body)s)
end
function response(status, headers, body)
  if status ~= 200 and refused == 0 then refused = 1; print("refused", status, body) end
end
"""
METRIC = """string.format('{"run_id":"RUN","key":"loss%d","value":%f,"timestamp":%d,"step":%d}',
                       id, step / 7, 1700000000000 + step, step)"""
BATCH = """'{"run_id":"RUN","metrics":[' .. batch() .. ']}'"""
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
RUN = """string.format('{"experiment_id":"0","start_time":%d,"run_name":"bench"}', 1700000000000 + step)"""


def drive(target, folder, what, path, body, functions, connections, seconds, each=1):
    script = folder / "load.lua"
    token = f'wrk.headers["Authorization"] = "Bearer {target.token}"' if target.token else ""
    path = f"{target.parts.path}/api/2.0/mlflow/runs/{path}"
    script.write_text(SCRIPT % {"token": token, "path": path, "body": body} + functions)
    before = target.cpu_seconds()
    command = ["wrk", "--latency", "--timeout", "60s", "-t", "1", "-c", str(connections), "-d", f"{seconds}s", "-s", script,
               target.url]  # fmt: skip
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in out or "refused" in out:
        raise SystemExit(out)
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1])
    half, most = (re.search(rf"^ +{share}% +(\S+)", out, re.M)[1] for share in (50, 99))
    spent = ""
    if before is not None:
        spent = f", {(target.cpu_seconds() - before) / (rate * seconds) * 1e6 / each:.1f} us of the server's CPU each"
    line(f"{what}, {connections} connection{'s' * (connections > 1)}", f"{rate * each:,.0f}/s",
         f"p50 {half}, p99 {most}{spent}")  # fmt: skip
    return rate * each


def log_metric(target, folder, connections, seconds):
    body = METRIC.replace("RUN", target.create_run())
    return drive(target, folder, "log-metric", "log-metric", body, "", connections, seconds)


def log_batch(target, folder, connections, seconds):
    body = BATCH.replace("RUN", target.create_run())
    return drive(target, folder, "points by log-batch of 1000", "log-batch", body, POINTS, connections, seconds, 1000)


def create_run(target, folder, connections, seconds):
    return drive(target, folder, "create-run", "create", RUN, "", connections, seconds)
