"""Examples for one node of the graph of calls: where each belongs, and which come first."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest

from flywheel.corrections import derive_labels
from flywheel.errors import BadInput
from flywheel.records import Turn
from flywheel.retrieval import rank_examples, read_current, update_indexes
from flywheel.retrieval.index import publish
from flywheel.retrieval.places import NOWHERE, Place, asked_place, closeness, place_of
from flywheel.retrieval.ranking import Candidates, score_examples
from flywheel.retrieval.serving import ExampleService
from flywheel.review import decide
from flywheel.settings import RetrievalSettings
from flywheel.store import Project
from flywheel.traces.steps import NodeKey, Step
from tests.hashing import HashingEmbedder
from tests.judged import said
from tests.spanned import TRACE, call, import_spans
from tests.spanned import step as span
from tests.test_serving import BETTER, LEVERS, ask, chat, ids, index, put, session_in

AGENT, PLANNER = NodeKey("agent", "desk"), NodeKey("llm", "planner")
SEARCH, PAY = NodeKey("tool", "search"), NodeKey("tool", "pay")
ANSWER = Turn(1, "assistant", "Booked for Thursday.")
CORRECTED = {
    **{"perceived_error": True, "corrected_turn": 1, "evidence_turn": 2},
    "original_tool_calls": None,
}
QUERY = "a table for friday"
PLANNING = asked_place("llm:planner", None)


def nodes(service: ExampleService, text: str = QUERY, **more: object) -> list[str]:
    return [one.row["node"] for one in ask(service, text, **more).found]


def named(trace_id: str, request: str, name: str) -> dict[str, object]:
    """A conversation in which this assistant answers."""
    made = chat(trace_id, request)
    made["messages"][1]["name"] = name  # type: ignore[index]
    return made


@pytest.fixture
def service(project: Project) -> Iterable[ExampleService]:
    embedder = HashingEmbedder()
    made = ExampleService(
        project.stores,
        RetrievalSettings(),
        lambda: (embedder, LEVERS),  # type: ignore[return-value, arg-type]
    )
    yield made
    made.close()


@pytest.fixture
def two(project: Project) -> Project:
    """Corrections of a planner and of a writer, the writer's more like QUERY."""
    put(
        project.stores,
        named("writer", "a table for friday please", "writer"),
        named("planner", "a table for friday night please", "planner"),
    )
    for trace_id in ("writer", "planner"):
        decide(project.stores.ledger, said(trace_id, True, **BETTER))
    return project


# Where an example belongs


def test_an_example_belongs_to_the_step_that_gave_the_answer() -> None:
    steps = [
        Step(AGENT, text="done"),
        Step(PLANNER, 0, text='[{"content": "Booked for Thursday."}]'),
    ]
    assert place_of(CORRECTED, ANSWER, steps) == Place("llm:planner", "agent:desk")
    assert place_of(CORRECTED, replace(ANSWER, text="Never said."), steps) == NOWHERE
    good = CORRECTED | {"perceived_error": False, "corrected_turn": None, "evidence_turn": None}
    assert place_of(good, ANSWER, steps) == Place("llm:planner", "agent:desk")


def test_an_answer_of_tool_calls_alone_is_known_by_the_id_of_its_first_call() -> None:
    steps = [Step(PLANNER, text='[{"tool_calls": [{"id": "call_8f3k2m1a"}]}]')]
    silent = replace(ANSWER, text="")
    calls = CORRECTED | {"original_tool_calls": '[{"id": "call_8f3k2m1a"}]'}
    assert place_of(calls, silent, steps) == Place("llm:planner", "")
    for other in ('[{"id": "call"}]', '[{"id": 8}]', "[]", "{", None):
        assert place_of(calls | {"original_tool_calls": other}, silent, steps) == NOWHERE


def test_an_error_that_nobody_placed_belongs_where_a_step_failed_by_itself() -> None:
    unplaced = CORRECTED | {"corrected_turn": None, "evidence_turn": None}
    steps = [Step(AGENT), Step(PLANNER, 0), Step(SEARCH, 1, True), Step(SEARCH, 1, True)]
    assert place_of(unplaced, ANSWER, steps) == Place("tool:search", "llm:planner")
    assert place_of(unplaced, ANSWER, [*steps, Step(PAY, 1, True)]) == NOWHERE
    assert place_of(unplaced, ANSWER, steps[:2]) == NOWHERE


def test_a_name_that_no_file_can_hold_is_made_one_that_can() -> None:
    steps = [Step(NodeKey("tool", "a\ud800"), None, True)]
    unplaced = CORRECTED | {"corrected_turn": None, "evidence_turn": None}
    place_of(unplaced, ANSWER, steps).node.encode("utf-8")


