"""runs/search: filters, order, pages, and what an attacker would put there."""

import pytest

from mlflow_rest import INVALID


@pytest.fixture(scope="module")
def runs(server):
    """Five runs of one experiment, by name."""
    from mlflow_rest import Rest

    rest = Rest(server)
    experiment = rest.experiment("searched")
    made = {}
    for number, name in enumerate(["a", "b", "c", "nan", "bare"]):
        made[name] = rest.run(experiment, run_name=name, start_time=100 + number)
    for name, loss, model in (("a", 0.5, "tree"), ("b", 1.5, "Tree"), ("c", -2, "forest")):
        rest.metric(made[name], "loss", loss)
        rest.post("runs/log-parameter", {"run_id": made[name], "key": "model", "value": model})
    rest.metric(made["nan"], "loss", "NaN")
    rest.post("runs/set-tag", {"run_id": made["a"], "key": "team name", "value": "red"})
    rest.post("runs/update", {"run_id": made["b"], "status": "FINISHED", "end_time": 500})

    def names(filter="", **fields):
        by_id = {run_id: name for name, run_id in made.items()}
        return " ".join(by_id[run_id] for run_id in rest.search([experiment], filter, **fields))

    names.experiment = experiment
    names.ids = made
    return names


@pytest.mark.parametrize("filter, found", [
    ("", "bare nan c b a"), ("metrics.loss < 1", "c a"), ("metric.loss >= 0.5 and metrics.loss <= 1.5", "b a"),
    ("metrics.loss = -2", "c"), ("params.model = 'tree'", "a"), ("parameters.model ILIKE 'T%'", "b a"),
    ("param.model LIKE 'T%'", "b"), ("params.model != 'tree'", "c b"), ("params.model IS NULL", "bare nan"),
    ('tags."team name" = \'red\'', "a"), ("tag.`team name` IS NOT NULL", "a"), ("status = 'FINISHED'", "b"),
    ("attributes.status != 'FINISHED'", "bare nan c a"), ("run_name LIKE '%a%'", "bare nan a"), ("end_time = 500", "b"),
    ("start_time > 100 AND start_time < 103", "c b"), ("run_name = \"a\"", "a"), ("user_id = 'nobody'", ""),
])  # fmt: skip
def test_filters(runs, filter, found):
    assert runs(filter) == found


@pytest.mark.parametrize("order, found", [
    (["metrics.loss ASC"], "c a b nan bare"), (["metrics.loss DESC"], "b a c nan bare"),
    (["params.model"], "b c a bare nan"),
    (["start_time ASC"], "a b c nan bare"), (["run_name DESC"], "nan c bare b a"),
    (["attribute.end_time DESC"], "b bare nan c a"),
    (["tags.`team name` DESC", "metrics.loss ASC"], "a c b nan bare"),
])  # fmt: skip
def test_order(runs, order, found):
    assert runs(order_by=order) == found


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 50000])
@pytest.mark.parametrize("order", [[], ["metrics.loss DESC"], ["metrics.loss ASC"]])
def test_pages_cover_all_runs_once(runs, size, order):
    assert runs(order_by=order, max_results=size) == runs(order_by=order)


def test_run_ids_may_be_listed(runs):
    assert runs(f"run_id IN ('{runs.ids['a']}', '{runs.ids['c']}')") == "c a"
    assert runs(f"attributes.run_id NOT IN ('{runs.ids['a']}')") == "bare nan c b"


def test_experiments_that_do_not_exist_have_no_runs(rest):
    assert rest.search(["999999"]) == []
    assert rest.search([]) == []


@pytest.mark.parametrize("filter", [
    "metrics.a > 1; DROP TABLE run", "metrics.a > 1 OR 1=1", "metrics.a > 1 UNION SELECT * FROM account",
    "metrics.a > (SELECT 1)",
    "(metrics.a > 1)", "params.a = 'x' --", "params.a = x", "params.a > 'x'", "metrics.a = 'x'", "nope = 'x'",
    "foo.a = 'x'", "metrics.a",
    "status IN ('RUNNING')", "run_id IN ()", "'; DROP TABLE run; --", "params.a LIKE", "1 = 1", "metrics.a = NaN",
    "params.a = 'x' AND", "x" * 40_000,
])  # fmt: skip
def test_what_is_not_the_language_is_a_bad_request(rest, filter):
    rest.post("runs/search", {"experiment_ids": ["0"], "filter": filter}, code=INVALID)


@pytest.mark.parametrize("order",
                         ["(SELECT 1)", "nope", "start_time; DROP TABLE run", "foo.bar", "metrics.a SIDEWAYS", ""])
def test_bad_orders_are_bad_requests(rest, order):
    rest.post("runs/search", {"experiment_ids": ["0"], "order_by": [order]}, code=INVALID)


def test_a_nasty_pattern_costs_little(rest):
    run_id = rest.run()
    rest.post("runs/set-tag", {"run_id": run_id, "key": "t", "value": "a" * 8000})
    filter = "tags.t LIKE '" + "%a" * 200 + "b'"
    assert rest.call("POST", "runs/search", json={"experiment_ids": ["0"], "filter": filter}, timeout=60) == {}
