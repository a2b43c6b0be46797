"""Which step of a failed run the error started at: steps ranked by risk, without asking a model.

Failed runs in, a probability for each of their steps out. The one idea is a choice among the steps
of one run (conditional logit, McFadden 1974): what is learnt from runs whose step somebody marked
is how a step at fault differs from the others of its run. Its signals are the past of the step's
node, its place, what came back from it, and how much of the last answer is first said in it.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flywheel.evolution.call_graph.runs import Run
from flywheel.traces.steps import NodeKey, Step

Floats = NDArray[np.float64]

SIGNALS = (
    *("node_past", "place", "is_first", "is_second", "relative_place", "relative_place_squared"),
    *("is_last", "is_tool", "is_new_node", "share_of_node", "is_node_of_end"),
    *("is_error", "next_is_error", "next_is_tool", "next_tool_errs"),
    *("has_code", "length", "new_words", "first_says_answer", "repeats_itself"),
)
# With fewer marked runs a fit says nothing, and the node's past stands alone.
LEAST_MARKED = 20
# Of the squares of the weights; 1, 5 and 20 differ by less than their intervals do.
PENALTY = 5.0
# Of the node's past, in steps.
_WORTH = 5.0
# Steps back that a step is compared with.
_WINDOW = 8
# An answer shorter than this, such as TERMINATE, says nothing of its own.
_LEAST_ANSWER = 30

_WORD = re.compile(r"[^\W_]{2,}|\d")
_ERROR = re.compile(
    r"\b(?:error|traceback|exception|failed|failure|cannot|could not|unable|not found|invalid"
    r"|timed? ?out|denied|exit ?code:? [1-9])",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Past:
    """How often marked runs were marked at each node, of how often they came by it."""

    marked: Counter[NodeKey]
    visited: Counter[NodeKey]

    def without(self, run: Run) -> "Past":
        """The same as if this marked run had not been seen."""
        marked, visited = Counter(self.marked), Counter(self.visited)
        visited.subtract([step.node for step in run.steps])
        if run.blamed is not None:
            marked[run.steps[run.blamed].node] -= 1
        return Past(marked, visited)

    def log_rate(self, node: NodeKey) -> float:
        """The logarithm of the shrunk rate at which a step of this node is the one at fault."""
        base = (self.marked.total() + 0.5) / (self.visited.total() + 1.0)
        rate = (self.marked[node] + base * _WORTH) / (self.visited[node] + _WORTH)
        return math.log(rate)


@dataclass(frozen=True, slots=True)
class Attributor:
    """What was learnt from marked runs; `weights` are by signal, None where they were too few."""

    past: Past
    weights: Floats | None
    centre: Floats
    scale: Floats
    n_marked: int

    def steps(self, run: Run) -> Floats:
        """The probability of each step of a run that the error started at it; shape (n_steps,)."""
        signals, places = signals_of(run, self.past), answerable(run)
        worth = signals[:, 0]
        if self.weights is not None:
            worth = ((signals - self.centre) / self.scale) @ self.weights
        found = np.zeros(len(run.steps))
        found[places] = _softmax(worth[places])
        return found

    def nodes(self, run: Run) -> dict[NodeKey, float]:
        """The same for the nodes of a run, the likeliest first."""
        sums: dict[NodeKey, float] = {}
        for step, probability in zip(run.steps, self.steps(run), strict=True):
            sums[step.node] = sums.get(step.node, 0.0) + float(probability)
        return dict(sorted(sums.items(), key=lambda pair: (-pair[1], pair[0])))


def fit_attributor(runs: Sequence[Run], signals: Sequence[str] = SIGNALS) -> Attributor:
    """Learn from the runs whose step at fault is marked (`blamed`); others are left out.

    Of the signals, those named are read. A run's own mark is left out of the node's past that it
    is fitted with, or the past would be believed too much.
    """
    marked = [run for run in runs if run.blamed is not None]
    past = Past(Counter(), Counter())
    for run in marked:
        past.visited.update(step.node for step in run.steps)
        past.marked[run.steps[run.blamed or 0].node] += 1
    n = len(SIGNALS)
    if len(marked) < LEAST_MARKED:
        return Attributor(past, None, np.zeros(n), np.ones(n), len(marked))
    given = [signals_of(run, past.without(run)) for run in marked]
    every = np.concatenate(given)
    centre, scale = every.mean(axis=0), every.std(axis=0) + 1e-9
    # A mark on what the user said is on the run, and on no step of it.
    among = [(x, answerable(run), run.blamed) for x, run in zip(given, marked, strict=True)]
    chosen = [(x, places, at) for x, places, at in among if at in places]
    kept = np.array([name in signals for name in SIGNALS])
    weights = np.zeros(n)
    weights[kept] = _fit(
        [((x - centre) / scale)[places][:, kept] for x, places, _ in chosen],
        [places.index(at) for _, places, at in chosen],
    )
    return Attributor(past, weights, centre, scale, len(marked))


def answerable(run: Run) -> list[int]:
    """Places of the steps that can be at fault: not what the user said, where there is more."""
    ours = [i for i, step in enumerate(run.steps) if step.node.kind != "input"]
    return ours or list(range(len(run.steps)))


def signals_of(run: Run, past: Past) -> Floats:
    """The signals of each step, of shape (n_steps, len(SIGNALS)), in the order of `SIGNALS`."""
    known = {node: past.log_rate(node) for node in {step.node for step in run.steps}}
    of_past = np.array([known[step.node] for step in run.steps])
    return np.column_stack([of_past, own_signals(run)])


def own_signals(run: Run) -> Floats:
    """The signals that are the run's own: all but the first of `SIGNALS`."""
    words = [{word.lower() for word in _WORD.findall(step.text)} for step in run.steps]
    asked = words[0] if run.steps[0].node.kind == "input" else set()
    long = (i for i in range(len(words) - 1, -1, -1) if len(run.steps[i].text) > _LEAST_ANSWER)
    answer = words[next(long, len(words) - 1)] - asked
    nodes = Counter(step.node for step in run.steps)
    known: set[str] = set(asked)
    seen: set[NodeKey] = set()
    rows = []
    for place, step in enumerate(run.steps):
        new = words[place] - known
        own = (
            *_of_place(place, len(run.steps)),
            *(step.node.kind == "tool", step.node not in seen),
            *(nodes[step.node] / len(run.steps), step.node == run.steps[-1].node),
            *_of_errors(run.steps, place),
            *("```" in step.text, math.log1p(len(step.text)) / 5),
            *(len(new) / max(1, len(words[place])), len(new & answer) / max(1, len(answer))),
            _likeness(run.steps, words, place),
        )
        rows.append([float(value) for value in own])
        known |= words[place]
        seen.add(step.node)
    return np.array(rows)


