"""torch's modules: exported to ONNX, which is what an endpoint serves, and pickled as MLflow does, to be loaded."""

import contextlib
import inspect
import os
import sys
import warnings

from lathe.client import LatheError, say
from lathe.models.folder import Contents, pinned, python_function

_OPSET = 14  # what torch 1.13 and later can all write


def is_module(model):
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(model, getattr(torch.nn, "Module", ()))


def save(model, folder, example=None, needs_onnx=True):
    """`example` is one batch: a tensor, an array, a DataFrame, or a tuple or dict of them for several inputs."""
    import torch

    flavors, requirements = {}, [pinned("torch", "torch")]
    inputs = None
    if example is not None:
        inputs = _inputs_of(model, example)
        with _evaluating(model), torch.no_grad():
            outputs = model(*inputs.values())
        _export(model, inputs, outputs, os.path.join(folder, "model.onnx"))
        flavors["onnx"] = {"code": None, "data": "model.onnx", "onnx_version": _onnx_version(),
                           "providers": ["CUDAExecutionProvider", "CPUExecutionProvider"]}
    elif needs_onnx:
        raise LatheError("a torch module is stored as ONNX, which is traced from an example: give one batch as "
                         "lathe.log_model(model, name, input_example=batch)")
    if _pickle(model, os.path.join(folder, "data")):
        flavors["pytorch"] = {"code": None, "model_data": "data", "pytorch_version": torch.__version__}
        loader = {"loader_module": "mlflow.pytorch", "data": "data"}
    else:
        loader = {"loader_module": "mlflow.onnx", "data": "model.onnx"}
        requirements = ["onnx", "onnxruntime"]
    flavors["python_function"] = python_function(**loader)
    if inputs is None:
        return Contents(flavors, requirements)
    arrays = {name: tensor.detach().cpu().numpy() for name, tensor in inputs.items()}
    shown = arrays if len(arrays) > 1 else next(iter(arrays.values()))
    return Contents(flavors, requirements, lambda _: _arrays_of(outputs), example=shown)


def load(folder, flavor, **options):
    """Unpickles the module; only for those who trust the file."""
    import torch

    path = os.path.join(folder, flavor["model_data"], "model.pth")
    if "weights_only" in inspect.signature(torch.load).parameters:
        options.setdefault("weights_only", False)
    return torch.load(path, **options)


def predict(model, data):
    """As MLflow's pyfunc does: a DataFrame, which becomes float32, gives a DataFrame; arrays give arrays."""
    import torch

    device = next((parameter.device for parameter in model.parameters()), "cpu")
    frame = hasattr(data, "iloc")
    values = data.to_numpy(dtype="float32") if frame else data
    with _evaluating(model), torch.no_grad():
        if isinstance(values, dict):
            out = model(*(torch.as_tensor(value).to(device) for value in values.values()))
        else:
            out = model(torch.as_tensor(values).to(device))
    out = _arrays_of(out)
    if not frame:
        return out
    import pandas

    return pandas.DataFrame(out, index=data.index)


def _export(model, inputs, outputs, path):
    import torch

    if isinstance(outputs, dict):
        names = list(outputs)
    elif isinstance(outputs, (tuple, list)) and len(outputs) > 1:
        names = [f"output_{i}" for i in range(len(outputs))]
    else:
        names = ["output"]
    options = {"dynamo": False} if "dynamo" in inspect.signature(torch.onnx.export).parameters else {}
    try:
        with _evaluating(model), torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(model, tuple(inputs.values()), path, input_names=list(inputs), output_names=names,
                              dynamic_axes={name: {0: "batch"} for name in [*inputs, *names]}, opset_version=_OPSET,
                              **options)
    except Exception as error:  # torch raises many kinds for what ONNX cannot say
        raise LatheError(f"torch cannot export {type(model).__name__} to ONNX: {error}") from error


def _inputs_of(model, example):
    """The example's tensors by the names of forward's arguments, on the module's device."""
    import torch

    if hasattr(example, "iloc"):
        example = example.to_numpy(dtype="float32")
    names = [name for name, parameter in inspect.signature(model.forward).parameters.items()
             if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)]
    if isinstance(example, dict):
        unknown = [name for name in example if name not in names]
        if unknown:
            raise LatheError(f"{type(model).__name__}.forward has no argument {', '.join(map(repr, unknown))}")
        parts = {name: example[name] for name in names if name in example}
    else:
        values = example if isinstance(example, tuple) else (example,)
        names = (names + [f"input_{i}" for i in range(len(names), len(values))]) if names else \
            [f"input_{i}" for i in range(len(values))]
        parts = dict(zip(names, values))
    device = next((parameter.device for parameter in model.parameters()), "cpu")
    return {name: torch.as_tensor(value).to(device) for name, value in parts.items()}


def _arrays_of(outputs):
    if isinstance(outputs, dict):
        return {name: _arrays_of(value) for name, value in outputs.items()}
    if isinstance(outputs, (tuple, list)):
        return {f"output_{i}": _arrays_of(value) for i, value in enumerate(outputs)} if len(outputs) > 1 else \
            _arrays_of(outputs[0])
    return outputs.detach().cpu().numpy()


@contextlib.contextmanager
def _evaluating(model):
    """In evaluation mode meanwhile; every submodule returns to the mode it had."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _pickle(model, folder):
    """MLflow's two files. False where the module cannot be pickled, which ONNX does not mind."""
    import torch

    os.makedirs(folder)
    try:
        import cloudpickle as pickler
    except ImportError:
        import pickle as pickler
    try:
        torch.save(model, os.path.join(folder, "model.pth"), pickle_module=pickler)
    except Exception as error:
        say(f"{type(model).__name__} is stored as ONNX only, since it cannot be pickled: {error}")
        for name in os.listdir(folder):
            os.unlink(os.path.join(folder, name))
        os.rmdir(folder)
        return False
    with open(os.path.join(folder, "pickle_module_info.txt"), "w") as file:
        file.write("mlflow.pytorch.pickle_module")
    return True


def _onnx_version():
    import importlib.util

    if importlib.util.find_spec("onnx") is None:
        return None
    import onnx

    return onnx.__version__
