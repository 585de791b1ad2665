"""Online endpoints: deployments, traffic, keys, and a data plane that outlives the server."""

import hashlib
import json
import os
import signal

import numpy
import pytest
import requests
import xgboost
from asking import ROWS, Asking, ask, body_of, predictions, train
from endpoint_helpers import ENDPOINTS, deploy, make_endpoint, primary_key, register
from grpc_client import Client, infer_request, tensor
from lathe_server import Server, cmdline, wait_for


@pytest.fixture(scope="module")
def models(server, tmp_path_factory):
    """Two registered versions of one model, with the library's own predictions."""
    folder = tmp_path_factory.mktemp("models")
    one, two = train(folder, 1, "one.ubj"), train(folder, 2, "two.ubj")
    rows = xgboost.DMatrix(ROWS[:8])
    return [(register(server, "trees", folder / "one.ubj"), one.predict(rows)),
            (register(server, "trees", folder / "two.ubj"), two.predict(rows))]  # fmt: skip


def test_a_deployed_model_predicts_as_the_library_does(server, models):
    endpoint = make_endpoint(server, "exact")
    assert endpoint["scoring_uri"].startswith(server.infer)
    made = deploy(server, "exact", "blue", models[0][0], "?all_traffic=true")
    assert made["provisioning_state"] == "Succeeded", made
    assert made["format"] == "xgboost"
    key = primary_key(server, "exact")
    answer = ask(endpoint["scoring_uri"], key, ROWS[:8])
    assert numpy.abs(predictions(answer) - models[0][1]).max() <= 1e-6
    assert server.get(f"{ENDPOINTS}/exact").json()["traffic"] == {"blue": 100}
    mlflow = requests.post(endpoint["invocations_uri"], json={"instances": ROWS[:8].tolist()}, timeout=30,
                           headers={"Authorization": f"Bearer {key}"})  # fmt: skip
    assert mlflow.status_code == 200, mlflow.text
    assert endpoint["grpc_uri"] == server.grpc
    with Client(endpoint["grpc_uri"], key) as client:
        asked = infer_request("exact", [tensor("input", "FP32", [8, 5])], [ROWS[:8].tobytes()])
        by_grpc = client.call("ModelInfer", asked).raw_output_contents[0]
    assert numpy.abs(numpy.frombuffer(by_grpc, "f4") - models[0][1]).max() <= 1e-6


def test_the_server_passes_requests_on_and_answers_what_the_endpoint_answers(server, models):
    make_endpoint(server, "passed")
    deploy(server, "passed", "blue", models[0][0], "?all_traffic=true")
    deploy(server, "passed", "green", "azureml:trees@latest")
    blue = server.post(f"{ENDPOINTS}/passed/invoke", json=body_of(ROWS[:8]))
    green = server.post(f"{ENDPOINTS}/passed/invoke?deployment=green", json=body_of(ROWS[:8]))
    assert numpy.abs(predictions(blue) - models[0][1]).max() <= 1e-6
    assert numpy.abs(predictions(green) - models[1][1]).max() <= 1e-6
    wrong = server.post(f"{ENDPOINTS}/passed/invoke", json=body_of(ROWS[:8, :3]))
    assert wrong.status_code == 400
    assert "5" in wrong.text
    assert server.post(f"{ENDPOINTS}/passed/invoke?deployment=gren", json={}).status_code == 404


