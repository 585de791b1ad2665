"""Runs inside runs: whose child they are, what goes where, and how they end."""


def test_a_nested_run_is_a_child_of_the_job_s_run(script, recorder):
    script.run("""
lathe.log_metric("outer", 1)
with lathe.start_run(run_name="try 1", nested=True, tags={"lr": 0.1}) as run:
    assert lathe.active_run() is run and run.run_id == "made-here"
    lathe.log_metric("inner", 2)
    lathe.log_param("depth", 3)
lathe.log_metric("outer", 3, step=1)
""")
    made, = recorder.made()
    assert (made["run_name"], made["experiment_id"]) == ("try 1", "7")
    assert {"key": "mlflow.parentRunId", "value": "job-1"} in made["tags"]
    assert {"key": "lr", "value": "0.1"} in made["tags"]
    assert recorder.of("made-here")["metrics"] == [("inner", 2.0, 0)]
    assert recorder.of("made-here")["params"] == {"depth": "3"}
    assert recorder.of("job-1")["metrics"] == [("outer", 1.0, 0), ("outer", 3.0, 1)]
    assert recorder.ended() == {"made-here": "FINISHED"}


def test_a_nested_run_that_raises_has_failed_and_its_parent_goes_on(script, recorder):
    script.run("""
try:
    with lathe.start_run(nested=True): raise RuntimeError("diverged")
except RuntimeError:
    lathe.log_metric("after", 1)
""")
    assert recorder.ended() == {"made-here": "FAILED"}
    assert recorder.of("job-1")["metrics"] == [("after", 1.0, 0)]


def test_runs_nest_deeper_than_one(script, recorder):
    script.run("""
with lathe.start_run(nested=True):
    with lathe.start_run(nested=True): lathe.log_metric("deep", 1)
    lathe.log_metric("middle", 1)
""")
    assert [tag["value"] for made in recorder.made() for tag in made["tags"]] == ["job-1", "made-here"]
    assert recorder.of("made-here-2")["metrics"] == [("deep", 1.0, 0)]
    assert recorder.of("made-here")["metrics"] == [("middle", 1.0, 0)]


def test_threads_have_runs_of_their_own_side_by_side(script, recorder):
    script.run("""
import threading
together = threading.Barrier(4)
def attempt(number):
    with lathe.start_run(nested=True) as run:
        together.wait()
        for step in range(50): lathe.log_metric("number", number, step=step)
        names[number] = run.run_id
names = {}
threads = [threading.Thread(target=attempt, args=(i,)) for i in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
lathe.log_dict(names, "names.json")
""")
    import json

    names = json.loads(recorder.file("names.json"))
    assert len(set(names.values())) == 4
    for number, run_id in names.items():
        assert recorder.of(run_id)["metrics"] == [("number", float(number), step) for step in range(50)]
    assert set(recorder.ended().values()) == {"FINISHED"}


def test_what_a_nested_run_still_holds_is_flushed_when_the_process_ends(script, recorder):
    process = script.run("""
run = lathe.start_run(nested=True)
run.__enter__()
lathe.log_metric("last", 1)
import sys; sys.exit(3)
""", expect=3)
    assert process.err == ""
    assert recorder.of("made-here")["metrics"] == [("last", 1.0, 0)]


def test_outside_a_job_the_outermost_run_is_made_too(script, recorder):
    del script.environment["MLFLOW_RUN_ID"]
    script.run("""
with lathe.start_run("mine"):
    with lathe.start_run(nested=True): lathe.log_metric("inner", 1)
    lathe.log_metric("outer", 1)
assert lathe.active_run() is None
""")
    assert [made["tags"] for made in recorder.made()] == [[], [{"key": "mlflow.parentRunId", "value": "made-here"}]]
    assert recorder.of("made-here")["metrics"] == [("outer", 1.0, 0)]
    assert recorder.ended() == {"made-here": "FINISHED", "made-here-2": "FINISHED"}


def test_a_forked_worker_logs_to_the_nested_run(script, recorder):
    script.run("""
import multiprocessing
def work(): lathe.log_metric("from the worker", 1)
with lathe.start_run(nested=True):
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start(); process.join()
""")
    assert recorder.of("made-here")["metrics"] == [("from the worker", 1.0, 0)]
