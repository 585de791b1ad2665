"""PostgreSQL as the store: how it is named, who may use it, and what happens while it is away."""

import os
import pathlib
import re
import secrets
import shutil
import socket
import subprocess
import tempfile
import threading
import time

import pytest
from lathe_server import Server, bin_folder, cmdline, wait_for
from mlflow_rest import EXISTS, Rest
from postgres_server import Database, Postgres, psql, shared_url


@pytest.fixture
def database():
    made = Database(shared_url())
    yield made
    made.drop()


@pytest.fixture(scope="module")
def postgres():
    """A PostgreSQL server of this file's own, whose user ann needs a password."""
    with Postgres() as running:
        rules = running.folder / "pg_hba.conf"
        rules.write_text("local all ann scram-sha-256\n" + rules.read_text())
        database = running.database()
        database.ask("CREATE USER ann SUPERUSER PASSWORD 'dolphin'; SELECT pg_reload_conf()")
        yield running


def refused(*flags, env=None, folder=None):
    """What a `lathe serve` that cannot start says."""
    folder = folder or "/nonexistent-data"
    done = subprocess.run([bin_folder() / "lathe", "serve", "--data", folder, "--port", "0", "--infer-port", "0",
                           "--grpc-port", "0", *flags], env=env,
                          capture_output=True, text=True, timeout=60)  # fmt: skip
    assert done.returncode != 0 and "ready" not in done.stdout
    assert len(done.stderr.splitlines()) == 1, done.stderr
    return done.stderr


# --- naming it ---


def test_passwords_come_from_the_environment_or_a_file_and_are_shown_nowhere(postgres):
    place = postgres.url.replace("user=lathe", "user=ann")
    for number, how in enumerate(("PGPASSWORD", "PGPASSFILE", "LATHE_STORE", "~/.pgpass")):
        database = postgres.database()
        url = database.url.replace("user=lathe", "user=ann")
        server = Server(store=url)
        if how == "PGPASSWORD":
            server.env["PGPASSWORD"] = "dolphin"
        elif how == "LATHE_STORE":
            server.flags = []
            server.env["LATHE_STORE"] = url + "&password=dolphin"
        else:
            file = server.home / (".pgpass" if how == "~/.pgpass" else "passwords")
            file.write_text("*:*:*:ann:dolphin\n")
            file.chmod(0o600)
            if how == "PGPASSFILE":
                server.env["PGPASSFILE"] = str(file)
        with server:
            assert Rest(server).experiment(f"by {how}") == "1"
            command_lines = [cmdline(pid) for pid in server.processes()]
            shown = subprocess.run([bin_folder() / "lathe", "config", "show"], env={**server.env}, capture_output=True, text=True,
                                   check=True).stdout  # fmt: skip
            assert "dolphin" not in shown + server.log_tail() and not any("dolphin" in line for line in command_lines)
            if how == "LATHE_STORE":
                assert "postgresql://ann@" in shown
    assert place


def test_a_password_that_is_missing_or_in_a_flag_is_refused_with_the_cure(postgres, tmp_path):
    url = postgres.url.replace("user=lathe", "user=ann")
    said = refused("--store", url, env={"HOME": str(tmp_path)}, folder=tmp_path / "data")
    assert "PGPASSWORD" in said and ".pgpass" in said
    said = refused("--store", url + "&password=dolphin", folder=tmp_path / "data")
    assert "PGPASSWORD" in said and "dolphin" not in said


def test_a_store_that_is_none_or_not_there_is_said_in_one_sentence(tmp_path):
    assert "postgresql://USER@HOST:PORT/DB" in refused("--store", "mysql://x", folder=tmp_path / "data")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{unused.getsockname()[1]}/lathe"
        said = refused("--store", f"postgresql://ann@{place}", folder=tmp_path / "data")
    assert f"postgresql://ann@{place}" in said and "cannot be reached" in said


# --- whose it is ---


def test_a_second_server_on_the_same_database_is_refused(database, tmp_path):
    with Server(store=database.url) as first:
        said = refused("--store", database.url, folder=tmp_path / "data")
        assert "in use by another `lathe serve`" in said and f"process {first.process.pid}" in said
        assert Rest(first).experiment("still here") == "1"
        token = first.token
    next_one = Server(store=database.url)
    next_one.data.mkdir()
    (next_one.data / "admin.token").write_text(token)  # as for a machine that takes over: the store knows only its digest
    with next_one:
        assert Rest(next_one).get("experiments/get-by-name", experiment_name="still here")["experiment"]["experiment_id"] == "1"


