"""The Open Inference Protocol v2 by gRPC, asked by grpcio's client."""

import socket
import struct
import threading

import grpc
import numpy
import pytest

import onnx_file
from data_plane import KEY, DataPlane, deployment, endpoint
from grpc_client import SERVICE, Client, health, infer_request, pb, tensor
from lathe_server import wait_for


@pytest.fixture
def client(plane):
    with Client(plane.grpc, KEY) as made:
        yield made


@pytest.fixture
def linear(plane):
    """An endpoint "e" with y = x W + b."""
    plane.desire(endpoint("e", [deployment("blue", onnx_file.linear(plane.models / "m.onnx"), "7", "onnx")]))


def answered(plane, status):
    """How many predictions of e.d ended so."""
    name = f'lathe_infer_requests_total{{endpoint="e",deployment="d",code="{status}"}} '
    return sum(int(line[len(name):]) for line in plane.get("/metrics").text.splitlines() if line.startswith(name))


ROW = tensor("x", "FP32", [1, 3], "fp32_contents", [1, 2, 3])


def test_the_servers_own_calls_need_no_key(plane):
    with Client(plane.grpc, None) as client:
        assert client.call("ServerLive").live
        about = client.call("ServerMetadata")
        assert about.name == "lathe-infer" and about.version and "model_repository" in about.extensions
        plane.desire()
        assert client.call("ServerReady").ready
        check = client.channel.unary_unary("/grpc.health.v1.Health/Check", health.HealthCheckRequest.SerializeToString,
                                           health.HealthCheckResponse.FromString)  # fmt: skip
        for service in ("", "inference.GRPCInferenceService"):
            assert check(health.HealthCheckRequest(service=service), timeout=30).status == health.HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError) as refused:
            check(health.HealthCheckRequest(service="nobody"), timeout=30)
        assert refused.value.code() == grpc.StatusCode.NOT_FOUND


def test_a_model_tells_of_itself(plane, client, linear):
    assert client.call("ModelReady", pb.ModelReadyRequest(name="e")).ready
    about = client.call("ModelMetadata", pb.ModelMetadataRequest(name="e.blue", version="7"))
    assert (about.name, list(about.versions), about.platform) == ("e.blue", ["7"], "onnxruntime_onnx")
    assert [(t.name, t.datatype, list(t.shape)) for t in about.inputs] == [("x", "FP32", [-1, 3])]
    assert [(t.name, t.datatype, list(t.shape)) for t in about.outputs] == [("y", "FP32", [-1, 1])]
    config = client.call("ModelConfig", pb.ModelConfigRequest(name="e")).config
    assert (config.name, config.platform, config.input[0].name) == ("e", "onnxruntime_onnx", "x")
    assert config.input[0].data_type == pb.TYPE_FP32 and list(config.input[0].dims) == [-1, 3]
    assert config.default_model_filename == "m.onnx"
    by_rest = plane.get("/v2/models/e/config").json()
    assert by_rest["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": [-1, 3]}]


def test_numbers_and_raw_bytes_come_back_as_they_went(client, linear):
    typed = client.call("ModelInfer", infer_request("e", [ROW], id="call 7"))
    assert (typed.model_name, typed.model_version, typed.id) == ("e", "7", "call 7")
    assert list(typed.outputs[0].contents.fp32_contents) == [14.5] and not typed.raw_output_contents
    assert (typed.outputs[0].name, typed.outputs[0].datatype, list(typed.outputs[0].shape)) == ("y", "FP32", [1, 1])
    raw = client.call("ModelInfer", infer_request("e", [tensor("x", "FP32", [2, 3])], [struct.pack("<6f", *range(6))]))
    assert numpy.frombuffer(raw.raw_output_contents[0], "f4").tolist() == [8.5, 26.5]
    assert not raw.outputs[0].HasField("contents") and list(raw.outputs[0].shape) == [2, 1]


