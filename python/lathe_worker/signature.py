"""What an MLflow model says of its inputs, outputs and parameters, and requests held against it."""

import base64
import json
import sys

from lathe_worker.trouble import BadInput

_DATATYPES = {"boolean": "BOOL", "integer": "INT32", "long": "INT64", "float": "FP32", "double": "FP64"}
_DTYPES = {"bool": "BOOL", "float16": "FP16", "float32": "FP32", "float64": "FP64",
           **{f"{kind}int{bits}": f"{kind.upper()}INT{bits}" for kind in ("", "u") for bits in (8, 16, 32, 64)}}
_NUMPY = {"boolean": "bool", "integer": "int32", "long": "int64", "float": "float32", "double": "float64"}
_WORDS = {"boolean": "true or false", "integer": "whole numbers of 32 bits", "long": "whole numbers",
          "float": "numbers", "double": "numbers", "string": "texts", "datetime": "times such as 2026-01-31T12:00:00",
          "binary": "bytes, in JSON as base64"}
_SHOWN = 60


class Signature:
    """`mlflow_signature`: a ModelSignature of MLflow's or of Lathe's subset, or None."""

    def __init__(self, mlflow_signature):
        said = mlflow_signature.to_dict() if mlflow_signature else {}
        self._inputs, self.outputs = _listed(said.get("inputs")), _listed(said.get("outputs"))
        params = _listed(said.get("params"))
        self._params = {each["name"]: each for each in params} if params else None
        self._ignored = set()
        #: {name: type} of a signature with named columns
        self.columns = {}
        if self._inputs and all(each["type"] != "tensor" and each.get("name") is not None for each in self._inputs):
            self.columns = {each["name"]: each["type"] for each in self._inputs}
        self._tensors = [each for each in self._inputs if each["type"] == "tensor"]

    def describe(self):
        """As the Open Inference Protocol's metadata has it. Without a signature any one tensor goes."""
        any_one = {"datatype": "FP64", "shape": [-1, -1]}
        return {"inputs": [_described(each, "input") for each in self._inputs] or [{"name": "input-0", **any_one}],
                "outputs": [_described(each, "predict") for each in self.outputs] or [{"name": "output-0", **any_one}]}

    def frame(self, frame):
        """The table with columns of the types that the signature says."""
        missing = [each["name"] for each in self._inputs
                   if self.columns and each.get("required", True) and each["name"] not in frame.columns]
        if missing:
            raise BadInput(f"the column {_quoted(missing)} is missing: the model takes {_quoted(self.columns)}")
        for each in self._inputs if self.columns else ():
            if each["name"] in frame.columns:
                frame[each["name"]] = _column(frame[each["name"]], each)
        return frame

    def array(self, array, name):
        """What came without names: a table where the signature has as many columns, else as its one tensor says."""
        if self.columns and array.ndim == 2 and array.shape[1] == len(self.columns):
            return self.frame(_pandas().DataFrame(array, columns=list(self.columns)))
        if self.columns:
            raise BadInput(f"{name}: expected rows of {len(self.columns)} values ({_quoted(self.columns)}), got the "
                           f"shape {list(array.shape)}")
        if len(self._tensors) == 1 and self._tensors[0].get("name") is None:
            return _tensor(self._tensors[0], array, name)
        return array

    def arrays(self, arrays):
        """{name: array} as the model takes it."""
        if self.columns:
            return self.frame(_pandas().DataFrame({name: _flat(each, name) for name, each in _equally_long(arrays).items()}))
        specs = {each["name"]: each for each in self._tensors if each.get("name") is not None}
        if not specs:
            return arrays
        for name in specs:
            if name not in arrays:
                raise BadInput(f"the input {_quoted([name])} is missing: the model takes {_quoted(specs)}")
        for name in arrays:
            if name not in specs:
                raise BadInput(f"there is no input {_quoted([name])}: the model takes {_quoted(specs)}")
        return {name: _tensor(spec, arrays[name], name) for name, spec in specs.items()}

    def tensors(self, given):
        """The Open Inference Protocol's inputs, [(name, array)], as the model takes them."""
        arrays = dict(given)
        if len(arrays) < len(given):
            raise BadInput("two inputs have the same name")
        if not arrays:
            raise BadInput("the request has no inputs")
        if len(arrays) == 1:
            ((name, array),) = arrays.items()
            only = self._inputs[0].get("name") if len(self._inputs) == 1 else None
            if only is not None:
                return self.arrays({only: array})  # under any name
            if name not in self.columns and not any(each.get("name") for each in self._tensors):
                return self.array(array, f"input {_quoted([name])}")
        elif self._inputs and not self.columns and not any(each.get("name") for each in self._tensors):
            raise BadInput(f"expected 1 input, got {len(arrays)} ({_quoted(arrays)})")
        unknown = [name for name in arrays if self.columns and name not in self.columns]
        if unknown:
            raise BadInput(f"there is no input {_quoted(unknown)}: the model takes {_quoted(self.columns)}")
        return self.arrays(arrays)

    def parameters(self, given):
        """The parameters, with the defaults of those that are not given, as MLflow has it: what the signature does not
        name is ignored. A signature that says nothing of parameters lets all pass."""
        if self._params is None:
            return given
        out = {name: each.get("default") for name, each in self._params.items()}
        for name, value in (given or {}).items():
            if name in self._params:
                out[name] = _parameter(self._params[name], value)
            elif name not in self._ignored and len(self._ignored) < 100:
                self._ignored.add(name)
                print(f"[lathe] the parameter {name!r} is ignored: the model's signature does not have it", file=sys.stderr)
        return out


