"""Traces: spans by OTLP and as an artifact, what is said of them, search, deletion."""

import base64
import gzip
import itertools
import json
import zlib

import pytest
import requests

import otlp
from job_helpers import ended, log_of, submit, until_log
from mlflow_rest import DENIED, INVALID, UNKNOWN, Rest

_numbers = itertools.count(1)


@pytest.fixture
def traced(server):
    return Traced(server, Rest(server, "/api/3.0/mlflow"))


class Traced:
    """An experiment of its own, and calls on its traces."""

    def __init__(self, server, rest):
        self.server, self.rest = server, rest
        self.experiment = rest.experiment(f"traced {next(_numbers)}")

    def send(self, body, headers=None, content_type="application/x-protobuf", experiment=None, token=None):
        named = {"x-mlflow-experiment-id": experiment or self.experiment} if experiment != "" else {}
        own = {"Authorization": f"Bearer {token or self.server.token}", "Content-Type": content_type}
        return requests.post(self.server.url + "/v1/traces", data=body, headers={**own, **named, **(headers or {})}, timeout=30)

    def log(self, *spans, **options):
        answer = self.send(otlp.request(*spans), **options)
        said = (answer.status_code, answer.content, answer.headers["Content-Type"])
        assert said == (200, b"", "application/x-protobuf"), answer.text

    def refused(self, body, **options):
        answer = self.send(body, **options)
        assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE"), answer.text
        return answer.json()["message"]

    def start(self, trace_id, code=None, experiment=None, **info):
        place = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": experiment or self.experiment}}
        whole = {"trace_id": trace_id, "trace_location": place, "request_time": "2026-05-01T12:30:00.250Z",
                 "execution_duration": "1.5s", "state": "OK", **info}  # fmt: skip
        answer = self.rest.post("traces", {"trace": {"trace_info": whole}}, code)
        return answer if code else answer["trace"]["trace_info"]

    def info(self, trace_id, code=None):
        answer = self.rest.get(f"traces/{trace_id}", code)
        return answer if code else answer["trace"]["trace_info"]

    def search(self, filter="", **fields):
        place = {"mlflow_experiment": {"experiment_id": self.experiment}}
        page = self.rest.post("traces/search", {"locations": [place], "filter": filter, **fields})
        return [trace["trace_id"] for trace in page.get("traces", [])]


def new_id():
    return f"{next(_numbers):032x}"


def told(attributes):
    """Attributes as the API answers them, as plain values."""

    def plain(value):
        (kind, inner), = value.items() if value else [("none", None)]
        if kind == "array_value":
            return [plain(item) for item in inner["values"]]
        if kind == "kvlist_value":
            return {pair["key"]: plain(pair["value"]) for pair in inner["values"]}
        return inner

    return {pair["key"]: plain(pair["value"]) for pair in attributes}


VALUES = {"text": "é \"quoted\"", "int": -(2**63), "float": 0.5, "yes": True, "none": None, "list": [1, "a", [None]],
          "object": {"a": {"b": 1.5}}}  # fmt: skip


