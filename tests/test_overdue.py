"""Metrics whose review is overdue: which verdicts come to people, and what the items say."""

from collections import Counter
from collections.abc import Iterable
from datetime import date

import pyarrow as pa
import pytest

from flywheel.metrics import Metric
from flywheel.metrics.metric import Direction
from flywheel.queue import (
    QUEUE,
    ItemFilter,
    Queue,
    fill_queue,
    list_items,
    set_queue,
    why_here,
)
from flywheel.records import unit_hash
from flywheel.settings import QueueSettings
from flywheel.store import Project, Stores
from flywheel.store.snapshots import current_run, replace_rows
from tests.conftest import trace
from tests.judged import DAY, add_scores, add_traces

NAMES = [f"t{i:03}" for i in range(400)]
# Every fifth trace: 80 against, 320 not.
FLAGGED = set(NAMES[::5])
SETTINGS = QueueSettings(daily_items=20, audit_share=0.5, review_due_items=20)
ALL = ItemFilter(status=None)


def metric(name: str, due: date, direction: Direction = "lower_is_better") -> Metric:
    return Metric(name, "trace", "trace", direction, "me", due, "What it says.", "1", "")


LATE, IN_TIME = metric("refusal", date(2026, 3, 1)), metric("refusal", DAY)


def add_labels(stores: Stores, name: str, flagged: Iterable[str], span: str | None = None) -> None:
    """Labels of a metric of yes or no on all traces."""
    key = {"day": DAY, "metric": name, "metric_version": "1", "judge_version": ""}
    is_flagged = set(flagged)
    rows = [
        key
        | {"trace_id": trace_id, "content_hash": f"v1-{trace_id}", "kind": "code"}
        | {"value": float(trace_id in is_flagged), "label": str(trace_id in is_flagged).lower()}
        | {"span_id": span}
        for trace_id in NAMES
    ]
    with stores.warehouse.open() as connection, connection.transaction():
        replace_rows(connection, "scores", key, pa.Table.from_pylist(rows))
        replace_rows(connection, "current_runs", *current_run(DAY, name, "1", ""))


@pytest.fixture
def stores(project: Project) -> Stores:
    """400 judged traces of one day, and a metric that speaks against 80 of them."""
    add_traces(project.stores, [trace(name, "hi", "hello", "no") for name in NAMES])
    add_scores(project.stores, dict.fromkeys(NAMES, 0.2))
    add_labels(project.stores, "refusal", FLAGGED)
    return project.stores


def test_a_metric_in_time_is_not_questioned(stores: Stores) -> None:
    assert "review_due" not in fill_queue(stores, SETTINGS, DAY, [IN_TIME]).by_reason


def test_nothing_is_drawn_where_the_settings_ask_for_nothing(stores: Stores) -> None:
    none = SETTINGS.model_copy(update={"review_due_items": 0})
    assert "review_due" not in fill_queue(stores, none, DAY, [LATE]).by_reason


def test_half_of_the_verdicts_speak_against_and_half_do_not(stores: Stores) -> None:
    fill_queue(stores, SETTINGS, DAY, [LATE])
    items = list_items(stores.ledger, ALL, 500).items
    questioned = {i.trace_id for i in items if any(m.is_questioned for m in i.metrics)}
    # Ten of 80 and ten of 320 in expectation, by hash.
    expected = {
        name
        for name in NAMES
        if unit_hash(name, "review_due:refusal") < 10 / (80 if name in FLAGGED else 320)
    }
    assert questioned == expected
    assert len(questioned & FLAGGED) > 3
    assert len(questioned - FLAGGED) > 3


def test_an_item_keeps_the_chance_of_any_draw_and_the_audits_stays(stores: Stores) -> None:
    fill_queue(stores, SETTINGS, DAY)
    plain = {i.trace_id: i.draw_probability for i in list_items(stores.ledger, ALL, 500).items}
    fill_queue(stores, SETTINGS, DAY, [LATE])
    items = list_items(stores.ledger, ALL, 500).items
    # 10 of 400 for the audit; all traces are alike, so 20 of 400 are drawn in all.
    for item in items:
        chance = 10 / (80 if item.trace_id in FLAGGED else 320)
        before = plain.get(item.trace_id, 20 / 400)
        assert before == pytest.approx(20 / 400)
        assert item.draw_probability == pytest.approx(1 - (1 - before) * (1 - chance))
        assert item.audit_probability == pytest.approx(10 / 400)


def test_a_metric_that_did_not_draw_an_item_counts_in_its_chance(stores: Stores) -> None:
    few = QueueSettings(daily_items=1, audit_share=0.5, review_due_items=64)
    add_labels(stores, "rude", FLAGGED)
    both = [LATE, metric("rude", date(2026, 1, 1))]
    fill_queue(stores, few, DAY, both)
    items = list_items(stores.ledger, ALL, 500).items
    asked = {item.trace_id: sum(m.is_questioned for m in item.metrics) for item in items}
    by_one = {name for name, n in asked.items() if n == 1}
    assert by_one & FLAGGED
    assert by_one - FLAGGED
    for item in items:
        # 32 of 80 are .4, and of two metrics 1 - .6 * .6 = .64; 32 of 320 are .1, and .19.
        either = 0.64 if item.trace_id in FLAGGED else 0.19
        assert item.draw_probability == pytest.approx(1 - (1 - 1 / 400) * (1 - either))


def test_two_late_metrics_draw_each_their_own(stores: Stores) -> None:
    add_labels(stores, "useful", NAMES[:200])
    useful = metric("useful", date(2026, 1, 1), "higher_is_better")
    fill_queue(stores, SETTINGS, DAY, [LATE, useful])
    names = Counter(
        m.metric
        for item in list_items(stores.ledger, ALL, 500).items
        for m in item.metrics
        if m.is_questioned
    )
    assert set(names) == {"refusal", "useful"}
    assert all(8 <= n <= 34 for n in names.values())


def test_the_reviewer_sees_which_metric_is_in_question(stores: Stores) -> None:
    set_queue(stores.ledger, Queue(QUEUE, is_blind=False), "ann")
    fill_queue(stores, SETTINGS, DAY, [LATE])
    items = list_items(stores.ledger, ALL, 500).items
    of = {i.trace_id in FLAGGED: why_here(i) for i in items if i.reason == "review_due"}
    due = "The review of refusal is overdue: say whether the metric is right here."
    judge = "The judge puts the chance of a perceived error at 20 %."
    assert of == {
        True: [due, judge, "The metric refusal speaks against it."],
        False: [due, judge],
    }


def test_the_same_day_twice_gives_the_same_items(stores: Stores) -> None:
    first = fill_queue(stores, SETTINGS, DAY, [LATE])
    before = list_items(stores.ledger, ALL, 500)
    second = fill_queue(stores, SETTINGS, DAY, [LATE])
    assert list_items(stores.ledger, ALL, 500) == before
    assert (second.drawn, second.already_open) == (first.drawn, first.drawn)


def test_a_trace_that_the_audit_drew_stays_an_audit(stores: Stores) -> None:
    whole = QueueSettings(daily_items=400, audit_share=1.0, review_due_items=20)
    report = fill_queue(stores, whole, DAY, [LATE])
    assert report.by_reason == {"random_audit": 400}


def test_a_metric_of_turns_is_drawn_by_trace(stores: Stores) -> None:
    add_labels(stores, "rude", NAMES[:40], span="turn:1")
    report = fill_queue(stores, SETTINGS, DAY, [metric("rude", date(2026, 1, 1))])
    assert report.by_reason["review_due"] > 5
