"""The native form of a model that turns out to be scikit-learn's: with it, predictions need no Python."""

import json

_MOST_BYTES = 256 << 20


def native_form(model):
    """The document for a loaded pyfunc model, as bytes; empty, with a line for the log, where there is none.

    Whoever gets it compares its answers on sample rows with the original's, which stand in it."""
    flavors = getattr(model.metadata, "flavors", None) or {}
    function = flavors.get("python_function") or {}
    if "sklearn" not in flavors or function.get("loader_module") != "mlflow.sklearn":
        return b""
    if (function.get("predict_fn") or "predict") != "predict":
        return _none(f"it answers by {function['predict_fn']}, not by predict")
    try:
        from lathe.models.native import NotNative
        from lathe.models.sklearn_native import convert
    except ImportError as error:
        return _none(str(error))
    try:
        document = convert(_estimator(model), _example(model))
        content = json.dumps(document, allow_nan=False, separators=(",", ":")).encode()
    except NotNative as why:
        return _none(str(why))
    except Exception as error:  # a scikit-learn of another version keeps other things
        return _none(f"{type(error).__name__}: {error}")
    return content if len(content) <= _MOST_BYTES else _none("its native form would be too large")


def _none(why):
    print(f"the model stays in Python: {why}")
    return b""


def _estimator(model):
    """scikit-learn's own object, below what MLflow of this version wraps around it."""
    if hasattr(model, "get_raw_model"):
        return model.get_raw_model()
    wrapped = model._model_impl
    return getattr(wrapped, "sklearn_model", wrapped)


def _example(model):
    """Rows that the model is known to take, or None."""
    if not getattr(model.metadata, "saved_input_example_info", None):
        return None
    try:
        example = model.input_example
    except Exception:
        return None
    return example.to_numpy().tolist() if hasattr(example, "to_numpy") else example
