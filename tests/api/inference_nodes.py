"""Nodes of the inference cluster: real `lathe-infer --join` processes, beside a server on this machine."""

import http.server
import pathlib
import shutil
import tempfile
import threading

import requests
from infer_process import InferProcess
from lathe_server import wait_for

NODES = "/api/v1/inference-nodes"


class Node(InferProcess):
    """Made at the server on entry, and joined; ends on exit. `url`, `grpc`: where it answers."""

    def __init__(self, server, name, *flags, join=None, env=None):
        self.server, self.name, self.flags = server, name, list(flags)
        self.join = join or server.url
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="lathe-node."))
        self.folder, self.log, self.token_file = self.root / "node", self.root / "log", self.root / "token"
        self.env = {**server.env, **(env or {})}

    def __enter__(self):
        made = self.server.post(NODES, json={"name": self.name})
        assert made.status_code == 201, made.text
        self.token_file.write_text(made.json()["token"] + "\n")
        self.start()
        return self

    def __exit__(self, kind, error, trace):
        status = 0 if self.process.poll() is not None else self.stop()
        log = self.log_tail()
        shutil.rmtree(self.root, ignore_errors=True)
        if kind is None:
            assert status == 0, f"node {self.name} ended with {status}\n{log}"
        else:
            print(f"the end of node {self.name}'s log:\n{log}")

    def start(self, port=0, grpc_port=0):
        self.run("--folder", self.folder, "--join", self.join, "--token-file", self.token_file, "--port", port,
                 "--grpc-port", grpc_port, *self.flags)  # fmt: skip

    def restart(self):
        """Where it was."""
        self.start(int(self.url.rsplit(":", 1)[1]), int(self.grpc.rsplit(":", 1)[1]))

    def shown(self):
        """What the server says of it."""
        return self.server.get(f"{NODES}/{self.name}").json()

    def states(self):
        return {f"{each['endpoint']}.{each['deployment']}": each for each in self.shown()["deployments"]}

    def wait_ready(self, deployment, version="1"):
        def ready():
            found = self.states().get(deployment, {})
            return found.get("state") == "ready" and found["version"] == version

        wait_for(ready, 120, f"{deployment} version {version} on {self.name}")


class Between:
    """A proxy between nodes and the server. `damage`: how many of the files that pass by are to be damaged. `cut`: of how
    many the connection breaks halfway. `asked`, `sent`: the ranges that files were asked for, and their bytes."""

    def __init__(self, server, damage=0, cut=0):
        between = self
        self.damage, self.cut, self.files, self.asked, self.sent = damage, cut, 0, [], 0

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.pass_on("GET", None)

            def do_POST(self):
                self.pass_on("POST", self.rfile.read(int(self.headers["Content-Length"])))

            def pass_on(self, method, body):
                got = requests.request(method, server.url + self.path, data=body, timeout=60, headers={
                    name: self.headers[name] for name in ("Authorization", "Content-Type", "Range") if self.headers[name]})
                content = got.content
                if "/files/" in self.path and got.ok:
                    between.files += 1
                    if between.files <= between.damage:
                        content = content[:-1] + bytes([content[-1] ^ 1])
                length = len(content)
                if "/files/" in self.path:
                    between.asked.append(self.headers["Range"])
                    if len(between.asked) <= between.cut:
                        content = content[: length // 2]
                        self.close_connection = True
                    between.sent += len(content)
                self.send_response(got.status_code)
                self.send_header("Content-Type", got.headers.get("Content-Type", "text/plain"))
                self.send_header("Content-Length", str(length))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def __enter__(self):
        self.thread = threading.Thread(target=self.http.serve_forever)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()
