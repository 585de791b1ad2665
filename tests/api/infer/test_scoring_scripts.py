"""Scoring scripts in worker processes: what they see, what they answer, and what becomes of them."""

import concurrent.futures
import json
import os
import signal

import pytest

from data_plane import DataPlane, endpoint
from lathe_server import wait_for
from python_workers import interpreters_of, log_of, scoring_script, wait_until_gone, workers_of
from sandbox_helpers import python_can_be_deployed

pytestmark = python_can_be_deployed

ECHO = """
    import json, os

    def init():
        global begun
        begun = os.getpid()
        print("init is done")

    def run(data):
        asked = json.loads(data)
        if "exit" in asked:
            os._exit(asked["exit"])
        print("asked", asked)
        return {"got": asked, "kind": type(data).__name__, "worker": os.environ["LATHE_WORKER"], "begun": begun}
"""


def score(plane, body, **options):
    return plane.post("/endpoints/e/score", json=body, **options)


@pytest.fixture(scope="module")
def echo():
    with DataPlane() as plane:
        state = plane.desire(endpoint("e", [scoring_script(plane, ECHO)]))["e.blue"]
        assert state["state"] == "ready", state
        yield plane


def test_run_gets_the_body_as_text_and_its_answer_is_json(echo):
    got = score(echo, {"data": [1, 2.5, "ä"]})
    assert got.status_code == 200, got.text
    assert got.json()["got"] == {"data": [1, 2.5, "ä"]} and got.json()["kind"] == "str"
    assert got.headers["content-type"] == "application/json"
    assert got.headers["azureml-model-deployment"] == "blue"
    assert got.headers["x-ms-run-function-failed"] == "False"
    assert float(got.headers["x-ms-run-fn-exec-ms"]) >= 0
    wait_for(lambda: "1| asked {'data': [1, 2.5, 'ä']}" in log_of(echo), 60, "the line in the log")
    assert "init is done" in log_of(echo)


@pytest.mark.parametrize("size", [100, 70_000, 5_000_000])
def test_bodies_of_any_size_come_whole(echo, size):
    text = "x" * size
    assert score(echo, {"text": text}).json()["got"] == {"text": text}


def test_a_script_answers_nothing_but_score(echo):
    for path in ("/endpoints/e/invocations", "/v2/models/e/infer"):
        got = echo.post(path, json={"inputs": [[1]]})
        assert got.status_code == 400 and "/endpoints/e/score" in got.json()["error"]
    metadata = echo.get("/v2/models/e").json()
    assert metadata["platform"] == "python_script" and metadata["inputs"] == [] and metadata["outputs"] == []
    ready = echo.get("/v2/models/e/ready")
    assert ready.status_code == 400 and "/endpoints/e/score alone" in ready.json()["error"]


def test_a_body_that_is_no_text_is_refused(echo):
    assert echo.post("/endpoints/e/score", data=b"\xff\xfe", headers={"Content-Type": "application/json"}).status_code == 400


def test_requests_are_counted(echo):
    def count():
        return echo.get("/v2/models/e/stats").json()["model_stats"][0]["inference_stats"]["success"]["count"]

    before = count()
    score(echo, {})
    assert count() == before + 1


def test_one_worker_computes_one_request_at_a_time_and_a_killed_one_comes_back(echo):
    first = score(echo, {}).json()["begun"]
    lost = score(echo, {"exit": 3})
    assert lost.status_code == 503 and "exit status 3" in lost.json()["error"]
    again = wait_for(lambda: (got := score(echo, {})).status_code == 200 and got, 60, "the worker's return")
    assert again.json()["worker"] == "1" and first is not None
    (pid,) = interpreters_of(echo)
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: interpreters_of(echo) not in ([], [pid]), 60, "the worker's return")
    wait_for(lambda: score(echo, {}).status_code == 200, 60, "an answer")
    assert "the worker has ended and is started again" in log_of(echo)


