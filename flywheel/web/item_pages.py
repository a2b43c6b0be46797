"""One item: the conversation, the desk beside it, and everything that can be said of it.

The ledger and the trace's document in, a page out; forms in, decisions out. Whoever opens an item
that waits claims it, where it has room.
"""

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Path, Query, Request
from fastapi.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.datastructures import FormData

from flywheel.errors import BadInput, Refused
from flywheel.queue import claim, get_item, heartbeat
from flywheel.review import (
    adjudicate,
    clear_sensitive,
    comment,
    decide,
    decline,
    flag_sensitive,
    skip,
    undo,
)
from flywheel.traces.documents import open_document
from flywheel.web.access import Actor, may
from flywheel.web.context import web_of
from flywheel.web.conversation_view import readable
from flywheel.web.desk_view import desk_view
from flywheel.web.differences import diff_html
from flywheel.web.filters import asked_in, asked_of
from flywheel.web.items_view import checked_decision, decision_form
from flywheel.web.pages import page, see_other
from flywheel.web.rendering import markdown, parts, plain

router = APIRouter()

# A message longer than this is shown in parts.
PART = 100_000

Reviewer = Annotated[Actor, Depends(may("review"))]
Adjudicator = Annotated[Actor, Depends(may("adjudicate"))]
ItemId = Annotated[int, Path(ge=1, lt=2**31)]
Position = Annotated[int, Query(ge=0, lt=2**31)]
Then = Annotated[str, Form(max_length=4_000)]


async def _sent(request: Request) -> FormData:
    return await request.form()


Sent = Annotated[FormData, Depends(_sent)]


@router.get("/items/{item_id}")
def show_item(
    request: Request,
    item_id: ItemId,
    actor: Reviewer,
    first: Position | None = None,
    correct: Position | None = None,
    note: Annotated[str, Query(max_length=20)] = "",
) -> Response:
    """The item, claimed for this reviewer where it waits and has room."""
    web = web_of(request)
    item = get_item(web.stores.ledger, item_id)
    held_until, obstacle = None, ""
    if item.status == "pending":
        try:
            held_until = claim(web.stores.ledger, item_id, actor.name, web.lease_s)
        except Refused as refusal:
            obstacle = str(refusal)
    then = asked_of(request.query_params).query()
    context = desk_view(web, item, actor, first, correct, held_until, obstacle, note, then)
    return page(request, actor, "item.html", **context)


@router.post("/items/{item_id}/decide")
def decide_item(
    request: Request, item_id: ItemId, actor: Reviewer, sent: Sent, then: Then = ""
) -> RedirectResponse:
    """Store the decision, with its correction where there is one; then the next item."""
    web = web_of(request)
    item = get_item(web.stores.ledger, item_id)
    decision = checked_decision(web, item, actor, decision_form(_texts(sent)))
    decide(web.stores.ledger, decision, item_id)
    return _on(request, "/review", then)


@router.post("/items/{item_id}/adjudicate")
def adjudicate_item(
    request: Request, item_id: ItemId, actor: Adjudicator, sent: Sent
) -> RedirectResponse:
    """Settle what reviewers disagree on; then the list of disputes."""
    web = web_of(request)
    item = get_item(web.stores.ledger, item_id)
    decision = checked_decision(web, item, actor, decision_form(_texts(sent)))
    adjudicate(web.stores.ledger, decision, item_id)
    return see_other("/adjudicate")


@router.post("/items/{item_id}/skip")
def skip_item(
    request: Request, item_id: ItemId, actor: Reviewer, then: Then = ""
) -> RedirectResponse:
    """Leave the item to somebody else; then the next one."""
    skip(web_of(request).stores.ledger, item_id, actor.name)
    return _on(request, "/review", then)


@router.post("/items/{item_id}/decline")
def decline_item(
    request: Request,
    item_id: ItemId,
    actor: Reviewer,
    then: Then = "",
    reason: Annotated[str, Form(max_length=10_000)] = "",
) -> RedirectResponse:
    """Say that nobody need decide on the item; then the next one."""
    ledger = web_of(request).stores.ledger
    item = get_item(ledger, item_id)
    if item.status not in ("pending", "disputed"):
        raise Refused(f"item {item_id} is {item.status}; only one that waits can be declined")
    decline(ledger, item.trace_id, item.content_hash, actor.name, reason)
    return _on(request, "/review", then)


