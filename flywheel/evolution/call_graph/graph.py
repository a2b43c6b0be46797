"""The graph of calls of one application: what was counted, as estimates that a page can show.

Runs in, a `CallGraph` out. The one idea is that every share has its interval, by session, and that
what was left out is counted.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from statistics import median
from types import MappingProxyType

from flywheel.evolution.call_graph.attribution import Attributor
from flywheel.evolution.call_graph.probed import Probed, ProbeTally
from flywheel.evolution.call_graph.risk import Prior, Risk, by_session, prior_of, risk_of
from flywheel.evolution.call_graph.runs import Run
from flywheel.evolution.call_graph.tally import NodeTally, Relation, Shares, Tally
from flywheel.evolution.call_graph.walks import Walk, WalkTally
from flywheel.records import Interval
from flywheel.traces.steps import NodeKey

# What is shown of an application; more is no picture.
MOST_NODES, MOST_EDGES, MOST_WALKS, MOST_LOOPS = 60, 200, 12, 12


@dataclass(frozen=True, slots=True)
class GraphNode:
    """A node with what was measured of it; shares are None where nothing is known.

    `errors` is the share of runs through it at which it is at fault, shrunk (see `risk`), and
    `failed` that of runs through it which a label or a verdict says failed. `n_origins` errors
    started at it, of which `n_carried` reached the top or a failed run. `probed` is the share
    of all runs through it that the judge would call failed, from `n_probed` of known chances.
    """

    id: str
    kind: str
    name: str
    n_calls: int
    n_runs: int
    n_sessions: int
    n_errors: int
    n_origins: int
    n_carried: int
    n_retries: int
    n_retried_well: int
    n_dead_ends: int
    median_ms: float | None
    failed: Interval | None
    risk: Risk | None
    n_probed: int = 0
    probed: Interval | None = None


@dataclass(frozen=True, slots=True)
class GraphEdge:
    """From one node to another, how often, and the share of errors that it passes on.

    Of `calls`, errors rise from the target to the source; of `then`, they go on from the source to
    the target. `passed` is None where there was no error to be passed on.
    """

    source: str
    target: str
    relation: Relation
    n_calls: int
    n_runs: int
    n_errors: int
    passed: Interval | None


@dataclass(frozen=True, slots=True)
class Loop:
    """Nodes that runs went round at least three times."""

    nodes: list[str]
    n_runs: int
    most_rounds: int


@dataclass(frozen=True, slots=True)
class NeverCalled:
    """A tool that models were told of in `n_runs` runs, and that none of them called."""

    name: str
    n_runs: int


@dataclass(frozen=True, slots=True)
class CallGraph:
    """One application's graph; nodes by risk, the riskiest first, then those without one.

    `n_traces` were read, `n_runs` of them have a step; `told` counts runs by who said whether they
    failed. `n_nodes_left_out` and `n_edges_left_out` were too rare to be shown. `n_marked` labels
    taught where errors start; 0 where they were too few.
    """

    app: str
    first_day: date
    last_day: date
    n_traces: int
    n_runs: int
    n_steps: int
    n_failed: int
    told: dict[str, int]
    nodes: list[GraphNode]
    edges: list[GraphEdge]
    loops: list[Loop]
    walks: list[Walk]
    never_called: list[NeverCalled]
    n_nodes_left_out: int = 0
    n_edges_left_out: int = 0
    n_marked: int = 0
    prior: Prior = field(default_factory=lambda: Prior(0.5, 2.0))

    def node(self, node_id: str) -> GraphNode | None:
        """The node of this id, where it is shown."""
        return next((node for node in self.nodes if node.id == node_id), None)

    @property
    def riskiest(self) -> list[GraphNode]:
        """The nodes with a risk, the riskiest first."""
        return [node for node in self.nodes if node.risk is not None]


def graph_of(
    app: str,
    runs: Iterable[Run],
    first_day: date,
    last_day: date,
    attributor: Attributor | None = None,
    probes: Mapping[str, tuple[float, bool]] = MappingProxyType({}),
) -> CallGraph:
    """The graph that these runs of one application make.

    Runs that failed at no known step are laid to their nodes as `attributor` ranks them, where it
    has learnt enough, else in equal parts. `probes` are those of `ProbeTally`.
    """
    knows = attributor is not None and attributor.weights is not None
    tally = Tally(attributor.nodes if attributor is not None and knows else None)
    walks, probed, n_traces = WalkTally(), ProbeTally(probes), 0
    for run in runs:
        tally.add(run)
        walks.add(run)
        probed.add(run)
        n_traces += 1
    answerable = {k: n for k, n in tally.nodes.items() if k.kind != "input"}
    prior = prior_of([node.faults for node in answerable.values()])
    shown = sorted(tally.nodes, key=lambda key: (-tally.nodes[key].n_runs, key))[:MOST_NODES]
    nodes = [_node(key, tally.nodes[key], prior, probed.of(key)) for key in shown]
    nodes.sort(key=lambda node: (-(node.risk.value if node.risk else -1.0), node.id))
    edges = _edges(tally, set(shown))
    called = {key.name for key in tally.nodes if key.kind in ("tool", "retriever")}
    return CallGraph(
        *(app, first_day, last_day, n_traces, tally.n_runs, tally.n_steps, tally.n_failed),
        told=dict(tally.n_told),
        nodes=nodes,
        edges=edges[:MOST_EDGES],
        loops=_loops(tally),
        walks=walks.commonest(MOST_WALKS),
        never_called=[
            NeverCalled(name, n)
            for name, n in sorted(tally.declared.items(), key=lambda pair: (-pair[1], pair[0]))
            if name not in called
        ][:MOST_NODES],
        n_nodes_left_out=len(tally.nodes) - len(shown),
        n_edges_left_out=len(tally.edges) - len(edges[:MOST_EDGES]),
        n_marked=attributor.n_marked if attributor is not None and knows else 0,
        prior=prior,
    )


def _node(key: NodeKey, node: NodeTally, prior: Prior, probed: Probed) -> GraphNode:
    risk = None if key.kind == "input" else risk_of(node.faults, node.n_later, node.n_runs, prior)
    counts = (node.n_calls, node.n_runs, len(node.faults.by_session), node.n_errors)
    return GraphNode(
        *(key.id, key.kind, key.name, *counts, node.n_origins, node.n_carried),
        *(node.n_retries, node.n_retried_well, node.n_dead_ends),
        median_ms=median(node.ms) if node.ms else None,
        failed=_known(node.outcomes),
        risk=risk,
        n_probed=len(probed.failed),
        probed=probed.rate(),
    )


def _edges(tally: Tally, shown: set[NodeKey]) -> list[GraphEdge]:
    """Edges between nodes that are shown, the commonest first."""
    edges = [
        GraphEdge(
            *(source.id, target.id, relation, edge.n_calls, edge.n_runs),
            int(sum(n for n, _ in edge.passed.by_session.values())),
            _known(edge.passed),
        )
        for (source, target, relation), edge in tally.edges.items()
        if source in shown and target in shown
    ]
    return sorted(edges, key=lambda e: (-e.n_runs, -e.n_calls, e.source, e.target, e.relation))


def _loops(tally: Tally) -> list[Loop]:
    found = [
        Loop([node.id for node in cycle], loop.n_runs, loop.most_rounds)
        for cycle, loop in tally.loops.items()
    ]
    return sorted(found, key=lambda one: (-one.n_runs, one.nodes))[:MOST_LOOPS]


def _known(shares: Shares) -> Interval | None:
    return by_session(shares) if shares.by_session else None
