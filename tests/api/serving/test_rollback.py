"""Revisions of an endpoint, and going back to one while requests come."""

import numpy
import pytest
import xgboost
from asking import ROWS, Asking, ask, predictions, train
from endpoint_helpers import ENDPOINTS, deploy, make_endpoint, primary_key, register


@pytest.fixture(scope="module")
def models(server, tmp_path_factory):
    """Two registered versions of one model, with the library's own predictions."""
    folder = tmp_path_factory.mktemp("models")
    rows = xgboost.DMatrix(ROWS[:8])
    boosters = [train(folder, seed, f"{seed}.ubj") for seed in (1, 2)]
    return [(register(server, "going-back", folder / f"{seed}.ubj"), booster.predict(rows))
            for seed, booster in zip((1, 2), boosters)]  # fmt: skip


def revisions(server, name):
    return server.cli("online-endpoint", "revisions", "-n", name).json()


def test_a_rollback_brings_models_and_traffic_back_without_a_failed_request(server, models):
    endpoint = make_endpoint(server, "back")
    assert revisions(server, "back") == []
    refused = server.cli("online-endpoint", "rollback", "-n", "back", check=False)
    assert refused.returncode != 0 and "no revision" in refused.stderr
    deploy(server, "back", "blue", models[0][0], "?all_traffic=true")
    key = primary_key(server, "back")
    with Asking(endpoint["scoring_uri"], key) as asking:
        server.patch(f"{ENDPOINTS}/back/deployments/blue", json={"model": models[1][0]}).raise_for_status()
        deploy(server, "back", "green", models[1][0])
        server.patch(f"{ENDPOINTS}/back", json={"traffic": {"blue": 40, "green": 60}}).raise_for_status()
        server.patch(f"{ENDPOINTS}/back", json={"description": "serves as before"}).raise_for_status()
        kept = revisions(server, "back")
        assert [each["number"] for each in kept] == [4, 3, 2, 1]
        assert [each["current"] for each in kept] == [True, False, False, False]
        assert kept[0]["traffic"] == {"blue": 40, "green": 60} and kept[0]["what"] == "traffic: blue 40 %, green 60 %"
        assert kept[3]["traffic"] == {"blue": 100} and kept[3]["deployments"] == {"blue": models[0][0]}
        assert kept[0]["creation_context"]["created_by"]

        back = server.cli("online-endpoint", "rollback", "-n", "back", "--revision", "1").json()
        assert back["traffic"] == {"blue": 100} and back["deployments"] == ["blue", "green"], back
        asking.wait_for_more(10)
        assert server.get(f"{ENDPOINTS}/back/deployments/blue").json()["model"] == models[0][0]
        assert numpy.abs(predictions(ask(endpoint["scoring_uri"], key, ROWS[:8])) - models[0][1]).max() <= 1e-6
        assert revisions(server, "back")[0]["what"] == "rollback to revision 1"

        # What was deleted comes back, too; without a number, the one before the last change.
        server.delete(f"{ENDPOINTS}/back/deployments/green").raise_for_status()
        back = server.post(f"{ENDPOINTS}/back/rollback", json={"revision": 4}).json()
        assert back["traffic"] == {"blue": 40, "green": 60} and back["deployments"] == ["blue", "green"], back
        asking.wait_for_more(10)
        back = server.post(f"{ENDPOINTS}/back/rollback").json()
        assert back["traffic"] == {"blue": 100}, back
        asking.wait_for_more(10)
    assert asking.failed == []


def test_what_cannot_come_back_is_refused_and_changes_nothing(server, models, tmp_path):
    train(tmp_path, 3)
    gone = register(server, "soon-gone", tmp_path / "model.ubj")
    make_endpoint(server, "stays")
    deploy(server, "stays", "blue", gone, "?all_traffic=true")
    server.patch(f"{ENDPOINTS}/stays/deployments/blue", json={"model": models[0][0]}).raise_for_status()
    for body, status, word in (({"revision": 7}, 404, "1 to 2"), ({"revision": "one"}, 400, "revision"),
                               ({"revison": 1}, 400, "revision")):  # fmt: skip
        refused = server.post(f"{ENDPOINTS}/stays/rollback", json=body)
        assert refused.status_code == status and word in refused.json()["detail"], (body, refused.text)
    for number in ("abc", "1.5", "0", "1x"):
        refused = server.cli("online-endpoint", "rollback", "-n", "stays", "--revision", number, check=False)
        assert refused.returncode != 0 and f'not "{number}"' in refused.stderr and "revisions" in refused.stderr, refused
    server.cli("model", "delete", "-n", "soon-gone", "--yes")
    refused = server.post(f"{ENDPOINTS}/stays/rollback")
    assert refused.status_code == 409, refused.text
    assert gone in refused.json()["detail"] and '"blue"' in refused.json()["detail"]
    shown = server.get(f"{ENDPOINTS}/stays/deployments/blue").json()
    assert (shown["model"], shown["provisioning_state"]) == (models[0][0], "Succeeded")
    assert [each["number"] for each in revisions(server, "stays")] == [2, 1]


def test_a_part_that_fails_leaves_the_traffic_where_it_is(server, models, tmp_path):
    train(tmp_path, 4)
    model = register(server, "damaged-later", tmp_path / "model.ubj")
    make_endpoint(server, "parts")
    deploy(server, "parts", "green", models[0][0])
    deploy(server, "parts", "blue", model, "?all_traffic=true")
    server.patch(f"{ENDPOINTS}/parts/deployments/blue", json={"model": models[0][0]}).raise_for_status()
    server.patch(f"{ENDPOINTS}/parts", json={"traffic": {"green": 100}}).raise_for_status()
    # The file of the old model goes bad on the disk.
    desired = (server.data / "infer" / "desired.json").read_text()
    assert model.split(":")[1] not in desired
    for path in (server.data / "blobs").rglob("*"):
        if path.is_file() and path.read_bytes() == (tmp_path / "model.ubj").read_bytes():
            path.chmod(0o600)
            path.write_bytes(b"rot")
    refused = server.post(f"{ENDPOINTS}/parts/rollback", json={"revision": 2})
    assert refused.status_code == 409 and "the traffic stays" in refused.json()["detail"], refused.text
    assert server.get(f"{ENDPOINTS}/parts").json()["traffic"] == {"green": 100}
    assert server.get(f"{ENDPOINTS}/parts/deployments/blue").json()["model"] == models[0][0]


def test_the_last_twenty_are_kept(server, models):
    make_endpoint(server, "many")
    deploy(server, "many", "blue", models[0][0], "?all_traffic=true")
    deploy(server, "many", "green", models[0][0])
    for i in range(20):
        share = {"blue": 100 - i - 1, "green": i + 1}
        assert server.patch(f"{ENDPOINTS}/many", json={"traffic": share}).status_code == 200
    assert [each["number"] for each in revisions(server, "many")] == list(range(22, 2, -1))
