"""The failure modes of the last weeks: found, known again, measured, and published for the page.

Flagged conversations in, rows of `failure_modes` and one artifact out. The one idea is that a mode
is one thing for years: its number, its name and its trend stay, whichever conversations show it.
"""

from collections import Counter
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import partial

import numpy as np

from flywheel.evolution.failures.clusters import (
    MIN_SESSIONS,
    MIN_TRACES,
    Group,
    find_groups,
    middle_of,
)
from flywheel.evolution.failures.flagged import Flagged, read_flagged, vectors_of
from flywheel.evolution.failures.naming import name_by_model, name_by_words
from flywheel.evolution.failures.remembered import Found, KnownMode, known_modes, remember
from flywheel.evolution.failures.trends import (
    RECENT_DAYS,
    Frequency,
    Judged,
    by_week,
    frequency,
    read_judged,
)
from flywheel.models.embedder import TextEncoder
from flywheel.models.writer import Writer
from flywheel.records import Interval
from flywheel.settings import Settings
from flywheel.statistics import Floats, corrected_rate
from flywheel.store import Stores
from flywheel.store.ledger import now
from flywheel.store.publications import Published
from flywheel.traces.importing import days_with_traces

_EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class ModeExample:
    """A conversation that shows a mode: what was asked, and what was said against the answer."""

    trace_id: str
    app: str
    day: date
    request: str
    objection: str
    is_by_people: bool


@dataclass(frozen=True, slots=True)
class Mode:
    """A failure mode as it was last measured.

    `n` conversations were of it among those that were read; `share` is its share of all in which an
    error was seen. `weekly` counts the weeks up to the last day, oldest first; `codes` and `apps`
    count by kind of reason and by application. `stability` is how surely it is found again, 1 at
    most. `name` is the one at the time of the look.
    """

    mode_id: int
    name: str
    is_new: bool
    n: int
    n_sessions: int
    n_by_people: int
    share: Interval
    frequency: Frequency
    weekly: tuple[int, ...]
    codes: dict[str, int]
    apps: dict[str, int]
    stability: float
    examples: tuple[ModeExample, ...]


@dataclass(frozen=True, slots=True)
class Modes:
    """What one look found, the largest first; `why` says it in a sentence where it found nothing.

    Of `n_flagged` conversations with an error `n_read` were read, and `n_alone` of those fail in no
    way that several share.
    """

    measured_at: datetime
    embedder: str
    first_day: date | None = None
    last_day: date | None = None
    n_flagged: int = 0
    n_read: int = 0
    n_alone: int = 0
    modes: tuple[Mode, ...] = ()
    why: str = field(default="")


_PUBLISHED = Published("failures", Modes)


@dataclass(frozen=True, slots=True)
class _Look:
    """What is read once for all groups."""

    flagged: list[Flagged]
    vectors: Floats
    judged: Judged
    last: date
    n_weeks: int

    def of(self, group: Group) -> list[Flagged]:
        """The conversations of a group, those nearest to its middle first."""
        near = self.vectors[group.rows] @ middle_of(self.vectors[group.rows])
        return [self.flagged[i] for i in group.rows[np.argsort(-near, kind="stable")]]


def find_modes(
    stores: Stores,
    settings: Settings,
    embedder: TextEncoder,
    writer: Writer | None = None,
    at: datetime | None = None,
) -> Modes:
    """Group what was flagged of late, know again what is known, and publish it.

    New modes are named by `writer`, or by their words where there is none or it names nothing
    usable. Asked again on the same conversations, it finds the same modes.
    """
    at = at or now()
    days = days_with_traces(stores)
    if not days:
        return _PUBLISHED.put(stores, Modes(at, embedder.version, why="There is no trace yet."))
    how, last = settings.evolution, days[-1]
    first = last - timedelta(days=how.mode_days - 1)
    flagged, n_flagged = read_flagged(stores, first, last, how.mode_traces)
    vectors = vectors_of(flagged, embedder)
    judged = read_judged(stores, first, last, {one.trace_id for one in flagged}, n_flagged)
    look = _Look(flagged, vectors, judged, last, -(-how.mode_days // RECENT_DAYS))
    groups = find_groups(vectors, [one.session for one in flagged])
    found = [_found(look, group, settings, writer) for group in groups]
    numbers = remember(stores.ledger, found, embedder.version, at)
    known = known_modes(stores.ledger)
    modes = [
        _measured(look, group, known[number], is_new=known[number].found_at == at)
        for group, number in zip(groups, numbers, strict=True)
    ]
    n_alone = len(flagged) - sum(mode.n for mode in modes)
    counts = n_flagged, len(flagged), n_alone
    why = "" if modes else _why_none(n_flagged)
    made = Modes(at, embedder.version, first, last, *counts, tuple(modes), why)
    return _PUBLISHED.put(stores, made)


def published_modes(stores: Stores) -> Modes | None:
    """What was last found; None where nobody looked, or it was written otherwise.

    Raises NotFound where the artifact is gone.
    """
    return _PUBLISHED.get(stores)


def _found(look: _Look, group: Group, settings: Settings, writer: Writer | None) -> Found:
    days = [look.flagged[i].day for i in group.rows]
    name = partial(_name, look, group, settings, writer)
    return Found(middle_of(look.vectors[group.rows]), min(days), max(days), len(days), name)


def _name(look: _Look, group: Group, settings: Settings, writer: Writer | None) -> str:
    own = look.of(group)
    by_model = name_by_model(writer, own, settings.privacy) if writer else None
    inside = set(group.rows.tolist())
    others = [one for i, one in enumerate(look.flagged) if i not in inside]
    return by_model or name_by_words(own, others)


def _measured(look: _Look, group: Group, known: KnownMode, *, is_new: bool) -> Mode:
    own = look.of(group)
    is_of = np.zeros(len(look.flagged))
    is_of[group.rows] = 1.0
    sessions = np.unique([one.session for one in look.flagged], return_inverse=True)[1]
    none, alike = np.zeros(len(is_of)), np.ones(len(is_of))
    return Mode(
        known.mode_id,
        known.name,
        is_new,
        len(own),
        len({one.session for one in own}),
        sum(one.is_by_people for one in own),
        corrected_rate(is_of, none, alike, sessions).interval,
        frequency(look.judged, {one.trace_id for one in own}),
        by_week([one.day for one in own], look.last, look.n_weeks),
        dict(Counter(one.reason_code for one in own if one.reason_code).most_common()),
        dict(Counter(one.app for one in own).most_common()),
        group.stability,
        _examples(own),
    )


def _examples(own: list[Flagged]) -> tuple[ModeExample, ...]:
    """Those nearest to the middle, of sessions of their own."""
    by_session: dict[str, Flagged] = {}
    for one in own:
        by_session.setdefault(one.session, one)
    return tuple(
        ModeExample(one.trace_id, one.app, one.day, one.request, one.objection, one.is_by_people)
        for one in list(by_session.values())[:_EXAMPLES]
    )


def _why_none(n_flagged: int) -> str:
    if n_flagged < MIN_TRACES:
        return (
            f"{n_flagged} conversations with an error are too few to say how they fail alike; "
            f"{MIN_TRACES} of {MIN_SESSIONS} sessions are the least."
        )
    return f"{n_flagged} conversations with an error fail each in its own way."
