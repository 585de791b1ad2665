"""`lathe serve` itself: its ready line, its lock on the data folder, how it ends and comes back."""

import json
import subprocess

import requests

from lathe_server import bin_folder


def test_the_ready_line_names_a_server_that_answers(server):
    assert server.get("/healthz").status_code == 200
    assert server.get("/readyz").status_code == 200
    assert requests.get(server.url + "/health", timeout=60).text == "OK"
    assert json.loads((server.data / "server.json").read_text())["url"] == server.url


def test_a_second_server_on_the_same_data_folder_is_refused(server):
    second = subprocess.run([bin_folder() / "lathe", "serve", "--data", server.data, "--port", "0"], env=server.env,
                            capture_output=True, text=True, timeout=60)  # fmt: skip
    assert second.returncode != 0
    assert "ready" not in second.stdout
    assert str(server.data) in second.stderr
    assert server.get("/healthz").status_code == 200


def test_a_port_that_is_taken_is_named(server, tmp_path):
    command = [bin_folder() / "lathe", "serve", "--data", tmp_path / "data", "--port", str(server.port), "--infer-port", "0", "--grpc-port", "0"]
    second = subprocess.run(command,
                            env=server.env, capture_output=True, text=True, timeout=60)  # fmt: skip
    assert second.returncode != 0
    assert str(server.port) in second.stderr


def test_sigterm_ends_the_server_with_0_and_it_comes_back(fresh_server):
    assert fresh_server.terminate() == 0
    fresh_server.restart()
    assert fresh_server.get("/healthz").status_code == 200


def test_a_killed_server_comes_back_on_its_data_folder_and_port(fresh_server):
    url = fresh_server.url
    fresh_server.kill9()
    fresh_server.restart()
    assert fresh_server.url == url
    assert fresh_server.get("/healthz").status_code == 200


def test_without_a_token_only_health_and_version_are_open(server):
    assert requests.get(server.url + "/version", timeout=60).status_code == 200
    assert requests.get(server.url + "/api/v1/users", timeout=60).status_code == 401
    assert server.get("/api/v1/users").status_code == 200


def test_the_data_folder_is_private(server):
    assert (server.data / "admin.token").stat().st_mode & 0o777 == 0o600
    if server.database is None:
        assert (server.data / "lathe.db").stat().st_mode & 0o077 == 0
