"""The registry: who is champion of what and why, and the forms by which a person moves it.

The ledger and files of versions in, pages out; forms in, moves out. The one idea is that whoever
promotes has the gate's evidence before their eyes, says why, and is refused where the champion has
changed since the page was opened.
"""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Form, Query, Request
from fastapi import Path as InPath
from fastapi.responses import PlainTextResponse, RedirectResponse, Response

from flywheel.errors import BadInput
from flywheel.registry import (
    card_json,
    card_markdown,
    card_of,
    clear_shadow,
    decisions_behind,
    find_version,
    promote,
    rollback,
    set_shadow,
    versions_made_by,
    versions_made_of,
)
from flywheel.registry.card_text import interval_said, p_said
from flywheel.registry.lineage import PAGE
from flywheel.web.access import Actor, may
from flywheel.web.context import web_of
from flywheel.web.pages import page, see_other
from flywheel.web.registry_view import (
    deciding,
    drawn,
    hrefs_of,
    lineage_href,
    named_settings,
    scale_of,
    targets_view,
    version_href,
)
from flywheel.web.traces_view import trace_href

router = APIRouter()

Manager = Annotated[Actor, Depends(may("manage"))]
Promoter = Annotated[Actor, Depends(may("promote"))]
Target = Annotated[str, InPath(max_length=40)]
Name = Annotated[str, InPath(max_length=80)]
Why = Annotated[str, Form(max_length=2_000)]
Seen = Annotated[str | None, Form(max_length=80)]


@router.get("/registry")
def show_registry(request: Request, actor: Manager) -> Response:
    """Every target with its champion, and the verdicts that wait for a person."""
    web = web_of(request)
    targets = targets_view(web.stores.ledger, web.project.settings)
    return page(
        request,
        actor,
        "registry.html",
        targets=targets,
        waiting=[target for target in targets if target.is_waiting],
        promotion=web.project.settings.gate.promotion,
        version_href=version_href,
    )


@router.get("/registry/lineage")
def show_lineage(
    request: Request,
    actor: Manager,
    decision: Annotated[int | None, Query(ge=1, lt=2**31)] = None,
    trace: Annotated[str, Query(max_length=400)] = "",
    target: Annotated[str, Query(max_length=40)] = "",
    version: Annotated[str, Query(max_length=80)] = "",
    before: Annotated[int | None, Query(ge=1, lt=2**31)] = None,
) -> Response:
    """The versions that a decision or a trace made, or the decisions that made a version."""
    ledger = web_of(request).stores.ledger
    made = versions_made_by(ledger, decision) if decision else versions_made_of(ledger, trace)
    behind = []
    if version:
        known = find_version(ledger, target, version)
        behind = decisions_behind(ledger, known.version, before, PAGE + 1)
    return page(
        request,
        actor,
        "lineage.html",
        asked={"decision": decision, "trace": trace, "target": target, "version": version},
        made=made,
        behind=behind[:PAGE],
        older=behind[PAGE - 1].decision_id if len(behind) > PAGE else None,
        version_href=version_href,
        lineage_href=lineage_href,
        trace_href=trace_href,
    )


@router.get("/registry/{target}/{version}")
def show_version(request: Request, actor: Manager, target: Target, version: Name) -> Response:
    """The evaluation card of a version, with the gate's evidence and what may be done with it."""
    from flywheel.in_use import prompt_of

    stores = web_of(request).stores
    card = card_of(stores, target, version, prompt_of(web_of(request).project))
    return page(
        request,
        actor,
        "version.html",
        card=card,
        decide=deciding(stores.ledger, card),
        hrefs=hrefs_of(stores.ledger, card),
        facts=named_settings(card),
        scale=scale_of(card.findings),
        drawn=drawn,
        interval_said=interval_said,
        p_said=p_said,
        version_href=version_href,
        lineage_href=lineage_href,
    )


@router.get("/registry/{target}/{version}/card")
def take_card(
    request: Request,
    actor: Manager,
    target: Target,
    version: Name,
    form: Annotated[Literal["md", "json"], Query()] = "md",
) -> Response:
    """The evaluation card as a file, Markdown or JSON."""
    card = card_of(web_of(request).stores, target, version)
    text = card_markdown(card) if form == "md" else card_json(card)
    kind = "text/markdown" if form == "md" else "application/json"
    names = {"Content-Disposition": f'attachment; filename="card.{form}"'}
    return PlainTextResponse(text, media_type=kind, headers=names)


@router.post("/registry/{target}/{version}/promote")
def promote_version(
    request: Request,
    actor: Promoter,
    target: Target,
    version: Name,
    why: Why = "",
    force: Annotated[Literal["", "yes"], Form()] = "",
    seen: Seen = None,
) -> RedirectResponse:
    """Make a version the champion; by force where the gate did not pass it, with a reason."""
    if not why.strip():
        raise BadInput("say why in a few words: it stands in the audit log and is announced")
    ledger = web_of(request).stores.ledger
    promote(ledger, target, version, actor.name, why.strip(), bool(force), seen)
    return see_other(version_href(target, version))


@router.post("/registry/{target}/{version}/shadow")
def shadow_version(
    request: Request,
    actor: Promoter,
    target: Target,
    version: Name,
    to: Annotated[Literal["on", "off"], Form()] = "on",
    why: Why = "",
) -> RedirectResponse:
    """Let a version score beside the champion, or end that."""
    ledger = web_of(request).stores.ledger
    if to == "on":
        set_shadow(ledger, target, version, actor.name, why)
    else:
        clear_shadow(ledger, target, actor.name, why, seen=version)
    return see_other(version_href(target, version))


@router.post("/registry/{target}/{version}/rollback")
def roll_back(
    request: Request, actor: Promoter, target: Target, version: Name, why: Why = ""
) -> RedirectResponse:
    """Make the champion before this version the champion again; a first one loses the alias."""
    if not why.strip():
        raise BadInput("say why in a few words: it stands in the audit log and is announced")
    ledger = web_of(request).stores.ledger
    moved = rollback(ledger, target, actor.name, why.strip(), seen=version)
    return see_other(version_href(target, moved.current or version))
