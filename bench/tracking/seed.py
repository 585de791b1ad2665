"""Fills a server with runs and points: a SQLite store directly, any other server over REST."""

import concurrent.futures
import random
import sqlite3

METRICS, PARAMS, TAGS = 10, 5, 3
FIRST_START = 1_600_000_000_000  # before the runs that the load makes

COUNT = "WITH RECURSIVE n(i) AS (SELECT :first UNION ALL SELECT i + 1 FROM n WHERE i < :last) "


def random_of(seed, most):
    """SQL for a whole number in [0, most) that depends on the run n.i only."""
    return f"(((n.i * 2654435761 + {seed} * 40503) / 65536) * 48271 % 2147483647) % {most}"


def runs_directly(store, experiment, runs):
    """Adds runs with METRICS metrics, PARAMS parameters and TAGS tags each; their indexes are made anew at the end."""
    db = sqlite3.connect(store)
    db.execute("PRAGMA cache_size = -400000")
    indexes = db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL AND tbl_name IN "
                         "('metric', 'run_param', 'run_tag')").fetchall()  # fmt: skip
    for name, _ in indexes:
        db.execute(f"DROP INDEX {name}")
    first = db.execute("SELECT COALESCE(MAX(number), 0) + 1 FROM run").fetchone()[0]
    metric = db.execute("SELECT COALESCE(MAX(id), 0) FROM metric").fetchone()[0]
    span = {"first": first, "last": first + runs - 1, "experiment": experiment, "metric": metric, "start": FIRST_START}
    db.execute("INSERT INTO run (number, id, experiment_id, name, user_name, status, start_ms, end_ms, stage, artifact_uri, "
               "job, created_by) " + COUNT + "SELECT i, printf('%032x', i), :experiment, 'run-' || i, 'ann', 'FINISHED', "
               ":start + i, :start + i + 5000, 'active', printf('mlflow-artifacts:/%d/%032x/artifacts', :experiment, i), 0, "
               "'ann' FROM n", span)  # fmt: skip
    db.execute(COUNT + ", m(k) AS (VALUES " + ",".join(f"({k})" for k in range(METRICS)) + ") "
               "INSERT INTO metric (id, run, experiment_id, key, step, timestamp_ms, value, is_nan) "
               f"SELECT :metric + (i - :first) * {METRICS} + k + 1, i, :experiment, 'm' || k, 100, 1, "
               f"{random_of('k', 1_000_003)} / 1000003.0, 0 FROM n, m", span)  # fmt: skip
    for table, letter, count, values in (("run_param", "p", PARAMS, 100), ("run_tag", "t", TAGS, 10)):
        db.execute(COUNT + ", m(k) AS (VALUES " + ",".join(f"({k})" for k in range(count)) + ") "
                   f"INSERT INTO {table} (run, key, value, beginning, experiment_id, start_ms) "
                   f"SELECT i, '{letter}' || k, CAST({random_of(f'(k + {values})', values)} AS TEXT), '', :experiment, "
                   ":start + i FROM n, m", span)  # fmt: skip
        db.execute(f"UPDATE {table} SET beginning = value WHERE run >= ?", (first,))
    for _, sql in indexes:
        db.execute(sql)
    db.commit()
    db.close()


def points_directly(store, experiment, metrics, points):
    """A run with so many metrics ("h0", "h1", ...) of so many points each; returns its id."""
    db = sqlite3.connect(store)
    db.execute("PRAGMA cache_size = -400000")
    number = db.execute("SELECT COALESCE(MAX(number), 0) + 1 FROM run").fetchone()[0]
    first = db.execute("SELECT COALESCE(MAX(id), 0) + 1 FROM metric").fetchone()[0]
    run_id = f"{number:032x}"
    db.execute("INSERT INTO run (number, id, experiment_id, name, user_name, status, start_ms, stage, artifact_uri, job, "
               "created_by) VALUES (?, ?, ?, 'history', 'ann', 'FINISHED', 1, 'active', ?, 0, 'ann')",
               (number, run_id, experiment, f"mlflow-artifacts:/{experiment}/{run_id}/artifacts"))  # fmt: skip
    for k in range(metrics):
        db.execute("INSERT INTO metric (id, run, experiment_id, key, step, timestamp_ms, value, is_nan) "
                   "VALUES (?, ?, ?, ?, ?, ?, 0.5, 0)",
                   (first + k, number, experiment, f"h{k}", points - 1, FIRST_START + points))  # fmt: skip
        db.execute("INSERT INTO metric_point (metric, timestamp_ms, step, value, is_nan) " + COUNT +
                   f"SELECT :metric, :start + i * 100, i, {random_of(k, 1_000_003)} / 1000003.0, 0 FROM n",
                   {"first": 0, "last": points - 1, "metric": first + k, "start": FIRST_START})  # fmt: skip
    db.commit()
    db.close()
    return run_id


def over_rest(make_target, experiment, runs, threads=8):
    """As runs_directly, by create-run and log-batch. `make_target` gives each thread a connection of its own."""

    def some(first):
        target = make_target()
        chance = random.Random(first)
        for number in range(first, runs, threads):
            made = target.post("runs/create", {"experiment_id": experiment, "start_time": FIRST_START + number})
            target.post("runs/log-batch", {
                "run_id": made["run"]["info"]["run_id"],
                "metrics": [{"key": f"m{k}", "value": chance.random(), "timestamp": 1, "step": 100} for k in range(METRICS)],
                "params": [{"key": f"p{k}", "value": str(chance.randrange(100))} for k in range(PARAMS)],
                "tags": [{"key": f"t{k}", "value": str(chance.randrange(10))} for k in range(TAGS)],
            })  # fmt: skip

    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        list(pool.map(some, range(threads)))


def points_over_rest(target, experiment, points):
    """A run with one metric, "h0"; returns its id."""
    run_id = target.create_run(experiment)
    for first in range(0, points, 1000):
        target.post("runs/log-batch", {
            "run_id": run_id,
            "metrics": [{"key": "h0", "value": i % 1000 / 7, "timestamp": FIRST_START + i * 100, "step": i}
                        for i in range(first, min(first + 1000, points))],
        })  # fmt: skip
    return run_id
