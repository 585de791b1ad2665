"""A subset of MLflow's Python API that logs to Lathe, for jobs whose environment has no mlflow of its own.

An mlflow that the environment provides always wins; LATHE_MLFLOW=off turns this one off. What is missing here says so.
"""

import importlib
import sys

from mlflow import exceptions  # noqa: F401
from mlflow._missing import Missing, explain
from mlflow.exceptions import MlflowException  # noqa: F401
from mlflow.fluent import (  # noqa: F401
    ActiveRun, active_run, create_experiment, delete_experiment, delete_run, delete_tag, disable_system_metrics_logging,
    enable_system_metrics_logging, end_run, get_artifact_uri, get_experiment, get_experiment_by_name, get_parent_run,
    get_registry_uri, get_run, get_tracking_uri, is_tracking_uri_set, last_active_run, log_artifact, log_artifacts,
    log_dict, log_figure, log_metric, log_metrics, log_param, log_params, log_text, register_model, search_experiments,
    search_model_versions, search_registered_models, search_runs, set_experiment, set_experiment_tag,
    set_registry_uri, set_system_metrics_sampling_interval, set_tag, set_tags, set_tracking_uri, start_run,
)

__version__ = "3.3.2"  # of MLflow's API, as the server's /version says; `mlflow.is_lathe` tells that this is the subset
is_lathe = True

_LAZY = {"sklearn", "xgboost", "pytorch", "onnx", "pyfunc", "models", "artifacts", "tracking", "entities", "client",
         "types", "utils"}


def autolog(disable=False, exclude_flavors=None, **options):
    """scikit-learn, XGBoost and torch log what they train. What other libraries train is not seen."""
    from lathe.autologging import LIBRARIES, autolog as switch

    left_out = {"pytorch": "torch"}
    excluded = {left_out.get(name, name) for name in exclude_flavors or ()}
    switch([name for name in LIBRARIES if name not in excluded], disable, **options)


def __getattr__(name):
    if name in _LAZY:
        return importlib.import_module(f"mlflow.{name}")
    if name == "MlflowClient":
        from mlflow.tracking import MlflowClient

        return MlflowClient
    if name == "infer_signature":  # not MLflow's, and often meant
        raise AttributeError("infer_signature is in mlflow.models: `from mlflow.models import infer_signature`")
    raise AttributeError(explain(f"mlflow.{name}"))


sys.meta_path.append(Missing)
