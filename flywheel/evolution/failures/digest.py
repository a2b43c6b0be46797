"""The week's digest for the team: what people corrected, why, and what goes wrong anew.

Decisions of the ledger and the published failure modes in, Markdown and a few sentences out. The
one idea is that the sentences hold counts and names alone, so that they may be sent anywhere, and
that what users said stands in the Markdown, as quotes.
"""

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

import sqlalchemy as sa

from flywheel.errors import BadInput
from flywheel.evolution.failures.modes import Mode, Modes, published_modes
from flywheel.evolution.failures.naming import MAX_NAME
from flywheel.quality.modes_told import DIGEST
from flywheel.queue.filters import not_undone
from flywheel.safety import quote
from flywheel.store import Stores
from flywheel.store.ledger import Ledger
from flywheel.store.publications import publish
from flywheel.store.tables import decisions, trace_documents

WEEK = timedelta(days=7)
_QUOTED = 5
_QUOTE_CHARACTERS = 160
# What would be markup in Markdown, or an address that a reader makes clickable.
_MARKUP = re.compile(r"([\\`*_{}\[\]()<>#+!|~@&])")
_ADDRESS = re.compile(r"(?i)\b(https?|ftp|mailto|www)\b([:.])")


@dataclass(frozen=True, slots=True)
class Digest:
    """What happened in the week that begins on `monday`; `traces` are those that it names."""

    monday: date
    n_decisions: int
    n_errors: int
    n_corrections: int
    summary: str
    markdown: str
    traces: tuple[str, ...]

    @property
    def week(self) -> str:
        """Such as 2026-W47."""
        return f"{self.monday:%G-W%V}"


@dataclass(frozen=True, slots=True)
class _Said:
    """A standing decision of a person."""

    trace_id: str
    app: str
    reviewer: str
    perceived_error: bool
    reason_code: str
    reason: str
    corrected_text: str | None
    corrects_calls: bool

    @property
    def is_correction(self) -> bool:
        """Whether it says what would have been better."""
        return self.corrected_text is not None or self.corrects_calls


def write_digest(stores: Stores, at: datetime, monday: date | None = None) -> Digest:
    """The digest of a week, by default the last one that has ended, published for who asks.

    Raises BadInput where `monday` is another day.
    """
    monday = monday or at.date() - timedelta(days=at.weekday()) - WEEK
    if monday.weekday():
        raise BadInput(f"a week begins on a Monday; {monday} is none")
    said = _said(stores.ledger, monday)
    before = _said(stores.ledger, monday - WEEK)
    modes = published_modes(stores)
    shown = [one for one in said if one.is_correction][:_QUOTED]
    summary = _summary(monday, said, before, modes)
    text = _markdown(monday, said, before, modes, summary, shown)
    made = Digest(
        monday,
        len(said),
        sum(one.perceived_error for one in said),
        sum(one.is_correction for one in said),
        summary,
        text,
        tuple(one.trace_id for one in shown),
    )
    # With the ids as texts of their own, by which forgetting finds them.
    content = {"week": made.week, "summary": summary, "markdown": text, "traces": made.traces}
    publish(stores, DIGEST, json.dumps(content, ensure_ascii=False).encode())
    return made


def last_decided_week(ledger: Ledger) -> date | None:
    """The Monday of the week of the last decision that stands; None where there is none."""
    wanted = sa.select(sa.func.max(decisions.c.decided_at)).where(
        decisions.c.kind.in_(("decide", "adjudicate")), not_undone()
    )
    with ledger.read() as connection:
        last: datetime | None = connection.scalar(wanted)
    return None if last is None else last.date() - timedelta(days=last.weekday())


def _said(ledger: Ledger, monday: date) -> list[_Said]:
    """What people decided in the week and did not take back, each person's last word on a trace."""
    start = datetime.combine(monday, time(), UTC)
    same = (trace_documents.c.trace_id == decisions.c.trace_id) & (
        trace_documents.c.content_hash == decisions.c.content_hash
    )
    wanted = (
        sa.select(decisions, trace_documents.c.app)
        .outerjoin(trace_documents, same)
        .where(
            decisions.c.kind.in_(("decide", "adjudicate")),
            decisions.c.decided_at >= start,
            decisions.c.decided_at < start + WEEK,
            not_undone(),
        )
        .order_by(decisions.c.decision_id)
    )
    with ledger.read() as connection:
        rows = connection.execute(wanted).all()
    last = {(row.trace_id, row.reviewer): row for row in rows}
    return [
        _Said(
            row.trace_id,
            row.app or "",
            row.reviewer,
            bool(row.perceived_error),
            row.reason_code or "",
            row.reason or "",
            row.corrected_text,
            row.corrected_tool_calls is not None,
        )
        for row in last.values()
    ]


