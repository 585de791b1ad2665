"""`infer_signature`, and the class that it answers."""

from lathe.signature import Signature as ModelSignature  # noqa: F401
from lathe.signature import infer
from mlflow.exceptions import translated


class _TypeHints:
    """Models that MLflow 3 has pickled refer to it."""

    input = output = None


@translated
def infer_signature(model_input=None, model_output=None, params=None):
    return infer(model_input, model_output, params)
