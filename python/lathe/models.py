"""A trained model as an MLflow model folder below the run's artifacts, and as a version in the registry."""

import json
import os
import pickle
import struct
import sys
import tempfile
import time
import uuid

from lathe import values
from lathe.buffer import say
from lathe.client import LatheError, Refused, Unavailable

_READY_PATIENCE = 300.0  # seconds for the server to copy and check a version's files

# What of XGBoost's configuration a person tunes, and the other name that XGBoost has for it.
_HYPERPARAMETERS = {
    "objective": None, "booster": None, "tree_method": None, "num_class": None, "base_score": None,
    "eta": "learning_rate", "gamma": "min_split_loss", "lambda": "reg_lambda", "alpha": "reg_alpha",
    "max_depth": None, "max_leaves": None, "max_bin": None, "max_delta_step": None, "min_child_weight": None,
    "subsample": None, "sampling_method": None, "colsample_bytree": None, "colsample_bylevel": None,
    "colsample_bynode": None, "grow_policy": None, "num_parallel_tree": None, "scale_pos_weight": None,
    "seed": "random_state",
}


def log_model_of(run, model, name, registered_model_name):
    """See `lathe.log_model`."""
    values.check_model_name(name, "the model's name")
    if registered_model_name is not None:
        values.check_model_name(registered_model_name, "registered model name")
    with tempfile.TemporaryDirectory(prefix="lathe-model-") as folder:
        booster = _booster_of(model)
        if booster is not None:
            flavors, signature, requirements, parameters = _save_xgboost(model, booster, folder)
        else:
            flavors, signature, requirements, parameters = _save_python(model, folder)
        _log_missing_params(run, parameters)
        _write_environment(folder, requirements)
        _write_mlmodel(run, name, flavors, signature, folder)
        run.log_artifacts(folder, name)
    if registered_model_name is None:
        return None
    run.flush()  # so that the version's parameters are on the server before the version is
    version = _register(run, registered_model_name, f"{run.artifact_uri()}/{name}")
    print(f"Registered model '{registered_model_name}' version {version}", flush=True)
    return version


def _load_pyfunc(path):
    """MLflow's loader interface for the models we pickle; only for those who trust the file."""
    with open(path, "rb") as file:
        return pickle.load(file)


def _booster_of(model):
    xgboost = sys.modules.get("xgboost")
    if xgboost is None:
        return None
    if isinstance(model, xgboost.Booster):
        return model
    return model.get_booster() if isinstance(model, xgboost.XGBModel) else None


def _save_xgboost(model, booster, folder):
    import xgboost

    model.save_model(os.path.join(folder, "model.ubj"))
    kind = type(model)
    flavors = {
        "python_function": _python_function(loader_module="mlflow.xgboost", data="model.ubj"),
        "xgboost": {"code": None, "data": "model.ubj", "model_class": f"{kind.__module__}.{kind.__name__}",
                    "model_format": "ubj", "xgb_version": xgboost.__version__},
    }
    requirements = [f"xgboost=={xgboost.__version__}"]
    if model is not booster:
        requirements.append(_requirement("sklearn", "scikit-learn"))
    return flavors, _signature(booster), requirements, _xgboost_parameters(model, booster)


def _save_python(model, folder):
    try:
        import cloudpickle as pickler
    except ImportError:
        pickler = pickle
    path = os.path.join(folder, "model.pkl")
    try:
        with open(path, "wb") as file:
            pickler.dump(model, file, protocol=pickle.DEFAULT_PROTOCOL)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise LatheError(f"{type(model).__name__} cannot be pickled ({error})") from error
    sklearn = sys.modules.get("sklearn")
    if sklearn is None or not hasattr(model, "get_params") or not hasattr(model, "fit"):
        flavors = {"python_function": _python_function(loader_module="lathe.models", data="model.pkl")}
        return flavors, None, _packages(pickler), {}
    flavors = {
        "python_function": _python_function(loader_module="mlflow.sklearn", model_path="model.pkl",
                                            predict_fn="predict"),
        "sklearn": {"code": None, "pickled_model": "model.pkl", "serialization_format": pickler.__name__,
                    "sklearn_version": sklearn.__version__},
    }
    requirements = [_requirement("sklearn", "scikit-learn"), *_packages(pickler)]
    return flavors, None, requirements, _plain_parameters(model)


def _python_function(**loader):
    version = ".".join(map(str, sys.version_info[:3]))
    return {**loader, "env": {"virtualenv": "python_env.yaml"}, "python_version": version}


def _packages(pickler):
    return [] if pickler is pickle else [f"cloudpickle=={pickler.__version__}"]


def _requirement(module, package):
    return f"{package}=={sys.modules[module].__version__}"


