"""Live traces: what applications send while they run, by OTLP/HTTP or as JSON lines of our own.

A request in, a row of the inbox out; the one idea is that 200 means committed. A body is checked
span by span before, so that whatever is answered with a refusal is known by its reason, and
whatever is taken can be read later.
"""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, HTTPException, Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from flywheel.errors import BadInput
from flywheel.traces.inbox import InboxKind
from flywheel.traces.live_lines import as_lines, checked_lines, is_ours
from flywheel.traces.otlp_wire import (
    Encoding,
    as_line,
    decode_request,
    encoding_of,
    inflate,
    read_request,
)
from flywheel.web.access import Actor, may
from flywheel.web.api_bodies import Fault
from flywheel.web.context import Web, web_of
from flywheel.web.otlp_bodies import PATHS, otlp_answer

router = APIRouter(tags=["v1"])

Sender = Annotated[Actor, Depends(may("send"))]
# Content types of JSON lines.
LINES = ("application/x-ndjson", "application/jsonl", "application/x-jsonlines")
CONTENT: dict[str, dict[str, Any]] = {
    "application/x-protobuf": {"schema": {"type": "string", "format": "binary"}},
    "application/json": {"schema": {"type": "object"}},
    "application/x-ndjson": {"schema": {"type": "string", "format": "binary"}},
}
REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"description": "Nothing of the body can be used; it says why, as a google.rpc.Status."},
    401: {"description": "No key, or one that is not in use."},
    403: {"description": "A role that may not send."},
    413: {"description": "More than 32 MB."},
    415: {"description": "Another content type."},
    422: {"model": Fault, "description": "A header that cannot be used; it says which."},
    429: {"description": "The inbox is full; Retry-After says when to send it again."},
    503: {"description": "Busy; the same request may succeed later."},
}


@dataclass(frozen=True, slots=True)
class Sent:
    """What a request says of itself, beside its body."""

    content_type: str
    content_encoding: str
    # Application of traces that name none.
    app: str


@router.post(
    PATHS[0],
    response_class=Response,
    responses=REFUSALS,
    openapi_extra={"requestBody": {"required": True, "content": CONTENT}},
)
@router.post(PATHS[1], response_class=Response, include_in_schema=False)
async def receive_traces(
    request: Request,
    actor: Sender,
    content_type: Annotated[str, Header(max_length=200)] = "",
    content_encoding: Annotated[str, Header(max_length=200)] = "",
    x_flywheel_app: Annotated[
        str, Header(max_length=200, description="Application of traces that name none.")
    ] = "",
) -> Response:
    """Spans by OTLP/HTTP, or traces as JSON lines of our own; 200 means that they are committed.

    Where some of them cannot be used, the others are kept, and the answer says how many and why.
    """
    web = web_of(request)
    try:
        body = await request.body()
    except ClientDisconnect:
        # Nobody hears it.
        return Response(status_code=400)
    sent = Sent(content_type, content_encoding, x_flywheel_app.strip())
    async with web.receiving:
        return await run_in_threadpool(_receive, web, sent, body)


def _receive(web: Web, sent: Sent, body: bytes) -> Response:
    web.inbox.check_room()
    media = sent.content_type.partition(";")[0].strip().lower()
    encoding = encoding_of(media)
    if encoding is None and media not in LINES:
        known = ", ".join(CONTENT)
        raise HTTPException(415, f"the content type {media[:40]!r} is not read; {known} are")
    plain = inflate(body, sent.content_encoding)
    if encoding is None or (encoding == "json" and is_ours(plain)):
        return _take_lines(web, sent, plain, is_one=encoding is not None)
    return _take_spans(web, sent, plain, encoding)


def _take_spans(web: Web, sent: Sent, plain: bytes, encoding: Encoding) -> Response:
    found = read_request(plain, encoding)
    kind: InboxKind = "otlp" if encoding == "protobuf" else "otlp-json"
    kept = found.body
    if found.n_spans and not web.redactor.is_off:
        document = web.redactor.rules_only(decode_request(kept, encoding))
        kind, kept = "otlp-json", as_line(document)
    if found.n_spans:
        web.inbox.take_in(kind, sent.app, kept, found.n_spans)
    return otlp_answer(encoding, found.rejected)


def _take_lines(web: Web, sent: Sent, plain: bytes, is_one: bool) -> Response:
    traces, refused = checked_lines(plain, is_one)
    if not traces:
        number, why = refused[0] if refused else (1, "there is none")
        raise BadInput(f"no line of the body is a trace; line {number}: {why}")
    kept = [web.redactor.rules_only(trace) for trace in traces]
    web.inbox.take_in("flywheel", sent.app, as_lines(kept), len(kept))
    said = [{"line": number, "why": why} for number, why in refused]
    return JSONResponse({"accepted": len(kept), "rejected": said})
