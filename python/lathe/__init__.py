"""Log from inside a Lathe job: metrics, parameters, tags, artifacts and models, with the standard library alone.

    import lathe
    lathe.autolog()  # scikit-learn, XGBoost and torch tell by themselves
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

from lathe import session as _session
from lathe.buffer import EXIT_PATIENCE
from lathe.client import LatheError, Refused, Unavailable
from lathe.run import Run

__all__ = [
    "LatheError", "Refused", "Run", "Unavailable", "active_run", "autolog", "flush", "log_artifact", "log_artifacts",
    "log_dict", "log_metric", "log_metrics", "log_model", "log_param", "log_params", "log_system_metrics", "log_text",
    "search_runs", "set_tag", "set_tags", "start_run",
]

_current = _session.current


def log_metric(key, value, step=None):
    """Adds one point to a metric. `value` may be NaN or infinite; `step` is 0 when left out."""
    _current().log_metric(key, value, step)


def log_metrics(metrics, step=None):
    """Adds a point to each metric of a dict, with one step and one time."""
    _current().log_metrics(metrics, step)


def log_param(key, value):
    """Records a parameter, as text. A parameter never changes: logging another value raises ValueError."""
    _current().log_params({key: value})


def log_params(params):
    _current().log_params(params)


def set_tag(key, value):
    """Sets a tag, as text; the last value counts."""
    _current().set_tags({key: value})


def set_tags(tags):
    _current().set_tags(tags)


def log_artifact(local_path, artifact_path=None):
    """Uploads a file (or a folder with its name) into the run's artifacts, below the folder `artifact_path`."""
    _current().log_artifact(local_path, artifact_path)


def log_artifacts(local_dir, artifact_path=None):
    """Uploads what a folder holds into the run's artifacts, below the folder `artifact_path`."""
    _current().log_artifacts(local_dir, artifact_path)


def log_text(text, artifact_file):
    """Stores a string as the artifact `artifact_file`."""
    _current().log_bytes(text.encode(), artifact_file)


def log_dict(dictionary, artifact_file):
    """Stores a dict or list as the JSON artifact `artifact_file`."""
    _current().log_bytes(json.dumps(dictionary, indent=2).encode(), artifact_file)


def log_model(model, name, registered_model_name=None, signature=None, input_example=None):
    """Stores a trained model below the artifact folder `name`; with `registered_model_name` as a new version of that
    model too, which is returned (a string) once it is ready, else None.

    XGBoost's boosters and scikit-learn wrappers are stored in XGBoost's own format, with their hyperparameters as the
    run's parameters. A torch module is exported to ONNX, for which it needs an `input_example`: a tensor or array with
    one batch, or a tuple or dict of them. scikit-learn's estimators are pickled, and most are written in a native form
    beside that, which the server runs; it never unpickles. Any other object is pickled alone (by cloudpickle where
    installed). `signature` is MLflow's; left out, it is what the model tells, or what the example shows.
    """
    from lathe.models import log_model_of  # here, because not every script has to pay for its imports

    return log_model_of(_current(), model, name, registered_model_name, signature, input_example)


def autolog(disable=False, **options):
    """Makes scikit-learn, XGBoost and torch log what they train, whether imported before or after this call.

    `disable=True` puts everything back. Options, as MLflow names them: log_models, log_model_signatures,
    log_input_examples (False), registered_model_name, extra_tags, max_tuning_runs (5), importance_types, silent, and
    log_every_n_step (10) for torch. What cannot be logged is said once, and never ends the training.
    """
    from lathe.autologging import autolog as switch

    switch(disable=disable, **options)


def log_system_metrics(interval=None):
    """Samples processor, memory, disk, network and GPUs into the active run, every `interval` (10) seconds."""
    _current().watch_system(interval)


def search_runs(filter_string="", order_by=None, max_results=100_000, **where):
    """Runs as a pandas DataFrame, or as a list of dicts with the same columns where pandas is not installed.

    Columns are MLflow's: run_id, status, start_time, ..., metrics.NAME, params.NAME, tags.NAME. `where` says which
    experiments: experiment_names, experiment_ids or search_all_experiments=True; left out, the active run's or
    "Default". `run_view_type` is ACTIVE_ONLY, DELETED_ONLY or ALL; `output_format` is "pandas" or "list".
    """
    from lathe.search import search_runs as search

    return search(filter_string, order_by, max_results, **where)


def flush(timeout=EXIT_PATIENCE):
    """Waits until the server has everything logged so far; False if `timeout` seconds were not enough."""
    run = active_run()
    return run is None or run.flush(timeout)


def active_run():
    """The run that is being logged to (`.run_id`, `.url`), or None outside a job and outside `start_run`."""
    return _session.active()


@contextlib.contextmanager
def start_run(experiment=None, run_name=None, nested=False, tags=None, log_system_metrics=False):
    """A run for a script that is not a job: made at the start, FINISHED at the end, FAILED after an exception.

    In a job, and inside another `start_run`, it is the run that is there already, which is left as it is: its name,
    its experiment and its end are the job's. With `nested=True` it is a new run, the child of that one.
    """
    run = None if nested else active_run()
    ours = run is None
    if ours:
        run = _session.start(experiment, run_name, tags, nested)
    if log_system_metrics:
        _session.watch_system(run)
    if not ours:
        yield run
        return
    status = "FAILED"
    try:
        yield run
        status = "FINISHED"
    except SystemExit as error:
        status = "FAILED" if error.code else "FINISHED"
        raise
    finally:
        _session.leave(run, status)


atexit.register(_session.at_exit)
os.register_at_fork(before=_session.before_fork, after_in_parent=_session.after_fork_in_parent,
                    after_in_child=_session.after_fork_in_child)
