"""Private PostgreSQL servers (tests/postgres.sh), and databases in them."""

import atexit
import os
import pathlib
import secrets
import signal
import subprocess
import tempfile
import time

SCRIPT = pathlib.Path(__file__).resolve().parents[1] / "postgres.sh"


def run(*args):
    done = subprocess.run([SCRIPT, *map(str, args)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{SCRIPT.name} {' '.join(map(str, args))}\n{done.stdout}{done.stderr}"
    return done.stdout.strip()


class Postgres:
    """A server of its own: for tests that kill it. Ended on exit."""

    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="lathe-postgres.")) / "server"
        self.folder.parent.chmod(0o711)

    def __enter__(self):
        self.url = run("up", self.folder)
        return self

    def __exit__(self, *_):
        run("down", self.folder)
        self.folder.parent.rmdir()

    def database(self):
        return Database(self.url)

    @property
    def pid(self):
        return int((self.folder / "postmaster.pid").read_text().split()[0])

    def kill9(self):
        """Kills the postmaster; its children end themselves when they notice."""
        pid = self.pid
        os.kill(pid, signal.SIGKILL)

    def start(self):
        """Starts it again, as soon as what a kill left is gone."""
        deadline = time.monotonic() + 60
        while subprocess.run([SCRIPT, "start", self.folder], capture_output=True, timeout=120).returncode != 0:
            assert time.monotonic() < deadline, (self.folder / "log").read_text()[-2000:]

    def stop(self, mode="fast"):
        owner = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
        tool = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))[-1]
        subprocess.run([*owner, tool, "-D", self.folder, "-s", "-m", mode, "stop"], check=True, cwd="/", timeout=120)


class Database:
    """An empty database of the server at `url`."""

    def __init__(self, url, how=""):
        self.server = url
        self.name = "t_" + secrets.token_hex(6)
        self.url = url.replace("/postgres?", f"/{self.name}?")
        psql(url, f"CREATE DATABASE {self.name} {how}")

    def ask(self, sql):
        """The rows of the answer, as psql prints them unaligned."""
        return psql(self.url, sql).splitlines()

    def drop(self):
        psql(self.server, f"DROP DATABASE {self.name} WITH (FORCE)")


def psql(url, sql):
    done = subprocess.run(["psql", "-X", "-q", "-At", "-v", "ON_ERROR_STOP=1", url, "-c", sql], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{sql}\n{done.stderr}"
    return done.stdout


def shared_url():
    """The server that all tests of this session share: LATHE_TEST_POSTGRES, or one that lives as long as pytest."""
    if "LATHE_TEST_POSTGRES" not in os.environ:
        server = Postgres().__enter__()
        atexit.register(server.__exit__)
        os.environ["LATHE_TEST_POSTGRES"] = server.url
    return os.environ["LATHE_TEST_POSTGRES"]
