"""The guide's configuration files are taken as they stand there."""

import json
import pathlib
import re
import subprocess

import pytest

from lathe_server import ROOT, Server, bin_folder

PAGE = (ROOT / "docs/guide/configuration.md").read_text()


@pytest.mark.parametrize("text", re.findall(r"```yaml\n(.*?)```", PAGE, re.S))
def test_the_guides_files_are_taken(tmp_path, text):
    file = tmp_path / "lathe.yml"
    file.write_text(text)
    shown = subprocess.run([bin_folder() / "lathe", "config", "show", "--config", file],
                           capture_output=True, text=True, timeout=60)  # fmt: skip
    assert shown.returncode == 0, shown.stderr
    from_file = {line.split()[0] for line in shown.stdout.splitlines() if line.endswith(f"file {file}")}
    assert from_file == set(re.findall(r"^(\w+):", text, re.M))


def test_a_variable_wins_over_the_file_and_a_flag_over_both(tmp_path):
    file = tmp_path / "lathe.yml"
    file.write_text("infer_port: 1\ngrpc_port: 2\nport: 3\n")
    env = {"HOME": str(tmp_path), "LATHE_CONFIG": str(file), "LATHE_GRPC_PORT": "4", "LATHE_PORT": "5"}
    shown = subprocess.run([bin_folder() / "lathe", "config", "show", "--port", "6"], env=env,
                           capture_output=True, text=True, timeout=60)  # fmt: skip
    assert shown.returncode == 0, shown.stderr
    lines = {line.split()[0]: line.split()[1:] for line in shown.stdout.splitlines()}
    assert lines["infer_port"] == ["1", "file", str(file)]
    assert lines["grpc_port"] == ["4", "environment", "LATHE_GRPC_PORT"]
    assert lines["port"] == ["6", "flag", "--port"]


def test_what_is_the_data_planes_reaches_it():
    with Server("--response-cache", "2MiB", "--parked-interpreters", "2") as server:
        pid = json.loads((server.data / "infer" / "reported.json").read_text())["pid"]
        words = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        assert words[words.index(b"--response-cache-bytes") + 1] == b"2097152"
        assert words[words.index(b"--parked-interpreters") + 1] == b"2"
    for flag, wrong, why in [("--response-cache", each, "response_cache must be 0 or a size such as")
                             for each in ("much", "-1", "1e6", "unlimited")] + [
                            ("--parked-interpreters", each, "parked_interpreters must be a number from 0 to 1024")
                             for each in ("some", "-1", "1025", "99999999999")]:  # fmt: skip
        refused = subprocess.run([bin_folder() / "lathe", "config", "show", f"{flag}={wrong}"], capture_output=True,
                                 text=True, timeout=60)  # fmt: skip
        assert refused.returncode != 0 and why in refused.stderr, refused
