"""Experiments and runs by the command line."""

import pytest

API = "/api/2.0/mlflow"


def call(server, path, body):
    answer = server.post(f"{API}/{path}", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def make_run(server, name, experiment="0"):
    body = {"experiment_id": experiment, "start_time": 1, "run_name": name}
    return call(server, "runs/create", body)["run"]["info"]["run_id"]


def ids(done):
    return [run["info"]["run_id"] for run in done.json()]


def test_what_is_marked_as_deleted_can_be_listed(server):
    experiment = server.cli("experiment", "create", "-n", "going").json()["experiment_id"]
    inside, outside, kept = make_run(server, "inside", experiment), make_run(server, "outside"), make_run(server, "kept")
    server.cli("run", "delete", "-n", outside)
    server.cli("experiment", "delete", "-n", "going")
    names = lambda *flags: [each["name"] for each in server.cli("experiment", "list", *flags).json()]
    assert names("--deleted") == ["going"] and "going" not in names()
    assert sorted(ids(server.cli("run", "list", "--deleted"))) == sorted([inside, outside])
    assert ids(server.cli("run", "list", "--deleted", "--experiment-name", "going")) == [inside]
    active = ids(server.cli("run", "list"))
    assert kept in active and not {inside, outside} & set(active)
    assert server.cli("run", "list", "--deleted", "-o", "table").stdout.count("deleted") == 2
    server.cli("experiment", "restore", "-n", "going")
    assert names("--deleted") == [] and ids(server.cli("run", "list", "--experiment-name", "going")) == [inside]


def test_a_run_is_shown_by_its_id_or_by_a_name_that_only_it_has(server):
    one = make_run(server, "it's mine")
    first, second = make_run(server, "twin"), make_run(server, "twin")
    for name in (one, "it's mine"):
        assert server.cli("run", "show", "-n", name).json()["info"]["run_id"] == one
    several = server.cli("run", "show", "-n", "twin", check=False)
    assert several.returncode == 3 and first in several.stderr and second in several.stderr
    none = server.cli("run", "show", "-n", "nobody/ü", check=False)
    assert none.returncode == 3 and 'no run with the id or the name "nobody/ü"' in none.stderr


@pytest.mark.parametrize("wrong", ["x", "0", "-3", "1.5"])
def test_a_number_of_results_that_is_none_is_refused(server, wrong):
    for group in ("run", "experiment", "job"):
        refused = server.cli(group, "list", "-r", wrong, check=False)
        assert refused.returncode == 2 and f"--max-results {wrong}: expected a whole number from 1" in refused.stderr


def test_lists_go_over_pages(fresh_server):
    for i in range(1001):
        call(fresh_server, "experiments/create", {"name": f"e{i}"})
    assert len(fresh_server.cli("experiment", "list").json()) == 1002
    assert len(fresh_server.cli("experiment", "list", "-r", "1001").json()) == 1001
    last = call(fresh_server, "experiments/search", {"max_results": 1, "filter": "name = 'e0'"})["experiments"][0]
    for _ in range(1001):
        make_run(fresh_server, "r", last["experiment_id"])
    some = fresh_server.cli("run", "list")
    assert len(some.json()) == 1000 and "there are more: --max-results N" in some.stderr
    all_of_them = fresh_server.cli("run", "list", "-r", "2000")
    assert len(all_of_them.json()) == 1001 and all_of_them.stderr == ""


def test_a_deletion_for_good_says_what_it_waits_for(server):
    run = make_run(server, "large")
    points = [{"key": f"k{i}", "value": i, "timestamp": 1, "step": 1} for i in range(1000)]
    call(server, "runs/log-batch", {"run_id": run, "metrics": points})
    done = server.cli("run", "delete", "-n", run, "--permanently", "--yes")
    assert done.stderr == "lathe: removing run large with all that it holds; --no-wait goes on at once\n"
    assert done.json()["state"] == "removing"
