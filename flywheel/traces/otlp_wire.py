"""OTLP on the wire: a request's body in, one JSON document of spans out, and answers in its words.

It stands between the HTTP endpoint and the inbox, and again between the inbox and the archive. The
one idea is that both encodings become the same standard OTLP/JSON (ids in hex, 64-bit numbers as
text), checked span by span, so that nothing behind it knows how a client spoke.
https://opentelemetry.io/docs/specs/otlp/#otlphttp
"""

import json
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import orjson
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from flywheel.errors import BadInput
from flywheel.traces.otlp_documents import document_of
from flywheel.traces.otlp_json import MAX_SPAN_BYTES, MAX_VALUES, Document, checked_document

Encoding = Literal["protobuf", "json"]

# As long as a body may be on the wire; and a span's metadata for ever is not what a trace is.
MAX_PLAIN_BYTES = 32 << 20
MAX_SPANS = 100_000
# A body of 1 MB cannot hold more of anything than memory has room for.
_SMALL = 1 << 20
# A gzip may be several, one behind the other; each costs a look at all that follows it.
MAX_MEMBERS = 16
_WINDOW_BITS: Mapping[str, int] = {"gzip": 31, "deflate": 15}
_NO_ID = (bytes(16), bytes(8))
# Codes of google.rpc.Status, by the status of HTTP.
_RPC_CODES: Mapping[int, int] = {
    **{400: 3, 401: 16, 403: 7, 404: 5, 409: 9, 413: 8, 415: 3, 422: 3, 429: 8},
    **{500: 13, 503: 14},
}


@dataclass(frozen=True, slots=True)
class SpanRequest:
    """A request that can be used: `body` in `encoding`, with its spans that are sound.

    `rejected` counts the spans that were left out, by why.
    """

    encoding: Encoding
    body: bytes
    n_spans: int
    rejected: Mapping[str, int] = field(default_factory=dict)


def inflate(body: bytes, content_encoding: str) -> bytes:
    """The plain body, which is measured while it is inflated.

    Raises BadInput where it is damaged, longer than `MAX_PLAIN_BYTES`, or compressed otherwise.
    """
    how = content_encoding.strip().lower()
    if how in ("", "identity"):
        return body
    if how not in _WINDOW_BITS:
        raise BadInput(f"the content encoding {how[:40]!r} is not read; gzip is, and identity")
    plain, rest, n_members = bytearray(), body, 0
    try:
        while rest:
            n_members += 1
            if n_members > MAX_MEMBERS:
                raise BadInput(
                    f"the body is more than {MAX_MEMBERS} {how} in a row; send it as one"
                )
            inflater = zlib.decompressobj(_WINDOW_BITS[how])
            plain += inflater.decompress(rest, MAX_PLAIN_BYTES + 1 - len(plain))
            if len(plain) > MAX_PLAIN_BYTES:
                raise BadInput(
                    f"the body is more than {MAX_PLAIN_BYTES >> 20} MB when it is decompressed; "
                    "send fewer spans at once"
                )
            if not inflater.eof:
                raise BadInput(f"the body ends in the middle of its {how}")
            rest = inflater.unused_data
    except zlib.error as error:
        raise BadInput(f"the body is no {how}: {error}") from error
    return bytes(plain)


def encoding_of(content_type: str) -> Encoding | None:
    """How a body of this content type is encoded; None where it is neither of OTLP's."""
    media = content_type.partition(";")[0].strip().lower()
    if media in ("application/x-protobuf", "application/protobuf"):
        return "protobuf"
    return "json" if media == "application/json" else None


def read_request(body: bytes, encoding: Encoding) -> SpanRequest:
    """A plain body, checked; what is sound in it is kept even where some of its spans are not.

    Raises BadInput where it is no request at all.
    """
    if encoding == "json":
        document, rejected = checked_document(body)
        n_spans = sum(1 for _ in spans_of(document))
        return SpanRequest("json", as_line(document), n_spans, rejected)
    request = _parsed(body)
    n_spans, rejected = _check(request, is_small=len(body) <= _SMALL)
    kept = request.SerializeToString() if rejected else body
    return SpanRequest("protobuf", kept, n_spans, rejected)


def decode_request(body: bytes, encoding: Encoding) -> Document:
    """What `read_request` kept, as an OTLP/JSON document; raises BadInput where it is damaged."""
    if encoding == "json":
        document: Document = orjson.loads(body)
        return document
    return document_of(_parsed(body))


def as_line(document: object) -> bytes:
    """The document as one line of JSON, without its end."""
    try:
        return orjson.dumps(document)
    except TypeError:
        # Half of a surrogate pair is no text; or a whole number has more than 64 bits.
        text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode("utf-8", "replace")


def spans_of(document: Document) -> Iterator[Document]:
    """Every span of a document, in its order."""
    for resource in document.get("resourceSpans", ()):
        for scope in resource.get("scopeSpans", ()):
            yield from scope.get("spans", ())


