#!/usr/bin/python3
"""CPU per request of lathe-infer with a small model, beside a server that always answers the same.

    bench/infer/run.py [--bin build/release/bin] [--seconds 3] [--rounds 3]

Needs wrk, python3-xgboost, and the target bench_fixed_answer. Server and client share the machine: compare the ratios of
one sitting, not the absolute figures.
"""

import argparse
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

import numpy
import xgboost

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/api/infer"))
import onnx_file  # noqa: E402

KEY = "bench"


def cpu_seconds(pid):
    """User and system time so far, from the scheduler's nanoseconds where it tells them."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        total += int(open(f"/proc/{pid}/task/{task}/schedstat").read().split()[0])
    return total / 1e9


def rss_mb(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", open(f"/proc/{pid}/status").read())[1]) / 1024


def start(command):
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return process, process.stdout.readline().split()[1]


def load(url, path, body, connections, seconds, folder):
    """wrk with this body; answers its requests per second, its p99 and the number of requests."""
    script = folder / "request.lua"
    script.write_text(f"wrk.method = 'POST'\nwrk.headers['Authorization'] = 'Bearer {KEY}'\n"
                      f"wrk.headers['Content-Type'] = 'application/json'\nwrk.body = [==[{body}]==]\n")  # fmt: skip
    done = subprocess.run(["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", script, url + path],
                          capture_output=True, text=True, check=True).stdout  # fmt: skip
    assert "Non-2xx" not in done and "Socket errors" not in done, done
    count = int(re.search(r"(\d+) requests in", done)[1])
    return float(re.search(r"Requests/sec:\s+([\d.]+)", done)[1]), re.search(r"99%\s+(\S+)", done)[1], count


def models(folder):
    random = numpy.random.default_rng(1)
    rows = random.normal(size=(500, 4)).astype(numpy.float32)
    labels = (rows[:, 0] + rows[:, 1] > 0).astype(float)
    booster = xgboost.train({"objective": "binary:logistic", "max_depth": 4, "nthread": 1},
                            xgboost.DMatrix(rows, labels), num_boost_round=100)  # fmt: skip
    booster.save_model(folder / "tree.ubj")
    onnx_file.linear(folder / "linear.onnx")
    return [("tree", "xgboost", folder / "tree.ubj", "input", 4), ("linear", "onnx", folder / "linear.onnx", "x", 3)]


def serve(binary, folder, made):
    endpoints = []
    for name, format, path, _, _ in made:
        file = {"path": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        model = {"name": name, "version": "1", "format": format, "folder": str(folder), "file": path.name, "files": [file]}
        endpoints.append({"name": name, "keys": [hashlib.sha256(KEY.encode()).hexdigest()], "traffic": {"d": 100},
                          "deployments": [{"name": "d", "model": model}]})  # fmt: skip
    (folder / "infer").mkdir()
    (folder / "infer/desired.json").write_text(json.dumps({"generation": 1, "endpoints": endpoints}))
    begin = time.monotonic()
    # One thread, as the server beside it: two threads share out the connections, and each wake-up serves fewer.
    server, url = start([binary / "lathe-infer", "--folder", folder / "infer", "--port", "0", "--grpc-port", "0", "--threads", "1"])
    print(f"lathe-infer: ready after {(time.monotonic() - begin) * 1e3:.0f} ms")
    while json.loads((folder / "infer/reported.json").read_text())["generation"] != 1:
        time.sleep(0.01)
    states = json.loads((folder / "infer/reported.json").read_text())["deployments"]
    assert all(each["state"] == "ready" for each in states), states
    print(f"both models answer after {(time.monotonic() - begin) * 1e3:.0f} ms; memory {rss_mb(server.pid):.1f} MB")
    return server, url


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--bin", type=pathlib.Path, default=ROOT / "build/release/bin")
    options.add_argument("--seconds", type=int, default=3)
    options.add_argument("--rounds", type=int, default=3)
    options = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="lathe-bench.") as made_in:
        folder = pathlib.Path(made_in)
        made = models(folder)
        fixed, fixed_url = start([options.bin / "bench_fixed_answer", "0"])
        server, url = serve(options.bin, folder, made)
        try:
            for connections in (1, 64):
                for round_ in range(options.rounds):
                    base = None
                    cases = [("fixed answer", fixed, fixed_url, "/", "input", 4)]
                    cases += [(f"{name} ({format})", server, url, f"/v2/models/{name}/infer", tensor, width)
                              for name, format, _, tensor, width in made]  # fmt: skip
                    for name, process, where, path, tensor, width in cases:
                        body = json.dumps({"inputs": [{"name": tensor, "shape": [1, width], "datatype": "FP32",
                                                       "data": [0.1, 0.2, 0.3, 0.4][:width]}]})  # fmt: skip
                        before = cpu_seconds(process.pid)
                        rate, p99, count = load(where, path, body, connections, options.seconds, folder)
                        cost = (cpu_seconds(process.pid) - before) / count * 1e6
                        base = base or cost
                        print(f"c={connections:<3} round {round_ + 1}  {name:17} {rate:8.0f} requests/s  p99 {p99:>8}  "
                              f"CPU {cost:6.2f} us/request  {cost / base:4.2f} x fixed")  # fmt: skip
        finally:
            for process in (fixed, server):
                process.terminate()
                process.wait(30)


if __name__ == "__main__":
    main()
