"""Over TLS exactly the certificate that the job was given is trusted."""

import pytest

from recorder import Recorder
from server_certificate import make_certificate


@pytest.fixture
def recorder(tmp_path):
    make_certificate(tmp_path / "server.pem")
    recorder = Recorder(tmp_path / "server.pem").start()
    yield recorder
    recorder.stop()


def test_the_pinned_certificate_is_trusted(script, recorder, tmp_path):
    script.environment["MLFLOW_TRACKING_SERVER_CERT_PATH"] = str(tmp_path / "server.pem.crt")
    script.run("for i in range(3): lathe.log_metric('a', i, step=i)\nlathe.log_text('x' * 100_000, 'x.txt')")
    assert recorder.metrics() == [("a", float(i), i) for i in range(3)]
    assert len(recorder.artifacts["7/job-1/artifacts/x.txt"]) == 100_000


@pytest.mark.parametrize("pinned", [None, "other.pem"])
def test_any_other_certificate_is_refused_at_once(script, recorder, tmp_path, pinned):
    if pinned:
        script.environment["MLFLOW_TRACKING_SERVER_CERT_PATH"] = make_certificate(tmp_path / pinned)
    done = script.run("lathe.log_metric('a', 1)")
    assert "is not trusted" in done.err and "MLFLOW_TRACKING_SERVER_CERT_PATH" in done.err
    assert "at least 1" in done.err
    assert recorder.batches == []
