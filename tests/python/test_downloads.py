"""Fetching artifacts: whole, through failures, and never outside the folder that was asked for."""

import pytest

FETCH = """
from lathe import artifacts, session
def fetch(uri, target="got"): return artifacts.download(session.client(), uri, target)
"""


@pytest.fixture
def stored(recorder):
    recorder.artifacts.update({f"7/job-1/artifacts/model/{name}": data for name, data in {
        "MLmodel": b"flavors: {}", "data/model.bin": bytes(range(256)) * 5000, "data/deep/x": b""}.items()})  # fmt: skip
    return recorder


def test_a_folder_comes_with_everything_below_it(script, stored, tmp_path):
    script.run(FETCH + "assert fetch('runs:/job-1/model') == 'got/model'")
    files = {path.relative_to(tmp_path / "got").as_posix(): path.read_bytes()
             for path in (tmp_path / "got").rglob("*") if path.is_file()}  # fmt: skip
    assert files == {name.removeprefix("7/job-1/artifacts/"): data for name, data in stored.artifacts.items()}


@pytest.mark.parametrize("failure", [503, "hang up", "stop in the middle", "lose the answer"])
def test_a_file_is_fetched_again_after_a_failure_and_never_half(script, stored, tmp_path, failure):
    stored.fail_on["model.bin"] = failure
    script.run(FETCH + "fetch('runs:/job-1/model/data/model.bin')")
    assert [path.name for path in (tmp_path / "got").iterdir()] == ["model.bin"]
    assert (tmp_path / "got/model.bin").read_bytes() == stored.artifacts["7/job-1/artifacts/model/data/model.bin"]


def test_a_disk_that_cannot_be_written_is_said_at_once(script, stored):
    process = script.run(FETCH + """
try: fetch('runs:/job-1/model/MLmodel', '/proc')
except lathe.LatheError as error: print(error)
""")
    assert "cannot write /proc/MLmodel.part" in process.out


@pytest.mark.parametrize("uri, says", [
    ("s3://bucket/model", "can be fetched from here"), ("mlflow-artifacts:/../../etc", "without '..'"),
    ("nowhere/at/all", "no file or folder"),
])
def test_other_addresses_are_refused_by_name(script, recorder, uri, says):
    process = script.run(FETCH + f"try: fetch({uri!r})\nexcept (lathe.LatheError, ValueError) as error: print(error)")
    assert says in process.out


def test_a_server_that_names_files_elsewhere_is_not_followed(script, recorder, tmp_path):
    recorder.artifacts["7/job-1/artifacts/model/.."] = b"x"
    process = script.run(FETCH + "try: fetch('runs:/job-1/model')\nexcept lathe.LatheError as error: print(error)")
    assert "names a file '..'" in process.out
