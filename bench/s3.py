#!/usr/bin/python3
"""Artifacts on S3: a large file up and down through `lathe serve`, beside curl with the same S3 server alone.

    bench/s3.py [--bin build/release/bin] [--megabytes 256] [--times 5]

Starts the tests' Swift (Debian's python3-swift), which runs on the same cores and is most of the cost. Each round does all
four once, in turn; printed are the medians in MB/s, the milliseconds of a 10 kB file, and the server's peak memory.
"""

import argparse
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/api"))


def timed(*command):
    began = time.perf_counter()
    done = subprocess.run(["curl", "-sS", "--fail", "-o", "/dev/null", *map(str, command)], check=False)
    if done.returncode != 0:
        raise SystemExit(f"curl failed: {command}")
    return time.perf_counter() - began


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", default=ROOT / "build/release/bin", type=pathlib.Path)
    parser.add_argument("--megabytes", default=256, type=int)
    parser.add_argument("--times", default=5, type=int)
    options = parser.parse_args()
    os.environ["LATHE_BIN"] = str(options.bin)
    from lathe_server import Server
    from s3_server import S3

    with S3() as s3, tempfile.TemporaryDirectory() as folder:
        place = s3.place()
        with Server(*place.flags, env=place.env) as server:
            run = server.post("/api/2.0/mlflow/runs/create", json={"experiment_id": "0"}).json()["run"]["info"]["run_id"]
            direct = "/api/2.0/mlflow/artifacts/presigned-upload-url"
            artifacts = f"{server.url}/api/2.0/mlflow-artifacts/artifacts/0/{run}/artifacts"
            own = ["-H", f"Authorization: Bearer {server.token}", "-H", "Expect:"]
            took = {}
            for name, size in (("large", options.megabytes * 1_000_000), ("small", 10_000)):
                file = pathlib.Path(folder) / name
                file.write_bytes(os.urandom(1_000_000) * (size // 1_000_000) or os.urandom(size))
                put = server.post(direct, json={"run_id": run, "path": f"{name}-curl"}).json()["presigned_url"]
                for _ in range(options.times):
                    alone = timed("-T", file, "-H", "Expect:", put)
                    get = server.get(f"/api/2.0/mlflow-artifacts/presigned/0/{run}/artifacts/{name}-curl").json()["url"]
                    for what, seconds in (
                        ("curl up", alone), ("lathe up", timed("-T", file, *own, f"{artifacts}/{name}")),
                        ("curl down", timed(get)), ("lathe down", timed(*own, f"{artifacts}/{name}")),
                    ):  # fmt: skip
                        took.setdefault((name, what), []).append(seconds)
            status = pathlib.Path(f"/proc/{server.process.pid}/status").read_text()
            for (name, what), seconds in took.items():
                median = statistics.median(seconds)
                rate = f"{options.megabytes / median:7.0f} MB/s" if name == "large" else f"{median * 1000:7.1f} ms"
                print(f"{name:6} {what:11} {rate}")
            print(f"peak memory of the server: {int(status.split('VmHWM:')[1].split()[0]) // 1024} MiB")


if __name__ == "__main__":
    main()
