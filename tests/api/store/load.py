"""Clients that write without a pause, and remember what was acknowledged."""

import collections
import threading

import requests

KEYS = [f"k{i}" for i in range(20)]


class Load:
    """Threads that log batches to runs of their own and make versions of one model, through kills and restarts.

    An answer is 200, or 503 with Retry-After; anything else is a failure. No answer (the server was killed) is neither.
    """

    def __init__(self, server, rest, clients=6):
        self.server = server
        self.rest = rest
        rest.post("registered-models/create", {"name": "m"})
        self.runs = [rest.run() for _ in range(clients)]
        self.batches = collections.defaultdict(set)  # run -> the numbers of acknowledged batches
        self.sent = collections.Counter()  # run -> how many were sent
        self.versions = {}  # acknowledged: source -> version
        self.refused = 0
        self.failures = []
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._write, args=(run,)) for run in self.runs]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.end()

    def end(self):
        self._ending.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), "a request is never answered"

    def acknowledged(self):
        assert not self.failures, self.failures[:3]
        return sum(map(len, list(self.batches.values())))

    def _write(self, run):
        session = requests.Session()
        session.headers["Authorization"] = f"Bearer {self.server.token}"
        while not self._ending.is_set():
            number = self.sent[run]
            self.sent[run] += 1
            metrics = [{"key": key, "value": number, "timestamp": 1, "step": number} for key in KEYS]
            params = [{"key": f"p{number}", "value": str(number)}]
            if self._post(session, "runs/log-batch", {"run_id": run, "metrics": metrics, "params": params}) is not None:
                self.batches[run].add(number)
            source = f"mlflow-artifacts:/0/{run}/artifacts/{number}"
            made = self._post(session, "model-versions/create", {"name": "m", "source": source})
            if made is not None:
                self.versions[source] = int(made["model_version"]["version"])

    def _post(self, session, path, body):
        """The answer; None when the write was not acknowledged."""
        try:
            answer = session.post(f"{self.server.url}/api/2.0/mlflow/{path}", json=body, timeout=30)
        except requests.ConnectionError:
            self._ending.wait(0.01)
            return None
        if answer.status_code == 200:
            return answer.json()
        if answer.status_code == 503 and "Retry-After" in answer.headers:
            self.refused += 1
        else:
            self.failures.append((path, answer.status_code, answer.text[:300]))
        return None

    def check(self):
        """Nothing acknowledged is lost, nothing is there twice, and no batch is there in part."""
        assert not self.failures, self.failures[:3]
        assert self.acknowledged() > 0
        for run in self.runs:
            params = self.rest.run_data(run)[1]
            there = {int(name[1:]) for name in params}
            lost = self.batches[run] - there
            assert not lost, f"acknowledged and lost: {sorted(lost)[:5]}"
            for key in KEYS:
                steps = [point["step"] for point in self._history(run, key)]
                assert len(steps) == len(set(steps)), "a point is there twice"
                assert set(steps) == there, f"half a batch: {sorted(set(steps) ^ there)[:5]}"
        versions = {int(v["version"]): v["source"] for v in self._versions()}
        assert len(set(versions.values())) == len(versions), "a version was made twice"
        for source, version in self.versions.items():
            assert versions.get(version) == source, f"version {version} was acknowledged for {source}"

    def _history(self, run, key):
        return self.rest.get("metrics/get-history", run_id=run, metric_key=key).get("metrics", [])

    def _versions(self):
        found, token = [], ""
        while True:
            page = self.rest.get("model-versions/search", filter="name = 'm'", max_results=1000, page_token=token)
            found += page.get("model_versions", [])
            token = page.get("next_page_token")
            if not token:
                return found
