"""Artifacts and models by their addresses, fetched into folders of this machine."""

import os
import posixpath
import tempfile
import urllib.parse

from lathe import values
from lathe.client import LatheError, Refused


def download(client, uri, target=None):
    """Fetches what a local path, runs:/RUN/PATH, models:/NAME/VERSION (or @ALIAS), mlflow-artifacts:/... names.

    Answers the path of the file or folder, below `target` or a new temporary folder; a local path is answered as it is.
    """
    parts = urllib.parse.urlsplit(str(uri))
    if parts.scheme in ("", "file"):
        path = urllib.parse.unquote(parts.path) if parts.scheme else str(uri)
        if not os.path.exists(path):
            raise LatheError(f"there is no file or folder {path}")
        return path
    root = resolve(client, uri)
    if target is None:
        target = tempfile.mkdtemp(prefix="lathe-artifacts-")
    return fetch(client, root, target)


def resolve(client, uri):
    """The path below the server's artifact routes of what a `runs:`, `models:` or `mlflow-artifacts:` address names."""
    parts = urllib.parse.urlsplit(str(uri))
    path = urllib.parse.unquote(parts.path).strip("/")
    if parts.scheme == "runs":
        run_id, _, below = path.partition("/")
        info = client.get("runs/get", {"run_id": run_id})["run"]["info"]
        return resolve(client, _logged_model(client, info, below) or posixpath.join(info["artifact_uri"], below))
    if parts.scheme == "models":
        return resolve(client, model_source(client, path))
    if parts.scheme == "mlflow-artifacts":
        return values.check_artifact_path(path)
    raise LatheError(f"{uri}: only runs:/, models:/, mlflow-artifacts:/ and local paths can be fetched from here")


def _logged_model(client, info, name):
    """Where MLflow 3 put the run's model of this name: not among the run's artifacts. None if it did not."""
    if not name or "/" in name:
        return None
    quoted = name.replace("'", "''")
    request = {"experiment_ids": [info["experiment_id"]], "max_results": 1,
               "filter": f"source_run_id = '{info['run_id']}' AND name = '{quoted}'"}
    try:
        found = client.post("logged-models/search", request).get("models", [])
    except Refused:  # an older MLflow server does not know them
        return None
    return found[0]["info"]["artifact_uri"] if found else None


def model_source(client, path):
    """Where the files of NAME/VERSION, NAME/latest, NAME/STAGE, NAME@ALIAS or m-MODEL-ID are."""
    if "/" not in path and "@" not in path:
        return client.get(f"logged-models/{path}", {})["model"]["info"]["artifact_uri"]
    version = model_version(client, path)
    query = {"name": version["name"], "version": version["version"]}
    return client.get("model-versions/get-download-uri", query)["artifact_uri"]


def model_version(client, path):
    if "@" in path:
        name, _, alias = path.rpartition("@")
        return client.get("registered-models/alias", {"name": name, "alias": alias})["model_version"]
    name, _, wanted = path.rpartition("/")
    if wanted.isdigit():
        return client.get("model-versions/get", {"name": name, "version": wanted})["model_version"]
    request = {"name": name} if wanted.lower() == "latest" else {"name": name, "stages": [wanted]}
    found = client.post("registered-models/get-latest-versions", request).get("model_versions", [])
    if not found:
        raise LatheError(f"model {name!r} has no version {wanted!r}")
    return max(found, key=lambda version: int(version["version"]))


def fetch(client, root, target):
    """Copies the file or folder `root` (below the artifact routes) into the folder `target`; answers where it is."""
    path = os.path.join(target, posixpath.basename(root))
    files = client.list_files(root)
    if not files:
        os.makedirs(target, exist_ok=True)
        client.get_file(root, path)
        return path
    os.makedirs(path, exist_ok=True)
    for file in files:
        name = posixpath.basename(file["path"])
        if name in ("", ".", ".."):
            raise LatheError(f"the server names a file {file['path']!r}")
        below = posixpath.join(root, name)
        if file.get("is_dir"):
            fetch(client, below, path)
        else:
            client.get_file(below, os.path.join(path, name))
    return path
