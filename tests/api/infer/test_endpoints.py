"""Endpoints: keys, traffic, versions, swaps under load, full queues, crashes and restarts."""

import collections
import concurrent.futures
import subprocess
import threading

import numpy
import requests
import xgboost

import onnx_file
from data_plane import KEY, deployment, endpoint
from lathe_server import bin_folder, wait_for


def save(plane, booster, name="model.ubj"):
    path = plane.models / name
    booster.save_model(path)
    return path


ROW = {"input": ("FP32", [1, 8], [0.5] * 8)}


def test_a_key_is_needed(plane, make_booster):
    path = save(plane, make_booster("binary:logistic"))
    plane.desire(endpoint("e", [deployment("blue", path)]), endpoint("other", [deployment("d", path)], key="another"))
    assert plane.infer("e", ROW).status_code == 200
    for path in ("/v2/models/e", "/v2/models/e/ready"):
        assert plane.get(path).status_code == 200
        assert requests.get(plane.url + path, timeout=60).status_code == 401
    body = {"inputs": [{"name": "input", "datatype": "FP32", "shape": [1, 8], "data": [0.5] * 8}]}
    for header, status in ((None, 401), ("Basic abc", 401), ("Bearer ", 401), ("Bearer wrong", 403),
                           ("Bearer another", 403), (f"bearer {KEY}", 200)):  # fmt: skip
        headers = {"Authorization": header} if header else {}
        for path in ("/v2/models/e/infer", "/endpoints/e/v2/models/e/infer"):
            got = requests.post(plane.url + path, json=body, headers=headers, timeout=60)
            assert got.status_code == status, (header, got.text)
            assert (status == 200) != ("error" in got.json())
    assert plane.infer("other", ROW).status_code == 403
    for path in ("/v2", "/v2/health/live", "/v2/health/ready", "/ping", "/health", "/version", "/metrics"):
        assert requests.get(plane.url + path, timeout=60).status_code == 200


def test_key_rotation_holds_at_once(plane, make_booster):
    path = save(plane, make_booster("binary:logistic"))
    plane.desire(endpoint("e", [deployment("blue", path)]))
    plane.desire(endpoint("e", [deployment("blue", path)], key="new"))
    assert plane.infer("e", ROW).status_code == 403
    assert plane.infer("e", ROW, ).json()["error"].startswith("this is not one of the keys")
    plane.session.headers["Authorization"] = "Bearer new"
    assert plane.infer("e", ROW).status_code == 200


def test_paths_and_names(plane, make_booster):
    path = save(plane, make_booster("binary:logistic"))
    two = [deployment("blue", path, version="3"), deployment("green", path, version="4")]
    plane.desire(endpoint("e", two, {"blue": 100}), endpoint("f", [deployment("blue", path)]))
    assert plane.infer("e.green", ROW).json()["model_version"] == "4"
    assert plane.infer("e", ROW).json()["model_version"] == "3"
    picked = {"azureml-model-deployment": "green"}
    body = {"inputs": [[0.5] * 8]}
    assert plane.post("/endpoints/e/invocations", json=body, headers=picked).headers["azureml-model-deployment"] == "green"
    assert plane.post("/invocations", json=body).status_code == 400
    assert plane.post("/invocations", json=body, headers={"x-lathe-endpoint": "e"}).status_code == 200
    for path, status in (("/v2/models/e/versions/3", 200), ("/v2/models/e/versions/4", 404),
                         ("/v2/models/e.green/versions/4/ready", 200), ("/v2/models/%65", 200),
                         ("/v2/models/nobody", 404), ("/v2/models/e.red", 404), ("/endpoints/f/v2/models/e", 404),
                         ("/endpoints/f/v2/models/f.blue", 200), ("/endpoints/f/v2/models/f", 200),
                         ("/v2/models", 404), ("/v2/models/", 404), ("/", 404), ("/endpoints/", 404),
                         ("/endpoints/f/v2", 200), ("/endpoints/f/v2/models/f/ready", 200)):  # fmt: skip
        assert plane.get(path).status_code == status, path
    for path in ("/v2/models/e/infer", "/invocations"):
        assert plane.get(path).status_code == 405
    assert plane.post("/v2/models/e").status_code == 405


