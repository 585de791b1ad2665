"""A server with something in it to attack."""

import itertools
import json

import requests

from mlflow_rest import Rest
from mlflow_routes import ARTIFACTS, ASSESSMENT, ROOTLESS, ROOTS, ROUTES, TRACE_INFO

_numbers = itertools.count(1)


class Attacked:
    def __init__(self, server):
        self.server = server
        rest = Rest(server)
        self.run, self.gone, self.said = rest.run(), rest.run(), ""
        rest.metric(self.run, "m", 1)
        self.model = rest.post("logged-models", {"experiment_id": "0"})["model"]["info"]["model_id"]
        rest.post("registered-models/create", {"name": "attacked"})
        rest.post("model-versions/create", {"name": "attacked", "source": f"runs:/{self.run}/m", "run_id": self.run})
        self.experiment, self.trace = rest.experiment("attacked"), "tr-" + "0" * 31 + "1"
        rest.post("traces", self.filled({"trace": {"trace_info": TRACE_INFO}}))
        made = rest.post(f"traces/{self.trace}/assessments", {"assessment": ASSESSMENT})
        self.said = made["assessment"]["assessment_id"]

    def filled(self, value):
        """The value with the test's own ids in it."""
        text = json.dumps(value)
        for name, stands_for in (("RUN", self.run), ("GONE", self.gone), ("MODEL", self.model), ("NAME", "attacked"),
                                  ("EXPID", self.experiment), ("TRACE", self.trace), ("SAID", self.said)):  # fmt: skip
            text = text.replace(name, stands_for)
        return json.loads(text.replace("NEW", f"new-{next(_numbers)}"))

    def places(self):
        """All (route, path) there are: each route below each root."""
        for root in ROOTS:
            yield from ((route, self.filled(f"{root}/mlflow/{route.path}")) for route in ROUTES)
            yield from ((route, self.filled(root + route.path)) for route in ARTIFACTS)
        yield from ((route, route.path) for route in ROOTLESS)

    def send(self, method, path, fields=None, token=None, headers=None, **options):
        """One request with its own connection: fields in the query of a GET, else as JSON."""
        named = {"x-mlflow-experiment-id": self.experiment} if path == "/v1/traces" else {}
        headers = {**({"Authorization": f"Bearer {token}"} if token else {}), **named, **(headers or {})}
        if method == "GET":
            options.setdefault("params", fields)
        elif fields is not None and "data" not in options:
            options["json"] = fields
        return requests.request(method, self.server.url + path, headers=headers, timeout=20, **options)

    def call(self, route, path, token, **options):
        """The route's own good call."""
        if route.path == "upload-artifact":
            return self.send("POST", path, token=token, params={"run_uuid": self.run, "path": "up"}, data=b"x", **options)
        if route.method == "PUT":
            return self.send("PUT", path, token=token, data=b"x", **options)
        return self.send(route.method, path, self.filled(route.fields), token, **options)
