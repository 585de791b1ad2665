"""scikit-learn's estimators in the native form.

Trees, forests, gradient boosting, linear models, k-means, PCA, small neural networks, and pipelines of these with
scalers, imputers, encoders and selections. Written for what scikit-learn 1.2 keeps in a fitted estimator; whatever is not
known here raises `NotNative`, and the model stays pickled alone."""

from lathe.models.native import NotNative, Program, document


def convert(model, example=None):
    """The model's document. `example`: rows that it takes, as a list of lists or an array, to compare by."""
    model = getattr(model, "best_estimator_", model)
    features = getattr(model, "n_features_in_", None)
    if features is None:
        raise NotNative(f"{type(model).__name__} does not tell how many features it takes")
    program = Program(int(features))
    outputs = _estimator(program, model)
    names = getattr(model, "feature_names_in_", None)
    columns = [str(name) for name in names] if names is not None else None
    rows = program.sample(_rows(example, program.features))
    return document(program, outputs, columns, rows, _answers(model, outputs, rows, columns))


def _rows(example, features):
    if example is None:
        return []
    import numpy

    try:
        values = numpy.asarray(example, dtype=float)
    except (TypeError, ValueError):
        return []
    return values.tolist() if values.ndim == 2 and values.shape[1] == features else []


def _answers(model, outputs, rows, columns):
    import warnings

    import numpy

    table = numpy.asarray(rows, dtype=float)
    if columns:
        import pandas

        table = pandas.DataFrame(table, columns=columns)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {output["name"]: numpy.asarray(getattr(model, output["name"])(table)).tolist() for output in outputs}


# --- estimators: each adds its steps and answers its outputs ---

def _estimator(program, model):
    kind = _kind(model)
    if kind == "Pipeline":
        *before, (_, last) = [step for step in model.steps if step[1] is not None and step[1] != "passthrough"]
        for _, transformer in before:
            _transform(program, transformer)
        return _estimator(program, last)
    if kind in _ESTIMATORS:
        return _ESTIMATORS[kind](program, model)
    if hasattr(model, "predict"):
        raise NotNative(f"{kind} has no native form")
    _transform(program, model)
    return [{"name": "transform", "take": "row"}]


def _kind(model):
    if not type(model).__module__.startswith("sklearn."):
        raise NotNative(f"{type(model).__module__}.{type(model).__name__} is not scikit-learn's")
    return type(model).__name__


def _classes(model, probabilities):
    """The outputs of a classifier whose last step leaves a number for each class."""
    labels = model.classes_.tolist() if hasattr(model.classes_, "tolist") else None
    if not labels or not all(isinstance(label, (bool, int, float, str)) for label in labels):
        raise NotNative(f"the classes of {type(model).__name__} are of a kind that has no native form")
    predict = {"name": "predict", "take": "greatest", "labels": labels}
    return [predict, {"name": "predict_proba", "take": "row"}] if probabilities else [predict]


def _value(width):
    return [{"name": "predict", "take": "first" if width == 1 else "row"}]


def _tree_of(tree, classifier):
    if tree.n_outputs != 1:
        raise NotNative("trees of several outputs have no native form")
    values = tree.value[:, 0, :].tolist()
    if classifier:
        values = [[share / (sum(row) or 1.0) for share in row] for row in values]
    feature = [int(feature) if left != -1 else -1 for feature, left in zip(tree.feature, tree.children_left)]
    return feature, tree.threshold.tolist(), tree.children_left.tolist(), tree.children_right.tolist(), values


def _forest(program, model):
    classifier = hasattr(model, "classes_")
    estimators = getattr(model, "estimators_", None) or [model]
    trees = [_tree_of(estimator.tree_, classifier) for estimator in estimators]
    width = len(trees[0][4][0])
    program.finite(single=True)
    program.forest(trees, width, [0] * width, single=True)
    if len(trees) > 1:
        program.elementwise(divide=[len(trees)] * width)
    return _classes(model, True) if classifier else _value(1)


def _gradient_boosting(program, model):
    import numpy

    if model.init_ != "zero" and type(model.init_).__name__ not in ("DummyClassifier", "DummyRegressor"):
        raise NotNative("gradient boosting with an own `init` has no native form")
    start = numpy.ravel(model._raw_predict_init(numpy.zeros((1, program.features)))).tolist()
    trees, groups = [], []
    for stage in model.estimators_:
        for group, estimator in enumerate(stage):
            *nodes, values = _tree_of(estimator.tree_, False)
            trees.append((*nodes, [[value * model.learning_rate for value in row] for row in values]))
            groups.append(group)
    program.finite(single=True)
    program.forest(trees, len(start), start, single=True, groups=groups)
    if not hasattr(model, "classes_"):
        return _value(1)
    if model.loss == "exponential":
        program.elementwise(multiply=[2])
    _shares(program)
    return _classes(model, True)