def test_a_new_deployment_has_no_traffic_until_it_is_given_some(server, models):
    endpoint = make_endpoint(server, "split")
    deploy(server, "split", "blue", models[0][0])
    assert server.get(f"{ENDPOINTS}/split").json()["traffic"] == {}
    deploy(server, "split", "green", models[1][0])
    changed = server.patch(f"{ENDPOINTS}/split", json={"traffic": {"blue": 50, "green": 50}})
    assert changed.status_code == 200, changed.text
    key = primary_key(server, "split")
    seen = set()
    for _ in range(40):
        first = predictions(ask(endpoint["scoring_uri"], key, ROWS[:1]))[0]
        seen.add(min((0, 1), key=lambda which: abs(models[which][1][0] - first)))
    assert seen == {0, 1}
    for traffic in ({"blue": 60}, {"blue": 101}, {"purple": 100}, {"blue": "most"}):
        refused = server.patch(f"{ENDPOINTS}/split", json={"traffic": traffic})
        assert refused.status_code == 400, refused.text
        assert refused.json()["detail"].startswith("traffic")
    refused = server.delete(f"{ENDPOINTS}/split/deployments/blue")
    assert refused.status_code == 409
    assert "50 %" in refused.json()["detail"]
    server.patch(f"{ENDPOINTS}/split", json={"traffic": {"green": 100}}).raise_for_status()
    assert server.delete(f"{ENDPOINTS}/split/deployments/blue").status_code == 204
    assert server.get(f"{ENDPOINTS}/split").json()["deployments"] == ["green"]


def test_requests_are_mirrored_to_a_deployment_that_answers_nobody(server, models):
    endpoint = make_endpoint(server, "mirrored")
    deploy(server, "mirrored", "blue", models[0][0], "?all_traffic=true")
    deploy(server, "mirrored", "green", models[1][0])
    changed = server.cli("online-endpoint", "update", "-n", "mirrored", "--mirror-traffic", "green=50")
    assert changed.json()["mirror_traffic"] == {"green": 50}, changed
    key = primary_key(server, "mirrored")
    for _ in range(20):
        assert numpy.abs(predictions(ask(endpoint["scoring_uri"], key, ROWS[:8])) - models[0][1]).max() <= 1e-6
    line = 'lathe_infer_mirrored_requests_total{endpoint="mirrored",deployment="green",outcome="computed"} 10'
    wait_for(lambda: line in requests.get(f"{server.infer}/metrics", timeout=30).text.splitlines(), 60, "the copies")
    for change, word in (({"mirror_traffic": {"green": 51}}, "from 0 to 50"), ({"mirror_traffic": {"gren": 5}}, "green"),
                         ({"mirror_traffic": {"blue": 5}}, "gets 100 %"), ({"mirror_traffic": {"blue": 1, "green": 1}}, "one"),
                         ({"traffic": {"blue": 90, "green": 10}}, "mirror_traffic.green")):  # fmt: skip
        refused = server.patch(f"{ENDPOINTS}/mirrored", json=change)
        assert refused.status_code == 400 and word in refused.json()["detail"], (change, refused.text)
    both = {"traffic": {"green": 100}, "mirror_traffic": {"green": 0}}
    assert server.patch(f"{ENDPOINTS}/mirrored", json=both).json()["mirror_traffic"] == {}


def test_statistics_tell_what_deployments_have_done(server, models):
    endpoint = make_endpoint(server, "counted")
    deploy(server, "counted", "blue", models[0][0], "?all_traffic=true")
    deploy(server, "counted", "green", models[1][0])
    key = primary_key(server, "counted")
    for _ in range(5):
        ask(endpoint["scoring_uri"], key, ROWS[:1])
    assert ask(endpoint["scoring_uri"], key, ROWS[:1, :2]).status_code == 400
    told = server.cli("online-endpoint", "stats", "-n", "counted").json()
    blue, green = told["deployments"]
    assert (told["name"], blue["name"], blue["requests"], blue["errors"]) == ("counted", "blue", 6, 0), told
    assert 0 < blue["p50_us"] <= blue["p90_us"] <= blue["p95_us"] <= blue["p99_us"], blue
    assert 0 < blue["mean_us"] <= blue["p99_us"] * 17 // 16 + 1
    assert (green["name"], green["requests"], green["p99_us"]) == ("green", 0, 0)
    assert server.get(f"{ENDPOINTS}/nobody/statistics").status_code == 404


