"""Native models that leave memory while nobody asks them, and when others need the room, and come back with a request."""

import concurrent.futures
import json

import grpc_client
import numpy
import onnx_file
import pytest
import requests
from data_plane import KEY, DataPlane, deployment, endpoint
from lathe_server import wait_for


def sleepy(deployed, quiet_ms=200):
    deployed["model"]["scale"] = {"min": 0, "quiet_ms": quiet_ms}
    return deployed


def metric(plane, name, endpoint_name):
    """The number after `lathe_infer_NAME` of this endpoint."""
    line = f'lathe_infer_{name}{{endpoint="{endpoint_name}",deployment="blue"}} '
    (found,) = [each for each in plane.get("/metrics").text.splitlines() if each.startswith(line)]
    return int(found[len(line):])


def sleeps(plane, name):
    return metric(plane, "instances", name) == 0


@pytest.fixture(scope="module")
def booster(make_booster):
    return make_booster("reg:squarederror")


@pytest.fixture
def save(booster, tmp_path):
    """Saves the model under a name."""
    def made(name):
        path = tmp_path / f"{name}.json"
        booster.save_model(path)
        return path

    return made


@pytest.fixture(scope="module")
def ask(booster, rows):
    """Asks an endpoint, and holds the answer against the model's own."""
    import xgboost

    expected = booster.predict(xgboost.DMatrix(rows[:3]))
    body = {"inputs": [[None if numpy.isnan(value) else float(value) for value in row] for row in rows[:3]]}

    def go(plane, name):
        answer = requests.post(f"{plane.url}/endpoints/{name}/invocations", json=body, timeout=120,
                               headers={"Authorization": f"Bearer {KEY}"})  # fmt: skip
        if answer.status_code == 200:
            numpy.testing.assert_allclose(answer.json()["predictions"], expected, rtol=1e-5)
        return answer

    return go


@pytest.fixture
def crowded(save):
    """A data plane whose budget holds two of its three models: "a", which was loaded first, has left for "c"."""
    paths = {name: save(name) for name in "abc"}
    budget = int(paths["a"].stat().st_size * 2.5)
    with DataPlane("--memory-bytes", str(budget)) as plane:
        for count in (1, 2, 3):  # one after the other, so that it is known which was loaded first
            state = plane.desire(*[endpoint(name, [deployment("blue", path)]) for name, path in list(paths.items())[:count]])
        assert {each["state"] for each in state.values()} == {"ready"}, state
        assert [sleeps(plane, name) for name in "abc"] == [True, False, False]
        plane.paths = paths
        yield plane


def test_a_model_that_nobody_asks_leaves_memory_and_comes_back(plane, save, ask):
    plane.desire(endpoint("e", [sleepy(deployment("blue", save("m")))]))
    wait_for(lambda: sleeps(plane, "e"), 60, "the model's sleep")
    assert ask(plane, "e").status_code == 200
    assert metric(plane, "wakes_total", "e") == 1
    wait_for(lambda: sleeps(plane, "e"), 60, "the model's sleep again")
    wait_for(lambda: plane.reported()["deployments"][0]["instances"] == 0, 60, "the report of it")
    assert ask(plane, "e").status_code == 200


def test_what_is_known_of_a_sleeping_model_is_answered_without_it(crowded):
    metadata = crowded.get("/v2/models/a").json()
    assert metadata["inputs"] == [{"name": "input", "datatype": "FP32", "shape": [-1, 8]}], metadata
    assert crowded.get("/v2/models/a/ready").status_code == 200
    assert crowded.get("/v2/models/a/config").json()["platform"] == "xgboost"
    assert crowded.get("/v2/health/ready").json() == {"ready": True}
    assert [each["state"] for each in crowded.post("/v2/repository/index").json()] == ["READY"] * 6
    assert sleeps(crowded, "a") and metric(crowded, "wakes_total", "a") == 0


def test_requests_that_come_together_share_one_load(crowded, ask):
    with concurrent.futures.ThreadPoolExecutor(50) as threads:
        answers = list(threads.map(lambda _: ask(crowded, "a"), range(50)))
    assert {each.status_code for each in answers} == {200}, {each.text for each in answers}
    assert metric(crowded, "wakes_total", "a") == 1


def test_the_least_recently_used_model_leaves_for_one_that_is_asked(crowded, ask):
    assert ask(crowded, "b").status_code == 200
    assert ask(crowded, "a").status_code == 200
    assert [sleeps(crowded, name) for name in "abc"] == [False, False, True]
    for name in "cabcab":
        assert ask(crowded, name).status_code == 200
        assert not sleeps(crowded, name)
        wait_for(lambda: sum(sleeps(crowded, each) for each in "abc") == 1, 60, "the leave of another")


def test_a_crowd_that_asks_all_of_them_is_answered(crowded, ask):
    """What is computed does not leave; where all are, the budget waits."""
    with concurrent.futures.ThreadPoolExecutor(12) as threads:
        answers = list(threads.map(lambda i: ask(crowded, "abc"[i % 3]), range(150)))
    assert {each.status_code for each in answers} == {200}, {each.text for each in answers}
    wait_for(lambda: sum(sleeps(crowded, each) for each in "abc") == 1, 60, "the leave of one")


