"""What needs the operator's key: Triton's system shared memory, where client and server both see tensors, and its log."""

import json
import os
import pathlib
import uuid

import grpc
import numpy
import pytest

import onnx_file
from data_plane import KEY, deployment, endpoint
from grpc_client import Client, infer_request, pb, tensor

SHARED = pathlib.Path("/dev/shm")


class Memory:
    """A file of shared memory, as a client makes it."""

    def __init__(self, size):
        self.key = f"/lathe-test-{uuid.uuid4().hex}"
        self.path = SHARED / self.key[1:]
        self.path.write_bytes(bytes(size))

    def put(self, offset, array):
        with open(self.path, "r+b") as file:
            os.pwrite(file.fileno(), array.tobytes(), offset)

    def get(self, offset, dtype, count):
        return numpy.frombuffer(self.path.read_bytes(), dtype, count, offset)


@pytest.fixture
def memory():
    made = Memory(4096)
    yield made
    made.path.unlink()


@pytest.fixture
def operator(plane):
    """The headers of who may do more than predict; an endpoint "e" with y = x W + b is there."""
    plane.desire(endpoint("e", [deployment("blue", onnx_file.linear(plane.models / "m.onnx"), "7", "onnx")]))
    return {"Authorization": f"Bearer {(plane.folder / 'operator.key').read_text()}"}


def register(plane, operator, name, key, size, **more):
    return plane.post(f"/v2/systemsharedmemory/region/{name}/register", json={"key": key, "byte_size": size, **more},
                      headers=operator)  # fmt: skip


def shared(region, size, offset=0):
    place = {"shared_memory_region": region, "shared_memory_byte_size": size}
    return {**place, "shared_memory_offset": offset} if offset else place


def infer(plane, input_place, output_place=None, shape=(1, 3)):
    asked = {"inputs": [{"name": "x", "datatype": "FP32", "shape": list(shape), "parameters": input_place}]}
    if output_place:
        asked["outputs"] = [{"name": "y", "parameters": output_place}]
    return plane.post("/v2/models/e/infer", json=asked)


def test_tensors_lie_in_regions(plane, operator, memory):
    assert register(plane, operator, "in", memory.key, 2048).status_code == 200
    assert register(plane, operator, "out", memory.key, 1024, offset=2048).status_code == 200
    memory.put(16, numpy.array([1, 2, 3], "<f4"))
    got = infer(plane, shared("in", 12, 16), shared("out", 100, 8))
    assert got.status_code == 200, got.text
    assert got.json()["outputs"] == [{"name": "y", "datatype": "FP32", "shape": [1, 1], "parameters": shared("out", 4, 8)}]
    assert memory.get(2056, "<f4", 1).tolist() == [14.5]
    got = infer(plane, shared("in", 12, 16))
    assert got.json()["outputs"][0]["data"] == [14.5]
    status = plane.get("/v2/systemsharedmemory/status", headers=operator).json()
    assert status == [{"name": "in", "key": memory.key, "offset": 0, "byte_size": 2048},
                      {"name": "out", "key": memory.key, "offset": 2048, "byte_size": 1024}]  # fmt: skip
    assert plane.get("/v2/systemsharedmemory/region/out/status", headers=operator).json() == status[1:]
    assert plane.post("/v2/systemsharedmemory/region/in/unregister", headers=operator).status_code == 200
    assert infer(plane, shared("in", 12)).status_code == 400
    assert plane.post("/v2/systemsharedmemory/unregister", headers=operator).status_code == 200
    assert plane.get("/v2/systemsharedmemory/status", headers=operator).json() == []


@pytest.mark.parametrize("place, words", [
    ({"shared_memory_region": "in"}, "shared_memory_byte_size"), (shared("nobody", 12), "no region"),
    (shared("in", 8), "expected 12 bytes"), (shared("in", 12, 95), "has 100 bytes"), (shared("in", 12, 2**64 - 4), "has 100"),
    (shared("in", -1), "shared_memory_byte_size"), ({**shared("in", 12), "shared_memory_region": 3}, "shared_memory_region"),
])  # fmt: skip
def test_what_cannot_be_is_refused(plane, operator, memory, place, words):
    register(plane, operator, "in", memory.key, 100)
    got = infer(plane, place)
    assert got.status_code == 400 and words in got.json()["error"], got.text
    got = infer(plane, shared("in", 12), place)
    assert got.status_code == (200 if place == shared("in", 8) else 400), got.text


