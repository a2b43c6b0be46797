"""The HTTP API under `/v1`: what a page can do, a program can do, by key.

JSON in and out. The one idea is that nothing is decided here: the pages' own functions say what a
user may see and what a decision must hold, so that the two never differ.
"""

from dataclasses import asdict, replace
from typing import Annotated, Any, get_args

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from flywheel.errors import BadInput, Refused
from flywheel.judge.rubric import load_rubric
from flywheel.queue import Item, ItemFilter, claim_next, get_item, list_items
from flywheel.queue.claims import claim, heartbeat, release
from flywheel.queue.items import status_of
from flywheel.records import ExportFormat, Split
from flywheel.review import (
    StandingDecision,
    adjudicate,
    clear_sensitive,
    comment,
    decide,
    decline,
    flag_sensitive,
    is_sensitive,
    skip,
    undo,
    votes_on,
)
from flywheel.store.ledger import now
from flywheel.traces.documents import open_document
from flywheel.web.access import Actor, Permission, may
from flywheel.web.api_bodies import (
    FIRST_MESSAGES,
    ClaimBody,
    Claimed,
    CommentBody,
    CommentOut,
    Decided,
    DecisionBody,
    DecisionOut,
    Fault,
    ItemDetail,
    ItemsOut,
    Me,
    MessagesOut,
    Noted,
    ReasonBody,
    RubricOut,
    SensitiveBody,
    UndoneOut,
    item_out,
    messages_out,
)
from flywheel.web.context import Web, web_of
from flywheel.web.export_pages import download
from flywheel.web.filters import PENDING, Asked, asked_of, filter_of
from flywheel.web.items_view import DecisionForm, checked_decision, visible_item, visible_items
from flywheel.web.others_view import sees_votes, visible_comments

REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": Fault, "description": "No request that can be read."},
    401: {"model": Fault, "description": "No key, or one that is not in use."},
    403: {"model": Fault, "description": "A role that may not do this."},
    422: {"model": Fault, "description": "Something that cannot be used; it says what."},
    503: {"model": Fault, "description": "Busy; the same request may succeed later."},
}
_NONE: dict[int | str, dict[str, Any]] = {404: {"model": Fault, "description": "No such item."}}
_NOT_NOW: dict[int | str, dict[str, Any]] = {
    409: {"model": Fault, "description": "Possible, and not now: the item is done, or somebody's."}
}
router = APIRouter(prefix="/v1", tags=["v1"], responses=REFUSALS)

Reader = Annotated[Actor, Depends(may("read"))]
Reviewer = Annotated[Actor, Depends(may("review"))]
Adjudicator = Annotated[Actor, Depends(may("adjudicate"))]
Exporter = Annotated[Actor, Depends(may("export"))]
ItemId = Annotated[int, Path(ge=1, lt=2**31, description="The item's number.")]
Name = Annotated[str, Query(max_length=400)]
_ANY = ClaimBody()
_NO_REASON = ReasonBody()


async def _web(request: Request) -> Web:
    # A plain function would be given a thread of its own.
    return web_of(request)


Web_ = Annotated[Web, Depends(_web)]


@router.get("/me")
def me(actor: Reader) -> Me:
    """Whose key this is, and what it may do."""
    permissions = [permission for permission in get_args(Permission) if actor.may(permission)]
    return Me(name=actor.name, role=actor.role, permissions=permissions)


@router.get("/rubric")
def rubric(web: Web_, actor: Reader) -> RubricOut:
    """The words to decide by, Markdown."""
    return RubricOut.model_validate(load_rubric(web.project.metrics_dir))


@router.get("/items")
def list_of_items(
    request: Request,
    web: Web_,
    actor: Reader,
    status: Annotated[Name, Query(description="pending unless said; any is every one.")] = PENDING,
    queue: Name = "",
    app: Name = "",
    day: Annotated[Name, Query(description="As 2026-03-31.")] = "",
    reason: Annotated[Name, Query(description="For those who manage the queue.")] = "",
    metric: Annotated[Name, Query(description="For those who manage the queue.")] = "",
    mine: bool = False,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
) -> ItemsOut:
    """Items that match, the most urgent first; `n_matching` of `n_all` do."""
    fields = dict(request.query_params) | {"status": status, "mine": "yes" if mine else ""}
    wanted = filter_of(_allowed(asked_of(fields), actor), actor)
    found = list_items(web.stores.ledger, wanted, limit, offset)
    shown = [item_out(one) for one in visible_items(web, found.items, actor)]
    return ItemsOut(items=shown, n_matching=found.n_matching, n_all=found.n_all)


