"""What each trend shows, in a sentence, a table and the marks of a chart.

Trends in, figures without their drawing out. Where there is nothing to show, the sentence says what
is missing and what would bring it.
"""

from collections.abc import Sequence

from flywheel.quality.charts import (
    CORRECTED,
    DISPUTED,
    JUDGE_ALONE,
    LABELS_ALONE,
    WAITING,
    Bars,
    OverTime,
    Point,
    symbol,
)
from flywheel.quality.figures import Figure, Row, coefficient, name_of, queue_path, share
from flywheel.quality.rates import EVERY_APP, JUDGE_ONLY, LABELS_ONLY, RateEstimate
from flywheel.quality.trends import AgeDay, AgeGroup, AgreementWeek, JudgeWeek
from flywheel.records import Interval

ALL_APPS = "all applications"
_METHODS = {LABELS_ONLY: LABELS_ALONE, JUDGE_ONLY: JUDGE_ALONE}
_AUDITED = queue_path(reason="random_audit", status="complete")
_FINISHED = queue_path(status="complete")


def read_rates(rates: Sequence[RateEstimate]) -> tuple[Figure, OverTime]:
    """The rate of perceived errors of each day and app, the newest day first in the table."""
    known = [(rate, rate.interval) for rate in rates]
    points = [_point(rate, interval) for rate, interval in known if interval is not None]
    rows = [
        Row(
            [p.at.isoformat(), p.panel, share(p.interval), p.method, f"{p.n:,}"],
            p.href,
        )
        for p in points
    ]
    used = {point.method for point in points}
    figure = Figure(
        "rates",
        "Perceived errors, by day",
        _rates_said(points),
        ["Day", "App", "Rate", "By", "Labels"],
        rows[::-1],
        [(symbol(m), m) for m in (CORRECTED, LABELS_ALONE, JUDGE_ALONE) if m in used],
    )
    return figure, OverTime("day", points, "labels", ".0%", 0.0, 0.1)


def _point(rate: RateEstimate, interval: Interval) -> Point:
    app = "" if rate.app == EVERY_APP else rate.app
    name, day = name_of(app) or ALL_APPS, rate.first_day
    method = _METHODS.get(rate.method, CORRECTED)
    return Point(
        name,
        day,
        interval,
        rate.n_labels,
        f"{day}, {name}: {share(interval)}, {method}, {rate.n_labels} labels",
        queue_path(app=app, day=day.isoformat(), status="complete"),
        method,
    )


def _rates_said(points: Sequence[Point]) -> str:
    if not points:
        return (
            "No trace has a verdict yet. `flywheel traces import` brings traces, and "
            "`flywheel loop --all` judges them."
        )
    own = [point for point in points if point.panel == points[0].panel]
    labelled = [point for point in own if point.method != JUDGE_ALONE]
    n_alone = len(own) - len(labelled)
    alone = (
        f"{n_alone} of {len(own)} days have too few labels and show the judge's own rate, whose "
        "interval knows nothing of the judge's errors."
    )
    if not labelled:
        last = own[-1]
        return f"On {last.at} the judge alone saw an error in {share(last.interval)}. {alone}"
    last = labelled[-1]
    return (
        f"On {last.at}, the last day with enough labels, users saw an error in "
        f"{share(last.interval)} of the conversations of {last.panel} ({last.method}; {last.n} "
        f"labels). {alone if n_alone else ''}"
    ).strip()


def read_judge(weeks: Sequence[JudgeWeek]) -> tuple[Figure, OverTime]:
    """How many of the errors that people saw the judge found, and how many others it let pass."""
    found = [(week, week.sensitivity, week.n_errors) for week in weeks]
    passed = [(week, week.specificity, week.n_fine) for week in weeks]
    points = [
        Point(panel, week.week, rate, n, f"Week of {week.week}: {share(rate)} of {n}", _AUDITED)
        for panel, of in (("errors that it found", found), ("others that it let pass", passed))
        for week, rate, n in of
        if rate is not None
    ]
    rows = [
        Row(
            [
                week.week.isoformat(),
                share(week.sensitivity) if week.sensitivity else "too few",
                f"{week.n_errors:,}",
                share(week.specificity) if week.specificity else "too few",
                f"{week.n_fine:,}",
            ],
            _AUDITED,
        )
        for week in reversed(weeks)
    ]
    figure = Figure(
        "judge",
        "The judge against people, by week",
        _judge_said(weeks),
        ["Week of", "Found of the errors", "Errors", "Let pass of the others", "Others"],
        rows,
        [],
    )
    return figure, OverTime("week", points, "labels", ".0%", 0.0, 1.0)


