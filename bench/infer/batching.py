#!/usr/bin/python3
"""What lathe-infer adds to a model that gains from batches, and to an image's worth of numbers.

    bench/infer/batching.py [--bin build/release/bin] [--seconds 5] [--rounds 3]

Rows: dense networks of three layers, asked for one row at a time by 64 connections, with batching off, on, and with a delay that
is longer than a run, beside the same model by itself at its best batch. Image: 1x3x224x224 floats by binary tensors and by
JSON, beside the model by itself. All by CPU time, which other work on the machine disturbs less than time. Needs wrk, and
bench_model_alone (cmake -DLATHE_BENCH=ON).
"""

import argparse
import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import tempfile

import numpy

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/api"), str(ROOT / "tests/api/infer"), str(ROOT / "bench/infer")]

import onnx_file  # noqa: E402
from onnx_file import FLOAT, node, value_info  # noqa: E402

INPUTS, OUTPUTS = 64, 10
WIDTHS = (1024, 4096)  # of the two hidden layers of a light and of a heavy network
CLIENTS = 64
MODES = (("batched", 0), ("delayed", 100_000))  # max_queue_delay_microseconds; the latter is longer than a run
PIXELS = 3 * 224 * 224


def constant(name, array):
    shape = b"".join(onnx_file.number(1, size) for size in array.shape)
    return shape + onnx_file.number(2, FLOAT) + onnx_file.content(8, name) + onnx_file.content(9, array.tobytes())


def network(path, width):
    random = numpy.random.default_rng(1)
    nodes, constants, before = [], [], "x"
    widths = (INPUTS, width, width, OUTPUTS)
    for i, (given, to) in enumerate(zip(widths, widths[1:])):
        constants.append(constant(f"w{i}", random.normal(0, given**-0.5, (given, to)).astype("f4")))
        after = "y" if i == len(widths) - 2 else f"r{i}"
        nodes += [node("MatMul", [before, f"w{i}"], [f"m{i}"]), node("Relu", [f"m{i}"], [after])]
        before = after
    return onnx_file.write_model(path, nodes, [value_info("x", FLOAT, ["N", INPUTS])],
                                 [value_info("y", FLOAT, ["N", OUTPUTS])], constants)  # fmt: skip


def image(path):
    return onnx_file.write_model(path, [node("GlobalAveragePool", ["x"], ["y"])],
                                 [value_info("x", FLOAT, ["N", 3, 224, 224])],
                                 [value_info("y", FLOAT, ["N", 3, 1, 1])])  # fmt: skip


def alone(binary, path, *rows):
    """{rows: CPU of one run in microseconds}"""
    told = subprocess.run([binary / "bench_model_alone", "onnx", path, *map(str, rows)], check=True, text=True,
                          capture_output=True).stdout  # fmt: skip
    return {int(line.split()[0]): float(line.split()[1]) for line in told.splitlines()}


def statistics(plane, model):
    return plane.get(f"/v2/models/{model}/stats").json()["model_stats"][0]


def rows_served(run, plane, model, alone_best, seconds, folder):
    x = {"name": "x", "shape": [1, INPUTS], "datatype": "FP32", "data": [round(i / 10, 1) for i in range(INPUTS)]}
    before, stats = run.cpu_seconds(plane.process.pid), statistics(plane, model)
    rate, p99, count = run.load(plane.url, f"/v2/models/{model}/infer", json.dumps({"inputs": [x]}), CLIENTS, seconds, folder)
    after = statistics(plane, model)
    cost = (run.cpu_seconds(plane.process.pid) - before) / count * 1e6
    runs = after["execution_count"] - stats["execution_count"]
    print(f"  {model:12} {rate:8.0f} rows/s  p99 {p99:>8}  rows a run {count / runs:5.1f}  CPU {cost:7.1f} us/row  "
          f"the model's best batch {alone_best:7.1f}: {alone_best / cost:.2f} of it")  # fmt: skip


