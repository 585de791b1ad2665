"""Jobs on several nodes and with several processes: all start or none, one failure ends all, and the verdict says whose."""

import json
import os
import pathlib
import signal
import subprocess

import pytest

from job_helpers import cluster, ended, log_of, log_of_rank, losses, run, shims, show, spread, submit
from lathe_server import cmdline, wait_for

EXAMPLES = pathlib.Path(__file__).resolve().parents[3] / "examples"
VARIABLES = ("RANK", "LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT",
             "AZUREML_CR_NODE_RANK", "AZUREML_NODE_COUNT", "AZ_BATCH_HOST_LIST", "AZ_BATCH_MASTER_NODE", "LATHE_NODE")  # fmt: skip


@pytest.fixture(scope="module")
def nodes(server):
    """A cluster of up to two nodes of one core."""
    cores = sum(1 for _ in os.sched_getaffinity(0))
    if cores < 2:
        pytest.skip("two nodes need two cores")
    return cluster(server, max_instances=2)


def processes_of(server, name):
    return [pid for pid in server.processes() if f"/{name}/" in cmdline(pid)]


def test_torchs_variables_are_set_in_every_process(server, nodes):
    command = "".join(f"echo {name}=${name};" for name in VARIABLES)
    job, _ = run(server, command, compute=nodes, **spread("pytorch", process_count_per_instance=2))
    assert job["status"] == "Completed", job
    assert len(set(job["nodes"])) == 2
    seen = [dict(line.split("=", 1) for line in log_of_rank(server, job["name"], rank).split()) for rank in range(4)]
    assert [each["RANK"] for each in seen] == ["0", "1", "2", "3"]
    assert [each["LOCAL_RANK"] for each in seen] == ["0", "1", "0", "1"]
    assert [each["NODE_RANK"] for each in seen] == [each["AZUREML_CR_NODE_RANK"] for each in seen] == ["0", "0", "1", "1"]
    assert [each["LATHE_NODE"] for each in seen] == [job["nodes"][0]] * 2 + [job["nodes"][1]] * 2
    assert {each["WORLD_SIZE"] for each in seen} == {"4"} and {each["LOCAL_WORLD_SIZE"] for each in seen} == {"2"}
    [master] = {f'{each["MASTER_ADDR"]}:{each["MASTER_PORT"]}' for each in seen}
    assert {each["AZ_BATCH_MASTER_NODE"] for each in seen} == {master}
    assert {len(each["AZ_BATCH_HOST_LIST"].split(",")) for each in seen} == {2}
    assert {each["AZUREML_NODE_COUNT"] for each in seen} == {"2"}


def test_a_node_is_a_slice_with_limits_of_its_own(server, nodes):
    command = "grep -E '(cpu,|cpu:|:cpu|0::)' /proc/self/cgroup | sort; echo threads $OMP_NUM_THREADS"
    job, first = run(server, command, compute=nodes, **spread())
    second = log_of_rank(server, job["name"], 1)
    assert job["status"] == "Completed"
    assert first != second, "both nodes' processes are in one cgroup"
    assert "threads 1\n" in first and "threads 1\n" in second


def test_without_a_distribution_the_command_runs_once_on_each_node(server, nodes):
    job, _ = run(server, "echo node $AZUREML_CR_NODE_RANK >> $HOME/ran; echo here", compute=nodes, **spread())
    assert job["status"] == "Completed"
    ran = (server.data / "jobs" / job["name"] / "work/ran").read_text()
    assert sorted(ran.splitlines()) == ["node 0", "node 1"]
    assert log_of_rank(server, job["name"], 1) == "here\n"


def test_several_processes_run_on_local_too(server):
    job, log = run(server, "echo $RANK of $WORLD_SIZE", distribution={"type": "PyTorch", "process_count_per_instance": 3})
    assert (job["status"], log) == ("Completed", "0 of 3\n")
    assert log_of_rank(server, job["name"], 2) == "2 of 3\n"
    assert server.get(f"/api/v1/jobs/{job['name']}/log", params={"rank": 3}).status_code == 400


def test_tensorflows_config_names_every_task_and_servers_are_ended(server, nodes):
    command = ("echo \"$TF_CONFIG\"; case \"$TF_CONFIG\" in *'\"type\":\"ps\"'*) touch $HOME/serving; exec sleep 600;; esac; "
               "until [ -e $HOME/serving ]; do sleep 0.02; done")  # fmt: skip
    job, _ = run(server, command, compute=nodes, **spread("tensorflow", worker_count=2, parameter_server_count=1))
    assert job["status"] == "Completed", job
    configs = [json.loads(log_of_rank(server, job["name"], rank).splitlines()[0]) for rank in range(3)]
    assert [each["task"] for each in configs] == [{"type": "worker", "index": 0}, {"type": "worker", "index": 1}, {"type": "ps", "index": 0}]
    [everywhere] = {json.dumps(each["cluster"]) for each in configs}
    addresses = [address for kind in json.loads(everywhere).values() for address in kind]
    assert len(addresses) == len(set(addresses)) == 3