def encode_answer(encoding: Encoding, rejected: Mapping[str, int]) -> bytes:
    """An ExportTraceServiceResponse; a partial success where spans were left out."""
    n_rejected = sum(rejected.values())
    why = "; ".join(f"{n} rejected: {reason}" for reason, n in rejected.items())[:2000]
    if encoding == "json":
        partial = {"rejectedSpans": str(n_rejected), "errorMessage": why}
        return json.dumps({"partialSuccess": partial} if n_rejected else {}).encode()
    answer = ExportTraceServiceResponse()
    if n_rejected:
        answer.partial_success.CopyFrom(
            ExportTracePartialSuccess(rejected_spans=n_rejected, error_message=why)
        )
    return bytes(answer.SerializeToString())


def encode_status(encoding: Encoding, http_status: int, sentence: str) -> bytes:
    """A google.rpc.Status, which is what OTLP answers with where a request fails."""
    code = _RPC_CODES.get(http_status, 2)
    if encoding == "json":
        # `error` is what every other address of the API says.
        return json.dumps({"error": sentence, "code": code, "message": sentence}).encode()
    text = sentence.encode("utf-8", "replace")
    # Its two fields: number 1, a small integer, and number 2, a text.
    return bytes([0x08, code, 0x12]) + _varint(len(text)) + text


def _parsed(body: bytes) -> ExportTraceServiceRequest:
    if len(body) > _SMALL and _more_spans_than(body, MAX_SPANS):
        raise BadInput(f"a request holds {MAX_SPANS:,} spans at most; send fewer at once")
    try:
        request: ExportTraceServiceRequest = ExportTraceServiceRequest.FromString(body)
    except DecodeError as error:
        raise BadInput(
            f"the body is no ExportTraceServiceRequest in protobuf: {error}; "
            "JSON is sent as application/json"
        ) from error
    return request


def _check(request: ExportTraceServiceRequest, is_small: bool) -> tuple[int, dict[str, int]]:
    """Take out of the request what cannot be used; how many spans are left, and why others not."""
    n_spans, rejected, weight = 0, Counter[str](), 0
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            reasons = [_obstacle(span, is_small) for span in scope.spans]
            bad = [number for number, why in enumerate(reasons) if why]
            for number in reversed(bad):
                rejected[str(reasons[number])] += 1
                del scope.spans[number]
            n_spans += len(scope.spans)
            for span in () if is_small else scope.spans:
                weight += _weight(span, MAX_VALUES - weight)
    return n_spans, dict(rejected)


def _obstacle(span: Span, is_small: bool) -> str | None:
    if len(span.trace_id) != 16 or span.trace_id in _NO_ID:
        return "its trace id is not 16 bytes, or all of them are 0"
    if len(span.span_id) != 8 or span.span_id in _NO_ID:
        return "its span id is not 8 bytes, or all of them are 0"
    if len(span.parent_span_id) not in (0, 8):
        return "the id of its parent is not 8 bytes"
    if not is_small and span.ByteSize() > MAX_SPAN_BYTES:
        return f"it is larger than {MAX_SPAN_BYTES >> 20} MB"
    return None


def _weight(span: Span, most: int) -> int:
    """How many values a span holds, counted up to `most`; raises BadInput beyond."""
    count = len(span.events) + len(span.links)
    waiting = [part.attributes for part in (span, *span.events, *span.links)]
    while waiting:
        values = waiting.pop()
        count += len(values)
        if count > most:
            raise BadInput(f"a request holds {MAX_VALUES:,} values at most; send fewer at once")
        for one in values:
            # Of a list the value itself, of attributes the value beside the key.
            value = one.value if hasattr(one, "key") else one
            kind = value.WhichOneof("value")
            if kind in ("array_value", "kvlist_value"):
                waiting.append(getattr(value, kind).values)
    return count


def _more_spans_than(body: bytes, most: int) -> bool:
    """Whether spans outnumber `most`, found without making them: empty ones take two bytes each."""
    levels, count, n_fields = [(0, len(body), 0)], 0, 0
    # The field that leads a level down: resource_spans, scope_spans, spans.
    inner = (1, 2, 2)
    while levels:
        position, end, depth = levels.pop()
        while position < end:
            tag, position = _read_varint(body, position)
            n_fields += 1
            if n_fields > 4 * most:
                # Of a request that holds no more spans than that, few fields are no spans.
                return True
            kind = tag & 7
            if kind == 2:
                length, position = _read_varint(body, position)
                if tag >> 3 == inner[depth]:
                    count += 1
                    if count > most:
                        return True
                    if depth < 2:
                        levels.append((position, min(position + length, end), depth + 1))
                position += length
            elif kind == 0:
                _, position = _read_varint(body, position)
            else:
                # 8 or 4 bytes; anything else the parser will refuse.
                position += {1: 8, 5: 4}.get(kind, end)
    return False


def _read_varint(body: bytes, position: int) -> tuple[int, int]:
    value = 0
    # A longer one is no number of 64 bits, and the parser will refuse it.
    for shift, byte in enumerate(body[position : position + 10]):
        value |= (byte & 127) << 7 * shift
        position += 1
        if byte < 128:
            break
    return value, position


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    return bytes([*encoded, value])