@router.post(
    "/items/claim",
    response_model=Claimed,
    responses={204: {"description": "Nothing waits that this user may take."}},
)
def claim_item(web: Web_, actor: Reviewer, body: ClaimBody = _ANY) -> object:
    """Take the most urgent item that waits; what is on the desk already comes first.

    The claim is a lease: a heartbeat prolongs it, a decision or a release ends it.
    """
    claimed = _next(web, actor, _wanted(actor, body), body.messages)
    return Response(status_code=204) if claimed is None else claimed


@router.get("/items/{item_id}", responses=_NONE)
def show_item(web: Web_, item_id: ItemId, actor: Reader) -> ItemDetail:
    """An item, and what people said of it as far as this user may know it."""
    item = get_item(web.stores.ledger, item_id)
    shown, ledger = visible_item(web, item, actor), web.stores.ledger
    sees_all = sees_votes(item, actor, shown.has_decided)
    votes = votes_on(ledger, item.trace_id, item.content_hash)
    seen = [one for one in votes if sees_all or one.decision.reviewer == actor.name]
    remarks = visible_comments(web, item, shown, actor)
    return ItemDetail(
        item=item_out(shown),
        decisions=[_decision_out(one) for one in seen],
        comments=[CommentOut.model_validate(one) for one in remarks],
        is_sensitive=is_sensitive(ledger, item.trace_id),
    )


@router.post("/items/{item_id}/claim", responses=_NONE | _NOT_NOW)
def claim_this_item(web: Web_, item_id: ItemId, actor: Reviewer) -> Claimed:
    """Take this item, with its first 50 messages."""
    claim(web.stores.ledger, item_id, actor.name, web.lease_s)
    return _claimed(web, actor, item_id, FIRST_MESSAGES)


@router.get("/items/{item_id}/messages", responses=_NONE)
def messages_of_item(
    web: Web_,
    item_id: ItemId,
    actor: Reader,
    first: Annotated[int, Query(ge=0, lt=2**31)] = 0,
    count: Annotated[int, Query(ge=1, le=500)] = 50,
) -> MessagesOut:
    """Some messages of the item's trace, whole and as they were."""
    return _messages(web, get_item(web.stores.ledger, item_id), first, count)


@router.post("/items/{item_id}/decision", responses=_NONE | _NOT_NOW)
def decide_on_item(web: Web_, item_id: ItemId, actor: Reviewer, body: DecisionBody) -> Decided:
    """Store a decision, with a correction where one is given, by the rubric of this moment.

    The answer means that it is committed. With `next` it brings the next item.
    """
    ledger = web.stores.ledger
    decision = checked_decision(web, get_item(ledger, item_id), actor, body)
    wish = _ANY if isinstance(body.next, bool) else body.next
    # Before the decision is stored: what is refused has done nothing.
    wanted = _wanted(actor, wish)
    with ledger.begin():
        decision_id = decide(ledger, decision, item_id)
        status = status_of(ledger, item_id)
        taken = claim_next(ledger, actor.name, wanted, web.lease_s) if body.next else None
    following = None if taken is None else _claimed(web, actor, taken, wish.messages)
    return Decided(decision_id=decision_id, status=status, next=following)


@router.post("/items/{item_id}/adjudication", responses=_NONE | _NOT_NOW)
def adjudicate_item(web: Web_, item_id: ItemId, actor: Adjudicator, body: DecisionForm) -> Noted:
    """Settle an item on which reviewers disagree."""
    item = get_item(web.stores.ledger, item_id)
    decision = checked_decision(web, item, actor, body)
    return _noted(web, item_id, adjudicate(web.stores.ledger, decision, item_id))


@router.post("/items/{item_id}/skip", responses=_NONE)
def skip_item(web: Web_, item_id: ItemId, actor: Reviewer) -> Noted:
    """Leave the item to somebody else; it does not come again."""
    return _noted(web, item_id, skip(web.stores.ledger, item_id, actor.name))


@router.post("/items/{item_id}/decline", responses=_NONE | _NOT_NOW)
def decline_item(
    web: Web_, item_id: ItemId, actor: Reviewer, body: ReasonBody = _NO_REASON
) -> Noted:
    """Say that nobody need decide on the item."""
    item = get_item(web.stores.ledger, item_id)
    if item.status not in ("pending", "disputed"):
        raise Refused(f"item {item_id} is {item.status}; only one that waits can be declined")
    noted_id = decline(web.stores.ledger, item.trace_id, item.content_hash, actor.name, body.reason)
    return _noted(web, item_id, noted_id)


