"""Fetching artifacts."""

import json
import posixpath

from lathe import artifacts, session
from mlflow.entities import FileInfo
from mlflow.exceptions import MlflowException, translated


@translated
def download_artifacts(artifact_uri=None, run_id=None, artifact_path=None, dst_path=None, tracking_uri=None):
    """The path of what was fetched: `artifact_uri`, or `artifact_path` of the run `run_id`."""
    session.flush_all()
    return artifacts.download(session.client(), _uri(artifact_uri, run_id, artifact_path), dst_path)


@translated
def list_artifacts(artifact_uri=None, run_id=None, artifact_path=None, tracking_uri=None):
    root = artifacts.resolve(session.client(), _uri(artifact_uri, run_id, artifact_path))
    base = artifact_path or ""
    return [FileInfo(posixpath.join(base, posixpath.basename(each["path"])), bool(each.get("is_dir")),
                     each.get("file_size")) for each in session.client().list_files(root)]


def load_text(artifact_uri):
    with open(download_artifacts(artifact_uri), encoding="utf-8") as file:
        return file.read()


def load_dict(artifact_uri):
    return json.loads(load_text(artifact_uri))


def _uri(artifact_uri, run_id, artifact_path):
    if (artifact_uri is None) == (run_id is None):
        raise MlflowException.invalid_parameter_value("Exactly one of artifact_uri and run_id must be given")
    return artifact_uri or f"runs:/{run_id}/{artifact_path or ''}".rstrip("/")
