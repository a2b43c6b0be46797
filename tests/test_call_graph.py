"""The graph of calls: steps of traces, what is counted of them, and the risk of a node."""

from dataclasses import replace

import pytest
from click.testing import CliRunner

from flywheel.cli.main import cli
from flywheel.evolution.call_graph.attribution import fit_attributor
from flywheel.evolution.call_graph.graph import graph_of
from flywheel.evolution.call_graph.publishing import make_graphs, published_graphs
from flywheel.evolution.call_graph.risk import prior_of, risk_of
from flywheel.evolution.call_graph.runs import Run, read_runs
from flywheel.evolution.call_graph.tally import Shares, faults_of, rounds_of, tally_of
from flywheel.store import Project
from flywheel.traces.steps import (
    NodeKey,
    Step,
    node_key,
    origins_of,
    steps_of_messages,
    steps_of_spans,
)
from tests.judged import DAY, add_scores, add_traces
from tests.spanned import call, import_spans
from tests.spanned import step as span

AGENT, MODEL = NodeKey("agent", "desk"), NodeKey("llm", "chat")
SEARCH, PAY = NodeKey("tool", "search"), NodeKey("tool", "pay")


def run(*steps: Step, name: str = "t1", **more: object) -> Run:
    return Run("shop", name, name, tuple(steps), **more)


def under(node: NodeKey, parent: int | None = 0, is_error: bool = False, **more: object) -> Step:
    return Step(node, parent, is_error, **more)


def test_an_error_is_counted_where_it_starts_and_not_above_it() -> None:
    steps = (under(AGENT, None, True), under(MODEL), under(SEARCH, 1, True), under(PAY, 1))
    assert origins_of(steps) == [2]
    tally = tally_of([run(*steps)])
    assert (tally.nodes[SEARCH].n_origins, tally.nodes[AGENT].n_origins) == (1, 0)
    assert tally.nodes[SEARCH].n_carried == 0  # the model between them ended well


def test_an_error_that_rises_to_the_top_was_carried() -> None:
    tally = tally_of([run(under(AGENT, None, True), under(SEARCH, 0, True))])
    assert tally.nodes[SEARCH].n_carried == 1
    passed = tally.edges[(AGENT, SEARCH, "calls")].passed
    assert passed.by_session == {"t1": [1, 1]}


def test_a_failed_run_counts_where_the_error_was_seen_or_else_to_all_alike() -> None:
    steps = (under(NodeKey("input", "user"), None), under(MODEL), under(SEARCH))
    nodes = [step.node for step in steps]
    seen = run(*steps, failed=True, told_by="label", blamed=1)
    assert faults_of(seen, nodes) == {MODEL: 1.0}
    assert faults_of(replace(seen, blamed=None), nodes) == {MODEL: 0.5, SEARCH: 0.5}
    assert faults_of(replace(seen, failed=False, blamed=None), nodes) == {}


def test_a_loop_is_a_cycle_gone_round_three_times() -> None:
    assert rounds_of([MODEL, SEARCH] * 2) == {}
    assert rounds_of([AGENT, *[MODEL, SEARCH] * 4, PAY]) == {(MODEL, SEARCH): 4}
    assert rounds_of([SEARCH] * 6) == {(SEARCH,): 6}
    talk = NodeKey("input", "user")
    assert rounds_of([talk, MODEL] * 5) == {}


def test_a_retry_is_the_same_step_again_after_its_error() -> None:
    tally = tally_of(
        [run(under(AGENT, None), under(SEARCH, 0, True), under(MODEL), under(SEARCH), under(PAY))]
    )
    assert (tally.nodes[SEARCH].n_retries, tally.nodes[SEARCH].n_retried_well) == (1, 1)


def test_a_trace_that_ends_in_a_result_ends_dead_and_one_under_an_agent_does_not() -> None:
    user = NodeKey("input", "user")
    ends = tally_of([run(under(user, None), under(MODEL), under(SEARCH, 1))])
    assert ends.nodes[SEARCH].n_dead_ends == 1
    assert tally_of([run(under(AGENT, None), under(SEARCH))]).nodes[SEARCH].n_dead_ends == 0


