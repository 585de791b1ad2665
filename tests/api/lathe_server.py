"""A real `lathe serve` to test against: HTTP with the administrator's token, the command line, kills and restarts."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

import postgres_server
import requests

ROOT = pathlib.Path(__file__).resolve().parents[2]


def bin_folder():
    """LATHE_BIN, or the build tree's: release before dev."""
    if "LATHE_BIN" in os.environ:
        return pathlib.Path(os.environ["LATHE_BIN"])
    found = [ROOT / "build" / preset / "bin" for preset in ("release", "dev")]
    return next((folder for folder in found if (folder / "lathe").exists()), found[0])


def wait_for(condition, limit_s=60.0, what="the condition"):
    """Calls `condition` until it answers something true, and answers that; fails after `limit_s`."""
    deadline = time.monotonic() + limit_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"{what} did not come true within {limit_s} s"
        time.sleep(0.02)


class CliResult:
    """What one run of the command line did."""

    def __init__(self, done):
        self.returncode = done.returncode
        self.stdout = done.stdout
        self.stderr = done.stderr

    def json(self):
        return json.loads(self.stdout)

    def __repr__(self):
        return f"exit {self.returncode}\nstdout: {self.stdout}\nstderr: {self.stderr}"


class Server:
    """Starts on entry, ends everything that it started on exit.

    url, infer, grpc   what the `ready` line said (None for a part that was left out)
    token              the administrator's token
    data, home         its data folder; the folder that its command line has as HOME
    database           its PostgreSQL database; None with SQLite

    account: the number of the account that runs it, in place of our own (which is root then).
    store: "sqlite", "postgresql" (a fresh database) or a URL; default: what LATHE_TEST_STORE says, else sqlite.
    """

    def __init__(self, *flags, env=None, store=None, account=None):
        # Not pytest's tmp_path, which only its owner can enter: jobs may run as an unprivileged account.
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="lathe-test."))
        self.folder.chmod(0o711)
        self.data = self.folder / "data"
        self.home = self.folder / "home"
        self.home.mkdir()
        self.log = self.folder / "server.log"
        self.flags = list(flags)
        self.account = account
        if account is not None:
            for folder in (self.folder, self.home):
                os.chown(folder, account, account)
        self.database = None
        store = store or os.environ.get("LATHE_TEST_STORE", "sqlite")
        if store == "postgresql":
            self.database = postgres_server.Database(postgres_server.shared_url())
            store = self.database.url
        if store != "sqlite":
            self.flags += ["--store", store]
        self.env = self._environment(env or {})
        self.process = None
        self.url = self.infer = self.grpc = None

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind, error, trace):
        stopped = self._run("stop", "--all", "--data", str(self.data), env=self.env, limit_s=60)
        try:
            if self.process is not None:
                self.process.wait(30)
            left = wait_for_none(self.processes, limit_s=60)
        except subprocess.TimeoutExpired:
            left = self.processes()
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        if self.process is not None:
            self.process.wait(60)
        log = self.log_tail()
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.database is not None:
            self.database.drop()
        if kind is None:
            assert stopped.returncode == 0, stopped
            assert not left, f"'lathe stop --all' left {left} running\n{log}"

    def start(self, *ports):
        """Starts the server and waits for its `ready` line. `ports`: three of them, to come back where it was."""
        ports = ports or (0, 0, 0)
        names = ("--port", "--infer-port", "--grpc-port")
        flags = [text for name, port in zip(names, ports) for text in (name, str(port))]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [bin_folder() / "lathe", "serve", "--data", self.data, *flags, *self.flags],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, env=self.env, text=True,
                start_new_session=True, **self._as_account())  # fmt: skip
        ready = self.process.stdout.readline().split()
        assert ready[:1] == ["ready"], f"no ready line but {ready}\n{self.log_tail()}"
        self.url = ready[1]
        said = dict(zip(ready[2::2], ready[3::2]))
        self.infer, self.grpc = said.get("infer"), said.get("grpc")
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"Bearer {self.token}"

    @property
    def token(self):
        return (self.data / "admin.token").read_text().strip()

    @property
    def port(self):
        return int(self.url.rsplit(":", 1)[1])

    def kill9(self):
        """Kills the server alone, as a crash would: jobs and inference are left to their shims."""
        self.process.kill()
        self.process.wait(60)
        self.process.stdout.close()

    def terminate(self):
        """Asks the server alone to end (SIGTERM) and answers its exit status."""
        self.process.terminate()
        status = self.process.wait(30)
        self.process.stdout.close()
        return status

    def restart(self):
        """Starts a server that was killed or ended, on the port that it had."""
        self.start(self.port, 0, 0)

    def request(self, method, path, **options):
        """One HTTP request with the administrator's token; `path` below the server's URL."""
        options.setdefault("timeout", 60)
        return self._session.request(method, self.url + path, **options)

    def get(self, path, **options):
        return self.request("GET", path, **options)

    def post(self, path, **options):
        return self.request("POST", path, **options)

    def put(self, path, **options):
        return self.request("PUT", path, **options)

    def patch(self, path, **options):
        return self.request("PATCH", path, **options)

    def delete(self, path, **options):
        return self.request("DELETE", path, **options)

    def cli(self, *args, check=True, input=None, env=None, cwd=None, limit_s=120):
        """Runs `lathe ARGS` against this server, with a HOME of its own. `env` adds to its environment (None removes).

        check: fails the test unless it exits with 0.
        """
        environment = {**self.env, "LATHE_URL": self.url, "LATHE_TOKEN": self.token, **(env or {})}
        environment = {name: value for name, value in environment.items() if value is not None}
        done = self._run(*args, env=environment, input=input, cwd=cwd, limit_s=limit_s)
        assert not check or done.returncode == 0, f"lathe {' '.join(map(str, args))}\n{done}"
        return done

    def log_tail(self, lines=60):
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def processes(self):
        """The pids of all processes whose command line names the data folder: server, data plane, shims."""
        return [int(pid) for pid in filter(str.isdigit, os.listdir("/proc")) if str(self.data) in cmdline(pid)]

    def _environment(self, more):
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "TZ") if name in os.environ}
        reports = os.environ.get("LATHE_SANITIZER_REPORTS")
        if reports:
            # A small quarantine: with the usual one, memory that was freed looks like memory that was kept.
            kept["ASAN_OPTIONS"] = f"log_path={reports}/asan:quarantine_size_mb=16"
            kept["UBSAN_OPTIONS"] = f"log_path={reports}/ubsan:print_stacktrace=1"
        home = {"HOME": str(self.home), "XDG_CONFIG_HOME": str(self.home / "config")}
        return {**kept, **home, **more}

    def _as_account(self):
        return {} if self.account is None else {"user": self.account, "group": self.account, "extra_groups": []}

    def _run(self, *args, env, input=None, cwd=None, limit_s=120):
        done = subprocess.run([bin_folder() / "lathe", *map(str, args)], env=env, cwd=cwd or self.home, input=input,
                              capture_output=True, text=True, timeout=limit_s)  # fmt: skip
        return CliResult(done)


def cmdline(pid):
    """A process's command line, its words ended by NUL; empty when it ended meanwhile."""
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def wait_for_none(find, limit_s):
    """Calls `find` until it answers nothing, at most `limit_s`; answers what it found last."""
    deadline = time.monotonic() + limit_s
    while True:
        found = find()
        if not found or time.monotonic() >= deadline:
            return found
        time.sleep(0.02)
