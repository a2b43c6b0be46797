"""Disputes: items on which as many people decided as were asked, and disagree.

The ledger in, a list out; an item of it is settled on its own page.
"""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from flywheel.queue import ItemFilter, list_items
from flywheel.review import votes_on
from flywheel.web.access import Actor, may
from flywheel.web.context import web_of
from flywheel.web.pages import page

router = APIRouter()

# More than anybody settles in a sitting; the count above the list is of all.
SHOWN = 200


@router.get("/adjudicate")
def show_disputes(
    request: Request, actor: Annotated[Actor, Depends(may("adjudicate"))]
) -> Response:
    """What reviewers disagree on, and who said what."""
    ledger = web_of(request).stores.ledger
    found = list_items(ledger, ItemFilter(status="disputed"), SHOWN)
    disputes = [
        (item, [one.decision for one in votes_on(ledger, item.trace_id, item.content_hash)])
        for item in found.items
    ]
    return page(request, actor, "disputes.html", found=found, disputes=disputes)
