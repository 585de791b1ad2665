"""Limits of a request."""

from lathe.buffer import MAX_METRICS as MAX_METRICS_PER_BATCH  # noqa: F401
from lathe.buffer import MAX_PARAMS as MAX_PARAMS_TAGS_PER_BATCH  # noqa: F401
from lathe.values import MAX_NAME as MAX_ENTITY_KEY_LENGTH  # noqa: F401
from lathe.values import MAX_PARAM as MAX_PARAM_VAL_LENGTH  # noqa: F401
from lathe.values import MAX_TAG as MAX_TAG_VAL_LENGTH  # noqa: F401
