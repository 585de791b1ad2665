"""torch's modules: pickled as MLflow does, and exported to ONNX where an `input_example` is given, to be served."""

from lathe.models import torch_flavor
from mlflow import _flavor

FLAVOR_NAME = "pytorch"


def save_model(pytorch_model, path, input_example=None, **options):
    return _flavor.save(path, _writer(pytorch_model, input_example), input_example=input_example, **options)[1]


def log_model(pytorch_model, artifact_path=None, registered_model_name=None, input_example=None, name=None, **options):
    return _flavor.log(name or artifact_path, _writer(pytorch_model, input_example), registered_model_name,
                       input_example=input_example, **options)


def load_model(model_uri, dst_path=None, **options):
    """Unpickles the module: only for those who trust the file."""
    folder, model = _flavor.fetch(model_uri, dst_path)
    module = torch_flavor.load(folder, _flavor.flavor_of(model, FLAVOR_NAME, model_uri), **options)
    module.eval()
    return module


def autolog(disable=False, **options):
    """For plain torch only: the optimizer's settings and the loss. Lightning is not seen."""
    from lathe.autologging import autolog as switch

    switch(["torch"], disable, **options)


def _writer(module, example):
    return lambda folder: torch_flavor.save(module, folder, example, needs_onnx=False)


def _python_function(folder, model):
    module = torch_flavor.load(folder, _flavor.flavor_of(model, FLAVOR_NAME, folder), map_location="cpu")
    return module, lambda data: torch_flavor.predict(module, data)
