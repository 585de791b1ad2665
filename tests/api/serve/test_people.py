"""Users, tokens and rights over the API."""

import os

import pytest
import requests

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only a server that runs as root takes a second user")


def call(server, method, path, token=None, **options):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return requests.request(method, server.url + path, headers=headers, timeout=30, **options)


@pytest.fixture(scope="module")
def people(server):
    """Tokens of a member and of a viewer."""
    if os.geteuid() != 0:
        pytest.skip("only a server that runs as root takes a second user")
    return {
        role: server.post("/api/v1/users", json={"name": f"the-{role}", "role": role}).json()["token"]
        for role in ("member", "viewer")
    }


def test_me_says_who_the_token_belongs_to(server):
    me = server.get("/api/v1/me").json()
    assert (me["user"], me["role"]) == ("admin", "administrator")


def test_a_token_works_as_the_password_of_basic(server):
    me = requests.get(server.url + "/api/v1/me", auth=("anything", server.token), timeout=30)
    assert me.json()["user"] == "admin"


def test_each_role_may_do_its_part(server, people):
    job = {"command": "true"}
    assert call(server, "GET", "/api/v1/jobs", people["viewer"]).status_code == 200
    refused = call(server, "POST", "/api/v1/jobs", people["viewer"], json=job)
    assert refused.status_code == 403 and "viewer" in refused.json()["detail"]
    assert call(server, "POST", "/api/v1/jobs", people["member"], json=job).status_code == 201
    assert call(server, "GET", "/api/v1/users", people["member"]).status_code == 403
    assert call(server, "GET", "/api/v1/users", server.token).status_code == 200


def test_a_record_names_who_made_it(server, people):
    made = call(server, "POST", "/api/v1/jobs", people["member"], json={"command": "true"}).json()
    assert made["creation_context"]["created_by"] == "the-member"


def test_a_revoked_token_is_worthless_and_of_another_out_of_reach(server, people):
    made = call(server, "POST", "/api/v1/tokens", people["member"], json={"name": "laptop"}).json()
    assert call(server, "GET", "/api/v1/me", made["token"]).status_code == 200
    assert call(server, "DELETE", f"/api/v1/tokens/{made['id']}", people["viewer"]).status_code == 404
    assert call(server, "DELETE", f"/api/v1/tokens/{made['id']}", people["member"]).status_code == 204
    assert call(server, "GET", "/api/v1/me", made["token"]).status_code == 401
    others = call(server, "POST", "/api/v1/tokens", people["member"], json={"user": "admin"})
    assert others.status_code == 403


@needs_root
def test_the_last_administrator_stays(server):
    assert server.request("DELETE", "/api/v1/users/admin").status_code == 409
    unknown = server.request("DELETE", "/api/v1/users/the-memer")
    assert unknown.status_code == 404 and "the nearest" in unknown.json()["detail"]


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example"])
def test_a_foreign_host_is_refused(server, host):
    answer = server.get("/api/v1/me", headers={"Host": host})
    assert answer.status_code == 403 and "allowed_hosts" in answer.json()["detail"]


@pytest.mark.parametrize("origin", ["null", "https://evil.example"])
def test_a_foreign_origin_is_refused(server, origin):
    assert server.post("/api/v1/tokens", json={}, headers={"Origin": origin}).status_code == 403


def test_a_form_is_not_taken_for_json(server):
    answer = server.post("/api/v1/tokens", data="{}", headers={"Content-Type": "text/plain"})
    assert answer.status_code == 415


def test_every_route_needs_a_token_unless_it_says_open(server):
    document = requests.get(server.url + "/api/v1/openapi.json", timeout=30).json()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            answer = requests.request(method, server.url + path.replace("{", "").replace("}", ""), timeout=30)
            if operation["x-right"] == "open":
                assert answer.status_code < 300, (method, path)
            else:
                assert answer.status_code == 401, (method, path)


def test_errors_are_problem_details(server):
    answer = server.get("/api/v1/jobs/none-such")
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == 404 and "none-such" in problem["detail"]


def test_a_problems_body_says_the_status_of_its_head(server):
    for answer in (server.delete("/api/v1/users"), server.post("/api/v1/users", data=b"x" * (9 << 20))):
        assert answer.status_code in (405, 413)
        assert answer.json()["status"] == answer.status_code, answer.text


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff\xfe", b'{"a": NaN}', b"[" * 10000, b'{"name": 7}', b'"text"', b"{}"])
def test_no_body_makes_the_server_stumble(server, body):
    for path in ("/api/v1/jobs", "/api/v1/compute", "/api/v1/users", "/api/v1/tokens", "/api/v1/data", "/api/v1/models"):
        answer = server.post(path, data=body, headers={"Content-Type": "application/json"})
        assert answer.status_code < 500, (path, body, answer.text)
    assert server.get("/readyz").status_code == 200
