"""Decisions of people: appended, taken back, declined, and brought from a file."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from flywheel.errors import BadInput
from flywheel.queue import fill_queue
from flywheel.review import decide, decline, import_decisions, standing_decisions, undo
from flywheel.settings import QueueSettings
from flywheel.store import Project, Stores
from flywheel.store.tables import audit_log, decisions, queue_items
from tests.conftest import trace, write_lines
from tests.judged import DAY, add_scores, add_traces, said

NAMES = [f"t{number}" for number in range(6)]


@pytest.fixture
def stores(project: Project) -> Stores:
    """The stores of a project with six judged traces, all of them in the queue."""
    add_traces(project.stores, [trace(name, "hi", "hello", "no", "sorry") for name in NAMES])
    add_scores(project.stores, dict.fromkeys(NAMES, 0.9))
    fill_queue(project.stores, QueueSettings(daily_items=10, audit_share=0.3), DAY)
    return project.stores


def status_of(stores: Stores, trace_id: str) -> str:
    with stores.ledger.begin() as ledger:
        return str(
            ledger.scalar(sa.select(queue_items.c.status).where(queue_items.c.trace_id == trace_id))
        )


def rows_of(stores: Stores, table: sa.Table) -> list[sa.RowMapping]:
    with stores.ledger.begin() as ledger:
        key = next(iter(table.primary_key))
        return list(ledger.execute(sa.select(table).order_by(key)).mappings())


def standing_of(stores: Stores) -> list[tuple[str, str, bool]]:
    return [
        (row.decision.trace_id, row.decision.reviewer, row.decision.perceived_error)
        for row in standing_decisions(stores.ledger)
    ]


def test_a_decision_finishes_its_item_and_is_logged(stores: Stores) -> None:
    decision_id = decide(stores.ledger, said("t0", True))
    assert status_of(stores, "t0") == "complete"
    assert status_of(stores, "t1") == "pending"
    (entry,) = rows_of(stores, audit_log)
    assert (entry["actor"], entry["action"], entry["subject"]) == ("ann", "decide", "t0")
    assert [row["decision_id"] for row in rows_of(stores, decisions)] == [decision_id]


def test_a_decision_takes_over_how_its_item_was_drawn(stores: Stores) -> None:
    for name in NAMES:
        decide(stores.ledger, said(name, True))
    items = {row["trace_id"]: row for row in rows_of(stores, queue_items)}
    for row in rows_of(stores, decisions):
        item = items[row["trace_id"]]
        assert row["draw_probability"] == item["draw_probability"]
        assert row["is_audit"] == (item["reason"] == "random_audit")
    assert {row["is_audit"] for row in rows_of(stores, decisions)} == {True, False}


def test_a_decision_that_says_how_it_was_drawn_keeps_it(stores: Stores) -> None:
    decide(stores.ledger, said("t0", True, draw_probability=0.25))
    (row,) = rows_of(stores, decisions)
    assert row["draw_probability"] == 0.25


def test_a_trace_without_an_item_can_be_decided_on(stores: Stores) -> None:
    decide(stores.ledger, said("elsewhere", False))
    assert standing_of(stores) == [("elsewhere", "ann", False)]


def test_an_item_that_needs_two_people_waits_for_the_second(stores: Stores) -> None:
    with stores.ledger.begin() as ledger:
        ledger.execute(queue_items.update().values(reviewers_needed=2))
    decide(stores.ledger, said("t0", True, "ann"))
    decide(stores.ledger, said("t0", True, "ann"))
    assert status_of(stores, "t0") == "pending"
    decide(stores.ledger, said("t0", False, "bob"))
    assert status_of(stores, "t0") == "complete"


def test_times_are_kept_in_utc(stores: Stores) -> None:
    decide(
        stores.ledger,
        said("t0", True, decided_at=datetime.fromisoformat("2026-03-02T12:00:00+02:00")),
    )
    (row,) = standing_decisions(stores.ledger)
    assert row.decision.decided_at == datetime(2026, 3, 2, 10, tzinfo=UTC)


def test_undo_goes_further_back_each_time(stores: Stores) -> None:
    first = decide(stores.ledger, said("t0", True))
    second = decide(stores.ledger, said("t1", False))
    other = decide(stores.ledger, said("t2", False, "bob"))
    assert undo(stores.ledger, "ann") == second
    assert (status_of(stores, "t1"), status_of(stores, "t0")) == ("pending", "complete")
    assert undo(stores.ledger, "ann") == first
    assert status_of(stores, "t0") == "pending"
    assert undo(stores.ledger, "ann") is None
    assert [row.decision_id for row in standing_decisions(stores.ledger)] == [other]
    assert [row["action"] for row in rows_of(stores, audit_log)] == ["decide"] * 3 + ["undo"] * 2


def test_undo_brings_back_what_the_reviewer_said_before(stores: Stores) -> None:
    decide(stores.ledger, said("t0", True))
    decide(stores.ledger, said("t0", False))
    assert standing_of(stores) == [("t0", "ann", False)]
    undo(stores.ledger, "ann")
    assert standing_of(stores) == [("t0", "ann", True)]
    assert status_of(stores, "t0") == "complete"


def test_nothing_is_ever_deleted(stores: Stores) -> None:
    decision_id = decide(stores.ledger, said("t0", True))
    undo(stores.ledger, "ann")
    kinds = [(row["kind"], row["undoes"]) for row in rows_of(stores, decisions)]
    assert kinds == [("decide", None), ("undo", decision_id)]


def test_a_declined_item_is_closed_and_can_be_opened_again(stores: Stores) -> None:
    declined = decline(stores.ledger, "t0", "v1-t0", "ann", "not my language")
    assert status_of(stores, "t0") == "declined"
    assert standing_of(stores) == []
    assert undo(stores.ledger, "ann") == declined
    assert status_of(stores, "t0") == "pending"


def test_to_decline_a_finished_item_leaves_it_finished(stores: Stores) -> None:
    decide(stores.ledger, said("t0", True))
    decline(stores.ledger, "t0", "v1-t0", "bob")
    assert status_of(stores, "t0") == "complete"


def test_eight_reviewers_at_once_lose_nothing(stores: Stores) -> None:
    def one_reviewer(number: int) -> list[int]:
        name = f"reviewer-{number}"
        return [decide(stores.ledger, said(f"{name}-{i}", True, name)) for i in range(15)]

    with ThreadPoolExecutor(8) as pool:
        made = [decision_id for ids in pool.map(one_reviewer, range(8)) for decision_id in ids]
    assert len(set(made)) == len(standing_decisions(stores.ledger)) == 8 * 15
    assert len(rows_of(stores, audit_log)) == 8 * 15


@pytest.fixture
def file_of(tmp_path: Path) -> Callable[..., Path]:
    """Makes a decision file of rows; `trace_id`, `perceived_error` and `reviewer` are filled in."""

    def make(*rows: dict[str, object]) -> Path:
        least = {"trace_id": "t0", "perceived_error": True, "reviewer": "ann"}
        return write_lines(tmp_path / "decisions.jsonl", [least | row for row in rows])

    return make


def test_a_file_of_decisions_is_read(stores: Stores, file_of: Callable[..., Path]) -> None:
    path = file_of(
        {
            "reason_code": "correction",
            "reason": "the user says no",
            "evidence_turn": 2,
            "corrected_turn": 3,
            "corrected_text": "Here it is.",
            "seconds": 4.5,
            "decided_at": "2026-03-03T08:00:00Z",
            "note": "what is not known is left alone",
        },
        {"trace_id": "t1", "perceived_error": False, "is_audit": True, "reason": None},
    )
    report = import_decisions(stores, path)
    assert (report.read, report.new, report.duplicate, report.rejected) == (2, 2, 0, [])
    first, second = (row.decision for row in standing_decisions(stores.ledger))
    assert first.content_hash == "v1-t0"
    assert (first.reason_code, first.evidence_turn, first.seconds) == ("correction", 2, 4.5)
    assert (first.corrected_turn, first.corrected_text) == (3, "Here it is.")
    assert first.decided_at == datetime(2026, 3, 3, 8, tzinfo=UTC)
    assert second.is_audit
    assert status_of(stores, "t0") == status_of(stores, "t1") == "complete"
    (entry,) = rows_of(stores, audit_log)
    assert (entry["action"], entry["subject"]) == ("import_decisions", "decisions.jsonl")


def test_the_same_row_twice_adds_nothing(stores: Stores, file_of: Callable[..., Path]) -> None:
    twice = {"reason": "no"}
    path = file_of(twice, {"trace_id": "t1"}, twice)
    first = import_decisions(stores, path)
    assert (first.read, first.new, first.duplicate) == (3, 2, 1)
    again = import_decisions(stores, path)
    assert (again.read, again.new, again.duplicate) == (3, 0, 3)
    assert len(rows_of(stores, decisions)) == 2


def test_the_order_of_keys_does_not_make_another_row(stores: Stores, tmp_path: Path) -> None:
    path = tmp_path / "decisions.jsonl"
    path.write_text(
        '{"trace_id": "t0", "perceived_error": true, "reviewer": "ann"}\n'
        "\n"
        '{"reviewer": "ann", "perceived_error": true, "trace_id": "t0", "reason": ""}\n'
    )
    report = import_decisions(stores, path)
    assert (report.read, report.new, report.duplicate) == (2, 1, 1)


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"trace_id": "t9"}, "trace 't9' is not in the warehouse; import the traces first"),
        ({"content_hash": "old"}, "trace 't0' never had the content 'old'"),
        ({"reason_code": "wrong"}, "'rejection', 'repeated_request'"),
        ({"perceived_error": None}, "perceived_error: Field required"),
        ({"perceived_error": "perhaps"}, "unable to interpret input; got 'perhaps'"),
        ({"reviewer": ""}, "reviewer: String should have at least 1 character"),
        (
            {"perceived_error": False, "reason_code": "rejection"},
            "reason_code 'rejection' is one of an error, and perceived_error is false",
        ),
        (
            {"corrected_turn": 2, "corrected_text": "x"},
            "corrected_turn 2 is a message of 'user'; it must be the assistant's",
        ),
        (
            {"corrected_turn": 9, "corrected_text": "x"},
            "corrected_turn 9 is after the last message; it must be the assistant's",
        ),
        ({"corrected_text": "x"}, "corrected_turn and corrected_text only come together"),
        ({"evidence_turn": 4}, "evidence_turn 4 is after the last message of the trace"),
        ({"draw_probability": 0}, "draw_probability: Input should be greater than 0"),
    ],
)
def test_a_row_that_cannot_be_used_is_named_with_its_line(
    stores: Stores, file_of: Callable[..., Path], row: dict[str, object], why: str
) -> None:
    path = file_of({}, row, {"trace_id": "t1"})
    report = import_decisions(stores, path)
    assert (report.read, report.new) == (3, 2)
    (rejected,) = report.rejected
    assert (rejected.file, rejected.line) == (str(path), 2)
    assert why in rejected.why


def test_a_line_that_is_no_json_does_not_stop_the_rest(stores: Stores, tmp_path: Path) -> None:
    path = tmp_path / "decisions.jsonl"
    good = b'{"trace_id": "t0", "perceived_error": true, "reviewer": "ann"}'
    path.write_bytes(b"\xef\xbb\xbf" + good + b'\n{"trace_id": "\n[1]\n"\xff"\n')
    report = import_decisions(stores, path)
    assert (report.read, report.new) == (4, 1)
    assert [row.line for row in report.rejected] == [2, 3, 4]


def test_a_clarification_may_stand_without_an_error(
    stores: Stores, file_of: Callable[..., Path]
) -> None:
    path = file_of({"perceived_error": False, "reason_code": "clarification_request"})
    assert import_decisions(stores, path).new == 1


def test_a_character_that_a_ledger_cannot_hold_is_marked(
    stores: Stores, file_of: Callable[..., Path]
) -> None:
    import_decisions(stores, file_of({"reason": "a\0b"}))
    (row,) = standing_decisions(stores.ledger)
    assert row.decision.reason == "a\ufffdb"


def test_many_rows_are_entered_in_batches(stores: Stores, file_of: Callable[..., Path]) -> None:
    rows = [{"trace_id": NAMES[n % 6], "reason": f"for the {n}th time"} for n in range(2_500)]
    path = file_of(*rows)
    assert import_decisions(stores, path).new == 2_500
    assert [row["action"] for row in rows_of(stores, audit_log)] == ["import_decisions"] * 3
    # The last of them on a trace is what the reviewer says.
    reasons = [row.decision.reason for row in standing_decisions(stores.ledger)]
    assert reasons == [f"for the {n}th time" for n in range(2_494, 2_500)]


def test_a_missing_file_is_said_so(stores: Stores, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="expected JSON lines"):
        import_decisions(stores, tmp_path / "none.jsonl")


def test_a_file_without_rows_is_no_fault(stores: Stores, tmp_path: Path) -> None:
    report = import_decisions(stores, write_lines(tmp_path / "empty.jsonl", []))
    assert (report.read, report.new, report.rejected) == (0, 0, [])