def test_parameters_are_echoed_but_for_orders(client, linear):
    asked = infer_request("e", [ROW])
    asked.parameters["who"].string_param = "me"
    asked.parameters["deep"].bool_param = True
    asked.parameters["priority"].uint64_param = 1
    answer = client.call("ModelInfer", asked)
    assert {name: each.WhichOneof("parameter_choice") for name, each in answer.parameters.items()} == {
        "who": "string_param", "deep": "bool_param"}  # fmt: skip
    assert answer.parameters["who"].string_param == "me"


TYPES = [
    ("BOOL", onnx_file.BOOL, "bool_contents", [True, False], "?"),
    ("INT8", onnx_file.INT8, "int_contents", [-128, 127], "b"),
    ("INT16", onnx_file.INT16, "int_contents", [-32768, 32767], "h"),
    ("INT32", onnx_file.INT32, "int_contents", [-(2**31), 2**31 - 1], "i"),
    ("INT64", onnx_file.INT64, "int64_contents", [-(2**63), 2**63 - 1], "q"),
    ("UINT8", onnx_file.UINT8, "uint_contents", [0, 255], "B"),
    ("UINT16", onnx_file.UINT16, "uint_contents", [0, 65535], "H"),
    ("UINT32", onnx_file.UINT32, "uint_contents", [0, 2**32 - 1], "I"),
    ("UINT64", onnx_file.UINT64, "uint64_contents", [0, 2**64 - 1], "Q"),
    ("FP32", onnx_file.FLOAT, "fp32_contents", [float("-inf"), 0.5], "f"),
    ("FP64", onnx_file.DOUBLE, "fp64_contents", [1e300, -0.1], "d"),
    ("BYTES", onnx_file.STRING, "bytes_contents", [b"", "ä€".encode()], None),
]


def in_bytes(values, form):
    if form:
        return struct.pack(f"<{len(values)}{form}", *values)
    return b"".join(struct.pack("<I", len(value)) + value for value in values)


def test_every_type_comes_back_as_it_went(plane, client):
    plane.desire(*(endpoint(name.lower(), [deployment("d", onnx_file.identity(plane.models / f"{name}.onnx", kind), format="onnx")])
                   for name, kind, _, _, _ in TYPES))  # fmt: skip
    for name, _, field, values, form in TYPES:
        typed = client.call("ModelInfer", infer_request(name.lower(), [tensor("x", name, [1, 2], field, values)]))
        assert list(getattr(typed.outputs[0].contents, field)) == values, name
        given = in_bytes(values, form)
        raw = client.call("ModelInfer", infer_request(name.lower(), [tensor("x", name, [1, 2])], [given]))
        assert raw.raw_output_contents[0] == given, name
        empty = client.call("ModelInfer", infer_request(name.lower(), [tensor("x", name, [0, 2])]))
        assert list(empty.outputs[0].shape) == [0, 2], name


@pytest.mark.parametrize("name, kind", [("FP16", onnx_file.FLOAT16), ("BF16", 16)])
def test_half_precision_goes_raw_only(plane, client, name, kind):
    plane.desire(endpoint("e", [deployment("d", onnx_file.identity(plane.models / "m.onnx", kind), format="onnx")]))
    given = b"\x80\x3f\x00\xc0"
    raw = client.call("ModelInfer", infer_request("e", [tensor("x", name, [1, 2])], [given]))
    assert raw.raw_output_contents[0] == given and raw.outputs[0].datatype == name
    code, words = client.refusal("ModelInfer", infer_request("e", [tensor("x", name, [1, 2], "fp32_contents", [1, 2])]))
    assert code == "INVALID_ARGUMENT" and "raw_input_contents" in words and '"x"' in words


