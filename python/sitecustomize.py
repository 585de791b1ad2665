"""Run by every Python of a job before its script: `import mlflow` then finds Lathe's subset, if it finds nothing else.

PYTHONPATH comes before what an environment installs, so the subset is not on it: a finder at the end of sys.meta_path
is asked after all others. The environment's own sitecustomize, which this file hides, runs as it would have.
"""

import os
import sys


class _Mlflow:
    """Finds the package mlflow in the folder beside this file; in a Lathe job, unless LATHE_MLFLOW=off."""

    _folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "lathe_mlflow")

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name != "mlflow" or os.environ.get("LATHE_MLFLOW", "").lower() == "off" or "LATHE_JOB" not in os.environ:
            return None
        from importlib.machinery import PathFinder

        return PathFinder.find_spec(name, [cls._folder])


def _run_hidden():
    """Executes the next sitecustomize on sys.path, as `sitecustomize`; an error in it is its own."""
    from importlib.machinery import PathFinder
    from importlib.util import module_from_spec

    here = os.path.dirname(os.path.abspath(__file__))
    others = [entry for entry in sys.path if os.path.abspath(entry or os.curdir) != here]
    spec = PathFinder.find_spec("sitecustomize", others)
    if spec is not None and spec.loader is not None:
        module = sys.modules["sitecustomize"] = module_from_spec(spec)
        spec.loader.exec_module(module)


sys.meta_path.append(_Mlflow)
_run_hidden()
