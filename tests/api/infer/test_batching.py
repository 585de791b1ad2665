"""Dynamic batching, its queue policies and priorities, the response cache and warm-up, at a running data plane.

Nothing sleeps: a request waits in the queue for as long as no other completes its batch (the delay is a minute), and the
test sees in the metrics that it waits.
"""

import concurrent.futures

import grpc_client
import numpy
import onnx_file
import pytest
import requests
from data_plane import deployment, endpoint
from lathe_server import wait_for

LONG_US = 60_000_000


class Asker:
    """Asks endpoint "e" for rows of the linear model, from threads of its own."""

    def __init__(self, plane):
        self.plane = plane
        self.pool = concurrent.futures.ThreadPoolExecutor(16)

    def ask(self, rows, **parameters):
        x = numpy.arange(rows * 3, dtype="f4").reshape(rows, 3)
        body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [rows, 3], "data": x.flatten().tolist()}],
                "parameters": parameters}  # fmt: skip
        headers = dict(self.plane.session.headers)
        return requests.post(self.plane.url + "/v2/models/e/infer", json=body, headers=headers, timeout=120)

    def begin(self, rows, **parameters):
        """Asks, and returns when the request waits in the queue."""
        before = pending(self.plane)
        asked = self.pool.submit(self.ask, rows, **parameters)
        wait_for(lambda: pending(self.plane) == before + 1, 60, "the request in the queue")
        return asked


def pending(plane):
    for line in plane.get("/metrics").text.splitlines():
        if line.startswith("nv_inference_pending_request_count{"):
            return int(line.rsplit(" ", 1)[1])
    return 0


def right(answer, rows):
    assert answer.status_code == 200, answer.text
    x = numpy.arange(rows * 3, dtype="f4").reshape(rows, 3)
    output = answer.json()["outputs"][0]
    assert output["shape"] == [rows, 1]
    return numpy.allclose(output["data"], x @ numpy.array([1, 2, 3]) + 0.5)


def served(plane, path=None, instances=1, **config):
    path = path or onnx_file.linear(plane.models / "m.onnx")
    made = deployment("d", path, "3", "onnx", instances=instances)
    made["model"]["config"] = config
    return plane.desire(endpoint("e", [made]))["e.d"]


@pytest.fixture
def asker(plane):
    made = Asker(plane)
    yield made
    made.pool.shutdown()


def batch_sizes(plane):
    stats = plane.get("/v2/models/e/stats").json()["model_stats"][0]
    sizes = {each["batch_size"]: each["compute_infer"]["count"] for each in stats["batch_stats"]}
    assert stats["execution_count"] == sum(sizes.values())
    assert stats["inference_count"] == sum(size * count for size, count in sizes.items())
    return sizes


def test_requests_share_a_run_and_each_gets_its_part(plane, asker):
    served(plane, max_batch_size=8, dynamic_batching={"max_queue_delay_microseconds": LONG_US})
    first, second = asker.begin(1), asker.begin(4)
    third = asker.ask(3)  # completes the batch
    assert right(first.result(60), 1) and right(second.result(60), 4) and right(third, 3)
    assert batch_sizes(plane) == {8: 1}
    values = dict(line.rsplit(" ", 1) for line in plane.get("/metrics").text.splitlines() if line[0] != "#")
    labels = '{model="e.d",version="3"}'
    assert values["nv_inference_exec_count" + labels] == "1" and values["nv_inference_count" + labels] == "8"
    assert values["nv_inference_request_success" + labels] == "3"


