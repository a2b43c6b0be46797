"""The rule of the gate: evidence in, a verdict in sentences out.

The primary test is named here, before any look, and is the same for every challenger. Where enough
of the uniform audit differs that the test can pass at all: the exact McNemar test on it, two-sided,
with more wins than losses; a session counts once, for the side that is right on more of its traces.
Elsewhere: the paired bootstrap of the MCC difference over sessions, each item weighted by 1 / draw
probability, with a lower bound above 0. Which of the two it is depends on how many items differ,
never on who is right. Whatever the test says, the MCC difference may not be below 0, and no app may
be worse off (one-sided at the full alpha, Holm over the apps).

Too little evidence refuses before any test, and says how many labels are missing.
"""

import math
from dataclasses import dataclass
from typing import Literal

from scipy import stats

from flywheel import statistics
from flywheel.gate.evidence import Evidence
from flywheel.records import Interval
from flywheel.settings import GateSettings

Rule = Literal["mcnemar", "bootstrap", "thin"]


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """Whether the challenger passed, why in sentences, and how many holdout labels are missing.

    `labels_needed` is None where it cannot be told; `alpha` is what this look spent, `alpha_spent`
    what all `looks` at the holdout have.
    """

    passed: bool
    why: tuple[str, ...]
    labels_needed: int | None
    rule: Rule
    alpha: float
    looks: int = 0
    alpha_spent: float = 0.0
    challenger: str = ""
    champion: str = ""


def decide(evidence: Evidence, settings: GateSettings, alpha: float | None = None) -> GateVerdict:
    """Whether the evidence is enough for the challenger; `alpha` is what this look may spend."""
    budget = settings.alpha if alpha is None else alpha
    counts = (
        f"The holdout has {evidence.n} labels, {evidence.positives} of them perceived errors; "
        f"{evidence.audit_n} are of the uniform audit."
    )
    if missing := _missing(evidence, settings):
        known = [labels for _, labels in missing if labels is not None]
        needed = max(known) if len(known) == len(missing) else None
        return GateVerdict(False, (counts, *(why for why, _ in missing)), needed, "thin", 0.0)
    rule, won, said = _test(evidence, settings, budget)
    difference = f"MCC differs by {_signed(evidence.mcc_difference)}, weighted and by session."
    if objections := _objections(evidence, settings):
        won, labels, end = False, 0, [*objections, "Refused: the champion stays."]
    elif won:
        labels, end = 0, ["The challenger passes."]
    elif labels := _labels_to_win(evidence, rule, budget):
        end = [f"Refused: if the lead holds, about {labels} more labels in the holdout settle it."]
    else:
        end = ["Refused: the champion stays."]
    return GateVerdict(won, (counts, said, difference, *end), labels, rule, budget)


def _missing(evidence: Evidence, settings: GateSettings) -> list[tuple[str, int | None]]:
    """What makes the evidence thin, in sentences, with the labels that would mend it."""
    e, found = evidence, []
    if e.positives < settings.min_positives:
        rate = e.audit_positives / e.audit_n if e.audit_positives else e.positives / max(e.n, 1)
        have = f"{e.positives} perceived errors and at least {settings.min_positives}"
        more = settings.min_positives - e.positives
        found.append(_short(have, more, rate, "none of the labels so far is one"))
    differ, audit = e.wins + e.losses, e.audit_wins + e.audit_losses
    if differ < settings.min_discordant:
        rate = audit / e.audit_n if audit else differ / max(e.n, 1)
        have = (
            f"{differ} sessions on which the judges differ and at least {settings.min_discordant}"
        )
        more = settings.min_discordant - differ
        found.append(_short(have, more, rate, "the two agree everywhere so far"))
    return found


def _short(have: str, more: int, rate: float, never: str) -> tuple[str, int | None]:
    said = f"Refused, the evidence is thin: {have} are needed; "
    if rate == 0:
        return f"{said}{never}, so no number of labels can be named.", None
    labels = math.ceil(more / rate)
    return f"{said}at {rate:.1%} of labels that is about {labels} more in the holdout.", labels


def _test(evidence: Evidence, settings: GateSettings, alpha: float) -> tuple[Rule, bool, str]:
    """The primary test: which it is, whether the challenger won it, and that in a sentence."""
    e, differ = evidence, evidence.audit_wins + evidence.audit_losses
    budget = f"this look may spend {alpha:.4f}"
    if differ >= settings.min_discordant and statistics.mcnemar_exact(0, differ) < alpha:
        said = (
            f"On the uniform audit the challenger is right more often in {e.audit_wins} sessions "
            f"and the champion in {e.audit_losses}; exact McNemar {_p(e.mcnemar_p)}, {budget}."
        )
        return "mcnemar", e.mcnemar_p < alpha and e.audit_wins > e.audit_losses, said
    said = (
        f"The judges differ on {differ} sessions of the uniform audit, too few for the exact test; "
        f"weighted bootstrap of the MCC difference {_p(e.mcc_p)}, {budget}."
    )
    return "bootstrap", e.mcc_p < alpha and e.mcc_difference.estimate > 0, said


def _objections(evidence: Evidence, settings: GateSettings) -> list[str]:
    """What refuses a challenger whatever the primary test says."""
    found = []
    if evidence.mcc_difference.estimate < 0:
        found.append("The challenger is worse in the mean.")
    found += [
        f"It is worse on app {s.app!r}: MCC {_signed(s.mcc_difference)}, one-sided {_p(s.harm_p)} "
        "after Holm."
        for s in evidence.slices
        if s.harm_p is not None and s.harm_p < settings.alpha
    ]
    return found


def _labels_to_win(evidence: Evidence, rule: Rule, alpha: float) -> int:
    """Labels after which the present lead would be significant, by the normal approximation."""
    e = evidence
    if rule == "mcnemar":
        n, z = e.audit_n, (e.audit_wins - e.audit_losses) / math.sqrt(e.audit_wins + e.audit_losses)
    else:
        half = (e.mcc_difference.high - e.mcc_difference.low) / 2
        n, z = e.n, e.mcc_difference.estimate * statistics.Z95 / half if half else 0.0
    wanted = float(stats.norm.isf(alpha / 2))
    return max(1, math.ceil(n * (wanted / z) ** 2 - n)) if z > 0 else 0


def _signed(difference: Interval) -> str:
    bounds = f"95 % interval {difference.low:+.3f} to {difference.high:+.3f}"
    return f"{difference.estimate:+.3f} ({bounds})"


def _p(value: float) -> str:
    return f"p = {value:.4f}" if value >= 0.0001 else "p < 0.0001"