def test_an_error_in_run_is_answered_as_azure_does_and_told_in_the_log(plane):
    deployed = scoring_script(plane, """
        def run(data):
            raise ValueError("the secret reason")
    """)
    assert plane.desire(endpoint("e", [deployed]))["e.blue"]["state"] == "ready"
    got = score(plane, {})
    assert got.status_code == 424
    assert got.json() == {"message": "An unexpected error occurred in scoring script. Check the logs for more info."}
    assert got.headers["ms-azureml-model-error-statuscode"] == "500"
    assert got.headers["x-ms-run-function-failed"] == "True"
    wait_for(lambda: "ValueError: the secret reason" in log_of(plane), 60, "the error in the log")


def test_a_body_that_is_no_text_is_told_from_a_script_that_reads_no_text(plane):
    deployed = scoring_script(plane, """
        def run(data):
            return bytes([0xff]).decode()
    """)
    assert plane.desire(endpoint("e", [deployed]))["e.blue"]["state"] == "ready"
    refused = plane.post("/endpoints/e/score", data=b'"\xff"', headers={"Content-Type": "application/json"})
    assert (refused.status_code, refused.json()) == (400, {"message": "the body is not UTF-8"})
    assert score(plane, {}).status_code == 424


def test_what_json_cannot_say_is_null(plane):
    deployed = scoring_script(plane, """
        def run(data):
            return {"rows": [1.0, float("nan")], "pair": (float("inf"), 2)}
    """)
    assert plane.desire(endpoint("e", [deployed]))["e.blue"]["state"] == "ready"
    assert score(plane, {}).text == '{"rows": [1.0, null], "pair": [null, 2]}'


def test_raw_requests_and_responses(plane):
    deployed = scoring_script(plane, """
        from azureml.contrib.services.aml_request import AMLRequest, rawhttp
        from azureml.contrib.services.aml_response import AMLResponse

        @rawhttp
        def run(request):
            assert isinstance(request, AMLRequest)
            told = [request.method, request.path, request.args.get("a"), request.headers.get("X-Own"),
                    request.get_data().hex(), "authorization" in request.headers]
            if request.args.get("status"):
                return AMLResponse("no", int(request.args["status"]), {"x-why": "so", "content-length": "999"})
            return AMLResponse({"told": told}, 200, {"X-Told": "yes\\r\\nx-split: 1"}, json_str=True)
    """)
    assert plane.desire(endpoint("e", [deployed]))["e.blue"]["state"] == "ready"
    got = plane.post("/endpoints/e/score?a=b%20c", data=b"\x00\xff", headers={"x-own": "1", "Content-Type": "image/png"})
    assert got.status_code == 200, got.text
    assert got.json()["told"] == ["POST", "/endpoints/e/score", "b c", "1", "00ff", False]
    assert got.headers["x-told"] == "yes"
    got = plane.post("/endpoints/e/score?status=418", data=b"")
    assert got.status_code == 424 and got.text == "no"
    assert got.headers["ms-azureml-model-error-statuscode"] == "418" and got.headers["x-why"] == "so"


def test_a_script_finds_its_model_as_azure_shows_it(plane):
    model = plane.models / "kept"
    model.mkdir()
    (model / "weights.txt").write_text("7")
    (model / "more").mkdir()
    (model / "more" / "names.txt").write_text("a b")
    deployed = scoring_script(plane, """
        import os
        def init():
            global found
            root = os.environ["AZUREML_MODEL_DIR"]
            paths = ["weights.txt", "more/names.txt", "kept/weights.txt", "kept/more/names.txt"]
            found = [open(os.path.join(root, path)).read() for path in paths]
        def run(data):
            return found + [os.environ["OWN"], os.getcwd() == os.path.dirname(os.path.abspath(__file__))]
    """, model=model, model_folder="kept", variables={"OWN": "mine"})
    state = plane.desire(endpoint("e", [deployed]))["e.blue"]
    assert state["state"] == "ready", state
    assert score(plane, {}).json() == ["7", "a b", "7", "a b", "mine", True]


