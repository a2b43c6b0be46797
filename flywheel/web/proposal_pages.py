"""Proposals: what programs want to change, on what evidence, and the forms by which people decide.

The ledger in, pages out; forms in, decisions carried out. The one idea is that whoever approves has
the change, what was measured and the traces before their eyes, may edit the text, and may take it
back.
"""

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Query, Request
from fastapi import Path as InPath
from fastapi.responses import RedirectResponse, Response

from flywheel.errors import BadInput
from flywheel.evolution.evidence import Unit
from flywheel.evolution.keepers import keeper_of
from flywheel.evolution.metric_set.rescoring import ask_to_rescore
from flywheel.evolution.proposals import (
    MAX_TEXT,
    Kind,
    Status,
    approve,
    find_proposal,
    list_proposals,
    reject,
    undo,
)
from flywheel.evolution.selection.publishing import published_selection
from flywheel.records import Interval
from flywheel.web.access import Actor, may
from flywheel.web.context import web_of
from flywheel.web.differences import diff_html
from flywheel.web.pages import page, see_other
from flywheel.web.traces_view import trace_href

router = APIRouter()

Manager = Annotated[Actor, Depends(may("manage"))]
Promoter = Annotated[Actor, Depends(may("promote"))]
Number = Annotated[int, InPath(ge=1, lt=2**31)]
Why = Annotated[str, Form(max_length=2_000)]


@router.get("/proposals")
def show_proposals(
    request: Request,
    actor: Manager,
    status: Annotated[Status | None, Query()] = None,
    kind: Annotated[Kind | None, Query()] = None,
) -> Response:
    """What is proposed and what became of it, those that wait first."""
    shown = list_proposals(web_of(request).stores.ledger, status, kind)
    return page(
        request,
        actor,
        "proposals.html",
        shown=shown,
        asked={"status": status or "", "kind": kind or ""},
        selected=published_selection(web_of(request).stores),
        written=written,
    )


@router.get("/proposals/{number}")
def show_proposal(request: Request, actor: Manager, number: Number) -> Response:
    """A change as a difference of texts, what was measured of it, and the traces that show it."""
    found = find_proposal(web_of(request).stores.ledger, number)
    return page(
        request,
        actor,
        "proposal.html",
        one=found,
        difference=diff_html(found.draft.before or "", found.text or ""),
        written=written,
        trace_href=trace_href,
    )


@router.post("/proposals/{number}/approve")
def approve_proposal(
    request: Request,
    actor: Promoter,
    number: Number,
    why: Why = "",
    text: Annotated[str | None, Form(max_length=MAX_TEXT)] = None,
) -> RedirectResponse:
    """Carry a proposal out, with the text as it stands in the form."""
    project = web_of(request).project
    found = find_proposal(project.stores.ledger, number)
    edited = None if text is None or found.draft.after is None else _edited(text, found.draft.after)
    approve(
        project=project,
        keeper=keeper_of(found.draft.kind),
        proposal_id=number,
        actor=actor.name,
        why=_said(why),
        text=edited,
    )
    return see_other(f"/proposals/{number}")


@router.post("/proposals/{number}/reject")
def reject_proposal(
    request: Request, actor: Promoter, number: Number, why: Why = ""
) -> RedirectResponse:
    """Turn a proposal down, with the reason."""
    reject(web_of(request).stores.ledger, number, actor.name, _said(why))
    return see_other(f"/proposals/{number}")


@router.post("/proposals/{number}/undo")
def undo_proposal(
    request: Request, actor: Promoter, number: Number, why: Why = ""
) -> RedirectResponse:
    """Take an approved proposal back: what stood before is in force again."""
    project = web_of(request).project
    kind = find_proposal(project.stores.ledger, number).draft.kind
    undo(
        project=project,
        keeper=keeper_of(kind),
        proposal_id=number,
        actor=actor.name,
        why=_said(why),
    )
    return see_other(f"/proposals/{number}")


@router.post("/proposals/{number}/rescore")
def rescore_by_proposal(request: Request, actor: Promoter, number: Number) -> RedirectResponse:
    """Ask that an approved metric reads every day that has traces; the pipeline does it."""
    ask_to_rescore(web_of(request).stores.ledger, number, actor.name)
    return see_other(f"/proposals/{number}")


def written(interval: Interval | None, unit: Unit) -> str:
    """An estimate with its bounds, as its unit is written; empty where there is none."""
    if interval is None or interval.estimate != interval.estimate:
        return ""
    numbers = [_number(x, unit) for x in (interval.estimate, interval.low, interval.high)]
    is_exact = interval.low == interval.high
    return numbers[0] if is_exact else f"{numbers[0]} ({numbers[1]} to {numbers[2]})"


def _number(value: float, unit: Unit) -> str:
    if unit == "share":
        return f"{100 * value:.1f}\u00a0%"
    if unit == "count":
        return f"{value:,.0f}"
    return f"{value:,.4g}" + {"usd": "\u00a0USD", "ms": "\u00a0ms"}.get(unit, "")


def _edited(text: str, proposed: str) -> str | None:
    """The text of the form; None where it is the proposed one.

    Browsers send the ends of lines as two characters, whatever they were.
    """
    plain = text.replace("\r\n", "\n")
    return None if plain == proposed.replace("\r\n", "\n") else plain


def _said(why: str) -> str:
    if not why.strip():
        raise BadInput("say why in a few words: it stands beside the proposal and in the audit log")
    return why.strip()