def test_dependents_are_the_nodes_after_and_above() -> None:
    tally = tally_of([run(under(AGENT, None), under(SEARCH), under(PAY), under(SEARCH))])
    assert {key: node.n_later for key, node in tally.nodes.items()} == {
        AGENT: 2,  # search and pay
        SEARCH: 2,  # pay, and the agent above
        PAY: 2,  # search again, and the agent above
    }


def test_a_rate_of_few_runs_is_shrunk_and_stays_unsure() -> None:
    def shares(n: int, yes: int) -> Shares:
        made = Shares()
        for i in range(n):
            made.add(f"s{i}", float(i < yes))
        return made

    few, many = shares(1, 1), shares(400, 200)
    prior = prior_of([few, many, shares(400, 4), shares(400, 2)])
    seldom, often = risk_of(few, 0, 1, prior), risk_of(many, 0, 400, prior)
    assert prior.mean < seldom.failure.estimate < 1
    assert often.failure.estimate == pytest.approx(0.5, abs=0.01)
    assert seldom.spread > 3 * often.spread
    # Beta(a, b) with a = mean * worth: what one run that failed adds to the prior.
    a = prior.mean * prior.worth
    assert seldom.failure.estimate == pytest.approx((a + 1) / (prior.worth + 1), rel=0.2)


def test_a_node_that_never_failed_is_not_known_to_be_safe() -> None:
    ten = Shares({f"s{i}": [1, 0] for i in range(10)})
    found = risk_of(ten, 0, 10, prior_of([ten]))
    assert found.failure.low < 0.001 < 0.1 < found.failure.high


def test_a_session_counts_once() -> None:
    long = Shares({"a": [100, 100], **{f"s{i}": [1, 0] for i in range(9)}})
    assert risk_of(long, 0, 109, prior_of([long])).failure.estimate < 0.2


def test_messages_are_steps_with_the_results_of_their_calls() -> None:
    calls = '[{"id": "c1", "function": {"name": "search", "arguments": "{}"}}]'
    rows = [
        {"role": "user", "content": "Find it"},
        {"role": "assistant", "content": "", "tool_calls": calls},
        {"role": "tool", "content": "Error: no such city", "tool_call_id": "c1"},
        {"role": "assistant", "content": "I could not."},
    ]
    blank = {"tool_calls": None, "tool_call_id": None, "name": None}
    steps = steps_of_messages([blank | row | {"position": i} for i, row in enumerate(rows)])
    assert [(s.node.id, s.parent, s.is_error) for s in steps] == [
        ("input:user", None, False),
        ("llm:assistant", 0, False),
        ("tool:search", 1, True),
        ("llm:assistant", 0, False),
    ]


def test_spans_in_a_circle_or_before_their_parent_are_steps_all_the_same() -> None:
    def row(span_id: str, parent_id: str | None) -> dict[str, object]:
        names = {"kind": "tool", "name": span_id, "is_error": False, "asked": "", "said": ""}
        return {"span_id": span_id, "parent_id": parent_id, "ms": 1.0, **names}

    steps = steps_of_spans([row("a", "b"), row("b", "a"), row("child", "top"), row("top", None)])
    assert sorted(step.node.name for step in steps) == ["a", "b", "child", "top"]
    assert all(step.parent is None or step.parent < i for i, step in enumerate(steps))
    by_name = {step.node.name: step for step in steps}
    assert steps[by_name["child"].parent or 0].node.name == "top"


def test_names_hide_nothing_and_ids_in_them_make_no_nodes_of_their_own() -> None:
    assert node_key("tool", "pay\u202e\n<b>").name == "pay <b>"
    assert len(node_key("tool", "x" * 500).name) == 60
    one, other = (node_key("tool", f"fetch {n:032x}") for n in (12345, 99999))
    assert one == other


def test_a_name_for_every_call_does_not_fill_the_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flywheel.evolution.call_graph.tally.MOST_NODES", 5)
    letters = "abcdefghijklmnopqrstuvwxyz"
    steps = [under(NodeKey("tool", name), None) for name in letters]
    assert len(tally_of([run(*steps)]).nodes) == 6