def test_workers_see_nothing_else_of_the_machine(plane):
    secret = plane.models / "secret.txt"
    secret.write_text("secret")
    secret.chmod(0o644)
    deployed = scoring_script(plane, """
        import json, os, socket
        def run(data):
            asked = json.loads(data)
            seen = [os.path.exists(path) for path in asked["paths"]]
            try:
                open(__file__, "a")
                writes = True
            except OSError:
                writes = False
            processes = [name for name in os.listdir("/proc") if name.isdigit()]
            open("/tmp/own", "w").write("x")
            return [seen, writes, len(processes), os.getuid() != 0]
    """)
    assert plane.desire(endpoint("e", [deployed]))["e.blue"]["state"] == "ready"
    got = score(plane, {"paths": [str(secret), str(plane.folder / "desired.json"), "/root"]})
    assert got.status_code == 200, log_of(plane)
    seen, writes, processes, unprivileged = got.json()
    assert seen == [False, False, False] and not writes and processes <= 3
    assert unprivileged or os.geteuid() != 0
    assert not os.path.exists("/tmp/own")


@pytest.mark.parametrize("source, words", [
    ("def init():\n    raise OSError('no such weights')\ndef run(data): pass", "init() of score.py failed: OSError: no such weights"),
    ("import no_such_module\ndef run(data): pass", "the module no_such_module is missing"),
    ("def init(): pass", "score.py has no function run(data)"),
    ("x = 1 / 0\ndef run(data): pass", "score.py failed: ZeroDivisionError"),
    ("def init():\n    print('so far')\n    import os; os._exit(9)\ndef run(data): pass", "exit status 9"),
    ("def run(data:\n", "SyntaxError"),
    ("import os\nos.write(2, b'caf\\xe9\\n')\nraise RuntimeError('bytes that are no text')\ndef run(data): pass", "caf\ufffd"),
    ("print('x' * 100_000)\nraise RuntimeError('a long line')\ndef run(data): pass", "x..."),
])  # fmt: skip
def test_a_script_that_cannot_start_never_takes_traffic(plane, source, words):
    plane.desire(endpoint("e", [scoring_script(plane, "def run(data): return 'old'")]))
    state = plane.desire(endpoint("e", [scoring_script(plane, source, version="2")]))["e.blue"]
    assert state["state"] == "failed" and words in state["error"], state
    assert "version 1 goes on" in state["error"]
    assert "so far" not in source or "so far" in state["error"]
    assert score(plane, {}).json() == "old"


def test_a_failed_start_shows_the_scripts_own_frames(plane):
    source = """
        import json

        def weights():
            return json.loads("no weights")

        def init():
            weights()

        def run(data): pass
    """
    state = plane.desire(endpoint("e", [scoring_script(plane, source)]))["e.blue"]
    assert state["state"] == "failed"
    assert "in weights" in state["error"] and "in init" in state["error"], state["error"]
    assert "lathe_worker" not in state["error"] and "importlib" not in state["error"], state["error"]


def test_a_full_queue_is_refused_at_once_and_a_long_wait_too(plane):
    source = """
        import json, os, time
        def run(data):
            gate = os.path.join(os.environ["AZUREML_MODEL_DIR"], "gates", json.loads(data)["gate"])
            while not os.path.exists(gate):
                print("waits for", gate)
                time.sleep(0.01)
            return "done"
    """
    gates = plane.models / "kept" / "gates"
    gates.mkdir(parents=True)
    (gates / "open").write_text("")
    limits = {"max_queue": 1, "max_queue_wait_ms": 5000, "request_timeout_ms": 120_000}
    deployed = scoring_script(plane, source, model=gates.parent, **limits)
    assert plane.desire(endpoint("e", [deployed]))["e.blue"]["state"] == "ready"
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        first = pool.submit(score, plane, {"gate": "later"})
        try:
            wait_for(lambda: "waits for" in log_of(plane), 60, "a busy worker")
            answers = list(pool.map(lambda _: score(plane, {"gate": "open"}), range(6)))
        finally:
            (gates / "later").write_text("")
        assert {answer.status_code for answer in answers} == {503}
        assert all(answer.headers["retry-after"] == "1" for answer in answers)
        errors = [answer.json()["error"] for answer in answers]
        full = sum("queue is full (1 requests wait)" in error for error in errors)
        late = sum("max_queue_wait_ms (5000 ms)" in error for error in errors)
        assert full >= 1 and late >= 1 and full + late == 6, errors
        assert first.result().json() == "done"


