"""The day's look at every experiment: into the ledger, and onto the page.

Running experiments in; rows of `experiment_looks` and one artifact out. The one idea is that a look
costs no alpha, so that it is taken whenever the loop learns, and that the page opens no warehouse.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime

import sqlalchemy as sa

from flywheel.experiments.experiment import Experiment
from flywheel.experiments.looks import DECIDED, Contrast, Reading, in_words, read_outcomes
from flywheel.experiments.outcomes import measure_outcomes
from flywheel.experiments.running import get_experiment, list_experiments, stop_experiment
from flywheel.quality.charts import OverTime, Point
from flywheel.quality.figures import Figure, Row, with_chart
from flywheel.records import Interval
from flywheel.store import Stores
from flywheel.store.ledger import Ledger, now
from flywheel.store.publications import Published
from flywheel.store.tables import experiment_looks


@dataclass(frozen=True, slots=True)
class PublishedExperiment:
    """An experiment at its last look, with the chart of all looks."""

    reading: Reading
    figure: Figure


_PUBLISHED = Published("experiments", list[PublishedExperiment])


def look_at_experiments(stores: Stores, at: datetime | None = None) -> list[Reading]:
    """Look at every running experiment, keep what was seen, and publish it for the page."""
    at = at or now()
    before = {one.reading.experiment: one for one in _PUBLISHED.before(stores) or []}
    known = {one.figure.key: one.figure for one in before.values() if one.figure.key}
    shown, readings = [], []
    for experiment in list_experiments(stores.ledger):
        if experiment.is_running:
            reading = look_at(stores, experiment, at)
            readings.append(reading)
            figure = _figure(experiment, _looks(stores.ledger, experiment.name), known)
            shown.append(PublishedExperiment(reading, figure))
        elif experiment.name in before:
            shown.append(before[experiment.name])
    if shown:
        _PUBLISHED.put(stores, shown)
    return readings


def look_at(stores: Stores, experiment: Experiment, at: datetime) -> Reading:
    """What one experiment says now; noted as the last look of this day."""
    decided = {
        look.arm: look.day
        for look in reversed(_looks(stores.ledger, experiment.name))
        if look.state in DECIDED
    }
    reading = read_outcomes(experiment, measure_outcomes(stores, experiment), at, decided)
    with stores.ledger.begin() as connection:
        for contrast in reading.contrasts:
            _note(connection, experiment.name, contrast, at)
    return reading


def conclude(stores: Stores, name: str, actor: str, why: str = "") -> Experiment:
    """Stop an experiment with what its last look said, and with what somebody adds to that."""
    experiment = get_experiment(stores.ledger, name)
    reading = published_reading(stores, name)
    said = reading.conclusion if reading else "Stopped before the first look."
    if experiment.is_running and why:
        said = f"{said} {why}"
    return stop_experiment(stores.ledger, name, actor, said)


def published_experiments(stores: Stores) -> list[PublishedExperiment]:
    """What was last published; nothing where it was by a version that wrote it otherwise."""
    return _PUBLISHED.get(stores) or []


def published_reading(stores: Stores, name: str) -> Reading | None:
    """The last look at an experiment; None before the first."""
    return next(
        (one.reading for one in published_experiments(stores) if one.reading.experiment == name),
        None,
    )


def _note(connection: sa.Connection, name: str, contrast: Contrast, at: datetime) -> None:
    """In place of an earlier look of the same day; but the first that decided stays."""
    table, found = experiment_looks.c, contrast.difference
    this = (table.experiment == name, table.arm == contrast.arm, table.day == at.date())
    seen = connection.scalar(sa.select(table.state).where(*this))
    if seen in DECIDED and contrast.state not in (*DECIDED, "invalid"):
        return
    connection.execute(experiment_looks.delete().where(*this))
    row = {"experiment": name, "arm": contrast.arm, "day": at.date(), "state": contrast.state}
    row |= {"n_sessions": contrast.n_sessions, "looked_at": at}
    if found is not None:
        row |= {"estimate": found.estimate, "low": found.low, "high": found.high}
    connection.execute(experiment_looks.insert().values(row))


@dataclass(frozen=True, slots=True)
class _Look:
    """A day's look at an arm; `interval` is None where nothing was said."""

    arm: str
    day: date
    state: str
    n_sessions: int
    interval: Interval | None


def _looks(ledger: Ledger, name: str) -> list[_Look]:
    table = experiment_looks.c
    found = sa.select(experiment_looks).where(table.experiment == name)
    with ledger.read() as connection:
        rows = connection.execute(found.order_by(table.day, table.arm)).all()
    return [
        _Look(
            *(row.arm, row.day, row.state, row.n_sessions),
            None if row.estimate is None else Interval(row.estimate, row.low, row.high),
        )
        for row in rows
    ]


def _figure(experiment: Experiment, looks: list[_Look], known: Mapping[str, Figure]) -> Figure:
    """The difference at each day's look, as a chart and as a table."""
    seen = [(look, look.interval) for look in looks if look.interval is not None]
    first = experiment.arms[0].name
    points = [
        Point(
            panel=f"{look.arm} against {first}",
            at=look.day,
            interval=interval,
            n=look.n_sessions,
            said=f"{look.day}: {in_words(experiment, interval)}, {look.n_sessions:,} sessions",
        )
        for look, interval in seen
    ]
    difference = experiment.plan.difference
    chart = OverTime(
        step="day",
        points=points,
        counted="sessions",
        number_format="+.0%" if experiment.is_rate else "+.2f",
        low=-difference,
        high=difference,
    )
    rows = [
        Row([str(look.day), look.arm, in_words(experiment, interval), f"{look.n_sessions:,}"])
        for look, interval in reversed(seen)
    ]
    columns = ["Day", "Arm", f"Difference from {first}", "Sessions"]
    title, sentence = "Each day's look", "The interval holds at all looks together."
    return with_chart(Figure(experiment.name, title, sentence, columns, rows, []), chart, known)
