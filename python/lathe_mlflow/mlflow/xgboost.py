"""XGBoost's boosters and scikit-learn wrappers, in XGBoost's own format."""

from lathe.models import xgboost_flavor
from mlflow import _flavor

FLAVOR_NAME = "xgboost"


def save_model(xgb_model, path, model_format="ubj", **options):
    return _flavor.save(path, lambda folder: xgboost_flavor.save(xgb_model, folder, model_format), **options)[1]


def log_model(xgb_model, artifact_path=None, registered_model_name=None, model_format="ubj", name=None, **options):
    return _flavor.log(name or artifact_path, lambda folder: xgboost_flavor.save(xgb_model, folder, model_format),
                       registered_model_name, **options)


def load_model(model_uri, dst_path=None):
    folder, model = _flavor.fetch(model_uri, dst_path)
    return xgboost_flavor.load(folder, _flavor.flavor_of(model, FLAVOR_NAME, model_uri))


def autolog(disable=False, **options):
    from lathe.autologging import autolog as switch

    switch(["xgboost"], disable, **options)


def _python_function(folder, model):
    booster = xgboost_flavor.load(folder, _flavor.flavor_of(model, FLAVOR_NAME, folder))
    return booster, lambda data: xgboost_flavor.predict(booster, data)
