"""A worker that waits, with its modules imported, to be told to load its model; and what one leaves to the next.

Imports are most of a start. A worker that ends says what it had imported from its environment; the interpreter that is
parked for the next wake imports that, and nothing of the deployment's own: its code has not run there."""

import gc
import importlib
import json
import os
import sys

from lathe_worker.channel import IMPORTED, PARK, PARKED, WAKE

_MOST_BYTES = 96 << 10  # lathe-infer sends it in one piece


class Imports:
    """What this process imports and sets, from now on. `own`: where the deployment's code, or its model, is."""

    def __init__(self, own):
        self._own = [os.path.abspath(each) for each in (os.getcwd(), own, os.environ.get("AZUREML_MODEL_DIR", own))]
        self._roots = [os.path.abspath(each) for each in sys.path if each]
        self._before = dict(os.environ)

    def leave(self, channel):
        """Tells lathe-infer, which may no longer listen."""
        changed = {name: value for name, value in os.environ.items() if self._before.get(name) != value}
        changed.update((name, None) for name in self._before if name not in os.environ)
        modules = [name for name, module in list(sys.modules.items()) if self._is_of_environment(name, module)]
        head = b""
        while not head or len(head) > _MOST_BYTES:
            head = json.dumps({"variables": changed, "modules": modules}).encode()
            if len(head) > _MOST_BYTES and not modules:
                return
            modules = modules[:len(modules) * 3 // 4]  # later ones come along with the first, or with the model
        try:
            channel.send(IMPORTED, head)
        except OSError:
            pass

    def _is_of_environment(self, name, module):
        spec = getattr(module, "__spec__", None)
        if spec is None or spec.name != name or name.split(".")[0] in ("__main__", "lathe_worker"):
            return False
        if not spec.has_location:
            return spec.origin in ("built-in", "frozen")
        file = os.path.abspath(spec.origin)
        return _depth(file, self._roots) > _depth(file, self._own)


def _depth(file, folders):
    """How much of the file's path the nearest of the folders makes up; -1: it lies in none."""
    return max((len(each) for each in folders if file.startswith(each.rstrip(os.sep) + os.sep)), default=-1)


def park(channel):
    """Imports what it is told, and returns when the worker is wanted. False: it is not."""
    told = channel.receive()
    if told is None:
        return False
    kind, head, _ = told
    if kind == PARK:
        if head:
            _prepare(json.loads(head))
        gc.collect()
        gc.freeze()  # so that the load need not look through it
        channel.send(PARKED)
        told = channel.receive()
    return told is not None and told[0] == WAKE


def _prepare(told):
    for name, value in told["variables"].items():  # libraries read them when they are imported
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    path, here = list(sys.path), os.getcwd()
    sys.path[:] = [each for each in path if each and os.path.abspath(each) != here]
    try:
        for name in told["modules"]:
            if name not in sys.modules:
                try:
                    importlib.import_module(name)
                except BaseException:  # also sys.exit: the model's own code meets it, if it needs the module
                    pass
    finally:
        sys.path[:] = [each for each in path if each not in sys.path] + sys.path