def test_spans_come_back_as_they_were_sent(traced):
    trace = new_id()
    event = otlp.part(11, otlp.fixed64(1, 1_200_000_000) + otlp.part(2, "tick") + otlp.pairs(3, {"n": 1}))
    traced.log(otlp.span(trace, "00000000000000b1", "00000000000000a1", name="child", start_ns=1_100_000_000, attributes=VALUES))
    traced.log(otlp.span(trace, "00000000000000a1", name="root", end_ns=2_000_000_000, status=2, events=event,
                         attributes={"mlflow.spanInputs": {"question": 1}, "mlflow.spanOutputs": "answer"}))  # fmt: skip
    whole = traced.rest.get("traces/get", trace_id=f"tr-{trace}")["trace"]
    root, child = whole["spans"]
    assert (root["name"], child["name"]) == ("root", "child")
    assert base64.b64decode(root["trace_id"]).hex() == trace
    assert base64.b64decode(child["parent_span_id"]).hex() == "00000000000000a1" and "parent_span_id" not in root
    assert (root["start_time_unix_nano"], root["end_time_unix_nano"]) == (1_000_000_000, 2_000_000_000)
    assert root["status"]["code"] == "STATUS_CODE_ERROR"
    number = {"key": "n", "value": {"int_value": 1}}
    assert root["events"] == [{"name": "tick", "time_unix_nano": 1_200_000_000, "attributes": [number]}]
    assert told(child["attributes"]) == {"mlflow.traceRequestId": f"tr-{trace}", **VALUES}
    info = whole["trace_info"]
    assert (info["state"], info["execution_duration"]) == ("ERROR", "1.000s")
    assert info["request_time"] == "1970-01-01T00:00:01.000000Z"
    assert (json.loads(info["request_preview"]), json.loads(info["response_preview"])) == ({"question": 1}, "answer")
    assert info["tags"] == {"mlflow.traceName": "root", "mlflow.trace.spansLocation": "TRACKING_STORE",
                            "mlflow.artifactLocation": f"mlflow-artifacts:/{traced.experiment}/traces/tr-{trace}/artifacts"}  # fmt: skip
    assert info["trace_metadata"]["mlflow.trace_schema.version"] == "3"


def test_tokens_are_summed_up(traced):
    trace = new_id()

    def counted(span_id, parent_id, total):
        usage = {"input_tokens": total - 1, "output_tokens": 1, "total_tokens": total}
        return otlp.span(trace, span_id, parent_id, attributes={"mlflow.chat.tokenUsage": usage})

    traced.log(counted("00000000000000b1", "00000000000000a1", 10), counted("00000000000000b2", "00000000000000b1", 10))
    traced.log(counted("00000000000000b3", "00000000000000a1", 5), otlp.span(trace, "00000000000000a1"))
    usage = json.loads(traced.info(f"tr-{trace}")["trace_metadata"]["mlflow.trace.tokenUsage"])
    assert usage == {"input_tokens": 13, "output_tokens": 2, "total_tokens": 15}, "a parent's count holds its children's"


def test_the_body_may_be_packed_or_json(traced):
    one, two, three = new_id(), new_id(), new_id()
    body = otlp.request(otlp.span(one, "00000000000000a1"))
    assert traced.send(gzip.compress(body), {"Content-Encoding": "gzip"}).status_code == 200
    body = otlp.request(otlp.span(two, "00000000000000a1"))
    assert traced.send(zlib.compress(body), {"Content-Encoding": "deflate"}).status_code == 200
    span = {"traceId": three, "spanId": "00000000000000A1", "name": "work", "startTimeUnixNano": "1000000000",
            "endTimeUnixNano": "1500000000", "attributes": [{"key": "n", "value": {"intValue": "5"}}], "status": {"code": 1}}  # fmt: skip
    body = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]})
    answer = traced.send(body, content_type="application/json; charset=utf-8")
    assert (answer.status_code, answer.text, answer.headers["Content-Type"]) == (200, "{}", "application/json")
    assert sorted(traced.search()) == sorted(f"tr-{trace}" for trace in (one, two, three))
    spans = traced.rest.get("traces/get", trace_id=f"tr-{three}")["trace"]["spans"]
    assert told(spans[0]["attributes"])["n"] == 5


def test_what_is_no_otlp_is_refused_with_a_reason(traced):
    good = otlp.request(otlp.span(new_id(), "00000000000000a1", attributes=VALUES))
    for body in (good[:-1], good[1:], b"\xff" * 100, b"{}", json.dumps({"resourceSpans": []}).encode()):
        assert "protobuf" in traced.refused(body) or "not UTF-8" in traced.refused(body)
    assert "no spans" in traced.refused(b"")
    assert "no spans" in traced.refused(b"{}", content_type="application/json")
    for body in (b"[]", b"{", b'{"resourceSpans": 5}', b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "zz"}]}]}]}'):
        traced.refused(body, content_type="application/json")
    assert "gzip" in traced.refused(good, headers={"Content-Encoding": "gzip"})
    assert "Content-Encoding" in traced.refused(good, headers={"Content-Encoding": "br"})
    assert "Content-Type" in traced.refused(good, content_type="text/plain")
    assert "x-mlflow-experiment-id" in traced.refused(good, experiment="")
    assert "trace_id" in traced.refused(otlp.request(otlp.span("0" * 32, "00000000000000a1")))
    assert traced.send(good, experiment="987654").status_code == 404
    assert traced.search() == []


