"""What decisions amount to: labels, better answers, splits; derived anew each time."""

from collections.abc import Mapping

import pytest

from flywheel.corrections import PAGE, check_splits, derive_labels
from flywheel.records import split_of
from flywheel.review import decide, undo
from flywheel.store import Project, Stores
from flywheel.store.tables import decisions
from tests.conftest import trace
from tests.judged import DAY, add_traces, said

NAMES = [f"t{number}" for number in range(40)]


@pytest.fixture
def stores(project: Project) -> Stores:
    """The stores of a project with forty traces, each a session of its own."""
    add_traces(project.stores, [trace(name, "hi", "hello", "no", "sorry") for name in NAMES])
    return project.stores


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
