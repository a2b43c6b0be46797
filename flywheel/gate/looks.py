"""Looks at the holdout: each verdict is stored with its evidence, and spends some of alpha.

Labelled items in, a row of `gate_verdicts` out; the one idea is that a holdout that is looked at
again and again gives way in the end. Look number k of a target may spend alpha * 6 / (pi k)^2, over
all looks together never more than alpha. The same look twice is one look, and a look that thin
evidence refused tested nothing and spends nothing.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace

import sqlalchemy as sa

from flywheel.errors import BadInput
from flywheel.gate.evidence import Evidence, GateItem, weigh_evidence
from flywheel.gate.rule import GateVerdict, decide
from flywheel.settings import GateSettings
from flywheel.store import Stores
from flywheel.store.ledger import now
from flywheel.store.tables import aliases, gate_verdicts


def alpha_of_look(alpha: float, look: int) -> float:
    """What look number `look`, from 1, may spend: alpha * 6 / (pi look)^2, which sums to alpha."""
    return alpha * 6 / (math.pi * look) ** 2


def decide_gate(
    stores: Stores,
    target: str,
    challenger: str,
    champion: str,
    items: Sequence[GateItem],
    settings: GateSettings,
) -> GateVerdict:
    """The verdict on a challenger, stored with its evidence; the same look again returns it as is.

    A look is two versions, the labels and the thresholds. Raises BadInput on a challenger that is
    the champion, and as `weigh_evidence` does.
    """
    if challenger == champion:
        raise BadInput(f"{challenger!r} is the champion of {target} already; nothing to decide")
    key = _look_key(target, challenger, champion, items, settings)
    same_look = sa.select(gate_verdicts).where(gate_verdicts.c.look_key == key)
    with stores.ledger.begin() as ledger:
        if known := ledger.execute(same_look).one_or_none():
            return _verdict(known)
    evidence = weigh_evidence(items, settings)
    of_target = gate_verdicts.c.target == target
    with stores.ledger.begin() as ledger:
        # Two gates at once would both be look k: the second waits for the first, on Postgres too.
        ledger.execute(sa.select(aliases).where(aliases.c.target == target).with_for_update())
        if known := ledger.execute(same_look).one_or_none():
            return _verdict(known)
        spent = ledger.execute(
            sa.select(gate_verdicts.c.alpha_spent).where(of_target, gate_verdicts.c.alpha_spent > 0)
        ).scalars()
        before = [float(alpha) for alpha in spent]
        look = len(before) + 1
        verdict = decide(evidence, settings, alpha_of_look(settings.alpha, look))
        verdict = replace(
            verdict,
            looks=look if verdict.alpha else len(before),
            alpha_spent=sum(before) + verdict.alpha,
            challenger=challenger,
            champion=champion,
        )
        ledger.execute(_row(target, key, verdict, evidence))
    return verdict


def verdicts_of(ledger: sa.Connection, target: str) -> list[GateVerdict]:
    """Every verdict on challengers of `target`, oldest first."""
    rows = ledger.execute(
        sa.select(gate_verdicts)
        .where(gate_verdicts.c.target == target)
        .order_by(gate_verdicts.c.verdict_id)
    )
    return [_verdict(row) for row in rows]


def _look_key(
    target: str,
    challenger: str,
    champion: str,
    items: Iterable[GateItem],
    settings: GateSettings,
) -> str:
    thresholds = [settings.min_positives, settings.min_discordant, settings.alpha]
    labels = sorted((item.trace_id, item.truth) for item in items)
    look = json.dumps([target, challenger, champion, thresholds, labels])
    return hashlib.sha256(look.encode()).hexdigest()


def _row(target: str, key: str, verdict: GateVerdict, evidence: Evidence) -> sa.Insert:
    ruling = {
        "rule": verdict.rule,
        "labels_needed": verdict.labels_needed,
        "looks": verdict.looks,
        "alpha_spent": verdict.alpha_spent,
    }
    return gate_verdicts.insert().values(
        target=target,
        challenger=verdict.challenger,
        champion=verdict.champion,
        passed=verdict.passed,
        why="\n".join(verdict.why),
        evidence=json.dumps(_plain(asdict(evidence) | ruling)),
        alpha_spent=verdict.alpha,
        look_key=key,
        decided_at=now(),
    )


def _plain(value: object) -> object:
    """The value as JSON has it: null for what is not a number."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _verdict(row: "sa.Row[tuple[object, ...]]") -> GateVerdict:
    ruling = json.loads(row.evidence)
    return GateVerdict(
        passed=row.passed,
        why=tuple(row.why.split("\n")),
        labels_needed=ruling["labels_needed"],
        rule=ruling["rule"],
        alpha=row.alpha_spent,
        looks=ruling["looks"],
        alpha_spent=ruling["alpha_spent"],
        challenger=row.challenger,
        champion=row.champion,
    )
