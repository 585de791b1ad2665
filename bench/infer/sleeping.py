#!/usr/bin/env python3
"""What deployments cost while nobody asks them, and how long the first answer takes after that.

CPU of 100 deployments that are in memory and of 100 that left it, over ten seconds; memory of both; the round trip of a request
that wakes a native model (XGBoost) or a Python worker (an empty script, and one that unpickles a scikit-learn model of the iris data),
with and without a parked interpreter. LATHE_BIN names the folder with lathe-infer; default: build/release/bin.
"""

import argparse
import os
import pickle
import pathlib
import statistics
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/api"), str(ROOT / "tests/api/infer")]
os.environ.setdefault("LATHE_BIN", str(ROOT / "build/release/bin"))

import numpy  # noqa: E402
import xgboost  # noqa: E402
from data_plane import DataPlane, deployment, endpoint  # noqa: E402
from lathe_server import wait_for  # noqa: E402
from python_workers import interpreters_of, scoring_script  # noqa: E402

BODY = {"inputs": [[0.1 * i for i in range(8)]]}
PLAIN = "def run(data): return 1\n"
LEARNED = """
import json, os, pickle
import sklearn.ensemble

def init():
    global model
    with open(os.path.join(os.environ["AZUREML_MODEL_DIR"], "model.pkl"), "rb") as file:
        model = pickle.load(file)

def run(data):
    return model.predict(json.loads(data)["data"]).tolist()
"""


def train(path, rounds):
    rows = numpy.random.default_rng(7).normal(size=(600, 8)).astype("f4")
    settings = {"max_depth": 4, "seed": 3, "nthread": 1}
    xgboost.train(settings, xgboost.DMatrix(rows, rows @ numpy.arange(8)), rounds).save_model(path)


def cpu_ms(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")


def memory_mib(pid):
    (line,) = [each for each in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if each.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


def total(plane, metric):
    lines = [each for each in plane.get("/metrics").text.splitlines() if each.startswith(f"lathe_infer_{metric}{{")]
    return sum(int(each.rsplit(" ", 1)[1]) for each in lines)


def awake(plane):
    return total(plane, "instances")


def idle_cpu(plane, seconds):
    before = cpu_ms(plane.process.pid)
    time.sleep(seconds)
    return cpu_ms(plane.process.pid) - before


def shown(times):
    return f"{statistics.median(times):.1f} ms p50, {max(times):.1f} ms worst of {len(times)}"


def many(count, seconds, path):
    for name, scale in (("in memory", None), ("asleep", {"min": 0, "quiet_ms": 500})):
        with DataPlane() as plane:
            deployments = [deployment("blue", path) for _ in range(count)]
            for each in deployments:
                if scale:
                    each["model"]["scale"] = scale
            plane.desire(*[endpoint(f"e{i}", [each]) for i, each in enumerate(deployments)])
            if scale:
                wait_for(lambda: awake(plane) == 0, 120, "their sleep")
            time.sleep(2)
            print(f"{count} deployments {name}: {idle_cpu(plane, seconds):.0f} ms of CPU in {seconds} s, "
                  f"{memory_mib(plane.process.pid):.0f} MiB")  # fmt: skip


def learn(folder):
    """A forest on the iris data, pickled."""
    from sklearn.datasets import load_iris
    from sklearn.ensemble import RandomForestClassifier

    rows, kinds = load_iris(return_X_y=True)
    folder.mkdir()
    with open(folder / "model.pkl", "wb") as file:
        pickle.dump(RandomForestClassifier(100, random_state=3).fit(rows, kinds), file)
    return folder


def wakes(plane, deployed, ask, rounds, parked=0):
    deployed["model"]["scale"] = {"min": 0, "max": 1, "quiet_ms": 200, "polling_ms": 50}
    state = plane.desire(endpoint("e", [deployed]))["e.blue"]
    assert state["state"] == "ready", state
    times = []
    for _ in range(rounds):
        wait_for(lambda: awake(plane) == 0 and len(interpreters_of(plane)) == parked and
                 total(plane, "parked_interpreters") == parked, 120, "its sleep")  # fmt: skip
        begin = time.perf_counter()
        got = ask(plane)
        times.append((time.perf_counter() - begin) * 1000)
        assert got.status_code == 200, got.text
    return shown(times)


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--deployments", type=int, default=100)
    options.add_argument("--seconds", type=int, default=10)
    options.add_argument("--rounds", type=int, default=20)
    asked = options.parse_args()

    with DataPlane() as plane:
        print(f"load average {os.getloadavg()[0]:.1f}")
        path = plane.models / "m.json"
        train(path, 100)
        large = plane.models / "large.json"
        train(large, 3000)
        many(asked.deployments, asked.seconds, path)
        for name, model in ((f"{path.stat().st_size >> 10} KiB", path), (f"{large.stat().st_size >> 10} KiB", large)):
            ask = lambda plane: plane.post("/endpoints/e/invocations", json=BODY)  # noqa: E731
            print(f"wake of an XGBoost model of {name}: {wakes(plane, deployment('blue', model), ask, asked.rounds)}")
    row = {"data": [[5.1, 3.5, 1.4, 0.2]]}
    score = lambda plane: plane.post("/endpoints/e/score", json=row)  # noqa: E731
    for parked in (1, 0):
        with DataPlane("--parked-interpreters", str(parked)) as plane:
            model = learn(plane.models / "iris")
            for version, (name, source) in enumerate((("an empty script", PLAIN), ("a scikit-learn forest", LEARNED))):
                made = scoring_script(plane, source, model=model, version=str(version), request_timeout_ms=60_000)
                print(f"wake of a Python worker, {name}, {'an' if parked else 'no'} interpreter parked: "
                      f"{wakes(plane, made, score, asked.rounds, parked)}")  # fmt: skip


if __name__ == "__main__":
    main()