def test_the_graph_of_imported_spans(project: Project) -> None:
    tools = '{"type": "function", "function": {"name": "refund", "parameters": {}}}'
    import_spans(
        project,
        project.folder,
        [
            span(0, None, name="desk", openinference__span__kind="AGENT"),
            call(1, 0, name="chat", llm__tools__0__tool__json_schema=tools),
            span(2, 1, name="search", error="no such city"),
            span(3, 1, name="search"),
        ],
    )
    [graph] = make_graphs(project.stores, project.settings.evolution).graphs
    assert (graph.app, graph.n_runs, graph.n_steps) == ("shop", 1, 4)
    search = graph.node("tool:search")
    assert search is not None
    assert (search.n_calls, search.n_errors, search.n_retries, search.n_retried_well) == (
        2,
        1,
        1,
        1,
    )
    assert [one.name for one in graph.never_called] == ["refund"]
    edges = {(e.source, e.target, e.relation): e.n_calls for e in graph.edges}
    assert edges[("llm:chat", "tool:search", "calls")] == 2
    assert graph.walks[0].steps[-1].right.estimate == 0.5
    published = published_graphs(project.stores)
    assert published is not None
    assert published.graphs == [graph]


def marked_run(name: str, at: int, n: int = 4) -> Run:
    """A failed run of alternating steps whose marked step is followed by a tool's error."""
    steps = [under(NodeKey("input", "user"), None, text="What is it?")]
    for place in range(1, n + 1):
        steps.append(under(MODEL, 0, text=f"thought {place} of {name} is nothing much"))
        steps.append(under(SEARCH, 0, text="error: broken" if place == at else "all is well"))
    return run(*steps, name=name, failed=True, told_by="label", blamed=2 * at - 1)


def test_attribution_learns_what_marks_have_in_common() -> None:
    taught = fit_attributor([marked_run(f"r{i}", 1 + i % 4) for i in range(40)])
    for at in (1, 2, 3, 4):
        unseen = replace(marked_run("new", at), blamed=None)
        assert int(taught.steps(unseen).argmax()) == 2 * at - 1
        assert sum(taught.steps(unseen)) == pytest.approx(1.0)
        assert taught.steps(unseen)[0] == 0.0  # the user's own words are nobody's fault
        assert next(iter(taught.nodes(unseen))) == MODEL


def test_attribution_goes_by_the_past_of_nodes_where_marks_are_few() -> None:
    taught = fit_attributor([marked_run(f"r{i}", 1) for i in range(5)])
    assert taught.weights is None
    assert next(iter(taught.nodes(marked_run("new", 3)))) == MODEL


def test_a_mark_does_not_vouch_for_itself() -> None:
    one = marked_run("r", 2)
    past = fit_attributor([one]).past
    assert past.without(one).marked.total() == 0
    assert past.without(one).visited.total() == 0


def test_verdicts_place_an_error_at_the_answer_before_it(project: Project) -> None:
    turns = [
        {"role": role, "content": text}
        for role, text in (("user", "Hi"), ("assistant", "One"), ("user", "No, wrong"))
    ]
    given = {"app": "shop", "session_id": "s1", "messages": turns}
    add_traces(project.stores, [{"trace_id": "t1", **given}, {"trace_id": "t2", **given}])
    add_scores(project.stores, {"t1": 0.9, "t2": 0.1})
    with project.stores.warehouse.open() as connection:
        connection.raw.execute("update scores set evidence_turn = 2")
    runs = {one.trace_id: one for one in read_runs(project.stores, DAY, DAY, 10)}
    assert (runs["t1"].failed, runs["t1"].told_by, runs["t1"].blamed) == (True, "verdict", 1)
    assert (runs["t2"].failed, runs["t2"].blamed) == (False, None)


def test_graph_says_which_applications_there_are(project: Project) -> None:
    project.data_dir.mkdir(parents=True)
    command = ["--project", str(project.folder), "evolution", "graph", "--app", "shpo"]
    said = CliRunner().invoke(cli, command)
    assert said.exception is not None
    assert "application with traces of the last days" in str(said.exception)
    assert CliRunner().invoke(cli, command[:-2]).exit_code == 0


def test_what_is_too_rare_to_be_shown_is_counted() -> None:
    steps = [
        under(NodeKey("tool", "".join(chr(97 + int(d)) for d in str(i))), None) for i in range(70)
    ]
    graph = graph_of("shop", [run(*steps)], DAY, DAY)
    assert (len(graph.nodes), graph.n_nodes_left_out) == (60, 10)
