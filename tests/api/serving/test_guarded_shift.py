"""Changes of traffic that a guard watches: they stay, or go back by themselves."""

import json
import os
import signal

import pytest
from asking import ROWS, Asking, ask, train
from endpoint_helpers import ENDPOINTS, deploy, make_endpoint, primary_key, register
from lathe_server import wait_for
from sandbox_helpers import python_can_be_deployed


def two_deployments(server, name, folder):
    """An endpoint of two deployments of one model; blue has the traffic. Answers its URI and key."""
    train(folder, 1)
    model = register(server, f"{name}-model", folder / "model.ubj")
    endpoint = make_endpoint(server, name)
    deploy(server, name, "blue", model, "?all_traffic=true")
    deploy(server, name, "green", model)
    return endpoint["scoring_uri"], primary_key(server, name)


def shift(server, name, guard, span, traffic="green=10"):
    shown = server.cli("online-endpoint", "update", "-n", name, "--traffic", traffic, "--guard", guard, "--for", span).json()
    assert shown["shift"]["state"] == "watching" and shown["shift"]["guard"] == guard, shown
    return shown


def outcome(server, name):
    """The endpoint, once its shift is no longer watched."""
    return wait_for(lambda: (shown := server.get(f"{ENDPOINTS}/{name}").json())["shift"]["state"] != "watching" and shown,
                    90, "the end of the watch")  # fmt: skip


def test_a_shift_that_is_too_slow_goes_back_at_once(server, tmp_path):
    uri, key = two_deployments(server, "slow", tmp_path)
    with Asking(uri, key) as asking:
        shift(server, "slow", "p99<30s,p50<1us", "1h", "green=50")
        shown = outcome(server, "slow")
        asking.wait_for_more(5)
    assert asking.failed == []
    assert shown["shift"]["state"] == "rolled back" and "the guard is p50<1us" in shown["shift"]["why"], shown
    assert shown["traffic"] == {"blue": 100}
    newest = server.get(f"{ENDPOINTS}/slow/revisions").json()["value"][0]
    assert newest["traffic"] == {"blue": 100} and "p50 was" in newest["what"], newest


@python_can_be_deployed
def test_errors_send_it_back(server, tmp_path):
    uri, key = two_deployments(server, "wrong", tmp_path)
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "score.py").write_text("def init(): pass\ndef run(data): raise ValueError(data)\n")
    deploy(server, "wrong", "red", "azureml:wrong-model:1", code_configuration={
        "code": str(tmp_path / "code"), "scoring_script": "score.py"})  # fmt: skip
    shift(server, "wrong", "errors<5%", "1h", "red=50")
    for _ in range(42):
        ask(uri.replace("/v2/models/wrong/infer", "/endpoints/wrong/score"), key, ROWS[:1])
    shown = outcome(server, "wrong")
    assert shown["shift"]["state"] == "rolled back" and "errors was 100.0 %" in shown["shift"]["why"], shown
    assert shown["traffic"] == {"blue": 100}


def test_too_few_requests_are_no_reason_to_stay(server, tmp_path):
    uri, key = two_deployments(server, "few", tmp_path)
    shift(server, "few", "errors<1%", "1s", "green=100")
    assert ask(uri, key, ROWS[:1]).status_code == 200
    shown = outcome(server, "few")
    assert shown["shift"]["state"] == "rolled back" and "at least 20" in shown["shift"]["why"], shown
    assert shown["traffic"] == {"blue": 100}


def test_another_change_ends_the_watch(server, tmp_path):
    two_deployments(server, "ended", tmp_path)
    shift(server, "ended", "p99<1us", "1h")
    server.patch(f"{ENDPOINTS}/ended", json={"description": "no change of what is served"}).raise_for_status()
    assert server.get(f"{ENDPOINTS}/ended").json()["shift"]["state"] == "watching"
    shown = server.patch(f"{ENDPOINTS}/ended", json={"traffic": {"blue": 50, "green": 50}}).json()
    assert (shown["shift"]["state"], shown["shift"]["why"]) == ("ended", "the traffic was changed")
    assert shown["traffic"] == {"blue": 50, "green": 50}
    shift(server, "ended", "p99<1us", "1h", "green=60")
    server.patch(f"{ENDPOINTS}/ended/deployments/green", json={"instance_count": 2}).raise_for_status()
    assert server.get(f"{ENDPOINTS}/ended").json()["shift"]["why"] == "deployment green was changed"
    shift(server, "ended", "p99<1us", "1h", "green=70")
    shown = server.post(f"{ENDPOINTS}/ended/rollback").json()
    assert shown["shift"]["state"] == "ended" and "was brought back" in shown["shift"]["why"], shown
    assert shown["traffic"] == {"blue": 40, "green": 60}


