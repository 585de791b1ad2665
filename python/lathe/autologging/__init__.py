"""Logs what scikit-learn, XGBoost and torch train, by wrapping their functions; `autolog(disable=True)` unwraps them.

Only the outermost training of a thread is logged: what a grid search or a pipeline fits inside is its own affair. A
failure of ours is said once and the training goes on; the library's own exceptions pass through untouched.
"""

from lathe.autologging import hooks
from lathe.autologging.settings import LIBRARIES, Settings

# The module of each library after whose import everything that we wrap is there.
_MODULES = {"sklearn": "sklearn.base", "xgboost": "xgboost", "torch": "torch"}


def autolog(libraries=LIBRARIES, disable=False, **options):
    """Switches logging on (or off) for these libraries, now or as soon as they are imported."""
    for library in libraries:
        module = _MODULES[library]
        settings = None if disable else Settings(library, **options)
        hooks.set_settings(library, settings)
        if disable:
            hooks.forget(module)
            hooks.restore(library)
        else:
            hooks.when_imported(module, _patcher(library))


def _patcher(library):
    def patch():
        if library == "sklearn":
            from lathe.autologging import sklearn as integration
        elif library == "xgboost":
            from lathe.autologging import xgboost as integration
        else:
            from lathe.autologging import torch as integration
        hooks.restore(library)
        integration.patch()

    return patch
