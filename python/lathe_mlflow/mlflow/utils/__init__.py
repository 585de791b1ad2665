"""The few of MLflow's utilities that other libraries use."""

from mlflow.utils import mlflow_tags, validation  # noqa: F401
