"""What breaks on a cluster loses no job and runs none twice. Each job appends to a file on its node that outlives it."""

import contextlib
import os

import pytest

from job_helpers import ended, log_of, show, submit, until, until_log
from lathe_server import wait_for


@pytest.fixture
def slurm(fresh_slurm):
    return fresh_slurm


def wait_at(file):
    return f"until [ -e /tmp/{file} ]; do sleep 0.1; done"


def go(slurm, name, node=None):
    """Lets a job that waits for /tmp/NAME go on."""
    slurm.cluster.on_node(node or show(slurm, name)["node"], "touch", f"/tmp/{name}")


def held(slurm, name, command="echo up", after="echo done", **document):
    """Submits a job that prints "up", waits until `go`, and prints "done"."""
    return submit(slurm, f"{counted(name)}; {command}; {wait_at(name)}; {after}", name=name, compute="main", **document)["name"]


def counted(name):
    """A command that notes on its node that the job ran; `runs` counts that, over all nodes."""
    return f"echo ran >> /tmp/ran-{name}"


def runs(slurm, name):
    look = f"cat /tmp/ran-{name} 2>/dev/null || true"
    return sum(slurm.cluster.on_node(node, "sh", "-c", look).count("ran\n") for node in ("n1", "n2", "n3"))


@contextlib.contextmanager
def ends_with_a_sound_controller(cluster):
    """Whatever a test does to the controller, jobs of the next one get numbers that no node has ever seen."""
    try:
        yield
    finally:
        cluster.verb("ctld-on", check=False)
        cluster.verb("ctld-renew")


def test_a_job_goes_on_while_the_server_is_away(slurm):
    name = held(slurm, "away", after="echo done; exit 5")
    until_log(slurm, name, "up")
    slurm.kill9()
    slurm.restart()
    assert show(slurm, name)["status"] == "Running"
    go(slurm, name)
    job = ended(slurm, name)
    assert (job["status"], job["exit_code"], log_of(slurm, name)) == ("Failed", 5, "up\ndone\n")
    assert runs(slurm, name) == 1


def test_a_job_that_ended_while_the_server_was_away_is_told_of_later(slurm):
    name = held(slurm, "ended-away", after="echo done; touch /tmp/over")
    until_log(slurm, name, "up")
    node = show(slurm, name)["node"]
    slurm.kill9()
    go(slurm, name, node)
    wait_for(lambda: "over" in slurm.cluster.on_node(node, "ls", "/tmp"), what="the job's end")
    slurm.restart()
    assert (ended(slurm, name)["status"], log_of(slurm, name)) == ("Completed", "up\ndone\n")
    assert runs(slurm, name) == 1


def test_a_server_without_slurm_leaves_its_jobs_there_as_they_are(slurm):
    name = held(slurm, "left")
    until_log(slurm, name, "up")
    node = show(slurm, name)["node"]
    connected = slurm.flags
    slurm.kill9()
    slurm.flags = connected[2:]
    slurm.restart()
    job = show(slurm, name)
    assert job["status"] == "Running" and "not connected to Slurm" in job["notice"]
    assert "not connected" in submit(slurm, "true", expect=409, compute="main")["detail"]
    assert slurm.post("/api/v1/attempts/any-1/nodes/0/report").status_code == 503  # upon which nodes try again
    assert slurm.delete("/api/v1/compute/main").status_code == 409
    slurm.kill9()
    slurm.flags = connected
    slurm.restart()
    go(slurm, name, node)
    assert (ended(slurm, name)["status"], log_of(slurm, name)) == ("Completed", "up\ndone\n")
    assert runs(slurm, name) == 1


def test_what_a_crash_took_of_a_log_is_sent_again(slurm):
    name = held(slurm, "cut-log", command="for i in $(seq 100); do echo line $i; done; echo up")
    until_log(slurm, name, "up")
    slurm.kill9()
    [log] = [path for path in (slurm.data / "jobs").resolve().rglob("log") if "line 100" in path.read_text()]
    os.truncate(log, 100)
    slurm.restart()
    go(slurm, name)
    assert ended(slurm, name)["status"] == "Completed"
    assert log_of(slurm, name) == "".join(f"line {i}\n" for i in range(1, 101)) + "up\ndone\n"
    assert runs(slurm, name) == 1


