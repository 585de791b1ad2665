"""Nothing that a client sends gives a 500, a crash or a hanging connection."""

import json
import re
import socket

import pytest

import onnx_file
from data_plane import KEY, DataPlane, deployment, endpoint


@pytest.fixture(scope="module")
def shared(make_booster):
    """One data plane for all of them: it must live through everything."""
    with DataPlane("--max-body-bytes", "1000000") as running:
        tree = running.models / "model.ubj"
        make_booster("binary:logistic").save_model(tree)
        text = onnx_file.identity(running.models / "text.onnx", onnx_file.STRING)
        small = onnx_file.identity(running.models / "small.onnx", onnx_file.INT8)
        running.desire(endpoint("e", [deployment("blue", tree)]),
                       endpoint("text", [deployment("blue", text, format="onnx")]),
                       endpoint("small", [deployment("blue", small, format="onnx")]))  # fmt: skip
        yield running


def tensor(**changes):
    made = {"name": "input", "datatype": "FP32", "shape": [1, 8], "data": [0.5] * 8}
    made.update(changes)
    return {"inputs": [{key: value for key, value in made.items() if value is not ...}]}


# (endpoint, body, words of the error)
INFER = [
    ("e", b"", "JSON"), ("e", b"{", "JSON"), ("e", b"[]", "must be a JSON object"), ("e", b"null", "JSON object"),
    ("e", b"\xff\xfe", "JSON"), ("e", b"{}", '"inputs" is missing'), ("e", b'{"inputs":null}', '"inputs" is missing'),
    ("e", b'{"inputs":{}}', "must be a list"), ("e", b'{"inputs":[]}', "expected 1 inputs"),
    ("e", b'{"inputs":[1]}', "must hold objects"), ("e", b'{"inputs":[{}]}', '"name" is missing'),
    ("e", b'{"inputs":[' + b"[" * 2000, "JSON"), ("e", b'{"id":7,"inputs":[]}', '"id" must be a text'),
    ("e", tensor(name=5), '"name" must be a text'), ("e", tensor(shape=...), '"shape" is missing'),
    ("e", tensor(shape="x"), "list of whole numbers"), ("e", tensor(shape=[1.5, 8]), "list of whole numbers"),
    ("e", tensor(shape=[-1, 8]), "list of whole numbers"), ("e", tensor(shape=[1] * 40), "more than 16 dimensions"),
    ("e", tensor(shape=[10**12, 8]), "more elements"), ("e", tensor(shape=[2**62, 2**62, 8]), "more elements"),
    ("e", tensor(shape=[0, 2**63 - 1], data=[]), "expected shape [-1,8]"),
    ("e", tensor(datatype=...), '"datatype" is missing'), ("e", tensor(datatype="FP31"), 'got "FP31"'),
    ("e", tensor(datatype="BYTES", data=["a"] * 8), "expected datatype FP32, got BYTES"),
    ("e", tensor(data=...), '"data" is missing'), ("e", tensor(data=3), "expected a list, got the number 3"),
    ("e", tensor(data={}), "expected a list, got an object"),
    ("e", tensor(data=[1, 2]), "expected 8 elements for shape [1,8], got 2"),
    ("e", tensor(data=[1] * 9), "expected 8 elements for shape [1,8], got more"),
    ("e", tensor(data=["x"] * 8), "expected FP32 at element 0, got a text"),
    ("e", tensor(data=[1, 2, 3, True] * 2), "expected FP32 at element 3, got true or false"),
    ("e", tensor(data=[1, 2, 3, [4]] * 2), "element 3, got a list"),
    ("e", tensor(data=[[1, 2, 3, 4], [1, 2, 3, 4]]), "expected 8 items at depth 2"),
    ("e", tensor(data=[[[1] * 8]]), "got a list"), ("e", tensor(data=[[1] * 8, 5]), "expected a list, got the number 5"),
    ("e", tensor(data=[1e39] * 8), "expected FP32"), ("e", json.dumps(tensor()).replace("0.5", "1e999"), "expected FP32"),
    ("e", json.dumps(tensor()).replace("0.5", "NaN"), "expected FP32"), ("e", json.dumps(tensor()).replace("0.5", "0x1"), ""),
    ("e", json.dumps(tensor())[:-1], ""), ("e", json.dumps(tensor())[:-3], ""),
    ("e", json.dumps(tensor()).replace("0.5", "nullU"), "expected FP32"),
    ("e", tensor(shape=[8], data=[1] * 8), 'input "input": expected shape [-1,8], got [8]'),
    ("e", tensor(shape=[1, 7], data=[1] * 7), 'input "input": expected shape [-1,8], got [1,7]'),
    ("e", {"inputs": tensor()["inputs"] * 2}, "expected 1 inputs"),
    ("e", {**tensor(), "outputs": 5}, '"outputs" must be a list'),
    ("e", {**tensor(), "outputs": [{}]}, '"name" is missing'),
    ("e", {**tensor(), "outputs": [{"name": "nothing"}]}, "no such output"),
    ("e", {**tensor(), "outputs": [{"name": "predict"}] * 2}, "asked for twice"),
    ("e", {**tensor(), "parameters": 5}, '"parameters" must be an object'),
    ("e", {**tensor(), "parameters": {"binary_data_output": "yes"}}, "not of the right type"),
    ("text", tensor(name="x", shape=[1, 2], data=["a", "b"]), "expected FP32 at element 0"),
    ("text", tensor(name="x", datatype="BYTES", shape=[1, 2], data=["a", 5]), "expected BYTES at element 1"),
    ("text", tensor(name="y", datatype="BYTES", shape=[1, 2], data=["a", "b"]), "no such input"),
    ("small", tensor(name="x", datatype="INT8", shape=[1, 2], data=[1, 300]), "expected INT8 at element 1, got the number 300"),
    ("small", tensor(name="x", datatype="INT8", shape=[1, 2], data=[1, 1.5]), "expected INT8 at element 1"),
    ("small", tensor(name="x", datatype="INT8", shape=[1, 2], data=[1, None]), "got null"),
]  # fmt: skip


