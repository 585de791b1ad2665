"""Which server a script talks to: the job's, the one that a person's variables name, or the command line's."""

import json
import os
import pathlib

from lathe.client import LatheError


def find():
    """(url, token, certificate): the certificate to trust is a file's name, "sha256:..." for a pinned one, or None."""
    environment = os.environ.get
    token = environment("MLFLOW_TRACKING_TOKEN") or environment("LATHE_TOKEN")
    url = environment("MLFLOW_TRACKING_URI") or environment("LATHE_URL")
    if url:
        return url, token, environment("MLFLOW_TRACKING_SERVER_CERT_PATH")
    found = _context_in_use() or _local_server()
    if found is None:
        raise LatheError("no server is named and none runs here: run this as a job, `lathe login` to a server, "
                         "or set LATHE_URL (and LATHE_TOKEN)")
    pin = found.get("certificate_sha256")
    return found["url"], token or found.get("token"), f"sha256:{pin}" if pin else None


def _context_in_use():
    """What `lathe login` stored, or None."""
    stored = _read(_folder("XDG_CONFIG_HOME", ".config") / "contexts.json") or {}
    return stored.get("contexts", {}).get(stored.get("current"))


def _local_server():
    """The server of this user's data folder, as it says of itself, with the administrator's token."""
    data = pathlib.Path(os.environ.get("LATHE_DATA") or _folder("XDG_DATA_HOME", ".local/share"))
    found = _read(data / "server.json")
    if found is None:
        return None
    try:
        return {**found, "token": (data / "admin.token").read_text().strip()}
    except OSError:
        return found


def _folder(variable, fallback):
    return pathlib.Path(os.environ.get(variable) or pathlib.Path.home() / fallback) / "lathe"


def _read(path):
    try:
        return json.loads(path.read_text())
    except OSError:
        return None
    except ValueError as error:
        raise LatheError(f"{path} is broken: {error}") from None
