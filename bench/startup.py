#!/usr/bin/python3
"""Start-up and idle memory: `lathe serve` on an empty data folder and again on the same one.

    bench/startup.py [--bin build/release/bin] [--times 20]

Prints the time from exec to the `ready` line (ms: median, worst) and the resident memory after a second of idleness.
"""

import argparse
import pathlib
import shutil
import signal
import statistics
import subprocess
import tempfile
import time


def start(lathe, data):
    """Starts a server and returns it with the milliseconds to its `ready` line."""
    began = time.perf_counter()
    command = [lathe, "serve", "--data", data, "--port", "0", "--infer-port", "0", "--grpc-port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    line = server.stdout.readline()
    took = (time.perf_counter() - began) * 1000
    if not line.startswith("ready "):
        raise SystemExit(f"the server did not start: {line!r}")
    return server, took


def resident_kb(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


def stop(lathe, server, data):
    server.send_signal(signal.SIGTERM)
    server.wait(30)
    subprocess.run([lathe, "stop", "--all", "--data", data], stderr=subprocess.DEVNULL, check=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", default=pathlib.Path(__file__).resolve().parents[1] / "build/release/bin", type=pathlib.Path)
    parser.add_argument("--times", default=20, type=int)
    options = parser.parse_args()
    lathe = options.bin / "lathe"
    first, again, memory = [], [], []
    for _ in range(options.times):
        folder = pathlib.Path(tempfile.mkdtemp(prefix="lathe-bench."))
        for times in (first, again):
            server, took = start(lathe, folder / "data")
            times.append(took)
            if times is again:
                time.sleep(1)
                memory.append(resident_kb(server.pid))
            stop(lathe, server, folder / "data")
        shutil.rmtree(folder)
    for name, times in (("empty data folder", first), ("existing data folder", again)):
        print(f"{name}: ready after {statistics.median(times):.0f} ms (worst {max(times):.0f} ms)")
    print(f"idle memory: {statistics.median(memory) / 1024:.1f} MiB resident")


if __name__ == "__main__":
    main()
