"""A trained model as an MLflow model folder below the run's artifacts, and as a version in the registry."""

import os
import tempfile

from lathe import values
from lathe.models import folder as folders
from lathe.models import pickle_flavor, torch_flavor, xgboost_flavor
from lathe.models.registry import register


def log_model_of(run, model, name, registered_model_name=None, signature=None, input_example=None, log_parameters=True):
    """See `lathe.log_model`; `log_parameters`: the hyperparameters that the model tells become the run's."""
    return log_folder(run, name, registered_model_name, lambda folder: save(
        model, folder, signature, input_example, artifact_path=name, run_id=run.run_id), log_parameters)


def log_folder(run, name, registered_model_name, write, log_parameters=True):
    """Uploads the model folder that `write(folder)` fills; it answers (its `Contents`, MLmodel as a dict)."""
    values.check_model_name(name, "the model's name")
    if registered_model_name is not None:
        values.check_model_name(registered_model_name, "registered model name")
    with tempfile.TemporaryDirectory(prefix="lathe-model-") as folder:
        contents, _ = write(folder)
        if contents.parameters and log_parameters:
            run.flush()
            known = {param["key"] for param in run.info().get("data", {}).get("params", ())}
            run.log_params(xgboost_flavor.missing_from(known, contents.parameters))
        run.log_artifacts(folder, name)
    if registered_model_name is None:
        return None
    run.flush()  # so that the version's parameters are on the server before the version is
    version = register(run, registered_model_name, f"{run.artifact_uri()}/{name}")
    print(f"Registered model '{registered_model_name}' version {version}", flush=True)
    return version


def save(model, folder, signature=None, input_example=None, contents=None, **more):
    """Fills `folder` with the model by the flavor that fits it. Answers (its `Contents`, MLmodel as a dict)."""
    os.makedirs(folder, exist_ok=True)
    if contents is None:
        if xgboost_flavor.booster_of(model) is not None:
            contents = xgboost_flavor.save(model, folder)
        elif torch_flavor.is_module(model):
            contents = torch_flavor.save(model, folder, input_example)
        else:
            contents = pickle_flavor.save(model, folder, input_example)
    return contents, folders.write(folder, contents, signature, input_example, **more)


def _load_pyfunc(path):
    """MLflow's loader interface for the models we pickle; only for those who trust the file."""
    return pickle_flavor.load(path)
