"""Captured predictions: what is kept of them, in files that a killed process, a full disk and a slow one harm no more than said."""

import json
import os
import struct
import subprocess

import pytest

import onnx_file
from data_plane import KEY, DataPlane, deployment, endpoint
from grpc_client import Client, infer_request, tensor
from lathe_server import wait_for
from python_workers import scoring_script

COLLECTIONS = [{"name": "model_inputs"}, {"name": "model_outputs"}]


@pytest.fixture
def quick():
    """A data plane whose files can be read after a second."""
    with DataPlane("--capture-seconds", "1") as running:
        yield running


def captured(plane, collection, deployment="blue"):
    """The lines that can be read, in the order of their times."""
    folder = plane.folder / "capture" / "e" / deployment / collection
    lines = [json.loads(line) for path in sorted(folder.rglob("*.jsonl")) for line in path.read_text().splitlines()]
    return sorted(lines, key=lambda line: line["time"])


def wait_for_lines(plane, collection, count, deployment="blue"):
    wait_for(lambda: len(captured(plane, collection, deployment)) >= count, 90, f"{count} lines of {collection}")
    return captured(plane, collection, deployment)


def counted(plane, result):
    name = f'lathe_infer_captured_total{{endpoint="e",deployment="blue",result="{result}"}} '
    return sum(int(line[len(name):]) for line in plane.get("/metrics").text.splitlines() if line.startswith(name))


def trees(plane, make_booster, names=None, **capture):
    path = plane.models / "trees.json"
    make_booster("reg:squarederror", names=names).save_model(path)
    made = deployment("blue", path, "3", feature_names=names or [])
    made["capture"] = {"collections": COLLECTIONS, **capture}
    plane.desire(endpoint("e", [made]))
    return made


def test_every_protocol_leaves_the_same_records(quick, make_booster):
    names = [f"n{i}" for i in range(8)]
    trees(quick, make_booster, names, headers=["x-tenant"])
    row = [0.5, 1, 2, 3, -4, 5, 6, 7]
    raw = struct.pack("<8f", *row)
    record = dict(zip(names, row))
    described = {"name": "input", "datatype": "FP32", "shape": [1, 8]}
    answer = quick.infer("e", {"input": ("FP32", [1, 8], row)}).json()["outputs"][0]
    head = json.dumps({"inputs": [{**described, "parameters": {"binary_data_size": 32}}]}).encode()
    bodies = [("/v2/models/e/infer", head + raw, {"Inference-Header-Content-Length": str(len(head))}),
              ("/v2/models/e/infer", raw, {"Inference-Header-Content-Length": "0"}),
              ("/endpoints/e/invocations", json.dumps({"dataframe_records": [record]}), {"Content-Type": "application/json"}),
              ("/endpoints/e/invocations", json.dumps({"instances": [row]}), {"Content-Type": "application/json"}),
              ("/endpoints/e/score", json.dumps({"input_data": [row]}), {"Content-Type": "application/json"}),
              ("/endpoints/e/invocations", ",".join(names) + "\n" + ",".join(map(str, row)), {"Content-Type": "text/csv"})]  # fmt: skip
    for path, body, headers in bodies:
        asked = quick.post(path, data=body, headers={"x-request-id": "r-7", "x-tenant": "acme", **headers})
        assert asked.status_code == 200, asked.text
    with Client(quick.grpc, KEY) as client:
        client.call("ModelInfer", infer_request("e", [tensor("input", "FP32", [1, 8])], [raw]))
    refused = quick.infer("e", {"input": ("FP32", [1, 2], [1, 2])})
    assert refused.status_code == 400

    count = len(bodies) + 2
    inputs, outputs = wait_for_lines(quick, "model_inputs", count), wait_for_lines(quick, "model_outputs", count)
    assert len(inputs) == len(outputs) == count  # what was refused is not kept
    for line in inputs:
        assert line["data"] == [record] and line["type"] == "azureml.inference.model_inputs"
        assert (line["endpoint"], line["deployment"], line["modelversion"]) == ("e", "blue", "3")
    for line in outputs:
        assert line["data"] == [{answer["name"]: answer["data"][0]}]
    assert {line["correlationid"] for line in inputs} == {line["correlationid"] for line in outputs}
    assert len({line["correlationid"] for line in inputs}) == count
    with_id = [line for line in inputs if line["xrequestid"] == "r-7"]
    assert len(with_id) == len(bodies)
    assert all(line["headers"] == {"x-tenant": "acme"} for line in with_id)
    assert counted(quick, "written") == 2 * count and counted(quick, "dropped") == 0


