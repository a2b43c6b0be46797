"""/v1/traces: what is taken, what is refused and how, by clients that speak either encoding."""

import gzip
import json
import zlib

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from flywheel.settings import Settings, TracesSettings
from flywheel.store import Project, open_project
from flywheel.store.tables import inbox
from flywheel.traces.draining import drain_inbox
from flywheel.traces.inbox import fill_of
from flywheel.web.accounts import add_user
from flywheel.web.app import create_app
from flywheel.web.keys import new_key
from flywheel.web.security import MAX_BODY_BYTES
from tests.otlp import PROTOBUF, archived_lines, archived_spans, body, said, span, trace_of
from tests.signed_in import stranger

LANGFUSE = "/api/public/otel/v1/traces"
NDJSON = "application/x-ndjson"


@pytest.fixture
def app(project: Project) -> FastAPI:
    return create_app(project)


@pytest.fixture
def key(project: Project) -> str:
    add_user(project.stores.ledger, "robot", "service", "Ada")
    return new_key(project.stores.ledger, "robot", "Ada")


@pytest.fixture
def client(app: FastAPI, key: str) -> TestClient:
    """An application with its key."""
    made = stranger(app)
    made.headers["Authorization"] = f"Bearer {key}"
    return made


def post(client: TestClient, sent: bytes, media: str = PROTOBUF, **headers: str) -> object:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post("/v1/traces", content=sent, headers={"Content-Type": media, **named})


def as_json(*spans: dict[str, object]) -> bytes:
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": list(spans)}]}]}).encode()


def json_span(**fields: object) -> dict[str, object]:
    """A root span as JSON, with other fields where they are given."""
    ids = {"traceId": "0a" * 16, "spanId": "0b" * 8, "name": "chat"}
    times = {"startTimeUnixNano": "1772445600000000000", "endTimeUnixNano": "1772445601000000000"}
    return ids | times | fields


def drained(project: Project) -> list[dict[str, object]]:
    drain_inbox(project.stores, Settings(traces=TracesSettings(idle_s=0)))
    return archived_spans(project)


def attributes_of(span: dict[str, object]) -> dict[str, object]:
    return {one["key"]: one["value"] for one in span["attributes"]}


# What is taken


@pytest.mark.parametrize("path", ["/v1/traces", LANGFUSE])
def test_spans_in_protobuf_are_committed_before_the_answer(
    project: Project, client: TestClient, path: str
) -> None:
    answer = client.post(path, content=body(*trace_of(1)), headers={"Content-Type": PROTOBUF})
    assert (answer.status_code, answer.headers["content-type"]) == (200, PROTOBUF)
    assert not said(answer.content).HasField("partial_success")
    assert fill_of(project.stores.ledger).spans == 4


def test_every_kind_of_value_arrives_as_the_standard_writes_it(
    project: Project, client: TestClient
) -> None:
    sent = span(1, 1, text="é", number=2**53 + 1, share=0.5, is_it=True, none=float("nan"))
    sent.attributes.add(key="list").value.array_value.values.add(string_value="a")
    sent.attributes.add(key="map").value.kvlist_value.values.add(key="k").value.int_value = 1
    sent.attributes.add(key="bytes").value.bytes_value = b"\xff"
    sent.events.add(name="said", time_unix_nano=5)
    sent.status.code, sent.status.message = 2, "broken"
    sent.links.add(trace_id=b"\x01" * 16, span_id=b"\x02" * 8)
    assert post(client, body(sent)).status_code == 200
    (found,) = drained(project)
    assert found["traceId"] == "00" * 15 + "01"
    assert found["startTimeUnixNano"] == str(sent.start_time_unix_nano)
    assert attributes_of(found) == {
        "text": {"stringValue": "é"},
        "number": {"intValue": "9007199254740993"},
        "share": {"doubleValue": 0.5},
        "is_it": {"boolValue": True},
        "none": {"doubleValue": "NaN"},
        "list": {"arrayValue": {"values": [{"stringValue": "a"}]}},
        "map": {"kvlistValue": {"values": [{"key": "k", "value": {"intValue": "1"}}]}},
        "bytes": {"bytesValue": "/w=="},
    }
    assert found["events"] == [{"timeUnixNano": "5", "name": "said", "attributes": []}]
    assert found["status"] == {"code": 2, "message": "broken"}
    assert found["links"] == [{"traceId": "01" * 16, "spanId": "02" * 8, "attributes": []}]


