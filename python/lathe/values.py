"""What may be logged: names and values are checked at the call, so that the mistake has a line number."""

import operator
import posixpath
import re

MAX_NAME = 250
MAX_PARAM = 6000
MAX_TAG = 8000

_NAME = re.compile(r"[\w.\- :/]+")
_good_names = set()


def check_name(name, what):
    """Raises ValueError unless `name` may name a metric, a parameter or a tag (`what`)."""
    if isinstance(name, str) and name in _good_names:
        return
    if not isinstance(name, str) or not name:
        raise ValueError(f"the name of a {what} must be a non-empty string, not {name!r}")
    if len(name) > MAX_NAME:
        raise ValueError(f"{what} name {name[:40]!r}... has {len(name)} characters; at most {MAX_NAME} are allowed")
    if not _NAME.fullmatch(name):
        raise ValueError(f"{what} name {name!r}: only letters, digits, '_', '-', '.', ' ', ':' and '/' are allowed")
    if not _is_plain_path(name):
        raise ValueError(f"{what} name {name!r}: it may not start with '/', hold '..' or empty parts, or end in '/'")
    if len(_good_names) < 10_000:
        _good_names.add(name)


def number(key, value):
    """`value` as a float: Python and numpy numbers, one-element arrays and tensors. NaN and infinities are allowed."""
    if isinstance(value, (str, bytes, bytearray)):
        raise ValueError(f"metric {key!r} needs a number, not the text {value!r}")
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise ValueError(f"metric {key!r} needs one number, not {_short(value)} ({error})") from None


def step_number(key, step):
    """`step` as an int of 64 bits; None is step 0."""
    if step is None:
        return 0
    try:
        step = int(step) if isinstance(step, float) and step.is_integer() else operator.index(step)
    except TypeError:
        raise ValueError(f"the step of metric {key!r} must be an integer, not {_short(step)}") from None
    if not -(2**63) <= step < 2**63:
        raise ValueError(f"the step of metric {key!r} does not fit into 64 bits: {step}")
    return step


def text_of(value, limit):
    """(`str(value)` cut at `limit`, whether anything was cut)."""
    text = value if type(value) is str else str(value)
    return text[:limit], len(text) > limit


def check_artifact_path(path):
    """A relative path below the run's artifacts, '' for their root."""
    path = str(path or "").rstrip("/")
    if path and (not _is_plain_path(path) or "\\" in path or "\0" in path or "#" in path):
        raise ValueError(f"artifact path {path!r}: it must be relative, with '/' between its parts and without '..'")
    return path


def check_model_name(name, what):
    if not isinstance(name, str) or not name or not _is_plain_path(name) or re.search(r"[/:%\\\0]", name):
        raise ValueError(f"{what} {name!r}: it must be a non-empty string without '/', ':', '%' or '..'")


def _is_plain_path(name):
    return posixpath.normpath(name) == name and not name.startswith("/") and name != "." and not name.startswith("..")


def _short(value):
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
