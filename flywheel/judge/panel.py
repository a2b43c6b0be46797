"""Panels of judges: labels where they are of one mind, and people where they are not.

A day's unlabelled traces in, rows of `panel_outcomes` out. The first panel judges; where it is not
of one mind, the second hears every vote and says who was right; where that is not either, people
decide. Judges err together, so people look at a random share of what panels agreed on.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date

import pyarrow as pa
import sqlalchemy as sa

from flywheel.errors import BadSetting
from flywheel.judge.cache import Progress
from flywheel.judge.panel_prompts import Vote, second_version
from flywheel.judge.panel_votes import (
    Polling,
    Version,
    Votes,
    ask_first,
    ask_second,
    version_of,
    votes_on,
)
from flywheel.judge.prompted import PromptedJudge
from flywheel.judge.scoring import no_progress
from flywheel.records import Conversation, unit_hash
from flywheel.statistics import clopper_pearson
from flywheel.store import Stores
from flywheel.store.ledger import Ledger, now
from flywheel.store.tables import panel_outcomes
from flywheel.traces.conversations import InputLevers, read_traces


@dataclass(frozen=True, slots=True)
class Panel:
    """Who votes first, who hears them, and which share of what they agree on people look at."""

    first: tuple[PromptedJudge, ...]
    second: tuple[PromptedJudge, ...]
    audit_share: float

    def check(self) -> None:
        """Raises BadSetting where the first panel is no panel, or a judge sits in one twice."""
        if len(self.first) < 2:
            raise BadSetting("panel.first: a panel is two judges at least; name [judges.NAME]")
        for name, members in (("first", self.first), ("second", self.second)):
            if len({judge.opinion_version for judge in members}) < len(members):
                raise BadSetting(f"panel.{name}: two of its judges are the same model")


@dataclass(frozen=True, slots=True)
class PanelReport:
    """What a panel did with one day.

    `settled_before` of `drawn` are of earlier runs. Of the others `unanimous_first` and
    `unanimous_second` are labels, `audited` of them for people to look at as well, `to_people` are
    disputed, and the rest wait: `unfinished` counts the calls that failed, by why, one for all that
    a member could not be asked. `votes` and `cost_usd` are of this run, `unreadable` of its votes
    for neither side.
    """

    day: date
    drawn: int = 0
    settled_before: int = 0
    votes: int = 0
    unreadable: int = 0
    unanimous_first: int = 0
    unanimous_second: int = 0
    to_people: int = 0
    audited: int = 0
    cost_usd: float = 0.0
    unfinished: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PanelAudit:
    """What people made of the labels that panels agreed on, and that a random draw showed them.

    `error_bound` is the one-sided 95 % upper bound of the share that is wrong (Clopper and Pearson
    1934), None before anybody has looked: without an error it is 1 - .05^(1/n), about 3/n.
    """

    drawn: int
    audited: int
    errors: int
    error_bound: float | None


@dataclass(frozen=True, slots=True)
class _Outcome:
    """How it ended for a trace; `perceived_error` is None where people must decide."""

    version: Version
    perceived_error: bool | None
    settled_in_round: int | None
    is_audited: bool
    draw_probability: float


def label_day(
    stores: Stores,
    panel: Panel,
    levers: InputLevers,
    day: date,
    most: int,
    progress: Progress = no_progress,
) -> PanelReport:
    """Let the panel label `most` traces of the day: uniform by hash, and unlabelled.

    Every vote is stored as it comes, and an outcome once it stands, so that a run that was killed
    goes on where it was. A trace with an outcome is never asked about again. What a member cannot
    be asked stays open, and the others vote. Raises BadSetting where the panel is none.
    """
    panel.check()
    chances, settled = _drawn(stores, day, most)
    with stores.warehouse.read() as connection:
        found = read_traces(connection, [trace_id for trace_id, _ in chances], levers)
    open_traces = [c for c in found if version_of(c) in chances.keys() - settled and c.is_eligible]
    polling = Polling()
    first = _first_votes(stores.ledger, panel, open_traces, polling, progress)
    agreed = {v: vote for v, votes in first.items() if (vote := _unanimous(votes)) is not None}
    disputed = [(c, first[v]) for c in open_traces if (v := version_of(c)) in first.keys() - agreed]
    second = _second_votes(stores.ledger, panel, disputed, polling, progress)
    outcomes = [_outcome(panel, v, vote, 1, chances[v]) for v, vote in agreed.items()]
    outcomes += [
        _outcome(panel, v, _unanimous(votes), 2, chances[v]) for v, votes in second.items()
    ]
    _store(stores.ledger, panel.first[0].rubric.version, outcomes)
    return PanelReport(
        day,
        drawn=len(chances),
        settled_before=len(settled),
        votes=polling.votes,
        unreadable=polling.unreadable,
        unanimous_first=sum(o.settled_in_round == 1 for o in outcomes),
        unanimous_second=sum(o.settled_in_round == 2 for o in outcomes),
        to_people=sum(o.perceived_error is None for o in outcomes),
        audited=sum(o.is_audited for o in outcomes),
        cost_usd=polling.cost_usd,
        unfinished=dict(sorted(polling.unfinished.items())),
    )


def panel_audit(stores: Stores) -> PanelAudit:
    """How far the labels of panels can be believed, by the decisions that were derived last."""
    with stores.warehouse.read() as connection:
        ((drawn, audited, errors),) = connection.run("judge/panel_audit").fetchall()
    # Both sides at .05, of which one is asked for.
    bound = clopper_pearson(errors, audited, alpha=0.1).high if audited else None
    return PanelAudit(drawn, audited, errors, bound)


def _drawn(stores: Stores, day: date, most: int) -> tuple[dict[Version, float], set[Version]]:
    """The day's traces for the panel, each with its chance, and those that have an outcome."""
    with stores.ledger.read() as ledger:
        key = panel_outcomes.c["trace_id", "content_hash"]
        settled = {(str(row[0]), str(row[1])) for row in ledger.execute(sa.select(*key))}
    ids, hashes = zip(*sorted(settled), strict=True) if settled else ((), ())
    been_through = pa.table(
        {"trace_id": pa.array(ids, pa.string()), "content_hash": pa.array(hashes, pa.string())}
    )
    with stores.warehouse.read() as connection, connection.given(been_through=been_through):
        rows = connection.run("judge/panel_traces", day=day, most=most).fetchall()
    chances = {(str(row[0]), str(row[1])): float(row[2]) for row in rows}
    return chances, settled & chances.keys()


