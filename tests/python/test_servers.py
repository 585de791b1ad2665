"""Outside a job: the server is the one that the command line would take."""

import hashlib
import json
import ssl

import pytest

from recorder import Recorder
from server_certificate import make_certificate

RUN = "with lathe.start_run('mine'): lathe.log_metric('a', 1)"


@pytest.fixture
def home(script, tmp_path):
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_TRACKING_TOKEN"):
        del script.environment[name]
    return tmp_path


def write_json(path, document):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))


def store_context(home, **context):
    write_json(home / ".config/lathe/contexts.json", {"current": "team", "contexts": {
        "team": context, "other": {"url": "http://127.0.0.1:1"}}})  # fmt: skip


def test_the_context_in_use_is_taken_with_its_token(script, recorder, home):
    store_context(home, url=recorder.url, token="stored")
    script.run(RUN)
    assert {headers["Authorization"] for _, _, headers in recorder.posts} == {"Bearer stored"}
    assert recorder.metrics() == [("a", 1.0, 0)]


def test_the_variables_come_before_it(script, recorder, home):
    store_context(home, url="http://127.0.0.1:1", token="stored")
    script.environment.update(LATHE_URL=recorder.url, LATHE_TOKEN="mine")
    script.run(RUN)
    assert {headers["Authorization"] for _, _, headers in recorder.posts} == {"Bearer mine"}


def test_without_one_the_local_server_is_taken_with_the_administrator_s_token(script, recorder, home):
    data = home / ".local/share/lathe"
    write_json(data / "server.json", {"url": recorder.url})
    (data / "admin.token").write_text("local\n")
    script.run(RUN)
    assert {headers["Authorization"] for _, _, headers in recorder.posts} == {"Bearer local"}


@pytest.mark.parametrize("pinned", ["the server's", "another"])
def test_a_pinned_certificate_is_the_only_one_that_is_trusted(script, home, pinned):
    make_certificate(home / "server.pem")
    recorder = Recorder(home / "server.pem").start()
    try:
        der = ssl.PEM_cert_to_DER_cert((home / "server.pem.crt").read_text())
        digest = hashlib.sha256(der if pinned == "the server's" else b"another").hexdigest()
        store_context(home, url=recorder.url, certificate_sha256=digest)
        process = script.run(RUN, expect=0 if pinned == "the server's" else 1)
        if pinned == "another":
            assert "is not the one that was trusted" in process.err and recorder.posts == []
        else:
            assert recorder.metrics() == [("a", 1.0, 0)]
    finally:
        recorder.stop()


def test_no_server_at_all_is_said_with_the_ways_out(script, home):
    process = script.run(RUN, expect=1)
    assert "lathe login" in process.err and "LATHE_URL" in process.err


def test_a_broken_file_is_named(script, home):
    path = home / ".config/lathe/contexts.json"
    path.parent.mkdir(parents=True)
    path.write_text("{")
    assert "contexts.json is broken" in script.run(RUN, expect=1).err
