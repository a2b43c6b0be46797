"""Findings: everything that one look of the gate saw, for a person who has to decide.

Rows of `gate_verdicts` in, tables with every interval out. The one idea is that a row is read as it
was written: what an older version did not know of is absent, and nothing is worked out again.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

import sqlalchemy as sa

from flywheel.records import Interval
from flywheel.store.ledger import Ledger, in_utc
from flywheel.store.tables import gate_verdicts

# Seconds to import, which a web server that shows no finding does without.
if TYPE_CHECKING:
    from flywheel.gate.slices import Slice

Outcome = Literal["passed", "refused", "thin"]
_RATES = {
    "tpr": "errors found (TPR)",
    "tnr": "others let pass (TNR)",
    "f1": "F1",
    "mcc": "Matthews correlation",
    "roc_auc": "area under the ROC curve",
    "pr_auc": "area under precision and recall",
    "ece": "calibration error (ECE)",
    "brier": "Brier score",
}
_MEASURES = {"mcc": "Matthews correlation", "success": "Share of replies that succeed"}


@dataclass(frozen=True, slots=True)
class Difference:
    """Challenger minus champion, with its 95 % interval; `p` is None where it was not tested."""

    name: str
    interval: Interval
    p: float | None


@dataclass(frozen=True, slots=True)
class Rate:
    """One rate of both sides on the holdout, each with its 95 % interval where it has one."""

    name: str
    champion: Interval | None
    challenger: Interval | None


@dataclass(frozen=True, slots=True)
class SuiteFinding:
    """A suite of cases on which nothing may be lost; `worse_by` is the bound of the loss."""

    name: str
    n: int
    wins: int
    losses: int
    champion_rate: float | None
    challenger_rate: float | None
    worse_by: float | None
    state: str
    why: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One verdict with its evidence; `why` are its sentences, `counts` its numbers by name."""

    challenger: str
    champion: str
    outcome: Outcome
    why: tuple[str, ...]
    rule: str
    alpha: float
    looks: int
    alpha_spent: float
    decided_at: datetime
    counts: Mapping[str, int]
    mcnemar_p: float | None
    differences: tuple[Difference, ...]
    rates: tuple[Rate, ...]
    suites: tuple[SuiteFinding, ...]
    slices: "tuple[Slice, ...]"
    left_out: Mapping[str, int]
    notes: tuple[str, ...]


def findings_of(ledger: Ledger, target: str, challenger: str) -> list[Finding]:
    """What the gate saw of a version as a challenger, the last look first."""
    own = (gate_verdicts.c.target == target, gate_verdicts.c.challenger == challenger)
    looked = sa.select(gate_verdicts).where(*own).order_by(gate_verdicts.c.verdict_id.desc())
    with ledger.read() as connection:
        return [_finding(row) for row in connection.execute(looked)]


def _finding(row: "sa.Row[Any]") -> Finding:
    from flywheel.gate.stored import slice_of

    seen = json.loads(row.evidence)
    refused: Outcome = "thin" if seen["rule"] == "thin" else "refused"
    return Finding(
        challenger=row.challenger,
        champion=row.champion,
        outcome="passed" if row.passed else refused,
        why=tuple(row.why.split("\n")),
        rule=seen["rule"],
        alpha=row.alpha_spent,
        looks=seen["looks"],
        alpha_spent=seen["alpha_spent"],
        decided_at=in_utc(row.decided_at),
        counts={said: seen[name] for name, said in _COUNTS.items() if name in seen},
        mcnemar_p=seen.get("mcnemar_p"),
        differences=tuple(_differences(seen)),
        rates=tuple(_rates(seen.get("champion_card"), seen.get("challenger_card"))),
        suites=tuple(_suite(one) for one in seen.get("suites", ())),
        slices=tuple(slice_of(one) for one in seen.get("slices", ())),
        left_out=seen.get("left_out", {}),
        notes=tuple(seen.get("notes", ())),
    )


_COUNTS = {
    "n": "labels in the holdout",
    "positives": "of them perceived errors",
    "audit_n": "of the uniform audit",
    "wins": "sessions that the challenger is ahead in",
    "losses": "sessions that the champion is ahead in",
    "audit_wins": "of the audit, for the challenger",
    "audit_losses": "of the audit, for the champion",
    "n_unknown_draw": "labels of unknown chance",
}


def _differences(seen: Mapping[str, Any]) -> Iterator[Difference]:
    measured = seen.get("difference") or seen.get("mcc_difference")
    if measured:
        name = _MEASURES.get(seen.get("measure", "mcc"), "Difference")
        yield Difference(name, interval_of(measured), seen.get("difference_p", seen.get("mcc_p")))
    if ranked := seen.get("auc_difference"):
        yield Difference("Area under the ROC curve", interval_of(ranked), None)


def _rates(
    champion: Mapping[str, Any] | None, challenger: Mapping[str, Any] | None
) -> Iterator[Rate]:
    old, new = ((card or {}).get("rates", {}) for card in (champion, challenger))
    for name in {**old, **new}:
        yield Rate(
            _RATES.get(name, name.replace("_", " ")),
            interval_of(old[name]) if name in old else None,
            interval_of(new[name]) if name in new else None,
        )


def _suite(stored: Mapping[str, Any]) -> SuiteFinding:
    return SuiteFinding(
        stored["name"],
        stored["n"],
        stored["wins"],
        stored["losses"],
        stored["champion_rate"],
        stored["challenger_rate"],
        stored["loss_bound"],
        stored["state"],
        stored["why"],
    )


def interval_of(stored: Mapping[str, float | None]) -> Interval:
    """An interval as JSON has it, null for what is not a number."""
    bounds = (stored["estimate"], stored["low"], stored["high"])
    return Interval(*(math.nan if x is None else x for x in bounds))