def test_batches_caches_and_scripts_are_captured_too(quick):
    batches = deployment("blue", onnx_file.linear(quick.models / "m.onnx"), "1", "onnx")
    batches["model"]["config"] = {"max_batch_size": 4, "dynamic_batching": {}, "response_cache": {"enable": True}}
    script = scoring_script(quick, """
        def init(): pass
        def run(data): return {"got": data}
        """, "green")  # fmt: skip
    batches["capture"] = script["capture"] = {"collections": COLLECTIONS, "rolling_rate": "day"}
    states = quick.desire(endpoint("e", [batches, script], {"blue": 100}))
    assert {each["state"] for each in states.values()} == {"ready"}, states
    for _ in range(2):  # the second answer is the cache's
        assert quick.infer("e", {"x": ("FP32", [2, 3], [0, 1, 2, 3, 4, 5])}).status_code == 200
    for body in ('{"dataframe_split": {"columns": ["a"], "data": [[1]]}}', "[1, {\"b\": null}]"):
        asked = quick.post("/endpoints/e/score", data=body, headers={"azureml-model-deployment": "green", "Content-Type": "application/json"})
        assert asked.status_code == 200, asked.text
    assert [line["data"] for line in wait_for_lines(quick, "model_inputs", 2)] == [[{"x": [0, 1, 2]}, {"x": [3, 4, 5]}]] * 2
    assert [line["data"] for line in wait_for_lines(quick, "model_outputs", 2)] == [[{"y": 8.5}, {"y": 26.5}]] * 2
    assert [line["data"] for line in wait_for_lines(quick, "model_inputs", 2, "green")] == [[{"a": 1}], [1, {"b": None}]]
    answers = wait_for_lines(quick, "model_outputs", 2, "green")
    assert "got" in json.dumps(answers[0]["data"])


def test_a_sample_is_kept_of_whole_predictions_and_may_change_without_a_load(quick, make_booster):
    made = trees(quick, make_booster, collections=[{"name": each["name"], "sampling_rate": 0.25} for each in COLLECTIONS])
    for _ in range(100):
        assert quick.infer("e", {"input": ("FP32", [1, 8], [1] * 8)}).status_code == 200
    inputs, outputs = wait_for_lines(quick, "model_inputs", 24), wait_for_lines(quick, "model_outputs", 24)
    assert abs(len(inputs) - 25) <= 2
    assert {line["correlationid"] for line in inputs} == {line["correlationid"] for line in outputs}

    made["capture"] = None
    quick.desire(endpoint("e", [made]))
    for _ in range(10):
        assert quick.infer("e", {"input": ("FP32", [1, 8], [1] * 8)}).status_code == 200
    assert "lathe_infer_captured_total{" not in quick.get("/metrics").text
    made["capture"] = {"collections": COLLECTIONS}
    quick.desire(endpoint("e", [made]))
    assert quick.infer("e", {"input": ("FP32", [1, 8], [2] * 8)}).status_code == 200
    assert wait_for_lines(quick, "model_inputs", len(inputs) + 1)[-1]["data"] == [{"input": [2] * 8}]
    assert len(captured(quick, "model_inputs")) == len(inputs) + 1


