"""The functions of `mlflow` itself: runs, logging, searching. A job's first run is the job's own.

Logging is buffered as `lathe.log_metric` is; every read and every end of a run flushes first.
"""

import atexit
import os
import threading

from lathe import servers, session, yaml_text
from lathe.buffer import say
from mlflow.entities import Run
from mlflow.exceptions import MlflowException, translated

_NOTE = "mlflow.note.content"
_here = threading.local()  # .runs: the ActiveRuns of this thread
_job_run_is_free = True  # the run of MLFLOW_RUN_ID is given to the first start_run
_last = None
_system_metrics = None
_interval = None
_said = set()


class ActiveRun(Run):
    """A run that has been started; `with` ends it, FAILED after an exception."""

    def __init__(self, target):
        super().__init__(target.info())
        self.target = target

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        end_run("FINISHED" if kind is None else "FAILED")
        return False


@translated
def start_run(run_id=None, experiment_id=None, run_name=None, nested=False, parent_run_id=None, tags=None,
              description=None, log_system_metrics=None):
    """Starts a run, the first time the job's own; `nested=True` starts one below this thread's active run."""
    global _job_run_is_free
    stack = _stack()
    if stack and not nested:
        raise Exception(f"Run with UUID {stack[0].info.run_id} is already active. To start a new run, first end the "
                        "current run with mlflow.end_run(). To start a nested run, call start_run with nested=True")
    tags = {**(tags or {}), **({_NOTE: description} if description else {})}
    job = os.environ.get("MLFLOW_RUN_ID")
    if run_id or (job and _job_run_is_free and not parent_run_id):
        _job_run_is_free = _job_run_is_free and run_id not in (None, job)
        target = session.open_run(run_id or job)
        if tags:
            target.set_tags(tags)
    else:
        parent = parent_run_id or (stack[-1].info.run_id if stack else None)
        experiment = str(experiment_id) if experiment_id is not None else _experiment_id()
        target = session.create(experiment, run_name, tags, session.open_run(parent) if parent else None)
    session.enter(target)
    stack.append(ActiveRun(target))
    if _system_metrics if log_system_metrics is None else log_system_metrics:
        target.watch_system(_interval)
    return stack[-1]


@translated
def end_run(status="FINISHED"):
    """Ends this thread's active run. The job's own run goes on: its end is the job's."""
    global _last
    stack = _stack()
    if not stack:
        return
    ended = stack.pop()
    _last = ended.info.run_id
    own = ended.info.run_id == os.environ.get("MLFLOW_RUN_ID")
    session.leave(ended.target, None if own else status if isinstance(status, str) else "FINISHED")


def active_run():
    """The run that this thread has started, or None."""
    stack = _stack()
    return stack[-1] if stack else None


def last_active_run():
    run_id = active_run().info.run_id if active_run() else _last or os.environ.get("MLFLOW_RUN_ID")
    return get_run(run_id) if run_id else None


@translated
def log_metric(key, value, step=None, synchronous=None, timestamp=None, run_id=None, **_):
    _target(run_id).log_metric(key, value, step, timestamp)


@translated
def log_metrics(metrics, step=None, synchronous=None, run_id=None, timestamp=None, **_):
    _target(run_id).log_metrics(metrics, step, timestamp)


@translated
def log_param(key, value, synchronous=None):
    _target().log_params({key: value})
    return value


@translated
def log_params(params, synchronous=None, run_id=None):
    _target(run_id).log_params(params)


@translated
def set_tag(key, value, synchronous=None):
    _target().set_tags({key: value})


@translated
def set_tags(tags, synchronous=None):
    _target().set_tags(tags)


@translated
def delete_tag(key):
    target = _target()
    target.flush()
    target.client.post("runs/delete-tag", {"run_id": target.run_id, "key": key})


@translated
def log_artifact(local_path, artifact_path=None, run_id=None):
    _target(run_id).log_artifact(local_path, artifact_path)


@translated
def log_artifacts(local_dir, artifact_path=None, run_id=None):
    _target(run_id).log_artifacts(local_dir, artifact_path)


@translated
def log_text(text, artifact_file, run_id=None):
    _target(run_id).log_bytes(text.encode(), artifact_file)


@translated
def log_dict(dictionary, artifact_file, run_id=None):
    """As YAML where the file's name ends so, else as JSON."""
    import json

    yaml = str(artifact_file).endswith((".yml", ".yaml"))
    text = yaml_text.dump(dictionary) if yaml and dictionary else json.dumps(dictionary, indent=2)
    _target(run_id).log_bytes(text.encode(), artifact_file)


