"""Which traces the judge is to read because of the nodes that they went by.

Risks in, chances and a draw out. The one idea is that a trace by a risky node is read more often,
by a chance that is known, and that no trace's is 0, so that `probed` can undo the preference.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from flywheel.evolution.call_graph.graph import CallGraph
from flywheel.evolution.call_graph.runs import Run
from flywheel.records import unit_hash
from flywheel.statistics import Floats


@dataclass(frozen=True, slots=True)
class Probe:
    """A run with its chance of being read; `risk` is that of its nodes, `node` the riskiest."""

    run: Run
    chance: float
    risk: float
    node: str

    @property
    def is_drawn(self) -> bool:
        """Settled by a hash of the trace's id, so that a higher chance only adds to the drawn."""
        return unit_hash(self.run.trace_id, "probe") < self.chance


def allocate(
    runs: Sequence[Run], graphs: Mapping[str, CallGraph], most: int, floor: float
) -> list[Probe]:
    """The chance of each run, so that `most` are expected to be drawn; all where they are fewer.

    The share `floor` of the budget is spread over all runs alike, the rest by their risk. Runs of
    an application without a graph have none.
    """
    risks, nodes = [], []
    for run in runs:
        graph = graphs.get(run.app)
        known = {node.id: node.risk.value for node in graph.riskiest if node.risk} if graph else {}
        by_node = {key.id: known.get(key.id, 0.0) for key in {step.node for step in run.steps}}
        risks.append(sum(by_node.values()))
        nodes.append(max(sorted(by_node), key=lambda name: by_node[name], default=""))
    chances = chances_of(np.array(risks), most, floor)
    given = zip(runs, chances, risks, nodes, strict=True)
    return [Probe(run, float(chance), risk, node) for run, chance, risk, node in given]


def chances_of(risks: Floats, most: int, floor: float) -> Floats:
    """Chances in (0, 1] that add up to `most`, of shape (n_runs,); 1 where that is enough for all.

    What a chance of 1 leaves over goes to the others, in the same proportions.
    """
    n = len(risks)
    if n <= most:
        return np.ones(n)
    total = float(risks.sum())
    wanted = floor / n + (1 - floor) * (risks / total if total > 0 else np.full(n, 1 / n))
    chances, is_sure = np.zeros(n), np.zeros(n, bool)
    while True:
        left = most - int(is_sure.sum())
        chances = np.where(is_sure, 1.0, wanted * left / wanted[~is_sure].sum())
        if not (chances > 1.0).any():
            return chances
        is_sure |= chances >= 1.0
