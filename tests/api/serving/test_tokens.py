"""Endpoints with tokens that end by themselves (auth_mode: aml_token)."""

import hashlib
import hmac
import json
import subprocess
import time

import pytest
import requests
from asking import ROWS, ask, train
from endpoint_helpers import ENDPOINTS, deploy, make_endpoint, primary_key, register
from grpc_client import Client, infer_request, tensor


@pytest.fixture(scope="module")
def model(server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    train(folder, 1, "one.ubj")
    return register(server, "tokens", folder / "one.ubj")


@pytest.fixture
def uri(server, model, request):
    """The scoring URI of an endpoint with tokens, whose name is the test's number."""
    name = "tok" + hashlib.sha256(request.node.name.encode()).hexdigest()[:8]
    made = make_endpoint(server, name, auth_mode="aml_token")
    assert made["auth_mode"] == "aml_token" and "report" not in made
    assert deploy(server, name, "blue", model, "?all_traffic=true")["provisioning_state"] == "Succeeded"
    return made["scoring_uri"]


def name_of(uri):
    return uri.split("/v2/models/")[1].split("/")[0]


def token_of(server, name):
    made = server.post(f"{ENDPOINTS}/{name}/token")
    assert made.status_code == 200, made.text
    return made.json()["accessToken"]


def private_key(server, name):
    """The key that signs the endpoint's tokens, as the server makes it from the primary key."""
    server.patch(f"{ENDPOINTS}/{name}", json={"auth_mode": "key"}).raise_for_status()
    key = primary_key(server, name)
    server.patch(f"{ENDPOINTS}/{name}", json={"auth_mode": "aml_token"}).raise_for_status()
    return hashlib.sha256(f"lathe endpoint token\n{name}\n{key}".encode()).digest()


def signed(name, ends_s, key, public, folder):
    """A token that openssl has signed (Ed25519)."""
    der, text = folder / "key.der", folder / "text"
    der.write_bytes(bytes.fromhex("302e020100300506032b657004220420") + key)
    text.write_text(f"lt2.{ends_s}\n{name}")
    made = subprocess.run(["openssl", "pkeyutl", "-sign", "-rawin", "-keyform", "DER", "-inkey", der, "-in", text],
                          check=True, capture_output=True).stdout  # fmt: skip
    return f"lt2.{ends_s}.{public}.{made.hex()}"


def known_keys(server, name):
    """What the data plane has."""
    desired = json.loads((server.data / "infer" / "desired.json").read_text())
    return next(each for each in desired["endpoints"] if each["name"] == name)["keys"]


def test_a_token_opens_the_endpoint_by_every_way(server, uri):
    name = name_of(uri)
    before = int(time.time())
    told = server.post(f"{ENDPOINTS}/{name}/token").json()
    assert told["tokenType"] == "Bearer" and "primaryKey" not in told
    assert before < told["refreshAfterTimeUtc"] < told["expiryTimeUtc"] <= int(time.time()) + 1800
    token = told["accessToken"]
    assert ask(uri, token, ROWS[:2]).status_code == 200
    assert ask(f"{server.url}/v2/models/{name}/infer", token, ROWS[:2]).status_code == 200
    bearer = {"Authorization": f"Bearer {token}"}
    index = requests.post(server.infer + "/v2/repository/index", headers=bearer, timeout=60)
    assert {each["name"] for each in index.json()} == {name, f"{name}.blue"}
    with Client(server.grpc, token) as client:
        asked = infer_request(name, [tensor("input", "FP32", [1, 5])], [ROWS[:1].tobytes()])
        assert client.call("ModelInfer", asked).outputs
    # The server itself asks with one, too.
    assert server.post(f"{ENDPOINTS}/{name}/invoke", json={"inputs": ROWS[:1].tolist()}).status_code == 200
    assert server.get(f"{ENDPOINTS}/{name}/statistics").json()["deployments"][0]["requests"] >= 4
    shown = server.cli("online-endpoint", "get-credentials", "-n", name).json()
    assert ask(uri, shown["accessToken"], ROWS[:1]).status_code == 200


def test_a_token_that_has_expired_is_told_so(server, uri, tmp_path):
    name = name_of(uri)
    now = int(time.time())
    key, public = private_key(server, name), token_of(server, name).split(".")[2]
    assert ask(uri, signed(name, now + 600, key, public, tmp_path), ROWS[:1]).status_code == 200
    assert ask(uri, signed(name, now + 10**7, key, public, tmp_path), ROWS[:1]).status_code == 403
    expired = signed(name, now - 1, key, public, tmp_path)
    refused = ask(uri, expired, ROWS[:1])
    assert refused.status_code == 401 and "has expired" in refused.json()["error"] and name in refused.json()["error"]
    with Client(server.grpc, expired) as client:
        status, words = client.refusal("ModelInfer", infer_request(name, [tensor("input", "FP32", [1, 5])], [ROWS[:1].tobytes()]))
    assert status == "UNAUTHENTICATED" and "has expired" in words


def test_what_is_no_token_of_this_endpoint_is_refused(server, uri, model):
    name = name_of(uri)
    token = token_of(server, name)
    ends = token.split(".")[1]
    make_endpoint(server, "withkeys")
    key = primary_key(server, "withkeys")
    make_endpoint(server, "othertokens", auth_mode="aml_token")
    wrong = [token[:-1] + ("0" if token[-1] != "0" else "1"), token.replace(ends, str(int(ends) + 60)), "x", key,
             token_of(server, "othertokens"), token.rsplit(".", 1)[0], token.upper(), token + "."]  # fmt: skip
    for each in wrong:
        refused = ask(uri, each, ROWS[:1])
        assert refused.status_code == 403 and "get-credentials" in refused.json()["error"], refused.text
    assert requests.post(uri, json={}, timeout=60).status_code == 401
    # An endpoint with keys takes no tokens.
    deploy(server, "withkeys", "blue", model, "?all_traffic=true")
    assert ask(uri.replace(name, "withkeys"), token, ROWS[:1]).status_code == 403
    refused = server.post(f"{ENDPOINTS}/withkeys/token")
    assert refused.status_code == 409 and "aml_token" in refused.json()["detail"]


def test_what_data_planes_have_makes_no_tokens(server, uri, tmp_path):
    name = name_of(uri)
    key, token = private_key(server, name), token_of(server, name)
    known = known_keys(server, name)
    assert len(known) == 2 and known[0].startswith(token.split(".")[2])
    text = (server.data / "infer" / "desired.json").read_text()
    assert key.hex() not in text
    ends = int(time.time()) + 600
    for each in known:
        forged = [signed(name, ends, bytes.fromhex(each), each[:16], tmp_path)]
        for begin in ("lt1", "lt2"):
            mac = hmac.new(bytes.fromhex(each), f"{begin}.{ends}\n{name}".encode(), hashlib.sha256).hexdigest()
            forged += [f"{begin}.{ends}.{mac}", f"{begin}.{ends}.{each[:16]}.{mac}{mac}"]
        for one in forged:
            assert ask(uri, one, ROWS[:1]).status_code == 403, one
    # One that was taken before is looked at again when its key is another.
    assert [ask(uri, token, ROWS[:1]).status_code for _ in range(3)] == [200, 200, 200]
    for key_type in ("primary", "secondary"):
        server.post(f"{ENDPOINTS}/{name}/regenerate-keys", json={"key_type": key_type}).raise_for_status()
    assert ask(uri, token, ROWS[:1]).status_code == 403


def test_a_rotation_lets_tokens_end_by_themselves(server, uri):
    name = name_of(uri)
    first = token_of(server, name)
    assert "accessToken" in server.post(f"{ENDPOINTS}/{name}/regenerate-keys", json={"key_type": "primary"}).json()
    second = token_of(server, name)
    assert [ask(uri, each, ROWS[:1]).status_code for each in (first, second)] == [200, 200]
    server.post(f"{ENDPOINTS}/{name}/regenerate-keys", json={"key_type": "secondary"}).raise_for_status()
    assert [ask(uri, each, ROWS[:1]).status_code for each in (first, second)] == [403, 200]


def test_the_mode_can_change(server, uri):
    name = name_of(uri)
    token = token_of(server, name)
    shown = server.patch(f"{ENDPOINTS}/{name}", json={"auth_mode": "key"}).json()
    assert shown["auth_mode"] == "key"
    key = primary_key(server, name)
    assert [ask(uri, each, ROWS[:1]).status_code for each in (key, token)] == [200, 403]
    shown = server.patch(f"{ENDPOINTS}/{name}", json={"auth_mode": "aad_token"}).json()
    assert shown["auth_mode"] == "aml_token" and [each["verdict"] for each in shown["report"]] == ["substituted"]
    assert [ask(uri, each, ROWS[:1]).status_code for each in (key, token)] == [403, 200]
    refused = server.patch(f"{ENDPOINTS}/{name}", json={"auth_mode": "none"})
    assert refused.status_code == 400 and "auth_mode" in refused.json()["detail"]
