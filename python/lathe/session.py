"""Which run this process logs to: the job's, or one made here; runs nested in it; and what the process's end does.

One run belongs to the whole process: the job's, or the outermost `start_run`. Runs started inside another one belong
to the thread that started them, so that threads can try things side by side, each in a run of its own.
"""

import os
import signal
import threading
import time

from lathe import servers
from lathe.buffer import EXIT_PATIENCE, now_ms
from lathe.client import Client, LatheError, Refused, say
from lathe.run import Run

_TERM_PATIENCE = 5.0  # seconds between SIGTERM and our leaving: less than what the server grants before SIGKILL

_lock = threading.RLock()
_forking = threading.local()  # the forking thread's signal mask
_here = threading.local()  # .runs: this thread's stack
_process_run = None
_open = []  # every run that may still hold entries
_ending = False  # the process's last words: what is logged from now on is sent at once


def current():
    """The run to log to. Raises LatheError where there is none."""
    stack = getattr(_here, "runs", None)
    if stack:
        return stack[-1]
    return _process_run or _open_job_run()


def active():
    """The run to log to, or None outside a job and outside `start_run`."""
    stack = getattr(_here, "runs", None)
    if stack:
        return stack[-1]
    return _open_job_run() if _process_run is None and os.environ.get("MLFLOW_RUN_ID") else _process_run


def client():
    """A connection to the server for reading: the run's own where there is one."""
    run = active()
    return run.client if run is not None else Client(*servers.find())


def create(experiment_id, run_name=None, tags=None, parent=None, start_time=None):
    """Makes a run on the server and answers it as a `Run`; it is not the active one yet."""
    tags = dict(tags or {})
    if parent is not None:
        tags["mlflow.parentRunId"] = parent.run_id
    request = {"experiment_id": experiment_id, "start_time": start_time or now_ms(),
               "tags": [{"key": key, "value": str(value)} for key, value in tags.items()]}
    if run_name:
        request["run_name"] = run_name
    where = parent.server if parent is not None else servers.find()
    info = Client(*where).post("runs/create", request, repeatable=False)["run"]["info"]
    return Run(where, info["run_id"])


def start(experiment=None, run_name=None, tags=None, nested=False):
    """A new run, active from now on: nested in this thread's active one, or the process's."""
    parent = active() if nested else None
    if parent is not None and experiment is None:
        experiment_id = parent.info()["info"]["experiment_id"]
    else:
        experiment_id = experiment_of(experiment or "Default")
    run = create(experiment_id, run_name, tags, parent)
    enter(run)
    return run


def experiment_of(name):
    """The id of the experiment with this name, made where there is none."""
    connection = client()
    try:
        found = connection.get("experiments/get-by-name", {"experiment_name": name})
        return found["experiment"]["experiment_id"]
    except Refused as error:
        if error.status != 404:
            raise
    return connection.post("experiments/create", {"name": name}, repeatable=False)["experiment_id"]


def open_run(run_id):
    """A run by its id, to be written: the one that is open already, or from now on."""
    if run_id == os.environ.get("MLFLOW_RUN_ID"):
        return _open_job_run()
    with _lock:
        for run in _open:
            if run.run_id == run_id:
                return run
        run = Run(servers.find(), run_id)
        _open.append(run)
        return run


def close_run(run_id):
    """Lets go of a run that nothing more will be logged to; the job's own is only flushed."""
    with _lock:
        found = [run for run in _open if run.run_id == run_id]
        if run_id != os.environ.get("MLFLOW_RUN_ID"):
            _open[:] = [run for run in _open if run.run_id != run_id]
    for run in found:
        run.flush()
        if run_id != os.environ.get("MLFLOW_RUN_ID"):
            run.let_go()


def flush_all():
    """Waits until the server has what any open run was told, so that a search or a read finds it."""
    for run in list(_open):
        run.flush()


def enter(run):
    """Makes `run` the active one: of the process where there is none yet, else of this thread."""
    global _process_run
    with _lock:
        if run not in _open:
            _open.append(run)
        if _process_run is None and not os.environ.get("MLFLOW_RUN_ID"):
            _process_run = run
        else:
            if not hasattr(_here, "runs"):
                _here.runs = []
            _here.runs.append(run)
    _prepare(run)


def leave(run, status=None):
    """`run` is not active any more; with a `status` it is closed on the server too."""
    global _process_run
    with _lock:
        stack = getattr(_here, "runs", [])
        if run in stack:
            stack.remove(run)
        elif run is _process_run:
            _process_run = None
    if status is None:
        run.flush()
        return
    with _lock:
        if run in _open:
            _open.remove(run)
    run.end(status)


def _open_job_run():
    global _process_run
    with _lock:
        if _process_run is None:
            run_id = os.environ.get("MLFLOW_RUN_ID")
            if not run_id:
                raise LatheError("there is no run to log to: run this as a job (lathe job create), "
                                 "or inside `with lathe.start_run():`")
            _process_run = Run(servers.find(), run_id)
            _open.append(_process_run)
            _prepare(_process_run)
        return _process_run


def _prepare(run):
    if _ending:
        run.close()
    elif threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _on_term)
    if os.environ.get("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "").lower() in ("true", "1"):
        watch_system(run)


def watch_system(run):
    """Samples the machine into the run from now on; a failure is one sentence."""
    try:
        run.watch_system()
    except Exception as error:
        say(f"system metrics are not logged: {error}")


def close_all(patience=EXIT_PATIENCE):
    """Flushes every open run, within `patience` seconds for all of them."""
    give_up = time.monotonic() + patience
    for run in list(_open):
        run.close(max(give_up - time.monotonic(), 0.0))


def at_exit():
    global _ending
    _ending = True
    close_all()


def _on_term(number, frame):
    """Only where the script has no handler of its own: flush, then die of the signal as if we had not been here."""
    close_all(_TERM_PATIENCE)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)


def before_fork():
    """Holds SIGTERM back while a child still has our handler: Python drops a signal that arrives in that moment."""
    ours = signal.getsignal(signal.SIGTERM) is _on_term
    _forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM}) if ours else None


def after_fork_in_parent():
    if _forking.mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, _forking.mask)


def after_fork_in_child():
    """A worker process logs to the same runs, through queues and connections of its own, if it logs at all."""
    global _lock
    _lock = threading.RLock()
    for run in _open:
        run.after_fork()
    if _forking.mask is not None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, _forking.mask)
