"""What decisions amount to: labels, better answers, splits; derived anew each time."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime

import pytest

from flywheel.corrections import PAGE, check_splits, derive_labels
from flywheel.gate.holdout import holdout_of
from flywheel.models.embedder import BUNDLED, load_embedder
from flywheel.quality import estimate_rates
from flywheel.records import split_of
from flywheel.retrieval import few_shots_for_day, read_current, update_index
from flywheel.review import adjudicate, clear_sensitive, decide, flag_sensitive, undo
from flywheel.settings import RetrievalSettings
from flywheel.store import Project, Stores
from flywheel.store.tables import decisions
from flywheel.traces.conversations import InputLevers
from flywheel.traces.documents import open_document
from flywheel.traces.sampling import sample_day
from flywheel.training.challenger import labels_since_training
from flywheel.training.dataset import take_training_set
from tests.conftest import trace
from tests.judged import DAY, add_scores, add_traces, said

NAMES = [f"t{number}" for number in range(40)]


@pytest.fixture
def stores(project: Project) -> Stores:
    """The stores of a project with forty traces, each a session of its own."""
    add_traces(project.stores, [trace(name, "hi", "hello", "no", "sorry") for name in NAMES])
    return project.stores


def calls(name: str, arguments: str) -> str:
    """One tool call, as JSON in OpenAI's shape."""
    function = {"name": name, "arguments": arguments}
    return json.dumps([{"id": "c1", "type": "function", "function": function}])


WITH_A_CALL: list[dict[str, object]] = [
    {"role": "user", "content": "I want my money back for order 7."},
    {"role": "assistant", "content": "One moment.", "tool_calls": calls("find", "{}")},
    {"role": "user", "content": "That is another order, I said 7!"},
]


def rows_of(stores: Stores, table: str) -> list[Mapping[str, object]]:
    with stores.warehouse.open() as connection:
        return connection.raw.sql(f"from {table} order by all").to_arrow_table().to_pylist()


def test_a_decision_becomes_a_label_of_its_version(stores: Stores) -> None:
    decision_id = decide(
        stores.ledger,
        said("t0", True, reason="the user says no", evidence_turn=2, draw_probability=0.2),
    )
    report = derive_labels(stores)
    assert (report.decisions, report.labels, report.positives) == (1, 1, 1)
    (label,) = rows_of(stores, "labels")
    assert label["correction_id"] == str(decision_id)
    assert (label["trace_id"], label["content_hash"]) == ("t0", "v1-t0")
    assert (label["app"], label["session_id"], label["day"]) == ("shop", "session-t0", DAY)
    assert (label["reason_code"], label["evidence_turn"]) == ("correction", 2)
    assert (label["source"], label["n_reviewers"]) == ("human", 1)
    assert (label["is_audit"], label["draw_probability"]) == (False, 0.2)


def test_labels_follow_an_undo(stores: Stores) -> None:
    decide(stores.ledger, said("t0", True))
    decide(stores.ledger, said("t0", False))
    derive_labels(stores)
    assert [row["perceived_error"] for row in rows_of(stores, "labels")] == [False]
    undo(stores.ledger, "ann")
    derive_labels(stores)
    assert [row["perceived_error"] for row in rows_of(stores, "labels")] == [True]
    undo(stores.ledger, "ann")
    report = derive_labels(stores)
    assert (report.decisions, report.labels) == (4, 0)
    assert rows_of(stores, "labels") == []


def test_most_reviewers_decide_and_the_last_of_them_is_quoted(stores: Stores) -> None:
    decide(stores.ledger, said("t0", True, "ann", reason="first", draw_probability=0.1))
    decide(stores.ledger, said("t0", True, "bob", reason="second", is_audit=True))
    last = decide(stores.ledger, said("t0", False, "eve", reason="third", rubric_version="2"))
    derive_labels(stores)
    (label,) = rows_of(stores, "labels")
    assert (label["perceived_error"], label["n_reviewers"]) == (True, 3)
    assert (label["reason"], label["reason_code"]) == ("second", "correction")
    assert (label["correction_id"], label["rubric_version"]) == (str(last), "2")
    assert (label["is_audit"], label["draw_probability"]) == (True, 0.1)


def test_a_tie_is_disputed_and_gives_no_label(stores: Stores) -> None:
    decide(stores.ledger, said("t0", True, "ann"))
    decide(stores.ledger, said("t0", False, "bob"))
    decide(stores.ledger, said("t1", False, "bob"))
    report = derive_labels(stores)
    assert (report.labels, report.disputed) == (1, 1)
    decide(stores.ledger, said("t0", False, "eve"))
    report = derive_labels(stores)
    assert (report.labels, report.disputed) == (2, 0)


