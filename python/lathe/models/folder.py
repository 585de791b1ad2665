"""A model folder in MLflow's layout: MLmodel, the environment's files, the example, and what the flavor wrote."""

import os
import sys
import time
import uuid

from lathe import example as examples
from lathe import yaml_text
from lathe.client import say
from lathe.signature import Signature, infer


class Contents:
    """What a flavor wrote into the folder, and what is known of the model."""

    def __init__(self, flavors, requirements, predict=None, signature=None, parameters=None, example=None):
        """`predict` answers an input of the example's kind; `signature` is what the model itself tells; `example` is
        the example in another form than the one given."""
        self.flavors, self.requirements, self.predict = flavors, requirements, predict
        self.signature, self.parameters, self.example = signature, parameters or {}, example


def write(folder, contents, signature=None, example=None, requirements=None, metadata=None, **identity):
    """Writes what MLflow expects beside the model's files. `signature=False`: none, even if it could be inferred."""
    model = {"model_uuid": uuid.uuid4().hex, "flavors": contents.flavors, **identity,
             "utc_time_created": time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime()) + ".000000"}
    if contents.example is not None:
        example = contents.example
    if example is not None:
        try:
            model["saved_input_example_info"] = examples.save(example, folder)
        except (TypeError, ValueError) as error:
            say(f"the input example is not kept with the model: {error}")
    if signature is None:
        signature = _inferred(contents, example)
    if signature:
        model["signature"] = signature.to_dict()
    if metadata:
        model["metadata"] = metadata
    _write_environment(folder, contents.requirements if requirements is None else requirements)
    model["model_size_bytes"] = sum(os.path.getsize(os.path.join(parent, file))
                                    for parent, _, files in os.walk(folder) for file in files)
    with open(os.path.join(folder, "MLmodel"), "w", encoding="utf-8") as file:
        file.write(yaml_text.dump(model))
    return model


def read(folder):
    """MLmodel as a dict. Raises FileNotFoundError where the folder holds no model."""
    with open(os.path.join(folder, "MLmodel"), encoding="utf-8") as file:
        return yaml_text.load(file.read())


def signature_of(model):
    """The `Signature` that an MLmodel holds, or None."""
    return Signature.from_dict(model["signature"]) if model.get("signature") else None


def python_function(**loader):
    return {**loader, "env": {"conda": "conda.yaml", "virtualenv": "python_env.yaml"}, "python_version": _python()}


def pinned(module, package):
    return f"{package}=={getattr(sys.modules[module], '__version__', '0').split('+')[0]}"


def _inferred(contents, example):
    if example is None or contents.predict is None:
        return contents.signature
    try:
        return infer(example, contents.predict(example))
    except Exception as error:  # the user's model on the user's example
        say(f"no signature could be inferred from the input example: {error}")
        return contents.signature


def _write_environment(folder, requirements):
    build = [f"{name}=={_version_of(name)}" if _version_of(name) else name for name in ("pip", "setuptools", "wheel")]
    files = {
        "requirements.txt": "".join(f"{line}\n" for line in requirements),
        "python_env.yaml": yaml_text.dump({"python": _python(), "build_dependencies": build,
                                           "dependencies": ["-r requirements.txt"]}),
        "conda.yaml": yaml_text.dump({"name": "mlflow-env", "channels": ["conda-forge"],
                                      "dependencies": [f"python={_python()}", build[0].replace("==", "<="),
                                                       {"pip": list(requirements)}]}),
    }
    for name, text in files.items():
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            file.write(text)


def _version_of(name):
    from importlib import metadata

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _python():
    return ".".join(map(str, sys.version_info[:3]))