@pytest.mark.parametrize("name,body,words", INFER, ids=range(len(INFER)))
def test_infer(shared, name, body, words):
    data = body if isinstance(body, (bytes, str)) else json.dumps(body)
    got = shared.post(f"/v2/models/{name}/infer", data=data)
    assert got.status_code == 400, got.text
    assert words in got.json()["error"], got.text


SPLIT = {"columns": [f"c{i}" for i in range(8)], "data": [[0.5] * 8]}
SCORING = [
    (b"", "JSON"), (b"7", "object"), (b"{}", "exactly one of"), ({"other": 1}, "exactly one of"),
    ({"inputs": [[0.5] * 8], "instances": [[0.5] * 8]}, "more than one kind"),
    ({"dataframe_split": 5}, "must be an object"), ({"dataframe_split": {}}, "must be a list of rows"),
    ({"dataframe_split": {**SPLIT, "columns": 5}}, "list of names"),
    ({"dataframe_split": {**SPLIT, "columns": [{}]}}, "list of names"),
    ({"dataframe_split": {**SPLIT, "data": [5]}}, "data[0] must be a list"),
    ({"dataframe_split": {**SPLIT, "data": [[0.5] * 7]}}, "expected 8 values, got 7"),
    ({"dataframe_split": {**SPLIT, "data": [[0.5] * 9]}}, "expected 8 values, got more"),
    ({"dataframe_split": {**SPLIT, "data": [["a"] * 8]}}, 'expected FP32, got the text "a"'),
    ({"dataframe_split": {**SPLIT, "data": [["a"] * 8, [1] * 8]}}, "mixes texts and numbers"),
    ({"dataframe_split": {**SPLIT, "data": [[{}] * 8]}}, "expected a number or a text, got an object"),
    ({"dataframe_split": {"data": [[0.5] * 7]}}, "expected shape [-1,8], got [1,7]"),
    ({"dataframe_records": 5}, "must be a list"), ({"dataframe_records": [5]}, "must be an object"),
    ({"dataframe_records": [{"a": 1}]}, "expected shape [-1,8], got [1,1]"),
    ({"dataframe_records": []}, "expected shape"), ('{"dataframe_records": [{"a": 1, "a": 2}]}', "given twice"),
    ({"inputs": 5}, "must be a list"), ({"inputs": "x"}, "must be a list"), ({"inputs": []}, "expected shape"),
    ({"inputs": [[1, 2], [3]]}, "ragged"), ({"inputs": [1, [2]]}, "ragged"), ({"inputs": [[1], 2]}, "ragged"),
    ({"inputs": [[]]}, "expected shape"), ('{"inputs": ' + "[" * 500 + "]" * 500 + "}", "too deeply"),
    ('{"inputs": ' + "[" * 2000, ""), ({"inputs": {}}, "expected shape"), ({"inputs": {"a": [1], "b": [1, 2]}}, "expected 2 values"),
    ({"inputs": {"a": [[1]]}}, "no such input"), ({"instances": [{"a": {}}]}, "expected a number or a text"),
    ({"instances": [[0.5] * 8, {"a": 1}]}, "ragged"), ('{"instances": [[0.5,]]}', ""),
    (b'{"inputs": [[1, nullU]]}', "expected a number or a text"),
    (b'{"dataframe_split": {"coumns": ["a", ' + bytes(120) + b' "b"]l "data": [[2, null]]}}', "JSON"),
]  # fmt: skip


