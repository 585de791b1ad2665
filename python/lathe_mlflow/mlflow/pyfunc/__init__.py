"""Any model as one function of its data: `load_model(uri).predict(data)`, and models written in Python."""

import importlib
import os
import shutil

from lathe import example
from lathe.models import pickle_flavor
from lathe.models.folder import Contents, python_function
from mlflow import _flavor
from mlflow.exceptions import MlflowException
from mlflow.pyfunc.model import PythonModel, PythonModelContext, _FunctionPythonModel  # noqa: F401

FLAVOR_NAME = "python_function"
_OWN = ("mlflow.sklearn", "mlflow.xgboost", "mlflow.pytorch", "mlflow.onnx", "mlflow.pyfunc.model")


class PyFuncModel:
    """A loaded model. `metadata` is its ModelInfo."""

    def __init__(self, folder, model, implementation, function, uri):
        from mlflow.models import ModelInfo

        self._folder = folder
        self.metadata = ModelInfo(model, uri)
        self.loader_module = model["flavors"][FLAVOR_NAME]["loader_module"]
        self._implementation, self._function = implementation, function

    @property
    def input_example(self):
        info = self.metadata.saved_input_example_info
        return example.load(self._folder, info) if info else None

    def predict(self, data, params=None):
        """Columns are put into the signature's order, and a missing one is named; types are left as they are. What the
        model raises comes as it is."""
        data = _ordered(data, self.metadata.signature)
        return self._function(data, params=params) if params else self._function(data)

    def unwrap_python_model(self):
        return self._implementation

    def get_raw_model(self):
        return self._implementation


def load_model(model_uri, suppress_warnings=False, dst_path=None, model_config=None, **_):
    """Unpickles what was pickled: only for those who trust the files."""
    folder, model = _flavor.fetch(model_uri, dst_path)
    return _load(folder, model, model_uri)


def load_folder(folder):
    """The model in a folder of this machine; needs no server."""
    return _load(folder, _flavor.read(folder, folder), folder)


def _load(folder, model, model_uri):
    flavor = _flavor.flavor_of(model, FLAVOR_NAME, model_uri)
    loader = flavor["loader_module"]
    module = importlib.import_module(loader)
    if loader in _OWN:
        implementation, function = module._python_function(folder, model)
    else:
        data = os.path.join(folder, flavor["data"]) if flavor.get("data") else folder
        implementation = module._load_pyfunc(data)
        function = implementation.predict
    return PyFuncModel(folder, model, implementation, function, model_uri)


def save_model(path, python_model=None, artifacts=None, loader_module=None, data_path=None, **options):
    options.setdefault("code_paths", options.pop("code_path", None))
    return _flavor.save(path, _writer(python_model, artifacts, loader_module, data_path), **options)[1]


def log_model(artifact_path=None, python_model=None, artifacts=None, loader_module=None, data_path=None,
              registered_model_name=None, name=None, **options):
    options.setdefault("code_paths", options.pop("code_path", None))
    return _flavor.log(name or artifact_path, _writer(python_model, artifacts, loader_module, data_path),
                       registered_model_name, **options)


def _writer(python_model, artifacts, loader_module, data_path):
    if (python_model is None) == (loader_module is None):
        raise MlflowException.invalid_parameter_value("give python_model or loader_module")

    def write(folder):
        if loader_module is not None:
            flavor = python_function(loader_module=loader_module, **_copied(data_path, folder))
            return Contents({FLAVOR_NAME: flavor}, [])
        return _write_python_model(python_model, artifacts or {}, folder)

    return write


def _write_python_model(model, artifacts, folder):
    if isinstance(model, (str, os.PathLike)):
        raise MlflowException("models as scripts (python_model='file.py') need all of MLflow")
    if not isinstance(model, PythonModel):
        model = _FunctionPythonModel(model)
    kept = {}
    for name, uri in artifacts.items():
        where = os.path.join(folder, "artifacts", name)
        os.makedirs(where)
        fetched = _fetched(uri)
        target = os.path.join(where, os.path.basename(str(fetched).rstrip("/")))
        (shutil.copytree if os.path.isdir(fetched) else shutil.copyfile)(fetched, target)
        kept[name] = {"path": os.path.relpath(target, folder), "uri": str(uri)}
    pickler = pickle_flavor.dump(model, os.path.join(folder, "python_model.pkl"))
    flavor = python_function(loader_module="mlflow.pyfunc.model", python_model="python_model.pkl",
                             cloudpickle_version=getattr(pickler, "__version__", None))
    if kept:
        flavor["artifacts"] = kept
    context = PythonModelContext({name: os.path.join(folder, each["path"]) for name, each in kept.items()})

    def predict(data):
        model.load_context(context)
        return model.predict(context, data)

    requirements = [f"cloudpickle=={pickler.__version__}"] if pickler.__name__ == "cloudpickle" else []
    return Contents({FLAVOR_NAME: flavor}, requirements, predict)


def _fetched(uri):
    from lathe import artifacts, session

    return artifacts.download(session.client(), uri)


def _copied(data_path, folder):
    if data_path is None:
        return {}
    target = os.path.join(folder, "data")
    if os.path.isdir(data_path):
        shutil.copytree(data_path, target)
        return {"data": "data"}
    os.makedirs(target)
    shutil.copy(data_path, target)
    return {"data": f"data/{os.path.basename(data_path)}"}


def _ordered(data, signature):
    names = signature.inputs.input_names() if signature and signature.inputs else []
    if not names or None in names or signature.inputs.is_tensor_spec():
        return data
    if isinstance(data, (dict, list)):
        import pandas

        data = pandas.DataFrame([data] if isinstance(data, dict) and not any(
            isinstance(value, (list, tuple)) for value in data.values()) else data)
    if not hasattr(data, "columns"):
        return data
    required = [spec.name for spec in signature.inputs.inputs if spec.required]
    missing = [name for name in required if name not in data.columns]
    if missing:
        raise MlflowException.invalid_parameter_value(f"Model is missing inputs {missing}.")
    return data[[name for name in names if name in data.columns]]


def __getattr__(name):
    from mlflow._missing import explain

    raise AttributeError(explain(f"mlflow.pyfunc.{name}"))