def test_traffic_is_exact_over_any_100_requests(plane, make_booster):
    path = save(plane, make_booster("binary:logistic"))
    three = [deployment(name, path) for name in ("blue", "green", "red")]
    plane.desire(endpoint("e", three, {"blue": 85, "green": 10, "red": 5}))
    went = [plane.infer("e", ROW).headers["azureml-model-deployment"] for _ in range(250)]
    for start in range(0, 151, 10):
        assert collections.Counter(went[start : start + 100]) == {"blue": 85, "green": 10, "red": 5}
    plane.desire(endpoint("e", three, {}))
    got = plane.infer("e", ROW)
    assert got.status_code == 503 and "online-endpoint update" in got.json()["error"]
    assert plane.infer("e.red", ROW).status_code == 200
    assert plane.get("/v2/models/e/ready").status_code == 400


def test_a_failed_model_takes_no_traffic_and_the_old_one_goes_on(plane, make_booster):
    good = save(plane, make_booster("binary:logistic"))
    plane.desire(endpoint("e", [deployment("blue", good)]))
    forged = deployment("blue", save(plane, make_booster("reg:squarederror"), "other.ubj"), version="2")
    forged["model"]["files"][0]["sha256"] = "0" * 64
    state = plane.desire(endpoint("e", [forged]))["e.blue"]
    assert state["state"] == "failed" and "SHA-256 differs" in state["error"] and "version 1 goes on" in state["error"]
    assert plane.infer("e", ROW).json()["model_version"] == "1"

    nonsense = plane.models / "nonsense.ubj"
    nonsense.write_text("nonsense")
    gone = deployment("gone", good)
    gone["model"]["folder"] = "/nowhere"
    outside = deployment("outside", good)
    outside["model"]["file"] = outside["model"]["files"][0]["path"] = "../infer/desired.json"
    pickled = deployment("pickled", good, format="python")
    names = deployment("names", good, feature_names=["just one"])
    broken = [deployment("nonsense", nonsense), gone, outside, pickled, names]
    states = plane.desire(endpoint("e", [deployment("blue", good), *broken],
                                   {"blue": 50, "nonsense": 10, "gone": 10, "outside": 30}))  # fmt: skip
    assert states["e.blue"]["state"] == "ready"
    for name, words in (("nonsense", "XGBoost says"), ("gone", "cannot be read"), ("outside", "outside its folder"),
                        ("pickled", "expected xgboost, onnx or native"), ("names", "1 feature names")):  # fmt: skip
        assert states[f"e.{name}"]["state"] == "failed" and words in states[f"e.{name}"]["error"], states[f"e.{name}"]
    assert {plane.infer("e", ROW).headers["azureml-model-deployment"] for _ in range(50)} == {"blue"}
    assert plane.infer("e.nonsense", ROW).status_code == 404


def test_an_unreadable_desired_state_changes_nothing(plane, make_booster):
    path = save(plane, make_booster("binary:logistic"))
    plane.desire(endpoint("e", [deployment("blue", path)]))
    for text in ("{", "[]", '{"generation":9,"endpoints":{}}', '{"endpoints":[]}'):
        (plane.folder / "desired.json").write_text(text)
        wait_for(lambda: "desired.json" in plane.reported()["error"], what="the error")
        assert plane.reported()["generation"] == 1
        assert plane.infer("e", ROW).status_code == 200
    plane.desire(endpoint("e", [deployment("blue", path)]))
    assert plane.reported()["error"] == ""


def test_swaps_under_load_fail_no_request(plane, make_booster):
    boosters = [make_booster("binary:logistic", rounds=rounds) for rounds in (5, 15)]
    paths = [save(plane, booster, f"model{i}.ubj") for i, booster in enumerate(boosters)]
    row = numpy.full((1, 8), 0.5, dtype=numpy.float32)
    expected = {str(i): booster.predict(xgboost.DMatrix(row))[0] for i, booster in enumerate(boosters)}
    plane.desire(endpoint("e", [deployment("blue", paths[0], version="0")]))
    over = threading.Event()

    def ask():
        count = 0
        body = {"inputs": [{"name": "input", "datatype": "FP32", "shape": [1, 8], "data": [0.5] * 8}]}
        with requests.Session() as session:
            while not over.is_set():
                got = session.post(f"{plane.url}/v2/models/e/infer", json=body, timeout=10,
                                   headers={"Authorization": f"Bearer {KEY}"})  # fmt: skip
                assert got.status_code == 200, got.text
                answer = got.json()
                assert abs(answer["outputs"][0]["data"][0] - expected[answer["model_version"]]) < 1e-6
                count += 1
        return count

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask) for _ in range(4)]
        for turn in range(1, 21):
            version = turn % 2
            plane.desire(endpoint("e", [deployment("blue", paths[version], version=str(version))]))
        over.set()
        assert all(each.result() > 10 for each in asking)


