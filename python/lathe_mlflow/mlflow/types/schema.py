"""Columns, tensors and the schemas that they make."""

from lathe.signature import ColSpec, Schema, TensorSpec  # noqa: F401


class DataType:
    """Names of the types of columns."""

    boolean, integer, long, float, double = "boolean", "integer", "long", "float", "double"
    string, binary, datetime = "string", "binary", "datetime"
