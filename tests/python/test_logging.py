"""What a script logs arrives: whole, in order, once, however the script ends."""

import signal

import pytest


def points(count, key="loss"):
    return [(key, float(step), step) for step in range(count)]


LOG_TEN = "for i in range(10): lathe.log_metric('loss', float(i), step=i)\n"


def test_metrics_params_and_tags_arrive_at_a_normal_end(script, recorder):
    script.run(LOG_TEN + """
lathe.log_metrics({"a": 1, "b": True}, step=3)
lathe.log_param("depth", 4)
lathe.log_params({"eta": 0.1, "name": "x"})
lathe.set_tag("note", "hello")
lathe.set_tags({"x": 1})
""")
    assert recorder.metrics() == points(10) + [("a", 1.0, 3), ("b", 1.0, 3)]
    assert recorder.params == {"depth": "4", "eta": "0.1", "name": "x"}
    assert recorder.tags() == {"note": "hello", "x": "1"}
    assert {post[2]["Authorization"] for post in recorder.posts} == {"Bearer secret"}
    assert {body["run_id"] for body in recorder.batches} == {"job-1"}


@pytest.mark.parametrize("ending, status", [
    ("raise RuntimeError('diverged')", 1), ("import sys; sys.exit(7)", 7), ("exit()", 0),
    ("raise KeyboardInterrupt", -signal.SIGINT),
])
def test_nothing_is_lost_when_the_script_ends_by(script, recorder, ending, status):
    script.run(LOG_TEN + ending, expect=status)
    assert recorder.metrics() == points(10)


def test_sigterm_flushes_and_still_ends_the_process_by_the_signal(script, recorder):
    process = script.start(LOG_TEN + "print('up', flush=True)\nimport time\ntime.sleep(60)")
    assert process.stdout.readline() == "up\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == -signal.SIGTERM
    assert recorder.metrics() == points(10)


@pytest.mark.parametrize("attempt", range(5))
def test_sigterm_in_the_middle_of_a_storm_of_points_loses_none_before_it(script, recorder, attempt):
    process = script.start("""
import itertools
print("up", flush=True)
for i in itertools.count(): lathe.log_metric("loss", i, step=i)
""")
    assert process.stdout.readline() == "up\n"
    recorder.wait_for(lambda: len(recorder.batches) >= 2 + attempt)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == -signal.SIGTERM
    steps = [step for _, _, step in recorder.metrics()]
    assert steps == list(range(len(steps)))


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_handler_of_the_script_for_sigterm_is_left_alone(script, recorder, when):
    handler = "import signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(5))\n"
    process = script.start((handler + LOG_TEN if when == "before" else LOG_TEN + handler) +
                           "print('up', flush=True)\ntime.sleep(60)")
    assert process.stdout.readline() == "up\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 5
    assert recorder.metrics() == points(10)


def test_what_another_exit_handler_logs_arrives_too(script, recorder):
    script.run("import atexit\natexit.register(lambda: lathe.log_metric('last', 1))\nlathe.log_metric('first', 1)")
    assert [key for key, _, _ in recorder.metrics()] == ["first", "last"]


def test_a_point_that_only_an_exit_handler_logs_arrives_too(script, recorder):
    script.run("""
import atexit, sys
del sys.modules["lathe"]
atexit.register(lambda: lathe.log_metric("only", 1))  # registered before the import, so it runs after our own handler
import lathe
""")
    assert [key for key, _, _ in recorder.metrics()] == ["only"]


def test_points_are_seen_while_the_script_runs(script, recorder):
    process = script.start(LOG_TEN + "input()")
    recorder.wait_for(lambda: recorder.batches)
    assert recorder.metrics()[0] == ("loss", 0.0, 0)
    process.kill()


def test_a_flush_does_not_wait_for_what_another_thread_goes_on_logging(script, recorder):
    script.run("""
import threading, itertools
def storm():
    for i in itertools.count():
        lathe.log_metric("storm", i, step=i)
        if done.wait(0.0001): return
done = threading.Event()
thread = threading.Thread(target=storm)
thread.start()
lathe.log_metric("loss", 1)
assert lathe.flush(10)
done.set()
""")
    assert ("loss", 1.0, 0) in recorder.metrics()


def test_a_hundred_thousand_points_keep_their_order_and_the_server_s_limits(script, recorder):
    script.run("for i in range(100_000): lathe.log_metric('loss', float(i), step=i)")
    assert recorder.metrics() == points(100_000)
    assert max(len(body["metrics"]) for body in recorder.batches) == 1000
    assert recorder.connections == 1


def test_batches_hold_at_most_a_hundred_params_and_tags_and_a_megabyte(script, recorder):
    script.run("""
lathe.log_params({f"p{i}": "x" * 6000 for i in range(450)})
lathe.set_tags({f"t{i}": "\\u00e9" * 8000 for i in range(250)})
""")
    assert len(recorder.params) == 450 and len(recorder.tags()) == 250
    assert max(len(body["params"]) for body in recorder.batches) <= 100
    assert max(len(body["tags"]) for body in recorder.batches) <= 100
    assert max(int(post[2]["Content-Length"]) for post in recorder.posts) <= 1_000_000


