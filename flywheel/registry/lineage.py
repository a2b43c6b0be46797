"""Lineage, both ways: which decisions made a version, and which versions a decision made.

Rows of `lineage` in and out; the one idea is that they are written in the transaction that enters
the version, so that no version is without them and none can be added later. What is forgotten goes
from here too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from flywheel.store.ledger import Ledger, in_utc
from flywheel.store.tables import aliases, decisions, lineage, versions

# Decisions that a page or a reply shows at once.
PAGE = 50


@dataclass(frozen=True, slots=True)
class LearntDecision:
    """A decision that a version was made from, and in which part of the data it stood."""

    decision_id: int
    part: str
    trace_id: str
    kind: str
    reviewer: str
    decided_at: datetime
    perceived_error: bool | None
    is_correction: bool


@dataclass(frozen=True, slots=True)
class MadeVersion:
    """A version that a decision went into; `aliases` are those that stand on it now."""

    version: str
    target: str
    part: str
    created_at: datetime
    aliases: tuple[str, ...]


def record_lineage(connection: sa.Connection, version: str, learnt: Mapping[int, str]) -> None:
    """Write which decisions a version was made from, in the transaction that enters it."""
    if learnt:
        rows = [
            {"version": version, "decision_id": decision_id, "part": part}
            for decision_id, part in sorted(learnt.items())
        ]
        connection.execute(lineage.insert(), rows)


def count_lineage(ledger: Ledger, version: str) -> dict[str, int]:
    """How many decisions made a version, by the part of the data that they stood in."""
    counted = (
        sa.select(lineage.c.part, sa.func.count())
        .where(lineage.c.version == version)
        .group_by(lineage.c.part)
        .order_by(lineage.c.part)
    )
    with ledger.read() as connection:
        return {part: int(n) for part, n in connection.execute(counted)}


def decisions_behind(
    ledger: Ledger, version: str, before: int | None = None, limit: int = PAGE
) -> list[LearntDecision]:
    """The decisions that made a version, newest first, from below the id `before` on."""
    kept = decisions.c["trace_id", "kind", "reviewer", "decided_at", "perceived_error"]
    has_words = decisions.c.corrected_turn.is_not(None).label("is_correction")
    found = (
        sa.select(lineage.c.decision_id, lineage.c.part, *kept, has_words)
        .join(decisions, decisions.c.decision_id == lineage.c.decision_id)
        .where(lineage.c.version == version)
        .order_by(lineage.c.decision_id.desc())
        .limit(limit)
    )
    if before is not None:
        found = found.where(lineage.c.decision_id < before)
    with ledger.read() as connection:
        rows = connection.execute(found).mappings().all()
    return [LearntDecision(**{**row, "decided_at": in_utc(row["decided_at"])}) for row in rows]


def versions_made_by(ledger: Ledger, decision_id: int) -> list[MadeVersion]:
    """The versions that a decision went into, newest first."""
    return _made(ledger, lineage.c.decision_id == decision_id)


def versions_made_of(ledger: Ledger, trace_id: str) -> list[MadeVersion]:
    """The versions that what was decided on a trace went into, newest first, each once."""
    of_trace = sa.select(decisions.c.decision_id).where(decisions.c.trace_id == trace_id)
    made = _made(ledger, lineage.c.decision_id.in_(of_trace))
    return list({one.version: one for one in made}.values())


def _made(ledger: Ledger, condition: sa.ColumnElement[bool]) -> list[MadeVersion]:
    found = (
        sa.select(lineage.c.version, lineage.c.part, versions.c.target, versions.c.created_at)
        .join(versions, versions.c.version == lineage.c.version)
        .where(condition)
        .order_by(versions.c.created_at.desc(), lineage.c.version, lineage.c.decision_id)
    )
    placed = sa.select(aliases).order_by(aliases.c.alias)
    with ledger.read() as connection:
        rows = connection.execute(found).all()
        carried = connection.execute(placed).all()
    return [
        MadeVersion(
            row.version,
            row.target,
            row.part,
            in_utc(row.created_at),
            tuple(a.alias for a in carried if (a.target, a.version) == (row.target, row.version)),
        )
        for row in rows
    ]