def _of_place(place: int, n: int) -> tuple[float, ...]:
    relative = place / n
    return math.log1p(place), place == 0, place == 1, relative, relative**2, place == n - 1


def _of_errors(steps: Sequence[Step], place: int) -> tuple[bool, ...]:
    """Whether the step says that it failed, and what comes next: an error, a tool, both."""
    after = steps[place + 1] if place + 1 < len(steps) else None
    is_error = steps[place].is_error or bool(_ERROR.search(steps[place].text))
    next_errs = after is not None and (after.is_error or bool(_ERROR.search(after.text[:2000])))
    next_is_tool = after is not None and after.node.kind == "tool"
    return is_error, next_errs, next_is_tool, next_errs and next_is_tool


def _likeness(steps: Sequence[Step], words: Sequence[set[str]], place: int) -> float:
    """The greatest share of words in common with what its own node said shortly before."""
    alike = (
        len(words[place] & words[i]) / max(1, len(words[place] | words[i]))
        for i in range(max(0, place - _WINDOW), place)
        if steps[i].node == steps[place].node
    )
    return max(alike, default=0.0)


def _fit(given: Sequence[Floats], at_fault: Sequence[int]) -> Floats:
    """The weights of the greatest penalised likelihood; the problem is convex."""
    from scipy.optimize import minimize

    every = np.concatenate(given)
    sizes = np.array([len(signals) for signals in given])
    starts = np.cumsum(sizes) - sizes
    chosen = every[starts + np.array(at_fault)]

    def loss(weights: Floats) -> tuple[float, Floats]:
        worth = every @ weights
        worth -= np.repeat(np.maximum.reduceat(worth, starts), sizes)
        powers = np.exp(worth)
        sums = np.add.reduceat(powers, starts)
        p = powers / np.repeat(sums, sizes)
        likelihood = worth[starts + np.array(at_fault)].sum() - np.log(sums).sum()
        slope = PENALTY * weights + p @ every - chosen.sum(axis=0)
        return float(PENALTY * (weights @ weights) / 2 - likelihood), slope

    found = minimize(loss, np.zeros(given[0].shape[1]), jac=True, method="L-BFGS-B")
    return np.asarray(found.x, np.float64)


def _softmax(values: Floats) -> Floats:
    powers = np.exp(values - values.max())
    return np.asarray(powers / powers.sum(), np.float64)
