"""Deployments whose model is Python, for the data plane's tests."""

import os
import pathlib
import textwrap

from data_plane import digest_of
from lathe_server import ROOT, wait_for


def python_of(**more):
    """What the desired state says of how workers run; `more`: workers, request_timeout_ms, max_queue, variables, ..."""
    return {"interpreter": "/usr/bin/python3", "library": str(ROOT / "python"),
            "account": 700001 if os.geteuid() == 0 else 0, **more}  # fmt: skip


def scoring_script(plane, source, name="blue", model=None, version="1", **python):
    """A deployment of this score.py; `model`: the folder of its model."""
    code = plane.models / f"code-{name}-{version}"
    code.mkdir(exist_ok=True)
    (code / "score.py").write_text(textwrap.dedent(source))
    code.chmod(0o755)
    folder = pathlib.Path(model) if model else code
    files = [{"path": str(path.relative_to(folder)), "sha256": digest_of(path), "size": path.stat().st_size}
             for path in sorted(folder.rglob("*")) if path.is_file()]  # fmt: skip
    return {"name": name, "model": {"name": "scripted", "version": version, "format": "script", "folder": str(folder),
                                    "files": files, "python": python_of(code=str(code), script="score.py", **python)}}


def log_of(plane, deployment="e.blue"):
    path = plane.folder / "logs" / deployment / "log"
    return path.read_text() if path.exists() else ""


def workers_of(plane):
    """The numbers of the processes that have, or had before they became Python, this data plane as their parent."""
    children = pathlib.Path(f"/proc/{plane.process.pid}/task").glob("*/children")
    return sorted(int(pid) for path in children for pid in path.read_text().split())


def interpreters_of(plane):
    """The Python processes below this data plane, in sandboxes or not."""
    found, todo = [], workers_of(plane)
    while todo:
        pid = todo.pop()
        try:
            words = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            for path in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
                todo += [int(child) for child in path.read_text().split()]
        except FileNotFoundError:
            continue
        if words[0].endswith(b"python3") and b"lathe_worker" in words:
            found.append(pid)
    return sorted(found)


def wait_until_gone(pids):
    wait_for(lambda: not any(pathlib.Path(f"/proc/{pid}").exists() for pid in pids), 60, "the end of the workers")
