"""XGBoost: parameters, every evaluation metric of every round, the best round, feature importances, the model.

`xgboost.train` and the scikit-learn wrappers' `fit`, which calls it; names and choices are MLflow's.
"""

import inspect
import json

from lathe import example, models
from lathe.autologging import hooks
from lathe.autologging.sklearn import log_description, log_fitted, log_params
from lathe.models import xgboost_flavor

_LIBRARY = "xgboost"
_NOT_PARAMETERS = frozenset(("params", "dtrain", "evals", "obj", "feval", "evals_result", "xgb_model", "callbacks"))


def patch():
    import xgboost

    _remember_rows(xgboost.DMatrix)
    for name in ("QuantileDMatrix", "DeviceQuantileDMatrix"):
        if "__init__" in vars(getattr(xgboost, name, object)) and hasattr(xgboost, name):
            _remember_rows(getattr(xgboost, name))
    hooks.observe(_LIBRARY, xgboost, "train", lambda run, args, kwargs: _observe_train(
        run, args, kwargs, xgboost.train))
    # The wrappers' fit logs the model itself, as the wrapper that it is.
    hooks.observe(_LIBRARY, xgboost.sklearn, "train", lambda run, args, kwargs: _observe_train(
        run, args, kwargs, xgboost.sklearn.train, inside_fit=True), inside="xgboost.fit")
    for kind in vars(xgboost.sklearn).copy().values():
        if inspect.isclass(kind) and issubclass(kind, xgboost.XGBModel) and "fit" in kind.__dict__:
            hooks.observe(_LIBRARY, kind, "fit", _observe_fit)


def _remember_rows(kind):
    """A DMatrix does not give its rows back, so the first few are kept on it for the signature."""
    original = kind.__dict__["__init__"]

    def wrapper(self, *args, **kwargs):
        original(self, *args, **kwargs)
        data = args[0] if args else kwargs.get("data")
        if hooks.settings_of(_LIBRARY) is not None and hasattr(data, "shape"):
            self._lathe_rows = hooks.attempt(_LIBRARY, "keeping example rows", example.first_rows, data)

    wrapper.__wrapped__ = wrapper._lathe_original = original
    hooks.replace(_LIBRARY, kind, "__init__", wrapper)


def _observe_fit(run, args, kwargs):
    settings = hooks.settings_of(_LIBRARY)
    estimator = args[0]
    yield args, kwargs

    log_description(run, _LIBRARY, estimator, settings, params=False)
    if settings.log_models:
        hooks.attempt(_LIBRARY, "logging the model", log_fitted, run, estimator, args[1] if len(args) > 1 else
                      kwargs.get("X"), settings)


def _observe_train(run, args, kwargs, train, inside_fit=False):
    import xgboost

    settings = hooks.settings_of(_LIBRARY)
    call = inspect.signature(train).bind(*args, **kwargs)
    call.apply_defaults()
    given = call.arguments
    params = dict(given.get("params") or {})  # which may be a list of pairs
    if settings.extra_tags:
        run.set_tags(settings.extra_tags)
    told = {name: value for name, value in given.items() if name not in _NOT_PARAMETERS}
    log_params(run, _LIBRARY, {**params, **told})

    history = []

    class LogRounds(xgboost.callback.TrainingCallback):
        def after_iteration(self, model, epoch, evals_log):
            hooks.attempt(_LIBRARY, "logging a round", log_rounds, evals_log)
            return False

    def log_rounds(evals_log):
        names = {f"{data}-{name.replace('@', '_at_')}": values
                 for data, metrics in evals_log.items() for name, values in metrics.items()}
        for epoch in range(len(history), max(map(len, names.values()), default=0)):
            history.append({name: _number(values[epoch]) for name, values in names.items()})
            run.log_metrics(history[-1], epoch)

    given["callbacks"] = [*(given.get("callbacks") or ()), LogRounds()]
    if given.get("evals_result") is None:
        given["evals_result"] = {}
    booster = yield call.args, call.kwargs

    # XGBoost does not ask every callback about the round in which one of them stops it.
    hooks.attempt(_LIBRARY, "logging the last round", log_rounds, given["evals_result"])
    if given.get("early_stopping_rounds") or _stops_early(given["callbacks"]):
        hooks.attempt(_LIBRARY, "logging the best round", _log_best, run, booster, history)
    for kind in settings.importance_types:
        scores = hooks.attempt(_LIBRARY, "the feature importance",
                               lambda kind=kind: booster.get_score(importance_type=kind))
        if scores is not None:
            run.log_bytes(json.dumps(scores).encode(), f"feature_importance_{kind}.json")
    if settings.log_models and not inside_fit:
        hooks.attempt(_LIBRARY, "logging the model", _log_booster, run, booster, given["dtrain"], settings)


def _number(value):
    return float(value[0]) if isinstance(value, tuple) else float(value)  # xgboost.cv's pairs: mean and deviation


def _stops_early(callbacks):
    import xgboost

    return any(isinstance(callback, xgboost.callback.EarlyStopping) for callback in callbacks)


def _log_best(run, booster, history):
    """As MLflow: the best round's metrics once more, one step after the last round."""
    run.log_metrics({"stopped_iteration": len(history) - 1, "best_iteration": booster.best_iteration}, None)
    run.log_metrics(history[booster.best_iteration], len(history))


def _log_booster(run, booster, dtrain, settings):
    rows = getattr(dtrain, "_lathe_rows", None)
    kept, signature = None, None if settings.log_model_signatures else False
    if rows is not None:
        def predict(data):
            return xgboost_flavor.predict(booster, data)

        kept, signature = hooks.attempt(_LIBRARY, "inferring the signature", lambda: settings.example_and_signature(
            lambda: rows, predict)) or (None, signature)
        if signature and booster.feature_names and not hasattr(rows, "iloc"):
            # The features' names, which only the DMatrix knew, say more than the shape of a matrix.
            signature.inputs = xgboost_flavor.signature_of(booster).inputs
    models.log_model_of(run, booster, "model", settings.registered_model_name, signature, kept, log_parameters=False)
