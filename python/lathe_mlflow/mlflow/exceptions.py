"""MLflow's exceptions, and Lathe's turned into them."""

import functools

from lathe.client import LatheError, Refused


class MlflowException(Exception):
    def __init__(self, message, error_code="INTERNAL_ERROR", **kwargs):
        super().__init__(str(message))
        self.message = str(message)
        self.error_code = error_code if isinstance(error_code, str) else "INTERNAL_ERROR"
        self.json_kwargs = kwargs

    @classmethod
    def invalid_parameter_value(cls, message, **kwargs):
        return cls(message, "INVALID_PARAMETER_VALUE", **kwargs)


class RestException(MlflowException):
    """What the server refused."""


def translated(function):
    """Raises MLflow's exceptions where Lathe's own code raises its own."""

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except Refused as error:
            raise RestException(str(error), error.code or "INTERNAL_ERROR") from error
        except LatheError as error:
            raise MlflowException(str(error)) from error
        except ValueError as error:
            raise MlflowException(str(error), "INVALID_PARAMETER_VALUE") from error

    return wrapper
