"""XGBoost's boosters and scikit-learn wrappers, in XGBoost's own format, with the hyperparameters in force."""

import json
import os
import struct
import sys

from lathe.models.folder import Contents, pinned, python_function
from lathe.signature import ColSpec, Schema, Signature, TensorSpec

# What of XGBoost's configuration a person tunes, and the other name that XGBoost has for it.
_HYPERPARAMETERS = {
    "objective": None, "booster": None, "tree_method": None, "num_class": None, "base_score": None,
    "eta": "learning_rate", "gamma": "min_split_loss", "lambda": "reg_lambda", "alpha": "reg_alpha",
    "max_depth": None, "max_leaves": None, "max_bin": None, "max_delta_step": None, "min_child_weight": None,
    "subsample": None, "sampling_method": None, "colsample_bytree": None, "colsample_bylevel": None,
    "colsample_bynode": None, "grow_policy": None, "num_parallel_tree": None, "scale_pos_weight": None,
    "seed": "random_state",
}


def booster_of(model):
    """The booster of what XGBoost trained; None for anything else."""
    xgboost = sys.modules.get("xgboost")
    if xgboost is None:
        return None
    if isinstance(model, xgboost.Booster):
        return model
    return model.get_booster() if isinstance(model, getattr(xgboost, "XGBModel", ())) else None


def save(model, folder, model_format="ubj"):
    import xgboost

    booster = booster_of(model)
    data = f"model.{model_format}"
    model.save_model(os.path.join(folder, data))
    kind = type(model)
    flavors = {
        "python_function": python_function(loader_module="mlflow.xgboost", data=data),
        "xgboost": {"code": None, "data": data, "model_class": f"{kind.__module__}.{kind.__name__}",
                    "model_format": model_format, "xgb_version": xgboost.__version__},
    }
    requirements = [f"xgboost=={xgboost.__version__}"]
    if model is not booster:
        requirements.append(pinned("sklearn", "scikit-learn"))
    return Contents(flavors, requirements, lambda data: predict(model, data), signature_of(booster),
                    _parameters(model, booster))


def load(folder, flavor):
    """The booster or wrapper of a model folder, by the class that its flavor names."""
    import importlib

    module, _, name = flavor.get("model_class", "xgboost.core.Booster").rpartition(".")
    model = getattr(importlib.import_module(module), name)()
    model.load_model(os.path.join(folder, flavor["data"]))
    return model


def predict(model, data):
    """What the model answers; the columns of an array are taken to be the features in their order."""
    import xgboost

    if not isinstance(model, xgboost.Booster):
        return model.predict(data)
    return model.predict(xgboost.DMatrix(data, feature_names=None if hasattr(data, "iloc") else model.feature_names))


def signature_of(booster):
    """The features by name, or a matrix of their number."""
    if booster.feature_names:
        return Signature(Schema(ColSpec("double", name) for name in booster.feature_names))
    return Signature(Schema([TensorSpec("float64", (-1, booster.num_features()))]))


def _parameters(model, booster):
    """The hyperparameters in force, XGBoost's own defaults included."""
    found = {}
    _collect(json.loads(booster.save_config()), found)
    wrapper = model is not booster
    parameters = {}
    for name, alias in _HYPERPARAMETERS.items():
        if name in found:
            parameters[alias if alias and wrapper and name != "gamma" else name] = _shortest(found[name])
    rounds = booster.num_boosted_rounds()
    parameters["n_estimators" if wrapper else "num_boost_round"] = model.n_estimators if wrapper else rounds
    if parameters.get("num_class") == "0":
        del parameters["num_class"]  # not a classification into several classes
    return parameters


def _collect(config, found):
    for key, value in config.items():
        if isinstance(value, dict):
            _collect(value, found)
        elif key in _HYPERPARAMETERS and isinstance(value, str):
            found.setdefault(key, value)


def _shortest(text):
    """XGBoost prints 32-bit floats with nine digits, 0.100000001 for 0.1: the shortest text of the same number."""
    try:
        int(text)
        return text
    except ValueError:
        pass
    try:
        exact = struct.pack("f", float(text))
    except (ValueError, OverflowError):
        return text
    shorter = (float(f"{float(text):.{digits}g}") for digits in range(1, 10))
    return next((repr(value) for value in shorter if struct.pack("f", value) == exact), text)


def missing_from(known, parameters):
    """Those that are not logged yet: a value that the script itself recorded, under either name, stands."""
    aliases = {alias: name for name, alias in _HYPERPARAMETERS.items() if alias}
    aliases.update({"num_boost_round": "n_estimators", "n_estimators": "num_boost_round"})
    other = {**_HYPERPARAMETERS, **aliases}
    return {key: value for key, value in parameters.items() if key not in known and other.get(key) not in known}
