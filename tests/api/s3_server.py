"""An S3 server to test against: a Swift of its own, with a bucket."""

import itertools
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import threading

import requests

ACCESS_KEY, SECRET = "test:tester", "testing"
_prefixes = itertools.count(1)


class S3:
    """Starts on entry, ends on exit. Objects are looked at through Swift's own API, past all S3 signatures."""

    bucket = "artifacts"

    def __enter__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="lathe-s3."))
        self.port = 0
        self.start()
        for container in (self.bucket, self.bucket + "+segments"):
            assert self._swift("PUT", container).ok
        return self

    def __exit__(self, *_):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self):
        """Comes back where it was, with what it had."""
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                ["/usr/bin/python3", pathlib.Path(__file__).with_name("swift_server.py"), self.folder, str(self.port)],
                stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True)  # fmt: skip
        said = self.process.stdout.readline().split()
        assert said[:1] == ["ready"], (self.folder / "log").read_text()[-3000:]
        self.port = int(said[1])
        self._token = None

    def stop(self):
        self.process.kill()
        self.process.wait(60)
        self.process.stdout.close()

    def freeze(self):
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.port}"

    def place(self, endpoint=None):
        """A prefix of its own in the bucket."""
        return S3Place(self, f"tests/{next(_prefixes)}", endpoint or self.endpoint)

    def names(self, container):
        """All objects of a container."""
        names = []
        while True:
            marker = {"marker": names[-1]} if names else {}
            page = self._swift("GET", container, params={"format": "json", **marker}).json()
            if not page:
                return names
            names += [each["name"] for each in page]

    def _swift(self, method, path, **options):
        if self._token is None:
            who = {"X-Storage-User": ACCESS_KEY, "X-Storage-Pass": SECRET}
            self._token = requests.get(f"{self.endpoint}/auth/v1.0", headers=who, timeout=30).headers["X-Auth-Token"]
        return requests.request(method, f"{self.endpoint}/v1/AUTH_test/{path}", headers={"X-Auth-Token": self._token},
                                timeout=30, **options)  # fmt: skip


class S3Place:
    """Where one server keeps its artifacts."""

    def __init__(self, s3, prefix, endpoint):
        self.s3 = s3
        self.prefix = prefix
        self.flags = ("--artifacts", f"s3://{s3.bucket}/{prefix}", "--artifacts-endpoint", endpoint)
        self.env = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "us-east-1"}

    def _below(self, container):
        return sorted(name[len(self.prefix) + 1 :] for name in self.s3.names(container)
                      if name.startswith(self.prefix + "/"))  # fmt: skip

    def stored(self):
        return self._below(self.s3.bucket)

    def parts(self):
        """What there is of uploads in parts; Swift keeps the parts of complete ones here too."""
        return self._below(self.s3.bucket + "+segments")


class Wire:
    """A TCP connection to a port, which can be cut: `endpoint` leads to it."""

    def __init__(self, port):
        self.port = port
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self.listening.getsockname()[1]}"
        self.budget = None  # bytes of answers that still come through
        self.cuts = 0
        self.asked = 0  # bytes that went to the port
        self.refuses_after_cut = False
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listening.close()

    def _accept(self):
        while True:
            try:
                near, _ = self.listening.accept()
            except OSError:
                return
            if self.refuses_after_cut and self.cuts:
                near.close()
                continue
            far = socket.create_connection(("127.0.0.1", self.port))
            threading.Thread(target=self._carry, args=(near, far, False), daemon=True).start()
            threading.Thread(target=self._carry, args=(far, near, True), daemon=True).start()

    def _carry(self, source, target, answers):
        try:
            while piece := source.recv(1 << 16):
                self.asked += 0 if answers else len(piece)
                if answers and self.budget is not None:
                    piece = piece[: self.budget]
                    self.budget -= len(piece)
                target.sendall(piece)
                if answers and self.budget == 0:
                    self.budget = None
                    self.cuts += 1
                    break
        except OSError:
            pass
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