def test_a_request_has_its_limits(traced):
    bomb = gzip.compress(b"\0" * (64 << 20))
    assert "larger than" in traced.refused(bomb, headers={"Content-Encoding": "gzip"})
    many = otlp.span(new_id(), "00000000000000a1")
    assert "10000 spans" in traced.refused(otlp.request(*[many] * 10_001))
    assert "250000 values" in traced.refused(otlp.request(many + otlp.part(9, b"") * 250_001))
    deep = "x"
    for _ in range(100):
        deep = [deep]
    assert "deep" in traced.refused(otlp.request(otlp.span(new_id(), "00000000000000a1", attributes={"deep": deep})))
    assert traced.send(b"\0" * (17 << 20)).status_code == 413


def test_a_request_is_taken_whole_or_not_at_all(traced):
    elsewhere, here = new_id(), new_id()
    other = traced.rest.experiment(f"other {next(_numbers)}")
    traced.log(otlp.span(elsewhere, "00000000000000a1"), experiment=other)
    said = traced.refused(otlp.request(otlp.span(here, "00000000000000a1"), otlp.span(elsewhere, "00000000000000a2")))
    assert f"is in the experiment {other}" in said
    traced.info(f"tr-{here}", code=UNKNOWN)


def test_the_client_says_what_the_whole_was(traced):
    trace = f"tr-{new_id()}"
    traced.log(otlp.span(trace[3:], "00000000000000a1", name="root"))
    made = traced.start(trace, client_request_id="mine", request_preview="in", tags={"mlflow.traceName": "named", "k": "v"},
                        trace_metadata={"m": "1"}, assessments=[])  # fmt: skip
    assert made == traced.info(trace)
    assert (made["execution_duration"], made["client_request_id"]) == ("1.500s", "mine")
    assert made["request_time"] == "2026-05-01T12:30:00.250000Z"
    assert made["tags"]["mlflow.traceName"] == "named" and made["tags"]["mlflow.trace.spansLocation"] == "TRACKING_STORE"
    assert made["trace_metadata"]["m"] == "1"
    assert traced.start(trace, tags={"k": "w"})["tags"]["k"] == "w", "it may say so again"
    other = traced.rest.experiment(f"other {next(_numbers)}")
    assert "is in the experiment" in traced.start(trace, code=INVALID, experiment=other)
    for fields in ({"state": "DONE"}, {"request_time": "yesterday"}, {"execution_duration": "-1s"}, {"execution_duration": "1"},
                   {"tags": {"a": 1}}, {"tags": []}, {"trace_location": {}}):  # fmt: skip
        traced.start(trace, code=INVALID, **fields)
    for bad in ("", "..", "a/b", "x" * 251, "a b"):
        traced.start(bad, code=INVALID)


def test_clients_before_3_are_told_what_to_do(server):
    said = Rest(server).post("traces", {"experiment_id": "0", "timestamp_ms": 1}, code="404 ENDPOINT_NOT_FOUND")
    assert "upgrade mlflow" in said


def test_spans_may_be_an_artifact_as_older_clients_keep_them(traced):
    trace = f"tr-{new_id()}"
    place = f"/api/2.0/mlflow-artifacts/artifacts/{traced.experiment}/traces/{trace}/artifacts/traces.json"
    assert traced.server.put(place, data=b"{}").status_code == 404, "a trace that is not known has none"
    info = traced.start(trace)
    assert "mlflow.trace.spansLocation" not in info["tags"], "so that the client uploads them"
    assert f"mlflow-artifacts:/{place.split('artifacts/', 2)[2].rsplit('/', 1)[0]}" == info["tags"]["mlflow.artifactLocation"]
    assert traced.server.get(place).status_code == 404
    assert traced.server.put(place, data=b'{"spans": []}').json() == {}
    assert traced.server.get(place).content == b'{"spans": []}'
    for root in ("/api/2.0", "/ajax-api/2.0", "/ajax-api/3.0"):
        answer = traced.server.get(f"{root}/mlflow/get-trace-artifact", params={"request_id": trace})
        assert answer.content == b'{"spans": []}' and answer.headers["X-Content-Type-Options"] == "nosniff"
    other = place.replace(f"/{traced.experiment}/", "/0/")
    assert traced.server.put(other, data=b"x").status_code == 404, "not by another experiment's name"