def test_every_protocol_goes_through_the_same_batches(plane, asker):
    served(plane, max_batch_size=3, dynamic_batching={"max_queue_delay_microseconds": LONG_US})
    by_rest = asker.begin(1)
    mlflow = asker.pool.submit(plane.post, "/endpoints/e/invocations", json={"inputs": [[1, 1, 1]]})
    wait_for(lambda: pending(plane) == 2, 60, "both in the queue")
    with grpc_client.Client(plane.grpc, "the-key-of-the-tests") as client:
        asked = grpc_client.infer_request("e", [grpc_client.tensor("x", "FP32", [1, 3])],
                                          [numpy.float32([0, 1, 0]).tobytes()])  # fmt: skip
        by_grpc = client.call("ModelInfer", asked)
        assert numpy.frombuffer(by_grpc.raw_output_contents[0], "f4").tolist() == [2.5]
        stats = client.call("ModelStatistics").model_stats[0]
    assert right(by_rest.result(60), 1)
    assert mlflow.result(60).json() == {"predictions": [[6.5]]}
    assert [(each.batch_size, each.compute_infer.count) for each in stats.batch_stats] == [(3, 1)]
    assert stats.execution_count == 1 and stats.inference_count == 3


def test_a_preferred_size_is_sent_at_once(plane, asker):
    served(plane, max_batch_size=8,
           dynamic_batching={"preferred_batch_size": [2], "max_queue_delay_microseconds": LONG_US})  # fmt: skip
    first = asker.begin(1)
    assert right(asker.ask(1), 1) and right(first.result(60), 1)
    assert batch_sizes(plane) == {2: 1}


def test_without_a_delay_a_lonely_request_is_answered_at_once(plane, asker):
    served(plane, max_batch_size=8, dynamic_batching={})
    assert right(asker.ask(1), 1) and right(asker.ask(8), 8)
    assert batch_sizes(plane) == {1: 1, 8: 1}


def test_a_higher_priority_is_served_first(plane, asker):
    served(plane, max_batch_size=4,
           dynamic_batching={"max_queue_delay_microseconds": LONG_US, "priority_levels": 2,
                             "default_priority_level": 2})  # fmt: skip
    low = asker.begin(2)
    # Together they are too many: the one that is first goes alone.
    assert right(asker.ask(3, priority=1), 3)
    assert not low.done() and pending(plane) == 1
    with grpc_client.Client(plane.grpc, "the-key-of-the-tests") as client:
        asked = grpc_client.infer_request("e", [grpc_client.tensor("x", "FP32", [3, 3])], [bytes(36)])
        asked.parameters["priority"].uint64_param = 1
        assert client.call("ModelInfer", asked).outputs[0].shape == [3, 1]
        asked.parameters["priority"].string_param = "high"
        assert client.refusal("ModelInfer", asked)[0] == "INVALID_ARGUMENT"
    assert not low.done() and pending(plane) == 1
    assert asker.ask(1, priority="high").status_code == 400
    assert right(asker.ask(2), 2) and right(low.result(60), 2)


def test_a_full_queue_refuses_at_once(plane, asker):
    policy = {"1": {"max_queue_size": 1}}
    served(plane, max_batch_size=4,
           dynamic_batching={"max_queue_delay_microseconds": LONG_US, "priority_levels": 2, "default_priority_level": 1,
                             "priority_queue_policy": policy})  # fmt: skip
    first = asker.begin(1)
    full = asker.ask(1)
    assert full.status_code == 503 and "max_queue_size" in full.json()["error"]
    assert "Retry-After" in full.headers
    with grpc_client.Client(plane.grpc, "the-key-of-the-tests") as client:
        asked = grpc_client.infer_request("e", [grpc_client.tensor("x", "FP32", [1, 3])], [bytes(12)])
        assert client.refusal("ModelInfer", asked)[0] == "RESOURCE_EXHAUSTED"
    assert right(asker.ask(3, priority=2), 3) and right(first.result(60), 1)


def test_a_request_whose_time_is_over_is_rejected(plane, asker):
    policy = {"default_timeout_microseconds": LONG_US, "allow_timeout_override": True}
    served(plane, max_batch_size=4,
           dynamic_batching={"max_queue_delay_microseconds": LONG_US, "default_queue_policy": policy})  # fmt: skip
    late = asker.ask(1, timeout=1000)
    assert late.status_code == 504 and "queue policy" in late.json()["error"]
    assert pending(plane) == 0
    with grpc_client.Client(plane.grpc, "the-key-of-the-tests") as client:
        asked = grpc_client.infer_request("e", [grpc_client.tensor("x", "FP32", [1, 3])], [bytes(12)])
        asked.parameters["timeout"].int64_param = 1000
        assert client.refusal("ModelInfer", asked)[0] == "DEADLINE_EXCEEDED"


