"""ONNX models, as files that are stored as they are."""

import os

from lathe.models.folder import Contents, python_function
from mlflow import _flavor
from mlflow.exceptions import MlflowException

FLAVOR_NAME = "onnx"


def save_model(onnx_model, path, **options):
    return _flavor.save(path, _writer(onnx_model), **options)[1]


def log_model(onnx_model, artifact_path=None, registered_model_name=None, name=None, **options):
    return _flavor.log(name or artifact_path, _writer(onnx_model), registered_model_name, **options)


def load_model(model_uri, dst_path=None):
    import onnx

    folder, model = _flavor.fetch(model_uri, dst_path)
    return onnx.load(os.path.join(folder, _flavor.flavor_of(model, FLAVOR_NAME, model_uri)["data"]))


def _writer(model):
    def write(folder):
        import onnx

        onnx.save(model, os.path.join(folder, "model.onnx"))
        flavors = {"onnx": {"code": None, "data": "model.onnx", "onnx_version": onnx.__version__, "providers": None},
                   "python_function": python_function(loader_module="mlflow.onnx", data="model.onnx")}
        return Contents(flavors, [f"onnx=={onnx.__version__}", "onnxruntime"])

    return write


def _python_function(folder, model):
    try:
        import onnxruntime
    except ImportError:
        raise MlflowException("this model runs by onnxruntime, which this environment does not have") from None
    path = os.path.join(folder, _flavor.flavor_of(model, FLAVOR_NAME, folder)["data"])
    running = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    inputs, outputs = running.get_inputs(), [each.name for each in running.get_outputs()]

    def predict(data):
        if hasattr(data, "iloc"):
            one = len(inputs) == 1
            data = data.to_numpy(dtype="float32") if one else {name: data[[name]].to_numpy() for name in data}
        fed = data if isinstance(data, dict) else {inputs[0].name: data}
        found = dict(zip(outputs, running.run(outputs, fed)))
        return found if len(found) > 1 else next(iter(found.values()))

    return running, predict