def _judge_said(weeks: Sequence[JudgeWeek]) -> str:
    known = [week for week in weeks if week.sensitivity or week.specificity]
    if not known:
        return (
            "No week has 5 audit labels of one kind beside a verdict. They come from the items in "
            "the queue that a random audit drew."
        )
    last, parts = known[-1], []
    if last.sensitivity:
        parts.append(
            f"found {share(last.sensitivity)} of the {last.n_errors} errors that people saw"
        )
    if last.specificity:
        parts.append(f"let pass {share(last.specificity)} of the {last.n_fine} other conversations")
    return f"In the week of {last.week}, the judge {' and '.join(parts)}, by the random audit."


def read_agreement(weeks: Sequence[AgreementWeek]) -> tuple[Figure, OverTime]:
    """How far reviewers agreed on perceived errors in each week, beyond chance."""
    known = [week for week in weeks if week.agreement.beyond_chance is not None]
    points = [
        Point(
            "",
            week.week,
            beyond,
            week.agreement.n_items,
            f"Week of {week.week}: {week.agreement.measure} {coefficient(beyond)}, "
            f"{week.agreement.n_items} items",
            _FINISHED,
        )
        for week in known
        for beyond in [week.agreement.beyond_chance]
        if beyond is not None
    ]
    rows = [
        Row(
            [
                week.week.isoformat(),
                coefficient(of.beyond_chance) if of.beyond_chance else of.why,
                of.measure,
                share(of.raw) if of.raw else "",
                f"{of.n_items:,}",
                str(of.n_reviewers),
            ],
            _FINISHED,
        )
        for week in reversed(weeks)
        for of in [week.agreement]
    ]
    figure = Figure(
        "agreement",
        "Reviewers with each other, by week",
        _agreement_said(points, weeks),
        ["Week of", "Beyond chance", "Measure", "Same answer", "Items", "Reviewers"],
        rows,
        [],
    )
    return figure, OverTime("week", points, "items", ".1f", 0.0, 1.0)


def _agreement_said(points: Sequence[Point], weeks: Sequence[AgreementWeek]) -> str:
    if points:
        return (
            f"{points[-1].said}. 1 is full agreement on which conversations have an error, 0 what "
            "chance alone would bring."
        )
    if weeks:
        return f"Last week with two opinions on an item: {weeks[-1].agreement.why}."
    return (
        "No item has been decided by two people. A queue with two reviewers, or with a share of "
        "double reviews, gives such items."
    )


def read_waiting(groups: Sequence[AgeGroup]) -> tuple[Figure, Bars]:
    """The open items by how long they have waited."""
    names = [_days(group) for group in groups]
    waiting = sum(group.waiting for group in groups)
    disputed = sum(group.disputed for group in groups)
    figure = Figure(
        "waiting",
        "Open items, by days in the queue",
        f"{waiting + disputed:,} items are open, {disputed:,} of them in dispute."
        if waiting + disputed
        else "Nothing waits: every item of the queue is finished, or none was drawn yet.",
        ["Days", "Waiting", "In dispute"],
        [
            Row([name, f"{group.waiting:,}", f"{group.disputed:,}"], queue_path(status="pending"))
            for name, group in zip(names, groups, strict=True)
        ],
        [(symbol(part), part) for part in (WAITING, DISPUTED)] if disputed else [],
    )
    return figure, Bars(names, [(group.waiting, group.disputed) for group in groups])


def _days(group: AgeGroup) -> str:
    if group.high_days is None:
        return f"{group.low_days}+"
    if group.low_days == 0:
        return f"<{group.high_days}"
    return f"{group.low_days}–{group.high_days - 1}"


def read_decided(days: Sequence[AgeDay]) -> tuple[Figure, OverTime]:
    """How old items were when people finished them: the median and the middle half of each day."""
    points = [
        Point(
            "",
            day.day,
            Interval(day.median_days, day.low_days, day.high_days),
            day.n_items,
            f"{day.day}: {_quartiles(day)}, {day.n_items} items",
            _FINISHED,
        )
        for day in days
    ]
    said = "Nobody has finished an item of the queue on a page yet."
    if days:
        said = (
            f"The {days[-1].n_items} items finished on {days[-1].day} had waited "
            f"{_quartiles(days[-1])} (median, and the middle half)."
        )
    figure = Figure(
        "decided",
        "Days in the queue when finished, by day",
        said,
        ["Day", "Days waited", "Items"],
        [Row([d.day.isoformat(), _quartiles(d), f"{d.n_items:,}"], _FINISHED) for d in days[::-1]],
        [],
    )
    return figure, OverTime("day", points, "items", "~g", 0.0, 1.0)


def _quartiles(day: AgeDay) -> str:
    return f"{day.median_days:.1f} days [{day.low_days:.1f}, {day.high_days:.1f}]"