def test_a_better_answer_stands_beside_the_one_it_replaces(stores: Stores) -> None:
    better = {"corrected_turn": 1, "corrected_text": "Good morning."}
    decide(stores.ledger, said("t0", True, "ann", **better))
    last = decide(stores.ledger, said("t0", True, "bob"))
    report = derive_labels(stores)
    assert report.corrections == 1
    (correction,) = rows_of(stores, "corrections")
    # Under the id of its label, so that the two can be joined.
    assert correction["correction_id"] == str(last)
    assert (correction["original_text"], correction["corrected_text"]) == ("hello", "Good morning.")
    assert (correction["reviewer"], correction["corrected_turn"]) == ("ann", 1)


def test_the_answer_of_who_was_outvoted_is_left_out(stores: Stores) -> None:
    better = {"corrected_turn": 1, "corrected_text": "Good morning."}
    decide(stores.ledger, said("t0", True, "ann", **better))
    decide(stores.ledger, said("t0", False, "bob"))
    decide(stores.ledger, said("t0", False, "eve"))
    assert derive_labels(stores).corrections == 0


def test_the_word_that_settles_a_trace_wins_over_any_number_of_votes(stores: Stores) -> None:
    for reviewer in ("ann", "bob", "joe"):
        decide(stores.ledger, said("t0", True, reviewer, draw_probability=0.1, is_audit=True))
    settled = adjudicate(
        stores.ledger, said("t0", False, "eve", reason="it is the bank's rule", rubric_version="2")
    )
    # A vote after it changes nothing but the id.
    last = decide(stores.ledger, said("t0", True, "kim", reason="no", rubric_version="3"))
    report = derive_labels(stores)
    assert (report.labels, report.positives, report.adjudicated) == (1, 0, 1)
    (label,) = rows_of(stores, "labels")
    assert (label["perceived_error"], label["source"]) == (False, "adjudicated")
    assert (label["reason"], label["reason_code"]) == ("it is the bank's rule", "none")
    assert (label["rubric_version"], label["n_reviewers"]) == ("2", 5)
    assert (label["is_audit"], label["draw_probability"]) == (True, 0.1)
    assert label["correction_id"] == str(last) != str(settled)
    undo(stores.ledger, "eve")
    assert derive_labels(stores).adjudicated == 0
    (label,) = rows_of(stores, "labels")
    assert (label["perceived_error"], label["source"]) == (True, "human")


def test_a_dispute_that_somebody_settled_is_none(stores: Stores) -> None:
    decide(stores.ledger, said("t0", True, "ann"))
    decide(stores.ledger, said("t0", False, "bob"))
    adjudicate(stores.ledger, said("t0", True, "eve"))
    adjudicate(stores.ledger, said("t1", True, "eve"))
    report = derive_labels(stores)
    assert (report.labels, report.disputed, report.adjudicated) == (2, 0, 2)
    undo(stores.ledger, "eve")
    undo(stores.ledger, "eve")
    report = derive_labels(stores)
    assert (report.labels, report.disputed) == (0, 1)


def test_who_settles_a_trace_writes_the_answer_else_the_last_on_that_side(stores: Stores) -> None:
    for reviewer, text in (("ann", "Good morning."), ("bob", "Good evening.")):
        decide(stores.ledger, said("t0", True, reviewer, corrected_turn=1, corrected_text=text))
    adjudicate(stores.ledger, said("t0", True, "eve"))
    derive_labels(stores)
    assert [row["corrected_text"] for row in rows_of(stores, "corrections")] == ["Good evening."]
    own = {"corrected_turn": 3, "corrected_text": "Good night."}
    adjudicate(stores.ledger, said("t0", True, "eve", **own))
    decide(stores.ledger, said("t0", True, "kim", corrected_turn=1, corrected_text="Hi."))
    derive_labels(stores)
    (row,) = rows_of(stores, "corrections")
    assert (row["reviewer"], row["corrected_turn"]) == ("eve", 3)
    adjudicate(stores.ledger, said("t0", False, "eve"))
    assert derive_labels(stores).corrections == 0