def test_a_full_queue_says_so_at_once_and_a_late_request_ends(plane):
    path = onnx_file.slow(plane.models / "slow.onnx")
    settings = {"instances": 1, "max_queue": 2, "request_timeout_ms": 60_000}
    plane.desire(endpoint("e", [deployment("blue", path, format="onnx", **settings)]))
    tensor = {"x": ("FP32", [1, 1], [1.0])}
    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        answers = [each.result() for each in [pool.submit(plane.infer, "e", tensor) for _ in range(24)]]
    counts = collections.Counter(each.status_code for each in answers)
    assert set(counts) == {200, 503} and counts[200] >= 3, counts
    for each in answers:
        if each.status_code == 503:
            assert each.headers["Retry-After"] == "1" and "queue" in each.json()["error"]

    settings = {"instances": 1, "max_queue": 100, "request_timeout_ms": 1}
    plane.desire(endpoint("e", [deployment("blue", path, format="onnx", **settings)]))
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = [each.result() for each in [pool.submit(plane.infer, "e", tensor) for _ in range(8)]]
    assert {each.status_code for each in answers} <= {200, 504}
    assert any(each.status_code == 504 for each in answers)


def test_a_slow_model_does_not_hold_up_a_quick_one(plane, make_booster):
    slow = deployment("blue", onnx_file.slow(plane.models / "slow.onnx"), format="onnx")
    plane.desire(endpoint("slow", [slow]), endpoint("quick", [deployment("blue", save(plane, make_booster("reg:squarederror")))]))
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        asking = [pool.submit(plane.infer, "slow", {"x": ("FP32", [1, 1], [1.0])}) for _ in range(8)]
        quick = 0
        while not all(each.done() for each in asking):
            assert plane.infer("quick", ROW).status_code == 200
            quick += 1
        assert quick > len(asking)
        assert all(each.result().status_code == 200 for each in asking)


def test_it_comes_back_after_kill_9_without_anybody_else(plane, make_booster):
    path = save(plane, make_booster("binary:logistic"))
    plane.desire(endpoint("e", [deployment("blue", path)]))
    before = plane.infer("e", ROW).json()
    port = plane.port
    for _ in range(3):
        plane.kill9()
        plane.start(port)
        wait_for(lambda: plane.get("/v2/health/ready").status_code == 200, what="being ready")
        assert plane.infer("e", ROW).json() == before
        assert plane.reported()["pid"] == plane.process.pid


def test_sigterm_lets_requests_in_flight_end(plane):
    path = onnx_file.slow(plane.models / "slow.onnx", steps=150)
    plane.desire(endpoint("e", [deployment("blue", path, format="onnx", instances=4)]))
    body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [1.0]}]}
    headers = {"Authorization": f"Bearer {KEY}"}

    def ask():
        return requests.post(f"{plane.url}/v2/models/e/infer", json=body, headers=headers, timeout=60)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask) for _ in range(4)]
        wait_for(lambda: connections_to(plane.port) == 4, what=f"four connections, not {connections_to(plane.port)}")
        assert plane.stop() == 0
        assert [each.result().status_code for each in asking] == [200] * 4


def connections_to(port):
    """How many established connections have this local port."""
    with open("/proc/net/tcp") as table:
        lines = [line.split() for line in table.readlines()[1:]]
    return sum(1 for line in lines if line[1].endswith(f":{port:04X}") and line[3] == "01")


def test_a_taken_port_is_one_sentence(plane):
    done = subprocess.run([bin_folder() / "lathe-infer", "--folder", plane.root / "second", "--port", str(plane.port)],
                          capture_output=True, text=True, timeout=30)  # fmt: skip
    assert done.returncode == 1 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1 and f"port {plane.port} is taken" in done.stderr


def test_metrics_count_requests(plane, make_booster):
    plane.desire(endpoint("e", [deployment("blue", save(plane, make_booster("binary:logistic")))]))
    for _ in range(5):
        plane.infer("e", ROW)
    plane.infer("e", {"input": ("FP32", [1, 7], [0.5] * 7)})
    text = plane.get("/metrics").text
    assert 'lathe_infer_requests_total{endpoint="e",deployment="blue",code="200"} 5\n' in text
    assert 'lathe_infer_requests_total{endpoint="e",deployment="blue",code="400"} 1\n' in text
    assert 'lathe_infer_request_duration_seconds_count{endpoint="e",deployment="blue"} 6\n' in text


def test_an_endpoint_without_deployments_says_how_to_make_one(plane):
    plane.desire(endpoint("empty", [], traffic={}))
    answer = plane.infer("empty", {"input": ("FP32", [1, 1], [0])})
    assert answer.status_code == 503
    assert "lathe online-deployment create -e empty -f FILE" in answer.json()["error"]