def test_outputs_that_are_asked_for(plane, client):
    plane.desire(endpoint("e", [deployment("d", onnx_file.two_columns(plane.models / "m.onnx"), format="onnx")]))
    inputs = [tensor("b", "FP32", [2, 1], "fp32_contents", [1, 1]), tensor("a", "FP32", [2, 1], "fp32_contents", [3, 5])]
    both = client.call("ModelInfer", infer_request("e", inputs))
    assert [each.name for each in both.outputs] == ["sum", "difference"]
    named = [pb.ModelInferRequest.InferRequestedOutputTensor(name="difference")]
    one = client.call("ModelInfer", infer_request("e", inputs, outputs=named))
    assert [(each.name, list(each.contents.fp32_contents)) for each in one.outputs] == [("difference", [2, 4])]
    named[0].parameters["classification"].int64_param = 1
    top = client.call("ModelInfer", infer_request("e", inputs, outputs=named))
    assert top.outputs[0].datatype == "BYTES" and list(top.outputs[0].shape) == [2, 1]
    assert [each.decode().split(":")[1] for each in top.outputs[0].contents.bytes_contents] == ["0", "0"]
    raw = [tensor(name, "FP32", [2, 1]) for name in "ab"]
    after = client.call("ModelInfer", infer_request("e", raw, [struct.pack("<2f", 3, 5), struct.pack("<2f", 1, 1)]))
    assert after.raw_output_contents[1] == struct.pack("<2f", 2, 4)
    named[0].name = "product"
    code, words = client.refusal("ModelInfer", infer_request("e", inputs, outputs=named))
    assert code == "INVALID_ARGUMENT" and "product" in words and "difference" in words


WRONG = [
    ([tensor("x", "FP32", [1, 3], "fp32_contents", [1, 2])], [], "got 2"),
    ([tensor("x", "FP32", [1, 3], "fp64_contents", [1, 2, 3])], [], "fp32_contents"),
    ([tensor("x", "FP32", [-1, 3], "fp32_contents", [1, 2, 3])], [], "negative"),
    ([tensor("x", "FP32", [2**62, 2**62], "fp32_contents", [1])], [], "got 1"),
    ([tensor("x", "FP32", [3], "fp32_contents", [1, 2, 3])], [], "shape"),
    ([tensor("x", "FP31", [1, 3], "fp32_contents", [1, 2, 3])], [], "FP31"),
    ([tensor("z", "FP32", [1, 3], "fp32_contents", [1, 2, 3])], [], '"z"'),
    ([tensor("x", "INT8", [1, 3], "int_contents", [1, 2, 300])], [], "range of INT8"),
    ([tensor("x", "FP32", [1, 3])], [b"\0" * 11], "12 bytes"),
    ([tensor("x", "FP32", [1, 3])], [b"\0" * 12, b""], "raw_input_contents"),
    ([tensor("x", "FP32", [1, 3], "fp32_contents", [1, 2, 3])], [b"\0" * 12], "contents"),
    ([tensor("x", "FP32", [1, 3])], [], "got 0"),
    ([], [], "expected 1 inputs"),
    ([tensor("x", "BYTES", [1])], [b"\x05\0\0\0abc"], "text"),
]


@pytest.mark.parametrize("inputs, raw, words", WRONG)
def test_what_is_wrong_with_a_request_is_named(client, linear, inputs, raw, words):
    code, said = client.refusal("ModelInfer", infer_request("e", inputs, raw))
    assert code == "INVALID_ARGUMENT" and words in said, said


def test_bytes_that_are_no_message(plane, client, linear):
    send = client.channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
    for body in (b"\xff", b"\x0a\xff\xff\xff\xff\x0f", b"\x0b", b"\x0a\x01e\x2a\x02\x0a\x09", b"\x0a\x01e\x2a\x05\x1a\x03\xff\xff\xff",
                 b"\x0a\x01e" + b"\x2a\x7f"):  # fmt: skip
        with pytest.raises(grpc.RpcError) as refused:
            send(body, metadata=client.metadata, timeout=30)
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT, body
    with pytest.raises(grpc.RpcError) as refused:
        client.channel.unary_unary("/inference.GRPCInferenceService/Explain")(b"", metadata=client.metadata, timeout=30)
    assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED
    assert client.call("ModelInfer", infer_request("e", [ROW])).outputs


