"""Whose fault, and at which step: Who&When, without any model.

    FLYWHEEL_BENCH_DATA=... python -m tests.bench.bench_attribution

184 failures of systems of several agents, where people marked the agent and the step at fault. Ten
folds by question, so that no question is learnt from and asked about; the folds are drawn three
times, and figures are the means. The published figures are of models that were asked (2505.00212).
"""

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from flywheel.evolution.call_graph import attribution
from flywheel.evolution.call_graph.attribution import SIGNALS, fit_attributor
from flywheel.evolution.call_graph.runs import Run
from flywheel.statistics import cluster_bootstrap
from flywheel.traces.steps import Step, node_key
from tests.bench.machine import report, spent

FOLDS, DRAWS = 10, 3
# What says no more than where a step stands, and no more than whose it is.
PLACE_ONLY = (
    "place",
    "is_first",
    "is_second",
    "relative_place",
    "relative_place_squared",
    "is_last",
)
NODE_ONLY = ("node_past",)
_NAME = re.compile(r"\[([^\]\n]{1,60})\]\s*")


def run_of(line: dict[str, Any]) -> Run:
    """A failure as a run; an agent's name stands before what it says, with its role in brackets."""
    steps = []
    for position, message in enumerate(line["messages"][1:], 1):
        named = _NAME.match(message["content"])
        name = named[1].split(" (")[0].lower() if named else message["role"]
        kind = "tool" if message["role"] == "tool" else "agent"
        text = message["content"][named.end() if named else 0 :]
        steps.append(Step(node_key(kind, name), text=text[:4000], position=position))
    question = line["messages"][0]["content"]
    at_fault = int(line["label"]["raw"]["mistake_step"])
    return Run(line["app"], line["trace_id"], question, tuple(steps), True, "label", at_fault)


def hits(runs: Sequence[Run], names: Sequence[str], seed: int) -> np.ndarray:
    """Whether the agent and the step are found, of shape (n_runs, 2), each run held out once."""
    questions = sorted({run.session for run in runs})
    drawn = np.random.default_rng(seed).permutation(len(questions)) % FOLDS
    fold = dict(zip(questions, drawn, strict=True))
    found = np.zeros((len(runs), 2))
    for k in range(FOLDS):
        train = [run for run in runs if fold[run.session] != k]
        fitted = fit_attributor(train, names)
        for i, run in enumerate(runs):
            if fold[run.session] == k:
                place = int(fitted.steps(run).argmax())
                agent = next(iter(fitted.nodes(run)))
                found[i] = agent == marked(run).node, place == run.blamed
    return found


def marked(run: Run) -> Step:
    return run.steps[run.blamed or 0]


def of_rule(runs: Sequence[Run], rule: Callable[[Run], int]) -> np.ndarray:
    """Agent and step of a rule that names a step."""
    return np.array(
        [
            [run.steps[at].node == marked(run).node, at == run.blamed]
            for run in runs
            for at in [rule(run)]
        ],
        float,
    )


def busiest(run: Run) -> int:
    """The first step of the agent with the most steps."""
    most = Counter(step.node for step in run.steps).most_common(1)[0][0]
    return next(i for i, step in enumerate(run.steps) if step.node == most)


def at_random(runs: Sequence[Run]) -> np.ndarray:
    """The chance of an agent drawn from those of the run, and of a step drawn from its steps."""
    agents = [len({step.node for step in run.steps}) for run in runs]
    return np.array([[1 / n, 1 / len(run.steps)] for n, run in zip(agents, runs, strict=True)])


def said(found: np.ndarray, runs: Sequence[Run]) -> dict[str, list[float]]:
    """Accuracy of agent and step with 95 % intervals, questions drawn again; all, and by part."""
    figures = {}
    parts = {"all": "", "algorithm_generated": "algorithm", "hand_crafted": "hand"}
    for part, word in parts.items():
        chosen = np.array([word in run.app for run in runs])
        groups = [run.session for run, is_in in zip(runs, chosen, strict=True) if is_in]
        for column, what in enumerate(("agent", "step")):
            values = found[chosen][:, column]
            interval = cluster_bootstrap(lambda rows, v=values: float(v[rows].mean()), groups)
            three = (interval.estimate, interval.low, interval.high)
            figures[f"{what}_{part}"] = [round(float(x), 3) for x in three]
    return figures


def main() -> None:
    """Print one line."""
    path = Path(os.environ["FLYWHEEL_BENCH_DATA"]) / "traces" / "who_and_when.jsonl"
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    runs = [run_of(line) for line in lines]
    agrees = [
        marked(run).node.name == line["label"]["raw"]["mistake_agent"].lower()
        for run, line in zip(runs, lines, strict=True)
    ]
    # The same in every fold.
    attribution.own_signals = cache(attribution.own_signals)
    with spent() as cost:
        rankings = {
            name: said(np.mean([hits(runs, names, seed) for seed in range(DRAWS)], axis=0), runs)
            for name, names in (
                ("risk_ranking", SIGNALS),
                ("place_alone", PLACE_ONLY),
                ("node_past_alone", NODE_ONLY),
            )
        }
    rules = {
        "last_agent": of_rule(runs, lambda run: len(run.steps) - 1),
        "most_frequent_agent": of_rule(runs, busiest),
        "first_step": of_rule(runs, lambda run: 0),
        "second_step": of_rule(runs, lambda run: min(1, len(run.steps) - 1)),
        "random": at_random(runs),
    }
    report(
        "attribution",
        n=len(runs),
        questions=len({run.session for run in runs}),
        marked_step_is_of_the_marked_agent=sum(agrees),
        **rankings,
        **{name: said(found, runs) for name, found in rules.items()},
        published_models={"agent": 0.535, "step": 0.142},
        cpu_s=cost.cpu_s,
    )


if __name__ == "__main__":
    main()