def test_a_server_killed_while_it_submits_submits_once(slurm):
    """The kill comes at every moment around sbatch; each job runs once."""
    names = []
    for number in range(6):
        name = f"once-{number}"
        answer = submit(slurm, f"{counted(name)}; hostname; sleep 0.2", name=name, compute="main")
        names.append(answer["name"])
        slurm.kill9()
        slurm.restart()
    for name in names:
        assert ended(slurm, name, limit_s=60)["status"] == "Completed"
        assert len(log_of(slurm, name).splitlines()) == 1
    wait_for(lambda: not slurm.cluster.queue(), 30, "an empty queue")
    assert [runs(slurm, name) for name in names] == [1] * len(names)


def test_a_broken_connection_is_taken_up_again(slurm):
    name = submit(slurm, "for i in $(seq 60); do echo line $i; sleep 0.05; done", compute="main")["name"]
    until_log(slurm, name, "line 5\n")
    for mark in ("line 20\n", "line 40\n"):
        slurm.bridge.cut()
        until_log(slurm, name, mark)
    assert ended(slurm, name)["status"] == "Completed"
    assert log_of(slurm, name) == "".join(f"line {i}\n" for i in range(1, 61))


def test_slurmctld_killed_right_after_a_submission_loses_no_job(slurm):
    names = []
    with ends_with_a_sound_controller(slurm.cluster):
        for number in range(3):
            names.append(submit(slurm, "hostname; sleep 0.5", name=f"ctld-{number}", compute="main")["name"])
            wait_for(lambda: f"submitted job=ctld-{number} " in slurm.log.read_text(), what="sbatch's answer")
            slurm.cluster.verb("ctld-kill")
            slurm.cluster.verb("ctld-on")
        for name in names:
            assert ended(slurm, name, limit_s=90)["status"] == "Completed", slurm.log_tail()
            assert len(log_of(slurm, name).splitlines()) == 1


def test_what_a_controller_cancels_that_came_back_unnoticed_gets_another_attempt(slurm):
    """A killed controller gives numbers twice; a node that knows one refuses it, and Slurm cancels the job before it began."""
    slurm.bridge.refuse()  # so that its nodes never get through to the server
    name = held(slurm, "unnoticed")
    wait_for(lambda: [state for _, _, state in slurm.cluster.queue()] == ["RUNNING"], 60, "its nodes")
    slurm.kill9()  # so that it certainly sees nothing of it
    slurm.cluster.verb("ctld-renew")
    slurm.cluster.run("scancel", "--user=root")
    slurm.restart()
    slurm.bridge.accept()
    wait_for(lambda: show(slurm, name)["attempt"] == 2, 60, "the second attempt")
    until_log(slurm, name, "up", limit_s=60)
    go(slurm, name)
    assert (ended(slurm, name, limit_s=60)["status"], runs(slurm, name)) == ("Completed", 1)


def test_what_somebody_cancels_just_after_the_controller_came_back_is_cancelled(slurm):
    slurm.cluster.verb("ctld-renew")
    running, waiting = (submit(slurm, "echo up; sleep 300", compute="main", resources={"instance_count": 3})["name"] for _ in range(2))
    until_log(slurm, running, "up")
    wait_for(lambda: len(slurm.cluster.queue()) == 2, what="both jobs in Slurm")
    slurm.cluster.run("scancel", "--user=root")
    assert [ended(slurm, name)["status"] for name in (running, waiting)] == ["Canceled", "Canceled"]