def test_an_output_that_does_not_fit_is_refused(plane, operator, memory):
    register(plane, operator, "in", memory.key, 4096)
    got = infer(plane, shared("in", 24), shared("in", 4), (2, 3))
    assert got.status_code == 400 and "do not fit" in got.json()["error"], got.text


def test_memory_that_is_made_smaller_harms_nobody(plane, operator, memory):
    register(plane, operator, "in", memory.key, 4096)
    os.truncate(memory.path, 6)
    for input_place, output_place in ((shared("in", 12), None), (shared("in", 12, 4000), None)):
        got = infer(plane, input_place, output_place)
        assert got.status_code == 400 and "smaller" in got.json()["error"], got.text
    got = plane.infer("e", {"x": ("FP32", [1, 3], [1, 2, 3])},
                      outputs=[{"name": "y", "parameters": shared("in", 4, 100)}])  # fmt: skip
    assert got.status_code == 400 and memory.path.stat().st_size == 6
    assert plane.infer("e", {"x": ("FP32", [1, 3], [1, 2, 3])}).status_code == 200


def test_it_needs_the_operators_key(plane, operator, memory):
    for headers in ({"Authorization": "Bearer wrong"}, {"Authorization": ""}, None):  # None: the endpoint's key
        got = register(plane, headers, "in", memory.key, 100)
        assert got.status_code == 403 and "administrator" in got.json()["error"]
        assert plane.get("/v2/systemsharedmemory/status", headers=headers).status_code == 403
    assert (plane.folder / "operator.key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("key, size, more, status, words", [
    ("/../etc/passwd", 1, {}, 400, "no name"), ("", 1, {}, 400, "no name"), ("/lathe-nobody-made-this", 1, {}, 404, "cannot be opened"),
    (None, 5000, {}, 400, "past the end"), (None, 1, {"offset": 4096}, 400, "past the end"), (None, 0, {}, 400, "byte_size"),
    (None, -1, {}, 400, "byte_size"), (None, 1, {"offset": -1}, 400, "offset"), (7, 1, {}, 400, "key"),
])  # fmt: skip
def test_what_is_no_region_is_refused(plane, operator, memory, key, size, more, status, words):
    got = register(plane, operator, "r", memory.key if key is None else key, size, **more)
    assert got.status_code == status and words in got.json()["error"], got.text


def test_cuda_memory_is_refused_in_a_sentence(plane, operator):
    got = plane.post("/v2/cudasharedmemory/region/r/register", headers=operator,
                     json={"raw_handle": {"b64": "AAAA"}, "device_id": 0, "byte_size": 1})  # fmt: skip
    assert got.status_code == 400 and "system shared memory" in got.json()["error"]
    # Clients begin with these.
    assert plane.post("/v2/cudasharedmemory/unregister", headers=operator).status_code == 200
    assert plane.get("/v2/cudasharedmemory/status", headers=operator).json() == []
    for method, path, status in (("post", "status", 405), ("get", "unregister", 405), ("get", "region/r/status", 404),
                                 ("post", "region/r/nothing", 404), ("post", "nothing", 404)):  # fmt: skip
        got = getattr(plane, method)(f"/v2/systemsharedmemory/{path}", headers=operator)
        assert got.status_code == status, (path, got.text)


