"""Signatures, and what is known of a logged model."""

from lathe import artifacts, session
from lathe.models import folder as folders
from lathe.signature import Signature as ModelSignature  # noqa: F401
from mlflow.exceptions import translated
from mlflow.models.signature import infer_signature  # noqa: F401


class ModelInfo:
    """What MLmodel says, with MLflow's attributes."""

    def __init__(self, model, model_uri, version=None):
        self.artifact_path = self.name = model.get("artifact_path")
        self.flavors = model["flavors"]
        self.metadata = model.get("metadata")
        self.model_id = model.get("model_id")
        self.model_uri = model_uri
        self.model_uuid = model.get("model_uuid")
        self.registered_model_version = version
        self.run_id = model.get("run_id")
        self.saved_input_example_info = model.get("saved_input_example_info")
        self.signature = folders.signature_of(model)
        self.utc_time_created = model.get("utc_time_created")


@translated
def get_model_info(model_uri):
    return ModelInfo(folders.read(artifacts.download(session.client(), model_uri)), model_uri)


def __getattr__(name):
    from mlflow._missing import explain

    raise AttributeError(explain(f"mlflow.models.{name}"))
