"""What stands of what people said: read for pages, exports and the sensor.

Rows of `decisions` in, decisions out that nobody took back; nothing is written here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import sqlalchemy as sa

from flywheel.errors import NotFound
from flywheel.queue.filters import not_undone
from flywheel.records import Decision
from flywheel.store.ledger import Ledger, in_utc
from flywheel.store.tables import decisions

# A vote, or the word that settles a trace.
Word = Literal["decide", "adjudicate"]

_OF_DECISION = [field.name for field in fields(Decision)]
_COLUMNS = ("decision_id", "kind", *_OF_DECISION)


@dataclass(frozen=True, slots=True)
class StandingDecision:
    """A decision that nobody took back, by its id in the ledger."""

    decision_id: int
    decision: Decision
    kind: Word = "decide"


@dataclass(frozen=True, slots=True)
class ReviewCounts:
    """How much people did: `rows` only grows, and the others count what stands."""

    rows: int
    decisions: int
    adjudications: int
    corrections: int
    sensitive: int
    reviewers: int


def standing_decisions(ledger: Ledger) -> list[StandingDecision]:
    """The last vote that stands of each reviewer on each version of a trace, oldest first."""
    return _read(ledger, _last("decide", "trace_id", "content_hash", "reviewer"))


def standing_adjudications(ledger: Ledger) -> list[StandingDecision]:
    """The last adjudication that stands on each version of a trace, oldest first."""
    return _read(ledger, _last("adjudicate", "trace_id", "content_hash"))


def votes_on(ledger: Ledger, trace_id: str, content_hash: str) -> list[StandingDecision]:
    """The last vote that stands of each reviewer on a version of a trace, oldest first."""
    of_version = (decisions.c.trace_id == trace_id, decisions.c.content_hash == content_hash)
    return _read(ledger, _last("decide", "reviewer", where=of_version))


def adjudication_of(ledger: Ledger, trace_id: str, content_hash: str) -> StandingDecision | None:
    """The word that settled a version of a trace; None where none stands."""
    of_version = (decisions.c.trace_id == trace_id, decisions.c.content_hash == content_hash)
    return next(iter(_read(ledger, _last("adjudicate", "trace_id", where=of_version))), None)


def decision_of(ledger: Ledger, decision_id: int) -> StandingDecision:
    """The vote or the adjudication of this id; raises NotFound where none stands."""
    wanted = sa.select(*decisions.c[_COLUMNS]).where(
        decisions.c.decision_id == decision_id,
        decisions.c.kind.in_(("decide", "adjudicate")),
        not_undone(),
    )
    found = _read(ledger, wanted)
    if not found:
        raise NotFound("decision", str(decision_id))
    return found[0]


def count_decisions(ledger: Ledger) -> int:
    """How many rows people have added that change what is learnt; it only grows.

    Votes, adjudications and flags, and what took them back; no skips and no declines.
    """
    with ledger.read() as connection:
        return int(connection.execute(_count_learnt_from()).scalar_one())


def count_reviews(ledger: Ledger) -> ReviewCounts:
    """How much people did, and how much of it stands."""
    is_word = decisions.c.kind.in_(("decide", "adjudicate"))
    n = sa.func.count()
    counts = sa.select(
        n.filter(decisions.c.kind == "decide").label("decisions"),
        n.filter(decisions.c.kind == "adjudicate").label("adjudications"),
        n.filter(is_word, decisions.c.corrected_turn.is_not(None)).label("corrections"),
        n.filter(decisions.c.kind == "sensitive").label("sensitive"),
        sa.func.count(decisions.c.reviewer.distinct()).filter(is_word).label("reviewers"),
    ).where(not_undone())
    with ledger.read() as connection:
        rows = connection.execute(_count_learnt_from()).scalar_one()
        return ReviewCounts(rows, **connection.execute(counts).mappings().one())


def _count_learnt_from() -> sa.Select[Any]:
    undone = decisions.alias("undone")
    kind = sa.func.coalesce(undone.c.kind, decisions.c.kind)
    return (
        sa.select(sa.func.count(decisions.c.decision_id))
        .outerjoin_from(decisions, undone, undone.c.decision_id == decisions.c.undoes)
        .where(kind.in_(("decide", "adjudicate", "sensitive")))
    )


def _last(kind: Word, *each: str, where: Sequence[sa.ColumnElement[bool]] = ()) -> sa.Select[Any]:
    """The last row of this kind that stands, of each value of these columns."""
    newest = (
        sa.func.row_number()
        .over(partition_by=decisions.c[each], order_by=decisions.c.decision_id.desc())
        .label("newest")
    )
    ranked = (
        sa.select(*decisions.c[_COLUMNS], newest)
        .where(decisions.c.kind == kind, not_undone(), *where)
        .subquery()
    )
    return sa.select(ranked).where(ranked.c.newest == 1).order_by(ranked.c.decision_id)


def _read(ledger: Ledger, query: sa.Select[Any]) -> list[StandingDecision]:
    with ledger.read() as connection:
        rows = connection.execute(query).mappings().all()
    return [
        StandingDecision(
            row["decision_id"],
            Decision(
                **{name: row[name] for name in _OF_DECISION}
                | {"decided_at": in_utc(row["decided_at"])}
            ),
            row["kind"],
        )
        for row in rows
    ]
