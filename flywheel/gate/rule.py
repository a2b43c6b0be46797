"""The rule of the gate: evidence in, a verdict in sentences out.

The primary test is named here, before any look, and is the same for every challenger. Where enough
of the uniform audit differs that the test can pass at all: the exact McNemar test on it, two-sided,
with more wins than losses; a session counts once, for the side that is right on more of its traces.
Elsewhere: the paired bootstrap of the difference (of the MCC for judges, of the success rate for
replies) over sessions, each item weighted by 1 / draw probability, with a lower bound above 0.
Which of the two it is depends on how many items differ, never on who is right.

Whatever the test says, the difference may not be below 0, no slice may be worse off (one-sided at
the full alpha, Holm over all slices of all kinds), and every suite must hold (`suites`, one-sided
at the full alpha each). A challenger has to pass all of them, so none needs a correction for the
number of the others: one that is no better is promoted with chance alpha at most over all looks,
and one that loses the margin on a suite with chance alpha at most at each (Berger 1982).

Too little evidence refuses before any test, and says how many labels or cases are missing.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from scipy import stats

from flywheel import statistics
from flywheel.gate.evidence import Evidence, Measure
from flywheel.gate.slices import Slice
from flywheel.gate.suites import Suite
from flywheel.records import Interval
from flywheel.settings import GateSettings

Rule = Literal["mcnemar", "bootstrap", "thin"]


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """Whether the challenger passed, why in sentences, and how many holdout labels are missing.

    `labels_needed` is None where it cannot be told; `alpha` is what this look spent, `alpha_spent`
    what all `looks` at the holdout have. What the suites and slices showed is beside it; verdicts
    from before there were suites have none.
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
    measure: Measure = "mcc"
    suites: tuple[Suite, ...] = ()
    slices: tuple[Slice, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)


def decide(evidence: Evidence, settings: GateSettings, alpha: float | None = None) -> GateVerdict:
    """Whether the evidence is enough for the challenger; `alpha` is what this look may spend."""
    budget = settings.alpha if alpha is None else alpha
    opening = _opening(evidence)
    if missing := _missing(evidence, settings):
        known = [labels for _, labels in missing if labels is not None]
        needed = max(known) if len(known) == len(missing) else None
        why = (*opening, *_suites_said(evidence, "absent"), *(said for said, _ in missing))
        return _verdict(evidence, False, why, needed, "thin", 0.0)
    rule, won, said = _test(evidence, settings, budget)
    difference = (
        f"{_named(evidence.measure)} differs by {_signed(evidence.difference)}, weighted and by "
        "session."
    )
    shown = [said, difference, *_suites_said(evidence, "absent", "held")]
    if objections := _objections(evidence, settings):
        won, labels, end = False, 0, [*objections, "Refused: the champion stays."]
    elif won:
        labels, end = 0, ["The challenger passes."]
    elif labels := _labels_to_win(evidence, rule, budget):
        end = [f"Refused: if the lead holds, about {labels} more labels in the holdout settle it."]
    else:
        end = ["Refused: the champion stays."]
    return _verdict(evidence, won, (*opening, *shown, *end), labels, rule, budget)


def _verdict(
    evidence: Evidence,
    passed: bool,
    why: tuple[str, ...],
    labels: int | None,
    rule: Rule,
    alpha: float,
) -> GateVerdict:
    return GateVerdict(
        passed,
        why,
        labels,
        rule,
        alpha,
        measure=evidence.measure,
        suites=evidence.suites,
        slices=evidence.slices,
        left_out=dict(evidence.left_out),
    )


def _opening(evidence: Evidence) -> list[str]:
    """What was compared, what was not, and why."""
    e = evidence
    what = (
        f"{e.n} labels, {e.positives} of them perceived errors"
        if e.measure == "mcc"
        else f"{e.n} corrections"
    )
    said = [f"The holdout has {what}; {e.audit_n} are of the uniform audit."]
    said += [f"{n} more are left out: {why}." for why, n in e.left_out.items() if n]
    return [*said, *e.notes]


def _suites_said(evidence: Evidence, *states: str) -> list[str]:
    return [suite.why for suite in evidence.suites if suite.state in states]


def _missing(evidence: Evidence, settings: GateSettings) -> list[tuple[str, int | None]]:
    """What makes the evidence thin, in sentences, with the labels or cases that would mend it."""
    e, found = evidence, []
    if e.positives < settings.min_positives:
        rate = e.audit_positives / e.audit_n if e.audit_positives else e.positives / max(e.n, 1)
        what = "perceived errors" if e.measure == "mcc" else "corrections"
        have = f"{e.positives} {what} and at least {settings.min_positives}"
        more = settings.min_positives - e.positives
        found.append(_short(have, more, rate, "none of the labels so far is one"))
    differ, audit = e.wins + e.losses, e.audit_wins + e.audit_losses
    if differ < settings.min_discordant:
        rate = audit / e.audit_n if audit else differ / max(e.n, 1)
        two = "judges" if e.measure == "mcc" else "models"
        have = f"{differ} sessions on which the {two} differ and at least {settings.min_discordant}"
        more = settings.min_discordant - differ
        found.append(_short(have, more, rate, "the two agree everywhere so far"))
    return found + [(suite.why, suite.needed) for suite in e.suites if suite.state == "thin"]


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
    two = "judges" if e.measure == "mcc" else "models"
    said = (
        f"The {two} differ on {differ} sessions of the uniform audit, too few for the exact test; "
        f"weighted bootstrap of the {_named(e.measure)} difference {_p(e.difference_p)}, {budget}."
    )
    return "bootstrap", e.difference_p < alpha and e.difference.estimate > 0, said


def _objections(evidence: Evidence, settings: GateSettings) -> list[str]:
    """What refuses a challenger whatever the primary test says."""
    found = []
    if evidence.difference.estimate < 0:
        found.append("The challenger is worse in the mean.")
    found += [
        f"It is worse on {s.title}: right by {_signed(s.difference)}, one-sided {_p(s.harm_p)} "
        f"after Holm over {sum(t.harm_p is not None for t in evidence.slices)} slices."
        for s in evidence.slices
        if s.harm_p is not None and s.harm_p < settings.alpha
    ]
    return found + _suites_said(evidence, "broken")


def _labels_to_win(evidence: Evidence, rule: Rule, alpha: float) -> int:
    """Labels after which the present lead would be significant, by the normal approximation."""
    e = evidence
    if rule == "mcnemar":
        n, z = e.audit_n, (e.audit_wins - e.audit_losses) / math.sqrt(e.audit_wins + e.audit_losses)
    else:
        half = (e.difference.high - e.difference.low) / 2
        n, z = e.n, e.difference.estimate * statistics.Z95 / half if half else 0.0
    wanted = float(stats.norm.isf(alpha / 2))
    return max(1, math.ceil(n * (wanted / z) ** 2 - n)) if z > 0 else 0


def _named(measure: Measure) -> str:
    return "MCC" if measure == "mcc" else "success rate"


def _signed(difference: Interval) -> str:
    bounds = f"95 % interval {difference.low:+.3f} to {difference.high:+.3f}"
    return f"{difference.estimate:+.3f} ({bounds})"


def _p(value: float) -> str:
    return f"p = {value:.4f}" if value >= 0.0001 else "p < 0.0001"
