"""The parts of a signature."""

from mlflow.types.schema import ColSpec, DataType, Schema, TensorSpec  # noqa: F401
