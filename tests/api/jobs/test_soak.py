"""A soak: many short jobs while shims, jobs and the server are killed at random. Every job ends in the right state, once,
with its whole log, and nothing is left behind."""

import os
import pathlib
import random
import signal
import threading

import pytest

from job_helpers import ENDED, cluster, log_of, show, submit
from lathe_server import Server, cmdline, wait_for

LINES = 20


def test_a_short_soak():
    soak(jobs=200, seed=random.randrange(1 << 30))


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_long_soak():
    soak(jobs=5000, seed=random.randrange(1 << 30))


def command(number, code, delay):
    """Notes that it ran, prints lines that no other job prints, and ends with a status of its own."""
    return (f"echo x >> $HOME/runs; for i in $(seq {LINES}); do echo {number} $i; done; "
            f"[ {delay} = 0 ] || sleep {delay}; echo end {number}; exit {code}")  # fmt: skip


class Killer:
    """Kills the shim or the first process of a job that runs, in turn; it remembers whose."""

    def __init__(self, server, chance):
        self.server, self.chance = server, chance
        self.shims, self.programs = set(), set()
        self.next = self.kill_shim

    def strike(self):
        running = shims(self.server)
        if running:
            shim, name = self.chance.choice(running)
            self.next(shim, name)
            self.next = self.kill_program if self.next == self.kill_shim else self.kill_shim

    def kill_shim(self, shim, name):
        self.shims.add(name)
        kill(shim)

    def kill_program(self, shim, name):
        for pid in children(shim):
            self.programs.add(name)
            kill(pid)


def shims(server):
    """The shims that run, each with its job's name. A command line is read once: its process may end at any moment."""
    lines = [(pid, cmdline(pid)) for pid in server.processes()]
    return [(pid, line.split("/attempt-")[0].rsplit("/", 1)[1]) for pid, line in lines if "/attempt-" in line]


def kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def children(pid):
    try:
        return [int(child) for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def mounts_below(folder):
    return [line for line in pathlib.Path("/proc/self/mounts").read_text().splitlines() if str(folder) in line]


def soak(jobs, seed):
    chance = random.Random(seed)
    with Server() as server:
        print(f"seed {seed}")
        clusters = ["local", cluster(server, max_instances=2)]
        killer = Killer(server, chance)
        wanted = {}
        restarts = max(3, jobs // 60)
        restart_at = sorted(chance.sample(range(jobs), restarts))
        for number in range(jobs):
            code, delay = chance.choice((0, 0, 0, 3)), chance.choice(("0", "0", "0.05", "0.3"))
            name = submit(server, command(number, code, delay), compute=chance.choice(clusters))["name"]
            wanted[name] = (number, code)
            if chance.random() < 0.15:
                killer.strike()
            if restart_at and number == restart_at[0]:
                restart_at.pop(0)
                # At whatever moment of whichever job: the kill comes while others are being started and ended.
                timer = threading.Timer(chance.random() * 0.05, server.process.kill)
                timer.start()
                timer.join()
                server.kill9()
                server.restart()

        assert killer.shims and killer.programs, "nothing was killed"
        for name, (number, code) in wanted.items():
            job = wait_for(lambda: ended_or_none(server, name), 120, f"the end of {name}")
            check(server, job, number, code, name in killer.shims, name in killer.programs, seed)

        wait_for(lambda: not shims(server), 60, "the end of the last shim")
        assert mounts_below(server.data) == []
        left = [folder for name in wanted for folder in (server.data / "jobs" / name).iterdir()
                if folder.name != "work" and not folder.name.startswith("attempt-")]  # fmt: skip
        assert left == []
        names = {line.split(b"=", 1)[1].decode() for name in wanted for spec in (server.data / "jobs" / name).glob("attempt-*/spec")
                 for line in spec.read_bytes().split(b"\0") if line.startswith(b"group=")}  # fmt: skip
        assert not [group for group in names if os.path.exists(group)], "cgroups are left"


def ended_or_none(server, name):
    job = show(server, name)
    return job if job["status"] in ENDED else None


def check(server, job, number, code, shim_killed, program_killed, seed):
    """The right state, exactly one run, the whole log."""
    where = f"seed {seed}: {job['name']}: {job.get('error')}"
    name = job["name"]
    whole = "".join(f"{number} {i}\n" for i in range(1, LINES + 1)) + f"end {number}\n"
    own = (job["status"], job["exit_code"]) == (("Failed", code) if code else ("Completed", 0)) if job.get("exit_code") is not None else False
    lost = job["status"] == "Failed" and any(word in job.get("error", "") for word in ("lost", "could not be started"))
    killed = job["status"] == "Failed" and "signal 9" in job.get("error", "")
    # While a job starts, what looks like its shim may be about to become its program, and a child of it the shim.
    assert own or ((shim_killed or program_killed) and (lost or killed)), where
    log = log_of(server, name)
    assert log == whole if own else whole.startswith(log), where
    runs = server.data / "jobs" / name / "work/runs"
    ran = runs.read_text() if runs.exists() else ""
    assert ran == "x\n" if own else ran in ("", "x\n"), f"{where}: it ran {len(ran) // 2} times"