@pytest.mark.parametrize("body,words", SCORING, ids=range(len(SCORING)))
def test_invocations(shared, body, words):
    data = body if isinstance(body, (bytes, str)) else json.dumps(body)
    got = shared.post("/endpoints/e/invocations", data=data)
    assert got.status_code == 400, got.text
    assert words in got.json()["error"], got.text
    assert shared.post("/endpoints/e/score", data=data).status_code == 400


CSV = [("", "empty"), ("a,b", "expected shape"), ("a,b\n1", "expected 2 values, got 1"), ('a\n"1', "quote is not closed"),
       ("a\n1\nx", "expected a number"), ('a\n"1"x', "expected a comma"), ("a\r1", "end of the line"),
       ("a,a\n1,2", "")]  # fmt: skip


@pytest.mark.parametrize("text,words", CSV)
def test_csv(shared, text, words):
    got = shared.post("/endpoints/e/invocations", data=text, headers={"Content-Type": "text/csv"})
    assert got.status_code == 400, got.text
    assert words in got.json()["error"], got.text


def test_other_content_types_are_refused(shared):
    got = shared.post("/endpoints/e/invocations", data="<x/>", headers={"Content-Type": "application/xml"})
    assert got.status_code == 415 and "application/json or text/csv" in got.json()["error"]


BINARY = [("x", 0, "not a number"), ("99999", 0, "the body has"), ("-1", 0, "not a number"), (None, 31, "got 31"),
          (None, 33, "belong to no input")]  # fmt: skip


@pytest.mark.parametrize("length,sent,words", BINARY)
def test_binary(shared, length, sent, words):
    head = json.dumps({"inputs": [{"name": "input", "datatype": "FP32", "shape": [1, 8],
                                   "parameters": {"binary_data_size": 32}}]})  # fmt: skip
    got = shared.post("/v2/models/e/infer", data=head.encode() + bytes(sent),
                      headers={"Inference-Header-Content-Length": length or str(len(head))})  # fmt: skip
    assert got.status_code == 400 and words in got.json()["error"], got.text


def speak(plane, raw, limit_s=60):
    """Sends bytes on a new connection and answers all that comes until the server closes it."""
    with socket.create_connection(("127.0.0.1", plane.port), timeout=limit_s) as connection:
        connection.sendall(raw)
        connection.shutdown(socket.SHUT_WR)
        out = b""
        while True:
            part = connection.recv(65536)
            if not part:
                return out
            out += part


def statuses(answer):
    return [int(code) for code in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)]


