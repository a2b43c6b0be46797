"""A small set of metrics for a project: fitted on the labels of one split, measured on another.

Metrics and labels in, `Selection` out: the names, what they reach, and why each of the others is
left out. The one idea is that a set which was chosen for its numbers is measured on labels that had
no part in the choice.
"""

from dataclasses import dataclass

from flywheel.errors import NotEnough
from flywheel.evolution.evidence import Check, Evidence, Figure
from flywheel.evolution.selection.flags import (
    Flags,
    Reach,
    metrics_of,
    reach_of,
    read_flags,
)
from flywheel.evolution.selection.program import Chosen, Infeasible, select_metrics
from flywheel.records import Interval
from flywheel.store import Project

# Labels of each kind on each side; with fewer, a share can be anything.
MIN_LABELS = 10


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A metric that is not in the set: what it does alone, and what it would add, when fitted."""

    metric: str
    coverage: float
    false_failures: float
    adds_coverage: float
    adds_false: float
    why: str


@dataclass(frozen=True, slots=True)
class Selection:
    """The chosen metrics with what was measured of them; none where no set meets the bounds.

    `nearest` are the metrics of the sets that come nearest to each bound, where there is none.
    """

    metrics: tuple[str, ...]
    evidence: Evidence
    left_out: tuple[LeftOut, ...] = ()
    nearest: tuple[tuple[str, ...], ...] = ()


def select_for(
    project: Project,
    app: str | None = None,
    min_coverage: float | None = None,
    max_false: float | None = None,
) -> Selection:
    """The fewest metrics of a project that meet its bounds, fitted on `train`, told of `holdout`.

    Raises NotEnough where a split has too few labels of a kind.
    """
    settings = project.settings.evolution
    flags = read_flags(project.stores, metrics_of(project), app)
    wanted = settings.coverage if min_coverage is None else min_coverage
    allowed = settings.false_failures if max_false is None else max_false
    return select_from(flags.of("train"), flags.of("holdout"), wanted, allowed)


def select_from(fitted: Flags, held_out: Flags, min_coverage: float, max_false: float) -> Selection:
    """The fewest metrics by the labels of `fitted`, with what they reach on `held_out`."""
    for flags, split in ((fitted, "train"), (held_out, "holdout")):
        for kind, n in (("an error", flags.is_bad.sum()), ("no error", (~flags.is_bad).sum())):
            if n < MIN_LABELS:
                what = f"labels of {kind} in the {split} split that a metric has read"
                raise NotEnough(what, int(n), MIN_LABELS)
    found = select_metrics(fitted.matrix, fitted.is_bad, fitted.weight, min_coverage, max_false)
    if isinstance(found, Infeasible):
        return _impossible(fitted, held_out, found, min_coverage, max_false)
    names = tuple(fitted.metrics[j] for j in found.columns)
    on_fit, on_others = reach_of(fitted, found.columns), reach_of(held_out, found.columns)
    said = (
        f"{len(names)} of {len(fitted.metrics)} metrics are enough: {', '.join(names)}. On labels "
        f"that had no part in the choice they find {_said(on_others.coverage)} of the errors and "
        f"flag {_said(on_others.false_failures)} of the rest."
    )
    proven = "no smaller set meets both" if found.is_proven else "the search ran out of time"
    checks = (
        Check("smallest set", found.is_proven, proven),
        *_checks(on_others, min_coverage, max_false),
    )
    evidence = Evidence(said, _figures(on_fit, on_others), checks, _NOTES)
    return Selection(names, evidence, _left_out(fitted, found, max_false))


_NOTES = (
    "Fitted on the labels of the train split, measured on those of the holdout; a label counts by "
    "1 / the chance that it was drawn by, at most 20.",
    "False failures are those of the whole set: a trace counts once, whichever metric flags it.",
)


def _figures(on_fit: Reach, on_others: Reach) -> tuple[Figure, ...]:
    return (
        Figure("coverage, holdout", on_others.coverage, n=on_others.n_errors),
        Figure("false failures of the set, holdout", on_others.false_failures, n=on_others.n_fine),
        Figure("coverage, where it was fitted", on_fit.coverage, n=on_fit.n_errors),
        Figure("false failures, where it was fitted", on_fit.false_failures, n=on_fit.n_fine),
    )


def _checks(reach: Reach, min_coverage: float, max_false: float) -> tuple[Check, ...]:
    """Whether the holdout contradicts the bounds: its whole interval lies on the wrong side."""
    coverage, false = reach.coverage, reach.false_failures
    is_found = coverage is not None and coverage.high >= min_coverage
    is_rare = false is not None and false.low <= max_false
    return (
        Check("coverage on the holdout", is_found, f"{_said(coverage)}, {min_coverage:.0%} asked"),
        Check("false failures on the holdout", is_rare, f"{_said(false)}, {max_false:.0%} allowed"),
    )


def _left_out(flags: Flags, chosen: Chosen, max_false: float) -> tuple[LeftOut, ...]:
    found = []
    for column, name in enumerate(flags.metrics):
        if column in chosen.columns:
            continue
        alone, together = (reach_of(flags, own) for own in ((column,), (*chosen.columns, column)))
        adds = _value(together.coverage) - chosen.coverage
        adds_false = _value(together.false_failures) - chosen.false_failures
        coverage, false = _value(alone.coverage), _value(alone.false_failures)
        why = _why(coverage, adds, chosen.false_failures + adds_false > max_false)
        found.append(LeftOut(name, coverage, false, adds, adds_false, why))
    return tuple(sorted(found, key=lambda one: (-one.adds_coverage, one.metric)))


def _why(coverage: float, adds: float, is_over: bool) -> str:
    if coverage <= 0:
        return "finds no error"
    if adds <= 1e-9:
        return "finds nothing that the set does not find"
    return "would take the false failures over what is allowed" if is_over else "is not needed"


def _impossible(
    fitted: Flags, held_out: Flags, found: Infeasible, min_coverage: float, max_false: float
) -> Selection:
    """Which constraint it is, and the best that can be reached."""
    most = found.most_coverage
    within = (
        f"with at most {max_false:.0%} false failures the most is {most.coverage:.1%}, by "
        f"{_listed(fitted, most)}"
    )
    if found.broken == "coverage":
        said = (
            f"No set finds {min_coverage:.0%} of the errors: all {len(fitted.metrics)} metrics "
            f"together find {found.all_reach:.1%}; {within}. A metric for what none of them finds "
            "would help, and no choice among them."
        )
    else:
        fewest = found.fewest_false or most
        said = (
            f"{min_coverage:.0%} coverage and {max_false:.0%} false failures can each be met, but "
            f"not both: {within}; and {min_coverage:.0%} coverage costs at least "
            f"{fewest.false_failures:.1%} false failures, by {_listed(fitted, fewest)}."
        )
    sets = (most, *([found.fewest_false] if found.fewest_false else []))
    everything = range(len(fitted.metrics))
    figures = _figures(reach_of(fitted, most.columns), reach_of(held_out, most.columns))
    all_of_it = reach_of(held_out, everything)
    together = Figure("coverage of all metrics, holdout", all_of_it.coverage, n=all_of_it.n_errors)
    checks = (
        Check(
            "a set within both bounds",
            False,
            "there is none; the figures are of the "
            "one with the most coverage within the allowed false failures",
        ),
    )
    names = tuple(tuple(fitted.metrics[j] for j in one.columns) for one in sets)
    return Selection((), Evidence(said, (*figures, together), checks, _NOTES), nearest=names)


def _listed(flags: Flags, chosen: Chosen) -> str:
    names = [flags.metrics[j] for j in chosen.columns]
    return ", ".join(names) or "no metric at all"


def _value(interval: Interval | None) -> float:
    return interval.estimate if interval else 0.0


def _said(interval: Interval | None) -> str:
    if interval is None:
        return "an unknown share"
    numbers = (interval.estimate, max(0.0, interval.low), min(1.0, interval.high))
    return "{:.0%} ({:.0%} to {:.0%})".format(*numbers)
