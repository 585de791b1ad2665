"""Learns to tell benign from malignant tumours, while every boosting round is logged, and registers the model."""

import argparse
import json
import pathlib

import lathe
import numpy
import xgboost
from sklearn.model_selection import train_test_split


class LogRounds(xgboost.callback.TrainingCallback):
    """Logs each metric of each data set after every boosting round."""

    def after_iteration(self, model, epoch, evals_log):
        for data, metrics in evals_log.items():
            lathe.log_metrics({f"{data}-{name}": values[-1] for name, values in metrics.items()}, step=epoch)
        return False  # go on


def load(path):
    """(training rows, held-back rows, training labels, held-back labels, names of the features and the classes)."""
    with open(path) as file:
        *features, _ = file.readline().strip().split(",")
        table = numpy.loadtxt(file, delimiter=",")
    rows, labels = table[:, :-1], table[:, -1].astype(int)
    split = train_test_split(rows, labels, test_size=0.25, random_state=42, stratify=labels)
    return (*split, features, ["malignant", "benign"])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--max-depth", type=int, default=3)
    parser.add_argument("--eta", type=float, default=0.2)
    parser.add_argument("--results", type=pathlib.Path, default=pathlib.Path("results"))
    args = parser.parse_args()

    train_rows, test_rows, train_labels, test_labels, features, classes = load(args.data)
    train = xgboost.DMatrix(train_rows, train_labels, feature_names=features)
    test = xgboost.DMatrix(test_rows, test_labels, feature_names=features)
    print(f"{len(train_rows)} rows to learn from, {len(test_rows)} held back, {len(features)} features")

    settings = {
        "objective": "binary:logistic", "eval_metric": ["logloss", "error"],
        "max_depth": args.max_depth, "eta": args.eta, "seed": 7, "nthread": 2,
    }
    lathe.log_params({"num_boost_round": args.rounds, "max_depth": args.max_depth, "eta": args.eta})
    booster = xgboost.train(settings, train, args.rounds, evals=[(train, "train"), (test, "test")],
                            verbose_eval=10, callbacks=[LogRounds()])

    predictions = booster.predict(test)
    accuracy = float(numpy.mean((predictions > 0.5) == test_labels))
    lathe.log_metric("test-accuracy", accuracy)
    print(f"test accuracy {accuracy:.4f}")

    # The rows that the model never saw, to compare a deployment's answers with the library's own.
    args.results.mkdir(parents=True, exist_ok=True)
    (args.results / "heldback.json").write_text(json.dumps({
        "feature_names": features, "classes": classes, "rows": test_rows.tolist(),
        "labels": test_labels.tolist(), "predictions": predictions.tolist(),
    }))
    lathe.log_artifact(args.results / "heldback.json")
    lathe.log_model(booster, "model", registered_model_name="cancer-classifier")


if __name__ == "__main__":
    main()
