"""Traces as they came: the list of them, and each with its chat, its steps and what was said of it.

The ledger and documents in, pages out; and a form that puts any trace into the queue, so that any
of its messages can be corrected. What a blind reviewer may not know yet stays hidden here too.
"""

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Path, Query, Request
from fastapi.responses import RedirectResponse, Response

from flywheel.errors import BadInput
from flywheel.queue import Item, get_item, item_of_trace, pick_trace
from flywheel.review import StandingDecision, votes_on
from flywheel.review.external import is_external, take_back
from flywheel.traces.documents import Document, open_document
from flywheel.traces.feedback import feedback_on
from flywheel.web.access import Actor, may
from flywheel.web.context import Web, web_of
from flywheel.web.conversation_view import conversation_view
from flywheel.web.feedback_view import feedback_view
from flywheel.web.items_view import VisibleItem, visible_item
from flywheel.web.others_view import sees_votes
from flywheel.web.pages import page, see_other
from flywheel.web.rendering import plain
from flywheel.web.spans_view import pretty, span_page
from flywheel.web.traces_view import (
    PAGE_SIZE,
    AskedTraces,
    apps_of_traces,
    last_version,
    list_traces,
    trace_href,
)

router = APIRouter()

Reviewer = Annotated[Actor, Depends(may("review"))]
Manager = Annotated[Actor, Depends(may("manage"))]
Position = Annotated[int, Query(ge=0, lt=2**31)]
Text = Annotated[str, Query(max_length=400)]
TraceId = Annotated[str, Query(max_length=2_000)]
Hash = Annotated[str, Query(max_length=64)]


@router.get("/traces")
def show_traces(
    request: Request,
    actor: Reviewer,
    id: TraceId = "",
    app: Text = "",
    day: Text = "",
    session: Text = "",
    text: Text = "",
    offset: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
) -> Response:
    """The published traces, newest first; with `id`, that trace."""
    if id:
        return show_trace(request, id, actor)
    ledger = web_of(request).stores.ledger
    asked = AskedTraces(app.strip(), day.strip(), session.strip(), text.strip())
    return page(
        request,
        actor,
        "traces.html",
        asked=asked,
        found=list_traces(ledger, asked, offset),
        apps=apps_of_traces(ledger),
        offset=offset,
        page_size=PAGE_SIZE,
    )


@router.get("/traces/{trace_id:path}")
def show_trace(
    request: Request,
    trace_id: Annotated[str, Path(max_length=2_000)],
    actor: Reviewer,
    hash: Hash = "",
    first: Position = 0,
    span: Position = 0,
    view: Annotated[str, Query(max_length=10)] = "",
) -> Response:
    """A trace: what was said, its steps, what people and users say of it; its last version."""
    version = hash or last_version(web_of(request).stores.ledger, trace_id)
    return show_version(request, actor, trace_id, version, first, span, view)


@router.get("/trace")
def show_version(
    request: Request,
    actor: Reviewer,
    id: TraceId,
    hash: Hash,
    first: Position = 0,
    span: Position = 0,
    view: Annotated[str, Query(max_length=10)] = "",
) -> Response:
    """One version of a trace, whether or not it is in the queue."""
    web = web_of(request)
    document = open_document(web.stores, id, hash)
    item = _item(web, document)
    shown = None if item is None else visible_item(web, item, actor)
    is_open = shown is None or not shown.is_hidden
    views, talk = conversation_view(document, first)
    said = feedback_on(web.stores.ledger, id) if is_open else []
    return page(
        request,
        actor,
        "trace.html",
        header=document.header,
        views=views,
        talk=talk,
        steps=span_page(document, span),
        is_graph=view == "graph",
        href=trace_href(id),
        item=shown,
        item_id=None if item is None else item.item_id,
        votes=_votes(web, document, item, shown, actor),
        is_external=is_external,
        said=feedback_view(said),
        is_blind=not is_open,
    )


@router.post("/pick")
def pick(
    request: Request,
    actor: Manager,
    id: Annotated[str, Form(max_length=2_000)],
    hash: Annotated[str, Form(max_length=64)],
) -> RedirectResponse:
    """Put a trace into the queue, and open its item."""
    item_id = pick_trace(web_of(request).stores.ledger, id, hash, actor.name)
    return see_other(f"/items/{item_id}")


@router.post("/take-back")
def take_decision_back(
    request: Request,
    actor: Manager,
    decision_id: Annotated[int, Form(ge=1, lt=2**31)],
    id: Annotated[str, Form(max_length=2_000)],
) -> RedirectResponse:
    """Take back a decision that came from another tool."""
    take_back(web_of(request).stores.ledger, decision_id, actor.name)
    return see_other("/traces", id=id)


@router.get("/span")
def show_span(
    request: Request, actor: Reviewer, id: TraceId, hash: Hash, position: Position
) -> Response:
    """One step, with all that went in and out of it."""
    document = open_document(web_of(request).stores, id, hash)
    if position >= document.n_spans:
        raise BadInput(f"the trace has {document.n_spans} spans, from 0")
    (step,) = document.spans(position, 1)
    return page(
        request,
        actor,
        "span.html",
        header=document.header,
        step=step,
        said_in=plain(pretty(step.input)),
        said_out=plain(pretty(step.output)),
        href=trace_href(id),
    )


def _item(web: Web, document: Document) -> Item | None:
    header = document.header
    item_id = item_of_trace(web.stores.ledger, header.trace_id, header.content_hash)
    return None if item_id is None else get_item(web.stores.ledger, item_id)


def _votes(
    web: Web, document: Document, item: Item | None, shown: VisibleItem | None, actor: Actor
) -> list[StandingDecision]:
    """What people decided, as far as this user may know it."""
    header = document.header
    votes = votes_on(web.stores.ledger, header.trace_id, header.content_hash)
    if item is None or shown is None or sees_votes(item, actor, shown.has_decided):
        return votes
    return [one for one in votes if one.decision.reviewer == actor.name]
