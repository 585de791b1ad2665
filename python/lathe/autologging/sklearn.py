"""scikit-learn: parameters, scores on the training data, the model; searches with their best candidates as child runs.

Names and choices are MLflow's. Of its post-training metrics (calls of sklearn.metrics by the script) nothing is logged.
"""

import csv
import functools
import inspect
import io
import math
import numbers

from lathe import example, models, session
from lathe.autologging import hooks
from lathe.autologging.sklearn_scores import scores_of
from lathe.buffer import now_ms

_LIBRARY = "sklearn"
_METHODS = ("fit", "fit_transform", "fit_predict")
# What only prepares data is not a model, as MLflow sees it.
_PREPARATION = ("sklearn.preprocessing.", "sklearn.impute.", "sklearn.feature_extraction.",
                "sklearn.feature_selection.", "sklearn.compose._column_transformer.")
_NAME = 250  # characters of a parameter's name


def patch():
    """Wraps the estimators that are loaded, and those that will be, as their classes are made."""
    from sklearn.base import BaseEstimator

    for kind in _loaded(BaseEstimator):
        _patch_class(kind)
    inherited = BaseEstimator.__dict__.get("__init_subclass__")

    @classmethod
    def patch_new(cls, **kwargs):
        if inherited is not None:
            inherited.__func__(cls, **kwargs)
        else:
            super(BaseEstimator, cls).__init_subclass__(**kwargs)
        if hooks.settings_of(_LIBRARY) is not None:
            hooks.attempt(_LIBRARY, f"preparing {cls.__name__}", _patch_class, cls)

    if inherited is not None:
        hooks.replace(_LIBRARY, BaseEstimator, "__init_subclass__", patch_new)
    else:
        BaseEstimator.__init_subclass__ = patch_new
        hooks.on_restore(_LIBRARY, functools.partial(delattr, BaseEstimator, "__init_subclass__"))


def _loaded(kind):
    for child in kind.__subclasses__():
        yield child
        yield from _loaded(child)


def _patch_class(kind):
    name = f"{kind.__module__}.{kind.__name__}"
    if not name.startswith("sklearn.") or name.startswith(_PREPARATION):
        return
    for method in _METHODS:
        function = kind.__dict__.get(method)
        if inspect.isfunction(function) and not hooks.is_patched(function):
            hooks.observe(_LIBRARY, kind, method, _observe)


def _observe(run, args, kwargs):
    estimator = args[0]
    settings = hooks.settings_of(_LIBRARY)
    search = _is_search(estimator)
    log_description(run, _LIBRARY, estimator, settings, deep=not search)
    data, labels, weights = _data_of(estimator, args[1:], kwargs)
    started = now_ms()
    yield args, kwargs

    run.log_metrics(scores_of(_LIBRARY, estimator, data, labels, weights), None)
    hooks.attempt(_LIBRARY, "drawing the estimator", _log_drawing, run, estimator)
    if search:
        hooks.attempt(_LIBRARY, "logging the candidates", _log_search, run, estimator, settings, started)
    if settings.log_models:
        hooks.attempt(_LIBRARY, "logging the model", log_fitted, run, estimator, data, settings)
        if search and hasattr(estimator, "best_estimator_"):
            hooks.attempt(_LIBRARY, "logging the best model", log_fitted, run, estimator.best_estimator_, data,
                          settings, "best_estimator")


def log_description(run, library, estimator, settings, deep=True, params=True):
    kind = type(estimator)
    run.set_tags({**settings.extra_tags, "estimator_name": kind.__name__,
                  "estimator_class": f"{kind.__module__}.{kind.__name__}"})
    if params:
        log_params(run, library, estimator.get_params(deep=deep))


def log_params(run, library, params):
    """Logs what can be logged; a value that the run has already stands, and that is said."""
    usable = {str(key)[:_NAME]: value for key, value in params.items()}
    kept = run.log_fresh_params(usable)
    if kept:
        hooks.warn(library, f"run {run.run_id} has other values of {', '.join(sorted(kept)[:5])} already, which stay: "
                            "give each training a run of its own with `with lathe.start_run(nested=True):`")


def log_fitted(run, model, data, settings, name="model"):
    kept, signature = None, None if settings.log_model_signatures else False
    predict = getattr(model, "predict", None)
    if data is not None and (predict or settings.log_input_examples):
        def describe():
            return settings.example_and_signature(lambda: example.first_rows(data), predict)

        kept, signature = hooks.attempt(settings.library, "inferring the signature", describe) or (None, signature)
    registered = settings.registered_model_name if name == "model" else None
    models.log_model_of(run, model, name, registered, signature, kept, log_parameters=False)


def _data_of(estimator, args, kwargs):
    """(X, y, sample_weight) of a call of fit, whatever their names are; None for what was not given."""
    names = [name for name in inspect.signature(type(estimator).fit).parameters if name != "self"]
    given = dict(zip(names, args))
    given.update({name: value for name, value in kwargs.items() if name not in given})
    return (given.get(names[0]) if names else None, given.get(names[1]) if len(names) > 1 else None,
            given.get("sample_weight"))


def _log_drawing(run, estimator):
    from sklearn.utils import estimator_html_repr

    page = f'<!DOCTYPE html><html lang="en"><meta charset="UTF-8"><body>{estimator_html_repr(estimator)}</body></html>'
    run.log_bytes(page.encode(), "estimator.html")


def _is_search(estimator):
    return hasattr(estimator, "cv_results_") or hasattr(type(estimator), "_run_search")


def _log_search(run, search, settings, started):
    best = getattr(search, "best_params_", {})
    log_params(run, _LIBRARY, {f"best_{name}": value for name, value in best.items()})
    if hasattr(search, "best_score_"):
        run.log_metrics({"best_cv_score": float(search.best_score_)}, None)
    results = search.cv_results_
    count = len(results["params"])
    run.log_bytes(_table(results, count).encode(), "cv_results.csv")
    rank = next((name for name in ("rank_test_score", *results) if name.startswith("rank_test_")), None)
    order = sorted(range(count), key=lambda i: results[rank][i]) if rank else range(count)
    experiment = run.info()["info"]["experiment_id"]
    basic = search.estimator.get_params(deep=not _is_search(search.estimator))
    kind = type(search.estimator)
    tags = {**settings.extra_tags, "mlflow.autologging": _LIBRARY, "estimator_name": kind.__name__,
            "estimator_class": f"{kind.__module__}.{kind.__name__}"}
    for i in list(order)[:settings.max_tuning_runs]:
        child = session.create(experiment, None, tags, parent=run, start_time=started)
        child.log_params({str(key)[:_NAME]: value for key, value in {**basic, **results["params"][i]}.items()})
        child.log_metrics({name: float(values[i]) for name, values in results.items()
                           if not name.startswith(("param", "split")) and isinstance(values[i], numbers.Number)
                           and not (isinstance(values[i], float) and math.isnan(values[i]))}, None)
        child.end("FINISHED")


def _table(results, count):
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(results)
    for i in range(count):
        writer.writerow(["" if str(values[i]) == "--" else values[i] for values in results.values()])
    return out.getvalue()