def test_the_last_of_several_values_of_a_tag_counts(script, recorder):
    script.run("for i in range(1000): lathe.set_tag('stage', i)")
    assert recorder.tags() == {"stage": "999"}


def test_nan_and_infinities_travel_as_protobuf_s_json(script, recorder):
    script.run("lathe.log_metrics({'a': float('nan'), 'b': float('inf'), 'c': float('-inf')})")
    assert [value for _, value, _ in recorder.metrics()] == ["NaN", "Infinity", "-Infinity"]


def test_numpy_numbers_are_numbers(script, recorder):
    script.run("""
import numpy
lathe.log_metric("a", numpy.float32(0.5), step=numpy.int64(3))
lathe.log_metric("b", numpy.int32(2), step=4.0)
lathe.log_param("seed", numpy.int64(7))
""")
    assert recorder.metrics() == [("a", 0.5, 3), ("b", 2.0, 4)]
    assert recorder.params == {"seed": "7"}


@pytest.mark.parametrize("call, sentence", [
    ("log_metric('a', 'high')", "needs a number, not the text 'high'"),
    ("log_metric('a', [1, 2])", "needs one number"),
    ("log_metric('a', None)", "needs one number"),
    ("log_metric('a', 10 ** 400)", "needs one number"),
    ("log_metric('a', 1, step='x')", "must be an integer"),
    ("log_metric('a', 1, step=1.5)", "must be an integer"),
    ("log_metric('a', 1, step=2 ** 63)", "64 bits"),
    ("log_metric('', 1)", "non-empty string"),
    ("log_metric(3, 1)", "non-empty string"),
    ("log_metric('a' * 251, 1)", "at most 250"),
    ("log_metric('a\\nb', 1)", "only letters"),
    ("log_metric('../a', 1)", "'..'"),
    ("log_metric('/a', 1)", "start with '/'"),
    ("log_metric(['a'], 1)", "non-empty string"),
    ("log_param('a?', 1)", "only letters"),
    ("set_tag('a//b', 1)", "empty parts"),
    ("log_text('x', '../up')", "without '..'"),
    ("log_model(1, 'a/b')", "without '/'"),
])
def test_a_mistake_is_a_value_error_at_the_call(script, recorder, call, sentence):
    script.run(f"""
try:
    lathe.{call}
except ValueError as error:
    assert {sentence!r} in str(error), error
else:
    raise AssertionError("accepted")
""")
    assert recorder.batches == []


def test_a_parameter_is_logged_once_and_never_changed(script, recorder):
    script.run("""
lathe.log_param("a", 1)
lathe.log_param("a", "1")
try:
    lathe.log_param("a", 2)
except ValueError as error:
    assert "is '1' and cannot become '2'" in str(error)
else:
    raise AssertionError("accepted")
""")
    assert [body["params"] for body in recorder.batches] == [[{"key": "a", "value": "1"}]]


def test_a_long_value_is_cut_with_a_sentence(script, recorder):
    done = script.run("lathe.log_param('a', 'x' * 7000)\nlathe.set_tag('b', 'y' * 9000)")
    assert len(recorder.params["a"]) == 6000 and len(recorder.tags()["b"]) == 8000
    assert "parameter 'a' was cut at 6000" in done.err and "tag 'b' was cut at 8000" in done.err


def test_outside_a_job_the_sentence_says_what_to_do(script):
    del script.environment["MLFLOW_RUN_ID"]
    assert "start_run" in script.run("lathe.log_metric('a', 1)", expect=1).err
    assert script.run("print(lathe.active_run(), lathe.flush())").out == "None True\n"


def test_start_run_makes_a_run_and_ends_it(script, recorder):
    del script.environment["MLFLOW_RUN_ID"]
    script.environment["LATHE_URL"] = script.environment.pop("MLFLOW_TRACKING_URI")
    script.environment["LATHE_TOKEN"] = script.environment.pop("MLFLOW_TRACKING_TOKEN")
    script.run("""
with lathe.start_run("churn", "first") as run:
    print(run.run_id)
    lathe.log_metric("a", 1)
assert lathe.active_run() is None
with lathe.start_run():
    raise RuntimeError("no")
""", expect=1)
    calls = [name for name, _, _ in recorder.posts]
    assert calls[:4] == ["experiments/create", "runs/create", "runs/log-batch", "runs/update"]
    assert recorder.posts[1][1]["run_name"] == "first"
    assert [body["status"] for name, body, _ in recorder.posts if name == "runs/update"] == ["FINISHED", "FAILED"]


def test_many_runs_one_after_another_leave_no_threads(script, recorder):
    del script.environment["MLFLOW_RUN_ID"]
    script.run("""
import threading
for i in range(20):
    with lathe.start_run(): lathe.log_metric("a", i)
for thread in threading.enumerate():
    if thread.name == "lathe-log": thread.join(10)
assert threading.active_count() == 1
""")
    assert [value for _, value, _ in recorder.metrics()] == list(range(20))


def test_in_a_job_start_run_is_the_job_s_run(script, recorder):
    script.run("with lathe.start_run('x') as run: lathe.log_metric('a', 1); assert run.run_id == 'job-1'")
    assert [name for name, _, _ in recorder.posts] == ["runs/log-batch"]
