"""Pickled models: scikit-learn's, as MLflow stores them, and any other Python object. The server never unpickles."""

import os
import pickle
import sys

from lathe.buffer import say
from lathe.client import LatheError
from lathe.models import native
from lathe.models.folder import Contents, pinned, python_function

_said = set()  # autolog saves model after model of one kind


def save(model, folder, example=None):
    path = os.path.join(folder, "model.pkl")
    pickler = dump(model, path)
    packages = [] if pickler is pickle else [f"cloudpickle=={pickler.__version__}"]
    predict = getattr(model, "predict", None)
    if not is_estimator(model):
        flavors = {"python_function": python_function(loader_module="lathe.models", data="model.pkl")}
        return Contents(flavors, packages, predict)
    flavors = {
        "python_function": python_function(loader_module="mlflow.sklearn", model_path="model.pkl",
                                           predict_fn="predict"),
        "sklearn": {"code": None, "pickled_model": "model.pkl", "serialization_format": pickler.__name__,
                    "sklearn_version": sys.modules["sklearn"].__version__},
    }
    flavors.update(_native(model, folder, example))
    parameters = {key: value for key, value in model.get_params(deep=False).items()
                  if isinstance(value, (bool, int, float, str))}
    return Contents(flavors, [pinned("sklearn", "scikit-learn"), *packages], predict, parameters=parameters)


def _native(model, folder, example):
    """Beside the pickle, what the server can run: its flavor, or nothing, and a word on why."""
    from lathe.models import sklearn_native

    try:
        native.write(os.path.join(folder, native.FILE), sklearn_native.convert(model, example))
    except native.NotNative as error:
        return _pickled_alone(str(error))
    except Exception as error:  # scikit-learn of another version keeps other things in its estimators
        return _pickled_alone(f"{type(error).__name__}: {error}")
    return {"lathe_native": {"data": native.FILE}}


def _pickled_alone(why):
    if why not in _said:
        _said.add(why)
        say(f"this model is kept pickled alone, which endpoints serve by Python workers: {why}")
    return {}


def is_estimator(model):
    return "sklearn" in sys.modules and hasattr(model, "get_params") and hasattr(model, "fit")


def dump(model, path):
    """Pickles by cloudpickle where installed, which can hold classes of the script itself; answers the module used."""
    try:
        import cloudpickle as pickler
    except ImportError:
        pickler = pickle
    try:
        with open(path, "wb") as file:
            pickler.dump(model, file, protocol=pickle.DEFAULT_PROTOCOL)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise LatheError(f"{type(model).__name__} cannot be pickled ({error})") from error
    return pickler


def load(path):
    """Unpickles; only for those who trust the file."""
    try:
        import cloudpickle  # noqa: F401 - what it pickled may need it
    except ImportError:
        pass
    with open(path, "rb") as file:
        return pickle.load(file)
