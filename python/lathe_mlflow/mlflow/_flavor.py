"""What save_model and log_model of every flavor share."""

import os
import shutil

from lathe import artifacts, models, session
from lathe.buffer import say
from lathe.models import folder as folders
from mlflow.exceptions import MlflowException, translated
from mlflow.models import ModelInfo

# Accepted since MLflow's functions have them; they change nothing here.
_WITHOUT_EFFECT = frozenset(("conda_env", "mlflow_model", "await_registration_for", "example_no_conversion", "params",
                             "tags", "model_type", "step", "model_id", "resources", "auth_policy"))


@translated
def save(path, write, signature=None, input_example=None, code_paths=None, pip_requirements=None,
         extra_pip_requirements=None, metadata=None, identity=None, **others):
    """Fills the folder `path`; `write(folder)` answers the flavor's `Contents`."""
    unknown = sorted(set(others) - _WITHOUT_EFFECT)
    if unknown:
        raise TypeError(f"Lathe's subset of MLflow has no argument {', '.join(unknown)} here")
    if others.get("conda_env") is not None:
        say("conda_env is not kept: a model's environment is written from the versions that are installed.")
    if os.path.exists(path) and os.listdir(path):
        raise MlflowException(f"Path '{path}' already exists and is not empty", "RESOURCE_ALREADY_EXISTS")
    os.makedirs(path, exist_ok=True)
    contents = write(path)
    _copy_code(code_paths, path, contents.flavors)
    if isinstance(pip_requirements, str):
        raise MlflowException.invalid_parameter_value("pip_requirements is a list of requirements here, not a file")
    requirements = [*(contents.requirements if pip_requirements is None else pip_requirements),
                    *(extra_pip_requirements or ())]
    return models.save(None, path, signature, input_example, contents, requirements=requirements, metadata=metadata,
                       **(identity or {}))


@translated
def log(name, write, registered_model_name=None, **options):
    """Logs what `save` writes to the active run, started if need be; answers MLflow's ModelInfo."""
    import mlflow.fluent

    if not name:
        raise MlflowException.invalid_parameter_value("the model needs a name")
    run = mlflow.fluent._target()
    saved = []

    def fill(folder):
        saved.append(save(folder, write, identity={"artifact_path": name, "run_id": run.run_id}, **options))
        return saved[0]

    version = models.log_folder(run, name, registered_model_name, fill, log_parameters=False)
    return ModelInfo(saved[0][1], f"runs:/{run.run_id}/{name}", version)


@translated
def fetch(model_uri, dst_path=None):
    """(the model's folder on this machine, its MLmodel as a dict); its `code` is importable from now on."""
    session.flush_all()
    folder = artifacts.download(session.client(), model_uri, dst_path)
    return folder, read(folder, model_uri)


def read(folder, model_uri):
    """The folder's MLmodel as a dict; its `code` is importable from now on."""
    try:
        model = folders.read(folder)
    except FileNotFoundError:
        raise MlflowException(f"{model_uri} has no MLmodel: it is not a model", "RESOURCE_DOES_NOT_EXIST") from None
    _import_code(folder, model)
    return model


def flavor_of(model, name, uri):
    try:
        return model["flavors"][name]
    except KeyError:
        raise MlflowException(f'Model does not have the "{name}" flavor: {uri} has {", ".join(model["flavors"])}',
                              "RESOURCE_DOES_NOT_EXIST") from None


def _copy_code(code_paths, folder, flavors):
    for path in code_paths or ():
        target = os.path.join(folder, "code", os.path.basename(os.path.abspath(path)))
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if os.path.isdir(path):
            shutil.copytree(path, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(path, target)
    if code_paths:
        for flavor in flavors.values():
            flavor["code"] = "code"


def _import_code(folder, model):
    import sys

    code = model.get("flavors", {}).get("python_function", {}).get("code")
    path = os.path.join(folder, code) if code else None
    if path and os.path.isdir(path) and path not in sys.path:
        sys.path.insert(0, path)
