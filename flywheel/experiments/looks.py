"""What an experiment says by now, so that whoever looks may stop whenever it does say something.

Outcomes in, a reading with a sentence an arm out. The one idea is that a conclusion is drawn from
an interval that holds at all looks together, and from nothing before a least number of sessions;
where lots were not drawn as planned, nothing is concluded at all.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

from flywheel.experiments.experiment import Experiment, outcome_name
from flywheel.experiments.outcomes import ArmOutcome, Difference, Outcomes
from flywheel.records import Interval
from flywheel.statistics import confidence_sequence, information_to_decide, mismatch_p_value

# waiting    too little to say anything
# open       an interval, in which there is still both
# different  the interval has left 0
# alike      the interval lies within the least difference that matters
# invalid    sessions did not come to the arms as planned
State = Literal["waiting", "open", "different", "alike", "invalid"]
DECIDED: tuple[State, ...] = ("different", "alike")
# Of a check at every look: what it stops is thrown away whole, so that it errs hardly ever.
MISMATCH_ALPHA = 0.001


@dataclass(frozen=True, slots=True)
class ArmReading:
    """An arm with what is known of it; `planned` is its share, `estimate` None where unknown."""

    arm: str
    value: str
    planned: float
    n_exposed: int
    n_arrived: int
    n_sessions: int
    n_traces: int
    n_labels: int
    estimate: float | None
    why: str


@dataclass(frozen=True, slots=True)
class Contrast:
    """An arm against the first; `decided_on` is the day of the first look that decided it.

    `difference` is a confidence sequence. `sessions_left` and `days_left` are what it takes, at the
    pace so far, until a true difference of the least size that matters shows in four of five.
    """

    arm: str
    state: State
    n_sessions: int
    difference: Interval | None
    sentence: str
    decided_on: date | None = None
    sessions_left: int | None = None
    days_left: float | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """An experiment as it stands at a look; `mismatch` is why it cannot be believed, or empty."""

    experiment: str
    looked_at: datetime
    outcome: str
    arms: list[ArmReading]
    contrasts: list[Contrast]
    mismatch: str
    mismatch_p: float

    @property
    def conclusion(self) -> str:
        """What came of it, in words."""
        return self.mismatch or " ".join(contrast.sentence for contrast in self.contrasts)


def read_outcomes(
    experiment: Experiment, found: Outcomes, at: datetime, decided: Mapping[str, date]
) -> Reading:
    """What these outcomes say at this moment; `decided` has the day of an arm decided before."""
    mismatch, p_value = _mismatch(experiment, found.arms)
    alpha = experiment.plan.alpha / len(found.differences)
    contrasts = [
        Contrast(one.arm, "invalid", one.n_sessions, None, mismatch)
        if mismatch
        else _contrast(experiment, found.arms, one, alpha, at, decided.get(one.arm))
        for one in found.differences
    ]
    arms = [
        ArmReading(
            of.arm,
            "" if arm.value is None else str(arm.value)[:200],
            *(arm.share, of.n_exposed, of.n_arrived, of.n_sessions, of.n_traces, of.n_labels),
            *(of.estimate, of.why),
        )
        for arm, of in zip(experiment.arms, found.arms, strict=True)
    ]
    outcome = outcome_name(experiment.plan.outcome)
    return Reading(experiment.name, at, outcome, arms, contrasts, mismatch, p_value)


def _mismatch(experiment: Experiment, arms: list[ArmOutcome]) -> tuple[str, float]:
    """Why lots were not drawn as planned, if they were not, and the smaller p-value of the two.

    By sessions that were given an arm, and by those of them of which any trace has come: an arm
    that breaks an application shows in the second alone. Each at half of alpha.
    """
    if experiment.is_paired:
        return "", 1.0
    shares = [arm.share for arm in experiment.arms]
    counted = (
        ("were given their arms", [arm.n_exposed for arm in arms]),
        ("sent traces", [arm.n_arrived for arm in arms]),
    )
    p_values = [(mismatch_p_value(counts, shares), did, counts) for did, counts in counted]
    p_value, did, counts = min(p_values, key=lambda one: one[0])
    if p_value > MISMATCH_ALPHA / 2:
        return "", p_value
    said = ", ".join(
        f"{arm.name} {n:,} where {share * sum(counts):,.0f} were planned"
        for arm, n, share in zip(experiment.arms, counts, shares, strict=True)
    )
    return (
        f"Sessions that {did} are not shared out as planned: {said} (p = {p_value:.1g}). Nothing "
        "can be concluded: find what loses or adds sessions of one arm, and start anew.",
        p_value,
    )


def _contrast(
    experiment: Experiment,
    arms: list[ArmOutcome],
    one: Difference,
    alpha: float,
    at: datetime,
    decided_on: date | None,
) -> Contrast:
    plan = experiment.plan
    if waiting := _why_waiting(experiment, arms, one):
        left = _days_left(experiment, at, _least_seen(arms, one), plan.least_sessions)
        return Contrast(one.arm, "waiting", one.n_sessions, None, waiting, days_left=left)
    assert one.estimate is not None
    found = confidence_sequence(one.estimate, one.variance, plan.difference, alpha)
    state = _state(found, plan.difference)
    sentence = _says(experiment, one.arm, state, found)
    if state in DECIDED:
        return Contrast(
            *(one.arm, state, one.n_sessions, found, sentence),
            decided_on=decided_on or at.date(),
        )
    needed = information_to_decide(plan.difference, alpha) * one.variance
    days = _days_left(experiment, at, 1.0, needed)
    left = max(0, round(one.n_sessions * (needed - 1)))
    if decided_on is not None:
        sentence += f" It was decided on {decided_on}, and that counts."
    elif left:
        sentence += (
            f" A difference of {size_in_words(experiment, plan.difference)} would show within "
            f"{left:,} more sessions{_in_days(days)}."
        )
    return Contrast(one.arm, state, one.n_sessions, found, sentence, decided_on, left, days)


def _why_waiting(experiment: Experiment, arms: list[ArmOutcome], one: Difference) -> str:
    """Why nothing is said yet; empty where it may be."""
    least = experiment.plan.least_sessions
    seen = _least_seen(arms, one)
    if one.why and (one.estimate is None or seen >= least):
        return f"Nothing is said yet: {one.why}."
    if seen < least:
        an_arm = "" if experiment.is_paired else " an arm"
        return f"Nothing is said before {least:,} sessions{an_arm} have an outcome: {seen:,} have."
    return ""


def _least_seen(arms: list[ArmOutcome], one: Difference) -> int:
    other = next(arm for arm in arms if arm.arm == one.arm)
    return min(arms[0].n_sessions, other.n_sessions)


def _state(found: Interval, difference: float) -> State:
    if found.low > 0 or found.high < 0:
        return "different"
    return "alike" if -difference < found.low and found.high < difference else "open"


def _says(experiment: Experiment, arm: str, state: State, found: Interval) -> str:
    first, outcome = experiment.arms[0].name, outcome_name(experiment.plan.outcome)
    by = in_words(experiment, found)
    if state == "different":
        more = "higher" if found.estimate > 0 else "lower"
        return f"{arm} against {first}: {outcome} is {more}, by {by}."
    if state == "alike":
        least = size_in_words(experiment, experiment.plan.difference)
        return f"{arm} and {first} differ by less than {least} in {outcome}: {by}."
    return f"{arm} against {first}: nothing is settled of {outcome}, {by}."


def in_words(experiment: Experiment, found: Interval) -> str:
    """A difference with its interval, in points where the outcome is a share."""
    scale, unit = (100, " points") if experiment.is_rate else (1, "")
    low, middle, high = (scale * x for x in (found.low, found.estimate, found.high))
    places = 1 if experiment.is_rate else 3
    return f"{middle:+.{places}f}{unit} [{low:+.{places}f}, {high:+.{places}f}]"


def size_in_words(experiment: Experiment, difference: float) -> str:
    """How large a difference is, in points where the outcome is a share."""
    return f"{100 * difference:.3g} points" if experiment.is_rate else f"{difference:.3g}"


def _days_left(experiment: Experiment, at: datetime, have: float, need: float) -> float | None:
    """Days until there is as much as is needed, at the pace so far; None where nothing came."""
    elapsed = (at - experiment.started_at).total_seconds() / 86_400
    return max(0.0, elapsed * (need / have - 1)) if have > 0 and elapsed > 0 else None


def _in_days(days: float | None) -> str:
    if days is None:
        return ""
    return f", in about {days:,.0f} days" if days >= 1.5 else ", within two days"
