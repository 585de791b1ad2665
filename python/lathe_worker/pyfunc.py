"""MLflow's models with the flavor python_function: tables, lists and tensors in, predictions out, as MLflow's own server
and the Open Inference Protocol have it."""

import csv
import io
import json
import sys
import time

from lathe_worker import tensors
from lathe_worker.channel import INFER, INVOCATIONS
from lathe_worker.native import native_form
from lathe_worker.printed import print_json
from lathe_worker.signature import Signature
from lathe_worker.trouble import BadInput, CannotCompute, CannotLoad, print_trouble

_JSON = b"Content-Type: application/json\r\n"
_KINDS = ("dataframe_split", "dataframe_records", "instances", "inputs")
_MODEL_FAILED = 424


class Predictor:
    """`model` has predict(data), of a table, an array or a dict of arrays, as `signature` makes them of requests."""

    native = b""

    def __init__(self, model, signature):
        self._model = model
        self._signature = signature
        self.description = signature.describe()
    def answer(self, kind, head, body):
        began = time.perf_counter_ns()
        try:
            if kind == INFER:
                data, params = self._signature.tensors(tensors.read(head, body)), self._signature.parameters(None)
            else:
                data, params = self._read(kind, head, body)
            began = time.perf_counter_ns()
            result = self._model.predict(data, params=params) if params else self._model.predict(data)
            took = time.perf_counter_ns() - began
            if kind == INFER:
                return 200, *tensors.write(tensors.outputs_of(result, self._signature.outputs)), took
            content = _plain(result)
            return 200, _JSON, print_json({"predictions": content} if kind == INVOCATIONS else content), took
        except BadInput as error:
            return _refusal(error.status, str(error))
        except tensors.CannotSay as error:
            return _refusal(_MODEL_FAILED, f"the model answers {error}, which is no tensor: ask /invocations instead")
        except Exception as error:
            print_trouble(error)
            if isinstance(error, CannotCompute):
                return _refusal(_MODEL_FAILED, str(error))
            if type(error).__name__ == "MlflowException":
                return _refusal(400, str(error))
            return _refusal(_MODEL_FAILED, "the model failed on this input; 'lathe online-deployment get-logs' says why")

    def _read(self, kind, head, body):
        type_ = _content_type(head)
        if type_ == "text/csv":
            return self._csv(body), self._signature.parameters(None)
        if type_ != "application/json":
            raise BadInput(f"the Content-Type must be application/json or text/csv, not {type_}", 415)
        try:
            document = json.loads(body)
        except ValueError as error:
            raise BadInput(f"the body is not JSON: {error}") from None
        except RecursionError:
            raise BadInput("the body is JSON of too many levels") from None
        if not isinstance(document, dict):
            raise BadInput("the body must be a JSON object")
        kinds = _KINDS if kind == INVOCATIONS else (*_KINDS, "input_data", "data")
        given = [name for name in kinds if name in document]
        if len(given) != 1:
            raise BadInput(f"the body must have exactly one of {', '.join(kinds)}; it has {', '.join(given) or 'none'}")
        value, params = document[given[0]], document.get("params")
        if params is not None and not isinstance(params, dict):
            raise BadInput("params must be an object")
        return self._data(given[0], value), self._signature.parameters(params)

    def _csv(self, body):
        try:
            text = body.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise BadInput("the CSV is not UTF-8") from None
        _check_csv(text)
        texts = {name: str for name, type_ in self._signature.columns.items() if type_ == "string"}
        return self._signature.frame(_pandas().read_csv(io.StringIO(text), dtype=texts))

    def _data(self, name, value):
        if name == "dataframe_split" or (name in ("input_data", "data") and isinstance(value, dict) and "data" in value):
            return self._signature.frame(_split(name, value))
        if name == "dataframe_records" or (isinstance(value, list) and value and isinstance(value[0], dict)):
            if not isinstance(value, list):
                raise BadInput(f"{name} must be a list of objects")
            for row, each in enumerate(value, 1):
                if not isinstance(each, dict):
                    raise BadInput(f"{name} must be a list of objects; row {row} is none")
            return self._signature.frame(_pandas().DataFrame.from_records(value))
        if isinstance(value, dict):
            return self._signature.arrays({key: _array(f"{name}: {key}", each) for key, each in value.items()})
        if not isinstance(value, list):
            raise BadInput(f"{name} must be a list or an object")
        return self._signature.array(_array(name, value), name)


class PyFunc(Predictor):
    def __init__(self, folder):
        import mlflow.pyfunc

        try:
            if getattr(mlflow, "is_lathe", False):
                model = mlflow.pyfunc.load_folder(folder)
            else:
                model = mlflow.pyfunc.load_model(folder)
        except mlflow.exceptions.MlflowException as error:
            raise CannotLoad(str(error)) from error
        super().__init__(model, Signature(getattr(model.metadata, "signature", None)))
        self._warm()
        self.native = native_form(model)

    def _warm(self):
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


def _split(name, value):
    if not isinstance(value, dict) or not isinstance(value.get("data"), list):
        raise BadInput(f"{name} must be an object with columns and data")
    columns, index, data = value.get("columns"), value.get("index"), value["data"]
    if columns is not None and (not isinstance(columns, list) or not all(isinstance(each, (str, int)) for each in columns)):
        raise BadInput(f"{name}: columns must be a list of names")
    if columns is not None and len(set(columns)) < len(columns):
        raise BadInput(f"{name}: two columns have the same name")
    if index is not None and (not isinstance(index, list) or len(index) != len(data)):
        raise BadInput(f"{name}: index must be a list with a name for each of the {len(data)} rows")
    width = len(columns) if columns is not None else None
    for row, each in enumerate(data, 1):
        size = len(each) if isinstance(each, list) else 1
        width = size if width is None else width
        if size != width:
            raise BadInput(f"{name}: row {row} has {size} values, but there are {width} columns")
    return _pandas().DataFrame(data, index=index, columns=columns)


def _array(name, value):
    import warnings

    import numpy

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # older versions warn where newer ones refuse
            array = numpy.array(value)
    except (ValueError, Warning):
        raise BadInput(f"{name} must be a list of rows of equal length") from None
    if array.dtype == object and not all(isinstance(each, (str, type(None))) for each in array.ravel().tolist()):
        if all(each is None or isinstance(each, (int, float)) for each in array.ravel().tolist()):
            return array.astype("f8")
        raise BadInput(f"{name} must hold numbers or texts, in rows of equal length")
    return array


def _check_csv(text):
    """Refuses lines that have more or fewer values than the first one."""
    lines = csv.reader(io.StringIO(text, newline=""))
    try:
        head = next((line for line in lines if line), None)
        if head is None:
            raise BadInput("the CSV is empty: its first line names the columns")
        for line in lines:
            if line and len(line) != len(head):
                raise BadInput(f"line {lines.line_num} of the CSV has {len(line)} values, its first line {len(head)}")
    except csv.Error as error:
        raise BadInput(f"line {lines.line_num} is not CSV: {error}") from None


def _refusal(status, message):
    return status, _JSON, json.dumps({"error": message}).encode(), 0


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