def _hist_gradient_boosting(program, model):
    import numpy

    trees, groups, missing_left = [], [], []
    for stage in model._predictors:
        for group, predictor in enumerate(stage):
            nodes = predictor.nodes
            if nodes["is_categorical"].any():
                raise NotNative("splits by categories have no native form")
            leaf = nodes["is_leaf"].astype(bool)
            feature = numpy.where(leaf, -1, nodes["feature_idx"].astype(int)).tolist()
            # A split that only parts missing values from others has an infinite threshold.
            threshold = numpy.nan_to_num(nodes["num_threshold"]).tolist()
            trees.append((feature, threshold, nodes["left"].tolist(), nodes["right"].tolist(),
                          nodes["value"].reshape(-1, 1).tolist()))
            missing_left.extend(nodes["missing_go_to_left"].astype(int).tolist())
            groups.append(group)
    start = numpy.ravel(model._baseline_prediction).tolist()
    program.forest(trees, len(start), start, single=False, groups=groups, missing_left=missing_left)
    if hasattr(model, "classes_"):
        _shares(program)
        return _classes(model, True)
    if model.loss == "poisson":
        program.add("activate", by="exp")
    elif model.loss not in ("squared_error", "absolute_error", "quantile"):
        raise NotNative(f"the loss {model.loss} has no native form")
    return _value(1)


def _shares(program):
    """Scores to probabilities: of one score, that of the second class."""
    if program.width == 1:
        program.add("activate", by="logistic")
        program.two("complement")
    else:
        program.add("activate", by="softmax")


def _linear(program, model):
    import numpy

    weights = numpy.atleast_2d(model.coef_)
    bias = numpy.broadcast_to(numpy.ravel(model.intercept_), (len(weights),))
    program.finite()
    program.linear(weights.tolist(), bias.tolist())


def _linear_regressor(program, model):
    _linear(program, model)
    if _kind(model) in ("PoissonRegressor", "GammaRegressor"):
        program.add("activate", by="exp")
    return [{"name": "predict", "take": "row" if getattr(model.coef_, "ndim", 1) == 2 else "first"}]


def _linear_classifier(program, model, share=None):
    """The greatest score says the class; `share`: the steps from the scores to probabilities."""
    _linear(program, model)
    if program.width == 1:
        program.two("mirror")
    outputs = _classes(model, share is not None)
    if share is not None:
        outputs[1]["steps"] = share
    return outputs


_SOFTMAX = [{"do": "activate", "by": "softmax"}]
_LOGISTIC = [{"do": "activate", "by": "logistic"}]


def _one_against_rest(model):
    return _LOGISTIC + [{"do": "normalize", "norm": "l1"}] if len(model.classes_) > 2 else _LOGISTIC


def _logistic_regression(program, model):
    one_by_one = model.multi_class == "ovr" or (
        model.multi_class == "auto" and (len(model.classes_) <= 2 or model.solver == "liblinear"))
    return _linear_classifier(program, model, _one_against_rest(model) if one_by_one else _SOFTMAX)


def _sgd_classifier(program, model):
    return _linear_classifier(program, model, _one_against_rest(model) if model.loss in ("log_loss", "log") else None)


def _discriminant_analysis(program, model):
    return _linear_classifier(program, model, _SOFTMAX if len(model.classes_) > 2 else _LOGISTIC)


def _neural_network(program, model):
    classifier = hasattr(model, "classes_")
    if classifier and model._label_binarizer.y_type_.startswith("multilabel"):
        raise NotNative("several labels for a row have no native form")
    program.finite()
    for i, (weights, bias) in enumerate(zip(model.coefs_, model.intercepts_)):
        program.linear(weights.T.tolist(), bias.tolist())
        by = model.out_activation_ if i == len(model.coefs_) - 1 else model.activation
        if by != "identity":
            program.add("activate", by=by)
    if not classifier:
        return _value(program.width)
    if program.width == 1:
        program.two("complement")
    return _classes(model, True)


def _k_means(program, model):
    program.finite()
    centers = model.cluster_centers_
    program.add("distances", centers=[float(value) for row in centers.tolist() for value in row])
    program.mixed(len(centers))
    return [{"name": "predict", "take": "least", "labels": list(range(len(centers)))},
            {"name": "transform", "take": "row"}]


_ESTIMATORS = {
    **dict.fromkeys(("DecisionTreeClassifier", "DecisionTreeRegressor", "ExtraTreeClassifier", "ExtraTreeRegressor",
                     "RandomForestClassifier", "RandomForestRegressor", "ExtraTreesClassifier",
                     "ExtraTreesRegressor"), _forest),
    **dict.fromkeys(("GradientBoostingClassifier", "GradientBoostingRegressor"), _gradient_boosting),
    **dict.fromkeys(("HistGradientBoostingClassifier", "HistGradientBoostingRegressor"), _hist_gradient_boosting),
    **dict.fromkeys(("LinearRegression", "Ridge", "RidgeCV", "Lasso", "LassoCV", "ElasticNet", "ElasticNetCV", "Lars",
                     "LarsCV", "LassoLars", "LassoLarsCV", "BayesianRidge", "ARDRegression", "HuberRegressor",
                     "TheilSenRegressor", "SGDRegressor", "PassiveAggressiveRegressor", "LinearSVR",
                     "PoissonRegressor", "GammaRegressor"), _linear_regressor),
    **dict.fromkeys(("LinearSVC", "RidgeClassifier", "RidgeClassifierCV", "Perceptron",
                     "PassiveAggressiveClassifier"), _linear_classifier),
    **dict.fromkeys(("LogisticRegression", "LogisticRegressionCV"), _logistic_regression),
    "SGDClassifier": _sgd_classifier,
    "LinearDiscriminantAnalysis": _discriminant_analysis,
    **dict.fromkeys(("MLPClassifier", "MLPRegressor"), _neural_network),
    **dict.fromkeys(("KMeans", "MiniBatchKMeans"), _k_means),
}


