"""scikit-learn's models, pickled as MLflow does."""

from lathe.models import pickle_flavor
from mlflow import _flavor
from mlflow.exceptions import MlflowException

FLAVOR_NAME = "sklearn"


def save_model(sk_model, path, serialization_format="cloudpickle", pyfunc_predict_fn="predict", **options):
    return _flavor.save(path, _writer(sk_model, pyfunc_predict_fn), **options)[1]


def log_model(sk_model, artifact_path=None, serialization_format="cloudpickle", registered_model_name=None,
              pyfunc_predict_fn="predict", name=None, **options):
    return _flavor.log(name or artifact_path, _writer(sk_model, pyfunc_predict_fn), registered_model_name, **options)


def load_model(model_uri, dst_path=None):
    """Unpickles the estimator: only for those who trust the file."""
    folder, model = _flavor.fetch(model_uri, dst_path)
    return _load(folder, _flavor.flavor_of(model, FLAVOR_NAME, model_uri))


def autolog(disable=False, **options):
    from lathe.autologging import autolog as switch

    switch(["sklearn"], disable, **options)


def _writer(model, predict_fn):
    def write(folder):
        contents = pickle_flavor.save(model, folder)
        if FLAVOR_NAME not in contents.flavors:
            raise MlflowException.invalid_parameter_value(f"a {type(model).__name__} is not a scikit-learn estimator")
        contents.flavors["python_function"]["predict_fn"] = predict_fn
        contents.predict = getattr(model, predict_fn, None)
        return contents

    return write


def _load(folder, flavor):
    import os

    if flavor.get("serialization_format") not in (None, "cloudpickle", "pickle"):
        raise MlflowException(f"the model is stored as {flavor['serialization_format']}, which needs all of MLflow")
    return pickle_flavor.load(os.path.join(folder, flavor["pickled_model"]))


def _python_function(folder, model):
    """(the estimator, its function) for mlflow.pyfunc."""
    estimator = _load(folder, _flavor.flavor_of(model, FLAVOR_NAME, folder))
    return estimator, getattr(estimator, model["flavors"]["python_function"].get("predict_fn") or "predict")
