"""Jobs over several nodes of a Slurm cluster: all start or none, one failure ends all."""

import hashlib
import pathlib
import re

import pytest

from job_helpers import ended, log_of_rank, losses, run, show, spread, submit
from lathe_server import wait_for

EXAMPLES = pathlib.Path(__file__).resolve().parents[3] / "examples"


def test_every_process_knows_its_place_and_the_master(slurm):
    command = "echo $RANK $LOCAL_RANK $NODE_RANK $WORLD_SIZE $LATHE_NODE $(hostname) $MASTER_ADDR:$MASTER_PORT"
    job, _ = run(slurm, command, compute="main", **spread("pytorch", process_count_per_instance=2))
    assert job["status"] == "Completed", job
    seen = [log_of_rank(slurm, job["name"], rank).split() for rank in range(4)]
    first, second = job["nodes"]
    assert [each[:4] for each in seen] == [["0", "0", "0", "4"], ["1", "1", "0", "4"], ["2", "0", "1", "4"], ["3", "1", "1", "4"]]
    assert [each[4] for each in seen] == [each[5] for each in seen] == [first, first, second, second]
    [master] = {each[6] for each in seen}
    assert master.startswith(f"10.77.0.{10 + int(first[1:])}:")


def test_one_nodes_failure_ends_the_others_and_the_verdict_says_whose(slurm):
    command = "if [ $AZUREML_CR_NODE_RANK = 1 ]; then sleep 1; exit 9; fi; trap 'exit 1' TERM; while :; do sleep 0.1; done"
    job, _ = run(slurm, command, compute="main", **spread())
    assert (job["status"], job["exit_code"]) == ("Failed", 9)
    assert job["nodes"][1] in job["error"]
    wait_for(lambda: not slurm.cluster.queue(), 30, "an empty queue")


def test_nodes_may_leave_files_of_the_same_name(slurm):
    """This test is both nodes of a job that Slurm does not start, so that their pieces come in turns."""
    slurm.cluster.run("scontrol", "update", "partitionname=main", "state=down")
    try:
        name = submit(slurm, "true", compute="main", **spread())["name"]
        [(number, _, _)] = wait_for(slurm.cluster.queue, 60, "the job in the queue")
        script = slurm.cluster.run("scontrol", "write", "batch_script", number, "-")
        attempt, token = (re.search(f"LATHE_ATTEMPT_{what}='(.*)'", script)[1] for what in ("URL", "TOKEN"))

        def say(number, path, expect=200, data=b"", **params):
            answer = slurm.post("/" + attempt.split("/", 3)[3] + path, headers={"Authorization": f"Bearer {token}"}, data=data,
                                params={"instance": f"program-{number}", **params})  # fmt: skip
            assert answer.status_code == expect, answer.text
            return answer.text

        for node, status in ((0, 202), (1, 200), (0, 200)):
            say(node, "/claim", status, version=1, node=node, nodes=2, host=f"n{node + 1}", folder="/tmp/it", address="127.0.0.1", ports="4000")
        for node in (0, 1):
            say(node, f"/nodes/{node}/report", state="running", log=0, offset=0)
        files = [bytes([65 + node]) * (5 << 20) for node in (0, 1)]
        for begin, end in ((0, 4 << 20), (4 << 20, 5 << 20)):
            for node, content in enumerate(files):
                piece = content[begin:end]
                said = say(node, f"/nodes/{node}/outputs/work/code/outputs/same", data=piece, offset=begin, size=len(content),
                           sha256=hashlib.sha256(piece).hexdigest())  # fmt: skip
                assert said == f"have={end}\ndone={end // len(content)}\n"
        for node in (0, 1):
            say(node, f"/nodes/{node}/end", data=b'{"version":1,"reason":"exited","code":0,"started_us":1000000,"ended_us":2000000}\n')
        assert ended(slurm, name)["status"] == "Completed"
        assert slurm.get(f"/api/v1/jobs/{name}/files/artifacts/outputs/same").content == files[1]
    finally:
        slurm.cluster.run("scontrol", "update", "partitionname=main", "state=up")


def test_cancelling_ends_all_nodes(slurm):
    name = submit(slurm, "echo up; sleep 300", compute="main", **spread(count=3))["name"]
    wait_for(lambda: all("up" in log_of_rank(slurm, name, rank) for rank in range(3)) if show(slurm, name)["status"] == "Running" else None,
             30, "all nodes running")  # fmt: skip
    slurm.post(f"/api/v1/jobs/{name}/cancel")
    assert ended(slurm, name, limit_s=40)["status"] == "Canceled"
    wait_for(lambda: not slurm.cluster.queue(), 30, "an empty queue")


@pytest.mark.long
def test_a_torch_training_has_the_same_losses_on_one_two_and_four_ranks(slurm):
    curves = []
    for count, each in ((1, 1), (2, 1), (2, 2)):
        document = spread("pytorch", count=count, process_count_per_instance=each)
        job, _ = run_long(slurm, "/usr/bin/python3 train.py", EXAMPLES / "nodes-torch" / "src", **document)
        assert job["status"] == "Completed", job
        curves.append(losses(slurm, job["name"]))
    assert len(curves[0]) == 40 and curves[0][-1] < curves[0][0] / 100
    for curve in curves[1:]:
        assert curve == pytest.approx(curves[0], rel=1e-9)


@pytest.mark.long
def test_open_mpi_runs_over_two_nodes(slurm):
    document = spread("mpi", process_count_per_instance=2)
    job, log = run_long(slurm, "/usr/bin/python3 pi.py", EXAMPLES / "nodes-mpi" / "src", **document)
    assert job["status"] == "Completed", job
    assert "pi is 3.14159265" in log
    # Ranks may print into each other's lines.
    assert sorted(re.findall(r" on (n\d)", log)) == sorted([*job["nodes"]] * 2)


def run_long(slurm, command, code, **document):
    name = submit(slurm, command, code=str(code), compute="main", **document)["name"]
    job = ended(slurm, name, limit_s=150)
    return job, log_of_rank(slurm, name, 0)