# --- transformers: each adds its steps ---

def _transform(program, model):
    kind = _kind(model)
    if kind in _TRANSFORMERS:
        return _TRANSFORMERS[kind](program, model)
    if hasattr(model, "get_support"):
        program.finite()
        return program.select(model.get_support(indices=True))
    raise NotNative(f"{kind} has no native form")


def _pipeline(program, model):
    for _, transformer in model.steps:
        if transformer is not None and transformer != "passthrough":
            _transform(program, transformer)


def _join(program, parts):
    program.add("join", parts=[part.steps for part in parts])
    program.width = sum(part.width for part in parts)
    program.origins = [origin for part in parts for origin in part.origins]


def _column_transformer(program, model):
    parts = []
    for name, transformer, _ in model.transformers_:
        columns = model._transformer_to_input_indices[name]
        if transformer == "drop" or len(columns) == 0:
            continue
        part = program.part()
        part.select(columns)
        if transformer != "passthrough":
            _transform(part, transformer)
        parts.append(part)
    _join(program, parts)


def _feature_union(program, model):
    if model.transformer_weights:
        raise NotNative("FeatureUnion with weights has no native form")
    parts = []
    for _, transformer in model.transformer_list:
        if transformer == "drop":
            continue
        part = program.part()
        if transformer != "passthrough":
            _transform(part, transformer)
        parts.append(part)
    _join(program, parts)


def _scaler(program, subtract=None, divide=None):
    for column in range(program.width):
        middle = 0 if subtract is None else float(subtract[column])
        spread = 1 if divide is None else float(divide[column])
        program.note(column, [middle, middle - spread, middle + spread])
    what = {"subtract": subtract, "divide": divide}
    program.elementwise(**{name: values for name, values in what.items() if values is not None})


def _min_max_scaler(program, model):
    for column in range(program.width):
        program.note(column, [float(model.data_min_[column]), float(model.data_max_[column])])
    program.elementwise(multiply=model.scale_, add=model.min_)
    if model.clip:
        program.add("clip", least=float(model.feature_range[0]), greatest=float(model.feature_range[1]))


def _normalizer(program, model):
    program.finite()
    program.add("normalize", norm=model.norm)
    program.origins = [None] * program.width


def _simple_imputer(program, model):
    if model.missing_values == model.missing_values or model.add_indicator:
        raise NotNative("SimpleImputer has a native form for NaN alone, without an indicator")
    program.add("impute", values=[float(value) for value in model.statistics_])


def _one_hot_encoder(program, model):
    if model.drop_idx_ is not None or getattr(model, "_infrequent_enabled", False):
        raise NotNative("OneHotEncoder that drops or gathers categories has no native form")
    categories = []
    for column, known in enumerate(model.categories_):
        if known.dtype.kind not in "biuf":
            raise NotNative("texts as inputs have no native form")
        categories.append([float(value) for value in known])
        program.note(column, categories[-1], only=True)
    ignore = {"unknown": "ignore"} if model.handle_unknown != "error" else {}
    program.finite()
    program.add("one_hot", categories=categories, **ignore)
    program.mixed(sum(map(len, categories)))


def _pca(program, model):
    program.finite()
    _scaler(program, subtract=model.mean_)
    program.linear(model.components_.tolist(), [0] * len(model.components_))
    if model.whiten:
        program.elementwise(divide=[value ** 0.5 for value in model.explained_variance_])


def _truncated_svd(program, model):
    program.finite()
    program.linear(model.components_.tolist(), [0] * len(model.components_))


def _function_transformer(program, model):
    if model.func is not None:
        raise NotNative("FunctionTransformer runs Python, which has no native form")


_TRANSFORMERS = {
    "Pipeline": _pipeline,
    "ColumnTransformer": _column_transformer,
    "FeatureUnion": _feature_union,
    "StandardScaler": lambda program, model: _scaler(program, model.mean_ if model.with_mean else None,
                                                     model.scale_ if model.with_std else None),
    "RobustScaler": lambda program, model: _scaler(program, model.center_ if model.with_centering else None,
                                                   model.scale_ if model.with_scaling else None),
    "MaxAbsScaler": lambda program, model: _scaler(program, divide=model.scale_),
    "MinMaxScaler": _min_max_scaler,
    "Normalizer": _normalizer,
    "SimpleImputer": _simple_imputer,
    "OneHotEncoder": _one_hot_encoder,
    "PCA": _pca,
    "TruncatedSVD": _truncated_svd,
    "FunctionTransformer": _function_transformer,
}