def test_keys_are_needed_and_end_when_they_are_made_anew(server, models):
    endpoint = make_endpoint(server, "keys")
    deploy(server, "keys", "blue", models[0][0], "?all_traffic=true")
    before = server.get(f"{ENDPOINTS}/keys/credentials").json()
    assert ask(endpoint["scoring_uri"], "wrong", ROWS[:1]).status_code in (401, 403)
    assert requests.post(endpoint["scoring_uri"], json=body_of(ROWS[:1]), timeout=30).status_code in (401, 403)
    after = server.post(f"{ENDPOINTS}/keys/regenerate-keys", json={"key_type": "primary"}).json()
    assert after["primaryKey"] != before["primaryKey"]
    assert after["secondaryKey"] == before["secondaryKey"]
    assert ask(endpoint["scoring_uri"], before["primaryKey"], ROWS[:1]).status_code in (401, 403)
    for key in after.values():
        assert ask(endpoint["scoring_uri"], key, ROWS[:1]).status_code == 200
    desired = (server.data / "infer" / "desired.json").read_text()
    assert after["primaryKey"] not in desired
    assert hashlib.sha256(after["primaryKey"].encode()).hexdigest() in desired
    assert server.post(f"{ENDPOINTS}/keys/regenerate-keys", json={"key_type": "tertiary"}).status_code == 400


def test_a_viewer_sees_endpoints_but_not_their_keys(server):
    if os.geteuid() != 0:
        pytest.skip("a second user needs a server that runs as root")
    make_endpoint(server, "watched")
    token = server.post("/api/v1/users", json={"name": "vera", "role": "viewer"}).json()["token"]
    headers = {"Authorization": f"Bearer {token}"}
    assert server.get(f"{ENDPOINTS}/watched", headers=headers).status_code == 200
    assert server.get(f"{ENDPOINTS}/watched/credentials", headers=headers).status_code == 403
    assert server.post(f"{ENDPOINTS}/watched/invoke", json={}, headers=headers).status_code == 403


def test_a_bad_model_fails_and_the_old_one_goes_on(server, models, tmp_path):
    endpoint = make_endpoint(server, "steady")
    deploy(server, "steady", "blue", models[0][0], "?all_traffic=true")
    (tmp_path / "model.ubj").write_bytes(b"this is no model")
    bad = register(server, "broken", tmp_path / "model.ubj")
    changed = server.patch(f"{ENDPOINTS}/steady/deployments/blue", json={"model": bad}).json()
    assert changed["provisioning_state"] == "Failed", changed
    assert changed["error"]
    assert changed["model"] == models[0][0]
    key = primary_key(server, "steady")
    assert numpy.abs(predictions(ask(endpoint["scoring_uri"], key, ROWS[:8])) - models[0][1]).max() <= 1e-6

    made = deploy(server, "steady", "green", bad, "?all_traffic=true")
    assert made["provisioning_state"] == "Failed"
    assert server.get(f"{ENDPOINTS}/steady").json()["traffic"] == {"blue": 100}
    refused = server.patch(f"{ENDPOINTS}/steady", json={"traffic": {"green": 100}})
    assert refused.status_code == 409
    mended = server.patch(f"{ENDPOINTS}/steady/deployments/green", json={"model": models[1][0]}).json()
    assert mended["provisioning_state"] == "Succeeded", mended
    again = server.patch(f"{ENDPOINTS}/steady/deployments/blue", json={"model": models[1][0]}).json()
    assert again["provisioning_state"] == "Succeeded", again


def test_a_model_is_swapped_without_a_failed_request(server, models):
    endpoint = make_endpoint(server, "swapped")
    deploy(server, "swapped", "blue", models[0][0], "?all_traffic=true")
    with Asking(endpoint["scoring_uri"], primary_key(server, "swapped")) as asking:
        for model, _ in (models[1], models[0], models[1]):
            changed = server.patch(f"{ENDPOINTS}/swapped/deployments/blue", json={"model": model}).json()
            assert changed["provisioning_state"] == "Succeeded", changed
            asking.wait_for_more(10)
    assert asking.failed == []
    last = ask(endpoint["scoring_uri"], primary_key(server, "swapped"), ROWS[:8])
    assert numpy.abs(predictions(last) - models[1][1]).max() <= 1e-6


