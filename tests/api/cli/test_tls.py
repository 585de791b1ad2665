"""The command line against a server with a certificate of its own making."""

import json

import pytest
from lathe_server import Server


@pytest.fixture(scope="module")
def tls_server():
    with Server("--host", "0.0.0.0") as running:
        yield running


def test_login_pins_the_certificate_and_another_one_is_refused(tls_server):
    alone = {"LATHE_URL": None, "LATHE_TOKEN": None, "LATHE_DATA": "/nonexistent"}
    url = f"https://127.0.0.1:{tls_server.port}"
    refused = tls_server.cli("token", "list", "--url", url, env=alone, check=False)
    assert refused.returncode == 4 and f"lathe login {url}" in refused.stderr

    done = tls_server.cli("login", url, "--name", "box", "--token", tls_server.token, env=alone)
    contexts = tls_server.home / "config" / "lathe" / "contexts.json"
    stored = json.loads(contexts.read_text())
    pin = stored["contexts"]["box"]["certificate_sha256"]
    assert pin in done.stderr
    assert tls_server.cli("token", "list", env=alone).json()

    stored["contexts"]["box"]["certificate_sha256"] = "0" * 64
    contexts.write_text(json.dumps(stored))
    refused = tls_server.cli("token", "list", env=alone, check=False)
    assert refused.returncode == 4 and "another certificate" in refused.stderr and pin in refused.stderr
    tls_server.cli("logout", env=alone)


def test_the_server_of_this_machine_needs_no_login(tls_server):
    done = tls_server.cli("token", "list", "--data", tls_server.data, env={"LATHE_URL": None, "LATHE_TOKEN": None})
    assert done.json()