def test_without_an_override_a_request_does_not_shorten_its_time(plane, asker):
    served(plane, max_batch_size=4, dynamic_batching={"max_queue_delay_microseconds": LONG_US})
    first = asker.begin(1, timeout=1)
    assert right(asker.ask(3), 3) and right(first.result(60), 1)


def test_a_delayed_request_is_served_after_the_others(plane, asker):
    policy = {"timeout_action": "DELAY", "default_timeout_microseconds": LONG_US, "allow_timeout_override": True}
    served(plane, max_batch_size=4,
           dynamic_batching={"max_queue_delay_microseconds": LONG_US, "default_queue_policy": policy})  # fmt: skip
    delayed = asker.begin(2, timeout=1)
    assert right(asker.ask(3), 3)  # came later, and goes first
    assert not delayed.done() and pending(plane) == 1
    assert right(asker.ask(2), 2) and right(delayed.result(60), 2)


def test_request_timeout_ms_bounds_every_wait(plane, asker):
    path = onnx_file.linear(plane.models / "m.onnx")
    made = deployment("d", path, "3", "onnx", request_timeout_ms=50)
    made["model"]["config"] = {"max_batch_size": 4, "dynamic_batching": {"max_queue_delay_microseconds": LONG_US}}
    plane.desire(endpoint("e", [made]))
    late = asker.ask(1)
    assert late.status_code == 504 and "request_timeout_ms" in late.json()["error"]


def test_one_bad_request_does_not_fail_its_batch(plane, asker):
    served(plane, onnx_file.gather(plane.models / "g.onnx"), max_batch_size=2,
           dynamic_batching={"max_queue_delay_microseconds": LONG_US})  # fmt: skip

    def ask(index):
        return plane.infer("e", {"x": ("INT64", [1], [index])})

    good = asker.pool.submit(ask, 2)
    wait_for(lambda: pending(plane) == 1, 60, "the request in the queue")
    assert ask(99).status_code == 400
    assert good.result(60).json()["outputs"][0]["data"] == [12]


def test_shapes_that_cannot_be_joined_run_apart(plane, asker):
    path = onnx_file.write_model(plane.models / "i.onnx", [onnx_file.node("Identity", ["x"], ["y"])],
                                 [onnx_file.value_info("x", onnx_file.FLOAT, ["N", "M"])],
                                 [onnx_file.value_info("y", onnx_file.FLOAT, ["N", "M"])])  # fmt: skip
    served(plane, path, max_batch_size=8, dynamic_batching={"max_queue_delay_microseconds": LONG_US})

    def ask(shape):
        return plane.infer("e", {"x": ("FP32", shape, [7] * (shape[0] * shape[1]))})

    wide = asker.pool.submit(ask, [1, 5])
    wait_for(lambda: pending(plane) == 1, 60, "the request in the queue")
    narrow = asker.pool.submit(ask, [1, 2])
    assert wide.result(60).json()["outputs"][0]["shape"] == [1, 5]
    wait_for(lambda: pending(plane) == 1, 60, "the other request in the queue")
    assert ask([7, 2]).json()["outputs"][0]["shape"] == [7, 2]
    assert narrow.result(60).json()["outputs"][0]["shape"] == [1, 2]


def test_outputs_that_differ_share_a_run(plane, asker):
    served(plane, onnx_file.two_columns(plane.models / "two.onnx"), max_batch_size=2,
           dynamic_batching={"max_queue_delay_microseconds": LONG_US})  # fmt: skip

    def ask(*outputs):
        column = ("FP32", [1, 1], [5])
        answer = plane.infer("e", {"a": column, "b": ("FP32", [1, 1], [2])}, outputs=[{"name": each} for each in outputs])
        return {each["name"]: each["data"] for each in answer.json()["outputs"]}

    first = asker.pool.submit(ask, "difference")
    wait_for(lambda: pending(plane) == 1, 60, "the request in the queue")
    assert ask("difference", "sum") == {"difference": [3], "sum": [7]}
    assert first.result(60) == {"difference": [3]}
    assert batch_sizes(plane) == {2: 1}


