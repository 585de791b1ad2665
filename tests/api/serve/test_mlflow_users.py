"""MLflow's basic-auth app over Lathe's users: what its AuthServiceClient sends and reads."""

import os

import pytest
import requests

from lathe_server import wait_for

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only a server that runs as root takes a second user")
PASSWORD = "correct horse battery"


def call(server, method, path, auth=None, expect=200, **fields):
    how = {"params": fields} if method == "GET" else {"json": fields}
    auth = auth or ("admin", server.token)

    def ask():
        answer = requests.request(method, f"{server.url}/api/2.0/mlflow/{path}", auth=auth, timeout=30, **how)
        return [answer] if answer.status_code != 503 else None  # some passwords a second: MLflow's client asks again too

    [answer] = wait_for(ask, what="an answer")
    assert answer.status_code == expect, answer.text
    return answer.json()


def test_a_user_is_made_and_comes_in_with_the_password(server):
    made = call(server, "POST", "users/create", username="ann", password=PASSWORD)["user"]
    assert {**made, "id": 0} == {"id": 0, "username": "ann", "is_admin": False, "experiment_permissions": [],
                                 "registered_model_permissions": [], "scorer_permissions": []}  # fmt: skip
    ann = ("ann", PASSWORD)
    assert call(server, "GET", "users/current", ann)["user"] == made
    assert call(server, "GET", "users/get", ann, username="ann")["user"] == made
    run = call(server, "POST", "runs/create", ann, experiment_id="0")["run"]["info"]
    assert run["user_id"] == "ann"
    for wrong in (("ann", PASSWORD + "x"), ("admin", PASSWORD), ("", PASSWORD), ("nobody", PASSWORD)):
        call(server, "GET", "users/current", wrong, expect=401)
    bearer = requests.get(server.url + "/api/v1/me", headers={"Authorization": f"Bearer {PASSWORD}"}, timeout=30)
    assert bearer.status_code == 401
    said = call(server, "POST", "users/create", username="ann", password=PASSWORD, expect=400)
    assert said["error_code"] == "RESOURCE_ALREADY_EXISTS"
    said = call(server, "POST", "users/create", username="bob", password="short", expect=400)
    assert said["error_code"] == "INVALID_PARAMETER_VALUE"
    call(server, "GET", "users/get", username="bob", expect=404)


def test_a_new_password_takes_the_place_of_the_old(server):
    call(server, "POST", "users/create", username="eve", password=PASSWORD)
    eve = ("eve", PASSWORD)
    call(server, "PATCH", "users/update-password", eve, username="admin", password="x" * 20, expect=403)
    call(server, "PATCH", "users/update-password", eve, username="eve", password="another one, longer")
    call(server, "GET", "users/current", eve, expect=401)
    call(server, "GET", "users/current", ("eve", "another one, longer"))
    tokens = server.get("/api/v1/tokens", params={"all": "true"}).json()["value"]
    kept = [token for token in tokens if token["user"] == "eve" and token["name"] == "password"]
    assert len(kept) == 1
    assert server.delete(f"/api/v1/tokens/{kept[0]['id']}").status_code == 204
    call(server, "GET", "users/current", ("eve", "another one, longer"), expect=401)


def test_who_is_administrator_changes(server):
    call(server, "POST", "users/create", username="max", password=PASSWORD)
    mac = ("max", PASSWORD)
    call(server, "GET", "users/list", mac, expect=403)
    call(server, "POST", "users/create", mac, username="x", password=PASSWORD, expect=403)
    call(server, "PATCH", "users/update-admin", mac, username="max", is_admin=True, expect=403)
    call(server, "PATCH", "users/update-admin", username="max", is_admin=True)
    assert "max" in [user["username"] for user in call(server, "GET", "users/list", mac)["users"] if user["is_admin"]]
    call(server, "PATCH", "users/update-admin", username="max", is_admin=False)
    call(server, "PATCH", "users/update-admin", username="admin", is_admin=False, expect=400)
    call(server, "DELETE", "users/delete", username="max")
    call(server, "GET", "users/current", mac, expect=401)
    said = call(server, "DELETE", "users/delete", username="max", expect=404)
    assert said == {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "User with username=max not found"}


@pytest.mark.parametrize("place, key, kind", [("experiments", "experiment_id", "experiment"),
                                              ("registered-models", "name", "registered_model")])  # fmt: skip
def test_permissions_are_what_a_role_gives(server, place, key, kind):
    name = f"per-{kind}"
    made = call(server, "POST", "users/create", username=name, password=PASSWORD)["user"]
    asked = {key: "0", "username": name}
    has = call(server, "GET", f"{place}/permissions/get", **asked)[f"{kind}_permission"]
    assert has == {key: "0", "user_id": made["id"], "permission": "MANAGE"}
    assert call(server, "POST", f"{place}/permissions/create", **asked, permission="MANAGE")[f"{kind}_permission"] == has
    for verb, method in (("create", "POST"), ("update", "PATCH")):
        said = call(server, method, f"{place}/permissions/{verb}", **asked, permission="READ", expect=400)
        assert said["error_code"] == "NOT_IMPLEMENTED" and "follow a user's role" in said["message"]
        said = call(server, method, f"{place}/permissions/{verb}", **asked, permission="ALL", expect=400)
        assert said["message"].startswith("Invalid permission 'ALL'. Valid permissions are: (")
    assert call(server, "DELETE", f"{place}/permissions/delete", **asked, expect=400)["error_code"] == "NOT_IMPLEMENTED"
    call(server, "GET", f"{place}/permissions/get", (name, PASSWORD), **{key: "0", "username": "admin"}, expect=403)