def test_a_server_that_lost_the_store_to_another_ends_itself(database):
    with Server(store=database.url) as old:
        Rest(old).experiment("old")
        # As when PostgreSQL was away for the old one only, and another took over meanwhile.
        database.ask("UPDATE store_lease SET epoch = epoch + 1, writer = epoch + 1")
        answer = old.post("/api/2.0/mlflow/experiments/create", json={"name": "too late"})
        assert answer.status_code == 503
        assert old.process.wait(30) == 0
        assert "taken over" in old.log_tail()
        assert database.ask("SELECT name FROM experiment ORDER BY id") == ["Default", "old"]


# --- while it is away ---


def test_while_postgresql_is_away_answers_are_503_and_then_all_goes_on(postgres):
    with Server(store=postgres.database().url) as server:
        rest = Rest(server)
        run = rest.run()
        postgres.stop("immediate")
        try:
            for method, path, body in (("POST", "runs/log-metric", {"run_id": run, "key": "k", "value": 1, "timestamp": 1}),
                                       ("GET", f"runs/get?run_id={run}", None)):  # fmt: skip
                began = time.monotonic()
                answer = server.request(method, f"/api/2.0/mlflow/{path}", json=body)
                assert (answer.status_code, answer.json()["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE")
                assert answer.headers["Retry-After"] == "1"
                assert time.monotonic() - began < 15
            assert server.get("/healthz").status_code == 200
            assert server.get("/readyz").status_code == 503
        finally:
            postgres.start()
        wait_for(lambda: server.get("/readyz").status_code == 200, 60, "the store's return")
        wait_for(lambda: server.post("/api/2.0/mlflow/runs/log-metric", json={"run_id": run, "key": "k", "value": 2, "timestamp": 2}).ok, 60)
        assert [point["value"] for point in rest.get("metrics/get-history", run_id=run, metric_key="k")["metrics"]] == [2]


def test_a_job_that_ends_while_postgresql_is_away_is_written_down_when_it_is_back(postgres):
    with Server(store=postgres.database().url) as server:
        go = 'until [ -e "$HOME/go" ]; do sleep 0.02; done; exit 3'
        name = server.post("/api/v1/jobs", json={"command": go}).json()["name"]
        wait_for(lambda: server.get(f"/api/v1/jobs/{name}").json()["status"] == "Running", 60, "the job's start")
        postgres.stop("immediate")
        try:
            (server.data / "jobs" / name / "work" / "go").touch()
            wait_for(lambda: server.get("/readyz").status_code == 503, 20)
        finally:
            postgres.start()
        wait_for(lambda: server.get(f"/api/v1/jobs/{name}").json().get("status") == "Failed", 30, "the job's end")
        assert server.get(f"/api/v1/jobs/{name}").json()["exit_code"] == 3


@pytest.fixture
def small_disk():
    """A database whose tables lie on a disk of 24 MiB, and the folder of that disk."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk takes root")
    folder = pathlib.Path(tempfile.mkdtemp(prefix="lathe-small."))
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m,mode=711", "tmpfs", folder], capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip("this machine does not let us mount a small disk: " + mounted.stderr.strip())
    try:
        space = folder / "tables"
        space.mkdir(mode=0o700)
        shutil.chown(space, "postgres", "postgres")
        name = folder.name.replace(".", "_").replace("-", "_").lower()
        psql(shared_url(), f"CREATE TABLESPACE {name} LOCATION '{space}'")
        database = Database(shared_url(), f"TABLESPACE {name}")
        yield database, folder
        database.drop()
        psql(shared_url(), f"DROP TABLESPACE {name}")
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
        folder.rmdir()


def test_a_full_disk_of_postgresql_refuses_writes_and_the_server_goes_on(small_disk):
    database, folder = small_disk
    with Server(store=database.url) as server:
        assert server.post("/api/v1/tokens", json={"name": "before"}).status_code == 201
        with open(folder / "ballast", "wb") as ballast:
            try:
                while True:
                    ballast.write(b"\0" * 65536)
                    ballast.flush()
            except OSError:
                pass
        for _ in range(2000):  # what is left of the tables' last pages fills first
            answer = server.post("/api/v1/tokens", json={"name": secrets.token_hex(3000)})
            assert answer.status_code in (201, 507), answer.text
            if answer.status_code == 507:
                break
        assert answer.status_code == 507 and "full" in answer.json()["detail"]
        assert server.get("/api/v1/tokens").status_code == 200

        os.remove(folder / "ballast")
        assert server.post("/api/v1/tokens", json={"name": "after"}).status_code == 201
        names = [token["name"] for token in server.get("/api/v1/tokens").json()["value"]]
        assert "before" in names and "after" in names


# --- a commit whose answer is lost ---


class Proxy:
    """Stands before PostgreSQL's socket, and can cut a session off at its COMMIT: before PostgreSQL gets it, or after."""

    def __init__(self, url, folder):
        self.behind = pathlib.Path(url.split("host=")[1].split("&")[0]) / ".s.PGSQL.5432"
        self.url = url.replace(str(self.behind.parent), str(folder))
        self.cut = None  # "before", "after"
        self.cuts = 0
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / ".s.PGSQL.5432"))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client = self._listener.accept()[0]
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            try:
                server.connect(str(self.behind))
            except OSError:
                client.close()
                continue
            state = {"name": None, "swallow": False}
            threading.Thread(target=self._to_server, args=(client, server, state), daemon=True).start()
            threading.Thread(target=self._to_client, args=(client, server, state), daemon=True).start()

    def _to_server(self, client, server, state):
        """The mark that goes with each COMMIT of the writer is prepared once, and then run by its name."""
        while data := self._receive(client):
            prepared = re.search(rb"(s\d+)\0UPDATE store_lease SET commits", data)
            if prepared:
                state["name"] = prepared[1]
            bound = state["name"] is not None and b"\0" + state["name"] + b"\0" in data
            if bound and self.cut == "before":
                self.cut, self.cuts = None, self.cuts + 1
                break
            if bound and self.cut == "after":
                self.cut, self.cuts = None, self.cuts + 1
                state["swallow"] = True
            server.sendall(data)
        for end in (client, server):
            self._end(end)

    def _to_client(self, client, server, state):
        while data := self._receive(server):
            if state["swallow"]:
                break  # it has committed, and says so to nobody
            try:
                client.sendall(data)
            except OSError:
                break
        for end in (client, server):
            self._end(end)

    @staticmethod
    def _receive(end):
        try:
            return end.recv(1 << 16)
        except OSError:
            return b""

    @staticmethod
    def _end(end):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def close(self):
        self._listener.close()


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_session_lost_at_commit_is_found_out_about_and_the_write_done_once(database, tmp_path, moment):
    proxy = Proxy(database.url, tmp_path)
    try:
        with Server(store=proxy.url) as server:
            rest = Rest(server)
            rest.experiment("first")
            for number in range(3):
                cuts = proxy.cuts
                proxy.cut = moment
                # Done twice, it would be refused: the name is taken.
                assert rest.experiment(f"{moment} {number}") == str(2 + number)
                assert proxy.cuts == cuts + 1
            rest.post("experiments/create", {"name": f"{moment} 0"}, code=EXISTS)
        assert database.ask("SELECT count(*) FROM experiment") == ["5"]
    finally:
        proxy.close()


def test_a_proxy_that_stays_away_leaves_the_write_in_doubt_no_longer_than_needed(database, tmp_path):
    """The answer to a write whose COMMIT was lost waits for PostgreSQL's return, beyond the patience of other writes."""
    proxy = Proxy(database.url, tmp_path)
    with Server(store=proxy.url) as server:
        rest = Rest(server)
        rest.experiment("first")
        proxy.close()
        os.rename(tmp_path / ".s.PGSQL.5432", tmp_path / "away")
        proxy.cut = "after"
        answers = []
        asked = threading.Thread(target=lambda: answers.append(server.post("/api/2.0/mlflow/experiments/create", json={"name": "doubt"})))
        asked.start()
        wait_for(lambda: proxy.cuts == 1, 60, "the commit")
        other = server.post("/api/2.0/mlflow/experiments/create", json={"name": "other"})
        assert (other.status_code, answers) == (503, [])
        again = Proxy(database.url, tmp_path)
        asked.join(30)
        assert [answer.status_code for answer in answers] == [200]
        again.close()
    assert database.ask("SELECT name FROM experiment ORDER BY id") == ["Default", "first", "doubt"]