def _summary(
    monday: date, said: Sequence[_Said], before: Sequence[_Said], modes: Modes | None
) -> str:
    """Counts and names of modes, and no word of a trace."""
    end = monday + WEEK - timedelta(days=1)
    errors, were = (sum(one.perceived_error for one in some) for some in (said, before))
    people = len({one.reviewer for one in said})
    first = (
        f"From {monday} to {end} {people} {'person' if people == 1 else 'people'} "
        f"decided on {_many(len(said), 'conversation')} "
        f"({len(before)} the week before): {errors} with an error ({were}), "
        f"{_many(sum(one.is_correction for one in said), 'answer')} corrected."
    )
    codes = _codes(said).most_common(3)
    why = ", ".join(f"{code} {n}" for code, n in codes)
    parts = [first, *([f"Most often: {why}."] if why else []), *_of_modes(modes, monday)]
    return " ".join(parts)


def _many(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def _codes(said: Sequence[_Said]) -> Counter[str]:
    return Counter(
        one.reason_code.replace("_", " ") for one in said if one.perceived_error and one.reason_code
    )


def _news(modes: Modes | None, monday: date) -> tuple[list[Mode], list[Mode]]:
    """The modes that are new and those that rise, as they were last looked for since the week."""
    if modes is None or modes.measured_at.date() < monday:
        return [], []
    new = [mode for mode in modes.modes if mode.is_new]
    return new, [mode for mode in modes.modes if mode.frequency.trend == "rising"]


def _of_modes(modes: Modes | None, monday: date) -> list[str]:
    new, rising = _news(modes, monday)
    return [
        f"{what}: {', '.join(quote(mode.name, MAX_NAME) for mode in some)}."
        for what, some in (("New failure modes", new), ("Rising", rising))
        if some
    ]


def _markdown(
    monday: date,
    said: Sequence[_Said],
    before: Sequence[_Said],
    modes: Modes | None,
    summary: str,
    shown: Sequence[_Said],
) -> str:
    lines = [f"# Week {monday:%G-W%V}", "", plain(summary), ""]
    codes, were = _codes(said), _codes(before)
    if codes or were:
        lines += ["## Why", "", "| reason | this week | the week before |", "|---|---|---|"]
        names = sorted(codes | were, key=lambda code: (-codes[code], code))
        lines += [*(f"| {plain(code)} | {codes[code]} | {were[code]} |" for code in names), ""]
    apps = Counter(one.app for one in said if one.perceived_error and one.app)
    if len(apps) > 1:
        listed = ", ".join(f"{plain(app)} {n}" for app, n in apps.most_common())
        lines += ["## Where", "", f"Errors by application: {listed}.", ""]
    new, rising = _news(modes, monday)
    if new or rising:
        lines += ["## How conversations fail", ""]
        lines += [f"- new: {_mode_line(mode)}" for mode in new]
        lines += [f"- rising: {_mode_line(mode)}" for mode in rising if mode not in new]
        lines += [""]
    if shown:
        lines += ["## What was corrected", ""]
        lines += [_correction(one) for one in shown]
    return "\n".join(lines).rstrip() + "\n"


def _mode_line(mode: Mode) -> str:
    weeks = ", ".join(map(str, mode.weekly))
    return f"{plain(mode.name)}: {_many(mode.n, 'conversation')}, by week {weeks}"


def _correction(one: _Said) -> str:
    why = f": {_quoted(one.reason)}" if one.reason else ""
    better = _quoted(one.corrected_text) if one.corrected_text else "other calls of tools"
    code = plain(one.reason_code.replace("_", " ")) or "no reason given"
    return f"- {plain(one.trace_id)} ({code}{why}) — better: {better}"


def _quoted(text: str) -> str:
    return plain(quote(text, _QUOTE_CHARACTERS))


def plain(text: str) -> str:
    """Text that is no markup in Markdown and nothing to click on."""
    unlinked = _ADDRESS.sub(r"\1 \2", text)
    return _MARKUP.sub(r"\\\1", " ".join(unlinked.split()))