def test_what_cannot_be_honoured_is_said(server, models, tmp_path):
    made = make_endpoint(server, "said", auth_mode="aad_token", identity={"type": "system_assigned"})
    assert {(one["field"], one["verdict"]) for one in made["report"]} == {
        ("auth_mode", "substituted"), ("identity", "ignored")}  # fmt: skip
    (tmp_path / "model.pkl").write_bytes(b"\x80\x04.")
    pickled = register(server, "pickled", tmp_path / "model.pkl")
    url = f"{ENDPOINTS}/said/deployments"
    for change, word in [({"model": pickled}, "pickled"), ({"model": "azureml:tress:1"}, "trees"), ({"model": None}, "model"),
                         ({"code_configuration": {"code": ".", "scoring_script": "score.py"}}, "code_configuration"),
                         ({"instance_count": 0}, "instance_count"), ({"instance_cuont": 1}, "instance_count"),
                         ({"request_settings": {"request_timeout_ms": -1}}, "request_settings.request_timeout_ms"),
                         ({"name": "a.b"}, "name"), ({"endpoint_name": "other"}, "endpoint_name")]:  # fmt: skip
        document = {"name": "blue", "endpoint_name": "said", "model": models[0][0], **change}
        refused = server.post(url, json=document)
        assert refused.status_code in (400, 404), (change, refused.text)
        assert word in refused.json()["detail"], (change, refused.text)
    made = deploy(server, "said", "blue", models[0][0], instance_type="Standard_ND96asr_v4", environment="azureml:x@latest")
    assert {one["field"] for one in made["report"]} == {"instance_type", "environment"}
    assert server.get(f"{ENDPOINTS}/sad").status_code == 404
    assert "said" in server.get(f"{ENDPOINTS}/sad").json()["detail"]


def test_deleting_an_endpoint_takes_its_deployments_along(server, models):
    endpoint = make_endpoint(server, "gone")
    deploy(server, "gone", "blue", models[0][0], "?all_traffic=true")
    key = primary_key(server, "gone")
    assert ask(endpoint["scoring_uri"], key, ROWS[:1]).status_code == 200
    assert server.delete(f"{ENDPOINTS}/gone").status_code == 204
    assert ask(endpoint["scoring_uri"], key, ROWS[:1]).status_code in (401, 403, 404)
    assert server.get(f"{ENDPOINTS}/gone").status_code == 404


def test_predictions_go_on_while_the_server_is_killed_and_restarted(fresh_server, tmp_path):
    server = fresh_server
    booster = train(tmp_path, 1)
    endpoint = make_endpoint(server, "lasting")
    model = register(server, "trees", tmp_path / "model.ubj")
    deploy(server, "lasting", "blue", model, "?all_traffic=true")
    key = primary_key(server, "lasting")
    infer = server.infer
    with Asking(endpoint["scoring_uri"], key) as asking:
        for end in (server.kill9, server.terminate):
            end()
            asking.wait_for_more(20)
            server.restart()
            assert server.infer == infer
            asking.wait_for_more(20)
    assert asking.failed == []
    shown = server.get(f"{ENDPOINTS}/lasting/deployments/blue").json()
    assert (shown["provisioning_state"], shown["serving_state"]) == ("Succeeded", "ready")
    deploy(server, "lasting", "green", model)
    green = ask(endpoint["scoring_uri"], key, ROWS[:8], **{"azureml-model-deployment": "green"})
    assert numpy.abs(predictions(green) - booster.predict(xgboost.DMatrix(ROWS[:8]))).max() <= 1e-6


@pytest.mark.parametrize("damage", ["{", None])
def test_a_damaged_report_is_written_anew(fresh_server, tmp_path, damage):
    server = fresh_server
    train(tmp_path, 1)
    endpoint = make_endpoint(server, "mended")
    deploy(server, "mended", "blue", register(server, "trees", tmp_path / "model.ubj"), "?all_traffic=true")
    report = server.data / "infer/reported.json"
    server.kill9()
    report.unlink() if damage is None else report.write_text(damage)
    server.restart()
    assert json.loads(report.read_text())["pid"] in data_plane_pids(server)
    assert ask(endpoint["scoring_uri"], primary_key(server, "mended"), ROWS[:1]).status_code == 200