def test_more_rows_than_a_batch_takes_are_refused(plane, asker):
    served(plane, max_batch_size=4, dynamic_batching={})
    refused = asker.ask(5)
    assert refused.status_code == 400 and "max_batch_size" in refused.json()["error"]


def test_a_model_that_does_not_batch_is_refused_and_the_old_one_stays(plane, asker):
    served(plane)
    fixed = onnx_file.write_model(plane.models / "fixed.onnx", [onnx_file.node("Identity", ["x"], ["y"])],
                                  [onnx_file.value_info("x", onnx_file.FLOAT, [1, 3])],
                                  [onnx_file.value_info("y", onnx_file.FLOAT, [1, 3])])  # fmt: skip
    mixes = onnx_file.write_model(plane.models / "mixes.onnx",
                                  [onnx_file.node("ReduceSum", ["x", "axis"], ["s"]), onnx_file.node("Add", ["x", "s"], ["y"])],
                                  [onnx_file.value_info("x", onnx_file.FLOAT, ["N", 3])],
                                  [onnx_file.value_info("y", onnx_file.FLOAT, ["N", 3])],
                                  [onnx_file.integers("axis", [0])])  # fmt: skip
    reduces = onnx_file.write_model(plane.models / "reduces.onnx", [onnx_file.node("ReduceSum", ["x", "axis"], ["y"])],
                                    [onnx_file.value_info("x", onnx_file.FLOAT, ["N", 3])],
                                    [onnx_file.value_info("y", onnx_file.FLOAT, [1, 3])],
                                    [onnx_file.integers("axis", [0])])  # fmt: skip
    for path, words in ((fixed, "open first dimension"), (mixes, "depends on the other rows"),
                        (reduces, "whose first dimension is not the batch")):  # fmt: skip
        reported = served(plane, path, max_batch_size=8, dynamic_batching={})
        assert reported["state"] == "failed" and words in reported["error"], reported
        assert right(asker.ask(2), 2)


def test_a_configuration_that_cannot_be_followed_fails_its_deployment_alone(plane, asker):
    made = [deployment(name, onnx_file.linear(plane.models / "m.onnx"), "3", "onnx") for name in ("d", "other")]
    made[1]["model"]["config"] = {"max_batch_size": -1}
    states = plane.desire(endpoint("e", made))
    assert states["e.other"]["state"] == "failed" and "max_batch_size" in states["e.other"]["error"]
    assert states["e.d"]["state"] == "ready" and right(asker.ask(2), 2)


def test_a_new_configuration_is_taken_up_without_a_failed_request(plane, asker):
    served(plane)
    assert plane.get("/v2/models/e/config").json()["max_batch_size"] == 0
    assert served(plane, max_batch_size=4, dynamic_batching={})["state"] == "ready"
    assert plane.get("/v2/models/e/config").json()["max_batch_size"] == 4
    assert asker.ask(5).status_code == 400 and right(asker.ask(4), 4)


def test_the_configuration_is_told_in_tritons_form(plane):
    batching = {"preferred_batch_size": [4], "max_queue_delay_microseconds": 100, "priority_levels": 2,
                "default_priority_level": 2, "priority_queue_policy": {"1": {"timeout_action": "DELAY"}}}  # fmt: skip
    warm = [{"name": "w", "batch_size": 2, "inputs": {"x": {"data_type": "TYPE_FP32", "dims": [3], "zero_data": True}}}]
    served(plane, max_batch_size=8, dynamic_batching=batching, response_cache={"enable": True}, model_warmup=warm)
    config = plane.get("/v2/models/e/config").json()
    assert config["max_batch_size"] == 8 and config["response_cache"] == {"enable": True}
    assert config["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": [3]}]
    assert config["dynamic_batching"]["preferred_batch_size"] == [4]
    assert config["dynamic_batching"]["priority_queue_policy"]["1"]["timeout_action"] == "DELAY"
    with grpc_client.Client(plane.grpc, "the-key-of-the-tests") as client:
        told = client.call("ModelConfig", grpc_client.pb.ModelConfigRequest(name="e")).config
    assert told.max_batch_size == 8 and list(told.input[0].dims) == [3] and told.response_cache.enable
    assert told.dynamic_batching.max_queue_delay_microseconds == 100
    assert told.dynamic_batching.priority_queue_policy[1].timeout_action == 1
    assert told.model_warmup[0].inputs["x"].zero_data and told.model_warmup[0].batch_size == 2