def ask(client, head, body):
    client.sendall(head + body)
    got = client.recv(1 << 16)
    while b"\r\n\r\n" not in got:
        got += client.recv(1 << 16)
    length = int(re.search(rb"Content-Length: (\d+)", got, re.I)[1])
    while len(got) < got.index(b"\r\n\r\n") + 4 + length:
        got += client.recv(1 << 16)
    assert got.startswith(b"HTTP/1.1 200"), got


def image_served(run, plane, name, body, json_bytes, alone_us, count):
    extra = f"Inference-Header-Content-Length: {json_bytes}\r\n" if json_bytes else ""
    head = (f"POST /v2/models/image/infer HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {run.KEY}\r\n{extra}"
            f"Content-Length: {len(body)}\r\n\r\n").encode()  # fmt: skip
    with socket.create_connection(("127.0.0.1", plane.port)) as client:
        for _ in range(20):
            ask(client, head, body)
        stats, before = statistics(plane, "image"), run.cpu_seconds(plane.process.pid)
        for _ in range(count):
            ask(client, head, body)
        cost = (run.cpu_seconds(plane.process.pid) - before) / count * 1e6
        after = statistics(plane, "image")
    parse = (after["inference_stats"]["compute_input"]["ns"] - stats["inference_stats"]["compute_input"]["ns"]) / count
    print(f"  {name:7} {len(body) / 1e6:5.2f} MB  CPU {cost:7.0f} us/request, {cost - alone_us:6.0f} more than the model "
          f"({alone_us:.0f})  parsed in {parse / 1e3:6.0f} us: {len(body) / parse * 1e3:6.0f} MB/s")  # fmt: skip


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--bin", type=pathlib.Path, default=ROOT / "build/release/bin")
    options.add_argument("--seconds", type=int, default=5)
    options.add_argument("--rounds", type=int, default=3)
    options = options.parse_args()
    os.environ["LATHE_BIN"] = str(options.bin)
    import run
    from data_plane import DataPlane, deployment, endpoint

    with tempfile.TemporaryDirectory(prefix="lathe-bench.") as made_in, DataPlane("--threads", "1") as plane:
        folder = pathlib.Path(made_in)
        dense = {width: network(plane.models / f"dense{width}.onnx", width) for width in WIDTHS}
        picture = image(plane.models / "image.onnx")
        endpoints = [endpoint("image", [deployment("d", picture, format="onnx")], key=run.KEY)]
        for width, path in dense.items():
            endpoints.append(endpoint(f"alone{width}", [deployment("d", path, format="onnx")], key=run.KEY))
            for name, delay_us in MODES:
                together = deployment("d", path, format="onnx")
                batching = {"max_queue_delay_microseconds": delay_us}
                together["model"]["config"] = {"max_batch_size": CLIENTS, "dynamic_batching": batching}
                endpoints.append(endpoint(f"{name}{width}", [together], key=run.KEY))
        states = plane.desire(*endpoints)
        assert all(each["state"] == "ready" for each in states.values()), states
        plane.session.headers["Authorization"] = f"Bearer {run.KEY}"
        data = numpy.random.default_rng(2).normal(size=PIXELS).astype("f4")
        head = {"name": "x", "shape": [1, 3, 224, 224], "datatype": "FP32"}
        binary_head = json.dumps({"inputs": [{**head, "parameters": {"binary_data_size": data.nbytes}}]}).encode()
        as_json = json.dumps({"inputs": [{**head, "data": [float(each) for each in data]}]}).encode()
        for round_ in range(options.rounds):
            for width, path in dense.items():
                costs = alone(options.bin, path, 1, 16, 32, 64)
                best = min(cost / rows for rows, cost in costs.items())
                print(f"round {round_ + 1}: {width} wide, the model by itself, CPU us/row: "
                      + ", ".join(f"{rows}: {cost / rows:.1f}" for rows, cost in costs.items()))  # fmt: skip
                for model in ("alone", *(name for name, _ in MODES)):
                    rows_served(run, plane, f"{model}{width}", best, options.seconds, folder)
            pool = alone(options.bin, picture, 1)[1]
            image_served(run, plane, "binary", binary_head + data.tobytes(), len(binary_head), pool, 300)
            image_served(run, plane, "JSON", as_json, None, pool, 100)


if __name__ == "__main__":
    main()
