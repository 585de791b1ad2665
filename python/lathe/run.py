"""One run on the server: its queue for metrics, parameters and tags, and its artifacts."""

import os
import posixpath
import urllib.parse

from lathe import values
from lathe.buffer import EXIT_PATIENCE, METRIC, PARAM, TAG, Buffer, now_ms
from lathe.client import Client, LatheError, say


class Run:
    """A run that can be written. Thread-safe."""

    def __init__(self, server, run_id):
        """`server` is the (url, token, certificate) of the tracking server, as `lathe.servers.find` answers it."""
        self.run_id = run_id
        self.server = server
        self.client = Client(*server)
        self._sender = Client(*server)  # of its own, so that a long upload does not hold up the metrics
        self._buffer = Buffer(self._sender, run_id)
        self._params = {}
        self._cut = set()
        self._artifact_root = None
        self._sampler = None

    @property
    def url(self):
        """The address of the server that keeps this run."""
        return self.client.url

    def log_metric(self, key, value, step, timestamp=None):
        values.check_name(key, "metric")
        if type(value) is not float:
            value = values.number(key, value)
        if type(step) is not int or not -(2**63) <= step < 2**63:
            step = values.step_number(key, step)
        self._buffer.put(((METRIC, key, value, timestamp or now_ms(), step),))

    def log_metrics(self, metrics, step, timestamp=None):
        now = timestamp or now_ms()
        entries = []
        for key, value in metrics.items():
            values.check_name(key, "metric")
            entries.append((METRIC, key, values.number(key, value), now, values.step_number(key, step)))
        self._buffer.put(entries)

    def log_fresh_params(self, params):
        """Logs those parameters that the server has no value of. Answers the keys whose value there is another."""
        self.flush()
        known = {param["key"]: param["value"] for param in self.info().get("data", {}).get("params", ())}
        texts = {key: values.text_of(value, values.MAX_PARAM)[0] for key, value in params.items()}
        self.log_params({key: value for key, value in params.items() if key not in known})
        return [key for key, text in texts.items() if known.get(key, text) != text]

    def log_params(self, params):
        fresh = {}
        for key, value in params.items():
            values.check_name(key, "parameter")
            text = self._text(key, value, values.MAX_PARAM, "parameter")
            known = self._params.get(key, text)
            if known != text:
                raise ValueError(f"parameter {key!r} of this run is {known!r} and cannot become {text!r}: "
                                 "use a tag or a metric for what changes")
            if key not in self._params:
                fresh[key] = text
        self._params.update(fresh)
        self._buffer.put([(PARAM, key, text, 0, 0) for key, text in fresh.items()])

    def set_tags(self, tags):
        entries = []
        for key, value in tags.items():
            values.check_name(key, "tag")
            entries.append((TAG, key, self._text(key, value, values.MAX_TAG, "tag"), 0, 0))
        self._buffer.put(entries)

    def flush(self, timeout=EXIT_PATIENCE):
        """Waits until the server has everything logged so far; False if `timeout` seconds were not enough."""
        return self._buffer.flush(timeout)

    def close(self, timeout=EXIT_PATIENCE):
        """`flush`, and a sentence on stderr about what could not be recorded."""
        if self._sampler is not None:
            self._sampler.stop()
        self._buffer.close(timeout)

    def watch_system(self, interval=None):
        """Samples the machine into this run until it is closed; once is enough."""
        if self._sampler is None:
            from lathe.system_metrics import Sampler

            self._sampler = Sampler(self, interval)
            self._sampler.start()

    def let_go(self):
        """`close`, for good: nothing may be logged afterwards."""
        self.close()
        self._buffer.end()

    def end(self, status):
        """Closes the run on the server too: FINISHED, FAILED or KILLED."""
        self.let_go()
        self.client.post("runs/update", {"run_id": self.run_id, "status": status, "end_time": now_ms()})

    def artifact_path(self, relative):
        """Where an artifact of this run lies below the server's artifact routes."""
        root = urllib.parse.urlsplit(self.artifact_uri()).path.strip("/")
        return posixpath.join(root, relative)

    def artifact_uri(self):
        if self._artifact_root is None:
            self._artifact_root = self.info()["info"].get("artifact_uri", "")
        if not self._artifact_root.startswith("mlflow-artifacts:"):
            raise LatheError(f"run {self.run_id} keeps its artifacts elsewhere, at {self._artifact_root!r}")
        return self._artifact_root

    def info(self):
        """The run as runs/get answers it: info, data."""
        return self.client.get("runs/get", {"run_id": self.run_id})["run"]

    def upload(self, source, path):
        """Streams `source`, a file's path or bytes, to `path` below the run's artifacts."""
        self.client.put_file(self.artifact_path(path), source)

    def log_bytes(self, data, path):
        path = values.check_artifact_path(path)
        if not path:
            raise ValueError("the artifact needs a file name")
        self.upload(data, path)

    def log_artifact(self, local_path, artifact_path):
        folder = values.check_artifact_path(artifact_path)
        if os.path.isdir(local_path):
            self.log_artifacts(local_path, posixpath.join(folder, os.path.basename(os.path.abspath(local_path))))
        else:
            self.upload(local_path, posixpath.join(folder, os.path.basename(local_path)))

    def log_artifacts(self, local_dir, artifact_path):
        folder = values.check_artifact_path(artifact_path)
        if not os.path.isdir(local_dir):
            raise NotADirectoryError(f"{local_dir} is not a folder")
        for parent, folders, files in os.walk(local_dir):
            folders.sort()
            below = os.path.relpath(parent, local_dir)
            for name in sorted(files):
                self.upload(os.path.join(parent, name), posixpath.normpath(posixpath.join(folder, below, name)))

    def after_fork(self):
        """In a forked child: drops what belongs to the parent."""
        self.client.forget_connection()
        self._sender.forget_connection()
        self._buffer.reset()
        self._sampler = None

    def _text(self, key, value, limit, what):
        text, cut = values.text_of(value, limit)
        if cut and key not in self._cut:
            self._cut.add(key)
            say(f"the value of {what} {key!r} was cut at {limit} characters.")
        return text