def test_spans_give_the_same_place_by_the_tail_and_by_the_index(
    project: Project, service: ExampleService
) -> None:
    root = {"openinference__span__kind": "AGENT", "session__id": session_in("train")}
    spans = [span(0, None, name="desk", **root), call(1, 0, name="chat"), span(2, 1, error="none")]
    import_spans(project, project.folder, spans)
    with project.stores.warehouse.open() as connection:
        ((content_hash,),) = connection.raw.execute("select content_hash from traces").fetchall()
    decision = said(TRACE, True, corrected_turn=1, corrected_text="For four.")
    decide(project.stores.ledger, replace(decision, content_hash=content_hash))
    (by_tail,) = ask(service, "a table for four on friday please").found
    index(project.stores, service)
    assert not service._state.tail.rows  # type: ignore[union-attr]
    (by_index,) = ask(service, "a table for four on friday please").found
    for one in (by_tail, by_index):
        assert (one.row["node"], one.row["parent"]) == ("llm:chat", "agent:desk")


# How near that is to who asks


def test_closeness_goes_by_node_then_kind_then_parent() -> None:
    asked = Place("llm:planner", "agent:desk")
    known = [
        *(("llm:planner", "agent:desk"), ("llm:planner", "agent:x"), ("llm:planner", None)),
        *(("llm:writer", "agent:desk"), ("llm:writer", ""), ("tool:search", "agent:desk")),
        *(("tool:search", ""), (None, None)),
    ]
    found = closeness(asked, *zip(*known, strict=True))
    assert found.tolist() == pytest.approx([1.0, 0.9, 0.8, 0.6, 0.4, 0.2, 0.0, 0.0])
    assert closeness(asked_place("llm", None), ["llm:a", "tool:b"], ["", ""]).tolist() == [0.4, 0]
    assert closeness(NOWHERE, ["llm:a", ""], ["", ""]).tolist() == [0.0, 0.0]


def test_the_boost_multiplies_the_score_and_is_nothing_where_nobody_asks() -> None:
    n = 4
    made = Candidates(
        ids=np.arange(n),
        similarity=np.array([0.9, 0.8, 0.7, 0.6]),
        age_days=np.array([0.0, 3.0, 40.0, 1.0]),
        disagreement=np.array([False, True, False, True]),
        perceived_error=np.array([False, True, False, True]),
        vectors=np.eye(n, dtype=np.float32),
        closeness=np.zeros(n),
    )
    settings = RetrievalSettings(k=4)
    plain = score_examples(made, settings)
    doubled = 1.0 + made.disagreement
    assert plain.tolist() == (made.similarity * np.exp2(-made.age_days / 30.0) * doubled).tolist()
    near = replace(made, closeness=np.array([0.0, 0.4, 0.8, 1.0]))
    assert score_examples(near, settings).tolist() == pytest.approx(
        (plain * [1, 1.5**0.4, 1.5**0.8, 1.5]).tolist()
    )
    off = settings.model_copy(update={"node_boost": 1.0})
    assert score_examples(near, off).tolist() == plain.tolist()
    assert rank_examples(near, off) == rank_examples(made, settings)
    assert score_examples(near, settings, "recency").tolist() == pytest.approx(
        (plain / doubled).tolist()
    )


def test_a_node_is_a_kind_and_a_name_as_the_graph_has_it() -> None:
    assert asked_place(" llm:job 123456", "agent") == Place("llm:job #", "agent")
    assert asked_place(None, "") == NOWHERE
    for wrong in ("planner", "llms:planner", ":planner"):
        with pytest.raises(BadInput, match="no node: name a kind"):
            asked_place(wrong, None)
    with pytest.raises(BadInput, match="parent 'desk'"):
        asked_place("llm", "desk")


# What is served


def test_examples_of_the_node_that_asks_come_first_and_none_is_left_out(
    two: Project, service: ExampleService
) -> None:
    plain = ask(service, QUERY)
    assert ids(plain) == ["writer", "planner"]
    for _ in ("tail", "index"):
        near = ask(service, QUERY, place=PLANNING)
        assert ids(near) == ["planner", "writer"]
        assert near.found[0].score == pytest.approx(
            ask(service, QUERY).found[1].score * 1.5**0.8, rel=1e-3
        )
        assert nodes(service) == ["llm:writer", "llm:planner"]
        index(two.stores, service)


def test_a_generation_without_nodes_is_served_and_then_learns_them(
    two: Project, service: ExampleService
) -> None:
    index(two.stores, service)
    new = read_current(two.stores, purpose="application")
    assert new is not None
    rows = new.rows.drop_columns(["node", "parent"])
    old = publish(two.stores, replace(new.manifest, version=""), new.vectors, rows, "application")
    assert old.version != new.version
    service.refresh()
    served = ask(service, QUERY, place=PLANNING)
    assert served.index_version.startswith(old.version)
    assert ids(served) == ["writer", "planner"]
    assert nodes(service) == [None, None]
    derive_labels(two.stores)
    report = update_indexes(two.stores, *service._models()).application
    assert report is not None
    assert (report.added, report.removed, report.total) == (2, 2, 2)
    service.refresh()
    assert ids(ask(service, QUERY, place=PLANNING)) == ["planner", "writer"]
    again = update_indexes(two.stores, *service._models()).application
    assert again is not None
    assert (again.version, again.added) == (report.version, 0)
