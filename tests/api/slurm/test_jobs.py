"""Jobs on a real Slurm cluster whose nodes share nothing with the server but the network."""

import http.client
import re

from job_helpers import ended, log_of, run, show, submit, until, until_log
from lathe_server import wait_for


def test_a_job_runs_on_a_node_with_its_code_and_leaves_its_output(slurm, tmp_path):
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "work.py").write_text("import socket; print('on', socket.gethostname()); open('made', 'w').write('x')\n")
    (tmp_path / "code").chmod(0o755)
    (tmp_path / "data.txt").write_text("some data\n")
    job = slurm.cli("job", "create", "-f", write_job(tmp_path), "--stream").stdout
    assert "on n" in job and "some data" in job
    assert show(slurm, "with-files")["status"] == "Completed"
    left = slurm.get("/api/v1/jobs/with-files/files/named-outputs/made/result.txt")
    assert left.content == b"some data\n" * 2


def write_job(folder):
    document = folder / "job.yml"
    document.write_text(
        "type: command\n"
        "name: with-files\n"
        "compute: azureml:main\n"
        "code: ./code\n"
        "inputs:\n  data:\n    type: uri_file\n    path: ./data.txt\n"
        "outputs:\n  made:\n    type: uri_folder\n"
        "command: >-\n"
        "  python work.py && cat ${{inputs.data}} && cat ${{inputs.data}} ${{inputs.data}} > ${{outputs.made}}/result.txt\n"
    )
    return document


def test_the_nodes_do_not_see_the_servers_folders(slurm):
    job, log = run(slurm, f"ls -d {slurm.data} {slurm.data}/lathe.db 2>&1; hostname", compute="main")
    assert job["status"] == "Completed"
    assert log.count("No such file") == 2 and log.splitlines()[-1] == job["node"]


