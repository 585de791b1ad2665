#!/usr/bin/python3
"""How fast a server of the Open Inference Protocol (v2, REST) answers: Lathe's, or any other beside it.

    bench/serving/load.py [--connections 1,8,64] [--seconds 5] [--rows 1] [--binary] [--json]
    bench/serving/load.py --url http://HOST:PORT --model NAME [--header 'Authorization: Bearer KEY'] [--pid PID] ...

Without --url: a Lathe of its own from the build tree (or LATHE_BIN) with an XGBoost model of 100 trees over 4 columns.
With it: any server and model; what is sent follows from the model's metadata (`GET /v2/models/NAME`), or from --input where a
server tells none. --pid adds the server's CPU per request, of that process and all below it. Needs wrk; one thread of it
drives all connections. Server and client share the machine: compare figures of one sitting only.
"""

import argparse
import contextlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import numpy
import requests

ROOT = pathlib.Path(__file__).resolve().parents[2]
TYPES = {"BOOL": "?", "FP16": "f2", "FP32": "f4", "FP64": "f8", **{f"INT{8 * n}": f"i{n}" for n in (1, 2, 4, 8)},
         **{f"UINT{8 * n}": f"u{n}" for n in (1, 2, 4, 8)}}  # fmt: skip
UNKNOWN_SIZE = 4  # of a dimension that the metadata leaves open, but for the first


def options():
    out = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    out.add_argument("--url", help="where /v2 is (default: a Lathe of its own)")
    out.add_argument("--model", help="its name there")
    out.add_argument("--header", action="append", default=[], metavar="'NAME: VALUE'", help="sent along, such as a key")
    out.add_argument("--input", action="append", default=[], metavar="NAME:TYPE:SHAPE",
                     help="in place of the metadata's, such as x:FP32:-1,4")  # fmt: skip
    out.add_argument("--pid", type=int, help="the server's process")
    out.add_argument("--connections", default="1,8,64", help="of each round (default: 1,8,64)")
    out.add_argument("--seconds", type=int, default=5, help="of each round")
    out.add_argument("--rows", type=int, default=1, help="of each request")
    out.add_argument("--binary", action="store_true", help="tensors as bytes (Triton's binary extension) in place of JSON")
    out.add_argument("--json", action="store_true", help="print a line of JSON for each round")
    out = out.parse_args()
    if (out.url is None) != (out.model is None):
        sys.exit("--url and --model go together")
    for each in out.header:
        if ":" not in each:
            sys.exit(f"--header {each!r}: expected 'NAME: VALUE'")
    return out


def inputs_of(options, session):
    """[(name, datatype, shape)], with -1 for what is open."""
    if options.input:
        parts = (each.rsplit(":", 2) for each in options.input)
        return [(name, datatype, [int(size) for size in shape.split(",")]) for name, datatype, shape in parts]
    answer = session.get(f"{options.url}/v2/models/{options.model}", timeout=30)
    if answer.status_code != 200:
        sys.exit(f"GET {answer.url}: {answer.status_code} {answer.text[:300]}")
    told = answer.json().get("inputs") or sys.exit("the model's metadata names no inputs: give them by --input")
    return [(each["name"], each["datatype"], [int(size) for size in each["shape"]]) for each in told]


def array(datatype, shape, random):
    if datatype == "BYTES":
        return numpy.full(shape, "text", dtype=object)
    if datatype not in TYPES:
        sys.exit(f"inputs of type {datatype} are not known here")
    kind = numpy.dtype(TYPES[datatype])
    return random.random(shape).astype(kind) if kind.kind == "f" else random.integers(0, 2, shape).astype(kind)


def raw(datatype, values):
    if datatype != "BYTES":
        return values.tobytes()
    return b"".join(len(text).to_bytes(4, "little") + text.encode() for text in values.flat)


def request_of(inputs, rows, binary):
    """(body, headers)"""
    random = numpy.random.default_rng(1)
    described, content = [], b""
    for name, datatype, shape in inputs:
        sizes = [size if size > 0 else (UNKNOWN_SIZE if i else rows) for i, size in enumerate(shape)]
        values = array(datatype, sizes, random)
        one = {"name": name, "datatype": datatype, "shape": sizes}
        if binary:
            part = raw(datatype, values)
            content += part
            described.append({**one, "parameters": {"binary_data_size": len(part)}})
        else:
            described.append({**one, "data": values.flatten().tolist()})
    if not binary:
        return json.dumps({"inputs": described}).encode(), {"Content-Type": "application/json"}
    head = json.dumps({"inputs": described, "parameters": {"binary_data_output": True}}).encode()
    headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(head))}
    return head + content, headers


def processes(pid):
    """`pid` and all below it."""
    found, waiting = [], [pid]
    while waiting:
        one = waiting.pop()
        found.append(one)
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{one}/task"):
                waiting += map(int, open(f"/proc/{one}/task/{task}/children").read().split())
    return found


