"""1. Very little set-up. One command from the README; no database, no container engine, no Kubernetes needed."""

import subprocess

from lathe_server import ROOT


def test_the_command_line_finds_its_server_without_being_told(fresh_server):
    said = fresh_server.cli("job", "list", env={"LATHE_URL": None, "LATHE_TOKEN": None})
    assert said.json() == []


def test_both_commands_of_the_readme_explain_themselves():
    for command in ("quickstart", "test"):
        said = subprocess.run([ROOT / command, "-h"], capture_output=True, text=True, timeout=60)
        assert said.returncode == 0
        assert f"./{command}" in said.stdout


def test_quickstart_names_a_taken_port_in_one_sentence(server):
    said = subprocess.run([ROOT / "quickstart", "--port", str(server.port), "--data", server.folder / "other"],
                          env=server.env, capture_output=True, text=True, timeout=60)  # fmt: skip
    assert said.returncode != 0
    assert said.stderr.splitlines() == [
        f"quickstart: port {server.port} is taken by another program; choose one with --port"]