def test_keys_names_and_versions(plane, client, linear):
    ask = infer_request("e", [ROW])
    with Client(plane.grpc, None) as stranger:
        assert stranger.refusal("ModelInfer", ask)[0] == "UNAUTHENTICATED"
        assert stranger.refusal("ModelMetadata", pb.ModelMetadataRequest(name="e"))[0] == "UNAUTHENTICATED"
    with Client(plane.grpc, "wrong") as stranger:
        assert stranger.refusal("ModelInfer", ask)[0] == "PERMISSION_DENIED"
    code, words = client.refusal("ModelInfer", infer_request("nobody", [ROW]))
    assert code == "NOT_FOUND" and "nobody" in words
    assert client.refusal("ModelInfer", infer_request("e.red", [ROW]))[0] == "NOT_FOUND"
    assert client.refusal("ModelInfer", infer_request("e", [ROW], model_version="8"))[0] == "NOT_FOUND"
    answer, call = client.method("ModelInfer").with_call(infer_request("e.blue", [ROW], model_version="7"),
                                                         metadata=client.metadata, timeout=30)  # fmt: skip
    assert answer.outputs and dict(call.initial_metadata())["azureml-model-deployment"] == "blue"
    assert client.call("ModelInfer", infer_request("", [ROW])).outputs  # the only endpoint
    plane.desire(endpoint("e", [deployment("blue", plane.models / "m.onnx", "7", "onnx")]),
                 endpoint("other", [deployment("d", plane.models / "m.onnx", format="onnx")], {}, key="another"))  # fmt: skip
    assert client.refusal("ModelInfer", infer_request("other", [ROW]))[0] == "PERMISSION_DENIED"
    assert client.refusal("ModelInfer", infer_request("", [ROW]))[0] == "INVALID_ARGUMENT"
    with Client(plane.grpc, "another") as owner:
        assert owner.refusal("ModelInfer", infer_request("other", [ROW]))[0] == "UNAVAILABLE"  # without traffic
        assert not owner.call("ModelReady", pb.ModelReadyRequest(name="other")).ready
        assert owner.call("ModelReady", pb.ModelReadyRequest(name="other.d")).ready


def test_traffic_is_split_as_by_rest(plane, client):
    path = onnx_file.linear(plane.models / "m.onnx")
    plane.desire(endpoint("e", [deployment("a", path, "1", "onnx"), deployment("b", path, "2", "onnx")], {"a": 70, "b": 30}))
    versions = [client.call("ModelInfer", infer_request("e", [ROW])).model_version for _ in range(100)]
    assert (versions.count("1"), versions.count("2")) == (70, 30)


def test_a_stream_answers_each_message_and_goes_on_after_an_error(client, linear):
    asked = [infer_request("e", [ROW], id="1"), infer_request("nobody", [ROW], id="2"),
             infer_request("e", [], id="3"), infer_request("e", [tensor("x", "FP32", [1, 3])], [bytes(12)], id="4")]  # fmt: skip
    answers = list(client.method("ModelStreamInfer")(iter(asked), metadata=client.metadata, timeout=60))
    assert [each.infer_response.id for each in answers] == ["1", "", "", "4"]
    assert "nobody" in answers[1].error_message and "inputs" in answers[2].error_message
    assert not answers[0].error_message and answers[3].infer_response.raw_output_contents
    assert list(client.method("ModelStreamInfer")(iter([]), metadata=client.metadata, timeout=60)) == []


def test_a_stream_is_answered_while_it_is_open(client, linear):
    answered = threading.Event()

    def two():
        yield infer_request("e", [ROW], id="1")
        assert answered.wait(60)
        yield infer_request("e", [ROW], id="2")

    answers = client.method("ModelStreamInfer")(two(), metadata=client.metadata, timeout=60)
    assert next(answers).infer_response.id == "1"
    answered.set()
    assert next(answers).infer_response.id == "2"


def test_a_stream_whose_client_does_not_read_is_not_answered_on_and_on(plane, client):
    plane.desire(endpoint("e", [deployment("d", onnx_file.identity(plane.models / "m.onnx", onnx_file.FLOAT), format="onnx")]))
    given, values = 64, bytes(8 * 131_072)  # of 1 MiB each: many times what is on its way at once
    sent = threading.Event()

    def ask():
        for number in range(given):
            yield infer_request("e", [tensor("x", "FP32", [131_072, 2])], [values], id=str(number))
        sent.set()

    answers = client.method("ModelStreamInfer")(ask(), metadata=client.metadata, timeout=120)
    assert sent.wait(60)
    assert answered(plane, 200) < given / 2
    assert [each.infer_response.id for each in answers] == [str(number) for number in range(given)]
    assert answered(plane, 200) == given