def test_one_ranks_failure_ends_all_and_the_verdict_says_whose(server, nodes):
    command = ('if [ $RANK = 3 ]; then until [ -e $HOME/up-0 ] && [ -e $HOME/up-1 ] && [ -e $HOME/up-2 ]; do sleep 0.02; done; '
               'echo "no such batch"; exit 7; fi; trap "echo asked; exit 1" TERM; touch $HOME/up-$RANK; while :; do sleep 0.02; done')  # fmt: skip
    job, log = run(server, command, compute=nodes, **spread("pytorch", process_count_per_instance=2))
    assert (job["status"], job["exit_code"]) == ("Failed", 7)
    assert job["error"].startswith(f"Rank 3 on the node {job['nodes'][1]} failed and ended the job."), job["error"]
    assert "status 7" in job["error"] and "The last lines of rank 3:\nno such batch" in job["error"]
    for rank in range(3):
        assert "asked" in log_of_rank(server, job["name"], rank)


def test_a_cancel_reaches_all_processes(server, nodes):
    name = submit(server, "echo up; exec sleep 600", compute=nodes, **spread("pytorch", process_count_per_instance=2))["name"]
    for rank in range(4):
        wait_for(lambda: log_of_rank(server, name, rank) == "up\n", what=f"rank {rank} printing")
    server.post(f"/api/v1/jobs/{name}/cancel")
    assert ended(server, name)["status"] == "Canceled"
    assert processes_of(server, name) == []


def test_a_time_limit_reaches_all_processes(server, nodes):
    job, _ = run(server, "exec sleep 600", compute=nodes, limits={"timeout": 1}, **spread("pytorch"))
    assert job["status"] == "Failed" and "limits.timeout" in job["error"], job
    assert processes_of(server, job["name"]) == []


def test_a_lost_node_ends_all_processes_and_the_job_starts_again_on_as_many_nodes(server, nodes):
    command = '[ -e "$LATHE_CHECKPOINT_DIR/again" ] && exit 0; echo up; exec sleep 600'
    name = submit(server, command, compute=nodes, **spread("pytorch"))["name"]
    wait_for(lambda: log_of_rank(server, name, 1) == "up\n", what="rank 1 printing")
    [shim] = [pid for pid in shims(server, name) if cmdline(pid).rstrip("\0").find("/node-1") > 0]
    (server.data / "jobs" / name / "checkpoint" / "again").touch()
    os.kill(shim, signal.SIGKILL)
    job = ended(server, name)
    assert (job["status"], job["attempt"], len(job["nodes"])) == ("Completed", 2, 2), job
    assert processes_of(server, name) == []


def test_each_processs_log_is_among_the_jobs_files(server, nodes):
    job, _ = run(server, "echo rank $RANK", compute=nodes, **spread("pytorch", process_count_per_instance=2))
    files = {each["path"]: each["size"] for each in server.get(f"/api/v1/jobs/{job['name']}/files").json()["value"]}
    logs = "logs/user_logs/"
    assert {path for path in files if path.startswith(logs)} == {logs + "std_log.txt", *(f"{logs}std_log_process_{i}.txt" for i in range(4))}
    assert server.get(f"/api/v1/jobs/{job['name']}/files/{logs}std_log_process_2.txt").text == "rank 2\n"
    assert server.cli("job", "stream", "-n", job["name"], "--rank", "3").stdout == "rank 3\n"
    assert server.cli("job", "stream", "-n", job["name"]).stdout == "rank 0\n"


def test_what_no_cluster_can_give_is_refused(server, nodes):
    refused = submit(server, "true", expect=400, **spread("pytorch"))
    assert refused["detail"].startswith("resources.instance_count: local is one node")
    for distribution, field in (({"type": "ray"}, "distribution.type"), ({"type": "mpi", "worker_count": 1}, "distribution.worker_count"),
                                ({"type": "pytorch", "process_count_per_instance": 0}, "distribution.process_count_per_instance")):  # fmt: skip
        assert submit(server, "true", expect=400, distribution=distribution)["detail"].startswith(field + ":")


