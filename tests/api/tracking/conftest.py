import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from mlflow_rest import Rest  # noqa: E402


@pytest.fixture
def rest(server):
    return Rest(server)
