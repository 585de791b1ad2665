#!/usr/bin/env python3
"""What a Python worker costs over its function's own time: one client, keep-alive, POST /score.

The function's own time is what the worker measured around run() (the header x-ms-run-fn-exec-ms); the rest is HTTP, the way
to the worker and back, and the client. LATHE_BIN names the folder with lathe-infer; default: build/release/bin.
"""

import argparse
import json
import os
import pathlib
import socket
import statistics
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/api"), str(ROOT / "tests/api/infer")]
os.environ.setdefault("LATHE_BIN", str(ROOT / "build/release/bin"))

from data_plane import KEY, DataPlane, endpoint  # noqa: E402
from python_workers import scoring_script  # noqa: E402

SOURCE = """
import json

def run(data):
    rows = json.loads(data)["data"]
    return [sum(row) for row in rows]
"""


def measure(plane, body, count):
    """(round trips, the function's times), in microseconds."""
    head = (f"POST /endpoints/e/score HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n").encode()  # fmt: skip
    trips, functions = [], []
    with socket.create_connection(("127.0.0.1", plane.port)) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(count):
            begin = time.perf_counter_ns()
            client.sendall(head + body)
            got = client.recv(1 << 20)
            while b"\r\n\r\n" not in got or len(got) < got.index(b"\r\n\r\n") + 4 + length_of(got):
                got += client.recv(1 << 20)
            trips.append((time.perf_counter_ns() - begin) / 1000)
            assert got.startswith(b"HTTP/1.1 200"), got
            functions.append(float(got.split(b"x-ms-run-fn-exec-ms: ")[1].split(b"\r\n")[0]) * 1000)
    return trips[count // 10 :], functions[count // 10 :]


def length_of(got):
    return int(got.split(b"Content-Length: ")[1].split(b"\r\n")[0])


def percentile(values, share):
    return sorted(values)[int(len(values) * share)]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=5000)
    options = parser.parse_args()
    with DataPlane() as plane:
        state = plane.desire(endpoint("e", [scoring_script(plane, SOURCE)]))["e.blue"]
        assert state["state"] == "ready", state
        for name, rows in (("1 row of 4", 1), ("100 rows of 4", 100), ("10,000 rows of 4", 10_000)):
            body = json.dumps({"data": [[0.25, 1.5, 2.75, 3.0]] * rows}).encode()
            trips, functions = measure(plane, body, max(200, options.count // max(1, rows // 10)))
            over = [trip - own for trip, own in zip(trips, functions)]
            print(f"{name}: over the function {statistics.median(over):.0f} us p50, {percentile(over, 0.99):.0f} us p99; "
                  f"function {statistics.median(functions):.0f} us, round trip {statistics.median(trips):.0f} us p50")


if __name__ == "__main__":
    main()