@router.post("/items/{item_id}/sensitive")
def mark_sensitive(
    request: Request,
    item_id: ItemId,
    actor: Reviewer,
    flag: Annotated[str, Form(max_length=3)] = "yes",
    then: Then = "",
) -> RedirectResponse:
    """Keep the trace out of examples, training and exports, or let it in again."""
    ledger = web_of(request).stores.ledger
    item = get_item(ledger, item_id)
    if flag == "no":
        clear_sensitive(ledger, item.trace_id, actor.name)
    else:
        flag_sensitive(ledger, item.trace_id, item.content_hash, actor.name, "")
    return _on(request, f"/items/{item_id}", then)


@router.post("/items/{item_id}/comment")
def comment_item(
    request: Request,
    item_id: ItemId,
    actor: Reviewer,
    text: Annotated[str, Form(max_length=10_000)],
    then: Then = "",
) -> RedirectResponse:
    """Leave a remark for whoever comes next."""
    ledger = web_of(request).stores.ledger
    item = get_item(ledger, item_id)
    comment(ledger, item.trace_id, item.content_hash, actor.name, text)
    return _on(request, f"/items/{item_id}", then)


@router.post("/items/{item_id}/heartbeat", status_code=204)
def keep_item(request: Request, item_id: ItemId, actor: Reviewer) -> Response:
    """Hold the item for longer; 409 where it is no longer this reviewer's."""
    web = web_of(request)
    if not heartbeat(web.stores.ledger, item_id, actor.name, web.lease_s):
        raise Refused(f"item {item_id} is no longer held for {actor.name}")
    return Response(status_code=204)


@router.post("/items/{item_id}/diff")
def show_difference(request: Request, item_id: ItemId, actor: Reviewer, sent: Sent) -> HTMLResponse:
    """What the correction in this form would change, as a piece of a page."""
    web = web_of(request)
    item = get_item(web.stores.ledger, item_id)
    fields = _texts(sent)
    turn = fields.get("corrected_turn", "")
    if not turn.isdecimal() or len(turn) > 9:
        raise BadInput("corrected_turn must be the position of a message")
    document = open_document(web.stores, item.trace_id, item.content_hash)
    if int(turn) >= document.header.n_messages:
        raise BadInput(f"corrected_turn {turn} is after the last message of the trace")
    message = document.message(int(turn))
    pairs = [(message.content, fields.get("corrected_text"))]
    for number, call in enumerate(readable(call) for call in message.tool_calls):
        pairs.append((call.name, fields.get(f"call_name_{number}")))
        pairs.append((call.arguments, fields.get(f"call_arguments_{number}")))
    changed = [
        diff_html(before.replace("\r\n", "\n"), after.replace("\r\n", "\n"))
        for before, after in pairs
        if after is not None and before.replace("\r\n", "\n") != after.replace("\r\n", "\n")
    ]
    return HTMLResponse("\n".join(changed))


@router.post("/undo")
def undo_last(request: Request, actor: Reviewer) -> RedirectResponse:
    """Take back what this reviewer did last, and show it; again for what was before."""
    undone = undo(web_of(request).stores.ledger, actor.name)
    if undone is None:
        raise Refused("there is nothing left to take back")
    if undone.item_id is None:
        return see_other("/review")
    return see_other(f"/items/{undone.item_id}", note=f"undone-{undone.kind}")


@router.get("/message")
def show_message(
    request: Request,
    actor: Reviewer,
    id: Annotated[str, Query(max_length=2_000)],
    hash: Annotated[str, Query(max_length=64)],
    position: Position,
    part: Annotated[int, Query(ge=0, lt=2**31)] = 0,
    raw: bool = False,
) -> Response:
    """One message, whole: in parts where it is very long, or all of it as plain text."""
    document = open_document(web_of(request).stores, id, hash)
    if position >= document.header.n_messages:
        raise BadInput(f"the trace has {document.header.n_messages} messages, from 0")
    message = document.message(position)
    if raw:
        return PlainTextResponse(message.content.encode("utf-8", "replace"))
    slices = parts(message.content, PART)
    part = min(part, len(slices) - 1)
    base = (
        f"/message?{request.url.include_query_params(part=0).remove_query_params(['part']).query}"
    )
    return page(
        request,
        actor,
        "message.html",
        header=document.header,
        position=position,
        role=message.role,
        n_characters=len(message.content),
        html=markdown(message.content) if len(slices) == 1 else plain(slices[part]),
        part=part,
        n_parts=len(slices),
        base=base,
    )


def _texts(sent: FormData) -> dict[str, str]:
    return {name: value for name, value in sent.items() if isinstance(value, str)}


def _on(request: Request, path: str, then: str) -> RedirectResponse:
    """Go on with the filter that the form carried."""
    return see_other(path, asked_in(then).query())