def test_many_messages_of_a_stream_at_once(client, linear):
    asked = (infer_request("e", [ROW], id=str(number)) for number in range(3000))
    answers = client.method("ModelStreamInfer")(asked, metadata=client.metadata, timeout=120)
    assert [each.infer_response.id for each in answers] == [str(number) for number in range(3000)]


def test_what_needs_no_key_takes_small_messages_only(plane):
    ask = pb.ServerLiveRequest().SerializeToString() + b"\x0a\x80\x80\x08" + bytes(131_072)  # and a field that nobody knows
    with Client(plane.grpc, None) as stranger:
        send = stranger.channel.unary_unary(SERVICE + "ServerLive")
        for packing in (None, grpc.Compression.Gzip):
            with pytest.raises(grpc.RpcError) as refused:
                send(ask, timeout=30, compression=packing)
            assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED and "65536" in refused.value.details()
        assert send(b"", timeout=30) == b"\x08\x01"


def test_metadata_has_the_limits_of_headers(client, linear):
    ask = infer_request("e", [ROW])
    assert client.call("ModelInfer", ask, metadata=[(f"x-{i}", "v") for i in range(80)]).outputs
    for more in ([(f"x-{i}", "v") for i in range(110)], [("x-long", "v" * 40_000)]):
        code, words = client.refusal("ModelInfer", ask, metadata=more)
        assert code == "RESOURCE_EXHAUSTED" and "metadata" in words
    assert client.call("ModelInfer", ask).outputs


def test_large_messages_and_packed_ones(plane, client):
    plane.desire(endpoint("e", [deployment("d", onnx_file.identity(plane.models / "m.onnx", onnx_file.FLOAT), format="onnx")]))
    values = numpy.random.default_rng(1).normal(size=(1_000_000, 2)).astype("f4").tobytes()
    ask = infer_request("e", [tensor("x", "FP32", [1_000_000, 2])], [values])
    for packing in (None, grpc.Compression.Gzip, grpc.Compression.Deflate):
        assert client.call("ModelInfer", ask, compression=packing).raw_output_contents[0] == values
    calls = [client.method("ModelInfer").future(ask, metadata=client.metadata, timeout=60) for _ in range(8)]
    assert all(each.result().raw_output_contents[0] == values for each in calls)


def test_a_message_that_is_too_large(make_booster):
    with DataPlane("--max-body-bytes", "100000") as plane, Client(plane.grpc, KEY) as client:
        plane.desire(endpoint("e", [deployment("blue", onnx_file.linear(plane.models / "m.onnx"), format="onnx")]))
        rows = infer_request("e", [tensor("x", "FP32", [10_000, 3])], [bytes(120_000)])
        code, words = client.refusal("ModelInfer", rows)
        assert code == "RESOURCE_EXHAUSTED" and "100000" in words
        assert client.refusal("ModelInfer", rows, compression=grpc.Compression.Gzip)[0] == "RESOURCE_EXHAUSTED"
        assert client.call("ModelInfer", infer_request("e", [ROW])).outputs