@router.post("/items/{item_id}/sensitive", responses=_NONE)
def flag_item(web: Web_, item_id: ItemId, actor: Reviewer, body: SensitiveBody) -> ItemDetail:
    """Keep the trace out of examples, training and exports, or let it in again."""
    ledger, item = web.stores.ledger, get_item(web.stores.ledger, item_id)
    if body.is_sensitive:
        flag_sensitive(ledger, item.trace_id, item.content_hash, actor.name, body.reason)
    else:
        clear_sensitive(ledger, item.trace_id, actor.name)
    return show_item(web, item_id, actor)


@router.post("/items/{item_id}/comments", responses=_NONE)
def comment_on_item(web: Web_, item_id: ItemId, actor: Reviewer, body: CommentBody) -> ItemDetail:
    """Leave a remark for whoever comes next."""
    item = get_item(web.stores.ledger, item_id)
    comment(web.stores.ledger, item.trace_id, item.content_hash, actor.name, body.text)
    return show_item(web, item_id, actor)


@router.post("/items/{item_id}/heartbeat", status_code=204, responses=_NOT_NOW)
def keep_item(web: Web_, item_id: ItemId, actor: Reviewer) -> None:
    """Prolong the claim; 409 where the item is not on this user's desk any more."""
    if not heartbeat(web.stores.ledger, item_id, actor.name, web.lease_s):
        raise Refused(f"item {item_id} is no longer held for {actor.name}")


@router.post("/items/{item_id}/release", status_code=204)
def release_item(web: Web_, item_id: ItemId, actor: Reviewer) -> None:
    """Put the item back for others; nothing happens where it is not on this user's desk."""
    release(web.stores.ledger, item_id, actor.name)


@router.post(
    "/undo",
    response_model=UndoneOut,
    responses={204: {"description": "There is nothing left to take back."}},
)
def undo_last(web: Web_, actor: Reviewer) -> object:
    """Take back what this user did last, and open its item again; again for what was before."""
    undone = undo(web.stores.ledger, actor.name)
    return Response(status_code=204) if undone is None else UndoneOut.model_validate(undone)


@router.get(
    "/export",
    response_class=Response,
    responses={
        200: {
            "description": "The file; for OpenAI's formats a ZIP with a second one beside it that "
            "says line by line where the rows come from.",
            "content": {
                media: {"schema": {"type": "string", "format": "binary"}}
                for media in (
                    "application/x-ndjson",
                    "application/vnd.apache.parquet",
                    "application/zip",
                )
            },
        }
    },
)
def export(
    web: Web_,
    actor: Exporter,
    format: ExportFormat,
    split: Annotated[list[Split], Query(description="All of them unless said.")] = [],  # noqa: B006
    app: Name = "",
    include_sensitive: bool = False,
) -> Response:
    """What people decided, with every correction, as a file; entered in the audit log.

    The headers X-Rows, X-Corrections and X-Left-Out (JSON) count what is in it and what is not.
    """
    return download(web, actor.name, format, split, app, include_sensitive)


def _allowed(asked: Asked, actor: Actor) -> Asked:
    if (asked.reason or asked.metric) and not actor.may("manage"):
        raise BadInput("reason and metric are filters for those who manage the queue")
    return asked


def _wanted(actor: Actor, wish: ClaimBody) -> ItemFilter:
    return filter_of(replace(_allowed(wish.filter.asked(), actor), status=PENDING), actor)


def _next(web: Web, actor: Actor, wanted: ItemFilter, n_messages: int) -> Claimed | None:
    item_id = claim_next(web.stores.ledger, actor.name, wanted, web.lease_s)
    return None if item_id is None else _claimed(web, actor, item_id, n_messages)


def _claimed(web: Web, actor: Actor, item_id: int, n_messages: int) -> Claimed:
    item = get_item(web.stores.ledger, item_id)
    held = [one.claimed_until for one in item.claims if one.reviewer == actor.name]
    return Claimed(
        item=item_out(visible_item(web, item, actor)),
        claimed_until=held[0] if held else now(),
        messages=_messages(web, item, 0, n_messages),
    )


def _messages(web: Web, item: Item, first: int, count: int) -> MessagesOut:
    document = open_document(web.stores, item.trace_id, item.content_hash)
    messages = document.messages(first, count)
    return messages_out(first, document.header.n_messages, messages)


def _decision_out(one: StandingDecision) -> DecisionOut:
    said = asdict(one.decision) | {"decision_id": one.decision_id, "kind": one.kind}
    return DecisionOut.model_validate(said)


def _noted(web: Web, item_id: int, noted_id: int) -> Noted:
    return Noted(noted_id=noted_id, status=status_of(web.stores.ledger, item_id))
