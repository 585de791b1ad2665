"""A real `lathe-infer` to test against: its desired state, its reports, and requests with the endpoint's key."""

import hashlib
import json
import os
import pathlib
import shutil
import tempfile

import requests

from infer_process import InferProcess
from lathe_server import wait_for

KEY = "the-key-of-the-tests"


def digest_of(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


def deployment(name, path, version="1", format="xgboost", **more):
    """One deployment of the desired state; `more`: instances, max_queue, request_timeout_ms, feature_names."""
    path = pathlib.Path(path)
    file = {"path": path.name, "sha256": digest_of(path), "size": path.stat().st_size}
    model = {"name": path.stem, "version": version, "format": format, "folder": str(path.parent), "file": path.name,
             "files": [file]}  # fmt: skip
    if "feature_names" in more:
        model["feature_names"] = more.pop("feature_names")
    return {"name": name, "model": model, **more}


def endpoint(name, deployments, traffic=None, key=KEY):
    if traffic is None:
        traffic = {deployments[0]["name"]: 100}
    keys = [hashlib.sha256(key.encode()).hexdigest()]
    return {"name": name, "keys": keys, "traffic": traffic, "deployments": deployments}


class DataPlane(InferProcess):
    """Starts on entry, ends (and must end cleanly) on exit. `folder` holds its two documents, `models` is for models."""

    def __init__(self, *flags, env=None):
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="lathe-infer-test."))
        self.folder = self.root / "infer"
        self.models = self.root / "models"
        self.models.mkdir()
        self.log = self.root / "log"
        self.flags = list(flags)
        self.generation = 0
        self.env = dict(os.environ, **(env or {}))
        reports = os.environ.get("LATHE_SANITIZER_REPORTS")
        if reports:
            self.env["ASAN_OPTIONS"] = f"log_path={reports}/asan"
            self.env["UBSAN_OPTIONS"] = f"log_path={reports}/ubsan:print_stacktrace=1"

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, kind, error, trace):
        status = self.stop() if self.process.poll() is None else self.process.returncode
        log = self.log_tail()
        shutil.rmtree(self.root, ignore_errors=True)
        if kind is None:
            assert status == 0, f"lathe-infer ended with {status}\n{log}"

    def start(self, port=0, grpc_port=0):
        self.run("--folder", self.folder, "--port", port, "--grpc-port", grpc_port, *self.flags)
        self.session = requests.Session()
        self.session.headers["Authorization"] = f"Bearer {KEY}"

    @property
    def port(self):
        return int(self.url.rsplit(":", 1)[1])

    def desire(self, *endpoints, wait=True):
        """Replaces the desired state; waits until it is reached."""
        self.generation += 1
        self.folder.mkdir(exist_ok=True)
        draft = self.folder / "desired.json.new"
        draft.write_text(json.dumps({"generation": self.generation, "endpoints": endpoints, "from_the_future": 1}))
        draft.rename(self.folder / "desired.json")
        return self.reached() if wait else None

    def reached(self, limit_s=60):
        wait_for(lambda: self.reported().get("generation") == self.generation, limit_s, "the desired state")
        return {f"{each['endpoint']}.{each['deployment']}": each for each in self.reported()["deployments"]}

    def reported(self):
        try:
            return json.loads((self.folder / "reported.json").read_text())
        except FileNotFoundError:
            return {}

    def get(self, path, **options):
        return self.session.get(self.url + path, timeout=60, **options)

    def post(self, path, **options):
        return self.session.post(self.url + path, timeout=60, **options)

    def infer(self, model, tensors, **more):
        """One OIP request; `tensors`: {name: (datatype, shape, data)}."""
        inputs = [{"name": name, "datatype": kind, "shape": shape, "data": data}
                  for name, (kind, shape, data) in tensors.items()]  # fmt: skip
        return self.post(f"/v2/models/{model}/infer", json={"inputs": inputs, **more})
