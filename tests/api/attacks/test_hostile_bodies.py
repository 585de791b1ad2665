"""What no honest client sends, to every route that takes a body or a query: an answer below 500 in JSON, at once."""

import json

import pytest

from mlflow_rest import INVALID, Rest
from mlflow_routes import ROUTES

ROOT = "/api/2.0/mlflow"

# In place of any field; in place of the body: what is no object, and what is an odd one.
VALUES = [None, True, 0, -1, 1.5, 1e308, 2**63, -(2**63), 10**30, "", "x" * 20_000, "\u0000", "a\u0000b", "\ud800", "é\U0001f600",
          "NaN", "-Infinity", "../..", "a/b", "a:b", "'; DROP TABLE run; --", "x" * 300, [], [[]], [None], [1], [{}], ["a", 1], {}, {"a": {}},
          {"key": None}, [{"key": 1, "value": []}]]  # fmt: skip

NO_OBJECTS = [b"[]", b"5", b'"text"', b'"{"', b"{", b'{"a":', b"\x00", b"\xff\xfe{}", b"[" * 100_000, b'{"a":' * 50_000, b"nul",
          b'{"run_id": NaN}', b'"' + b'\\"' * 50_000 + b'"', b'{"run_id": "\xff"}', b'{"run_id": "\\ud800"}',
          b"[" * 65 + b"]" * 65]  # fmt: skip
ODD = [b"", b"null", b'{"a": 1e999}', json.dumps({"run_id": ["x"] * 100_000}).encode(), b'{"a": [' + b"{}," * 50_000 + b"{}]}"]


@pytest.fixture(params=ROUTES, ids=str)
def route(request):
    return request.param


def fits(answer):
    assert answer.status_code < 500, (answer.request.url[:300], answer.request.body, answer.text[:500])
    assert answer.headers["Content-Type"] == "application/json" and isinstance(answer.json(), dict)
    return answer


@pytest.mark.parametrize("route", [r for r in ROUTES if r.method != "GET" and r.path != "upload-artifact"], ids=str)
def test_a_body_may_be_anything(attacked, route):
    for body in NO_OBJECTS + ODD:
        answer = fits(attacked.send(route.method, attacked.filled(f"{ROOT}/{route.path}"), token=attacked.server.token, data=body,
                                    headers={"Content-Type": "application/json"}))  # fmt: skip
        assert body in ODD or answer.status_code == 400, (body[:100], answer.text)


def test_a_field_may_be_anything(attacked, route):
    path = attacked.filled(f"{ROOT}/{route.path}")
    for field in route.fields:
        for value in VALUES:
            fields = {**attacked.filled(route.fields), field: value}
            if route.method == "GET":
                fields[field] = value if isinstance(value, str) and "\ud800" not in value else json.dumps(value)
                fits(attacked.send("GET", path, fields, attacked.server.token))
            else:
                fits(attacked.send(route.method, path, token=attacked.server.token, data=json.dumps(fields),
                                   headers={"Content-Type": "application/json"}))  # fmt: skip


def test_what_an_id_holds_is_never_a_path(attacked):
    for name in ("..", "a/b", "a:b", "x" * 300, "a b", "%2e%2e", "\n", "."):
        for route in ROUTES:
            for field in ("run_id", "experiment_id", "model_id", "source_run_id"):
                if field in route.fields:
                    fields = {**attacked.filled(route.fields), field: name}
                    answer = fits(attacked.send(route.method, attacked.filled(f"{ROOT}/{route.path}"), fields, attacked.server.token))
                    assert answer.status_code in (400, 404), (route, name)


@pytest.mark.parametrize("name", ["..", ".", "a/b", "a:b", "", "a\nb", "x" * 300])
def test_names_of_models_are_no_paths(attacked, name):
    rest = Rest(attacked.server)
    rest.post("registered-models/create", {"name": name}, code=INVALID)
    rest.post("registered-models/rename", {"name": "attacked", "new_name": name}, code=INVALID)
    alias = {"name": "attacked", "alias": name, "version": "1"}
    if name != "..":  # dots are no alias either, but the text differs
        rest.post("registered-models/alias", alias, code=INVALID)


@pytest.mark.parametrize("location", ["file:///etc", "/etc", "http:///#/../../etc/", "http://h/?a=%252E%252E", "mlflow-artifacts:/../..",
                                      "mlflow-artifacts:/0", "dbfs:/", "s3://bucket/x", "runs:/x"])  # fmt: skip
