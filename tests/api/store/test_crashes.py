"""kill -9 of the server, or of PostgreSQL, under full load: nothing acknowledged is lost, doubled or halved."""

import random
import time

import pytest
from lathe_server import Server, wait_for
from load import Load
from mlflow_rest import Rest
from postgres_server import Postgres


@pytest.fixture(params=["sqlite", "postgresql"])
def stored(request):
    """A server on each of the stores."""
    with Server(store=request.param) as server:
        yield server


def kill_and_check(server, rounds):
    seed = random.randrange(1 << 30)
    chance = random.Random(seed)
    with Load(server, Rest(server)) as load:
        for _ in range(rounds):
            before = load.acknowledged()
            wait_for(lambda: load.acknowledged() > before, 30, f"a write after a restart (seed {seed})")
            time.sleep(chance.random() * 0.3)  # the moment of the kill
            server.kill9()
            server.restart()
    load.check()


def test_kills_of_the_server_lose_double_and_halve_nothing(stored):
    kill_and_check(stored, rounds=3)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_hundred_kills_of_the_server(stored):
    kill_and_check(stored, rounds=100)


def kill_postgres_and_check(rounds):
    seed = random.randrange(1 << 30)
    chance = random.Random(seed)
    with Postgres() as postgres, Server(store=postgres.database().url) as server:
        with Load(server, Rest(server)) as load:
            for turn in range(rounds):
                before = load.acknowledged()
                wait_for(lambda: load.acknowledged() > before, 30, f"a write after a restart (seed {seed})")
                time.sleep(chance.random() * 0.3)  # the moment of the kill
                if turn % 2 == 0:
                    postgres.kill9()
                else:
                    postgres.stop("fast")
                postgres.start()
            before = load.acknowledged()
            wait_for(lambda: load.acknowledged() > before, 30, "a write after the last restart")
        load.check()


def test_kills_and_restarts_of_postgresql_lose_double_and_halve_nothing():
    kill_postgres_and_check(rounds=2)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_hundred_kills_and_restarts_of_postgresql():
    kill_postgres_and_check(rounds=100)
