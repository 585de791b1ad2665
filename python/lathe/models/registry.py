"""A model folder as a version in the registry."""

import time

from lathe.client import LatheError, Refused, Unavailable, say

_READY_PATIENCE = 300.0  # seconds for the server to copy and check a version's files


def register(run, name, source):
    """Makes `source`, a model folder of this run, a new version of the model; answers its number once it is ready."""
    client = run.client
    try:
        client.post("registered-models/create", {"name": name})
    except Refused as error:
        if error.code not in ("RESOURCE_ALREADY_EXISTS", "ALREADY_EXISTS"):
            raise
    version = _create_version(run, name, source)
    give_up = time.monotonic() + _READY_PATIENCE
    pause = 0.02
    while version.get("status", "READY") == "PENDING_REGISTRATION":
        if time.monotonic() > give_up:
            raise LatheError(f"version {version['version']} of model {name!r} is not ready after "
                             f"{_READY_PATIENCE:.0f} s; `lathe model show` tells its state")
        time.sleep(pause)
        pause = min(2 * pause, 1.0)
        query = {"name": name, "version": version["version"]}
        version = client.get("model-versions/get", query)["model_version"]
    if version.get("status", "READY") != "READY":
        reason = version.get("status_message") or version["status"]
        raise LatheError(f"version {version['version']} of model {name!r} could not be registered: {reason}")
    return str(version["version"])


def _create_version(run, name, source):
    """Creates it once: where the server went away before it answered, the registry tells whether it had."""
    request = {"name": name, "source": source, "run_id": run.run_id}
    before = {version["version"] for version in _versions_from(run, name, source)}
    for _ in range(5):
        try:
            return run.client.post("model-versions/create", request, repeatable=False)["model_version"]
        except Unavailable as error:
            problem = error
            say(f"{error}; looking whether model {name!r} was registered.")
            made = [version for version in _versions_from(run, name, source) if version["version"] not in before]
            if made:
                return made[0]
    raise problem


def _versions_from(run, name, source):
    """The versions made from this run; waits for a server that is away."""
    quoted = name.replace("'", "''")
    query = {"filter": f"name='{quoted}' AND run_id='{run.run_id}'", "max_results": 1000}
    found = run.client.get("model-versions/search", query)
    return [version for version in found.get("model_versions", ())
            if version.get("run_id") == run.run_id and version.get("source") == source]