def test_an_input_by_url_is_fetched_once_for_all(server, nodes, tmp_path):
    import http.server
    import threading

    asked = []

    class Files(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", "4")
            self.end_headers()
            self.wfile.write(b"data")

        def log_message(self, *_):
            pass

    site = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Files)
    threading.Thread(target=site.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{site.server_address[1]}/file"
        job, _ = run(server, "cat ${{inputs.d}}", compute=nodes, inputs={"d": {"type": "uri_file", "path": url}},
                     **spread("pytorch", process_count_per_instance=2))  # fmt: skip
        assert job["status"] == "Completed", job
        logs = [log_of_rank(server, job["name"], rank) for rank in range(4)]
        assert logs[0].endswith("\ndata") and logs[1:] == ["data"] * 3
        assert asked == ["/file"]
    finally:
        site.shutdown()


# --- crashes ---


def test_all_nodes_are_found_again_after_a_kill_of_the_server(fresh_server):
    server = fresh_server
    name = cluster(server, max_instances=2)
    command = 'echo up; until [ -e $HOME/go ]; do sleep 0.02; done; echo down; exit $((RANK == 3 ? 5 : 0))'
    job = submit(server, command, compute=name, **spread("pytorch", process_count_per_instance=2))["name"]
    wait_for(lambda: all("up" in log_of_rank(server, job, rank) for rank in range(4)), what="all ranks printing")
    server.kill9()
    server.restart()
    assert show(server, job)["status"] == "Running"
    (server.data / "jobs" / job / "work/go").touch()
    seen = ended(server, job)
    assert (seen["status"], seen["exit_code"]) == ("Failed", 5) and seen["error"].startswith("Rank 3 on"), seen
    assert log_of_rank(server, job, 3) == "up\ndown\n"


@pytest.mark.parametrize("rounds", [6, pytest.param(60, marks=pytest.mark.long)])
def test_a_kill_at_any_moment_of_the_start_runs_all_nodes_once_or_none(fresh_server, rounds):
    server = fresh_server
    name = cluster(server, max_instances=2)
    jobs = []
    for number in range(rounds):
        jobs.append(submit(server, "echo $RANK >> $HOME/ran; echo done", compute=name, **spread("pytorch"))["name"])
        # The kill comes a little later each time, from before the placing to after the end.
        subprocess.run(["sleep", str(0.004 * (number % 12))], check=True)
        server.kill9()
        server.restart()
    for job in jobs:
        seen = ended(server, job, limit_s=60)
        assert seen["status"] == "Completed", seen
        ran = (server.data / "jobs" / job / "work/ran").read_text().split()
        assert sorted(ran) == ["0", "1"], f"{job}: {ran}"
        assert [log_of_rank(server, job, rank) for rank in range(2)] == ["done\n"] * 2


# --- real programs ---


def example(server, folder, compute, **document):
    """Runs an example's code with its command."""
    import yaml

    job = yaml.safe_load((EXAMPLES / folder / "job.yml").read_text())
    job.update(code=str(EXAMPLES / folder / "src"), compute=compute, **document)
    name = server.post("/api/v1/jobs", json=job).json()["name"]
    return ended(server, name, limit_s=150), name


def test_a_torch_training_has_the_same_losses_on_one_two_and_four_ranks(server, nodes):
    pytest.importorskip("torch")
    curves = []
    for count, each in ((1, 1), (2, 1), (2, 2)):
        job, name = example(server, "nodes-torch", nodes, resources={"instance_count": count},
                            distribution={"type": "pytorch", "process_count_per_instance": each})  # fmt: skip
        assert job["status"] == "Completed", job
        curves.append(losses(server, name))
    assert len(curves[0]) == 40 and curves[0][-1] < curves[0][0] / 100
    assert curves[1] == pytest.approx(curves[0], rel=1e-9)
    assert curves[2] == pytest.approx(curves[0], rel=1e-9)


def test_an_mpi_program_runs_on_both_nodes_through_mpirun(server, nodes):
    pytest.importorskip("mpi4py")
    job, name = example(server, "nodes-mpi", nodes)
    assert job["status"] == "Completed", job
    assert "pi is 3.14159265" in log_of(server, name)
    logs = [server.get(f"/api/v1/jobs/{name}/files/logs/user_logs/std_log_process_{rank}.txt").text for rank in range(4)]
    where = [job["nodes"][0]] * 2 + [job["nodes"][1]] * 2
    assert [log.splitlines()[0] for log in logs] == [f"rank {rank} of 4 on {where[rank]}" for rank in range(4)]


def test_a_failing_mpi_rank_is_named(server, nodes):
    pytest.importorskip("mpi4py")
    job, _ = run(server, 'if [ $OMPI_COMM_WORLD_RANK = 2 ]; then echo "no such cell"; exit 9; fi; exec sleep 600',
                 compute=nodes, **spread("mpi", process_count_per_instance=2))  # fmt: skip
    assert (job["status"], job["exit_code"]) == ("Failed", 9), job
    assert job["error"].startswith(f"Rank 2 on the node {job['nodes'][1]} failed"), job["error"]
    assert "no such cell" in job["error"]
    assert processes_of(server, job["name"]) == []


def test_cancelling_an_mpi_job_leaves_nothing(server, nodes):
    pytest.importorskip("mpi4py")
    name = submit(server, "echo up; exec sleep 600", compute=nodes, **spread("mpi"))["name"]
    wait_for(lambda: log_of(server, name).count("up\n") == 2, 30, "both ranks printing")
    server.post(f"/api/v1/jobs/{name}/cancel")
    assert ended(server, name)["status"] == "Canceled"
    assert processes_of(server, name) == []