def test_clients_that_look_for_an_artifact_find_the_spans_too(traced):
    trace = new_id()
    traced.log(otlp.span(trace, "00000000000000a1", name="root", attributes={"n": 5}))
    place = f"{traced.experiment}/traces/tr-{trace}/artifacts/traces.json"
    found = traced.server.get(f"/api/2.0/mlflow-artifacts/artifacts/{place}")
    assert found.headers["Content-Disposition"] == "attachment; filename=traces.json"
    assert found.headers["X-Content-Type-Options"] == "nosniff"
    (span,) = found.json()["spans"]
    assert (span["name"], span["status"]["code"], span["parent_span_id"]) == ("root", "STATUS_CODE_OK", None)
    assert span["attributes"] == {"mlflow.traceRequestId": f'"tr-{trace}"', "n": "5"}
    assert traced.server.get("/ajax-api/3.0/mlflow/get-trace-artifact", params={"request_id": f"tr-{trace}"}).json() == found.json()


def test_a_trace_has_attachments(traced):
    trace = f"tr-{new_id()}"
    traced.start(trace)
    place = f"/api/2.0/mlflow-artifacts/artifacts/{traced.experiment}/traces/{trace}/artifacts"
    name = "0b56ae1d-5ea6-4b07-a7d0-4a4bbfc1ed4e"
    for file, content in (("traces.json", b'{"spans": []}'), (f"attachments/{name}", b"\x89PNG")):
        assert traced.server.put(f"{place}/{file}", data=content).status_code == 200

    def artifact(**query):
        return traced.server.get("/ajax-api/2.0/mlflow/get-trace-artifact", params={"request_id": trace, **query})

    whole, attached = artifact(), artifact(path=name)
    assert (whole.content, attached.content) == (b'{"spans": []}', b"\x89PNG")
    assert whole.headers["Content-Disposition"] == "attachment; filename=traces.json"
    assert attached.headers["Content-Disposition"] == f"attachment; filename={name}"
    assert artifact(path="../traces.json").json()["error_code"] == "INVALID_PARAMETER_VALUE"
    assert artifact(path="none").status_code == 404


def test_a_trace_is_not_whole_before_all_its_spans_came(traced):
    trace = new_id()
    traced.start(f"tr-{trace}", trace_metadata={"mlflow.trace.sizeStats": json.dumps({"num_spans": 2})})
    said = traced.rest.get("traces/get", UNKNOWN, trace_id=f"tr-{trace}")
    assert "not fully exported yet" in said
    traced.log(otlp.span(trace, "00000000000000a1"))
    traced.rest.get("traces/get", UNKNOWN, trace_id=f"tr-{trace}")
    assert traced.rest.get("traces/batchGet", trace_ids=[f"tr-{trace}"]) == {}
    assert len(traced.rest.get("traces/get", trace_id=f"tr-{trace}", allow_partial="true")["trace"]["spans"]) == 1
    traced.log(otlp.span(trace, "00000000000000a2", "00000000000000a1"))
    assert len(traced.rest.get("traces/get", trace_id=f"tr-{trace}", allow_partial="False")["trace"]["spans"]) == 2


