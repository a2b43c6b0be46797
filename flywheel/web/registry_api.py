"""The registry for programs: champions, cards and lineage to read, and moves by key.

JSON in and out. The one idea is that a deployment asks here which version is champion, and that a
move by a program is checked, logged and announced as one by a person.
"""

import json
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from flywheel.registry import (
    AliasMove,
    Version,
    card_json,
    card_of,
    clear_shadow,
    decisions_behind,
    find_version,
    promote,
    rollback,
    set_shadow,
    versions_made_by,
)
from flywheel.registry.lineage import PAGE
from flywheel.review.rows import storable
from flywheel.web.access import Actor, may
from flywheel.web.api_bodies import Fault
from flywheel.web.context import Web, web_of
from flywheel.web.registry_view import TargetView, targets_view

_REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": Fault, "description": "No request that can be read."},
    401: {"model": Fault, "description": "No key, or one that is not in use."},
    403: {"model": Fault, "description": "A role that may not do this."},
    404: {"model": Fault, "description": "No such target or version."},
    422: {"model": Fault, "description": "Something that cannot be used; it says what."},
    503: {"model": Fault, "description": "Busy; the same request may succeed later."},
}
_NOT_NOW: dict[int | str, dict[str, Any]] = {
    409: {"model": Fault, "description": "Refused: by the gate, or since the champion changed."}
}
router = APIRouter(prefix="/v1/registry", tags=["v1"], responses=_REFUSALS)

