"""Feedback as a page shows it: who says what, and what an end user would rather have read.

Rows of the ledger's `feedback` in, what a template needs out. The one idea is that what an end user
writes is a suggestion to who reviews, and nothing more.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from flywheel.safety import marked
from flywheel.store.ledger import in_utc
from flywheel.web.rendering import one_line

SHOWN_CHARACTERS = 4_000
_SOURCES = {"end_user": "user", "annotator": "annotator", "llm": "model", "code": "code"}


@dataclass(frozen=True, slots=True)
class SaidOfTrace:
    """One thing said; `is_bad` is a complaint, `is_cut` where the suggestion is longer."""

    source: str
    who: str
    tool: str
    name: str
    value: str
    is_bad: bool
    is_good: bool
    comment: str
    suggestion: str
    is_cut: bool
    of_span: bool
    given_at: datetime


def feedback_view(rows: Iterable[sa.RowMapping]) -> list[SaidOfTrace]:
    """The rows as a page shows them, in their order."""
    return [_said(row) for row in rows]


def _said(row: sa.RowMapping) -> SaidOfTrace:
    value, label = row["value"], row["label"]
    words = [] if value is None else [f"{value:g}"]
    words += [one_line(label, 60)] if label else []
    suggestion = row["correction"] or ""
    return SaidOfTrace(
        source=_SOURCES.get(row["source"], row["source"]),
        who=one_line(row["author"] or row["user_id"] or "", 60),
        tool=row["tool"],
        name=one_line(row["name"], 80),
        value=" · ".join(words),
        is_bad=value is not None and value <= 0,
        is_good=value is not None and value > 0,
        comment=marked((row["comment"] or "")[:SHOWN_CHARACTERS]),
        suggestion=marked(suggestion[:SHOWN_CHARACTERS]),
        is_cut=len(suggestion) > SHOWN_CHARACTERS,
        of_span=row["span_id"] is not None,
        given_at=in_utc(row["given_at"]),
    )
