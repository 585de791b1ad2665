"""python -m lathe_worker script FILE | pyfunc FOLDER | torchscript FILE [parked]"""

import gc
import json
import os
import sys

from lathe_worker.channel import FAILED, READY, Channel
from lathe_worker.parking import Imports, park
from lathe_worker.trouble import CannotLoad, print_trouble


def load(kind, path):
    if kind == "script":
        from lathe_worker.script import Script

        return Script(path)
    if kind == "torchscript":
        from lathe_worker.torchscript import TorchScript

        return TorchScript(path)
    from lathe_worker.pyfunc import PyFunc

    return PyFunc(path)


def main():
    channel = Channel()
    kind, path = sys.argv[1:3]
    # Behind all others: what the environment provides wins.
    library = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    sys.path += [os.path.join(library, "lathe_azureml"), os.path.join(library, "lathe_mlflow")]
    imports = Imports(path if kind == "pyfunc" else os.path.dirname(path))
    if sys.argv[3:] == ["parked"]:
        del sys.argv[3:]
        if not park(channel):
            return
    try:
        model = load(kind, path)
    except BaseException as error:  # also sys.exit in the model's code
        print_trouble(error)
        sys.stdout.flush()
        channel.send(FAILED, explain(error).encode())
        os._exit(1)
    channel.send(READY, json.dumps(model.description).encode(), model.native)
    model.native = None
    gc.collect()
    gc.freeze()  # what was loaded stays: it need not be looked through again and again
    while True:
        frame = channel.receive()
        if frame is None:
            imports.leave(channel)
            return
        channel.send(*model.answer(*frame))


def explain(error):
    if isinstance(error, CannotLoad):
        return str(error)
    if isinstance(error, ModuleNotFoundError):
        return f"the module {error.name} is missing in the deployment's environment: add it there"
    return f"the model cannot be loaded: {type(error).__name__}: {error}"


if __name__ == "__main__":
    main()