def cache_counts(plane):
    stats = plane.get("/v2/models/e/stats").json()["model_stats"][0]
    inner = stats["inference_stats"]
    assert inner["success"]["count"] == inner["cache_hit"]["count"] + inner["queue"]["count"]
    return inner["cache_hit"]["count"], inner["cache_miss"]["count"], stats["execution_count"]


@pytest.mark.parametrize("batching", [{}, {"max_batch_size": 8, "dynamic_batching": {}}])
def test_the_response_cache_answers_what_was_answered_before(plane, asker, batching):
    served(plane, response_cache={"enable": True}, **batching)
    assert right(asker.ask(2), 2) and right(asker.ask(2, note="other parameters"), 2) and right(asker.ask(3), 3)
    assert cache_counts(plane) == (1, 2, 2)
    mlflow = plane.post("/endpoints/e/invocations", json={"inputs": [[0, 1, 2], [3, 4, 5]]})
    assert mlflow.json() == {"predictions": [[8.5], [26.5]]}
    classes = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [2, 3], "data": [0, 1, 2, 3, 4, 5]}],
               "outputs": [{"name": "y", "parameters": {"classification": 1}}]}  # fmt: skip
    assert plane.post("/v2/models/e/infer", json=classes).json()["outputs"][0]["data"] == ["8.5:0", "26.5:0"]
    assert cache_counts(plane) == (3, 2, 2)
    assert 'nv_cache_num_hits_per_model{model="e.d",version="3"} 3' in plane.get("/metrics").text


def test_a_new_version_does_not_answer_from_the_old_ones_cache(plane, asker):
    served(plane, response_cache={"enable": True})
    assert right(asker.ask(2), 2) and right(asker.ask(2), 2)
    served(plane, onnx_file.linear(plane.models / "n.onnx", bias=7.5), response_cache={"enable": True})
    assert asker.ask(2).json()["outputs"][0]["data"] == [15.5, 33.5]


def test_without_the_setting_nothing_is_kept(plane, asker):
    served(plane)
    assert right(asker.ask(2), 2) and right(asker.ask(2), 2)
    assert cache_counts(plane) == (0, 0, 2)


def test_a_warm_up_that_fails_keeps_the_old_model(plane, asker):
    def warmup(**inputs):
        return [{"name": "typical", "batch_size": 1, "count": 2, "inputs": inputs}]

    x = {"data_type": "TYPE_FP32", "dims": [1, 3], "random_data": True}
    assert served(plane, model_warmup=warmup(x=x))["state"] == "ready"
    for inputs, words in (({"x": {**x, "dims": [1, 4]}}, "[1,4]"), ({"x": {**x, "dims": [1, 100_000_000]}}, "256 MiB"), ({"z": x}, "no such input"),
                          ({"x": {**x, "data_type": "TYPE_INT32"}}, "INT32")):  # fmt: skip
        reported = served(plane, model_warmup=warmup(**inputs))
        assert reported["state"] == "failed" and words in reported["error"], reported
        assert 'model_warmup "typical"' in reported["error"]
        assert right(asker.ask(1), 1)


def test_a_plane_that_ends_waits_for_no_batch_to_fill(plane, asker):
    served(plane, max_batch_size=4, dynamic_batching={"max_queue_delay_microseconds": LONG_US})
    waiting = asker.begin(1)
    assert plane.stop() == 0
    assert right(waiting.result(60), 1)
