"""Models written in Python; the classes have the names that pickled models refer to."""

import inspect
import os


class PythonModelContext:
    """What a model finds at load_context and predict: the paths of its artifacts."""

    def __init__(self, artifacts, model_config=None):
        self._artifacts, self._model_config = artifacts, model_config

    @property
    def artifacts(self):
        return self._artifacts

    @property
    def model_config(self):
        return self._model_config or {}


class PythonModel:
    """Derive from it and define predict(self, context, model_input, params=None)."""

    def load_context(self, context):
        """Called once, before predict."""

    def predict(self, context, model_input, params=None):
        raise NotImplementedError


class _FunctionPythonModel(PythonModel):
    """A plain function of the input as a model."""

    def __init__(self, func, hints=None, signature=None):
        self.func, self.hints, self.signature = func, hints, signature

    def predict(self, context, model_input, params=None):
        takes_params = "params" in inspect.signature(self.func).parameters
        return self.func(model_input, params=params) if takes_params else self.func(model_input)


def _python_function(folder, model):
    from lathe.models import pickle_flavor

    flavor = model["flavors"]["python_function"]
    if not flavor.get("python_model"):
        from mlflow.exceptions import MlflowException

        raise MlflowException("this model is a script (models from code), which needs all of MLflow")
    kept = {name: os.path.join(folder, each["path"]) for name, each in (flavor.get("artifacts") or {}).items()}
    implementation = pickle_flavor.load(os.path.join(folder, flavor["python_model"]))
    context = PythonModelContext(kept, flavor.get("config"))
    implementation.load_context(context)
    takes = inspect.signature(implementation.predict).parameters

    def predict(data, params=None):
        more = {"params": params} if params and "params" in takes else {}
        return implementation.predict(data, **more) if "context" not in takes else \
            implementation.predict(context, data, **more)

    return implementation, predict