def test_both_encodings_become_the_same_document(project: Project, client: TestClient) -> None:
    sent = span(1, 1, text="a", number=7, share=0.5, is_it=False)
    as_protobuf = body(sent)
    assert post(client, as_protobuf).status_code == 200
    (from_protobuf,) = drained(project)
    document = archived_lines(project)[0]
    with project.stores.ledger.begin() as connection:
        connection.execute(inbox.delete())
    answer = post(client, json.dumps(document | {"_": 1}).encode(), "application/json")
    assert (answer.status_code, answer.json()) == (200, {})
    # The same document, and so the same artifact.
    assert drained(project) == [from_protobuf]
    assert archived_lines(project) == [document]


def test_json_is_read_as_clients_write_it(project: Project, client: TestClient) -> None:
    snake = {
        "resource_spans": [
            {
                "resource": {"attributes": [{"key": "a", "value": {"string_value": "b"}}]},
                "scope_spans": [
                    {
                        "scope": {"name": "lib"},
                        "spans": [
                            {
                                "trace_id": "CgoKCgoKCgoKCgoKCgoKCg==",
                                "span_id": "0B" * 8,
                                "parent_span_id": "",
                                "start_time_unix_nano": 1772445600000000000,
                                "kind": "SPAN_KIND_CLIENT",
                                "status": {"code": "STATUS_CODE_ERROR"},
                                "attributes": [
                                    {"key": "n", "value": {"int_value": 5}},
                                    {"key": "d", "value": {"doubleValue": "NaN"}},
                                    {"key": "nothing", "value": {}},
                                    {"key": "half", "value": {"stringValue": "\ud83d"}},
                                ],
                                "of_later": {"a": 1},
                            }
                        ],
                    }
                ],
            }
        ]
    }
    assert post(client, json.dumps(snake).encode(), "application/json").status_code == 200
    (found,) = drained(project)
    assert (found["traceId"], found["spanId"]) == ("0a" * 16, "0b" * 8)
    assert (found["kind"], found["status"]["code"]) == (3, 2)
    assert "parentSpanId" not in found
    assert "of_later" not in found
    assert attributes_of(found) == {
        "n": {"intValue": "5"},
        "d": {"doubleValue": "NaN"},
        "nothing": {},
        "half": {"stringValue": "?"},
    }


@pytest.mark.parametrize("how", ["gzip", "deflate", "identity", "GZIP"])
def test_a_body_may_be_compressed(project: Project, client: TestClient, how: str) -> None:
    pack = {"gzip": gzip.compress, "deflate": zlib.compress}.get(how.lower(), bytes)
    answer = post(client, pack(body(*trace_of(1))), Content_Encoding=how)
    assert answer.status_code == 200
    assert len(drained(project)) == 4


def test_gzip_may_have_several_members(project: Project, client: TestClient) -> None:
    whole = body(*trace_of(1))
    packed = gzip.compress(whole[:50]) + gzip.compress(whole[50:])
    assert post(client, packed, Content_Encoding="gzip").status_code == 200
    assert len(drained(project)) == 4


def test_gzip_of_very_many_members_is_refused(client: TestClient) -> None:
    """Each of them would cost a copy of all that follows it."""
    refused = post(client, gzip.compress(b"") * 100_000, Content_Encoding="gzip")
    assert refused.status_code == 400
    assert b"send it as one" in refused.content


def test_very_many_fields_that_nobody_knows_are_refused(client: TestClient) -> None:
    """They take two bytes each, and would be looked at one by one."""
    refused = post(client, gzip.compress(b"\x18\x00" * 1_000_000), Content_Encoding="gzip")
    assert refused.status_code == 400
    assert b"send fewer at once" in refused.content


def test_nothing_is_kept_of_a_request_without_spans(project: Project, client: TestClient) -> None:
    assert post(client, b"").status_code == 200
    assert post(client, b'{"resourceSpans": []}', "application/json").status_code == 200
    assert fill_of(project.stores.ledger).rows == 0


def test_the_sender_may_name_the_application(project: Project, client: TestClient) -> None:
    post(client, body(*trace_of(1)), X_Flywheel_App="desk")
    drained(project)
    assert archived_lines(project)[0]["app"] == "desk"


# Our own form


def own(**fields: object) -> dict[str, object]:
    return {"trace_id": "t1", "messages": [{"role": "user", "content": "hello"}]} | fields


def test_traces_of_our_own_form_come_as_json_lines(project: Project, client: TestClient) -> None:
    lines = [own(), own(trace_id="t2")]
    sent = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    answer = post(client, sent, NDJSON)
    assert answer.json() == {"accepted": 2, "rejected": []}
    drained(project)
    assert archived_lines(project) == lines


def test_one_trace_of_our_own_may_come_as_json(project: Project, client: TestClient) -> None:
    answer = post(client, json.dumps(own(), indent=1).encode(), "application/json")
    assert answer.json() == {"accepted": 1, "rejected": []}
    drained(project)
    assert archived_lines(project) == [own()]


