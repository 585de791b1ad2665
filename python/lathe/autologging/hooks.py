"""Wrapping other people's functions safely, and waiting for modules to be imported."""

import functools
import importlib.abc
import sys
import threading

from lathe import session
from lathe.client import LatheError, say

_settings = {}  # library -> Settings, while autolog is on for it
_patches = {}  # library -> [(owner, name, the original)]
_said = set()
_SENTENCES = 50  # at most on stderr: an error's text may differ every time
_here = threading.local()  # .owner: which outermost training this thread is in


def set_settings(library, settings):
    _settings[library] = settings


def settings_of(library):
    return _settings.get(library)


def warn(library, text):
    """Once for each text, and not at all if autolog was asked to be silent."""
    settings = _settings.get(library)
    if text not in _said and len(_said) < _SENTENCES and not (settings and settings.silent):
        _said.add(text)
        say(f"autolog of {library}: {text}")


def attempt(library, what, action, *args):
    """The action's answer; None after a failure, which is said."""
    try:
        return action(*args)
    except Exception as error:
        warn(library, f"{what} failed: {type(error).__name__}: {error}")
        return None


def replace(library, owner, name, wrapper):
    """Puts `wrapper` in the place of owner.name until `restore`."""
    _patches.setdefault(library, []).append((owner, name, owner.__dict__[name]))
    setattr(owner, name, wrapper)


def on_restore(library, action):
    _patches.setdefault(library, []).append((None, None, action))


def restore(library):
    for owner, name, original in reversed(_patches.pop(library, [])):
        if owner is None:
            original()
        else:
            setattr(owner, name, original)


def is_patched(function):
    return hasattr(function, "_lathe_original")


def observe(library, owner, name, observer, inside=None):
    """Wraps owner.name. `observer(run, args, kwargs)` is a generator: it yields the (args, kwargs) to call with, is
    sent what the function answered, and ends. Calls inside another observed training are not observed, unless that one
    is `inside`: a library and a method's name, as "xgboost.fit".
    """
    original = owner.__dict__[name]
    title = f"{getattr(owner, '__name__', owner)}.{name}"

    @functools.wraps(original)
    def wrapper(*args, **kwargs):
        outer = getattr(_here, "owner", None)
        if _settings.get(library) is None or (outer is not None and outer != inside):
            return original(*args, **kwargs)
        _here.owner = outer or f"{library}.{name}"
        try:
            return _observed(library, title, original, observer, args, kwargs)
        finally:
            _here.owner = outer

    wrapper._lathe_original = original
    replace(library, owner, name, wrapper)


def _observed(library, title, original, observer, args, kwargs):
    run, ours = _run_for(library)
    if run is None:
        return original(*args, **kwargs)
    status = "FAILED"
    try:
        watching = observer(run, args, kwargs)
        changed = attempt(library, f"logging before {title}", next, watching)
        args, kwargs = changed or (args, kwargs)
        try:
            answer = original(*args, **kwargs)
        except BaseException:
            watching.close()
            raise
        attempt(library, f"logging after {title}", _finish, watching, answer)
        status = "FINISHED"
        return answer
    finally:
        if ours:
            attempt(library, "ending the run", session.leave, run, status)


def _finish(watching, answer):
    try:
        watching.send(answer)
    except StopIteration:
        pass


def _run_for(library):
    """(the active run, False); where there is none, (a new one, True) as MLflow makes it,
    and (None, False) without a server."""
    try:
        run = session.active()
        if run is not None:
            return run, False
        return session.start(tags={"mlflow.autologging": library}), True
    except LatheError as error:
        warn(library, f"nothing is logged: {error}")
        return None, False


def when_imported(name, action):
    """Calls `action` now if the module is there, or right after its import."""
    forget(name)
    if name in sys.modules:
        action()
        return
    sys.meta_path.insert(0, _Waiting(name, action))


def forget(name):
    sys.meta_path[:] = [finder for finder in sys.meta_path
                        if not (isinstance(finder, _Waiting) and finder.name == name)]


class _Waiting(importlib.abc.MetaPathFinder):
    """Finds nothing itself: lets the others find the module, and acts when it has been executed."""

    def __init__(self, name, action):
        self.name, self._action = name, action

    def find_spec(self, name, path=None, target=None):
        if name != self.name:
            return None
        forget(name)
        for finder in sys.meta_path:
            spec = finder.find_spec(name, path, target) if hasattr(finder, "find_spec") else None
            if spec is not None:
                if spec.loader is not None and hasattr(spec.loader, "exec_module"):
                    spec.loader = _Loader(spec.loader, self._action, name)
                return spec
        return None


class _Loader(importlib.abc.Loader):
    """The module's own loader, and then the action."""

    def __init__(self, loader, action, name):
        self._loader, self._action, self._name = loader, action, name

    def __getattr__(self, name):
        return getattr(self._loader, name)

    def create_module(self, spec):
        return self._loader.create_module(spec)

    def exec_module(self, module):
        module.__loader__ = module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        attempt(self._name.partition(".")[0], "preparing", self._action)