def test_what_is_ended_by_nobodys_wish_gets_another_attempt(slurm):
    """As when Slurm's own programs lose each other: the job's step is ended, and nobody has cancelled the job."""
    name = held(slurm, "ended")
    until_log(slurm, name, "up")
    [(number, _, _)] = slurm.cluster.queue()
    slurm.cluster.run("scancel", "--signal=TERM", "--batch", number)
    wait_for(lambda: (job := show(slurm, name))["attempt"] == 2 and job["status"] == "Running", 60, "the second attempt")
    until_log(slurm, name, "up")
    go(slurm, name)
    assert (ended(slurm, name)["status"], log_of(slurm, name)) == ("Completed", "up\ndone\n")
    assert runs(slurm, name) == 2


def test_a_job_that_slurm_preempts_gets_another_attempt_with_its_checkpoint(slurm):
    name = held(slurm, "preempted", command="cat $LATHE_CHECKPOINT_DIR/epoch; echo 7 > $LATHE_CHECKPOINT_DIR/epoch; echo up")
    until_log(slurm, name, "up")
    urgent = slurm.cluster.run("sbatch", "--parsable", "--partition=urgent", "--nodes=3", "--exclusive", "--output=/dev/null",
                               "--chdir=/", "--wrap=sleep 600").strip()  # fmt: skip
    wait_for(lambda: (urgent, "RUNNING") in [(number, state) for number, _, state in slurm.cluster.queue()], 60, "the urgent job")
    wait_for(lambda: (job := show(slurm, name))["attempt"] == 2 and job["status"] != "Running", 60, "the second attempt, waiting")
    slurm.cluster.run("scancel", urgent)
    until_log(slurm, name, "7\nup")
    go(slurm, name)
    assert (ended(slurm, name)["status"], runs(slurm, name)) == ("Completed", 2)


def test_while_slurm_is_away_jobs_keep_their_last_known_state(slurm):
    running = held(slurm, "kept")
    until_log(slurm, running, "up")
    with ends_with_a_sound_controller(slurm.cluster):
        slurm.cluster.verb("ctld-kill")
        waiting = submit(slurm, "echo later", compute="main")["name"]
        wait_for(lambda: "cannot be reached" in (show(slurm, waiting).get("waiting_for") or ""), 60, "the trouble being said")
        assert show(slurm, running)["status"] == "Running"
        assert "cannot be reached" in show(slurm, running)["notice"]
        go(slurm, running)
        assert ended(slurm, running)["status"] == "Completed"  # its own word for it is enough
        slurm.cluster.verb("ctld-on")
        assert ended(slurm, waiting, limit_s=60)["status"] == "Completed"
        assert log_of(slurm, waiting) == "later\n"


@pytest.mark.long
@pytest.mark.timeout(240)
def test_a_node_that_loses_its_power_gets_its_job_a_second_attempt(slurm):
    name = held(slurm, "power")
    until_log(slurm, name, "up")
    node = show(slurm, name)["node"]
    slurm.cluster.verb("node-off", node)
    try:
        again = wait_for(lambda: (job := show(slurm, name))["status"] == "Running" and job["node"] != node and job, 120, "another node")
        until_log(slurm, name, "up")
        go(slurm, name, again["node"])
        assert ended(slurm, name)["status"] == "Completed"
        assert log_of(slurm, name) == "up\ndone\n"
    finally:
        slurm.cluster.verb("node-on", node)


@pytest.mark.long
@pytest.mark.timeout(240)
def test_a_node_cut_off_and_back_again_reports_nothing_that_counts(slurm):
    name = held(slurm, "cut", command="echo up on $(hostname)")
    until_log(slurm, name, "up on")
    node = show(slurm, name)["node"]
    slurm.cluster.verb("net-cut", node)
    try:
        again = wait_for(lambda: (job := show(slurm, name))["status"] == "Running" and job["node"] != node and job, 120, "another node")
    finally:
        slurm.cluster.verb("net-mend", node)
    go(slurm, name, node)  # the first attempt goes on, too
    wait_for(lambda: "lathe-remote" not in slurm.cluster.on_node(node, "ps", "-eo", "args"), 60, "the first attempt's end")
    assert show(slurm, name)["status"] == "Running"
    go(slurm, name, again["node"])
    assert ended(slurm, name)["status"] == "Completed"
    assert log_of(slurm, name) == f"up on {again['node']}\ndone\n"