def test_grpc_does_the_same(plane, operator, memory):
    memory.put(0, numpy.array([1, 2, 3], "<f4"))
    with Client(plane.grpc, operator["Authorization"].split()[1]) as administrator, Client(plane.grpc, KEY) as client:
        asked = pb.SystemSharedMemoryRegisterRequest(name="in", key=memory.key, byte_size=4096)
        with pytest.raises(grpc.RpcError) as refused:
            client.call("SystemSharedMemoryRegister", asked)
        assert refused.value.code() == grpc.StatusCode.PERMISSION_DENIED
        administrator.call("SystemSharedMemoryRegister", asked)
        with pytest.raises(grpc.RpcError) as twice:
            administrator.call("SystemSharedMemoryRegister", asked)
        assert twice.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        regions = administrator.call("SystemSharedMemoryStatus", pb.SystemSharedMemoryStatusRequest()).regions
        assert regions["in"].key == memory.key and regions["in"].byte_size == 4096

        request = infer_request("e", [tensor("x", "FP32", [1, 3])])
        request.inputs[0].parameters["shared_memory_region"].string_param = "in"
        request.inputs[0].parameters["shared_memory_byte_size"].int64_param = 12
        made = client.call("ModelInfer", request)
        assert numpy.frombuffer(made.raw_output_contents[0], "<f4").tolist() == [14.5]
        wanted = request.outputs.add(name="y")
        wanted.parameters["shared_memory_region"].string_param = "in"
        wanted.parameters["shared_memory_byte_size"].int64_param = 64
        wanted.parameters["shared_memory_offset"].int64_param = 128
        made = client.call("ModelInfer", request)
        assert made.outputs[0].parameters["shared_memory_byte_size"].int64_param == 4 and list(made.raw_output_contents) == [b""]
        assert memory.get(128, "<f4", 1).tolist() == [14.5]
        request.inputs[0].parameters["shared_memory_offset"].int64_param = 4090
        with pytest.raises(grpc.RpcError) as past:
            client.call("ModelInfer", request)
        assert past.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        with pytest.raises(grpc.RpcError) as cuda:
            administrator.call("CudaSharedMemoryRegister", pb.CudaSharedMemoryRegisterRequest(name="c"))
        assert "system shared memory" in cuda.value.details()
        administrator.call("SystemSharedMemoryUnregister", pb.SystemSharedMemoryUnregisterRequest())
        assert not administrator.call("SystemSharedMemoryStatus", pb.SystemSharedMemoryStatusRequest()).regions


def test_how_much_is_logged_can_be_changed(plane, operator):
    now = plane.get("/v2/logging", headers=operator).json()
    assert now == {"log_file": "", "log_info": True, "log_warning": True, "log_error": True, "log_verbose_level": 0,
                   "log_format": "ISO8601"}  # fmt: skip
    got = plane.post("/v2/logging", json={"log_info": False}, headers=operator).json()
    assert got == {**now, "log_info": False} == plane.get("/v2/logging", headers=operator).json()
    got = plane.post("/v2/logging", json={"log_verbose_level": 1}, headers=operator).json()
    assert got["log_verbose_level"] == 1 and got["log_info"]
    for wrong, words in (({"log_error": False}, "log_error"), ({"log_file": "/etc/passwd"}, "log_file"), ({"x": 1}, "no setting"),
                         ({"log_info": 1}, "true or false"), ({"log_verbose_level": -1}, "log_verbose_level")):  # fmt: skip
        got = plane.post("/v2/logging", json=wrong, headers=operator)
        assert got.status_code == 400 and words in got.json()["error"], got.text
    assert plane.get("/v2/logging").status_code == 403 and plane.post("/v2/logging", json={}).status_code == 403
    with Client(plane.grpc, operator["Authorization"].split()[1]) as administrator:
        asked = pb.LogSettingsRequest()
        asked.settings["log_verbose_level"].uint32_param = 0
        asked.settings["log_info"].bool_param = True
        settings = administrator.call("LogSettings", asked).settings
        assert settings["log_info"].bool_param and settings["log_verbose_level"].uint32_param == 0
        assert settings["log_format"].string_param == "ISO8601"
        asked.settings["log_error"].bool_param = False
        with pytest.raises(grpc.RpcError) as refused:
            administrator.call("LogSettings", asked)
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_elements_and_a_region_at_once_are_refused(plane, operator, memory):
    register(plane, operator, "in", memory.key, 100)
    x = {"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}
    for both in ({"parameters": shared("in", 12), **x}, {**x, "parameters": shared("in", 12)}):
        got = plane.post("/v2/models/e/infer", json={"inputs": [both]})
        assert got.status_code == 400 and "give one of the two" in got.json()["error"], got.text
    head = json.dumps({"inputs": [{**{key: x[key] for key in ("name", "datatype", "shape")},
                                   "parameters": {**shared("in", 12), "binary_data_size": 12}}]}).encode()  # fmt: skip
    got = plane.post("/v2/models/e/infer", data=head + bytes(12), headers={"Inference-Header-Content-Length": str(len(head))})
    assert got.status_code == 400 and "give one of the two" in got.json()["error"], got.text
    got = plane.post("/v2/models/e/infer", json={"inputs": [x], "id": "shared_memory_region"})
    assert got.status_code == 200, got.text
