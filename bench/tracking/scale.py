"""What an operation costs in stores of 1,000 to 1,000,000 runs of one experiment: the server's CPU, and the median time.

CPU is what counts on a machine with other work.
"""

import json
import statistics
import time

import seed
from target import Lathe

EXPERIMENT = "0"


def operations(lathe):
    """Name -> one operation."""
    run = lathe.create_run(EXPERIMENT)
    step = iter(range(1, 1 << 40))

    def log_metric():
        number = next(step)
        lathe.post("runs/log-metric", {"run_id": run, "key": "loss", "value": number / 7, "timestamp": number, "step": number})

    def search(**body):
        return lambda: lathe.ask("POST", "/api/2.0/mlflow/runs/search",
                                 {"experiment_ids": [EXPERIMENT], "max_results": 100, **body})  # fmt: skip

    def middle_token():
        """Of the page in the middle of all runs, by walking there once."""
        found = json.loads(search(max_results=50_000)()).get("next_page_token")
        return {"page_token": found} if found else {}

    both = "metrics.m1 > 0.9 AND params.p2 = '7'"
    return {
        "create-run": lambda: lathe.create_run(EXPERIMENT),
        "log-metric": log_metric,
        "runs/get": lambda: lathe.get("runs/get", run_id=run),
        "newest 100": search(),
        "100 far down": search(**middle_token()),
        "best 100 by a metric": search(order_by=["metrics.m3 DESC"]),
        "100 by metric and parameter": search(filter=both),
        "the same by a metric": search(filter=both, order_by=["metrics.m3 ASC"]),
        "100 by a tag": search(filter="tags.t1 = '3'"),
        "100 by a parameter's order": search(order_by=["params.p1 ASC"]),
        "nothing found": search(filter="params.p2 = 'none'"),
    }


def measure(lathe, operation, seconds):
    times = []
    spent, began = lathe.cpu_seconds(), time.perf_counter()
    while time.perf_counter() - began < seconds or len(times) < 5:
        start = time.perf_counter()
        operation()
        times.append(time.perf_counter() - start)
    return (lathe.cpu_seconds() - spent) / len(times) * 1e6, statistics.median(times) * 1e6


def run(program, folder, sizes, seconds):
    columns = {}
    for size in sizes:
        lathe = Lathe(program, folder / "scale")
        lathe.stop()
        have = columns[max(columns)]["runs"] if columns else 0
        seed.runs_directly(lathe.store, 0, size - have)
        lathe.start()
        figures = {"start to ready": (None, lathe.started_in * 1e6)}
        for name, operation in operations(lathe).items():
            figures[name] = measure(lathe, operation, seconds)
        lathe.stop()
        columns[size] = {"runs": size, "figures": figures}
        print(f"{size:,} runs measured", flush=True)
    print("\nserver's CPU and median time of an operation, microseconds")
    print(f"{'runs':30}" + "".join(f"{size:>20,}" for size in columns))
    for name in next(iter(columns.values()))["figures"]:
        cells = (column["figures"][name] for column in columns.values())
        print(f"{name:30}" + "".join(f"{'' if cpu is None else f'{cpu:,.0f}':>9} {median:>10,.0f}" for cpu, median in cells))
