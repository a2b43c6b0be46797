"""The evidence of a change of the metric set: what it does on labels that its author has not seen.

What a metric said before and after in, `Evidence` out; a removal is refused here unless both parts
of its rule hold.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from flywheel.errors import Refused
from flywheel.evolution.evidence import Check, Evidence, Figure
from flywheel.evolution.metric_set.backtest import (
    Backtest,
    alignment_gain,
    backtest,
    figures,
    share_of,
)
from flywheel.evolution.metric_set.labelled import Labels, Said
from flywheel.records import Interval

# A correlation that an interval around 0 may still hide, for a removal: less than Cohen's (1988)
# medium one. Else too few labels would be a reason to remove anything.
_HIDDEN_CORRELATION = 0.3
# Errors that only the removed metric finds, at most, with 95 %.
_LOST_ERRORS = 0.1


def evidence_of_metric(
    after: Said, before: Said | None, labels: Labels, false_failures: float, notes: Sequence[str]
) -> Evidence:
    """What an added or redefined metric is worth; `false_failures` is the most that is wanted."""
    now, was = backtest(after, labels), None if before is None else backtest(before, labels)
    gain = None if before is None else alignment_gain(after, before, labels)
    extra = () if gain is None else (Figure("gain in alignment", gain, None, len(labels)),)
    checks = [_tells_apart(now), _cries_wolf(now, false_failures)]
    if gain is not None:
        checks.append(
            Check("better than before", gain.low > 0, f"the alignment changes by {_points(gain)}")
        )
    answered = f"it says something of {now.n_answered:,} of {len(labels):,} traces"
    return Evidence(
        _sentence(now, was), (*figures(now, was), *extra), tuple(checks), (answered, *notes)
    )


def evidence_of_removal(
    name: str, said: Said, others: Mapping[str, Said], labels: Labels, notes: Sequence[str]
) -> Evidence:
    """That a metric goes with nothing and finds nothing of its own; raises Refused where one of the
    two is not shown."""
    found = backtest(said, labels)
    union = np.zeros(len(labels), bool)
    for other in others.values():
        union |= other.is_against
    alone = share_of(said.is_against & ~union, labels.people, labels.people.truth)
    checks = (_goes_with_nothing(found), _finds_nothing(alone, found.n_errors))
    failing = [check for check in checks if not check.passed]
    if failing:
        raise Refused(
            f"{name} stays: {failing[0].said}; a metric goes only where it has no correlation with "
            "the outcome and others find all that it finds"
        )
    lost = Figure("errors that only it finds", alone, None, found.n_errors)
    sentence = f"It goes with no outcome, and finds none of {found.n_errors:,} errors alone."
    was = tuple(Figure(f.name, None, f.after, f.n, f.unit) for f in figures(found))
    return Evidence(sentence, (*was, lost), checks, tuple(notes))


def _sentence(now: Backtest, was: Backtest | None) -> str:
    text = (
        f"It speaks against {now.n_found:,} of {now.n_errors:,} traces in which people saw an "
        f"error, and against {now.n_false:,} of {now.n_fine:,} others"
    )
    before = "" if was is None else f"; before, against {was.n_found:,} and {was.n_false:,}"
    return f"{text}{before}."


def _tells_apart(now: Backtest) -> Check:
    one = now.correlation
    if one is None:
        return Check("tells errors apart", False, "it says the same of all labelled traces")
    said = (
        f"its correlation with the outcome is {one.estimate:.2f}, {one.low:.2f} to {one.high:.2f}"
    )
    return Check("tells errors apart", one.low > 0, said)


def _cries_wolf(now: Backtest, most: float) -> Check:
    one = now.false_failures
    if one is None:
        return Check("cries wolf rarely", False, "too few traces without an error are labelled")
    said = (
        f"false failures may be {100 * one.high:.0f} %, and {100 * most:.0f} % is the most wanted"
    )
    return Check("cries wolf rarely", one.high <= most, said)


def _goes_with_nothing(found: Backtest) -> Check:
    name = "no correlation with the outcome"
    for one in found.correlations:
        shown = f"{one.estimate:.2f}, {one.low:.2f} to {one.high:.2f}"
        if not one.low <= 0 <= one.high:
            return Check(name, False, f"its correlation with the outcome is {shown}")
        if max(-one.low, one.high) > _HIDDEN_CORRELATION:
            return Check(
                name, False, f"too few labels: its correlation with the outcome may be {shown}"
            )
    if not found.correlations:
        return Check(name, True, "it says the same of all labelled traces")
    shown = ", ".join(f"{one.low:.2f} to {one.high:.2f}" for one in found.correlations)
    return Check(name, True, f"the interval contains 0: {shown}")


def _finds_nothing(alone: Interval, n_errors: int) -> Check:
    name = "subsumed by other metrics"
    if alone.estimate > 0:
        return Check(
            name, False, f"only it finds {100 * alone.estimate:.0f} % of {n_errors:,} errors"
        )
    said = f"errors that only it finds may be {100 * alone.high:.0f} % of {n_errors:,}"
    if alone.high > _LOST_ERRORS:
        return Check(name, False, f"too few labels: {said}")
    return Check(name, True, said)


def _points(gain: Interval) -> str:
    return f"{gain.estimate:+.2f} ({gain.low:+.2f} to {gain.high:+.2f})"
