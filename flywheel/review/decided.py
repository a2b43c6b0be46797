"""What stands of what people said, one version of a trace at a time.

Rows of `decisions` in, votes and the label that they amount to out, in batches, so that memory does
not grow with the ledger. The one idea is that nothing is remembered: what was taken back is gone,
and the label is worked out from the votes that stand.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date
from itertools import groupby
from typing import Any, Literal

import sqlalchemy as sa

from flywheel.queue.filters import not_undone
from flywheel.records import Decision
from flywheel.review.rows import Version
from flywheel.review.standing import StandingDecision
from flywheel.store.ledger import Ledger, in_utc
from flywheel.store.tables import decisions, trace_documents

# Versions of traces that are read at once.
BATCH = 500

_VOTES = ("decide", "adjudicate")


@dataclass(frozen=True, slots=True)
class StandingLabel:
    """What votes amount to: None where reviewers tie. `said` is the vote whose words it takes."""

    perceived_error: bool | None
    source: Literal["human", "adjudicated"]
    said: StandingDecision | None


@dataclass(frozen=True, slots=True)
class DecidedVersion:
    """One version of a trace and what stands of what people said of it, oldest first.

    What the ledger knows of a trace only by its document is None where none is published.
    """

    trace_id: str
    content_hash: str
    app: str | None
    day: date | None
    session_id: str | None
    split: str | None
    votes: tuple[StandingDecision, ...]
    is_sensitive: bool

    @property
    def label(self) -> StandingLabel:
        """The last adjudication, else what most say; its words are the last on that side."""
        if self.latest.kind == "adjudicate":
            return StandingLabel(self.latest.decision.perceived_error, "adjudicated", self.latest)
        n_error = sum(vote.decision.perceived_error for vote in self.votes)
        if 2 * n_error == len(self.votes):
            return StandingLabel(None, "human", None)
        is_error = 2 * n_error > len(self.votes)
        of_side = [vote for vote in self.votes if vote.decision.perceived_error == is_error]
        return StandingLabel(is_error, "human", of_side[-1])

    @property
    def latest(self) -> StandingDecision:
        """The last adjudication, else the last vote: when the label became what it is."""
        settled = [vote for vote in self.votes if vote.kind == "adjudicate"]
        return (settled or self.votes)[-1]

    @property
    def corrections(self) -> list[StandingDecision]:
        """The votes that wrote a better answer, whichever side they are on."""
        return [vote for vote in self.votes if vote.decision.corrected_turn is not None]


def decided_versions(ledger: Ledger) -> Iterator[DecidedVersion]:
    """Every version of a trace on which a vote stands, by trace id."""
    for batch in _batches(ledger):
        votes, sensitive = _standing(ledger, batch)
        for row in batch:
            of_version = votes.get((row.trace_id, row.content_hash))
            if of_version:
                known = row._asdict()
                is_sensitive = row.trace_id in sensitive
                yield DecidedVersion(**known, votes=tuple(of_version), is_sensitive=is_sensitive)


def _batches(ledger: Ledger) -> Iterator[Sequence[sa.Row[Any]]]:
    """Versions that were ever voted on, with what the ledger knows of their documents, by id."""
    version = decisions.c["trace_id", "content_hash"]
    joined = decisions.outerjoin(
        trace_documents,
        sa.and_(
            trace_documents.c.trace_id == decisions.c.trace_id,
            trace_documents.c.content_hash == decisions.c.content_hash,
        ),
    )
    page = (
        sa.select(*version, *trace_documents.c["app", "day", "session_id", "split"])
        .distinct()
        .select_from(joined)
        .where(decisions.c.kind.in_(_VOTES))
        .order_by(*version)
        .limit(BATCH)
    )
    after: sa.ColumnElement[bool] = sa.true()
    while True:
        with ledger.read() as connection:
            rows = connection.execute(page.where(after)).all()
        if not rows:
            return
        yield rows
        trace_id, content_hash = rows[-1].trace_id, rows[-1].content_hash
        after = sa.or_(
            decisions.c.trace_id > trace_id,
            sa.and_(decisions.c.trace_id == trace_id, decisions.c.content_hash > content_hash),
        )


def _standing(
    ledger: Ledger, batch: Sequence[sa.Row[Any]]
) -> tuple[Mapping[Version, list[StandingDecision]], set[str]]:
    """The last vote of each reviewer and the adjudications, by version; and sensitive traces."""
    names = [field.name for field in fields(Decision)]
    said = (
        sa.select(*decisions.c[("decision_id", "kind", *names)])
        .where(
            decisions.c.trace_id.in_(sorted({row.trace_id for row in batch})),
            decisions.c.kind.in_((*_VOTES, "sensitive")),
            not_undone(),
        )
        .order_by(decisions.c.trace_id, decisions.c.content_hash, decisions.c.decision_id)
    )
    with ledger.read() as connection:
        rows = connection.execute(said).mappings().all()
    sensitive = {row["trace_id"] for row in rows if row["kind"] == "sensitive"}
    votes = [_vote(row, names) for row in rows if row["kind"] in _VOTES]
    by_version = groupby(votes, lambda v: (v.decision.trace_id, v.decision.content_hash))
    return {version: _last_of_each(of_version) for version, of_version in by_version}, sensitive


def _vote(row: sa.RowMapping, names: Sequence[str]) -> StandingDecision:
    said = {name: row[name] for name in names} | {"decided_at": in_utc(row["decided_at"])}
    return StandingDecision(row["decision_id"], Decision(**said), row["kind"])


def _last_of_each(votes: Iterable[StandingDecision]) -> list[StandingDecision]:
    last = {(vote.kind, vote.decision.reviewer): vote for vote in votes}
    return sorted(last.values(), key=lambda vote: vote.decision_id)