def test_what_was_written_survives_a_kill(plane, make_booster):
    trees(plane, make_booster)
    for i in range(20):
        assert plane.infer("e", {"input": ("FP32", [1, 8], [i] * 8)}).status_code == 200
    wait_for(lambda: counted(plane, "written") == 40, 60, "the lines in the open file")
    assert captured(plane, "model_inputs") == []
    plane.kill9()
    open_files = list((plane.folder / "capture" / ".open").iterdir())
    assert open_files
    with open(open_files[0], "ab") as torn:
        torn.write(b'{"specversion":"1.0","id":"x')
    plane.start()
    assert [line["data"][0]["input"][0] for line in captured(plane, "model_inputs")] == list(range(20))
    assert len(captured(plane, "model_outputs")) == 20
    assert not any((plane.folder / "capture" / ".open").iterdir())


def test_an_orderly_end_loses_nothing(plane, make_booster):
    trees(plane, make_booster)
    for _ in range(5):
        assert plane.infer("e", {"input": ("FP32", [1, 8], [1] * 8)}).status_code == 200
    assert plane.stop() == 0
    assert len(captured(plane, "model_inputs")) == len(captured(plane, "model_outputs")) == 5


def test_large_tensors_are_described(quick):
    path = onnx_file.write_model(quick.models / "m.onnx", [onnx_file.node("Identity", ["x"], ["y"])],
                                 [onnx_file.value_info("x", onnx_file.FLOAT, ("N", "M"))],
                                 [onnx_file.value_info("y", onnx_file.FLOAT, ("N", "M"))])  # fmt: skip
    made = deployment("blue", path, format="onnx")
    made["capture"] = {"collections": COLLECTIONS}
    quick.desire(endpoint("e", [made]))
    size = 1 << 20
    x = {"name": "x", "datatype": "FP32", "shape": [1, size], "parameters": {"binary_data_size": 4 * size}}
    head = json.dumps({"inputs": [x], "parameters": {"binary_data_output": True}}).encode()
    asked = quick.post("/v2/models/e/infer", data=head + bytes(4 * size),
                       headers={"Inference-Header-Content-Length": str(len(head))})  # fmt: skip
    assert asked.status_code == 200
    line, = wait_for_lines(quick, "model_inputs", 1)
    assert line["data"] == []
    assert line["omitted"] == [{"name": "x", "datatype": "FP32", "shape": [1, size], "bytes": 4 * size}]


@pytest.fixture
def small_disk():
    """A data plane whose captured data lies on a disk of 80 MiB, of which 64 are kept free."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk takes root")
    plane = DataPlane("--capture-seconds", "1")
    folder = plane.folder / "capture"
    folder.mkdir(parents=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=80m", "tmpfs", folder], capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip("this machine does not let us mount a small disk: " + mounted.stderr.strip())
    try:
        with plane:
            yield plane
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_stops_the_capture_and_no_prediction(small_disk, make_booster):
    plane = small_disk
    trees(plane, make_booster)
    ballast = plane.folder / "capture" / "ballast"
    ballast.write_bytes(bytes(20 << 20))

    def ask():
        assert plane.infer("e", {"input": ("FP32", [1, 8], [1] * 8)}).status_code == 200

    def drops():
        ask()
        return counted(plane, "dropped") > 0

    wait_for(drops, 60, "a line that is dropped")
    assert captured(plane, "model_inputs") == []
    log = plane.log.read_text()
    assert log.count("capture has stopped, predictions go on") == 1 and "MiB of the disk" in log
    ballast.unlink()

    def goes_on():
        ask()
        return counted(plane, "written") > 0

    wait_for(goes_on, 90, "the capture that goes on")
    assert wait_for_lines(plane, "model_inputs", 1)
    assert "capture goes on" in plane.log.read_text()


def test_old_servers_documents_and_strange_ones_are_read(plane, make_booster):
    trees(plane, make_booster, collections=[{"name": "../x"}, {"name": "model_inputs", "sampling_rate": 7}], new=1)
    assert plane.infer("e", {"input": ("FP32", [1, 8], [1] * 8)}).status_code == 200
    assert plane.stop() == 0
    assert len(captured(plane, "model_inputs")) == 1
    assert sorted(path.name for path in (plane.folder / "capture" / "e" / "blue").iterdir()) == ["model_inputs"]