def test_better_tool_calls_stand_beside_those_that_they_replace(stores: Stores) -> None:
    add_traces(stores, [trace("u0", "hi", "hello", "no") | {"messages": WITH_A_CALL}])
    better = {"corrected_turn": 1, "corrected_tool_calls": calls("refund", '{"order": 7}')}
    decide(stores.ledger, said("u0", True, **better))
    assert derive_labels(stores).corrections == 1
    (row,) = rows_of(stores, "corrections")
    assert (row["original_text"], row["corrected_text"]) == ("One moment.", None)
    assert json.loads(str(row["original_tool_calls"])) == json.loads(calls("find", "{}"))
    assert row["corrected_tool_calls"] == calls("refund", '{"order": 7}')


def test_what_was_decided_on_can_be_shown(stores: Stores) -> None:
    decide(stores.ledger, said("t0", True))
    decide(stores.ledger, said("t1", True, "ann"))
    decide(stores.ledger, said("t1", False, "bob"))
    adjudicate(stores.ledger, said("t2", True))
    decide(stores.ledger, said("t3", True))
    undo(stores.ledger, "ann")
    decide(stores.ledger, said("elsewhere", True))
    assert derive_labels(stores).documents == 3
    for name in ("t0", "t1", "t2"):
        assert open_document(stores, name, f"v1-{name}").message(1).content == "hello"
    assert derive_labels(stores).documents == 0


def test_splits_are_fixed_and_follow_the_user(stores: Stores) -> None:
    add_traces(
        stores,
        [trace(f"u{i}", "hi", "hello", "no", user_id="pat") for i in range(5)],
    )
    for name in [*NAMES, *(f"u{i}" for i in range(5))]:
        decide(stores.ledger, said(name, False))
    report = derive_labels(stores)
    labels = {str(row["trace_id"]): row for row in rows_of(stores, "labels")}
    assert sum(report.by_split.values()) == 45
    for name in NAMES:
        assert labels[name]["split"] == split_of(f"session-{name}")
    assert {labels[f"u{i}"]["split"] for i in range(5)} == {split_of("any", "pat")}
    derive_labels(stores)
    assert {str(row["trace_id"]): row for row in rows_of(stores, "labels")} == labels
    assert check_splits(stores) == []


def test_a_session_with_a_user_and_without_is_named_where_its_splits_differ(
    stores: Stores,
) -> None:
    alone = split_of("shared")
    user = next(u for u in map(str, range(100)) if split_of("shared", u) != alone)
    add_traces(
        stores,
        [
            trace("a", "hi", "hello", "no", session_id="shared"),
            trace("b", "hi", "hello", "no", session_id="shared", user_id=user),
        ],
    )
    decide(stores.ledger, said("a", True))
    derive_labels(stores)
    assert check_splits(stores) == []
    decide(stores.ledger, said("b", True))
    derive_labels(stores)
    both = ", ".join(sorted([alone, split_of("shared", user)]))
    assert check_splits(stores) == [f"session shared of shop: {both}"]


def test_a_label_stays_with_the_version_that_was_decided_on(stores: Stores) -> None:
    better = {"corrected_turn": 1, "corrected_text": "Good morning."}
    decide(stores.ledger, said("t0", True, **better))
    decide(stores.ledger, said("t1", True))
    add_traces(stores, [trace("t0", "hi", "hello", "thanks")], version="v2")
    derive_labels(stores)
    assert [row["content_hash"] for row in rows_of(stores, "labels")] == ["v1-t0", "v1-t1"]
    assert [row["content_hash"] for row in rows_of(stores, "current_labels")] == ["v1-t1"]
    assert rows_of(stores, "current_corrections") == []
    decide(stores.ledger, said("t0", False, version="v2"))
    derive_labels(stores)
    assert [
        (row["content_hash"], row["perceived_error"]) for row in rows_of(stores, "current_labels")
    ] == [("v1-t1", True), ("v2-t0", False)]


def test_a_decision_on_a_trace_that_is_not_loaded_is_counted(stores: Stores) -> None:
    decide(stores.ledger, said("elsewhere", True))
    report = derive_labels(stores)
    assert (report.labels, report.without_trace) == (0, 1)


def test_nothing_decided_derives_nothing(stores: Stores) -> None:
    report = derive_labels(stores)
    assert (report.decisions, report.labels, report.by_split) == (0, 0, {})


