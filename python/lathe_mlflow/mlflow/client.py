"""`from mlflow.client import MlflowClient`."""

from mlflow.tracking.client import MlflowClient  # noqa: F401