def test_several_are_got_at_once(traced):
    traces = [new_id() for _ in range(3)]
    for trace in traces:
        traced.log(otlp.span(trace, "00000000000000a1"))
    ids = [f"tr-{trace}" for trace in reversed(traces)]
    answer = traced.rest.get("traces/batchGet", trace_ids=[*ids, "tr-none"])
    assert [trace["trace_info"]["trace_id"] for trace in answer["traces"]] == ids
    assert all(len(trace["spans"]) == 1 for trace in answer["traces"])
    infos = traced.rest.post("traces/batchGetInfos", {"trace_ids": [*ids, "tr-none"]})["trace_infos"]
    assert [info["trace_id"] for info in infos] == ids
    traced.rest.post("traces/batchGetInfos", {"trace_ids": ["tr-none"] * 101}, code=INVALID)
    traced.rest.post("traces/batchGetInfos", {}, code=INVALID)


@pytest.mark.parametrize("root", ["/api/2.0/mlflow", "/api/3.0/mlflow", "/ajax-api/3.0/mlflow"])
def test_tags_are_set_and_removed(traced, root):
    trace, rest = f"tr-{new_id()}", Rest(traced.server, root)
    traced.start(trace)
    assert rest.patch(f"traces/{trace}/tags", {"key": "k", "value": "v"}) == {}
    assert traced.info(trace)["tags"]["k"] == "v"
    assert rest.delete(f"traces/{trace}/tags", {"key": "k"}) == {}
    said = rest.delete(f"traces/{trace}/tags", {"key": "k"}, code=UNKNOWN)
    assert said == f"No trace tag with key 'k' for trace with ID '{trace}'"
    rest.patch("traces/tr-none/tags", {"key": "k", "value": "v"}, code=UNKNOWN)
    for key in ("mlflow.artifactLocation", "mlflow.trace.spansLocation"):
        assert "server's own" in rest.patch(f"traces/{trace}/tags", {"key": key, "value": "file:///etc"}, code=INVALID)
        rest.delete(f"traces/{trace}/tags", {"key": key}, code=INVALID)


SOURCE = {"source_type": "HUMAN", "source_id": "ann"}


def test_people_and_judges_say_what_they_think(traced):
    trace = f"tr-{new_id()}"
    traced.start(trace)
    there = f"traces/{trace}/assessments"
    said = {"assessment_name": "right", "trace_id": trace, "source": SOURCE, "feedback": {"value": True}, "rationale": "it is",
            "metadata": {"a": "b"}, "span_id": "00000000000000a1", "create_time": "2026-05-01T12:30:00Z",
            "last_update_time": "2026-05-01T12:30:00Z"}  # fmt: skip
    made = traced.rest.post(there, {"assessment": said})["assessment"]
    assert made["assessment_id"].startswith("a-") and made["valid"] is True
    assert all(made[key] == said[key] for key in said if not key.endswith("time"))
    assert made["create_time"] == "2026-05-01T12:30:00.000000Z"
    one = f"{there}/{made['assessment_id']}"
    assert traced.rest.get(one)["assessment"] == made
    assert traced.info(trace)["assessments"] == [made]
    sent = {"assessment_name": "correct", "feedback": {"value": {"score": 1}}, "metadata": {"c": "d"}, "rationale": "ignored"}
    change = {"assessment": sent, "update_mask": "assessmentName,feedback,metadata"}
    changed = traced.rest.patch(one, change)["assessment"]
    assert (changed["assessment_name"], changed["feedback"], changed["rationale"]) == ("correct", {"value": {"score": 1}}, "it is")
    assert changed["metadata"] == {"a": "b", "c": "d"} and changed["last_update_time"] > made["last_update_time"]
    assert traced.rest.delete(one) == {} and traced.rest.delete(one) == {}
    traced.rest.get(one, UNKNOWN)
    assert "assessments" not in traced.info(trace)


