"""What probes say of all traces by a node: rates that are not bent by who was probed.

Verdicts on drawn traces with their chances in, a rate of each node out. The one idea is that each
verdict counts for as many traces as its chance makes it stand for: 1 / chance (Horvitz and Thompson
1952), over the sum of those (Hajek 1971).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from flywheel.evolution.call_graph.runs import Run
from flywheel.records import Interval
from flywheel.statistics import corrected_rate
from flywheel.traces.steps import NodeKey

# With fewer sessions behind it, a rate's interval is that of nothing.
LEAST_SESSIONS = 5


@dataclass(slots=True)
class Probed:
    """Verdicts on probes that went by one node: sessions, weights (1 / chance) and failures."""

    sessions: list[str] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    failed: list[float] = field(default_factory=list)

    def rate(self) -> Interval | None:
        """The share of all runs by the node that the judge would call failed; None of too few."""
        if len(set(self.sessions)) < LEAST_SESSIONS:
            return None
        truth, n = np.array(self.failed), len(self.failed)
        sessions = np.unique(self.sessions, return_inverse=True)[1]
        # Nothing is known of the others but the chance that these had.
        found = corrected_rate(truth, np.zeros(n), np.array(self.weights), sessions)
        return found.interval


class ProbeTally:
    """Verdicts on probes by node; `verdicts` are (chance, failed) by trace id."""

    def __init__(self, verdicts: Mapping[str, tuple[float, bool]]):
        self._verdicts = verdicts
        self._nodes: dict[NodeKey, Probed] = {}

    def add(self, run: Run) -> None:
        """Count a run, where it was probed."""
        said = self._verdicts.get(run.trace_id)
        if said is None:
            return
        chance, failed = said
        for node in {step.node for step in run.steps}:
            probed = self._nodes.setdefault(node, Probed())
            probed.sessions.append(run.session)
            probed.weights.append(1 / chance)
            probed.failed.append(float(failed))

    def of(self, node: NodeKey) -> Probed:
        """What was probed of a node."""
        return self._nodes.get(node, Probed())