def test_a_sleeping_model_whose_file_was_damaged_says_so_until_it_is_mended(crowded, ask):
    good = crowded.paths["a"].read_bytes()
    crowded.paths["a"].write_bytes(good[:-10] + b"0123456789")
    refused = ask(crowded, "a")
    assert refused.status_code == 503 and "register the model again" in refused.json()["error"], refused.text
    assert refused.headers["Retry-After"] and refused.headers["azureml-model-deployment"] == "blue"
    assert str(crowded.paths["a"].parent) not in refused.text and "a.json" in refused.json()["error"], refused.text
    assert "a model does not wake endpoint=a deployment=blue error=" in crowded.log_tail(10_000)

    def reported():
        (told,) = [each for each in crowded.reported()["deployments"] if each["endpoint"] == "a"]
        return told

    wait_for(lambda: reported()["state"] == "failed", 60, "the report of it")
    told = reported()
    assert told["tries_again"] is True and "register the model again (the next request tries again)" in told["error"], told
    index = {each["name"]: (each["state"], each.get("reason", "")) for each in crowded.post("/v2/repository/index").json()}
    assert index["a"] == index["a.blue"] and index["b"] == ("READY", ""), index
    assert index["a"][0] == "UNAVAILABLE" and "register the model again" in index["a"][1], index
    assert "a" not in {each["name"] for each in crowded.post("/v2/repository/index", json={"ready": True}).json()}
    assert ask(crowded, "b").status_code == 200
    crowded.paths["a"].write_bytes(good)
    wait_for(lambda: ask(crowded, "a").status_code == 200, 60, "the next try")
    wait_for(lambda: reported()["state"] == "ready" and not reported()["error"], 60, "the report of that")


def test_grpc_and_batches_wake_models_too(save):
    path = onnx_file.linear(save("m").parent / "linear.onnx")
    batching = deployment("blue", path, "7", "onnx")
    batching["model"]["config"] = {"max_batch_size": 8, "dynamic_batching": {}}
    with DataPlane("--memory-bytes", "1") as plane, grpc_client.Client(plane.grpc, KEY) as client:
        state = plane.desire(endpoint("e", [batching]), endpoint("f", [deployment("blue", path, "7", "onnx")]))
        assert {each["state"] for each in state.values()} == {"ready"}, state
        row = grpc_client.tensor("x", "FP32", [1, 3], "fp32_contents", [1, 2, 3])
        for name, other in ("ef", "fe", "ef"):
            assert len(client.call("ModelInfer", grpc_client.infer_request(other, [row])).outputs) == 1
            wait_for(lambda: sleeps(plane, name), 60, "its leave")
            assert len(client.call("ModelInfer", grpc_client.infer_request(name, [row])).outputs) == 1
        assert metric(plane, "wakes_total", "e") >= 2 and metric(plane, "wakes_total", "f") >= 1


def test_a_data_plane_that_is_killed_while_its_models_sleep_answers_again(crowded, ask):
    crowded.kill9()
    crowded.start()
    wait_for(lambda: crowded.get("/v2/health/ready").status_code == 200, 60, "the data plane")
    for name in "abc":
        assert ask(crowded, name).status_code == 200


def test_a_new_version_and_a_removal_of_a_sleeping_model(crowded, ask, save):
    others = [endpoint(name, [deployment("blue", crowded.paths[name])]) for name in "bc"]
    state = crowded.desire(endpoint("a", [deployment("blue", save("again"), "2")]), *others)
    assert state["a.blue"]["state"] == "ready" and ask(crowded, "a").status_code == 200
    crowded.desire(*others)
    assert ask(crowded, "a").status_code == 404 and ask(crowded, "b").status_code == 200


def test_what_failed_is_tried_again_when_it_was_mended_or_is_ordered_anew(plane, save, ask):
    def failures():
        return plane.log_tail(10_000).count("a deployment failed")

    good = save("good")
    bad = deployment("blue", save("bad"))
    content = (save("bad")).read_bytes()
    path = good.parent / "bad.json"
    path.write_bytes(content[:-10])
    assert plane.desire(endpoint("bad", [bad]))["bad.blue"]["state"] == "failed"
    assert failures() == 1
    both = plane.desire(endpoint("bad", [bad]), endpoint("good", [deployment("blue", good)]))
    assert both["good.blue"]["state"] == "ready" and both["bad.blue"]["state"] == "failed" and failures() == 1
    assert plane.desire(endpoint("bad", [{**bad, "asked": 7}]))["bad.blue"]["state"] == "failed"
    assert failures() == 2
    path.write_bytes(content)
    assert plane.desire(endpoint("bad", [{**bad, "asked": 7}]))["bad.blue"]["state"] == "ready"
    assert ask(plane, "bad").status_code == 200


def test_the_report_tells_the_budget(crowded):
    assert json.loads((crowded.folder / "reported.json").read_text())["memory_bytes"] > 0