def test_bad_lines_are_named_and_the_good_ones_kept(project: Project, client: TestClient) -> None:
    sent = [
        *(b"{", b"[]", b'{"trace_id": "a"}', b'{"messages": [{"content": "x"}]}'),
        *(b'{"messages": [{"role": "user"}], "cost": 1e999}', b"\xff", b"[" * 9000),
        *(b"", json.dumps(own()).encode()),
    ]
    answer = post(client, b"\n".join(sent), NDJSON)
    assert answer.status_code == 200
    assert answer.json()["accepted"] == 1
    assert [one["line"] for one in answer.json()["rejected"]] == [1, 2, 3, 4, 5, 6, 7]
    assert all(one["why"] for one in answer.json()["rejected"])
    refused = post(client, b"\n".join(sent[:2]), NDJSON)
    assert refused.status_code == 400
    assert "line 1: it is not JSON" in refused.json()["error"]
    assert fill_of(project.stores.ledger).rows == 1


# What is refused


def test_unsound_spans_are_left_out_and_counted(project: Project, client: TestClient) -> None:
    good, bad, worse = trace_of(1, 3)
    bad.trace_id = b"short"
    worse.span_id = bytes(8)
    answer = said(post(client, body(good, bad, worse)).content)
    assert answer.partial_success.rejected_spans == 2
    assert "1 rejected: its trace id is not 16 bytes" in answer.partial_success.error_message
    assert len(drained(project)) == 1


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"traceId": "zz"}, "its traceId is not 16 bytes in hex"),
        ({"traceId": "0" * 32}, "its traceId is not 16 bytes in hex"),
        ({"spanId": 5}, "its spanId is not 8 bytes in hex"),
        ({"parentSpanId": "x"}, "its parentSpanId is not 8 bytes in hex"),
        ({"name": 5}, "its name is no text"),
        ({"startTimeUnixNano": "soon"}, "its startTimeUnixNano is no whole number"),
        ({"endTimeUnixNano": -1}, "its endTimeUnixNano is no whole number"),
        ({"kind": "SPAN_KIND_OTHER"}, "its kind is none of OTLP's"),
        ({"attributes": {"a": 1}}, "attributes is no list of objects"),
        ({"attributes": [{"value": {}}]}, "an attribute has no key"),
        ({"attributes": [{"key": "a", "value": 5}]}, "is none of OTLP's"),
        ({"attributes": [{"key": "a", "value": {"intValue": 1e30}}]}, "no whole number of 64"),
        ({"attributes": [{"key": "a", "value": {"stringValue": 1}}]}, "stringValue"),
        ({"attributes": [{"key": "a", "value": {"doubleValue": "x"}}]}, "doubleValue"),
        ({"attributes": [{"key": "a", "value": {"boolValue": 1}}]}, "boolValue"),
        ({"attributes": [{"key": "a", "value": {"arrayValue": {"values": 1}}}]}, "arrayValue"),
        ({"attributes": [{"key": "a", "value": {"kvlistValue": {"values": [1]}}}]}, "kvlistValue"),
    ],
)
def test_a_span_in_json_that_cannot_be_used_says_why(
    project: Project, client: TestClient, fields: dict[str, object], why: str
) -> None:
    sent = as_json(json_span(spanId="0c" * 8), json_span(**fields))
    answer = post(client, sent, "application/json")
    assert answer.status_code == 200
    partial = answer.json()["partialSuccess"]
    assert partial["rejectedSpans"] == "1"
    assert why in partial["errorMessage"]
    assert [one["spanId"] for one in drained(project)] == ["0c" * 8]


def nested(depth: int) -> dict[str, object]:
    value: dict[str, object] = {"stringValue": "x"}
    for _ in range(depth):
        value = {"arrayValue": {"values": [value]}}
    return value


def test_what_is_nested_too_deeply_is_refused(client: TestClient) -> None:
    sent = as_json(json_span(attributes=[{"key": "a", "value": nested(60)}]))
    answer = post(client, sent, "application/json")
    assert "nested deeper than 50" in answer.json()["partialSuccess"]["errorMessage"]
    assert post(client, b"[" * 100_000, "application/json").status_code == 400
    value = b""
    for _ in range(60):
        value = framed(0x2A, framed(0x0A, value))
    deep = span(1, 1).SerializeToString() + framed(0x4A, framed(0x12, value))
    assert post(client, framed(0x0A, framed(0x12, framed(0x12, deep)))).status_code == 400


BOMB = gzip.compress(bytes(40 << 20))
EMPTY_SPANS = b"\x12\x00" * 200_000


def framed(tag: int, inner: bytes) -> bytes:
    length, size = b"", len(inner)
    while size > 127:
        length, size = length + bytes([size & 127 | 128]), size >> 7
    return bytes([tag]) + length + bytes([size]) + inner