def _signature(booster):
    """MLflow's signature: the features by name, or a matrix of their number."""
    if booster.feature_names:
        columns = [{"type": "double", "name": name, "required": True} for name in booster.feature_names]
    else:
        shape = [-1, booster.num_features()]
        columns = [{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": shape}}]
    return {"inputs": json.dumps(columns), "outputs": None, "params": None}


def _xgboost_parameters(model, booster):
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


def _plain_parameters(model):
    return {key: value for key, value in model.get_params(deep=False).items()
            if isinstance(value, (bool, int, float, str))}


def _log_missing_params(run, parameters):
    """Logs what is not logged yet: a value that the script itself recorded, under either name, stands."""
    run.flush()
    known = {param["key"] for param in run.info().get("data", {}).get("params", ())}
    aliases = {alias: name for name, alias in _HYPERPARAMETERS.items() if alias}
    aliases.update({"num_boost_round": "n_estimators", "n_estimators": "num_boost_round"})
    other = {**_HYPERPARAMETERS, **aliases}
    run.log_params({key: value for key, value in parameters.items()
                    if key not in known and other.get(key) not in known})


def _write_environment(folder, requirements):
    with open(os.path.join(folder, "requirements.txt"), "w") as file:
        file.writelines(f"{line}\n" for line in requirements)
    python = ".".join(map(str, sys.version_info[:3]))
    with open(os.path.join(folder, "python_env.yaml"), "w") as file:
        file.write(_yaml({"python": python, "build_dependencies": ["pip", "setuptools", "wheel"],
                          "dependencies": ["-r requirements.txt"]}))


def _write_mlmodel(run, name, flavors, signature, folder):
    size = sum(os.path.getsize(os.path.join(folder, file)) for file in os.listdir(folder))
    model = {
        "artifact_path": name,
        "flavors": flavors,
        "model_size_bytes": size,
        "model_uuid": uuid.uuid4().hex,
        "run_id": run.run_id,
        "utc_time_created": time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime()) + ".000000",
    }
    if signature:
        model["signature"] = signature
    with open(os.path.join(folder, "MLmodel"), "w", encoding="utf-8") as file:
        file.write(_yaml(model))


def _yaml(value, indent=""):
    """YAML for nested dicts of plain keys; every other value is written as JSON, which YAML reads too."""
    lines = []
    for key, item in sorted(value.items()):
        if isinstance(item, dict):
            lines.append(f"{indent}{key}:\n{_yaml(item, indent + '  ')}")
        else:
            lines.append(f"{indent}{key}: {json.dumps(item, ensure_ascii=False)}\n")
    return "".join(lines)


def _register(run, name, source):
    client = run.client
    try:
        client.post("registered-models/create", {"name": name})
    except Refused as error:
        if error.code not in ("RESOURCE_ALREADY_EXISTS", "ALREADY_EXISTS"):
            raise
    version = _create_version(run, name, source)
    give_up = time.monotonic() + _READY_PATIENCE
    pause = 0.02
    while version.get("status", "READY") == "PENDING_REGISTRATION":
        if time.monotonic() > give_up:
            raise LatheError(f"version {version['version']} of model {name!r} is not ready after "
                             f"{_READY_PATIENCE:.0f} s; `lathe model show` tells its state")
        time.sleep(pause)
        pause = min(2 * pause, 1.0)
        query = {"name": name, "version": version["version"]}
        version = client.get("model-versions/get", query)["model_version"]
    if version.get("status", "READY") != "READY":
        reason = version.get("status_message") or version["status"]
        raise LatheError(f"version {version['version']} of model {name!r} could not be registered: {reason}")
    return str(version["version"])


def _create_version(run, name, source):
    """Creates it once: where the server went away before it answered, the registry tells whether it had."""
    request = {"name": name, "source": source, "run_id": run.run_id}
    before = {version["version"] for version in _versions_from(run, name, source)}
    for _ in range(5):
        try:
            return run.client.post("model-versions/create", request, repeatable=False)["model_version"]
        except Unavailable as error:
            problem = error
            say(f"{error}; looking whether model {name!r} was registered.")
            made = [version for version in _versions_from(run, name, source) if version["version"] not in before]
            if made:
                return made[0]
    raise problem


def _versions_from(run, name, source):
    """The versions made from this run; waits for a server that is away."""
    quoted = name.replace("'", "''")
    query = {"filter": f"name='{quoted}' AND run_id='{run.run_id}'", "max_results": 1000}
    found = run.client.get("model-versions/search", query)
    return [version for version in found.get("model_versions", ())
            if version.get("run_id") == run.run_id and version.get("source") == source]
