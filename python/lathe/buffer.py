"""Carries metrics, parameters and tags to the server in batches, behind the training loop's back.

`put` only appends to a queue. A daemon thread, started by the first `put`, sends what is there to
runs/log-batch. The queue is bounded: a full one makes `put` wait, so nothing is lost. Sending a batch
again after a lost answer is harmless, since the server keeps identical points once.
"""

import json
import math
import sys
import threading
import time
from collections import deque

from lathe.client import PATIENCE, LatheError, Refused, say

METRIC, PARAM, TAG = range(3)

# What one runs/log-batch may hold.
MAX_METRICS, MAX_PARAMS, MAX_TAGS, MAX_ENTRIES, MAX_BYTES = 1000, 100, 100, 1000, 1_000_000

EXIT_PATIENCE = 60.0  # seconds that the end of the process waits for a server that does not answer

_LAST_WORDS = 10.0  # seconds for what is put after `close`, by an atexit handler
_LINGER = 0.2  # seconds that a first entry waits for company: how far the live view may lag behind
_CAPACITY = 16_000_000  # approximate bytes of entries that may wait
_ENTRY = 100  # of which a metric counts this many
_SENTENCES = 20  # on stderr about what was refused; the rest is only counted


class Buffer:
    """The queue of one run. Thread-safe; `put` may also be called from a signal handler."""

    def __init__(self, client, run_id):
        self._client = client
        self._run_id = run_id
        self.reset()

    def reset(self):
        """Starts empty. Also for a forked child, whose queue is a copy that its parent will send."""
        self._changed = threading.Condition()
        self._queue = deque()
        self._put_bytes = self._done_bytes = 0  # ever; the difference is queued or in flight
        self._flushes = 0  # how many callers wait in `flush`
        self._idle = False
        self._thread = None
        self._away = False  # we gave up waiting for the server, and it has not answered since
        self._closed = self._ended = False
        self._dropped = 0
        self._said = set()

    def put(self, entries):
        """Queues (kind, key, value, timestamp in ms, step) tuples, in order; waits only while the queue is full."""
        weight = sum(_ENTRY if entry[0] == METRIC else _ENTRY + len(entry[2]) for entry in entries)
        with self._changed:
            if self._thread is None:
                self._start()
            while self._put_bytes + weight > self._done_bytes + _CAPACITY and self._put_bytes > self._done_bytes:
                if self._away:
                    self._dropped += len(entries)
                    return
                self._changed.wait()
            self._queue.extend(entries)
            self._put_bytes += weight
            if self._idle or len(self._queue) >= MAX_ENTRIES:
                self._changed.notify_all()
        if self._closed:
            self.flush(_LAST_WORDS)

    def flush(self, timeout):
        """Waits until everything put so far has been sent or given up; False if `timeout` seconds were not enough."""
        with self._changed:
            if self._thread is None:
                return True
            goal = self._put_bytes
            self._flushes += 1
            self._changed.notify_all()
            try:
                return self._changed.wait_for(lambda: self._done_bytes >= goal, timeout)
            finally:
                self._flushes -= 1

    def close(self, timeout):
        """`flush`, and a sentence on stderr about what could not be recorded. From now on `put` flushes too."""
        self._closed = True
        if not self.flush(timeout):
            self._dropped += len(self._queue)
            say(f"{self._client.url} did not take the last entries within {timeout:.0f} s.")
        if self._dropped:
            say(f"at least {self._dropped} metrics, parameters or tags of run {self._run_id} were not recorded.")
            self._dropped = 0

    def end(self):
        """Lets the thread go. Nothing may be put afterwards."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _start(self):
        self._thread = threading.Thread(target=self._work, name="lathe-log", daemon=True)
        self._thread.start()
        # A multiprocessing worker leaves by os._exit, without atexit: only its own finalizers run.
        process = sys.modules.get("multiprocessing.process")
        if process is not None and process.parent_process() is not None:
            from multiprocessing.util import Finalize

            Finalize(None, self.close, args=(EXIT_PATIENCE,), exitpriority=100)

    def _work(self):
        while True:
            with self._changed:
                while not self._queue:
                    if self._ended:
                        return
                    self._idle = True
                    self._changed.wait()
                self._idle = False
                self._changed.wait_for(lambda: self._flushes or len(self._queue) >= MAX_ENTRIES, _LINGER)
            # Only this thread removes entries, so that encoding them needs no lock.
            batch = Batch()
            while self._queue and batch.add(self._queue[0]):
                self._queue.popleft()
            self._deliver(batch)
            with self._changed:
                self._done_bytes += batch.weight
                self._changed.notify_all()

    def _deliver(self, batch):
        try:
            self._client.post("runs/log-batch", batch.body(self._run_id), 0.0 if self._away else PATIENCE)
            self._away = False
            return
        except Refused as error:
            problem = error
            if error.status in (400, 413) and len(batch.entries) > 1:
                for half in batch.halves():  # so that one bad entry does not take its neighbours along
                    self._deliver(half)
                return
        except LatheError as error:
            problem = error
            if not self._away:
                say(f"{error}; giving up after {PATIENCE:.0f} s. The script goes on, its metrics are lost until then.")
            self._away = True
        except Exception as error:  # a bug of ours must not end the thread, on which `flush` waits
            problem = error
        self._dropped += len(batch.entries)
        if str(problem) not in self._said and len(self._said) < _SENTENCES and not self._away:
            self._said.add(str(problem))
            say(f"not recorded: {batch.summary()}: {problem}")


class Batch:
    """Entries that fit into one request, encoded as they are added."""

    def __init__(self, entries=()):
        self.entries = []
        self.weight = 0
        self._metrics, self._params, self._tags = [], {}, {}
        self._bytes = 200  # the envelope
        for entry in entries:
            self.add(entry)

    def add(self, entry):
        """False if the entry has to go into the next batch."""
        kind, key, value, timestamp, step = entry
        if len(self.entries) == MAX_ENTRIES:
            return False
        if kind == METRIC:
            if len(self._metrics) == MAX_METRICS:
                return False
            text = f'{{"key":{_quoted(key)},"value":{_number(value)},"timestamp":{timestamp},"step":{step}}}'
        else:
            if len(self._params) == MAX_PARAMS or len(self._tags) == MAX_TAGS:
                return False
            if kind == PARAM and key in self._params:
                return False
            text = f'{{"key":{_quoted(key)},"value":{json.dumps(value)}}}'
        if self._bytes + len(text) + 1 > MAX_BYTES:
            return False
        if kind == METRIC:
            self._metrics.append(text)
        else:
            (self._params if kind == PARAM else self._tags)[key] = text
        self.entries.append(entry)
        self._bytes += len(text) + 1
        self.weight += _ENTRY if kind == METRIC else _ENTRY + len(value)
        return True

    def body(self, run_id):
        return (f'{{"run_id":{json.dumps(run_id)},"metrics":[{",".join(self._metrics)}],'
                f'"params":[{",".join(self._params.values())}],"tags":[{",".join(self._tags.values())}]}}').encode()

    def halves(self):
        middle = len(self.entries) // 2
        return Batch(self.entries[:middle]), Batch(self.entries[middle:])

    def summary(self):
        kind, key = self.entries[0][:2]
        first = f"{('metric', 'parameter', 'tag')[kind]} {key!r}"
        return first if len(self.entries) == 1 else f"{first} and {len(self.entries) - 1} more"


_quoted_names = {}


def _quoted(name):
    text = _quoted_names.get(name)
    if text is None:
        if len(_quoted_names) > 10_000:
            _quoted_names.clear()
        text = _quoted_names[name] = json.dumps(name)
    return text


def _number(value):
    if math.isfinite(value):
        return repr(value)
    return '"NaN"' if value != value else '"Infinity"' if value > 0 else '"-Infinity"'


def now_ms():
    return time.time_ns() // 1_000_000