H = b"Host: x\r\n"
RAW = [
    (b"GARBAGE\r\n\r\n", 400), (b"GET /ping\r\n\r\n", 400), (b"GET  /ping HTTP/1.1\r\n\r\n", 400),
    (b"GET /ping HTTP/1.1\n" + H + b"\r\n", 400), (b"GET /ping HTTP/2.0\r\n" + H + b"\r\n", 505),
    (b"GET /ping HTTP/1.1\r\n\r\n", 400), (b"GET /ping HTTP/1.1\r\n" + H + H + b"\r\n", 400),
    (b"GET /ping HTTP/1.1\r\n" + H + b"no colon\r\n\r\n", 400), (b"GET /ping HTTP/1.1\r\n" + H + b" folded: x\r\n\r\n", 400),
    (b"GET /ping HTTP/1.1\r\n" + H + b"a b: x\r\n\r\n", 400), (b"GET /ping HTTP/1.1\r\n" + H + b"a: \x00\r\n\r\n", 400),
    (b"GET /pi\x01ng HTTP/1.1\r\n" + H + b"\r\n", 400), (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n", 400),
    (b"GET /" + b"a" * 40000 + b" HTTP/1.1\r\n" + H + b"\r\n", 431),
    (b"GET /ping HTTP/1.1\r\n" + H + b"a: b\r\n" * 200 + b"\r\n", 431),
    (b"POST /score HTTP/1.1\r\n" + H + b"Content-Length: x\r\n\r\n", 400),
    (b"POST /score HTTP/1.1\r\n" + H + b"Content-Length: -5\r\n\r\n", 400),
    (b"POST /score HTTP/1.1\r\n" + H + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n", 400),
    (b"POST /score HTTP/1.1\r\n" + H + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    (b"POST /score HTTP/1.1\r\n" + H + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 501),
    (b"POST /score HTTP/1.1\r\n" + H + b"Content-Length: 99999999999\r\n\r\n", 413),
    (b"POST /score HTTP/1.1\r\n" + H + b"Content-Length: 99999999999999999999999999\r\n\r\n", 400),
    (b"POST /v2/models/e/infer HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\n", 401),
    (b"POST /score HTTP/1.1\r\n" + H + b"Expect: a miracle\r\n\r\n", 417),
    (b"DELETE /v2/models/e HTTP/1.1\r\n" + H + b"\r\n", 405), (b"get /ping HTTP/1.1\r\n" + H + b"\r\n", 405),
]  # fmt: skip


@pytest.mark.parametrize("raw,status", RAW, ids=range(len(RAW)))
def test_http(shared, raw, status):
    answer = speak(shared, raw)
    assert statuses(answer) == [status], answer
    assert b'{"error":' in answer


A = b"Authorization: Bearer " + KEY.encode() + b"\r\n"
CHUNKED = b"POST /v2/models/e/infer HTTP/1.1\r\n" + H + A + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("chunks,status", [
    (b"zz\r\n", 400), (b"5\r\nabcdefgh\r\n", 400), (b"5\nabcde\r\n", 400), (b"fffffffffffffffff\r\n", 400),
    (b"ffffffff\r\n", 413), (b"1" * 5000, 400), (b"0\r\n\r\n", 400), (b"2;name=value\r\n{}\r\n0\r\nTrailer: x\r\n\r\n", 400)])  # fmt: skip
def test_chunks(shared, chunks, status):
    assert statuses(speak(shared, CHUNKED + chunks)) == [status]


def test_a_chunked_body_and_pipelined_requests_are_answered_in_order(shared):
    body = json.dumps(tensor()).encode()
    chunks = b"".join(b"%x\r\n%s\r\n" % (1, body[i : i + 1]) for i in range(len(body))) + b"0\r\n\r\n"
    ping = b"GET /ping HTTP/1.1\r\n" + H + b"\r\n"
    plain = b"POST /v2/models/e/infer HTTP/1.1\r\n" + H + A + b"Content-Length: %d\r\n\r\n" % len(body) + body
    answer = speak(shared, ping + CHUNKED + chunks + plain + b"\r\n" + ping + b"GET /nowhere HTTP/1.1\r\n" + H + b"\r\n")
    assert statuses(answer) == [200, 200, 200, 200, 404]
    assert answer.count(b'"outputs"') == 2


def test_a_body_is_asked_for_only_when_it_will_be_read(shared):
    body = json.dumps(tensor()).encode()
    head = b"POST /v2/models/e/infer HTTP/1.1\r\n" + H + b"Expect: 100-continue\r\nContent-Length: %d\r\n" % len(body)
    with socket.create_connection(("127.0.0.1", shared.port), timeout=60) as connection:
        connection.sendall(head + A + b"\r\n")
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert statuses(connection.recv(10000)) == [200]
    assert statuses(speak(shared, head + b"\r\n")) == [401]


def test_a_broken_off_request_is_nothing(shared):
    whole = CHUNKED + b"5\r\nabcde\r\n"
    for length in range(1, len(whole), 7):
        assert speak(shared, whole[:length]) == b""


def test_it_still_answers(shared):
    """Runs last: after all of the above."""
    assert shared.infer("e", {"input": ("FP32", [1, 8], [0.5] * 8)}).status_code == 200
    assert shared.process.poll() is None