def _listed(said):
    return json.loads(said) if isinstance(said, str) else list(said or ())


def _quoted(names):
    return ", ".join(f'"{name}"' for name in names)


def _described(spec, absent_name):
    name = spec.get("name") or absent_name
    if spec["type"] == "tensor":
        return {"name": name, "datatype": _DTYPES.get(spec["tensor-spec"]["dtype"], "BYTES"),
                "shape": list(spec["tensor-spec"]["shape"])}
    if spec["type"] == "array" and isinstance(spec.get("items"), dict):
        return {"name": name, "datatype": _DATATYPES.get(spec["items"].get("type"), "BYTES"), "shape": [-1, -1]}
    return {"name": name, "datatype": _DATATYPES.get(spec["type"], "BYTES"), "shape": [-1]}


def _equally_long(arrays):
    lengths = {name: len(each) if getattr(each, "ndim", 1) else 1 for name, each in arrays.items()}
    if len(set(lengths.values())) > 1:
        said = ", ".join(f'"{name}" {length}' for name, length in lengths.items())
        raise BadInput(f"all columns must have as many values: {said}")
    return arrays


def _flat(array, name):
    """The values of one column: [n] or [n, 1]; of more dimensions, a list for each row."""
    if array.ndim == 0 or (array.ndim == 2 and array.shape[1] == 1):
        return array.reshape(-1)
    return array if array.ndim == 1 else array.tolist()


