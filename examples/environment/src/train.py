"""Says which versions the job's environment gave it, and logs how well a few trees do."""

import numpy
import sklearn
import xgboost
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import cross_val_score

import lathe

print(f"numpy {numpy.__version__}, scikit-learn {sklearn.__version__}, xgboost {xgboost.__version__}")
data, labels = load_breast_cancer(return_X_y=True)
accuracy = cross_val_score(xgboost.XGBClassifier(n_estimators=20, max_depth=3), data, labels, cv=3).mean()
lathe.log_metric("accuracy", float(accuracy))
print(f"accuracy {accuracy:.3f}")
