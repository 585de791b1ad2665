"""What is measured: a Lathe of our own, or any server that speaks MLflow's REST."""

import http.client
import json
import pathlib
import signal
import subprocess
import time
import urllib.parse


class Target:
    """A server by its address. `pid`: of its process on this machine, or None: then its CPU and memory are not told."""

    store = None  # the SQLite file, where there is one that can be filled directly

    def __init__(self, url, token=None, pid=None):
        self.url, self.token, self.pid = url.rstrip("/"), token, pid
        self.connect()

    def connect(self):
        self.parts = urllib.parse.urlsplit(self.url)
        kind = http.client.HTTPSConnection if self.parts.scheme == "https" else http.client.HTTPConnection
        self.connection = kind(self.parts.netloc, timeout=600)

    def headers(self):
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def ask(self, method, path, body=None):
        """The answer's bytes."""
        sent = None if body is None else json.dumps(body)
        headers = self.headers() | ({"Content-Type": "application/json"} if sent else {})
        self.connection.request(method, self.parts.path + path, sent, headers)
        answer = self.connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise SystemExit(f"{method} {path} answered {answer.status}: {content[:300]!r}")
        return content

    def get(self, path, **query):
        return self.ask("GET", f"/api/2.0/mlflow/{path}?{urllib.parse.urlencode(query, doseq=True)}")

    def post(self, path, body):
        return json.loads(self.ask("POST", "/api/2.0/mlflow/" + path, body))

    def create_run(self, experiment="0"):
        return self.post("runs/create", {"experiment_id": experiment, "start_time": 1})["run"]["info"]["run_id"]

    def cpu_seconds(self):
        if self.pid is None:
            return None
        threads = pathlib.Path(f"/proc/{self.pid}/task").glob("*/schedstat")
        return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9

    def memory(self):
        """Resident, proportional and most ever resident megabytes."""
        roll = pathlib.Path(f"/proc/{self.pid}/smaps_rollup").read_text()
        status = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        words = [roll.split("Rss:")[1], roll.split("Pss:")[1], status.split("VmHWM:")[1]]
        return [int(word.split()[0]) / 1024 for word in words]


class Lathe(Target):
    """A server on a data folder, started here. `store`: another database than the folder's own SQLite."""

    def __init__(self, program, data, store=None):
        self.program, self.data, self.other_store = program, data, store
        self.start()

    def start(self):
        command = [self.program, "serve", "--data", self.data, "--port", "0", "--infer-port", "0", "--grpc-port", "0"]
        if self.other_store:
            command += ["--store", self.other_store]
        began = time.perf_counter()
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        url = self.process.stdout.readline().split()[1]
        self.started_in = time.perf_counter() - began
        super().__init__(url, (self.data / "admin.token").read_text().strip(), self.process.pid)
        self.store = None if self.other_store else self.data / "lathe.db"

    def stop(self):
        self.connection.close()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        subprocess.run([self.program, "stop", "--all", "--data", self.data], stderr=subprocess.DEVNULL, check=True)

    def restart(self):
        self.stop()
        self.start()