def _column(values, spec):
    """A column as the signature says; what does not fit is refused, naming the first such row."""
    type_, pandas = spec["type"], _pandas()
    wanted, missing = _NUMPY.get(type_), values.isna()
    if wanted and str(values.dtype) == wanted:
        return values
    if type_ in ("integer", "long", "float", "double"):
        numbers = pandas.to_numeric(values, errors="coerce")
        bad = (numbers.isna() & ~missing) | values.map(lambda each: isinstance(each, bool))
        if type_ in ("integer", "long"):
            limit = 2**31 if type_ == "integer" else 2**63
            bad |= ~missing & ~((numbers % 1 == 0) & (numbers >= -limit) & (numbers < limit))
            if spec.get("required", True):
                bad |= missing
            elif missing.any():
                wanted = "float64"  # whole numbers cannot be absent
        values = values if bad.any() else numbers.astype(wanted)
    elif type_ == "boolean":
        bad = values.map(lambda each: not isinstance(each, bool) and type(each).__name__ not in ("bool_", "bool")) & ~missing
        bad |= missing & bool(spec.get("required", True))
        values = values if bad.any() or missing.any() else values.astype(bool)
    elif type_ == "string":
        bad = values.map(lambda each: not isinstance(each, str)) & ~missing
    elif type_ == "datetime":
        times = pandas.to_datetime(values, errors="coerce")
        bad = times.isna() & ~missing
        values = values if bad.any() else times
    elif type_ == "binary":
        decoded = values.map(_decoded)
        bad = decoded.isna() & ~missing
        values = values if bad.any() else decoded
    else:
        return values
    if bad.any():
        row = int(bad.to_numpy().argmax())
        value = values.iloc[row]
        shown = "no value" if missing.iloc[row] else json.dumps(value, default=str)[:_SHOWN]
        raise BadInput(f'column "{spec["name"]}": expected {_WORDS[type_]} ({type_}), row {row + 1} has {shown}')
    return values


def _decoded(value):
    if not isinstance(value, str):
        return value if isinstance(value, bytes) else None
    try:
        return base64.b64decode(value, validate=True)
    except ValueError:
        return None


def _tensor(spec, array, name):
    """An array of the type that the signature says, if its values and its shape allow."""
    import numpy

    shape, dtype = spec["tensor-spec"]["shape"], spec["tensor-spec"]["dtype"]
    if len(shape) != array.ndim or any(known not in (-1, size) for known, size in zip(shape, array.shape)):
        raise BadInput(f"{name}: expected the shape {list(shape)}, got {list(array.shape)}")
    if dtype not in _DTYPES:
        if array.dtype.kind not in "OUS":
            raise BadInput(f"{name}: expected texts, got {array.dtype}")
        return array.astype(object)
    if array.dtype == dtype:
        return array
    wanted = numpy.dtype(dtype)
    good = array.dtype.kind in "iuf" and wanted.kind in "iuf"
    if good and wanted.kind in "iu":
        limits = numpy.iinfo(wanted)
        good = bool(((array % 1 == 0) & (array >= limits.min) & (array <= limits.max)).all())
    if not good:
        raise BadInput(f"{name}: expected values of {dtype}, got {'texts' if array.dtype.kind in 'OUS' else array.dtype}"
                       " that are not such values")
    return array.astype(wanted)


def _parameter(spec, value):
    type_ = spec.get("type") or spec.get("dtype")
    if value is None:
        return spec.get("default")
    if spec.get("shape"):
        if not isinstance(value, list):
            raise BadInput(f"params: {spec['name']} must be a list of {_WORDS.get(type_, type_)}")
        return [_scalar(spec["name"], type_, each) for each in value]
    return _scalar(spec["name"], type_, value)


def _scalar(name, type_, value):
    truth = isinstance(value, bool)
    whole = isinstance(value, int) and not truth
    fits = {"boolean": truth, "string": isinstance(value, str), "datetime": isinstance(value, str),
            "integer": whole and -(2**31) <= value < 2**31, "long": whole and -(2**63) <= value < 2**63,
            "float": whole or isinstance(value, float), "double": whole or isinstance(value, float)}  # fmt: skip
    if not fits.get(type_, True):
        one = {"boolean": "true or false", "string": "a text", "datetime": "a time as text", "integer": "a whole number",
               "long": "a whole number"}.get(type_, "a number")  # fmt: skip
        raise BadInput(f"params: {name} must be {one} ({type_}), not {json.dumps(value)[:_SHOWN]}")
    if type_ == "datetime":
        import numpy

        try:
            return numpy.datetime64(value)
        except ValueError:
            raise BadInput(f"params: {name} must be a time such as 2026-01-31T12:00:00") from None
    return float(value) if type_ in ("float", "double") else value


def _pandas():
    try:
        import pandas
    except ImportError:
        raise BadInput("tables need pandas in the deployment's environment: add it there") from None
    return pandas