def test_expectations_and_errors_are_kept(traced):
    trace = f"tr-{new_id()}"
    traced.start(trace)
    packed = {"serialized_value": {"serialization_format": "JSON_FORMAT", "value": "[1]"}}
    for name, value in [("plain", {"value": "Paris"}), ("packed", packed)]:
        fields = {"assessment_name": name, "source": {"source_type": "LLM_JUDGE", "source_id": "j"}, "expectation": value}
        made = traced.rest.post(f"traces/{trace}/assessments", {"assessment": fields})["assessment"]
        assert made["expectation"] == value
    error = {"error_code": "E", "error_message": "no answer", "stack_trace": "here"}
    fields = {"assessment_name": "failed", "source": {"source_type": "CODE"}, "feedback": {"value": None, "error": error}}
    made = traced.rest.post(f"traces/{trace}/assessments", {"assessment": fields})["assessment"]
    assert made["feedback"] == {"value": None, "error": error}
    fields = {"assessment_name": "nested", "source": SOURCE, "expectation": {"value": {"a": [1]}}}
    made = traced.rest.post(f"traces/{trace}/assessments", {"assessment": fields})["assessment"]
    assert json.loads(made["expectation"]["serialized_value"]["value"]) == {"a": [1]}, "as clients read it"
    assert traced.search("expectation.plain = 'Paris'") == [trace]
    for fields in ({}, {"assessment_name": "x"}, {"assessment_name": "x", "source": SOURCE},
                   {"assessment_name": "x", "source": {"source_type": "GHOST"}, "feedback": {"value": 1}},
                   {"assessment_name": "x", "source": SOURCE, "feedback": {}}, {"assessment_name": "x", "source": SOURCE, "feedback": 5},
                   {"assessment_name": "x", "source": SOURCE, "feedback": {"value": 1}, "expectation": {"value": 1}}):  # fmt: skip
        traced.rest.post(f"traces/{trace}/assessments", {"assessment": fields}, code=INVALID)


def test_one_assessment_stands_in_for_another(traced):
    trace = f"tr-{new_id()}"
    traced.start(trace)
    there = f"traces/{trace}/assessments"
    fields = {"assessment_name": "score", "source": SOURCE, "feedback": {"value": 1}}
    first = traced.rest.post(there, {"assessment": fields})["assessment"]["assessment_id"]
    second = traced.rest.post(there, {"assessment": {**fields, "feedback": {"value": 5}, "overrides": first}})["assessment"]
    assert traced.rest.get(f"{there}/{first}")["assessment"]["valid"] is False
    assert traced.search("feedback.score > 2") == [trace] and traced.search("feedback.score < 2") == []
    traced.rest.delete(f"{there}/{second['assessment_id']}")
    assert traced.rest.get(f"{there}/{first}")["assessment"]["valid"] is True
    traced.rest.post(there, {"assessment": {**fields, "overrides": "a-none"}}, code=UNKNOWN)


def test_traces_belong_to_runs(traced):
    run = traced.rest.run(traced.experiment)
    made, linked, other = (f"tr-{new_id()}" for _ in range(3))
    traced.start(made, trace_metadata={"mlflow.sourceRun": run})
    traced.start(linked)
    traced.start(other)
    assert traced.rest.post("traces/link-to-run", {"run_id": run, "trace_ids": [linked]}) == {}
    assert sorted(traced.search(f"attribute.run_id = '{run}'")) == sorted([made, linked])
    said = traced.rest.post("traces/link-to-run", {"run_id": run, "trace_ids": [made] * 101}, code=INVALID)
    assert said == "Cannot link more than 100 traces to a run in a single request. Provided 101 traces."
    traced.rest.post("traces/link-to-run", {"run_id": "none", "trace_ids": [made]}, code=UNKNOWN)
    traced.rest.post("traces/link-to-run", {"run_id": run, "trace_ids": ["no/trace"]}, code=INVALID)