@pytest.mark.parametrize(
    ("sent", "media", "headers", "status", "why"),
    [
        (b"\xff\xff", PROTOBUF, {}, 400, "no ExportTraceServiceRequest in protobuf"),
        (body(*trace_of(1))[:-3], PROTOBUF, {}, 400, "no ExportTraceServiceRequest"),
        (b"{}", "application/json", {}, 400, "no resourceSpans"),
        (b"[]", "application/json", {}, 400, "no resourceSpans"),
        (b"\xff", "application/json", {}, 400, "not JSON"),
        (b'{"resourceSpans": 1}', "application/json", {}, 400, "no list of objects"),
        (b"xyz", PROTOBUF, {"Content_Encoding": "gzip"}, 400, "no gzip"),
        (gzip.compress(b"x" * 99)[:-9], PROTOBUF, {"Content_Encoding": "gzip"}, 400, "ends in"),
        (BOMB, PROTOBUF, {"Content_Encoding": "gzip"}, 400, "more than 32 MB"),
        (b"x", PROTOBUF, {"Content_Encoding": "br"}, 400, "'br' is not read"),
        (b"x", "text/plain", {}, 415, "'text/plain' is not read"),
        (b"x", "", {}, 415, "is not read"),
        (framed(10, framed(18, EMPTY_SPANS)) * 3, PROTOBUF, {}, 400, "100,000 spans at most"),
        (b"[" + b"{}," * 2_100_000, "application/json", {}, 400, "values at most"),
    ],
    ids=range(14),
)
def test_a_refusal_is_a_status_in_the_encoding_of_the_request(
    project: Project,
    client: TestClient,
    sent: bytes,
    media: str,
    headers: dict[str, str],
    status: int,
    why: str,
) -> None:
    answer = post(client, sent, media, **headers)
    assert answer.status_code == status
    if media == PROTOBUF:
        assert answer.headers["content-type"] == PROTOBUF
        # google.rpc.Status: its code, and its message.
        assert answer.content[0] == 0x08
        assert why in answer.content.decode(errors="replace")
    else:
        assert why in answer.json()["message"]
        assert answer.json()["error"] == answer.json()["message"]
    assert fill_of(project.stores.ledger).rows == 0


def test_a_body_that_is_too_long_is_not_read(project: Project, client: TestClient) -> None:
    assert post(client, bytes(MAX_BODY_BYTES + 1)).status_code == 413
    parts = (bytes(1 << 20) for _ in range(33))
    answer = client.post("/v1/traces", content=parts, headers={"Content-Type": PROTOBUF})
    assert (answer.status_code, answer.headers["content-type"]) == (413, PROTOBUF)
    assert b"32 MB" in answer.content
    assert fill_of(project.stores.ledger).rows == 0


def test_too_many_values_in_one_request_are_refused(client: TestClient) -> None:
    one = span(1, 1)
    value = one.attributes.add(key="a").value
    value.array_value.values.extend([type(value)()] * 2_000_001)
    answer = post(client, body(one))
    assert answer.status_code == 400
    assert b"2,000,000 values at most" in answer.content


def test_a_stranger_hears_it_in_protobuf_too(app: FastAPI) -> None:
    answer = post(stranger(app), body(*trace_of(1)))
    assert (answer.status_code, answer.headers["content-type"]) == (401, PROTOBUF)
    assert answer.content[:2] == bytes([0x08, 16])


def test_a_full_inbox_says_when_to_come_again(project: Project, key: str) -> None:
    (project.folder / "flywheel.toml").parent.mkdir(exist_ok=True)
    (project.folder / "flywheel.toml").write_text("[traces]\ninbox_mb = 1\n")
    small = open_project(project.folder)
    client = stranger(create_app(small))
    client.headers["X-API-Key"] = key
    assert post(client, body(span(1, 1, text="x" * 1_000_000))).status_code == 200
    answer = post(client, body(*trace_of(2)))
    assert (answer.status_code, answer.content[:2]) == (429, bytes([0x08, 8]))
    assert int(answer.headers["retry-after"]) > 0
    counts = dict(
        line.rsplit(" ", 1)
        for line in client.get("/metrics").text.splitlines()
        if line.startswith("flywheel_inbox")
    )
    assert float(counts["flywheel_inbox_requests"]) == 1
    assert float(counts["flywheel_inbox_bytes"]) > 1_000_000
    assert float(counts["flywheel_inbox_limit_bytes"]) == 1_000_000
    assert float(counts["flywheel_inbox_spans"]) == 1
    assert float(counts["flywheel_inbox_refused_total"]) == 1
    assert "flywheel_inbox_oldest_age_seconds" in counts
    drain_inbox(small.stores, Settings(traces=TracesSettings(idle_s=0)))
    small.stores.ledger.close()