def test_a_full_queue_a_deadline_and_a_client_that_goes_away(plane, client):
    path = onnx_file.slow(plane.models / "slow.onnx")
    plane.desire(endpoint("e", [deployment("d", path, format="onnx", max_queue=1)]))
    ask = infer_request("e", [tensor("x", "FP32", [1, 1], "fp32_contents", [1])])
    calls = [client.method("ModelInfer").future(ask, metadata=client.metadata, timeout=60) for _ in range(8)]
    codes = [each.code() for each in calls]
    assert set(codes) == {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
    plane.desire(endpoint("e", [deployment("d", path, format="onnx", max_queue=8)]))
    calls = [client.method("ModelInfer").future(ask, metadata=client.metadata, timeout=60) for _ in range(4)]
    assert client.refusal("ModelInfer", ask, timeout=0.02)[0] == "DEADLINE_EXCEEDED"  # by the client's own clock too
    calls[3].cancel()
    assert all(each.code() == grpc.StatusCode.OK for each in calls[:3])
    assert client.call("ModelInfer", ask).outputs
    wait_for(lambda: answered(plane, 504) == 1, 30, "the request whose deadline passed in the queue")


def frame(kind, flags, stream, body):
    """A frame of HTTP/2."""
    return struct.pack(">I", len(body))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + body


def test_who_waits_past_an_own_deadline_is_told_so(plane):
    """By bytes, since grpcio's client goes away at that moment."""
    plane.desire(endpoint("e", [deployment("d", onnx_file.slow(plane.models / "slow.onnx"), format="onnx")]))
    ask = infer_request("e", [tensor("x", "FP32", [1, 1], "fp32_contents", [1])]).SerializeToString()
    head = {":method": "POST", ":scheme": "http", ":path": SERVICE + "ModelStreamInfer", ":authority": "e", "te": "trailers",
            "content-type": "application/grpc", "authorization": "Bearer " + KEY, "grpc-timeout": "1n"}  # fmt: skip
    fields = b"".join(b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
                      for name, value in head.items())  # fmt: skip
    settings, data, headers, end_headers = 4, 0, 1, 4
    host, port = plane.grpc.split(":")
    with socket.create_connection((host, int(port)), timeout=30) as there:
        there.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(settings, 0, 0, b"") + frame(headers, end_headers, 1, fields)
                      + frame(data, 0, 1, struct.pack(">BI", 0, len(ask)) + ask))  # fmt: skip
        said = b""
        while not said.endswith(b"deployment's instances"):
            more = there.recv(65536)
            assert more, said
            said += more
    assert b"its client's deadline" in said
    assert answered(plane, 504) == 1


def test_statistics_and_the_index_tell_of_those_whose_key_is_given(plane, client, linear):
    for _ in range(3):
        client.call("ModelInfer", infer_request("e", [tensor("x", "FP32", [2, 3])], [bytes(24)]))
    client.refusal("ModelInfer", infer_request("e", []))
    stats = client.call("ModelStatistics", pb.ModelStatisticsRequest(name="e")).model_stats[0]
    assert (stats.name, stats.version, stats.inference_count, stats.execution_count) == ("e.blue", "7", 6, 3)
    assert stats.inference_stats.success.count == 3 and stats.inference_stats.fail.count == 1
    assert 0 < stats.inference_stats.compute_infer.ns <= stats.inference_stats.success.ns and stats.last_inference > 0
    broken = plane.models / "broken.onnx"
    broken.write_bytes(b"nothing")
    plane.desire(endpoint("e", [deployment("blue", plane.models / "m.onnx", "7", "onnx"), deployment("bad", broken, format="onnx")]),
                 endpoint("secret", [deployment("d", plane.models / "m.onnx", format="onnx")], key="another"))  # fmt: skip
    index = client.call("RepositoryIndex").models
    assert [(each.name, each.version, each.state) for each in index] == [
        ("e", "7", "READY"), ("e.blue", "7", "READY"), ("e.bad", "1", "UNAVAILABLE")]  # fmt: skip
    assert index[2].reason
    ready = client.call("RepositoryIndex", pb.RepositoryIndexRequest(ready=True)).models
    assert [each.name for each in ready] == ["e", "e.blue"]
    assert [each["name"] for each in plane.post("/v2/repository/index", json={"ready": True}).json()] == ["e", "e.blue"]
    assert len(plane.post("/v2/repository/index").json()) == 3
    everything = client.call("ModelStatistics").model_stats
    assert [each.name for each in everything] == ["e.blue"]
    by_rest = plane.get("/v2/models/stats").json()["model_stats"]
    assert [(each["name"], each["inference_stats"]["success"]["count"]) for each in by_rest] == [("e.blue", 3)]
    assert plane.get("/v2/models/e/stats").json()["model_stats"] == by_rest
    with Client(plane.grpc, "wrong") as stranger:
        assert stranger.refusal("RepositoryIndex")[0] == "PERMISSION_DENIED"


