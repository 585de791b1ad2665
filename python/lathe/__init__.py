"""Log from inside a Lathe job: metrics, parameters, tags, artifacts and models, with the standard library alone.

    import lathe
    lathe.log_metric("loss", 0.3, step=1)

In a job the run is there already (MLFLOW_TRACKING_URI, MLFLOW_RUN_ID, MLFLOW_TRACKING_TOKEN). Elsewhere `start_run`
makes one on the server that LATHE_URL and LATHE_TOKEN, or MLflow's own variables, name.

`log_metric(s)`, `log_param(s)` and `set_tag(s)` cost microseconds: they are sent in the background, in order, while
the server is restarted too, and flushed when the process ends. Only a wrong name or value raises, as ValueError.
`log_artifact(s)` and `log_model` return when the server has the files, and raise `LatheError` if it cannot take them.
"""

import atexit
import contextlib
import json
import os
import signal
import threading

from lathe.buffer import EXIT_PATIENCE, now_ms
from lathe.client import Client, LatheError, Refused, Unavailable
from lathe.run import Run

__all__ = [
    "LatheError", "Refused", "Run", "Unavailable", "active_run", "flush", "log_artifact", "log_artifacts", "log_dict",
    "log_metric", "log_metrics", "log_model", "log_param", "log_params", "log_text", "set_tag", "set_tags", "start_run",
]

_TERM_PATIENCE = 5.0  # seconds between SIGTERM and our leaving: less than what the server grants before SIGKILL

_lock = threading.RLock()
_forking = threading.local()  # the forking thread's signal mask
_active = None
_ending = False  # the process's last words: what is logged from now on is sent at once


def log_metric(key, value, step=None):
    """Adds one point to a metric. `value` may be NaN or infinite; `step` is 0 when left out."""
    (_active or _run()).log_metric(key, value, step)


def log_metrics(metrics, step=None):
    """Adds a point to each metric of a dict, with one step and one time."""
    _run().log_metrics(metrics, step)


def log_param(key, value):
    """Records a parameter, as text. A parameter never changes: logging another value raises ValueError."""
    _run().log_params({key: value})


def log_params(params):
    _run().log_params(params)


def set_tag(key, value):
    """Sets a tag, as text; the last value counts."""
    _run().set_tags({key: value})


def set_tags(tags):
    _run().set_tags(tags)


def log_artifact(local_path, artifact_path=None):
    """Uploads a file (or a folder with its name) into the run's artifacts, below the folder `artifact_path`."""
    _run().log_artifact(local_path, artifact_path)


def log_artifacts(local_dir, artifact_path=None):
    """Uploads what a folder holds into the run's artifacts, below the folder `artifact_path`."""
    _run().log_artifacts(local_dir, artifact_path)


def log_text(text, artifact_file):
    """Stores a string as the artifact `artifact_file`."""
    _run().log_bytes(text.encode(), artifact_file)


def log_dict(dictionary, artifact_file):
    """Stores a dict or list as the JSON artifact `artifact_file`."""
    _run().log_bytes(json.dumps(dictionary, indent=2).encode(), artifact_file)


def log_model(model, name, registered_model_name=None):
    """Stores a trained model below the artifact folder `name`; with `registered_model_name` as a new version of that
    model too, which is returned (a string) once it is ready, else None.

    XGBoost's boosters and scikit-learn wrappers are stored in XGBoost's own format, with their hyperparameters as the
    run's parameters. Any other object is pickled (by cloudpickle where installed), and the server never unpickles it.
    """
    from lathe.models import log_model_of  # here, because not every script has to pay for its imports

    return log_model_of(_run(), model, name, registered_model_name)


def flush(timeout=EXIT_PATIENCE):
    """Waits until the server has everything logged so far; False if `timeout` seconds were not enough."""
    run = active_run()
    return run is None or run.flush(timeout)


def active_run():
    """The run that is being logged to (`.run_id`, `.url`), or None outside a job and outside `start_run`."""
    if _active is None and os.environ.get("MLFLOW_RUN_ID"):
        return _run()
    return _active


@contextlib.contextmanager
def start_run(experiment="Default", run_name=None):
    """A run for a script that is not a job: made at the start, FINISHED at the end, FAILED after an exception.

    In a job it is the job's own run, which is left as it is: its name, its experiment and its end are the job's.
    """
    if active_run() is not None:
        yield active_run()
        return
    server = _server()
    run = Run(server, _create_run(Client(*server), experiment, run_name))
    _activate(run)
    status = "FAILED"
    try:
        yield run
        status = "FINISHED"
    except SystemExit as error:
        status = "FAILED" if error.code else "FINISHED"
        raise
    finally:
        _activate(None)
        run.end(status)


def _run():
    global _active
    if _active is None:
        with _lock:
            if _active is None:
                run_id = os.environ.get("MLFLOW_RUN_ID")
                if not run_id:
                    raise LatheError("there is no run to log to: run this as a job (lathe job create), "
                                     "or inside `with lathe.start_run():`")
                _activate(Run(_server(), run_id))
    return _active


def _activate(run):
    global _active
    _active = run
    if run is None:
        return
    if _ending:
        run.close()
    elif threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _on_term)


def _server():
    environment = os.environ.get
    url = environment("MLFLOW_TRACKING_URI") or environment("LATHE_URL")
    if not url:
        raise LatheError("no server is named: set LATHE_URL (and LATHE_TOKEN), or run this as a job")
    token = environment("MLFLOW_TRACKING_TOKEN") or environment("LATHE_TOKEN")
    return url, token, environment("MLFLOW_TRACKING_SERVER_CERT_PATH")


def _create_run(client, experiment, run_name):
    try:
        found = client.get("experiments/get-by-name", {"experiment_name": experiment})
        experiment_id = found["experiment"]["experiment_id"]
    except Refused as error:
        if error.status != 404:
            raise
        experiment_id = client.post("experiments/create", {"name": experiment}, repeatable=False)["experiment_id"]
    request = {"experiment_id": experiment_id, "start_time": now_ms(), "tags": []}
    if run_name:
        request["run_name"] = run_name
    return client.post("runs/create", request, repeatable=False)["run"]["info"]["run_id"]


def _at_exit():
    global _ending
    _ending = True
    if _active is not None:
        _active.close()


def _on_term(number, frame):
    """Only where the script has no handler of its own: flush, then die of the signal as if we had not been here."""
    if _active is not None:
        _active.close(_TERM_PATIENCE)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)


def _before_fork():
    """Holds SIGTERM back while a child still has our handler: Python drops a signal that arrives in that moment."""
    ours = signal.getsignal(signal.SIGTERM) is _on_term
    _forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM}) if ours else None


def _after_fork_in_parent():
    if _forking.mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, _forking.mask)


def _after_fork_in_child():
    """A worker process logs to the same run, through a queue and a connection of its own, if it logs at all."""
    global _lock
    _lock = threading.RLock()
    if _active is not None:
        _active.after_fork()
    if _forking.mask is not None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, _forking.mask)


atexit.register(_at_exit)
os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
