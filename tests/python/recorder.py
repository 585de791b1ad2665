"""A small tracking server that records what it is told, and can fail, hang up, stop and come back."""

import http.server
import json
import ssl
import threading
import urllib.parse

API = "/api/2.0/mlflow/"
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts/"


class Recorder:
    """Start it with `start`; `stop` closes every connection and the port, and `start` takes the same port again."""

    def __init__(self, certificate=None):
        """`certificate`: a PEM file with certificate and key, to speak TLS."""
        self.certificate = certificate
        self.port = 0
        self.changed = threading.Condition()
        self.batches = []  # bodies of log-batch, in the order of their acceptance
        self.posts = []  # (path, body, headers) of every POST that was answered with 200
        self.artifacts = {}
        self.params = {}
        self.versions = []
        self.connections = 0
        self.failures = []  # taken from the front, one for each request: a status, "hang up" or "lose the answer"
        self.fail_on = {}  # part of a path: the failure of the first request to it
        self.refuse = lambda path, body: None  # a message: answered with 400
        self._server = None

    @property
    def url(self):
        return f"{'https' if self.certificate else 'http'}://127.0.0.1:{self.port}"

    def start(self):
        recorder = self

        class Handler(_Handler):
            state = recorder

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            allow_reuse_address = True

            def handle_error(self, request, address):
                pass  # a client that goes away is part of the tests

        self._server = Server(("127.0.0.1", self.port), Handler)
        self._server.open_sockets = set()
        if self.certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def stop(self):
        server, self._server = self._server, None
        if server is None:
            return
        server.shutdown()
        server.server_close()
        for sock in list(server.open_sockets):
            try:
                sock.shutdown(2)
            except OSError:
                pass

    def metrics(self):
        """(key, value, step) in the order of arrival, what arrived twice included."""
        with self.changed:
            return [(m["key"], m["value"], m["step"]) for body in self.batches for m in body["metrics"]]

    def tags(self):
        with self.changed:
            return {tag["key"]: tag["value"] for body in self.batches for tag in body["tags"]}

    def of(self, run_id):
        """What one run was told: {"metrics": [(key, value, step)], "params": {}, "tags": {}}."""
        with self.changed:
            mine = [body for body in self.batches if body["run_id"] == run_id]
            return {
                "metrics": [(m["key"], m["value"], m["step"]) for body in mine for m in body["metrics"]],
                "params": {p["key"]: p["value"] for body in mine for p in body["params"]},
                "tags": {t["key"]: t["value"] for body in mine for t in body["tags"]},
            }

    def made(self):
        """The bodies of runs/create, in their order; the n-th run is called made-here, made-here-2, ..."""
        return [body for path, body, _ in self.posts if path == "runs/create"]

    def ended(self):
        return {body["run_id"]: body["status"] for path, body, _ in self.posts if path == "runs/update"}

    def file(self, path):
        """An artifact by the end of its path."""
        return next(data for name, data in self.artifacts.items() if name.endswith(path))

    def wait_for(self, condition, limit=20):
        with self.changed:
            assert self.changed.wait_for(condition, limit), "the recorder never got what the test waits for"


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self):
        super().setup()
        self.server.open_sockets.add(self.connection)
        with self.state.changed:
            self.state.connections += 1

    def finish(self):
        self.server.open_sockets.discard(self.connection)
        super().finish()

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.answer_to(b"")

    def do_POST(self):
        self.answer_to(self.rfile.read(int(self.headers["Content-Length"])))

    def do_PUT(self):
        left = int(self.headers["Content-Length"])
        kept = b""
        while left:
            data = self.rfile.read(min(left, 1 << 20))
            left -= len(data)
            if len(kept) < 4 << 20:  # of a huge file the beginning is enough
                kept += data
        self.answer_to(kept)

    def answer_to(self, data):
        state = self.state
        with state.changed:
            failure = state.failures.pop(0) if state.failures else None
            for part in [part for part in state.fail_on if part in self.path]:
                failure = state.fail_on.pop(part)
            if failure == "stop in the middle":
                status, answer = self.carry_out(data)
                self.send_response(status)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer[:len(answer) // 2])
                self.close_connection = True
                return
            if failure == "hang up":
                self.close_connection = True
                return
            if isinstance(failure, int):
                self.reply(failure, {"error_code": "TEMPORARILY_UNAVAILABLE", "message": "not now"})
                return
            status, answer = self.carry_out(data)
            state.changed.notify_all()
        if failure == "lose the answer":
            self.close_connection = True
            return
        self.reply(status, answer)

    def carry_out(self, data):
        state = self.state
        url = urllib.parse.urlsplit(self.path)
        if url.path.startswith(ARTIFACTS) and self.command == "GET":
            return 200, state.artifacts[urllib.parse.unquote(url.path[len(ARTIFACTS):])]
        if url.path == ARTIFACTS.rstrip("/"):
            below = dict(urllib.parse.parse_qsl(url.query))["path"] + "/"
            names = {name[len(below):] for name in state.artifacts if name.startswith(below)}
            firsts = {name.partition("/")[0]: "/" in name for name in names}
            return 200, {"files": [{"path": name, "is_dir": folder} for name, folder in firsts.items()]}
        if url.path.startswith(ARTIFACTS):
            state.artifacts[urllib.parse.unquote(url.path[len(ARTIFACTS):])] = data
            return 200, {}
        name = url.path[len(API):]
        if self.command == "POST":
            body = json.loads(data)
            message = state.refuse(name, body)
            if message:
                return 400, {"error_code": "INVALID_PARAMETER_VALUE", "message": message}
            state.posts.append((name, body, dict(self.headers)))
        else:
            body = dict(urllib.parse.parse_qsl(url.query))
        return getattr(self, name.replace("/", "_").replace("-", "_"))(body)

    def reply(self, status, answer):
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    # What each path does.

    def runs_log_batch(self, body):
        state = self.state
        state.batches.append(body)
        for param in body["params"]:
            state.params[param["key"]] = param["value"]
        return 200, {}

    def runs_get(self, query):
        told = {}
        for body in self.state.batches:
            if body["run_id"] == query["run_id"]:
                told.update((param["key"], param["value"]) for param in body["params"])
        params = [{"key": key, "value": value} for key, value in told.items()]
        uri = f"mlflow-artifacts:/7/{query['run_id']}/artifacts"
        info = {"run_id": query["run_id"], "artifact_uri": uri, "experiment_id": "7"}
        return 200, {"run": {"info": info, "data": {"params": params}}}

    def experiments_get_by_name(self, query):
        return 404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": f"no experiment {query['experiment_name']}"}

    def experiments_create(self, body):
        return 200, {"experiment_id": "7"}

    def runs_create(self, body):
        count = len(self.state.made())
        return 200, {"run": {"info": {"run_id": "made-here" if count == 1 else f"made-here-{count}"}}}

    def runs_update(self, body):
        return 200, {}

    def logged_models_search(self, body):
        return 200, {}

    def registered_models_create(self, body):
        names = [post[1]["name"] for post in self.state.posts if post[0] == "registered-models/create"]
        if names.count(body["name"]) > 1:
            return 400, {"error_code": "RESOURCE_ALREADY_EXISTS", "message": "exists"}
        return 200, {}

    def model_versions_create(self, body):
        version = {**body, "version": str(len(self.state.versions) + 1), "status": "PENDING_REGISTRATION"}
        self.state.versions.append(version)
        return 200, {"model_version": version}

    def model_versions_get(self, query):
        version = self.state.versions[int(query["version"]) - 1]
        version["status"] = "READY"
        return 200, {"model_version": version}

    def model_versions_search(self, query):
        return 200, {"model_versions": self.state.versions}
