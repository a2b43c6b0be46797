"""Walks: from the first step of a run down to a last one, and how errors grow along the way.

Runs in, the commonest walks out, each with a curve. The one idea is that a walk is right up to a
step where none of its steps so far ended in an error, so that the step at which the curve falls is
the one to look at.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from flywheel.evolution.call_graph.risk import by_session
from flywheel.evolution.call_graph.runs import Run
from flywheel.evolution.call_graph.tally import Shares
from flywheel.records import Interval
from flywheel.traces.steps import NodeKey, origins_of

# Different walks that are counted; the runs that come first decide which.
_MOST_WALKS = 5_000
# Steps of a walk that are told apart.
_DEEPEST = 12

Path = tuple[NodeKey, ...]


@dataclass(frozen=True, slots=True)
class WalkStep:
    """One step of a walk: `right` is the share that is without an error up to here.

    `started` is the share of walks in which an error starts at this very step.
    """

    node: str
    right: Interval
    started: Interval


@dataclass(frozen=True, slots=True)
class Walk:
    """A way through the graph, how often it was gone, and how errors grow along it."""

    steps: list[WalkStep]
    n_walks: int
    n_runs: int


class WalkTally:
    """Counts of walks; `add` a run at a time."""

    def __init__(self) -> None:
        self._runs: dict[Path, int] = defaultdict(int)
        self._right: dict[Path, list[Shares]] = {}
        self._started: dict[Path, list[Shares]] = {}

    def add(self, run: Run) -> None:
        """Count the walks of a run."""
        origins, seen = set(origins_of(run.steps)), set()
        if run.failed and run.blamed is not None:
            origins.add(run.blamed)
        for places in walks_of(run):
            path = tuple(run.steps[place].node for place in places)
            if path not in self._right:
                if len(self._right) >= _MOST_WALKS:
                    continue
                self._right[path] = [Shares() for _ in path]
                self._started[path] = [Shares() for _ in path]
            self._runs[path] += path not in seen
            seen.add(path)
            # A parent fails because of what is below it, which the walk comes to later.
            bad = [place in origins for place in places]
            for depth in range(len(places)):
                self._right[path][depth].add(run.session, float(not any(bad[: depth + 1])))
                self._started[path][depth].add(run.session, float(bad[depth]))

    def commonest(self, most: int) -> list[Walk]:
        """The walks that were gone by the most runs, those first."""
        paths = sorted(self._right, key=lambda path: (-self._runs[path], path))[:most]
        return [
            Walk(
                [
                    WalkStep(node.id, by_session(right), by_session(started))
                    for node, right, started in zip(
                        path, self._right[path], self._started[path], strict=True
                    )
                ],
                int(sum(n for n, _ in self._right[path][0].by_session.values())),
                self._runs[path],
            )
            for path in paths
        ]


def walks_of(run: Run) -> Iterable[list[int]]:
    """Places of each walk of a run, from a step under none to a step with none below it."""
    has_below = {step.parent for step in run.steps}
    for place in range(len(run.steps)):
        if place in has_below:
            continue
        walk = [place]
        while (above := run.steps[walk[-1]].parent) is not None:
            walk.append(above)
        yield walk[::-1][:_DEEPEST]
