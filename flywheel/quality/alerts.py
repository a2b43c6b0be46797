"""Alerts: what somebody wants to be told, the moment it is so, once, with the reason.

Rules of the project and what is known of quality in, rows of `alerts_fired` and messages out. The
one idea is that a rule reads an interval and not a number: a rate is too high where its lower bound
is, and a judge too bad where its upper bound is, so that noise wakes nobody.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from flywheel.errors import NotEnough
from flywheel.quality.audit import judged_traces
from flywheel.quality.figures import name_of, share
from flywheel.quality.judge import card_of
from flywheel.quality.modes_told import new_digest, new_modes
from flywheel.quality.moves_told import champion_changes, gate_news
from flywheel.quality.rates import EVERY_APP, JUDGE_ONLY, rates_of
from flywheel.settings import AlertRule
from flywheel.store import Stores
from flywheel.store.ledger import in_utc
from flywheel.store.tables import alerts_fired, judge_calls, queue_items

# What a rate and an agreement are measured over, up to the newest day of traces.
RATE_DAYS, AGREEMENT_DAYS = 7, 28


@dataclass(frozen=True, slots=True)
class Alert:
    """A rule that found what it looks for; `subject` is told of once."""

    rule: str
    subject: str
    value: float
    why: str


@dataclass(frozen=True, slots=True)
class _Watched:
    """What rules are given."""

    stores: Stores
    rows: pa.Table
    at: datetime

    def since(self, days: int) -> pa.Table:
        """The judged traces of the last days that there are any of."""
        newest = pc.max(self.rows["day"]).as_py()
        first = newest - timedelta(days=days - 1)
        return self.rows.filter(pc.greater_equal(self.rows["day"], first))


def check_alerts(stores: Stores, rules: Mapping[str, AlertRule], at: datetime) -> list[Alert]:
    """What the rules find at this moment, whether or not it was told before."""
    if not rules:
        return []
    of_traces = any(rule.when in _OF_TRACES for rule in rules.values())
    watched = _Watched(stores, judged_traces(stores) if of_traces else pa.table({}), at)
    return [
        Alert(name, subject, value, why)
        for name, rule in rules.items()
        for subject, value, why in _LOOKS[rule.when](watched, rule)
    ]


def note_alerts(stores: Stores, alerts: list[Alert], at: datetime) -> list[Alert]:
    """Keep what was not there yet; those of `alerts` that are new."""
    with stores.ledger.begin() as ledger:
        known = {
            (row.rule, row.subject)
            for row in ledger.execute(sa.select(*alerts_fired.c["rule", "subject"]))
        }
        new = [alert for alert in alerts if (alert.rule, alert.subject) not in known]
        for alert in new:
            ledger.execute(
                alerts_fired.insert().values(
                    rule=alert.rule,
                    subject=alert.subject,
                    value=alert.value,
                    why=alert.why,
                    fired_at=at,
                )
            )
    return new


_Found = Iterator[tuple[str, float, str]]


def _rate(watched: _Watched, rule: AlertRule) -> _Found:
    if not watched.rows.num_rows:
        return
    rows = watched.since(RATE_DAYS)
    if rule.app != EVERY_APP and rule.app not in pc.unique(rows["app"]).to_pylist():
        return
    known = [e for e in rates_of(rows, None if rule.app == EVERY_APP else rule.app) if e.interval]
    found = next((e for e in known if e.app == rule.app), None)
    if found is None or found.interval is None or found.interval.low <= rule.limit:
        return
    alone = ", by the judge alone and unadjusted" if found.method == JUDGE_ONLY else ""
    yield (
        f"{found.last_day}/{rule.app}",
        found.interval.estimate,
        f"users of {_of(rule.app)} saw an error in {share(found.interval)} of the conversations "
        f"from {found.first_day} to {found.last_day} ({found.method}{alone}; {found.n_labels} "
        f"labels); the lower bound is over {rule.limit:.1%}",
    )


def _drift(watched: _Watched, rule: AlertRule) -> _Found:
    with watched.stores.warehouse.read() as connection:
        rows = connection.table("quality/drifted_of_newest_day").to_pylist()
    for row in rows:
        is_large = row["psi"] is None or row["psi"] > rule.limit
        if row["app"] != rule.app or not is_large:
            continue
        size = "" if row["psi"] is None else f", stability index {row['psi']:.2f}"
        yield (
            f"{row['day']}/{row['app']}/{row['subject']}",
            row["statistic"],
            f"{row['subject']} of {_of(row['app'])} on {row['day']} are unlike those from "
            f"{row['first_reference_day']} on (p = {row['p_value']:.4f}, level {row['alpha']:.4f}"
            f"{size})",
        )


def _agreement(watched: _Watched, rule: AlertRule) -> _Found:
    if not watched.rows.num_rows:
        return
    try:
        card = card_of(watched.since(AGREEMENT_DAYS))
    except NotEnough:
        return
    accuracy = card.rates["accuracy"]
    if accuracy.high < rule.limit:
        week = watched.at.date() - timedelta(days=watched.at.weekday())
        yield (
            f"week of {week}",
            accuracy.estimate,
            f"the judge agrees with people on {share(accuracy)} of {card.n} audit labels of the "
            f"last {AGREEMENT_DAYS} days; the upper bound is under {rule.limit:.1%}",
        )


def _unscored(watched: _Watched, rule: AlertRule) -> _Found:
    with watched.stores.warehouse.read() as connection:
        rows = connection.table("quality/failed_verdicts").to_pylist()
    for row in rows:
        wanted = row["scored"] + row["failed"]
        if wanted and row["failed"] / wanted > rule.limit:
            yield (
                f"{row['day']}/{row['metric']}/{row['tier']}",
                float(row["failed"] / wanted),
                f"{row['failed']} of {wanted} {row['tier']} verdicts on {row['metric']} of "
                f"{row['day']} {'failed' if row['has_judge'] else 'have no judge'}, more than "
                f"{rule.limit:.1%}; `flywheel doctor` looks at the judges",
            )


def _spend(watched: _Watched, rule: AlertRule) -> _Found:
    day = datetime.combine(watched.at.date(), time(), UTC)
    with watched.stores.ledger.read() as ledger:
        spent = ledger.scalar(
            sa.select(sa.func.sum(judge_calls.c.cost_usd)).where(judge_calls.c.called_at >= day)
        )
    if spent is not None and spent > rule.limit:
        why = f"judges have spent {spent:.2f} USD on {day.date()}, more than {rule.limit:.2f}"
        yield f"{day.date()}", float(spent), why


def _queue_age(watched: _Watched, rule: AlertRule) -> _Found:
    is_open = queue_items.c.status.in_(("pending", "disputed"))
    is_of_app = sa.true() if rule.app == EVERY_APP else queue_items.c.app == rule.app
    with watched.stores.ledger.read() as ledger:
        oldest, n = ledger.execute(
            sa.select(sa.func.min(queue_items.c.queued_at), sa.func.count()).where(
                is_open, is_of_app
            )
        ).one()
    if oldest is None:
        return
    age = (watched.at - in_utc(oldest)) / timedelta(days=1)
    if age > rule.limit:
        yield (
            f"{watched.at.date()}/{rule.app}",
            age,
            f"the oldest of {n} open items of {_of(rule.app)} has waited for {age:.1f} days, more "
            f"than {rule.limit:g}",
        )


def _champion(watched: _Watched, _: AlertRule) -> _Found:
    yield from champion_changes(watched.stores.ledger, watched.at)


def _gate(watched: _Watched, _: AlertRule) -> _Found:
    yield from gate_news(watched.stores.ledger, watched.at)


def _failure_mode(watched: _Watched, rule: AlertRule) -> _Found:
    yield from new_modes(watched.stores.ledger, watched.at, rule.limit)


def _digest(watched: _Watched, _: AlertRule) -> _Found:
    yield from new_digest(watched.stores)


# Those that are given judged traces.
_OF_TRACES = ("rate", "agreement")
_LOOKS: dict[str, Callable[[_Watched, AlertRule], _Found]] = {
    "rate": _rate,
    "drift": _drift,
    "agreement": _agreement,
    "unscored": _unscored,
    "spend": _spend,
    "queue_age": _queue_age,
    "champion": _champion,
    "gate": _gate,
    "failure_mode": _failure_mode,
    "digest": _digest,
}


def _of(app: str) -> str:
    return "all applications" if app == EVERY_APP else name_of(app)