Reader = Annotated[Actor, Depends(may("serve"))]
Manager = Annotated[Actor, Depends(may("manage"))]
Promoter = Annotated[Actor, Depends(may("promote"))]
Target = Annotated[str, Path(max_length=40, description="`judge`, or a name of [targets.NAME].")]
Name = Annotated[str, Path(max_length=80, description="A version, or an alias such as champion.")]
_Why = Annotated[str, Field(min_length=1, max_length=2_000), AfterValidator(storable)]
_Version = Annotated[str, Field(max_length=80), AfterValidator(storable)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Answer(BaseModel):
    model_config = ConfigDict(from_attributes=True, frozen=True)


class PromoteBody(_Body):
    """A promotion, with the reason that stands in the audit log."""

    why: _Why
    force: bool = Field(False, description="Without a passing gate; the audit log says so.")
    seen: _Version | None = Field(None, description="The champion that it is meant to replace.")


class RollbackBody(_Body):
    """A step back, with the reason that stands in the audit log."""

    why: _Why
    seen: _Version | None = Field(None, description="The champion that it is meant to replace.")


class ShadowBody(_Body):
    """Which version scores beside the champion; null is none any more."""

    version: _Version | None
    why: Annotated[str, Field(max_length=2_000), AfterValidator(storable)] = ""


class VersionOut(_Answer):
    """A version in a list."""

    version: str
    created_at: datetime
    aliases: list[str]
    parent: str | None
    gate: str = Field(description="passed, refused, thin, or never at the gate.")
    why: list[str] = Field(description="What the gate said last, sentence by sentence.")


class MoveOut(_Answer):
    """Who moved which alias."""

    happened_at: datetime
    actor: str | None = Field(description="Null to programs: who works here is for people.")
    action: str
    alias: str
    previous: str | None
    version: str | None
    why: str


class TargetOut(_Answer):
    """What is retrained: who carries its aliases, and what waits for a person."""

    target: str
    kind: str
    champion: str | None
    challenger: str | None
    shadow: str | None
    is_waiting: bool = Field(description="The challenger passed, and a person has to approve.")
    n_versions: int
    versions: list[VersionOut] = Field(description="The newest first, twenty at most.")
    moves: list[MoveOut] = Field(description="The last first, ten at most.")


class MovedOut(_Answer):
    """An alias that was moved, or stood there already."""

    previous: str | None
    current: str | None


class LearntOut(_Answer):
    """A decision that a version was made from."""

    decision_id: int
    part: str
    trace_id: str
    kind: str
    reviewer: str
    decided_at: datetime
    perceived_error: bool | None
    is_correction: bool


class MadeOut(_Answer):
    """A version that a decision went into."""

    version: str
    target: str
    part: str
    created_at: datetime
    aliases: list[str]


async def _web(request: Request) -> Web:
    # A plain function would be given a thread of its own.
    return web_of(request)


Web_ = Annotated[Web, Depends(_web)]


@router.get("")
def targets(web: Web_, actor: Reader) -> list[TargetOut]:
    """Every target with its champion, challenger and shadow; what waits for a person first."""
    views = targets_view(web.stores.ledger, web.project.settings)
    return [_target_out(view, actor.may("manage")) for view in views]


@router.get("/decisions/{decision_id}/versions")
def versions_of_decision(
    web: Web_, actor: Manager, decision_id: Annotated[int, Path(ge=1, lt=2**31)]
) -> list[MadeOut]:
    """Which versions a decision made, the newest first."""
    made = versions_made_by(web.stores.ledger, decision_id)
    return [MadeOut.model_validate(one) for one in made]


@router.get("/{target}/{version}")
def card(web: Web_, actor: Reader, target: Target, version: Name) -> dict[str, Any]:
    """The evaluation card of a version, with every interval; without names to programs."""
    made: dict[str, Any] = json.loads(card_json(card_of(web.stores, target, version)))
    if not actor.may("manage"):
        made["moves"] = [move | {"actor": None} for move in made["moves"]]
    return made


@router.get("/{target}/{version}/decisions")
def decisions_of_version(
    web: Web_,
    actor: Manager,
    target: Target,
    version: Name,
    before: Annotated[int | None, Query(ge=1, lt=2**31, description="From below this id.")] = None,
    limit: Annotated[int, Query(ge=1, le=1_000)] = PAGE,
) -> list[LearntOut]:
    """Which decisions made a version, the newest first."""
    known = find_version(web.stores.ledger, target, version)
    found = decisions_behind(web.stores.ledger, known.version, before, limit)
    return [LearntOut.model_validate(one) for one in found]


@router.post("/{target}/{version}/promote", responses=_NOT_NOW)
def promote_version(
    web: Web_, actor: Promoter, target: Target, version: Name, body: PromoteBody
) -> MovedOut:
    """Make a version the champion, from the next run on."""
    ledger = web.stores.ledger
    known = find_version(ledger, target, version).version
    moved = promote(ledger, target, known, actor.name, body.why, body.force, body.seen)
    return MovedOut.model_validate(moved)


@router.post("/{target}/rollback", responses=_NOT_NOW)
def roll_back(web: Web_, actor: Promoter, target: Target, body: RollbackBody) -> MovedOut:
    """Make the champion before this one the champion again; a target's first one is none then."""
    moved = rollback(web.stores.ledger, target, actor.name, body.why, body.seen)
    return MovedOut.model_validate(moved)


@router.put("/{target}/shadow", responses=_NOT_NOW)
def shadow(web: Web_, actor: Promoter, target: Target, body: ShadowBody) -> MovedOut:
    """Let a version score beside the champion, its verdicts kept apart; or none any more."""
    ledger = web.stores.ledger
    if body.version is None:
        return MovedOut(previous=clear_shadow(ledger, target, actor.name, body.why), current=None)
    moved = set_shadow(ledger, target, body.version, actor.name, body.why)
    return MovedOut.model_validate(moved)


def _target_out(view: TargetView, is_for_people: bool) -> TargetOut:
    rows = [_version_out(row.version, row.gate) for row in view.rows]
    return TargetOut(
        target=view.name,
        kind=view.kind,
        champion=_name(view.champion),
        challenger=_name(view.challenger),
        shadow=_name(view.shadow),
        is_waiting=view.is_waiting,
        n_versions=view.n_versions,
        versions=rows,
        moves=[_move_out(move, is_for_people) for move in view.moves],
    )


def _version_out(version: Version, gate: str) -> VersionOut:
    why = list(version.verdict.why) if version.verdict else []
    return VersionOut(
        version=version.version,
        created_at=version.created_at,
        aliases=list(version.aliases),
        parent=version.parent,
        gate=gate,
        why=why,
    )


def _move_out(move: AliasMove, is_for_people: bool) -> MoveOut:
    found = MoveOut.model_validate(move)
    return found if is_for_people else found.model_copy(update={"actor": None})


def _name(version: Version | None) -> str | None:
    return version.version if version else None
