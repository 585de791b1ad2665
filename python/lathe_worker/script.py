"""Azure's scoring scripts: `init()` once, then `run(data)` for each request, answered as Azure's own server does."""

import importlib.util
import json
import os
import sys
import time

from lathe_worker.printed import print_json
from lathe_worker.trouble import CannotLoad, print_trouble

_FAILED = b'{"message": "An unexpected error occurred in scoring script. Check the logs for more info."}'
_JSON = "Content-Type: application/json\r\n"


class Script:
    native = b""

    def __init__(self, path):
        name = os.path.basename(path)
        sys.path.insert(0, os.path.dirname(path))
        module = self._module(path, name)
        if not callable(getattr(module, "run", None)):
            raise CannotLoad(f"{name} has no function run(data)")
        self._run = module.run
        self._raw = getattr(module.run, "_lathe_rawhttp", False)
        self.description = {"wants_head": bool(self._raw)}
        if callable(getattr(module, "init", None)):
            try:
                module.init()
            except Exception as error:
                raise CannotLoad(f"init() of {name} failed: {type(error).__name__}: {error}") from error

    @staticmethod
    def _module(path, name):
        if not os.path.isfile(path):
            raise CannotLoad(f"there is no {name} in the code folder")
        spec = importlib.util.spec_from_file_location(os.path.splitext(name)[0], path)
        module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except ModuleNotFoundError:
            raise
        except Exception as error:
            raise CannotLoad(f"{name} failed: {type(error).__name__}: {error}") from error
        return module

    def answer(self, kind, head, body):
        began = time.perf_counter_ns()
        try:
            if self._raw:
                from azureml.contrib.services.aml_request import AMLRequest

                data = AMLRequest._of(json.loads(head), body)
            else:
                try:
                    data = body.decode()
                except UnicodeDecodeError:
                    return 400, _JSON.encode(), b'{"message": "the body is not UTF-8"}', 0
            began = time.perf_counter_ns()
            result = self._run(data)
            took = time.perf_counter_ns() - began
            status, headers, content = _content(result)
        except Exception as error:
            print_trouble(error)
            return self._failed(500, "x-ms-run-function-failed: True\r\n" + _JSON, _FAILED,
                                time.perf_counter_ns() - began)
        headers = f"x-ms-run-function-failed: {status >= 500}\r\nx-ms-run-fn-exec-ms: {took / 1e6:.3f}\r\n{headers}"
        if status != 200:
            return self._failed(status, headers, content, took)
        return status, headers.encode("latin-1", "replace"), content, took

    @staticmethod
    def _failed(status, headers, content, took):
        """As Azure's endpoints answer for a model that answers anything but 200."""
        headers = f"ms-azureml-model-error-statuscode: {status}\r\nms-azureml-model-error-reason: model_error\r\n{headers}"
        return 424, headers.encode("latin-1", "replace"), content, took


def _content(result):
    """(status, lines of the head, body) of what run() returned: JSON, or a response that it made itself."""
    if hasattr(result, "status_code") and hasattr(result, "get_data"):  # AMLResponse; Flask's own
        lines = "".join(f"{name}: {value}\r\n" for name, value in dict(result.headers).items())
        return result.status_code, lines, result.get_data()
    return 200, _JSON, print_json(result)
