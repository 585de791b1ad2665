"""What goes wrong with models and requests, for those who can mend it."""

import os
import sys
import traceback

_OURS = os.path.dirname(os.path.abspath(__file__)) + os.sep


class CannotLoad(Exception):
    """A model that cannot be loaded; the text is a sentence for the person who deploys it."""


class BadInput(Exception):
    """What a request has wrong, in a sentence for who sent it."""

    def __init__(self, message, status=400):
        super().__init__(message)
        self.status = status


class CannotCompute(Exception):
    """What a model makes nothing of, in a sentence for who asked; its cause goes to the log."""


def print_trouble(error):
    """The traceback as the model's author wants it: it begins in their code, not in ours."""
    if isinstance(error, CannotLoad):
        if error.__cause__ is None:
            return
        error = error.__cause__
    elif isinstance(error, CannotCompute):
        error = error.__cause__
    frames = error.__traceback__
    while frames is not None and _is_ours(frames.tb_frame.f_code.co_filename):
        frames = frames.tb_next
    traceback.print_exception(type(error), error, frames)
    sys.stderr.flush()


def _is_ours(file):
    return file.startswith((_OURS, "<frozen importlib"))
