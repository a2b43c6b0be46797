"""What the registry and the gate did, as alerts: a champion that changed, a challenger refused.

Rows of the audit log and of the gate's verdicts in, findings of rules out. The one idea is that
each move and each verdict is a subject of its own, so that it is told once, and that what is older
than a week when a rule is written is history and no news.
"""

import hashlib
import json
from collections.abc import Iterator
from datetime import datetime, timedelta

import sqlalchemy as sa

from flywheel.store.ledger import Ledger, in_utc
from flywheel.store.tables import audit_log, gate_verdicts

NEWS_FOR = timedelta(days=7)
_CHAMPION = "@champion"
_HOW = {
    "promote": "promoted",
    "force_promote": "promoted without asking the gate",
    "rollback": "rolled back to",
    "set_alias": "set",
}

Found = Iterator[tuple[str, float, str]]


def newest_news(ledger: Ledger, at: datetime) -> str:
    """What changes with every move of a champion and every verdict of the last week; or empty."""
    subjects = [
        subject for subject, _, _ in (*champion_changes(ledger, at), *gate_news(ledger, at))
    ]
    return hashlib.sha256("|".join(subjects).encode()).hexdigest()[:16] if subjects else ""


def champion_changes(ledger: Ledger, at: datetime) -> Found:
    """Every move of a champion in the last week: its subject, 1, and a sentence."""
    moved = (
        sa.select(audit_log)
        .where(
            audit_log.c.action.in_(list(_HOW)),
            audit_log.c.happened_at > at - NEWS_FOR,
            audit_log.c.subject.endswith(_CHAMPION, autoescape=True),
        )
        .order_by(audit_log.c.entry_id)
    )
    with ledger.read() as connection:
        rows = connection.execute(moved).all()
    for row in rows:
        target, detail = row.subject.removesuffix(_CHAMPION), json.loads(row.detail)
        by = f"by {row.actor} on {in_utc(row.happened_at):%Y-%m-%d %H:%M} UTC: {detail['why']}"
        before = f"in place of {detail['previous']}" if detail["previous"] else "as the first one"
        said = f"{detail['version']} is the champion of {target} {before}, {_HOW[row.action]} {by}"
        if detail["version"] is None:
            said = (
                f"{detail['previous']} is the champion of {target} no more, and what was in use "
                f"before it is again; rolled back {by}"
            )
        yield f"{target}/move {row.entry_id}", 1.0, said


def gate_news(ledger: Ledger, at: datetime) -> Found:
    """Every verdict of the gate in the last week: its subject, 1 where it passed, a sentence."""
    decided = (
        sa.select(gate_verdicts)
        .where(gate_verdicts.c.decided_at > at - NEWS_FOR)
        .order_by(gate_verdicts.c.verdict_id)
    )
    with ledger.read() as connection:
        rows = connection.execute(decided).all()
    for row in rows:
        said = "passed" if row.passed else "refused"
        yield (
            f"{row.target}/verdict {row.verdict_id}",
            float(row.passed),
            f"the gate {said} {row.challenger} as champion of {row.target} in place of "
            f"{row.champion}: {' '.join(row.why.splitlines())}",
        )
