"""The scores of a fitted estimator on the data that it was fitted on, under MLflow's names (`training_...`)."""

import inspect

from lathe.autologging import hooks


def scores_of(library, estimator, data, labels, weights, prefix="training_"):
    """{name: value}; what a score cannot be computed for is left out and said once."""
    if labels is None or data is None:
        return {}
    import sklearn.base

    if sklearn.base.is_classifier(estimator):
        found = _classifier(library, estimator, data, labels, weights)
    elif sklearn.base.is_regressor(estimator):
        found = _regressor(library, estimator, data, labels, weights)
    else:
        found = {}
    if hasattr(estimator, "score"):
        more = {}
        if weights is not None and "sample_weight" in inspect.signature(estimator.score).parameters:
            more["sample_weight"] = weights
        found["score"] = hooks.attempt(library, "score", lambda: estimator.score(data, labels, **more))
    return {prefix + name: float(value) for name, value in found.items() if value is not None}


def _classifier(library, estimator, data, labels, weights):
    from sklearn import metrics

    predicted = hooks.attempt(library, "predict", estimator.predict, data)
    if predicted is None:
        return {}
    found = {
        name: hooks.attempt(library, name, lambda score=score: score(labels, predicted, average="weighted",
                                                                     sample_weight=weights, zero_division=0))
        for name, score in (("precision_score", metrics.precision_score), ("recall_score", metrics.recall_score),
                            ("f1_score", metrics.f1_score))}
    found["accuracy_score"] = hooks.attempt(
        library, "accuracy_score", lambda: metrics.accuracy_score(labels, predicted, sample_weight=weights))
    if hasattr(estimator, "predict_proba"):
        chances = hooks.attempt(library, "predict_proba", estimator.predict_proba, data)
        if chances is not None:
            found["log_loss"] = hooks.attempt(
                library, "log_loss", lambda: metrics.log_loss(labels, chances, sample_weight=weights))
            if getattr(chances, "ndim", 0) == 2 and chances.shape[1] == 2:
                chances = chances[:, 1]
            found["roc_auc"] = hooks.attempt(library, "roc_auc", lambda: metrics.roc_auc_score(
                labels, chances, average="weighted", sample_weight=weights, multi_class="ovo"))
    return found


def _regressor(library, estimator, data, labels, weights):
    from sklearn import metrics

    predicted = hooks.attempt(library, "predict", estimator.predict, data)
    if predicted is None:
        return {}
    found = {
        name: hooks.attempt(library, name, lambda score=score: score(labels, predicted, sample_weight=weights))
        for name, score in (("mean_squared_error", metrics.mean_squared_error),
                            ("mean_absolute_error", metrics.mean_absolute_error), ("r2_score", metrics.r2_score))}
    if found["mean_squared_error"] is not None:
        found["root_mean_squared_error"] = found["mean_squared_error"] ** 0.5
    return found