def _first_votes(
    ledger: Ledger,
    panel: Panel,
    conversations: Sequence[Conversation],
    polling: Polling,
    progress: Progress,
) -> dict[Version, list[Vote]]:
    """The votes of the first panel on each trace that all its members have voted on."""
    versions = [version_of(c) for c in conversations]
    known, done = votes_on(ledger, 1, versions), 0
    for judge in panel.first:
        for said in polling.of(ask_first(ledger, judge, conversations, known)):
            polling.count(said)
            done += 1
            progress(done, len(conversations) * len(panel.first))
    names = [judge.opinion_version for judge in panel.first]
    return _complete(votes_on(ledger, 1, versions), versions, names)


def _second_votes(
    ledger: Ledger,
    panel: Panel,
    disputed: Sequence[tuple[Conversation, Sequence[Vote]]],
    polling: Polling,
    progress: Progress,
) -> dict[Version, list[Vote]]:
    """As the first, of those who hear it; without a second panel nobody has said anything."""
    versions = [version_of(conversation) for conversation, _ in disputed]
    known, done = votes_on(ledger, 2, versions), 0
    for judge in panel.second:
        for said in polling.of(ask_second(ledger, judge, panel.first, disputed, known)):
            polling.count(said)
            done += 1
            progress(done, len(disputed) * len(panel.second))
    names = [second_version(judge, panel.first) for judge in panel.second]
    return _complete(votes_on(ledger, 2, versions), versions, names)


def _complete(
    votes: Votes, versions: Sequence[Version], names: Sequence[str]
) -> dict[Version, list[Vote]]:
    return {
        version: [cast[name] for name in names]
        for version in versions
        if set(names) <= (cast := votes.get(version, {})).keys()
    }


def _unanimous(votes: Sequence[Vote]) -> bool | None:
    """What all say; None where they differ, where one says nothing, or where nobody was asked."""
    words = {vote.perceived_error for vote in votes}
    return words.pop() if len(words) == 1 else None


def _outcome(
    panel: Panel, version: Version, word: bool | None, round_: int, chance: float
) -> _Outcome:
    is_audited = word is not None and unit_hash(version[0], "panel_audit") < panel.audit_share
    return _Outcome(version, word, None if word is None else round_, is_audited, chance)


def _store(ledger: Ledger, rubric_version: str, outcomes: Sequence[_Outcome]) -> None:
    for outcome in outcomes:
        row = {
            "trace_id": outcome.version[0],
            "content_hash": outcome.version[1],
            "perceived_error": outcome.perceived_error,
            "settled_in_round": outcome.settled_in_round,
            "is_audited": outcome.is_audited,
            "rubric_version": rubric_version,
            "draw_probability": outcome.draw_probability,
            "settled_at": now(),
        }
        try:
            with ledger.begin() as connection:
                connection.execute(panel_outcomes.insert(), row)
        except sa.exc.IntegrityError:
            # Another run came to it first, by the same votes.
            continue
