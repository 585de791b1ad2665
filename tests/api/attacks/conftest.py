import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "tracking"))
from attacked import Attacked  # noqa: E402


@pytest.fixture(scope="module")
def attacked(server):
    return Attacked(server)