def test_the_mirror_is_whole_past_one_page(stores: Stores) -> None:
    row = {
        "kind": "decide",
        "content_hash": "v1-t0",
        "trace_id": "t0",
        "perceived_error": True,
        "rubric_version": "1",
        "is_audit": False,
        "decided_at": said("t0", True).decided_at,
    }
    with stores.ledger.begin() as ledger:
        rows = [row | {"reviewer": f"r{number}"} for number in range(PAGE + 5)]
        ledger.execute(decisions.insert(), rows)
    report = derive_labels(stores)
    assert report.decisions == PAGE + 5
    (label,) = rows_of(stores, "labels")
    assert label["n_reviewers"] == PAGE + 5
    assert len(rows_of(stores, "decisions")) == PAGE + 5


# From a decision to what is learnt.


def learn(stores: Stores) -> tuple[dict[str, str | None], set[str], set[str]]:
    """Labels, index, examples of the day and training set once more.

    What is an example, with its tool calls; which of them the day's traces are shown; what is
    trained on.
    """
    embedder = load_embedder(BUNDLED, 1)
    derive_labels(stores)
    update_index(stores, embedder, InputLevers())
    index = read_current(stores)
    assert index is not None
    known = {row["trace_id"]: row["corrected_tool_calls"] for row in index.rows.to_pylist()}
    few_shots_for_day(stores, embedder, RetrievalSettings(), InputLevers(), DAY)
    ids = dict(zip(index.correction_id, index.trace_id, strict=True))
    shown = {ids[row["correction_id"]] for row in rows_of(stores, "few_shot_corrections")}
    taken = take_training_set(stores, InputLevers())
    trained_on = {row.conversation.trace_id for rows in taken.rows.values() for row in rows}
    return known, shown, trained_on


@pytest.fixture
def busy(project: Project) -> Stores:
    """Five traces, four of them in the part that is trained on and one in the holdout."""
    names = [f"s{i}" for i in range(100)]
    taught = [name for name in names if split_of(f"session-{name}") == "train"][:4]
    held = [name for name in names if split_of(f"session-{name}") == "holdout"][:1]
    made = [
        trace(name, "hi", "hello", "no") | {"trace_id": number, "messages": WITH_A_CALL}
        for number, name in zip(("a", "b", "c", "d", "held"), taught + held, strict=True)
    ]
    add_traces(project.stores, made)
    add_scores(project.stores, dict.fromkeys(("a", "b", "c", "d", "held"), 0.9))
    sample_day(project.stores, DAY, 1.0, 0)
    for name, perceived_error in (("a", False), ("held", True)):
        decide(
            project.stores.ledger,
            said(name, perceived_error, "bob", decided_at=EARLY, is_audit=True),
        )
    return project.stores


EARLY = datetime(2026, 3, 1, tzinfo=UTC)


def test_a_corrected_tool_call_is_shown_and_trained_on_until_it_is_taken_back(
    busy: Stores,
) -> None:
    assert learn(busy) == ({"a": None}, {"a"}, {"a"})
    better = {"corrected_turn": 1, "corrected_tool_calls": calls("refund", '{"order": 7}')}
    decide(busy.ledger, said("b", True, decided_at=EARLY, **better))
    known, shown, trained_on = learn(busy)
    assert known == {"a": None, "b": calls("refund", '{"order": 7}')}
    assert shown == trained_on == {"a", "b"}
    undo(busy.ledger, "ann")
    assert learn(busy) == ({"a": None}, {"a"}, {"a"})


def test_a_sensitive_trace_is_neither_shown_nor_trained_on_and_its_label_counts(
    busy: Stores,
) -> None:
    decide(busy.ledger, said("b", True, decided_at=EARLY, is_audit=True))
    flag_sensitive(busy.ledger, "b", "v1-b", "ann")
    flag_sensitive(busy.ledger, "held", "v1-held", "ann")
    assert labels_since_training(busy).count == 1
    assert learn(busy) == ({"a": None}, {"a"}, {"a"})
    report = derive_labels(busy)
    assert (report.labels, report.sensitive) == (3, 2)
    assert len(holdout_of(busy, InputLevers())) == 1
    assert max(estimate.n_labels for estimate in estimate_rates(busy)) == 3
    clear_sensitive(busy.ledger, "b", "eve")
    known, shown, trained_on = learn(busy)
    assert set(known) == shown == trained_on == {"a", "b"}
    assert labels_since_training(busy).count == 2


def test_an_adjudicated_label_is_an_example_and_a_new_label(busy: Stores) -> None:
    adjudicate(busy.ledger, said("b", True, "eve", decided_at=EARLY))
    known, shown, trained_on = learn(busy)
    assert set(known) == shown == trained_on == {"a", "b"}
    assert labels_since_training(busy).count == 3
    assert "3" in take_training_set(busy, InputLevers()).considered
