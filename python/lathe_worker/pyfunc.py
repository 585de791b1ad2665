"""MLflow's models with the flavor python_function: tables and lists in, predictions out, as MLflow's own server has it."""

import io
import json
import os
import sys
import time
import traceback

from lathe_worker.channel import INVOCATIONS
from lathe_worker.printed import print_json
from lathe_worker.trouble import CannotLoad

_JSON = b"Content-Type: application/json\r\n"
_KINDS = ("dataframe_split", "dataframe_records", "instances", "inputs")
_COLUMN_TYPES = {"boolean": "BOOL", "integer": "INT32", "long": "INT64", "float": "FP32", "double": "FP64"}
_DTYPES = {"bool": "BOOL", "float16": "FP16", "float32": "FP32", "float64": "FP64",
           **{f"{kind}int{bits}": f"{kind.upper()}INT{bits}" for kind in ("", "u") for bits in (8, 16, 32, 64)}}
_CASTS = {"boolean": "bool", "integer": "int32", "long": "int64", "float": "float32", "double": "float64"}


class BadInput(Exception):
    """What a request has wrong, in a sentence for who sent it."""


class PyFunc:
    def __init__(self, folder):
        import mlflow.pyfunc

        try:
            if getattr(mlflow, "is_lathe", False):
                self._model = mlflow.pyfunc.load_folder(folder)
            else:
                self._model = mlflow.pyfunc.load_model(folder)
        except mlflow.exceptions.MlflowException as error:
            raise CannotLoad(str(error)) from error
        signature = getattr(self._model.metadata, "signature", None)
        self._columns = _columns_of(signature and signature.inputs)
        self.description = {"inputs": _described(signature and signature.inputs, "input"),
                            "outputs": _described(signature and signature.outputs, "predict")}
        self._warm(mlflow)

    def _warm(self, mlflow):
        """Predicts the example that was kept with the model: one that fails on it never gets a request."""
        info = getattr(self._model.metadata, "saved_input_example_info", None)
        if not info:
            return
        try:
            example = self._model.input_example
        except Exception as error:
            print(f"the model's input example cannot be read: {error}", file=sys.stderr)
            return
        try:
            self._model.predict(example)
        except Exception as error:
            raise CannotLoad(f"the model fails on its own input example: {type(error).__name__}: {error}") from error

    def answer(self, kind, head, body):
        began = time.perf_counter_ns()
        try:
            data, params = self._read(kind, head, body)
            began = time.perf_counter_ns()
            result = self._model.predict(data, params=params) if params else self._model.predict(data)
            took = time.perf_counter_ns() - began
            content = _plain(result)
            return 200, _JSON, print_json({"predictions": content} if kind == INVOCATIONS else content), took
        except BadInput as error:
            return _refusal(str(error))
        except Exception as error:
            traceback.print_exc()
            if type(error).__name__ == "MlflowException":
                return _refusal(str(error))
            return _refusal("the model cannot compute this: verify that the input is what it takes; the deployment's "
                            "log says more")

    def _read(self, kind, head, body):
        type_ = _content_type(head)
        if type_ == "text/csv":
            return self._cast(_pandas().read_csv(io.BytesIO(body))), None
        if type_ != "application/json":
            raise BadInput(f"the Content-Type must be application/json or text/csv, not {type_}")
        try:
            document = json.loads(body)
        except ValueError as error:
            raise BadInput(f"the body is not JSON: {error}") from None
        if not isinstance(document, dict):
            raise BadInput("the body must be a JSON object")
        kinds = _KINDS if kind == INVOCATIONS else (*_KINDS, "input_data", "data")
        given = [name for name in kinds if name in document]
        if len(given) != 1:
            raise BadInput(f"the body must have exactly one of {', '.join(kinds)}; it has {', '.join(given) or 'none'}")
        value, params = document[given[0]], document.get("params")
        if params is not None and not isinstance(params, dict):
            raise BadInput("params must be an object")
        try:
            return self._data(given[0], value), params
        except BadInput:
            raise
        except (ValueError, TypeError, AttributeError) as error:
            raise BadInput(f"{given[0]} cannot be read: {error}") from None

    def _data(self, name, value):
        if name == "dataframe_split" or (name in ("input_data", "data") and isinstance(value, dict) and "data" in value):
            if not isinstance(value, dict) or "data" not in value:
                raise BadInput(f"{name} must be an object with columns and data")
            return self._cast(_pandas().DataFrame(value["data"], index=value.get("index"), columns=value.get("columns")))
        if name == "dataframe_records" or (isinstance(value, list) and value and isinstance(value[0], dict)):
            if not isinstance(value, list):
                raise BadInput(f"{name} must be a list of objects")
            return self._cast(_pandas().DataFrame.from_records(value))
        import numpy

        if isinstance(value, dict):
            columns = {key: numpy.array(each) for key, each in value.items()}
            return self._cast(_pandas().DataFrame(columns)) if self._columns else columns
        if not isinstance(value, list):
            raise BadInput(f"{name} must be a list or an object")
        array = numpy.array(value)
        if array.dtype == object:
            raise BadInput(f"{name} must be a list of rows of equal length")
        if self._columns and array.ndim == 2 and array.shape[1] == len(self._columns):
            return self._cast(_pandas().DataFrame(array, columns=list(self._columns)))
        return array

    def _cast(self, frame):
        """Gives columns the types that the signature says, as far as their values allow; the model says the rest."""
        for name, type_ in self._columns.items():
            wanted = _CASTS.get(type_)
            if name in frame.columns and wanted and str(frame[name].dtype) != wanted:
                if wanted.startswith("float") or not frame[name].isna().any():
                    frame[name] = frame[name].astype(wanted)
        return frame


def _refusal(message):
    return 400, _JSON, json.dumps({"error": message}).encode(), 0


def _content_type(head):
    headers = json.loads(head)["headers"] if head else ()
    given = next((value for name, value in headers if name.lower() == "content-type"), "application/json")
    return given.split(";")[0].strip().lower()


def _pandas():
    try:
        import pandas
    except ImportError:
        raise BadInput("tables need pandas in the deployment's environment; lists work as inputs") from None
    return pandas


def _columns_of(schema):
    """{name: type} of a signature with named columns."""
    if not schema or schema.is_tensor_spec():
        return {}
    return {spec.name: _type_name(spec) for spec in schema.inputs if spec.name is not None}


def _type_name(spec):
    type_ = spec.type
    return type_ if isinstance(type_, str) else getattr(type_, "name", "")


def _described(schema, absent_name):
    """A signature as the Open Inference Protocol's metadata; what it cannot say is left out."""
    out = []
    for spec in schema.inputs if schema else ():
        if schema.is_tensor_spec():
            out.append({"name": spec.name or absent_name, "datatype": _DTYPES.get(str(spec.type), "BYTES"),
                        "shape": list(spec.shape)})
        else:
            out.append({"name": spec.name or absent_name, "shape": [-1],
                        "datatype": _COLUMN_TYPES.get(_type_name(spec).lower(), "BYTES")})
    return out


def _plain(value):
    """Predictions as what JSON holds."""
    if hasattr(value, "to_dict") and hasattr(value, "columns"):
        return [dict(zip(map(str, value.columns), _plain(list(row)))) for row in value.itertuples(index=False)]
    if hasattr(value, "tolist"):
        return value.tolist()
    if hasattr(value, "detach"):
        return value.detach().cpu().tolist()
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return value
