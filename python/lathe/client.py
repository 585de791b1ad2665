"""HTTP to one Lathe server with the standard library alone: keep-alive, retries, errors as sentences."""

import encodings.idna  # noqa: F401 - else the sockets import it later, and a fork in that moment breaks the child
import hashlib
import http.client
import json
import os
import random
import ssl
import sys
import threading
import time
import urllib.parse

API = "/api/2.0/mlflow/"
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts/"

PATIENCE = 300.0  # seconds that a server may be away (a restart, an update) before we give up
_CONNECT_TIMEOUT = 10.0  # seconds for one connect, so that a machine that is not there is noticed
_SOCKET_TIMEOUT = 60.0  # seconds for one send or receive
_SILENCE = 1.5  # seconds of failed tries before a sentence on stderr: a restart takes less
_LONGEST_PAUSE = 2.0  # seconds between two attempts
_TRY_AGAIN = frozenset((408, 429, 500, 502, 503, 504))


class LatheError(Exception):
    """What the server, or the way to it, could not do; the text is written for the user."""


class Unavailable(LatheError):
    """No usable answer within the time given. The request may or may not have been carried out."""


class Refused(LatheError):
    """The server understood the request and said no: `status` is HTTP's, `code` is MLflow's error_code."""

    def __init__(self, message, status, code=""):
        super().__init__(message)
        self.status = status
        self.code = code


class Client:
    """One connection to one server, kept open. Thread-safe: concurrent calls take turns."""

    def __init__(self, url, token=None, certificate=None):
        """`certificate`: over TLS the only one, or authority, to trust: a PEM file, or "sha256:..." of its DER form."""
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise LatheError(f"{url!r} is not the address of a Lathe server: it should look like http://host:8080")
        self.url = url.rstrip("/")
        self._host, self._port, self._prefix = parts.hostname, parts.port, parts.path.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._pin = certificate[7:] if certificate and certificate.startswith("sha256:") else None
        self._tls = _trust_only(certificate, self._pin) if parts.scheme == "https" else None
        self.forget_connection()

    def forget_connection(self):
        """For a forked child: leaves the socket and the lock to the parent."""
        self._lock = threading.Lock()
        self._connection = None
        self._told = False  # that the server does not answer; once for each time

    def get(self, path, query, patience=PATIENCE):
        return self.call("GET", f"{API}{path}?{urllib.parse.urlencode(query)}", patience=patience)

    def post(self, path, body, patience=PATIENCE, repeatable=True):
        """`body` is a dict, or JSON as bytes. A request that is not `repeatable` is never sent twice."""
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        return self.call("POST", API + path, body, patience, repeatable)

    def put_file(self, path, source):
        """Streams `source`, a file's path or bytes, to an artifact path such as 0/<run>/artifacts/model.ubj."""
        url = ARTIFACTS + urllib.parse.quote(path)
        if isinstance(source, bytes):
            return self.call("PUT", url, source)
        with open(source, "rb") as file:
            return self.call("PUT", url, _FileBody(file))

    def list_files(self, path):
        """What lies in an artifact folder: dicts with `path` (a base name), `is_dir`, `file_size`; none for a file."""
        answer = self.call("GET", f"{ARTIFACTS.rstrip('/')}?{urllib.parse.urlencode({'path': path})}")
        return answer.get("files", [])

    def get_file(self, path, target):
        """Fetches an artifact into the file `target`, which appears whole or not at all."""
        beside = f"{target}.part"
        try:
            self.call("GET", ARTIFACTS + urllib.parse.quote(path), save_as=beside)
            os.replace(beside, target)
        finally:
            if os.path.exists(beside):
                os.unlink(beside)

    def call(self, method, path, body=None, patience=PATIENCE, repeatable=True, save_as=None):
        """The answer's JSON object; with `save_as`, a file's name, an answer of success is written there instead.

        Raises `Refused`, or `Unavailable` after `patience` seconds of trying; says on stderr that it goes on trying."""
        if os.environ.get("LATHE_NO_NETWORK"):
            raise Unavailable("this job has no network (--isolation-network none), so nothing can be logged")
        began = time.monotonic()
        give_up = began + patience
        pause = 0.05
        while True:
            try:
                with self._lock:
                    answer = self._exchange(method, path, body, repeatable, save_as)
                self._told = False
                return answer
            except ssl.SSLCertVerificationError as error:
                raise Refused(f"the certificate of {self.url} is not trusted ({error.verify_message}); "
                              "MLFLOW_TRACKING_SERVER_CERT_PATH names the file with the one to trust", 495) from error
            except Refused as error:
                if error.status not in _TRY_AGAIN:
                    raise
                problem, sent = error, error.status not in (429, 503)
            except (OSError, http.client.HTTPException) as error:
                problem, sent = error, not isinstance(error, ConnectionRefusedError)
            if time.monotonic() + pause > give_up or (sent and not repeatable):
                raise Unavailable(f"{self.url} does not answer ({_reason(problem)})") from problem
            now = time.monotonic()
            if now - began > _SILENCE and not self._told:
                self._told = True
                say(f"{self.url} does not answer ({_reason(problem)}); trying again for up to {give_up - now:.0f} s.")
            time.sleep(pause * random.uniform(0.75, 1.0))
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _exchange(self, method, path, body, repeatable, save_as=None):
        if not repeatable:
            self._close()  # an idle connection may be dead already, and then nobody knows whether the request was read
        reused = self._connection is not None
        try:
            status, answer = self._send(method, path, body, save_as)
        except (OSError, http.client.HTTPException) as error:
            self._close()
            if not reused or isinstance(error, ssl.SSLCertVerificationError):
                raise
            return self._exchange(method, path, body, repeatable, save_as)  # the server had closed the idle connection
        except BaseException:  # interrupted in mid-request: what is left on the wire belongs to nobody
            self._close()
            raise
        if not 200 <= status < 300:
            raise _refusal(status, answer)
        return answer

    def _send(self, method, path, body, save_as):
        if self._connection is None:
            self._connection = self._connect()
        connection = self._connection
        headers = dict(self._headers)
        if body is not None:
            headers["Content-Type"] = "application/json" if method == "POST" else "application/octet-stream"
            headers["Content-Length"] = str(len(body))
        if isinstance(body, _FileBody):
            body.rewind()
        try:
            connection.request(method, self._prefix + path, body, headers)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the server may have answered before it had read everything, and that answer tells why
        response = connection.getresponse()
        if save_as is not None and response.status == 200:
            _save(response, save_as)
            answer = b""
        else:
            answer = response.read()
        if response.will_close:
            self._close()
        return response.status, _json_object(answer)

    def _connect(self):
        options = {"timeout": _CONNECT_TIMEOUT, "blocksize": 1 << 18}
        if self._tls is None:
            connection = http.client.HTTPConnection(self._host, self._port, **options)
        else:
            connection = http.client.HTTPSConnection(self._host, self._port, context=self._tls, **options)
        connection.connect()
        connection.sock.settimeout(_SOCKET_TIMEOUT)
        if self._pin:
            if hashlib.sha256(connection.sock.getpeercert(binary_form=True)).hexdigest() != self._pin.lower():
                connection.close()
                raise Refused(f"the certificate of {self.url} is not the one that was trusted; "
                              "`lathe login` trusts a new one", 495)
        return connection

    def _close(self):
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


