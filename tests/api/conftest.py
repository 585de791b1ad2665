"""Fixtures for the API tests. They drive the real programs in LATHE_BIN (a folder; default: the build tree's)."""

import pytest

from lathe_server import Server
from s3_server import S3


@pytest.fixture(scope="module")
def server():
    """A running `lathe serve` with a data folder of its own, shared by the tests of one file."""
    with Server() as running:
        yield running


@pytest.fixture
def fresh_server():
    """A running `lathe serve` for one test: one that kills it, fills it, or needs it empty."""
    with Server() as running:
        yield running


@pytest.fixture(scope="session")
def s3():
    """A running S3 server."""
    with S3() as running:
        yield running


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    """Shows the end of the server's log beside a failure."""
    report = (yield).get_result()
    used = [value for value in getattr(item, "funcargs", {}).values() if isinstance(value, Server)]
    if report.failed:
        for running in used:
            report.sections.append(("end of the server's log", running.log_tail()))