def test_artifacts_of_an_experiment_lie_where_the_server_says(attacked, location):
    body = {"name": f"at {location}", "artifact_location": location}
    Rest(attacked.server).post("experiments/create", body, code=INVALID)


@pytest.mark.parametrize("kind, count", [("metrics", 1001), ("params", 101), ("tags", 101)])
def test_a_batch_has_its_limits(attacked, kind, count):
    items = [{"key": f"k{i}", "value": 1 if kind == "metrics" else "v", "timestamp": 1} for i in range(count)]
    said = Rest(attacked.server).post("runs/log-batch", {"run_id": attacked.run, kind: items}, code=INVALID)
    assert f"A batch logging request can contain at most {count - 1} {kind}. Got {count} {kind}." in said


def test_a_batch_has_a_limit_in_all(attacked):
    rest = Rest(attacked.server)
    metrics = [{"key": f"k{i}", "value": 1, "timestamp": 1} for i in range(950)]
    tags = [{"key": f"k{i}", "value": "v"} for i in range(51)]
    said = rest.post("runs/log-batch", {"run_id": attacked.run, "metrics": metrics, "tags": tags}, code=INVALID)
    assert "at most 1000 metrics, params, and tags. Got 1001" in said
    assert "k949" not in rest.run_data(attacked.run)[0]


@pytest.mark.parametrize("path, most", [("runs/search", 50_000), ("experiments/search", 50_000), ("registered-models/search", 1000),
                                        ("model-versions/search", 200_000), ("logged-models/search", 50_000)])  # fmt: skip
def test_a_page_has_its_limit(attacked, path, most):
    rest = Rest(attacked.server)
    for size in (most + 1, 2**31, 2**63 - 1):
        if path.startswith(("reg", "model-v")):
            rest.get(path, max_results=size, code=INVALID)
        else:
            rest.post(path, {"experiment_ids": ["0"], "max_results": size}, code=INVALID)


INJECTIONS = ["metrics.a > 1; DROP TABLE run", "name = 'a' OR 1=1", "name = 'a' UNION SELECT * FROM account", "name = (SELECT 1)",
              "name = 'x' --", "name = 'x' /* */", "tags.a = 'b' AND 1=1", "name LIKE 'a' ESCAPE 'b'", "name = 'a') OR ('1' = '1"]  # fmt: skip
SEARCHES = ["experiments/search", "runs/search", "logged-models/search", "registered-models/search", "model-versions/search"]


def search(attacked, path, **fields):
    rest = Rest(attacked.server)
    if path.startswith(("reg", "model-v")):
        return rest.get(path, **fields)
    code = fields.pop("code", None)
    return rest.post(path, {"experiment_ids": ["0"], **fields}, code=code)


@pytest.mark.parametrize("path", SEARCHES)
@pytest.mark.parametrize("text", INJECTIONS)
def test_sql_is_not_the_search_language(attacked, path, text):
    search(attacked, path, filter=text.replace("name", "run_name") if path == "runs/search" else text, code=INVALID)
    if path != "logged-models/search":
        search(attacked, path, order_by=[text], code=INVALID)


@pytest.mark.parametrize("path", SEARCHES)
@pytest.mark.parametrize("pattern", ["%a" * 200 + "b", "a%" * 5000, "_%" * 2000, "%" * 20_000, "[" * 1000, "\\" * 1000])
def test_a_nasty_pattern_costs_little(attacked, path, pattern):
    rest = Rest(attacked.server)
    rest.post("runs/set-tag", {"run_id": attacked.run, "key": "t", "value": "a" * 8000})
    rest.post("experiments/set-experiment-tag", {"experiment_id": "0", "key": "t", "value": "a" * 5000})
    rest.post("registered-models/set-tag", {"name": "attacked", "key": "t", "value": "a" * 50_000})
    for op in ("LIKE", "ILIKE"):
        answer = attacked.send("POST" if path.split("/")[0] in ("runs", "experiments", "logged-models") else "GET", f"{ROOT}/{path}",
                               {"experiment_ids": ["0"], "filter": f"tags.t {op} '{pattern}'"}, attacked.server.token)  # fmt: skip
        assert answer.status_code in (200, 400, 414, 431), answer.text[:300]