class _FileBody:
    """As many bytes of a file as it had at first: it may be growing, as a log does."""

    def __init__(self, file):
        self._file = file
        self._size = os.fstat(file.fileno()).st_size

    def __len__(self):
        return self._size

    def rewind(self):
        self._file.seek(0)
        self._left = self._size

    def read(self, count):
        data = self._file.read(min(count, self._left))
        if not data and self._left:
            raise LatheError(f"{self._file.name} became shorter while it was being uploaded")
        self._left -= len(data)
        return data


def _save(response, path):
    """Writes an answer's body to a file. What the disk cannot do is no reason to ask the server again."""
    try:
        with open(path, "wb") as file:
            while piece := _read(response):
                file.write(piece)
    except OSError as error:
        raise LatheError(f"cannot write {path}: {error.strerror or error}") from error
    except _Broken as error:
        raise error.__cause__
    if response.length:
        raise http.client.IncompleteRead(b"", response.length)


def _read(response):
    try:
        return response.read(1 << 18)
    except OSError as error:
        raise _Broken from error


class _Broken(Exception):
    """The connection's fault, not the file's."""


def _trust_only(ca_file, pin):
    if pin:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # the digest says it all
        return context
    context = ssl.create_default_context(cafile=ca_file or None)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # the file may hold the server's own certificate
    return context


def _json_object(answer):
    try:
        value = json.loads(answer)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _refusal(status, answer):
    message = answer.get("message") or answer.get("detail") or http.client.responses.get(status, "no reason given")
    return Refused(f"{message} (HTTP {status})", status, answer.get("error_code", ""))


def _reason(problem):
    return str(problem) or type(problem).__name__


def say(sentence):
    """One sentence for the person who reads the job's log; never an exception."""
    try:
        sys.stderr.write(f"lathe: {sentence}\n")
        sys.stderr.flush()
    except (AttributeError, OSError, ValueError):
        pass