def test_a_killed_data_plane_comes_back_with_its_models(fresh_server, tmp_path):
    server = fresh_server
    train(tmp_path, 1)
    endpoint = make_endpoint(server, "back")
    deploy(server, "back", "blue", register(server, "trees", tmp_path / "model.ubj"), "?all_traffic=true")
    key = primary_key(server, "back")
    pids = data_plane_pids(server)
    assert pids
    for pid in pids:
        os.kill(pid, signal.SIGKILL)

    def answers():
        try:
            return ask(endpoint["scoring_uri"], key, ROWS[:1]).status_code == 200
        except requests.ConnectionError:
            return False

    wait_for(answers, limit_s=20, what="the data plane")
    with Client(server.grpc, key) as client:  # on the ports that it had
        asked = infer_request("back", [tensor("input", "FP32", [1, 5])], [ROWS[:1].tobytes()])
        assert client.call("ModelInfer", asked).raw_output_contents


def test_a_taken_port_is_one_sentence(fresh_server):
    from lathe_server import Server

    port = int(fresh_server.infer.rsplit(":", 1)[1])
    other = Server()
    try:
        with pytest.raises(AssertionError):
            other.start(0, port, 0)
        other.process.wait(60)
        assert other.process.returncode != 0
        said = [line for line in other.log.read_text().splitlines() if line.startswith("lathe serve:")]
        assert len(said) == 1
        assert str(port) in said[0]
        assert "--infer-port" in said[0]
    finally:
        other.__exit__(None, None, None)


def test_a_server_that_cannot_start_leaves_no_data_plane(fresh_server):
    from lathe_server import Server

    other = Server()
    try:
        with pytest.raises(AssertionError):
            other.start(fresh_server.port, 0, 0)
        other.process.wait(60)
        wait_for(lambda: not other.processes(), what="the end of its data plane")
    finally:
        other.__exit__(None, None, None)


def data_plane_pids(server):
    return [pid for pid in server.processes() if "lathe-infer\0" in cmdline(pid)]


@pytest.fixture
def server_that_may_report():
    """A server whose sanitizers report into its own log: the library's crash in the trial process is expected."""
    with Server(env={"ASAN_OPTIONS": "", "UBSAN_OPTIONS": ""}) as running:
        yield running


def test_a_damaged_model_fails_alone(server_that_may_report, tmp_path):
    """XGBoost crashes on such a file: the predictions of others must not notice."""
    server = server_that_may_report
    (tmp_path / "model.ubj").write_bytes(b"{L" + (1).to_bytes(8, "big") + b"a" + b"[" * 2_000_000)
    before = data_plane_pids(server)
    make_endpoint(server, "damage")
    deploy(server, "damage", "bad", register(server, "damaged", tmp_path / "model.ubj"))
    place = f"{ENDPOINTS}/damage/deployments/bad"
    failed = wait_for(lambda: (found := server.get(place).json())["provisioning_state"] == "Failed" and found, 30, "the failure")
    assert "model.ubj is damaged" in failed["error"]
    assert data_plane_pids(server) == before


def test_an_endpoint_that_a_change_leaves_without_traffic_says_so(server, models):
    endpoint = make_endpoint(server, "silent")
    deploy(server, "silent", "blue", models[0][0], "?all_traffic=true")
    done = server.cli("online-endpoint", "update", "-n", "silent", "--traffic", "blue=0")
    assert done.json()["traffic"] == {"blue": 0}
    assert "traffic" in done.stderr and "no deployment gets requests" in done.stderr, done
    assert ask(endpoint["scoring_uri"], primary_key(server, "silent"), ROWS[:1]).status_code == 503
    again = server.patch(f"{ENDPOINTS}/silent", json={"traffic": {"blue": 0}})
    assert again.status_code == 200 and "report" not in again.json()  # as it was
