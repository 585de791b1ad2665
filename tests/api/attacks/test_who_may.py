"""Every route of MLflow's API, below every root: who is not known stays out, and nobody does more than they may."""

import os

import pytest

from job_helpers import ended, log_of, submit, until_log
from mlflow_routes import NOT_SPOKEN, ROOTS

FORMS = {"application/json"}


def problems(attacked, check, **options):
    """What `check` says of each route's answer, where it says anything."""
    found = []
    for route, path in attacked.places():
        answer = attacked.call(route, path, **options)
        said = check(route, answer)
        if said:
            found.append(f"{route.method} {path}: {answer.status_code} {said} {answer.text[:200]}")
    return found


def refused(status, code):
    def check(_, answer):
        if answer.status_code != status or answer.headers["Content-Type"] not in FORMS:
            return f"is not {status} in JSON"
        return answer.json()["error_code"] != code and f"is not {code}"

    return check


@pytest.mark.parametrize("token", [None, "wrong", "lathe_" + "0" * 48, "' OR 1=1 --", "a" * 5000])
def test_nobody_comes_in_without_a_token(attacked, token):
    assert problems(attacked, refused(401, "UNAUTHENTICATED"), token=token) == []


def test_basic_takes_a_token_as_the_password_and_nothing_else(attacked):
    good, bad = ("anybody", attacked.server.token), ("admin", "password")
    for route, path in attacked.places():
        assert attacked.call(route, path, None, auth=bad).status_code == 401, path
        assert attacked.call(route, path, None, auth=good).status_code not in (401, 403), path


def test_the_token_itself_is_let_in_everywhere(attacked):
    def check(route, answer):
        taken = route.path == "users/create" and answer.json()["error_code"] == "RESOURCE_ALREADY_EXISTS"
        return answer.status_code not in (200, 404) and not taken and "is neither done nor unknown"

    assert problems(attacked, check, token=attacked.server.token) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only a server that runs as root takes a second user")
def test_a_viewer_only_looks(attacked):
    made = attacked.server.post("/api/v1/users", json={"name": "looker", "role": "viewer"}).json()

    def check(route, answer):
        if route.needs == "read":
            return answer.status_code in (401, 403) and "refuses a look"
        return refused(403, "PERMISSION_DENIED")(route, answer)

    assert problems(attacked, check, token=made["token"]) == []


@pytest.fixture
def job_token(server):
    """The token of a job that runs."""
    name = submit(server, 'echo "<$MLFLOW_TRACKING_TOKEN>"; until [ -e "$HOME/go" ]; do sleep 0.02; done')["name"]
    until_log(server, name, ">")
    yield log_of(server, name).strip().strip("<>")
    (server.data / "jobs" / name / "work" / "go").touch()
    ended(server, name)


def test_a_job_writes_nothing_of_others(attacked, job_token):
    makes_its_own = {"runs/create", "registered-models/create"}

    def check(route, answer):
        if route.needs == "read" or route.path in makes_its_own:
            return answer.status_code in (401, 403) and "refuses what a job may"
        return refused(403, "PERMISSION_DENIED")(route, answer)

    assert problems(attacked, check, token=job_token) == []


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example"])
def test_names_of_other_machines_are_refused(attacked, host):
    found = problems(attacked, refused(403, "PERMISSION_DENIED"), token=attacked.server.token, headers={"Host": host})
    assert found == []


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1.evil.example"])
def test_other_web_sites_are_refused(attacked, origin):
    def check(route, answer):
        return "Access-Control-Allow-Origin" in answer.headers or refused(403, "PERMISSION_DENIED")(route, answer)

    assert problems(attacked, check, token=attacked.server.token, headers={"Origin": origin}) == []


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
                                  "<script>alert(1)</script>"])  # fmt: skip
def test_a_form_is_not_taken_for_json(attacked, kind):
    for route, path in attacked.places():
        if route.method not in ("POST", "PATCH", "DELETE") or route.path == "upload-artifact" or "/mlflow-artifacts/" in path:
            continue
        answer = attacked.send(route.method, path, token=attacked.server.token, data=b'{"run_id": "x"}',
                               headers={"Content-Type": kind})  # fmt: skip
        assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE"), path
        assert "script" not in answer.text


@pytest.mark.parametrize("method, path", NOT_SPOKEN)
def test_what_is_not_spoken_is_said_in_json(attacked, method, path):
    for root in ROOTS:
        answer = attacked.send(method, f"{root}/mlflow/{path}", {}, attacked.server.token)
        assert (answer.status_code, answer.json()["error_code"]) == (404, "ENDPOINT_NOT_FOUND"), root
        assert answer.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("path", ["/graphql", "/ajax-api/3.0/jobs/", "/api/2.0/nothing", "/gateway/x", "/ajax-api/4.0/mlflow/runs/get"])
def test_so_is_what_lies_elsewhere(attacked, path):
    for method in ("GET", "POST"):
        answer = attacked.send(method, path, {}, attacked.server.token)
        assert (answer.status_code, answer.json()["error_code"]) == (404, "ENDPOINT_NOT_FOUND")