def test_a_request_that_takes_too_long_is_given_up_and_its_worker_ended(plane):
    deployed = scoring_script(plane, """
        import json
        def run(data):
            while json.loads(data) == "hang":
                pass
            return "fine"
    """, request_timeout_ms=300)
    plane.desire(endpoint("e", [deployed]))
    got = score(plane, "hang")
    assert got.status_code == 504 and "request_timeout_ms (300 ms)" in got.json()["error"]
    wait_for(lambda: (got := score(plane, "go")).status_code == 200 and got.json() == "fine", 60, "the worker's return")


def test_workers_that_end_again_and_again_are_a_failed_deployment(plane):
    source = """
        import os
        def run(data):
            print("the reason is here")
            os._exit(5)
    """
    assert plane.desire(endpoint("e", [scoring_script(plane, source)]))["e.blue"]["state"] == "ready"

    def failed():
        assert score(plane, {}).status_code == 503
        state = plane.reported()["deployments"][0]
        return state["state"] == "failed" and state["error"]

    why = wait_for(failed, 60, "the deployment's failure")
    assert "again and again" in why and "exit status 5" in why and "the reason is here" in why
    mended = scoring_script(plane, "def run(data): return 'mended'", version="2")
    assert plane.desire(endpoint("e", [mended]))["e.blue"]["state"] == "ready"
    assert score(plane, {}).json() == "mended"


def test_updates_scaling_and_an_end_without_a_failed_request(plane):
    source = "import os\ndef run(data):\n    return '{}'"
    plane.desire(endpoint("e", [scoring_script(plane, source.format("one"), max_queue_wait_ms=30_000)]))
    stop, seen = [], []

    def ask():
        while not stop:
            seen.append(score(plane, {}))

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        asking = [pool.submit(ask) for _ in range(2)]
        try:
            for version, more in (("2", {}), ("3", {"workers": 3})):
                deployed = scoring_script(plane, source.format(version), version=version, max_queue_wait_ms=30_000, **more)
                assert plane.desire(endpoint("e", [deployed]))["e.blue"]["state"] == "ready"
                wait_for(lambda: seen and seen[-1].text == json.dumps(version), 60, "the new version's answer")
        finally:
            stop.append(True)
        for each in asking:
            each.result()
    assert {got.status_code for got in seen} == {200}
    wait_for(lambda: len(interpreters_of(plane)) == 3, 60, "three workers")
    pids = workers_of(plane) + interpreters_of(plane)
    plane.desire(endpoint("e", [], {}))
    wait_until_gone(pids)


@pytest.mark.parametrize("how", ["stop", "kill9"])
def test_no_worker_outlives_the_data_plane(plane, how):
    source = "import time\ndef run(data):\n    time.sleep(1000)"
    plane.desire(endpoint("e", [scoring_script(plane, source, workers=2, request_timeout_ms=1_000_000)]))
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        busy = pool.submit(score, plane, {}) if how == "kill9" else None
        pids = workers_of(plane) + interpreters_of(plane)
        assert len(interpreters_of(plane)) == 2
        getattr(plane, how)()
        assert busy is None or busy.exception(60) is not None
    wait_until_gone(pids)
    plane.start()
    assert plane.reached()["e.blue"]["state"] == "ready"