def test_an_attempts_token_opens_what_its_manifest_names_alone(slurm):
    name = submit(slurm, "echo up; sleep 300", compute="main")["name"]
    until_log(slurm, name, "up")
    [(number, _, _)] = slurm.cluster.queue()
    script = slurm.cluster.run("scontrol", "write", "batch_script", number, "-")
    attempt, token = (re.search(f"LATHE_ATTEMPT_{what}='(.*)'", script)[1] for what in ("URL", "TOKEN"))
    secret = slurm.data / "jobs" / ".lathe" / "fetched" / "7" / "secret"
    secret.parent.mkdir(parents=True)
    secret.write_text("another user's")

    def content(path):
        connection = http.client.HTTPConnection("127.0.0.1", slurm.port)  # which leaves paths as they are
        place = attempt.split("/", 3)[3]
        connection.request("GET", f"/{place}/content/{path}", headers={"Authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        return answer.status, answer.read()

    status, module = content("shared/python/lathe/__init__.py")
    assert status == 200 and b"import" in module
    for path in ("fetched/7/secret", "python/../fetched/7/secret", "python/%2e%2e/fetched/7/secret", "./fetched/7/secret",
                 "/fetched/7/secret", "python//../fetched/7/secret", "bin/../fetched/7/secret", "python/lathe/../../fetched/7/secret",
                 "pythonx", "python", "python/", "certificate.pem/../fetched/7/secret"):  # fmt: skip
        status, said = content(f"shared/{path}")
        assert status in (400, 404) and b"another" not in said, (path, status, said)
    slurm.post(f"/api/v1/jobs/{name}/cancel")
    assert ended(slurm, name)["status"] == "Canceled"


def test_a_failure_has_its_exit_status_and_its_last_lines(slurm):
    job, _ = run(slurm, "echo about to fail; exit 7", compute="main")
    assert (job["status"], job["exit_code"]) == ("Failed", 7)
    assert "about to fail" in job["error"]


def test_cancelling_ends_a_running_job_with_its_grace(slurm):
    name = submit(slurm, "trap 'echo got it; exit 0' TERM; echo ready; while :; do sleep 0.1; done", compute="main")["name"]
    until_log(slurm, name, "ready")
    slurm.post(f"/api/v1/jobs/{name}/cancel")
    assert ended(slurm, name)["status"] == "Canceled"
    assert "got it" in log_of(slurm, name)
    wait_for(lambda: not slurm.cluster.queue(), 60, "an empty queue")


def test_a_waiting_job_says_what_for_and_cancelling_takes_it_out_of_the_queue(slurm):
    blockers = [submit(slurm, "sleep 300", compute=slurm.target("whole"))["name"] for _ in range(3)]
    for name in blockers:
        until(slurm, name, "Running")
    name = submit(slurm, "echo never", compute="whole")["name"]
    wait_for(lambda: "busy" in (show(slurm, name).get("waiting_for") or ""), 60, "the reason of the wait")
    assert "busy" in slurm.get(f"/api/v1/jobs/{name}/why").json()["sentence"]
    assert slurm.post(f"/api/v1/jobs/{name}/cancel").json()["status"] == "Canceled"
    wait_for(lambda: len(slurm.cluster.queue()) == 3, 60, "the cancelled job leaving Slurm's queue")
    for blocker in blockers:
        slurm.post(f"/api/v1/jobs/{blocker}/cancel")
        assert ended(slurm, blocker)["status"] == "Canceled"
    assert log_of(slurm, name) == ""


def test_what_slurm_refuses_fails_with_slurms_words(slurm):
    slurm.cluster.run("scontrol", "update", "partitionname=short", "state=drain")
    try:
        job = ended(slurm, submit(slurm, "true", compute=slurm.target("short", partition="short", cores=1))["name"])
    finally:
        slurm.cluster.run("scontrol", "update", "partitionname=short", "state=up")
    assert job["status"] == "Failed"
    assert "partition not available" in job["error"]


def test_what_a_partition_can_never_run_is_refused_with_the_reason(slurm):
    def why(target, **document):
        return submit(slurm, "true", expect=400, compute=target, **document)["detail"]

    assert "4 nodes, and the partition main has 3" in why("main", resources={"instance_count": 4})
    assert "9 cores" in why(slurm.target("cores", cores=9))
    assert "5 GiB" in why(slurm.target("memory", cores=1, memory="5G"))
    assert "1 GPUs" in why(slurm.target("gpus", cores=1, gpus=1))
    assert "no partition" in why(slurm.target("nowhere", partition="nowhere"))
    slurm.target("short", partition="short", cores=1)
    assert "ends jobs after 1 h" in why("short", limits={"timeout": 3601})
    job, _ = run(slurm, "true", compute="short", limits={"timeout": 3600})
    assert job["status"] == "Completed"


def test_a_priority_is_a_nice_value(slurm):
    slurm.cluster.run("scontrol", "update", "partitionname=main", "state=down")
    try:
        for priority in ("low", "medium", "high"):
            submit(slurm, "true", compute="main", name=f"nice-{priority}", queue_settings={"priority": priority})
        shown = wait_for(lambda: (lines := slurm.cluster.run("squeue", "-ho", "%j %y").split("\n")) and len(lines) == 4 and sorted(lines),
                         20, "the jobs in the queue")  # fmt: skip
    finally:
        slurm.cluster.run("scontrol", "update", "partitionname=main", "state=up")
    assert shown == ["", "nice-high 0", "nice-low 1000", "nice-medium 0"]


def test_a_target_with_jobs_is_not_deleted(slurm):
    target = slurm.target("busy", cores=1)
    name = submit(slurm, "sleep 300", compute=target)["name"]
    until(slurm, name, "Running")
    wait_for(lambda: slurm.get(f"/api/v1/compute/{target}").json()["running_jobs"] == 1, 60, "the target's count")
    assert slurm.delete(f"/api/v1/compute/{target}").status_code == 409
    slurm.post(f"/api/v1/jobs/{name}/cancel")
    assert ended(slurm, name)["status"] == "Canceled"
    assert wait_for(lambda: slurm.delete(f"/api/v1/compute/{target}").ok, 60, "the target to be free")


def test_the_time_limit_is_kept(slurm):
    job, log = run(slurm, "echo up; sleep 60", compute="main", limits={"timeout": 1})
    assert job["status"] == "Failed" and "longer than its limit of 1 s" in job["error"]
    assert log.startswith("up\n")


def test_a_job_that_is_cancelled_in_slurm_is_cancelled_here(slurm):
    name = submit(slurm, "echo up; sleep 300", compute="main")["name"]
    until_log(slurm, name, "up")
    [(number, _, _)] = slurm.cluster.queue()
    slurm.cluster.run("scancel", number)
    assert ended(slurm, name)["status"] == "Canceled"


def test_the_target_shows_the_partitions_nodes(slurm):
    shown = slurm.get("/api/v1/compute/main").json()
    assert [node["name"] for node in shown["nodes"]] == ["n1", "n2", "n3"]
    assert (shown["current_node_count"], shown["min_instances"], shown["max_instances"]) == (3, 3, 3)
    slurm.target("elastic", partition="elastic")
    shown = slurm.get("/api/v1/compute/elastic").json()
    assert (shown["min_instances"], shown["max_instances"]) == (0, 2)


def test_a_partition_is_attached_and_detached_by_azures_verbs(slurm):
    slurm.cli("compute", "attach", "-n", "attached", "--partition", "main", "--cores", "2", "--memory", "200M")
    nodes = slurm.cli("compute", "list-nodes", "-n", "attached", "--query", "[].[name, state]", "-o", "tsv").stdout
    assert nodes.split() == ["n1", "idle", "n2", "idle", "n3", "idle"]
    job, log = run(slurm, "echo $SLURM_CPUS_PER_TASK", compute="attached")
    assert (job["status"], log) == ("Completed", "2\n")
    assert wait_for(lambda: slurm.cli("compute", "detach", "-n", "attached", "--yes", check=False).returncode == 0, 60, "the detaching")
    assert slurm.get("/api/v1/compute/attached").status_code == 404
    refused = slurm.cli("compute", "attach", "-n", "k8s", "--type", "kubernetes", check=False)
    assert refused.returncode != 0 and "partition of a Slurm cluster" in refused.stderr


def test_nodes_without_power_are_started_for_a_job_and_go_off_again(slurm):
    target = slurm.target("elastic", partition="elastic", cores=1)
    job, log = run(slurm, "hostname", compute=target)
    assert job["status"] == "Completed" and log.strip() in ("e1", "e2")
    assert "powering up" in slurm.log_tail()


def test_many_jobs_keep_their_logs_apart(slurm):
    names = {submit(slurm, f"echo number {number}", compute="main")["name"]: number for number in range(20)}
    for name, number in names.items():
        assert ended(slurm, name, limit_s=90)["status"] == "Completed"
        assert log_of(slurm, name) == f"number {number}\n"


def test_a_job_logs_to_its_run_from_a_node(slurm):
    job, log = run(slurm, "python -c 'import lathe; lathe.log_metric(\"m\", 4.5)'", compute="main")
    assert job["status"] == "Completed", log
    found = slurm.get("/api/2.0/mlflow/runs/get", params={"run_id": job["name"]}).json()
    assert [metric["value"] for metric in found["run"]["data"]["metrics"] if metric["key"] == "m"] == [4.5]
