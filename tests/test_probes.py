"""Probes: the judge's budget by the risk of nodes, with chances that estimates can undo."""

from dataclasses import replace

import numpy as np
import pytest

from flywheel.evolution.call_graph import probing
from flywheel.evolution.call_graph.graph import CallGraph, graph_of
from flywheel.evolution.call_graph.probed import Probed, ProbeTally
from flywheel.evolution.call_graph.probes import allocate, chances_of
from flywheel.evolution.call_graph.probing import NO_GRAPH, NO_JUDGE, NO_PROBES, probe_day
from flywheel.evolution.call_graph.publishing import make_graphs
from flywheel.evolution.call_graph.runs import Run
from flywheel.judge.prompted import PromptedJudge
from flywheel.judge.rubric import load_rubric
from flywheel.records import PartitionReport
from flywheel.store import Project
from flywheel.traces.steps import NodeKey, Step
from tests.chat_double import ChatDouble, last_text
from tests.judged import DAY, add_scores, add_traces

SAFE, RISKY = NodeKey("tool", "search"), NodeKey("tool", "pay")


def run(number: int, node: NodeKey, is_error: bool = False) -> Run:
    name = f"t{number}"
    return Run("shop", name, name, (Step(node, is_error=is_error),), is_eligible=True)


def past() -> CallGraph:
    runs = [run(i, RISKY, i % 2 == 0) for i in range(40)] + [run(i, SAFE) for i in range(40, 80)]
    return graph_of("shop", runs, DAY, DAY)


def test_chances_add_up_to_the_budget_and_none_is_nothing() -> None:
    chances = chances_of(np.array([0.0, 0.0, 1.0, 3.0, 96.0]), 3, 0.3)
    assert chances.sum() == pytest.approx(3)
    assert (chances > 0).all()
    assert (chances <= 1).all()
    assert chances[4] == 1  # what it cannot use goes to the others
    assert chances[3] > chances[2] > chances[0]


def test_all_are_read_where_the_budget_is_enough() -> None:
    assert chances_of(np.array([0.0, 5.0]), 2, 0.3).tolist() == [1, 1]
    assert chances_of(np.zeros(4), 2, 0.3).tolist() == [0.5] * 4


def test_traces_by_risky_nodes_are_probed_more() -> None:
    runs = [run(i, RISKY if i < 100 else SAFE) for i in range(1_000)]
    probes = allocate(runs, {"shop": past()}, 100, 0.3)
    risky, safe = probes[0], probes[-1]
    assert risky.chance > 3 * safe.chance
    # The floor: 30 of the 100 probes over 1,000 traces.
    assert safe.chance >= 0.03
    assert risky.node == "tool:pay"
    assert 60 < sum(probe.is_drawn for probe in probes) < 140


def test_a_larger_budget_adds_to_what_a_smaller_one_draws() -> None:
    runs = [run(i, RISKY if i % 3 else SAFE) for i in range(300)]
    few, many = (
        {p.run.trace_id for p in allocate(runs, {"shop": past()}, most, 0.3) if p.is_drawn}
        for most in (30, 90)
    )
    assert few < many


def test_rates_from_probes_are_those_of_all_traces() -> None:
    # Half of the traces go by both nodes; one in two of those fails, and one in ten of the others.
    # Of all traces by the safe node 30 % fail, though two thirds of those read go by the risky one.
    rng, estimates, plain = np.random.default_rng(0), [], []
    both, graphs = (Step(SAFE), Step(RISKY)), {"shop": past()}
    for draw in range(200):
        runs, failed = [], {}
        for i in range(400):
            name, is_both = f"{draw}-{i}", i % 2 == 0
            runs.append(replace(run(0, SAFE), trace_id=name, session=name))
            if is_both:
                runs[-1] = replace(runs[-1], steps=both)
            failed[name] = bool(rng.random() < (0.5 if is_both else 0.1))
        probes = [p for p in allocate(runs, graphs, 80, 0.3) if p.is_drawn]
        tally = ProbeTally({p.run.trace_id: (p.chance, failed[p.run.trace_id]) for p in probes})
        for probe in probes:
            tally.add(probe.run)
        found = tally.of(SAFE).rate()
        assert found is not None
        estimates.append(found)
        plain.append(np.mean([failed[p.run.trace_id] for p in probes]))
    assert np.mean([one.estimate for one in estimates]) == pytest.approx(0.3, abs=0.01)
    assert np.mean(plain) > 0.36  # what no weights would say
    covered = np.mean([one.low <= 0.3 <= one.high for one in estimates])
    assert 0.9 <= covered <= 1


