"""Where the error of one trace starts: its steps by how likely each is the one at fault.

A run and what marked runs taught in, its likeliest steps out, with how that is known. The one idea
is the order of what to believe: a person or a verdict that names a step, then a step that failed
by itself, then what the marks of other traces say of steps like these.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from heapq import nsmallest
from itertools import islice
from typing import Literal, cast

from flywheel.errors import NotEnough, NotFound
from flywheel.evolution.call_graph.attribution import (
    LEAST_MARKED,
    Attributor,
    answerable,
    fit_attributor,
)
from flywheel.evolution.call_graph.runs import Run, read_runs
from flywheel.settings.evolving import EvolutionSettings
from flywheel.store import Stores
from flywheel.traces.steps import origins_of

# Marked traces that are learnt from at once.
MOST_MARKED = 2_000
# Steps of a trace that are named, and traces of an application that the page shows.
MOST_SUSPECTS, MOST_TRACES = 5, 12

How = Literal["marked", "failed step", "learnt", "past", "unknown"]

_BASIS: dict[How, str] = {
    "marked": "it names the step",
    "failed step": "the step failed by itself, and none below it did",
    "learnt": "nobody names the step; ranked by what {n:,} labels of other traces taught",
    "past": "nobody names the step; ranked by how often its node was at fault in {n:,} labelled "
    "traces, and from {least} on the place and the words of a step count as well",
    "unknown": "nobody names a step in any trace, so that all steps are alike; evidence_turn of a "
    "decision does, and {least} of them teach a ranking",
}


@dataclass(frozen=True, slots=True)
class Suspect:
    """A step, counted from 0, and the probability that the error starts at it.

    `message` is the position of its message, where it is one.
    """

    step: int
    node: str
    message: int | None
    probability: float


@dataclass(frozen=True, slots=True)
class Origin:
    """The likeliest steps of one trace, the likeliest first, and how that is known.

    `failed` is what is said of the whole trace, by `told_by`; `n_marked` labels of the application
    name a step.
    """

    trace_id: str
    app: str
    failed: bool | None
    told_by: Literal["label", "verdict"] | None
    how: How
    n_steps: int
    n_marked: int
    suspects: tuple[Suspect, ...]

    @property
    def basis(self) -> str:
        """What the ranking rests on."""
        return _BASIS[self.how].format(n=self.n_marked, least=LEAST_MARKED)

    @property
    def sentence(self) -> str:
        """Whether the trace failed, and what the ranking rests on."""
        if self.failed is None:
            told = "nobody has said whether it failed"
        else:
            seen = "an error" if self.failed else "no error, and if there is one"
            told = f"a {self.told_by} sees {seen}"
        return f"{told}; {self.basis}"


def origin_of(run: Run, attributor: Attributor) -> Origin:
    """The likeliest steps of a run; several that failed by themselves share alike.

    Raises NotEnough where it has no step.
    """
    if not run.steps:
        raise NotEnough(f"steps in the trace {run.trace_id}", 0, 1)
    chances, how = _chances(run, attributor)
    ranked = sorted(range(len(run.steps)), key=lambda at: (-chances[at], at))
    suspects = tuple(
        Suspect(at, run.steps[at].node.id, run.steps[at].position, chances[at])
        for at in ranked[:MOST_SUSPECTS]
        if chances[at] > 0
    )
    told = run.failed, run.told_by
    counts = len(run.steps), attributor.n_marked
    return Origin(run.trace_id, run.app, *told, how, *counts, suspects)


def find_origin(stores: Stores, settings: EvolutionSettings, trace_id: str) -> Origin:
    """The likeliest steps of a trace as it is now, by the labels of its application.

    Learns from the days of the graph, whenever the trace is of. Raises NotFound and NotEnough where
    there is no such trace, or no step in it.
    """
    with stores.warehouse.read() as connection:
        places = connection.rows("evolution/trace_place", trace_id=trace_id)
        apps = connection.rows("evolution/graph_apps", days=settings.graph_days)
    if not places:
        raise NotFound("trace", trace_id, None)
    app, day = str(places[0][0]), cast("date", places[0][1])
    last = cast("date", apps[0][1])
    own = (one for one in read_runs(stores, day, day, 2**31, app) if one.trace_id == trace_id)
    run = next(own)
    first = last - timedelta(days=settings.graph_days - 1)
    asked = (stores, first, last, settings.graph_traces, app)
    others = (one for one in read_runs(*asked, only_marked=True) if one.trace_id != trace_id)
    return origin_of(run, fit_attributor(list(islice(others, MOST_MARKED))))


class OriginTally:
    """Failed runs on their way to a graph, and where those of them that are surest began."""

    def __init__(self, attributor: Attributor) -> None:
        self._attributor = attributor
        self._found: list[Origin] = []

    def watch(self, runs: Iterable[Run]) -> Iterator[Run]:
        """The same runs."""
        for run in runs:
            if run.failed and run.steps:
                self._found.append(origin_of(run, self._attributor))
                if len(self._found) >= 10 * MOST_TRACES:
                    self._found = self.surest()
            yield run

    def surest(self) -> list[Origin]:
        """Those at which nobody named a step and one stands out, the surest first; then others."""
        known = (one for one in self._found if one.how != "unknown" and one.n_steps > 1)
        return nsmallest(
            MOST_TRACES,
            known,
            key=lambda one: (one.how == "marked", -one.suspects[0].probability, one.trace_id),
        )


def _chances(run: Run, attributor: Attributor) -> tuple[list[float], How]:
    """The probability of each step, and what it rests on."""
    failing = origins_of(run.steps)
    if run.failed and run.blamed is not None:
        return [float(at == run.blamed) for at in range(len(run.steps))], "marked"
    if failing:
        return [(at in failing) / len(failing) for at in range(len(run.steps))], "failed step"
    if attributor.n_marked:
        how: How = "past" if attributor.weights is None else "learnt"
        return [float(x) for x in attributor.steps(run)], how
    alike = answerable(run)
    return [(at in alike) / len(alike) for at in range(len(run.steps))], "unknown"
