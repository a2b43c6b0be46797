"""What each person said of the traces that several people decided on, and how far they agree.

Decisions of the ledger in, answers and their agreement out; only what stands counts, and of one
person's decisions on one version of a trace only the last.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import sqlalchemy as sa

from flywheel.quality.agreement import (
    MISSING,
    Agreement,
    Ints,
    agreement_with_others,
    measure_agreement,
)
from flywheel.queue.filters import not_undone
from flywheel.records import ERROR_CODES
from flywheel.store.ledger import Ledger, in_utc
from flywheel.store.tables import decisions, trace_documents


@dataclass(frozen=True, slots=True)
class Answer:
    """What one person said of one version of a trace."""

    item: tuple[str, str]
    session: str
    reviewer: str
    perceived_error: bool
    reason_code: str
    decided_at: datetime


@dataclass(frozen=True, slots=True)
class AgreementReport:
    """How far reviewers agree on each thing that they decide, and each of them with the others."""

    by_metric: list[Agreement]
    by_reviewer: list[Agreement]


def measure_answers(answers: Sequence[Answer]) -> AgreementReport:
    """How far these answers agree: on the error, on its reason, and each reviewer with the others.

    The reason counts among those who say that there is an error.
    """
    ratings, sessions, reviewers = _arranged(answers, [int(a.perceived_error) for a in answers])
    errors = [a for a in answers if a.perceived_error]
    codes = sorted(ERROR_CODES | {a.reason_code for a in errors})
    reasons = _arranged(errors, [codes.index(a.reason_code) for a in errors])
    return AgreementReport(
        [
            agreement_on_errors(answers),
            measure_agreement("reason_code", *reasons[:2]),
        ],
        [
            agreement_with_others(name, ratings, column, sessions)
            for column, name in enumerate(reviewers)
        ],
    )


def agreement_on_errors(answers: Sequence[Answer]) -> Agreement:
    """How far these answers agree on whether there is a perceived error."""
    ratings, sessions, _ = _arranged(answers, [int(a.perceived_error) for a in answers])
    return measure_agreement("perceived_error", ratings, sessions)


def shared_answers(ledger: Ledger) -> list[Answer]:
    """The standing decisions on all versions of traces that two people or more decided on.

    One answer of each reviewer to each, the last; a trace that has no document is its own session.
    """
    version = decisions.c["trace_id", "content_hash"]
    shared = (
        sa.select(*version)
        .where(decisions.c.kind == "decide")
        .group_by(*version)
        .having(sa.func.count(decisions.c.reviewer.distinct()) > 1)
        .subquery()
    )
    said = (
        sa.select(
            *version,
            sa.func.coalesce(trace_documents.c.session_id, decisions.c.trace_id).label("session"),
            *decisions.c["reviewer", "perceived_error", "reason_code", "decided_at"],
        )
        .join(shared, _same_version(shared))
        .outerjoin(trace_documents, _same_version(trace_documents))
        .where(decisions.c.kind == "decide", not_undone())
        .order_by(decisions.c.decision_id)
    )
    with ledger.read() as connection:
        rows = connection.execute(said).all()
    last = {(row.trace_id, row.content_hash, row.reviewer): row for row in rows}
    return [
        Answer((row[0], row[1]), row.session, *row[3:6], decided_at=in_utc(row.decided_at))
        for row in last.values()
    ]


def _same_version(other: sa.FromClause) -> sa.ColumnElement[bool]:
    return sa.and_(
        other.c.trace_id == decisions.c.trace_id, other.c.content_hash == decisions.c.content_hash
    )


def _arranged(
    answers: Sequence[Answer], values: Sequence[int]
) -> tuple[Ints, list[str], list[str]]:
    """Answers as an array of items by reviewers, the sessions of one and the names of the other."""
    items = {a.item: a.session for a in answers}
    rows = {item: place for place, item in enumerate(items)}
    reviewers = sorted({a.reviewer for a in answers})
    columns = {name: place for place, name in enumerate(reviewers)}
    ratings = np.full((len(items), len(reviewers)), MISSING, np.int64)
    for answer, value in zip(answers, values, strict=True):
        ratings[rows[answer.item], columns[answer.reviewer]] = value
    return ratings, list(items.values()), reviewers