def test_few_sessions_are_no_rate() -> None:
    assert Probed(["a"] * 9, [1.0] * 9, [1.0] * 9).rate() is None


@pytest.fixture
def probed(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Forty traces, every second with an answer that names a day, a graph and a scripted judge."""
    words = ("On Friday", "Soon")
    traces = [
        {
            "trace_id": f"t{i:02}",
            "app": "shop",
            "session_id": f"s{i}",
            "messages": [
                {"role": "user", "content": f"Parcel {i}?"},
                {"role": "assistant", "content": words[i % 2]},
                {"role": "user", "content": "Hm"},
            ],
        }
        for i in range(40)
    ]
    add_traces(project.stores, traces)
    add_scores(project.stores, {f"t{i:02}": 0.9 if i % 4 == 0 else 0.1 for i in range(40)})
    evolution = project.settings.evolution.model_copy(update={"probes": 20})
    settings = project.settings.model_copy(update={"evolution": evolution})
    model = ChatDouble(lambda prompt: "Friday" in last_text(prompt))
    double = PromptedJudge("double", model, load_rubric(project.metrics_dir))
    monkeypatch.setattr(probing, "generative_of", lambda _: double)
    return replace(project, settings=settings)


def rows(project: Project, table: str) -> list[tuple[object, ...]]:
    with project.stores.warehouse.open() as connection:
        return connection.raw.execute(f"from {table} order by all").fetchall()


def test_a_day_is_probed_and_what_was_drawn_is_stored(probed: Project) -> None:
    make_graphs(probed.stores, probed.settings.evolution)
    report = probe_day(probed, DAY)
    drawn = rows(probed, "probes")
    assert report.done == len(drawn) == 40 - report.skipped["not drawn"]
    assert 8 < report.done < 32
    with probed.stores.warehouse.open() as connection:
        said = connection.raw.execute(
            "select count(*), count(*) filter (where label = 'true') from current_scores "
            "where metric = 'probe'"
        ).fetchone()
    assert said is not None
    assert said[0] == report.done
    [graph] = make_graphs(probed.stores, probed.settings.evolution).graphs
    node = graph.node("llm:assistant")
    assert node is not None
    assert node.n_probed == report.done
    assert node.probed is not None
    assert node.probed.low <= 0.5 <= node.probed.high


def test_a_day_probed_again_is_the_same_and_pays_nothing(probed: Project) -> None:
    make_graphs(probed.stores, probed.settings.evolution)
    first: PartitionReport = probe_day(probed, DAY)
    before = rows(probed, "probes")
    model = probing.generative_of(probed).model  # the scripted double
    n_asked = len(model.asked)
    assert probe_day(probed, DAY) == first
    assert rows(probed, "probes") == before
    assert len(model.asked) == n_asked


def test_probes_say_what_they_lack(probed: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    assert probe_day(probed, DAY).skipped == {NO_GRAPH: 1}
    make_graphs(probed.stores, probed.settings.evolution)
    monkeypatch.setattr(probing, "generative_of", lambda _: None)
    assert probe_day(probed, DAY).skipped == {NO_JUDGE: 1}
    off = probed.settings.evolution.model_copy(update={"probes": 0})
    settings = probed.settings.model_copy(update={"evolution": off})
    assert probe_day(replace(probed, settings=settings), DAY).skipped == {NO_PROBES: 1}
