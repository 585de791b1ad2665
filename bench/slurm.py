"""What Lathe adds to Slurm: to a submission, and while it follows many jobs. Needs root and the test packages.

usage: bench/slurm.py [--submissions N] [--following N] [--seconds S]

Starts a cluster (tests/slurm.sh) and a server of its own. CPU seconds are those of the server and of the commands that it runs.
"""

import argparse
import datetime
import os
import pathlib
import re
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "api"))
from lathe_server import wait_for  # noqa: E402
from slurm_cluster import Cluster, SlurmServer  # noqa: E402


def cpu_seconds(pid):
    """Of the process and of its children that have ended."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def submit(server, command, name, target):
    answer = server.post("/api/v1/jobs", json={"type": "command", "command": command, "name": name, "compute": target})
    assert answer.status_code == 201, answer.text


def submitted_at(server, name):
    """When sbatch had answered, by the server's log."""
    found = re.search(rf"^(\S+) info submitted job={name} ", server.log.read_text(), re.M)
    return found and datetime.datetime.fromisoformat(found[1].replace("Z", "+00:00")).timestamp()


def measure_submission(cluster, server, count):
    script = "#!/bin/bash\nsleep 60\n" + "# as long as ours\n" * 200
    plain, ours = [], []
    cluster.run("scontrol", "update", "partitionname=main", "state=down")  # nothing starts meanwhile
    sbatch = [*cluster.command.split(), "sbatch", "--parsable", "--cpus-per-task=8", "--output=/dev/null"]
    for number in range(count):
        begun = time.time()
        subprocess.run(sbatch, input=script, text=True, stdout=subprocess.DEVNULL, check=True)
        plain.append(time.time() - begun)
        name = f"submit-{number}"
        begun = time.time()
        submit(server, "true", name, "held")
        ours.append(wait_for(lambda: submitted_at(server, name), 30) - begun)
    cluster.run("scancel", "--user=root")
    cluster.run("scontrol", "update", "partitionname=main", "state=up")
    return statistics.median(plain), statistics.median(ours)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--submissions", type=int, default=30)
    parser.add_argument("--following", type=int, default=1000)
    parser.add_argument("--seconds", type=int, default=30)
    options = parser.parse_args()
    with Cluster("-e", "0") as cluster, SlurmServer(cluster, poll="3s", beat="10s") as server:
        server.target("held", cores=8)
        plain, ours = measure_submission(cluster, server, options.submissions)
        print(f"sbatch itself {plain * 1e3:.1f} ms; from the request to sbatch's answer {ours * 1e3:.1f} ms: {(ours - plain) * 1e3:.1f} ms are Lathe's")
        server.target("queue", cores=8)
        for number in range(options.following):
            submit(server, "sleep 3600", f"follow-{number}", "queue")
        wait_for(lambda: server.log.read_text().count("submitted job=follow-") >= options.following, 300)
        time.sleep(5)
        before = cpu_seconds(server.process.pid)
        time.sleep(options.seconds)
        used = cpu_seconds(server.process.pid) - before
        print(f"following {options.following} jobs: {used / options.seconds * 100:.2f} % of a core")
        cluster.run("scancel", "--user=root")


if __name__ == "__main__":
    main()
