"""What goes into a model and comes out, in MLflow's words: columns with types, or tensors with shapes."""

import datetime
import json
import numbers
import sys

_NUMPY_TYPES = {
    "bool": "boolean", "int8": "integer", "int16": "integer", "int32": "integer", "uint8": "integer",
    "uint16": "integer", "uint32": "long", "int64": "long", "float16": "float", "float32": "float", "float64": "double",
}


class ColSpec:
    """A column: `type` is a name such as "double", or the dict that MLflow writes for arrays and objects."""

    def __init__(self, type, name=None, required=True):
        self.type, self.name, self.required = type, name, required

    def to_dict(self):
        out = dict(self.type) if isinstance(self.type, dict) else {"type": self.type}
        if self.name is not None:
            out["name"] = self.name
        return {**out, "required": self.required}


class TensorSpec:
    """A tensor: `type` is a numpy dtype or its name; the first dimension, -1, counts the rows."""

    def __init__(self, type, shape, name=None):
        self.type, self.shape, self.name = str(type), tuple(shape), name

    def to_dict(self):
        out = {"type": "tensor", "tensor-spec": {"dtype": self.type, "shape": list(self.shape)}}
        return out if self.name is None else {"name": self.name, **out}


class Schema:
    """All columns, or all tensors."""

    def __init__(self, inputs):
        self.inputs = list(inputs)

    def input_names(self):
        return [spec.name for spec in self.inputs]

    def is_tensor_spec(self):
        return bool(self.inputs) and isinstance(self.inputs[0], TensorSpec)

    def to_dict(self):
        return [spec.to_dict() for spec in self.inputs]

    def to_json(self):
        return json.dumps(self.to_dict())

    @classmethod
    def from_json(cls, text):
        return cls(_spec_of(each) for each in json.loads(text))

    def __eq__(self, other):
        return isinstance(other, Schema) and self.to_dict() == other.to_dict()

    def __repr__(self):
        return self.to_json()


class Signature:
    """A model's inputs, outputs and parameters; each may be unknown (None)."""

    def __init__(self, inputs=None, outputs=None, params=None):
        self.inputs, self.outputs, self.params = inputs, outputs, params

    def to_dict(self):
        return {"inputs": self.inputs and self.inputs.to_json(), "outputs": self.outputs and self.outputs.to_json(),
                "params": json.dumps(self.params) if self.params else None}

    @classmethod
    def from_dict(cls, document):
        inputs, outputs, params = (document.get(key) for key in ("inputs", "outputs", "params"))
        return cls(inputs and Schema.from_json(inputs), outputs and Schema.from_json(outputs),
                   params and json.loads(params))

    def __eq__(self, other):
        return isinstance(other, Signature) and self.to_dict() == other.to_dict()

    def __repr__(self):
        return f"inputs: {self.inputs!r}, outputs: {self.outputs!r}, params: {self.params!r}"


def infer(model_input=None, model_output=None, params=None):
    """The signature that example data show. Raises ValueError for data that no signature can describe."""
    described = [{"name": name, "type": _scalar_type(value), "default": value, "shape": None}
                 for name, value in (params or {}).items()]
    return Signature(None if model_input is None else schema_of(model_input),
                     None if model_output is None else schema_of(model_output), described or None)


def schema_of(data):
    """The schema of a DataFrame, Series, array, tensor, sparse matrix, dict, list or plain value."""
    pandas, numpy = sys.modules.get("pandas"), sys.modules.get("numpy")
    if pandas and isinstance(data, pandas.DataFrame):
        return Schema(_column(str(name), data[name]) for name in data.columns)
    if pandas and isinstance(data, pandas.Series):
        return Schema([_column(None if data.name is None else str(data.name), data)])
    if hasattr(data, "detach") and hasattr(data, "numpy"):  # a torch tensor
        data = data.detach().cpu().numpy()
    if numpy and isinstance(data, numpy.ndarray) or hasattr(data, "tocsr"):
        return Schema([_tensor(data)])
    if isinstance(data, dict):
        if numpy and data and all(isinstance(value, numpy.ndarray) for value in data.values()):
            return Schema(_tensor(value, name) for name, value in data.items())
        return Schema(_field(name, [value]) for name, value in data.items())
    if isinstance(data, (list, tuple)) and data:
        if all(isinstance(item, dict) for item in data):
            names = dict.fromkeys(name for item in data for name in item)
            return Schema(_field(name, [item.get(name) for item in data]) for name in names)
        return Schema([ColSpec(_type_of_all(data))])
    return Schema([ColSpec(_type_of(data))])


def _spec_of(document):
    document = dict(document)
    name, required = document.pop("name", None), document.pop("required", True)
    if document.get("type") == "tensor":
        return TensorSpec(document["tensor-spec"]["dtype"], document["tensor-spec"]["shape"], name)
    return ColSpec(document["type"] if set(document) == {"type"} else document, name, required)


def _tensor(array, name=None):
    kind = array.dtype.kind
    dtype = "object" if kind == "O" else "str" if kind == "U" else "bytes" if kind == "S" else str(array.dtype)
    return TensorSpec(dtype, (-1, *array.shape[1:]) if array.ndim else (), name)


def _column(name, series):
    kind = str(series.dtype)
    missing = bool(series.isna().any())
    if kind.lower() in _NUMPY_TYPES:
        return ColSpec(_NUMPY_TYPES[kind.lower()], name, not missing)
    if kind.startswith("datetime64"):
        return ColSpec("datetime", name, not missing)
    values = list(series.dropna())
    return ColSpec(_type_of_all(values) if values else "string", name, not missing)


def _field(name, values):
    present = [value for value in values if value is not None]
    if not present:
        raise ValueError(f"{name!r} has no value that would show its type")
    return ColSpec(_type_of_all(present), name, len(present) == len(values))


def _type_of_all(values):
    types = {json.dumps(_type_of(value)): _type_of(value) for value in values}
    if len(types) == 1:
        return next(iter(types.values()))
    if all(isinstance(kind, str) for kind in types.values()) and set(types.values()) <= {"integer", "long", "double"}:
        return "double" if "double" in types.values() else "long"
    raise ValueError(f"values of several types: {', '.join(types)}")


def _type_of(value):
    if isinstance(value, dict):
        fields = {name: {**ColSpec(_type_of(item)).to_dict()} for name, item in value.items()}
        return {"type": "object", "properties": fields}
    if isinstance(value, (list, tuple)):
        if not value:
            raise ValueError("an empty list does not show the type of what it holds")
        inner = _type_of_all(value)
        return {"type": "array", "items": inner if isinstance(inner, dict) else {"type": inner}}
    if hasattr(value, "tolist") and getattr(value, "ndim", 0):
        return _type_of(value.tolist())
    return _scalar_type(value)


def _scalar_type(value):
    if hasattr(value, "dtype") and str(value.dtype) in _NUMPY_TYPES:
        return _NUMPY_TYPES[str(value.dtype)]
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, numbers.Integral):
        return "long"
    if isinstance(value, numbers.Real):
        return "double"
    if isinstance(value, str):
        return "string"
    if isinstance(value, (bytes, bytearray)):
        return "binary"
    if isinstance(value, (datetime.date, datetime.datetime)):
        return "datetime"
    raise ValueError(f"a {type(value).__name__} has no type in MLflow's signatures")
