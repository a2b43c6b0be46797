"""Runs counted: nodes, edges, loops, dead ends and retries, in one pass.

Runs in, a `Tally` out. The one idea is that an error is counted where it starts: a step under which
another failed passes on an error that is not its own.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

from flywheel.evolution.call_graph.runs import Run
from flywheel.traces.steps import NodeKey, Step, origins_of

Relation = Literal["calls", "then"]
EdgeKey = tuple[NodeKey, NodeKey, Relation]
# How far each node of a failed run is at fault; sums to one.
Attribute = Callable[[Run], Mapping[NodeKey, float]]

# Different nodes that are told apart; names beyond them are one node of their kind.
MOST_NODES = 2_000
OTHER = "all others"
# A loop is steps of at most so many kinds in turn, at least so often.
LONGEST_PERIOD = 4
LEAST_ROUNDS = 3


@dataclass(slots=True)
class Shares:
    """What adds up to a share with an interval by session: session -> [rows, yes]."""

    by_session: dict[str, list[float]] = field(default_factory=dict)

    def add(self, session: str, yes: float) -> None:
        """One row of a session."""
        sums = self.by_session.setdefault(session, [0.0, 0.0])
        sums[0] += 1
        sums[1] += yes


@dataclass(slots=True)
class NodeTally:
    """What is counted of a node; `faults` and `outcomes` have one row a run that visits it.

    `n_origins` are errors that started at it, `n_carried` those of them that were passed on to the
    top or whose run failed. `n_later` is the sum over runs of the nodes that come after it or stand
    above it.
    """

    n_calls: int = 0
    n_runs: int = 0
    n_errors: int = 0
    n_origins: int = 0
    n_carried: int = 0
    n_retries: int = 0
    n_retried_well: int = 0
    n_dead_ends: int = 0
    n_later: int = 0
    faults: Shares = field(default_factory=Shares)
    outcomes: Shares = field(default_factory=Shares)
    ms: list[float] = field(default_factory=list)


@dataclass(slots=True)
class EdgeTally:
    """What is counted of an edge; `passed` has one row an error at its start (see `Tally`)."""

    n_calls: int = 0
    n_runs: int = 0
    passed: Shares = field(default_factory=Shares)


@dataclass(slots=True)
class LoopTally:
    """Of one cycle of nodes: the runs that go round it, and the most rounds in one of them."""

    n_runs: int = 0
    most_rounds: int = 0


@dataclass(slots=True)
class Tally:
    """All counts of some runs.

    An edge `calls` leads from a step to one below it, `then` to the next step under the same one.
    An error at the lower end of `calls` is passed on where the upper end has one too, and one at
    the start of `then` where the next step has one.
    """

    attribute: Attribute | None = None
    n_runs: int = 0
    n_steps: int = 0
    n_failed: int = 0
    n_told: Counter[str] = field(default_factory=Counter)
    nodes: dict[NodeKey, NodeTally] = field(default_factory=lambda: defaultdict(NodeTally))
    edges: dict[EdgeKey, EdgeTally] = field(default_factory=lambda: defaultdict(EdgeTally))
    loops: dict[tuple[NodeKey, ...], LoopTally] = field(
        default_factory=lambda: defaultdict(LoopTally)
    )
    declared: Counter[str] = field(default_factory=Counter)

    def add(self, run: Run) -> None:
        """Count one run."""
        if not run.steps:
            return
        nodes = [self._known(step.node) for step in run.steps]
        self.n_runs += 1
        self.n_steps += len(nodes)
        self.n_failed += bool(run.failed)
        self.n_told[run.told_by or "nobody"] += 1
        self.declared.update(run.declared)
        self._add_nodes(run, nodes)
        self._add_errors(run, nodes)
        self._add_edges(run, nodes)
        for cycle, rounds in rounds_of(nodes).items():
            loop = self.loops[cycle]
            loop.n_runs += 1
            loop.most_rounds = max(loop.most_rounds, rounds)

    def _known(self, node: NodeKey) -> NodeKey:
        """The node, or the one of all others of its kind; it has a row from here on."""
        known = node
        if node not in self.nodes and len(self.nodes) >= MOST_NODES:
            known = NodeKey(node.kind, OTHER)
        self.nodes[known] = self.nodes[known]
        return known

    def _add_nodes(self, run: Run, nodes: Sequence[NodeKey]) -> None:
        for step, node in zip(run.steps, nodes, strict=True):
            tally = self.nodes[node]
            tally.n_calls += 1
            tally.n_errors += step.is_error
            if step.ms is not None:
                tally.ms.append(step.ms)
        at_fault = faults_of(run, nodes, self.attribute)
        later = _later(run.steps, nodes)
        for node in set(nodes):
            tally = self.nodes[node]
            tally.n_runs += 1
            tally.n_later += later[node]
            tally.faults.add(run.session, at_fault.get(node, 0.0))
            if run.failed is not None:
                tally.outcomes.add(run.session, float(run.failed))
        self.nodes[nodes[-1]].n_dead_ends += _ends_dead(run.steps)

    def _add_errors(self, run: Run, nodes: Sequence[NodeKey]) -> None:
        for place in origins_of(run.steps):
            tally = self.nodes[nodes[place]]
            tally.n_origins += 1
            above = run.steps[place].parent
            while above is not None and run.steps[above].is_error:
                place, above = above, run.steps[above].parent
            tally.n_carried += bool(run.failed) or above is None
        for place, step in enumerate(run.steps):
            again = _next_of_kind(run.steps, place) if step.is_error else None
            if again is not None and nodes[again] == nodes[place]:
                self.nodes[nodes[place]].n_retries += 1
                self.nodes[nodes[place]].n_retried_well += not run.steps[again].is_error

    def _add_edges(self, run: Run, nodes: Sequence[NodeKey]) -> None:
        seen: set[EdgeKey] = set()

        def count(key: EdgeKey, is_error: bool, is_passed: bool) -> None:
            edge = self.edges[key]
            edge.n_calls += 1
            edge.n_runs += key not in seen
            seen.add(key)
            if is_error:
                edge.passed.add(run.session, float(is_passed))

        for place, step in enumerate(run.steps):
            if step.parent is not None:
                above = run.steps[step.parent]
                key: EdgeKey = (nodes[step.parent], nodes[place], "calls")
                count(key, step.is_error, above.is_error)
        for siblings in _siblings(run.steps):
            for first, second in pairwise(siblings):
                key = (nodes[first], nodes[second], "then")
                count(key, run.steps[first].is_error, run.steps[second].is_error)


def tally_of(runs: Iterable[Run]) -> Tally:
    """All of these runs, counted."""
    tally = Tally()
    for run in runs:
        tally.add(run)
    return tally


def faults_of(
    run: Run, nodes: Sequence[NodeKey], attribute: Attribute | None = None
) -> Mapping[NodeKey, float]:
    """What of the run's failing each node answers for, in [0, 1].

    1 where an error starts, and where a label or a verdict sees one. A run that failed where nobody
    said at which step counts to its nodes as `attribute` says, or in equal parts.
    """
    faults = dict.fromkeys((nodes[place] for place in origins_of(run.steps)), 1.0)
    if run.failed and run.blamed is not None:
        faults[nodes[run.blamed]] = 1.0
    elif run.failed and not faults and attribute is not None:
        return attribute(run)
    elif run.failed and not faults:
        answerable = {node for node in nodes if node.kind != "input"}
        faults = dict.fromkeys(answerable, 1.0 / max(1, len(answerable)))
    return faults


def rounds_of(nodes: Sequence[NodeKey]) -> dict[tuple[NodeKey, ...], int]:
    """The cycles that a sequence goes round three times or more, with the most rounds of each.

    A cycle of a shorter one is that, and it begins with the least of its nodes. One with a turn of
    the user is a conversation, and no loop.
    """
    found: dict[tuple[NodeKey, ...], int] = {}
    for period in range(1, LONGEST_PERIOD + 1):
        length = 0
        for place in range(period, len(nodes) + 1):
            if place < len(nodes) and nodes[place] == nodes[place - period]:
                length += 1
                continue
            rounds = (length + period) // period
            cycle = tuple(nodes[place - length - period : place - length])
            is_loop = rounds >= LEAST_ROUNDS and _is_prime(cycle)
            if is_loop and all(node.kind != "input" for node in cycle):
                key = min(cycle[i:] + cycle[:i] for i in range(period))
                found[key] = max(found.get(key, 0), rounds)
            length = 0
    return found


def _next_of_kind(steps: Sequence[Step], place: int) -> int | None:
    kind = steps[place].node.kind
    return next((i for i in range(place + 1, len(steps)) if steps[i].node.kind == kind), None)


def _is_prime(cycle: tuple[NodeKey, ...]) -> bool:
    """Whether it is not itself a shorter cycle gone round twice or more."""
    n = len(cycle)
    return not any(n % p == 0 and cycle == cycle[:p] * (n // p) for p in range(1, n))


def _siblings(steps: Sequence[Step]) -> list[list[int]]:
    """Places of the steps under the same one, in order; those under none are together."""
    found: dict[int | None, list[int]] = defaultdict(list)
    for place, step in enumerate(steps):
        found[step.parent].append(place)
    return list(found.values())


def _later(steps: Sequence[Step], nodes: Sequence[NodeKey]) -> dict[NodeKey, int]:
    """For each node, the other nodes of the run that come after its first step, or stand above."""
    after: set[NodeKey] = set()
    later: dict[NodeKey, set[NodeKey]] = {}
    first = {node: place for place, node in reversed(list(enumerate(nodes)))}
    for place in range(len(steps) - 1, -1, -1):
        node = nodes[place]
        if first[node] == place:
            later[node] = after - {node}
            above = steps[place].parent
            while above is not None:
                later[node].add(nodes[above])
                above = steps[above].parent
        after.add(node)
    return {node: len(others - {node}) for node, others in later.items()}


def _ends_dead(steps: Sequence[Step]) -> bool:
    """Whether nothing answers after the last step: an error or a result is the last that happens.

    What ended below a model, an agent or a chain that ended well goes on there.
    """
    at = len(steps) - 1
    if not steps[at].is_error and steps[at].node.kind not in ("tool", "retriever", "embedding"):
        return False
    while (above := steps[at].parent) is not None:
        at = above
    return steps[at].is_error or steps[at].node.kind not in ("llm", "agent", "chain")
