"""MLflow's client class: the calls that scripts make, for reading and for the registry."""

from mlflow.tracking.client import MlflowClient  # noqa: F401


def get_tracking_uri():
    import mlflow

    return mlflow.get_tracking_uri()