def test_a_key_does_not_change_what_is_served(plane, client, linear):
    for verb in ("Load", "Unload"):
        asked = getattr(pb, f"RepositoryModel{verb}Request")(model_name="e")
        code, words = client.refusal(f"RepositoryModel{verb}", asked)
        assert code == "PERMISSION_DENIED" and "administrator" in words
        refused = plane.post(f"/v2/repository/models/e/{verb.lower()}")
        assert refused.status_code == 403 and "administrator" in refused.json()["error"]
    assert client.call("ModelInfer", infer_request("e", [ROW])).outputs


def test_a_request_s_own_timeout_holds_while_it_waits(plane, client):
    path = onnx_file.slow(plane.models / "slow.onnx")
    plane.desire(endpoint("e", [deployment("d", path, format="onnx")]))
    ask = infer_request("e", [tensor("x", "FP32", [1, 1], "fp32_contents", [1])])
    ask.parameters["timeout"].int64_param = 1  # microsecond: changing threads takes longer
    code, words = client.refusal("ModelInfer", ask)
    assert code == "DEADLINE_EXCEEDED" and "parameter timeout" in words
    ask.parameters["timeout"].uint64_param = 60_000_000
    assert client.call("ModelInfer", ask).outputs
    ask.parameters["timeout"].string_param = "soon"
    assert client.refusal("ModelInfer", ask)[0] == "INVALID_ARGUMENT"


def test_reflection_tells_the_services_and_their_files(plane):
    with Client(plane.grpc, None) as client:
        for version in ("v1", "v1alpha"):
            ask = client.channel.stream_stream(f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo")
            # list_services, file_containing_symbol of a method, file_by_filename
            symbol = b"inference.GRPCInferenceService.ModelInfer"
            messages = [b"\x3a\x01*", b"\x22" + bytes([len(symbol)]) + symbol, b"\x1a\x0chealth.proto", b"\x22\x01x"]
            services, file, health_file, nothing = list(ask(iter(messages), timeout=30))
            assert b"inference.GRPCInferenceService" in services and b"grpc.health.v1.Health" in services
            assert b"ModelInferRequest" in file and b"raw_input_contents" in file
            assert b"HealthCheckRequest" in health_file
            assert b"no such" in nothing


def test_sigterm_lets_calls_in_flight_end():
    with DataPlane() as plane, Client(plane.grpc, KEY) as client:
        plane.desire(endpoint("e", [deployment("d", onnx_file.slow(plane.models / "slow.onnx"), format="onnx")]))
        ask = infer_request("e", [tensor("x", "FP32", [1, 1], "fp32_contents", [1])])
        client.call("ModelInfer", ask)
        calls = [client.method("ModelInfer").future(ask, metadata=client.metadata, timeout=60) for _ in range(4)]
        begun = plane.session.get(plane.url + "/v2/models/e", timeout=30)  # they were sent before
        assert begun.status_code == 200
        assert plane.stop() == 0
        codes = [each.code() for each in calls]
        assert codes.count(grpc.StatusCode.OK) >= 1 and set(codes) <= {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}


def test_sigterm_ends_streams_after_the_message_that_is_being_answered():
    with DataPlane() as plane, Client(plane.grpc, KEY) as client:
        plane.desire(endpoint("e", [deployment("d", onnx_file.slow(plane.models / "slow.onnx"), format="onnx")]))
        ask = infer_request("e", [tensor("x", "FP32", [1, 1], "fp32_contents", [1])])
        ended = threading.Event()

        def asked():
            for _ in range(2000):
                yield ask
            ended.wait(60)

        answers = client.method("ModelStreamInfer")(asked(), metadata=client.metadata, timeout=60)
        assert next(answers).infer_response.outputs
        assert plane.stop() == 0
        with pytest.raises(grpc.RpcError) as refused:
            for each in answers:
                assert each.infer_response.outputs
        ended.set()
        assert refused.value.code() == grpc.StatusCode.UNAVAILABLE and "the server ends" in refused.value.details()
