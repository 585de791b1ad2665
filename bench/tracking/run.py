#!/usr/bin/python3
"""Tracking: what a server can log, and how long searches, histories and charts take.

    bench/tracking/run.py [--runs 100000] [--points 10000000] [--only load,runs,points,scale]
    bench/tracking/run.py --url http://127.0.0.1:5000 [--token T] [--pid P] [--runs 2000] [--points 100000]

Without --url a Lathe of its own is started in a temporary folder and its store is filled directly. With it, any server that
speaks MLflow's REST is measured, MLflow's own too, so that both can be compared in one sitting; it is filled over REST, and
keeps what was written. Load comes from wrk (Debian's package) on the same machine; a request that logs is answered when its
write is on disk.
"""

import argparse
import pathlib
import shutil
import tempfile

import load
import reads
import scale
import seed
from table import heading, line
from target import Lathe, Target

ROOT = pathlib.Path(__file__).resolve().parents[2]
HISTORY = 100_000


def measure_load(target, folder, seconds):
    heading("writes, each answered when it is on disk")
    for connections in (1, 64):
        load.log_metric(target, folder, connections, seconds)
    for connections in (1, 8):
        load.log_batch(target, folder, connections, seconds)
    for connections in (1, 64):
        load.create_run(target, folder, connections, seconds)


def measure_runs(target, options, again):
    heading(f"{options.runs:,} runs of one experiment, {seed.METRICS} metrics, {seed.PARAMS} parameters, {seed.TAGS} tags each")
    experiment = target.post("experiments/create", {"name": f"bench-runs-{options.runs}-{options.salt}"})["experiment_id"]
    if target.store:
        target.stop()
        seed.runs_directly(target.store, int(experiment), options.runs)
        target.start()
    else:
        seed.over_rest(again, experiment, options.runs)
    reads.runs(target, experiment, options.times)


def measure_points(target, options):
    heading(f"{options.points:,} points")
    experiment = target.post("experiments/create", {"name": f"bench-points-{options.salt}"})["experiment_id"]
    if target.store:
        target.stop()
        half = options.points // 2
        run_id = seed.points_directly(target.store, int(experiment), max(1, half // HISTORY), HISTORY)
        long_one = seed.points_directly(target.store, int(experiment), 1, half)
        target.start()
        reads.history(target, run_id, HISTORY, options.times)
        reads.series(target, run_id, f"of {HISTORY:,}", options.times)
        reads.series(target, long_one, f"of {half:,} in one metric", options.times)
    else:
        run_id = seed.points_over_rest(target, experiment, options.points)
        reads.history(target, run_id, options.points, options.times)


def measure_start(lathe):
    heading("start with all of that in the store")
    times = []
    for _ in range(5):
        lathe.restart()
        times.append(lathe.started_in * 1000)
    line("start to ready", f"{sorted(times)[2]:.0f} ms", f"worst of 5: {max(times):.0f} ms")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", default=ROOT / "build/release/bin", type=pathlib.Path)
    parser.add_argument("--url", help="measure this server")
    parser.add_argument("--token", help="its access token")
    parser.add_argument("--pid", type=int, help="its process, for CPU and memory")
    parser.add_argument("--store", help="have Lathe use this store, such as postgresql://...; filled over REST")
    parser.add_argument("--seconds", default=10, type=int, help="of each load")
    parser.add_argument("--times", default=30, type=int, help="that each read is repeated")
    parser.add_argument("--runs", type=int)
    parser.add_argument("--points", type=int)
    parser.add_argument("--scale", default="1000,10000,100000,1000000", help="numbers of runs, for --only scale")
    parser.add_argument("--only", default="load,runs,points", help="what to measure: load, runs, points, scale")
    options = parser.parse_args()
    direct = not options.url and not options.store
    options.runs = options.runs or (100_000 if direct else 2000)
    options.points = options.points or (10_000_000 if direct else HISTORY)
    parts = options.only.split(",")
    folder = pathlib.Path(tempfile.mkdtemp(prefix="lathe-bench."))
    options.salt = folder.name.rsplit(".", 1)[1]  # names are free on a server that was measured before
    own = None if options.url else Lathe(options.bin / "lathe", folder / "data", options.store)
    target = own or Target(options.url, options.token, options.pid)
    try:
        if "load" in parts:
            measure_load(target, folder, options.seconds)
        if "runs" in parts:
            measure_runs(target, options, lambda: Target(target.url, target.token))
        if "points" in parts:
            measure_points(target, options)
        if target.pid and parts != ["scale"]:
            line("memory of the server after that: resident, proportional", "{:.0f}, {:.0f} MiB".format(*target.memory()),
                 f"most since its start {target.memory()[2]:.0f} MiB")  # fmt: skip
        if direct and "points" in parts:
            measure_start(own)
        if "scale" in parts and direct:
            scale.run(options.bin / "lathe", folder, [int(size) for size in options.scale.split(",")], options.seconds / 5)
    finally:
        if own:
            own.stop()
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
