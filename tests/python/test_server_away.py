"""A server that fails, restarts or stays away never ends the script, and loses nothing within the time limit."""

import re
import signal


def points(count):
    return [("loss", float(step), step) for step in range(count)]


LOG = "for i in range({0}, {1}): lathe.log_metric('loss', float(i), step=i)\n"


def once(metrics):
    """What the server keeps: identical points are one point."""
    return list(dict.fromkeys(metrics))


def test_points_wait_through_a_restart_of_the_server(script, recorder, tmp_path):
    gate = tmp_path / "gate"
    process = script.start(LOG.format(0, 50) + f"""
lathe.flush()
print('up', flush=True)
import os, time
while not os.path.exists({str(gate)!r}): time.sleep(0.01)
""" + LOG.format(50, 100) + "print('on', flush=True)\n")
    assert process.stdout.readline() == "up\n"
    recorder.stop()
    gate.touch()
    assert process.stdout.readline() == "on\n"
    assert recorder.metrics() == points(50)
    recorder.start()
    _, err = process.communicate(timeout=30)
    assert process.returncode == 0 and err == ""
    assert recorder.metrics() == points(100)


def test_a_batch_whose_answer_is_lost_is_sent_again(script, recorder):
    recorder.failures = ["lose the answer", "hang up", 503, 500, 429]
    script.run(LOG.format(0, 10))
    assert once(recorder.metrics()) == points(10)
    assert len(recorder.batches) == 2


def test_after_the_time_limit_a_sentence_says_what_is_lost_and_the_script_goes_on(script, recorder):
    recorder.stop()
    done = script.run("lathe.buffer.PATIENCE = 0.2\n" + LOG.format(0, 10) + "print('end')")
    assert done.out == "end\n"
    assert re.search(r"lathe: http://127\.0\.0\.1:\d+ does not answer \(.*refused\); giving up after", done.err)
    assert "at least 10 metrics, parameters or tags of run job-1 were not recorded" in done.err


def test_after_giving_up_logging_resumes_with_the_server(script, recorder, tmp_path):
    gate = tmp_path / "gate"
    recorder.stop()
    process = script.start(f"""
lathe.buffer.PATIENCE = 0.2
lathe.log_metric("lost", 1)
lathe.flush()
print("lost", flush=True)
import os, time
while not os.path.exists({str(gate)!r}): time.sleep(0.01)
lathe.log_metric("kept", 1)
""")
    assert process.stdout.readline() == "lost\n"
    recorder.start()
    gate.touch()
    process.communicate(timeout=30)
    assert [key for key, _, _ in recorder.metrics()] == ["kept"]


def test_a_full_queue_makes_the_script_wait_instead_of_losing_points(script, recorder):
    recorder.failures = [503] * 3
    script.run("lathe.buffer._CAPACITY = 20_000\n" + LOG.format(0, 2000))
    assert recorder.metrics() == points(2000)


def test_one_refused_entry_does_not_take_its_neighbours_along(script, recorder):
    def refuse(path, body):
        if any(param["key"] == "bad" for param in body.get("params", ())):
            return "Changing param values is not allowed."
    recorder.refuse = refuse
    done = script.run(LOG.format(0, 10) + "lathe.log_params({'good': 1, 'bad': 2, 'fine': 3})")
    assert recorder.metrics() == points(10)
    assert recorder.params == {"good": "1", "fine": "3"}
    assert "not recorded: parameter 'bad': Changing param values is not allowed. (HTTP 400)" in done.err
    assert "at least 1 metrics" in done.err


def test_a_token_that_is_refused_is_said_once(script, recorder):
    recorder.failures = [401] * 100
    done = script.run(LOG.format(0, 3000))
    assert done.err.count("(HTTP 401)") == 1
    assert "at least 3000" in done.err


def start_nowhere(script, recorder):
    """A script without a job whose server is away, when it has said so; with what it said."""
    script.environment = {**script.environment, "LATHE_URL": recorder.url, "LATHE_TOKEN": "secret"}
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID"):
        del script.environment[name]
    recorder.stop()
    # A shell's background processes ignore Ctrl-C, and what they start does too.
    heed = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    process = script.start(heed + "with lathe.start_run():\n    print('started', flush=True)\n")
    return process, process.stderr.readline()


def test_a_script_that_waits_for_its_server_says_so(script, recorder):
    process, said = start_nowhere(script, recorder)
    wanted = rf"lathe: {re.escape(recorder.url)} does not answer \(.*refused\); trying again for up to \d+ s\.\n"
    assert re.fullmatch(wanted, said)
    recorder.start()
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, "started\n", ""), "once, and it goes on when the server is there"


def test_ctrl_c_ends_the_wait_for_a_server(script, recorder):
    process, _ = start_nowhere(script, recorder)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10)
    assert process.returncode != 0 and err.endswith("KeyboardInterrupt\n")