@pytest.mark.parametrize("column", ["span.content", "span.attributes.my_key"])
def test_patterns_find_what_like_finds(traced, column):
    """The common patterns are not looked for by LIKE: all of them answer as it does."""
    values = {"one": "aXaaab ü€ end", "two": "zzz then aaab", "three": "AAB ü", "four": "100%_"}
    ids = {name: new_id() for name in values}
    for name, value in values.items():
        traced.log(otlp.span(ids[name], "00000000000000a1", attributes={"my_key": value}))

    def found(pattern, op="LIKE"):
        by_id = {f"tr-{trace}": name for name, trace in ids.items()}
        return sorted(by_id[trace] for trace in traced.search(f"{column} {op} '{pattern}'"))

    assert found("%aaab%") == ["one", "two"] and found("%aab%", "ILIKE") == ["one", "three", "two"]
    assert found("%ü€%end%") == ["one"] and found("%zzz%aaab%") == ["two"] and found("%aaab%zzz%") == [], "in this order, and not over each other"
    assert found("%aaab%aaab%") == [] and found("%ü%ü%") == [] and found("%aXa%aab%") == ["one"]
    assert found("%a_aaab%") == ["one"] and found("%aX%ü%end%") == ["one"] and found("%%") == sorted(values)
    assert found("%" + "a" * 200 + "%") == []
    if column == "span.content":
        assert found("aaab%") == [] and found("{%}") == sorted(values)


def test_a_link_may_come_before_its_trace(traced):
    run = traced.rest.run(traced.experiment)
    by_spans, by_start = new_id(), f"tr-{new_id()}"
    links = {"run_id": run, "trace_ids": [f"tr-{by_spans}", by_start]}
    assert traced.rest.post("traces/link-to-run", links) == {}, "clients link traces that they have not exported yet"
    assert traced.rest.post("traces/link-to-run", links) == {}
    assert traced.search(f"attribute.run_id = '{run}'") == []
    traced.log(otlp.span(by_spans, "00000000000000a1"))
    assert traced.search(f"attribute.run_id = '{run}'") == [f"tr-{by_spans}"]
    traced.start(by_start)
    assert sorted(traced.search(f"attribute.run_id = '{run}'")) == sorted([f"tr-{by_spans}", by_start])


def test_search_goes_page_by_page(traced):
    traces = [f"tr-{new_id()}" for _ in range(5)]
    for second, trace in enumerate(traces):
        traced.start(trace, request_time=f"2026-05-01T12:30:{second:02}Z")
    assert traced.search() == traces[::-1]
    found, token = [], None
    place = {"mlflow_experiment": {"experiment_id": traced.experiment}}
    while True:
        asked = {"locations": [place], "max_results": 2, "order_by": ["timestamp ASC"], "page_token": token}
        page = traced.rest.post("traces/search", asked)
        found += [trace["trace_id"] for trace in page["traces"]]
        token = page.get("next_page_token")
        if not token:
            break
    assert found == traces
    for fields in ({"locations": [place], "max_results": 501}, {"max_results": 5}, {"locations": [place], "page_token": "x"}):
        traced.rest.post("traces/search", fields, code=INVALID)
    assert traced.rest.post("traces/search", {"locations": [{"mlflow_experiment": {"experiment_id": "987654"}}]}) == {}


@pytest.mark.parametrize("filter", ["tags.a RLIKE '(a+)+$'", "span.name RLIKE 'x'", "nothing = 'x'", "metrics.a > 1", "status > 'OK'",
                                    "span.content LIKE '" + "%a" * 200 + "'", "timestamp = 'now'", "name = 'a' OR name = 'b'"])  # fmt: skip
def test_what_the_search_language_has_not_is_refused(traced, filter):
    place = {"mlflow_experiment": {"experiment_id": traced.experiment}}
    traced.rest.post("traces/search", {"locations": [place], "filter": filter}, code=INVALID)


def test_deleted_traces_take_their_artifacts_along(traced):
    traces = [f"tr-{new_id()}" for _ in range(4)]
    for second, trace in enumerate(traces):
        traced.start(trace, request_time=f"1970-01-01T00:00:{second:02}Z")
        path = f"/api/2.0/mlflow-artifacts/artifacts/{traced.experiment}/traces/{trace}/artifacts/traces.json"
        assert traced.server.put(path, data=b"{}").status_code == 200

    def delete(**fields):
        return traced.rest.post("traces/delete-traces", {"experiment_id": traced.experiment, **fields})["traces_deleted"]

    assert delete(max_timestamp_millis=2000, max_traces=1) == 1
    assert traced.search() == traces[:0:-1], "the oldest goes first"
    assert delete(request_ids=[traces[3], "tr-none"]) == 1
    assert delete(max_timestamp_millis=2000) == 2
    assert traced.search() == []
    folder = traced.server.data / "artifacts" / traced.experiment / "traces"
    assert not folder.exists() or list(folder.iterdir()) == []
    for fields in ({}, {"max_timestamp_millis": 5, "request_ids": ["x"]}, {"request_ids": ["x"], "max_traces": 1},
                   {"max_timestamp_millis": 5, "max_traces": 0}):  # fmt: skip
        traced.rest.post("traces/delete-traces", {"experiment_id": traced.experiment, **fields}, code=INVALID)


