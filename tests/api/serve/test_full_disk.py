"""A full disk fails the write that needs it, and nothing else."""

import os
import subprocess

import pytest
from lathe_server import Server


@pytest.fixture
def small_disk():
    """A server whose data folder lies on a disk of 24 MiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk takes root")
    server = Server()
    server.data.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m,mode=711", "tmpfs", server.data], capture_output=True, text=True)
    if mounted.returncode != 0:
        server.__exit__(None, None, None)
        pytest.skip("this machine does not let us mount a small disk: " + mounted.stderr.strip())
    try:
        with server:
            yield server
    finally:
        subprocess.run(["umount", "-l", server.data], check=True)


@pytest.mark.sqlite  # tests/api/store has the same for PostgreSQL
def test_a_full_disk_refuses_writes_and_the_server_goes_on(small_disk):
    server = small_disk
    assert server.post("/api/v1/tokens", json={"name": "before"}).status_code == 201
    with open(server.data / "ballast", "wb", buffering=0) as ballast:  # else its end writes once more
        try:
            while True:
                ballast.write(b"\0" * 65536)
        except OSError:
            pass

    refused = None
    for i in range(2000):  # what is left of the store's last pages fills first
        answer = server.post("/api/v1/tokens", json={"name": "x" * 2000})
        assert answer.status_code in (201, 507), answer.text
        if answer.status_code == 507:
            refused = answer.json()["detail"]
            break
    assert refused and "full" in refused
    assert server.get("/api/v1/tokens").status_code == 200
    assert server.get("/readyz").status_code == 200

    os.remove(server.data / "ballast")
    assert server.post("/api/v1/tokens", json={"name": "after"}).status_code == 201
    names = [token["name"] for token in server.get("/api/v1/tokens").json()["value"]]
    assert "before" in names and "after" in names