def test_what_a_guard_cannot_be_is_refused(server, tmp_path):
    two_deployments(server, "refused", tmp_path)
    ten = {"green": 10}
    for change, words in (({"guard": "p99<50ms"}, "traffic"), ({"traffic": ten, "for": "10m"}, "there is no guard"),
                          ({"traffic": ten, "guard": "p98<50ms"}, '"p9'), ({"traffic": ten, "guard": "p99<50"}, "us, ms or s"),
                          ({"traffic": ten, "guard": "errors<1%", "for": "soon"}, "for"),
                          ({"traffic": ten, "guard": "errors<1%", "for": "8d"}, "from 1s to 7d"),
                          ({"traffic": {"gren": 10}, "guard": "errors<1%"}, "green"),
                          ({"traffic": {"blue": 100}, "guard": "errors<1%"}, "none does"),
                          ({"traffic": {"green": 110}, "guard": "errors<1%"}, "from 0 to 100")):  # fmt: skip
        refused = server.patch(f"{ENDPOINTS}/refused", json=change)
        assert refused.status_code == 400 and words in refused.json()["detail"], (change, refused.text)
    shown = server.get(f"{ENDPOINTS}/refused").json()
    assert shown["traffic"] == {"blue": 100} and "shift" not in shown


@pytest.mark.parametrize("guard, state", [("p99<30s,errors<1%", "kept"), ("p50<1us", "rolled back")])
def test_a_watch_goes_on_after_the_server_was_killed(fresh_server, tmp_path, guard, state):
    server = fresh_server
    uri, key = two_deployments(server, "lasting", tmp_path)
    shown = shift(server, "lasting", guard, "10s", "green=80")
    assert shown["traffic"] == {"blue": 20, "green": 80} and shown["shift"]["before"] == {"blue": 100}
    server.kill9()
    for _ in range(50):
        assert ask(uri, key, ROWS[:1]).status_code == 200
    server.start()
    shown = outcome(server, "lasting")
    assert shown["shift"]["state"] == state and "over 40 requests" in shown["shift"]["why"], shown
    assert shown["traffic"] == ({"blue": 20, "green": 80} if state == "kept" else {"blue": 100})


def end_the_data_plane(server):
    before = json.loads((server.data / "infer" / "reported.json").read_text())["pid"]
    os.kill(before, signal.SIGKILL)

    def again():
        try:
            said = json.loads((server.data / "infer" / "reported.json").read_text())
        except (FileNotFoundError, ValueError):
            return False
        return said["pid"] != before and said["deployments"] and all(each["state"] == "ready" for each in said["deployments"])

    wait_for(again, 120, "the data plane that is started again")


def test_what_was_counted_before_the_data_plane_ended_counts(fresh_server, tmp_path):
    server = fresh_server
    uri, key = two_deployments(server, "again", tmp_path)
    shift(server, "again", "p99<30s,errors<=0%", "1h", "green=100")

    def judged(count):
        return lambda: server.get(f"{ENDPOINTS}/again").json()["shift"]["requests"] == count

    for total in (15, 30):
        for _ in range(15):
            assert ask(uri, key, ROWS[:1]).status_code == 200
        wait_for(judged(total), 90, f"{total} requests that were judged")
        end_the_data_plane(server)
    # Its end is told, with its last words.
    wait_for(lambda: "the data plane ended; it is started again times=" in server.log.read_text(), 60, "what the log says")
    assert "last_words=" in server.log.read_text()


def test_a_rollback_does_not_lead_to_what_a_guard_has_refused(server, tmp_path):
    uri, key = two_deployments(server, "wiser", tmp_path)
    server.patch(f"{ENDPOINTS}/wiser", json={"traffic": {"blue": 90, "green": 10}}).raise_for_status()
    with Asking(uri, key):
        shift(server, "wiser", "p50<1us", "1h", "green=50")
        outcome(server, "wiser")
    kept = server.get(f"{ENDPOINTS}/wiser/revisions").json()["value"]
    refused = [each for each in kept if "refused" in each]
    assert [each["traffic"] for each in refused] == [{"blue": 50, "green": 50}] and "p50 was" in refused[0]["refused"]
    back = server.post(f"{ENDPOINTS}/wiser/rollback").json()
    assert back["traffic"] == {"blue": 100}, back
    # Whoever names it gets it.
    back = server.post(f"{ENDPOINTS}/wiser/rollback", json={"revision": refused[0]["number"]}).json()
    assert back["traffic"] == {"blue": 50, "green": 50}, back
