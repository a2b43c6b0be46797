"""Examples: what applications are served of people's corrections, and switches that stop it.

The ledger in, a page out; forms in, switches out. The one idea is that a switch counts at once, for
one example, an application or all, and that the same page turns it back.
"""

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Query, Request
from fastapi.responses import RedirectResponse, Response

from flywheel.retrieval.switches import Scope, switch_off, switch_on
from flywheel.web.access import Actor, may
from flywheel.web.context import web_of
from flywheel.web.examples_view import PAGE_SIZE, examples_page
from flywheel.web.pages import page, see_other
from flywheel.web.traces_view import trace_href

router = APIRouter()

Manager = Annotated[Actor, Depends(may("manage"))]


@router.get("/examples")
def show_examples(
    request: Request,
    actor: Manager,
    app: Annotated[str, Query(max_length=400)] = "",
    offset: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
) -> Response:
    """What is served, how often and when last, and what is switched off."""
    found = examples_page(web_of(request).stores.ledger, app, offset)
    return page(
        request,
        actor,
        "examples.html",
        found=found,
        app=app,
        offset=offset,
        page_size=PAGE_SIZE,
        trace_href=trace_href,
    )


@router.post("/examples/switch")
def switch_examples(
    request: Request,
    actor: Manager,
    scope: Annotated[Scope, Form()],
    to: Annotated[str, Form(pattern="^(on|off)$")],
    subject: Annotated[str, Form(max_length=400)] = "",
    why: Annotated[str, Form(max_length=2_000)] = "",
) -> RedirectResponse:
    """Serve an example, an application's or all no longer, or again."""
    ledger = web_of(request).stores.ledger
    turn = switch_on if to == "on" else switch_off
    turn(ledger, scope, subject, actor.name, why)
    return see_other("/examples")