@translated
def log_figure(figure, artifact_file, *, save_kwargs=None):
    """A matplotlib figure in the format of the file's name, or a plotly figure as HTML."""
    import io

    if hasattr(figure, "savefig"):
        out = io.BytesIO()
        kind = os.path.splitext(artifact_file)[1].lstrip(".") or "png"
        figure.savefig(out, format=kind, **(save_kwargs or {}))
        data = out.getvalue()
    elif hasattr(figure, "to_html"):
        data = figure.to_html(**(save_kwargs or {})).encode()
    else:
        raise TypeError(f"a figure of matplotlib or plotly was expected, not a {type(figure).__name__}")
    _target().log_bytes(data, artifact_file)


def get_artifact_uri(artifact_path=None):
    uri = _target().artifact_uri()
    return f"{uri}/{artifact_path}" if artifact_path else uri


def set_experiment(experiment_name=None, experiment_id=None):
    """A job is a run of its experiment already, so that naming another one changes nothing; it is said once."""
    own = os.environ.get("MLFLOW_EXPERIMENT_NAME"), os.environ.get("MLFLOW_EXPERIMENT_ID")
    if (experiment_name not in (None, own[0])) or (experiment_id is not None and str(experiment_id) != own[1]):
        _once(f"mlflow.set_experiment({experiment_name or experiment_id!r}) changes nothing: a job is a run of its "
              f"experiment already, here {own[0]!r}; name the experiment in the job's file (experiment_name).")
    return get_experiment(_experiment_id())


def set_tracking_uri(uri):
    """A job logs to its own server; another address is said once."""
    if uri and str(uri).rstrip("/") != get_tracking_uri().rstrip("/"):
        _once(f"mlflow.set_tracking_uri({str(uri)!r}) changes nothing: Lathe's subset of MLflow logs to the job's "
              "server.")


def get_tracking_uri():
    return servers.find()[0]


def is_tracking_uri_set():
    return True


set_registry_uri, get_registry_uri = set_tracking_uri, get_tracking_uri


def enable_system_metrics_logging():
    global _system_metrics
    _system_metrics = True


def disable_system_metrics_logging():
    global _system_metrics
    _system_metrics = False


def set_system_metrics_sampling_interval(interval):
    global _interval
    _interval = interval


def search_runs(experiment_ids=None, filter_string="", run_view_type=1, max_results=100_000, order_by=None,
                output_format="pandas", search_all_experiments=False, experiment_names=None):
    """A DataFrame, or with output_format="list" a list of Run."""
    from lathe import search

    from mlflow.entities import ViewType

    @translated
    def find():
        session.flush_all()
        ids = search.experiments(session.client(), experiment_names, experiment_ids, search_all_experiments)
        found = search.find_runs(session.client(), ids, filter_string, order_by, max_results,
                                 ViewType.to_string(run_view_type))
        return [Run(run) for run in found] if output_format == "list" else search.frame(list(found))

    return find()


def register_model(model_uri, name, await_registration_for=300, *, tags=None, **_):
    """Makes the model folder at `runs:/...` or `models:/...` a version of the registered model `name`."""
    from mlflow.tracking import MlflowClient

    return MlflowClient().register(model_uri, name, await_registration_for, tags)


def _of_client(name):
    def call(*args, **kwargs):
        from mlflow.tracking import MlflowClient

        return getattr(MlflowClient(), name)(*args, **kwargs)

    call.__name__ = call.__qualname__ = name
    return call


get_run, get_parent_run, delete_run = map(_of_client, ("get_run", "get_parent_run", "delete_run"))
get_experiment, get_experiment_by_name = map(_of_client, ("get_experiment", "get_experiment_by_name"))
create_experiment, delete_experiment = map(_of_client, ("create_experiment", "delete_experiment"))
search_experiments, search_model_versions = map(_of_client, ("search_experiments", "search_model_versions"))
search_registered_models = _of_client("search_registered_models")


def set_experiment_tag(key, value):
    from mlflow.tracking import MlflowClient

    MlflowClient().set_experiment_tag(_experiment_id(), key, value)


def _stack():
    if not hasattr(_here, "runs"):
        _here.runs = []
    return _here.runs


def _target(run_id=None):
    """The run to log to: the one named, else the active one, else one that is started now."""
    if run_id:
        return session.open_run(run_id)
    return (active_run() or start_run()).target


def _experiment_id():
    return os.environ.get("MLFLOW_EXPERIMENT_ID") or "0"


def _once(sentence):
    if sentence not in _said:
        _said.add(sentence)
        say(sentence)


@atexit.register
def _end_all():
    while active_run():
        try:
            end_run()
        except MlflowException as error:
            say(str(error))