def cpu_seconds(pid):
    total = 0
    for one in processes(pid):
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{one}/task"):
                total += int(open(f"/proc/{one}/task/{task}/schedstat").read().split()[0])
    return total / 1e9


def load(options, path, body, headers, connections):
    """One round of wrk: requests per second, milliseconds, and how many were answered by an error."""
    with tempfile.TemporaryDirectory(prefix="lathe-bench.") as folder:
        content = pathlib.Path(folder) / "body"
        content.write_bytes(body)
        script = pathlib.Path(folder) / "request.lua"
        lines = [f"wrk.headers[{json.dumps(name)}] = {json.dumps(value)}" for name, value in headers.items()]
        script.write_text("\n".join(["wrk.method = 'POST'", f"wrk.body = io.open('{content}', 'rb'):read('*a')", *lines]) + "\n")
        before = cpu_seconds(options.pid) if options.pid else 0
        told = subprocess.run(["wrk", "-t1", f"-c{connections}", f"-d{options.seconds}s", "--timeout", "30s", "--latency",
                               "-s", script, options.url + path], capture_output=True, text=True, check=True).stdout  # fmt: skip
        cpu = cpu_seconds(options.pid) - before if options.pid else None
    count = int(re.search(r"(\d+) requests in", told)[1])
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", told)
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", told)
    units = {"us": 1e-3, "ms": 1, "s": 1e3, "m": 6e4}

    def percentile(which):
        number, unit = re.search(rf"{which}%\s+([\d.]+)(\w+)", told).groups()
        return round(float(number) * units[unit], 3)

    return {"connections": connections, "requests_s": float(re.search(r"Requests/sec:\s+([\d.]+)", told)[1]),
            "p50_ms": percentile(50), "p99_ms": percentile(99),
            "errors": (int(refused[1]) if refused else 0) + (sum(map(int, broken.groups())) if broken else 0),
            "cpu_us": round(cpu / max(count, 1) * 1e6, 2) if cpu is not None else None}  # fmt: skip


@contextlib.contextmanager
def lathe(options):
    """A Lathe with the model, named in `options` as any other server would be."""
    sys.path.insert(0, str(ROOT / "tests" / "api"))
    import xgboost
    from lathe_server import Server

    with Server() as server, tempfile.TemporaryDirectory(prefix="lathe-bench.") as folder:
        rows = numpy.random.default_rng(1).normal(size=(500, 4)).astype(numpy.float32)
        labels = (rows[:, 0] + rows[:, 1] > 0).astype(float)
        booster = xgboost.train({"objective": "binary:logistic", "max_depth": 4, "nthread": 1},
                                xgboost.DMatrix(rows, labels), num_boost_round=100)  # fmt: skip
        booster.save_model(f"{folder}/trees.ubj")
        for command in (f"model create -n trees --path {folder}/trees.ubj", "online-endpoint create -n trees",
                        "online-deployment create -n blue -e trees --model azureml:trees@latest --all-traffic"):  # fmt: skip
            server.cli(*command.split())
        key = server.cli(*"online-endpoint get-credentials -n trees --query primaryKey -o tsv".split()).stdout.strip()
        options.url, options.model = server.infer, "trees"
        options.pid = next(each for each in server.processes() if "lathe-infer" in open(f"/proc/{each}/comm").read())
        options.header = [f"Authorization: Bearer {key}"]
        yield


def main():
    given = options()
    if shutil.which("wrk") is None:
        sys.exit("wrk is missing: packaging/packages.sh install bench")
    with contextlib.nullcontext() if given.url else lathe(given):
        given.url = given.url.rstrip("/")
        own = dict(each.split(":", 1) for each in given.header)
        own = {name.strip(): value.strip() for name, value in own.items()}
        session = requests.Session()
        session.headers.update(own)
        body, headers = request_of(inputs_of(given, session), given.rows, given.binary)
        path = f"/v2/models/{given.model}/infer"
        first = session.post(given.url + path, data=body, headers=headers, timeout=60)
        if first.status_code != 200:
            sys.exit(f"POST {given.url}{path}: {first.status_code} {first.text[:500]}")
        if not given.json:
            print(f"{given.url}{path}: {len(body)} bytes a request, {len(first.content)} an answer")
        for connections in map(int, given.connections.split(",")):
            got = load(given, path, body, {**own, **headers}, connections)
            if given.json:
                print(json.dumps(got), flush=True)
                continue
            cpu = "" if got["cpu_us"] is None else f"  CPU {got['cpu_us']:8.1f} us/request"
            print(f"{connections:4} connections  {got['requests_s']:9.0f} requests/s  p50 {got['p50_ms']:8.2f} ms  "
                  f"p99 {got['p99_ms']:8.2f} ms  {got['errors']} errors{cpu}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
