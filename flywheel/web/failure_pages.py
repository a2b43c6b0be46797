"""Failure modes: the page that shows how conversations fail, and the form that names a way.

What the pipeline published and the ledger in, a page out; a form in, a name and its entry in the
audit log out. The one idea is that a name is read from the ledger, so that it shows at once.
"""

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request
from fastapi import Path as InPath
from fastapi.responses import RedirectResponse, Response

from flywheel.evolution.failures.modes import Mode, published_modes
from flywheel.evolution.failures.naming import MAX_NAME
from flywheel.evolution.failures.remembered import known_modes, rename
from flywheel.quality.figures import share
from flywheel.web.access import Actor, may
from flywheel.web.context import web_of
from flywheel.web.pages import page, see_other
from flywheel.web.traces_view import trace_href

router = APIRouter()

# Not of reviewers: who knows what the judge saw may judge by it.
Manager = Annotated[Actor, Depends(may("manage"))]
# Of the drawing of a mode's weeks.
BAR_WIDTH, BAR_HEIGHT = 18, 36


@router.get("/failures")
def show_failures(request: Request, actor: Manager) -> Response:
    """How conversations fail: how many of each kind, whether it grows, and examples."""
    stores = web_of(request).stores
    found = published_modes(stores)
    return page(
        request,
        actor,
        "failures.html",
        found=found,
        known=known_modes(stores.ledger),
        bars=bars,
        bar_width=BAR_WIDTH,
        bar_height=BAR_HEIGHT,
        longest_name=MAX_NAME,
        share=share,
        trace_href=trace_href,
    )


@router.post("/failures/{mode_id}/name")
def name_failure(
    request: Request,
    actor: Manager,
    mode_id: Annotated[int, InPath(ge=1, lt=2**31)],
    name: Annotated[str, Form(max_length=4 * MAX_NAME)] = "",
) -> RedirectResponse:
    """Give a failure mode a name that no program changes."""
    rename(web_of(request).stores.ledger, mode_id, name, actor.name)
    return see_other("/failures")


def bars(mode: Mode) -> list[tuple[int, int, int]]:
    """A bar a week: its place from the left, its height in pixels, and how many it counts."""
    most = max(mode.weekly, default=0)
    heights = [round(BAR_HEIGHT * n / most) if most else 0 for n in mode.weekly]
    # What is there is seen.
    return [
        (BAR_WIDTH * place, max(height, 1), n)
        for place, (height, n) in enumerate(zip(heights, mode.weekly, strict=True))
    ]