def test_a_kept_trace_outlives_a_kill(fresh_server):
    traced = Traced(fresh_server, Rest(fresh_server, "/api/3.0/mlflow"))
    traces = [new_id() for _ in range(20)]
    for trace in traces:
        traced.log(otlp.span(trace, "00000000000000a1", attributes={"n": 1}))
    fresh_server.kill9()
    fresh_server.restart()
    for trace in traces:
        assert len(traced.rest.get("traces/get", trace_id=f"tr-{trace}")["trace"]["spans"]) == 1


def test_a_job_writes_traces_of_its_own_experiment(traced):
    name = submit(traced.server, 'echo "<$MLFLOW_TRACKING_TOKEN>"; until [ -e "$HOME/go" ]; do sleep 0.02; done')["name"]
    until_log(traced.server, name, ">")
    token = log_of(traced.server, name).strip().strip("<>")
    own = traced.rest.get("runs/get", run_id=name)["run"]["info"]["experiment_id"]
    foreign = traced.rest.run(own)
    trace, elsewhere = new_id(), new_id()
    traced.log(otlp.span(trace, "00000000000000a1"), experiment=own, token=token)
    assert traced.send(otlp.request(otlp.span(elsewhere, "00000000000000a1")), token=token).status_code == 403

    class AsJob:
        def request(self, method, path, **options):
            headers = {"Authorization": f"Bearer {token}"}
            return requests.request(method, traced.server.url + path, headers=headers, timeout=30, **options)

    mine = Traced.__new__(Traced)
    mine.server, mine.rest, mine.experiment = traced.server, Rest(AsJob(), "/api/3.0/mlflow"), own
    mine.start(f"tr-{trace}", trace_metadata={"mlflow.sourceRun": name})
    mine.start(f"tr-{trace}", code=DENIED, trace_metadata={"mlflow.sourceRun": foreign})
    mine.start(f"tr-{elsewhere}", code=DENIED, experiment=traced.experiment)
    mine.rest.patch(f"traces/tr-{trace}/tags", {"key": "k", "value": "v"})
    mine.rest.post("traces/link-to-run", {"run_id": name, "trace_ids": [f"tr-{trace}"]})
    mine.rest.post("traces/link-to-run", {"run_id": foreign, "trace_ids": [f"tr-{trace}"]}, code=DENIED)
    traced.start(f"tr-{elsewhere}")
    mine.rest.patch(f"traces/tr-{elsewhere}/tags", {"key": "k", "value": "v"}, code=DENIED)
    fields = {"assessment_name": "x", "source": SOURCE, "feedback": {"value": 1}}
    mine.rest.post(f"traces/tr-{elsewhere}/assessments", {"assessment": fields}, code=DENIED)
    mine.rest.post("traces/delete-traces", {"experiment_id": own, "request_ids": [f"tr-{trace}"]}, code=DENIED)
    upload = "/api/2.0/mlflow-artifacts/artifacts/{}/traces/tr-{}/artifacts/traces.json"
    assert AsJob().request("PUT", upload.format(own, trace), data=b"{}").status_code == 200
    assert AsJob().request("PUT", upload.format(traced.experiment, elsewhere), data=b"{}").status_code == 403
    (traced.server.data / "jobs" / name / "work" / "go").touch()
    ended(traced.server, name)


def test_the_version_lets_clients_send_spans(server):
    major, minor = server.get("/version").text.split(".")[:2]
    assert (int(major), int(minor)) >= (3, 4)
