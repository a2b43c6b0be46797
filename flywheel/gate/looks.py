"""Looks at the holdout: each verdict is stored with its evidence, and spends some of alpha.

Material of a look in, a row of `gate_verdicts` out; the one idea is that a holdout that is looked
at again and again gives way in the end. Look number k of a target may spend alpha * 6 / (pi k)^2,
over all looks together never more than alpha. The same look twice is one look, and a look that thin
evidence refused tested nothing and spends nothing.
"""

import hashlib
import json
import math
from dataclasses import replace

import sqlalchemy as sa

from flywheel.errors import BadInput
from flywheel.gate.evidence import GateMaterial, weigh_evidence
from flywheel.gate.rule import GateVerdict, decide
from flywheel.gate.stored import evidence_text, verdict_of
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
    material: GateMaterial,
    settings: GateSettings,
) -> GateVerdict:
    """The verdict on a challenger, stored with its evidence; the same look again returns it as is.

    A look is two versions, the labels, the suites' cases and the thresholds. Raises BadInput on a
    challenger that is the champion, and as `weigh_evidence` does.
    """
    if challenger == champion:
        raise BadInput(f"{challenger!r} is the champion of {target} already; nothing to decide")
    key = _look_key(target, challenger, champion, material, settings)
    same_look = sa.select(gate_verdicts).where(gate_verdicts.c.look_key == key)
    with stores.ledger.begin() as ledger:
        if known := ledger.execute(same_look).one_or_none():
            return verdict_of(known)
    evidence = weigh_evidence(material, settings)
    of_target = gate_verdicts.c.target == target
    with stores.ledger.begin() as ledger:
        # Two gates at once would both be look k: the second waits for the first, on Postgres too.
        ledger.execute(sa.select(aliases).where(aliases.c.target == target).with_for_update())
        if known := ledger.execute(same_look).one_or_none():
            return verdict_of(known)
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
        row = {
            "target": target,
            "challenger": challenger,
            "champion": champion,
            "passed": verdict.passed,
            "why": "\n".join(verdict.why),
            "evidence": evidence_text(verdict, evidence),
            "alpha_spent": verdict.alpha,
            "look_key": key,
            "decided_at": now(),
        }
        ledger.execute(gate_verdicts.insert().values(row))
    return verdict


def verdicts_of(ledger: sa.Connection, target: str) -> list[GateVerdict]:
    """Every verdict on challengers of `target`, oldest first."""
    rows = ledger.execute(
        sa.select(gate_verdicts)
        .where(gate_verdicts.c.target == target)
        .order_by(gate_verdicts.c.verdict_id)
    )
    return [verdict_of(row) for row in rows]


def _look_key(
    target: str, challenger: str, champion: str, material: GateMaterial, settings: GateSettings
) -> str:
    thresholds: list[object] = [settings.min_positives, settings.min_discordant, settings.alpha]
    labels = sorted((item.trace_id, item.truth) for item in material.items)
    look: list[object] = [target, challenger, champion, thresholds, labels]
    if material.suites:
        # Looks from before there were suites keep their key.
        cases = [(s.name, sorted(case.case_id for case in s.cases)) for s in material.suites]
        look += [settings.margin, cases]
    return hashlib.sha256(json.dumps(look).encode()).hexdigest()
