#!/usr/bin/python3
"""How long a deployment takes from the request until it has answered a prediction: `bench/serving/deploy.py [TIMES]`.

Goal: at most 2 s. Starts a server of its own from the build tree (or LATHE_BIN).
"""

import hashlib
import pathlib
import statistics
import sys
import tempfile
import time

import numpy
import requests
import xgboost

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tests" / "api"))
from lathe_server import Server  # noqa: E402

ENDPOINTS = "/api/v1/online-endpoints"


def register(server):
    rows = numpy.random.default_rng(7).normal(size=(500, 30)).astype(numpy.float32)
    labels = (rows[:, 0] > 0).astype(int)
    booster = xgboost.train({"max_depth": 6, "nthread": 1}, xgboost.DMatrix(rows, labels), num_boost_round=200)
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "model.ubj"
        booster.save_model(file)
        content = file.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    server.put(f"/api/v1/blobs/{digest}", data=content).raise_for_status()
    files = [{"path": "model.ubj", "sha256": digest, "size": len(content), "executable": False}]
    tree = server.post("/api/v1/trees", json={"files": files}).json()["digest"]
    server.post("/api/v1/models", json={"name": "trees", "path": f"tree:{tree}"}).raise_for_status()
    return len(content), rows[:1]


def measure(server, number, row):
    name = f"bench{number}"
    body = {"inputs": [{"name": "input", "shape": [1, 30], "datatype": "FP32", "data": row.flatten().tolist()}]}
    begun = time.monotonic()
    endpoint = server.post(ENDPOINTS, json={"name": name}).json()
    document = {"name": "blue", "model": "azureml:trees@latest"}
    server.post(f"{ENDPOINTS}/{name}/deployments?all_traffic=true", json=document).raise_for_status()
    key = server.get(f"{ENDPOINTS}/{name}/credentials").json()["primaryKey"]
    headers = {"Authorization": f"Bearer {key}"}
    requests.post(endpoint["scoring_uri"], json=body, headers=headers, timeout=10).raise_for_status()
    return time.monotonic() - begun


def main():
    times = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    with Server() as server:
        size, row = register(server)
        took = sorted(measure(server, number, row) for number in range(times))
    print(f"endpoint and deployment of a {size / 1e6:.1f} MB XGBoost model, asked for until it answered, {times} times:")
    print(f"  p50 {statistics.median(took) * 1000:.0f} ms, worst {took[-1] * 1000:.0f} ms (goal: 2000 ms)")


if __name__ == "__main__":
    main()
