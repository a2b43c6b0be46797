"""The queue: what waits, what is done, and a way in; bulk work for those who manage it.

The ledger in, pages out. `/review` is how work begins: it claims the most urgent item that the
reviewer may take and leads to it.
"""

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Query, Request
from fastapi.responses import RedirectResponse, Response

from flywheel.errors import BadInput
from flywheel.queue import (
    assign_items,
    claim_next,
    decline_items,
    filter_choices,
    list_items,
    move_items,
    requeue_items,
)
from flywheel.review import unskip
from flywheel.review.history import count_skipped, item_before
from flywheel.web.access import Actor, may
from flywheel.web.accounts import list_users
from flywheel.web.context import web_of
from flywheel.web.filters import PENDING, asked_in, asked_of, filter_of
from flywheel.web.items_view import visible_items
from flywheel.web.pages import page, see_other

router = APIRouter()

PAGE_SIZE = 50
MAX_OFFSET = 1_000_000
# Items that one reviewer can leaf through without deciding, until the first comes again.
LOOKED_AHEAD = 8

Reviewer = Annotated[Actor, Depends(may("review"))]
Manager = Annotated[Actor, Depends(may("manage"))]
ItemId = Annotated[int, Query(ge=1, lt=2**31)]


@router.get("/")
def home(actor: Reviewer) -> RedirectResponse:
    """Reviewers begin with the next item, the others with the queue."""
    return see_other("/review" if actor.role == "reviewer" else "/queue")


@router.get("/queue")
def show_queue(
    request: Request,
    actor: Reviewer,
    offset: Annotated[int, Query(ge=0, le=MAX_OFFSET)] = 0,
    done: Annotated[str, Query(max_length=200)] = "",
) -> Response:
    """The items that match the filter, the most urgent first; pending ones unless asked."""
    web = web_of(request)
    asked = asked_of(request.query_params)
    found = list_items(web.stores.ledger, filter_of(asked, actor), PAGE_SIZE, offset)
    choices = filter_choices(web.stores.ledger)
    return page(
        request,
        actor,
        "queue.html",
        asked=asked,
        found=found,
        rows=visible_items(web, found.items, actor),
        choices=choices,
        offset=offset,
        page_size=PAGE_SIZE,
        then=asked.query(),
        reviewers=[user.name for user in list_users(web.stores.ledger) if user.role != "service"],
        note=done,
    )


@router.post("/queue/bulk")
def change_many(
    request: Request,
    actor: Manager,
    action: Annotated[str, Form()],
    scope: Annotated[str, Form()] = "chosen",
    item_ids: Annotated[list[int], Form()] = [],  # noqa: B006  # FastAPI copies it
    to: Annotated[str, Form(max_length=80)] = "",
    queue: Annotated[str, Form(max_length=40)] = "",
    then: Annotated[str, Form(max_length=4_000)] = "",
) -> RedirectResponse:
    """Decline, requeue, assign or move the chosen items, or all that match the filter."""
    ledger = web_of(request).stores.ledger
    wanted = filter_of(asked_in(then), actor)
    if scope == "chosen" and not item_ids:
        raise BadInput("no item is chosen; tick some, or choose all that match")
    chosen = None if scope == "matching" else [number for number in item_ids if 0 < number < 2**31]
    if action == "decline":
        n, what = decline_items(ledger, wanted, chosen, actor.name, ""), "declined"
    elif action == "requeue":
        n, what = requeue_items(ledger, wanted, chosen, actor.name, ""), "pending again"
    elif action == "assign":
        n, what = assign_items(ledger, wanted, chosen, actor.name, to or None), "assigned"
    elif action == "move":
        n, what = move_items(ledger, wanted, chosen, actor.name, queue), f"moved to {queue}"
    else:
        raise BadInput(
            f"there is no action {action[:40]!r}; there are decline, requeue, assign, move"
        )
    return see_other("/queue", then, done=f"{n:,} items are {what}.")


@router.get("/review")
def review_next(
    request: Request,
    actor: Reviewer,
    after: ItemId | None = None,
) -> Response:
    """Claim the most urgent item that this reviewer may take, and go to it.

    With `after`, another one than the item that is on the desk: that is how the next is fetched
    ahead.
    """
    web = web_of(request)
    ledger, asked = web.stores.ledger, replace(asked_of(request.query_params), status=PENDING)
    wanted = filter_of(asked, actor)
    item_id = claim_next(
        ledger,
        actor.name,
        wanted,
        web.lease_s,
        also=LOOKED_AHEAD,
        excluding=[] if after is None else [after],
    )
    if item_id is not None:
        return see_other(f"/items/{item_id}", asked.query())
    found = list_items(ledger, wanted, 1)
    return page(
        request,
        actor,
        "done.html",
        n_pending=found.n_matching,
        n_all=found.n_all,
        n_skipped=count_skipped(ledger, actor.name),
        is_filtered=bool(asked.query()),
    )


@router.get("/review/previous")
def review_previous(
    request: Request, actor: Reviewer, before: ItemId | None = None
) -> RedirectResponse:
    """The item that this reviewer dealt with before."""
    item_id = item_before(web_of(request).stores.ledger, actor.name, before)
    if item_id is None:
        item_id = before
    asked = asked_of(request.query_params)
    return see_other("/review" if item_id is None else f"/items/{item_id}", asked.query())


@router.post("/review/unskip")
def bring_back(request: Request, actor: Reviewer) -> RedirectResponse:
    """Let this reviewer have again what they skipped."""
    unskip(web_of(request).stores.ledger, actor.name)
    return see_other("/review")
