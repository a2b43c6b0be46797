"""What is said of traces outside the review: kept once, scored, queued, decided by, and no more."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from flywheel.corrections import derive_labels
from flywheel.loop import take_feedback
from flywheel.quality.audit import queued_items
from flywheel.queue import ItemFilter, fill_queue, list_items, pick_trace
from flywheel.review import decide, standing_decisions
from flywheel.review.external import take_back
from flywheel.settings import QueueSettings
from flywheel.store import Project, open_project
from flywheel.store.ledger import Ledger
from flywheel.store.tombstones import Tombstone
from flywheel.traces.documents import publish_documents
from flywheel.traces.feedback import FeedbackRow, feedback_on, keep_feedback
from flywheel.web.app import create_app
from tests.judged import DAY, add_scores, add_traces, said
from tests.served import agent, chat, key_of
from tests.signed_in import stranger

NOON = datetime(2026, 3, 3, 12, tzinfo=UTC)


def row(trace_id: str = "shop-00", value: float | None = 0.0, **more: object) -> FeedbackRow:
    """A thumb of an end user, with the least that it needs."""
    given = {"span_id": None, "name": "thumbs", "label": None, "comment": None, "author": None}
    given |= {"correction": None, "source": "end_user", "user_id": "u1", "given_at": NOON}
    return FeedbackRow(trace_id=trace_id, value=value, **{**given, "origin": "api:", **more})  # type: ignore[arg-type]


@pytest.fixture
def app(project: Project) -> Iterable[TestClient]:
    """A client whose key may send, as an application's."""
    client = stranger(create_app(project))
    client.headers["Authorization"] = f"Bearer {key_of(project, 'app', 'service')}"
    with client:
        yield client


def scores(project: Project) -> list[tuple[object, ...]]:
    """What feedback amounts to, in the warehouse."""
    with project.stores.warehouse.open() as connection:
        return connection.raw.execute(
            "select day, trace_id, metric, kind, value, reason from current_scores "
            "where metric like 'feedback:%' order by trace_id, metric"
        ).fetchall()


def add_span(project: Project, output: str) -> None:
    """A span `s1` of the trace shop-00."""
    with project.stores.warehouse.open() as connection:
        connection.raw.execute(
            "insert into spans by name select 'shop' as app, 'shop-00' as trace_id, "
            "'s1' as span_id, $day::date as day, 'llm' as kind, 'call' as name, "
            "$output::json as output, '' as span_hash, 1 as import_id, 1 as line_no",
            {"day": DAY, "output": output},
        )


def test_feedback_is_committed_when_it_is_answered(project: Project, app: TestClient) -> None:
    body = {"trace_id": "shop-00", "thumbs": "down", "comment": "Wrong day", "user_id": "u1"}
    assert app.post("/v1/feedback", json=body).json() == {"kept": 1, "known": 0}
    (kept,) = feedback_on(project.stores.ledger, "shop-00")
    assert (kept["value"], kept["comment"], kept["source"]) == (0, "Wrong day", "end_user")


def test_feedback_that_is_sent_again_is_kept_once(project: Project, app: TestClient) -> None:
    bodies = [
        {"trace_id": "shop-00", "value": 1, "idempotency_key": "a"},
        {"trace_id": "shop-00", "value": 1, "idempotency_key": "b"},
    ]
    assert app.post("/v1/feedback", json=bodies).json() == {"kept": 2, "known": 0}
    assert app.post("/v1/feedback", json=bodies).json() == {"kept": 0, "known": 2}


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({}, "trace_id or span_id"),
        ({"trace_id": "a"}, "it says nothing"),
        ({"trace_id": "a", "thumbs": "down", "value": 1}, "give one of them"),
        ({"trace_id": "a", "comment": "x" * 20_001}, "at most 20000"),
        ({"trace_id": "a", "value": 1, "colour": "red"}, "Extra inputs"),
        ([], "at least 1"),
        ([{"trace_id": "a", "value": 1}] * 1_001, "at most 1000"),
    ],
)
def test_what_is_wrong_is_refused_and_why(app: TestClient, wrong: object, why: str) -> None:
    answer = app.post("/v1/feedback", json=wrong)
    assert answer.status_code == 422
    assert why in answer.text


def test_a_program_is_no_annotator(project: Project, app: TestClient) -> None:
    body = {"trace_id": "a", "correction": "Better", "source": "annotator"}
    assert app.post("/v1/feedback", json=body).status_code == 403
    key = key_of(project, "ada", "reviewer")
    answer = app.post("/v1/feedback", json=body, headers={"Authorization": f"Bearer {key}"})
    assert answer.status_code == 403, "a reviewer sends no traces"
    key = key_of(project, "eve", "engineer")
    answer = app.post("/v1/feedback", json=body, headers={"Authorization": f"Bearer {key}"})
    assert answer.json() == {"kept": 1, "known": 0}
    assert feedback_on(project.stores.ledger, "a")[0]["author"] == "eve"


def test_nothing_is_kept_of_who_was_forgotten(project: Project, app: TestClient) -> None:
    tombstones = project.stores.tombstones
    assert tombstones is not None
    tombstones.add(Tombstone("f-1", "2026-01-01", "shop", tombstones.mark("user", "u-1", "shop")))
    said = {"trace_id": "t", "app": "shop", "user_id": "u-1", "thumbs": "down"}
    assert app.post("/v1/feedback", json=said).json() == {"kept": 0, "known": 1}
    assert app.post("/v1/feedback", json=said | {"app": "desk"}).json() == {"kept": 1, "known": 0}


def test_private_text_is_masked_before_it_is_kept(tmp_path: Path) -> None:
    (tmp_path / "flywheel.toml").write_text('[privacy]\nrules = ["email"]\n')
    project = open_project(tmp_path)
    client = stranger(create_app(project))
    client.headers["Authorization"] = f"Bearer {key_of(project, 'app', 'service')}"
    client.post("/v1/feedback", json={"trace_id": "t", "comment": "I am ada@example.com"})
    assert feedback_on(project.stores.ledger, "t")[0]["comment"] == "I am <EMAIL_ADDRESS>"
    project.stores.ledger.close()


def test_feedback_that_no_database_can_hold_is_made_so(ledger: Ledger) -> None:
    odd = row(comment="a\0b \ud83d", value=float("inf"), name="n" * 100)
    assert keep_feedback(ledger, "shop", [odd, odd]) == 1
    (kept,) = feedback_on(ledger, "shop-00")
    assert kept["comment"] == "a\ufffdb ?"
    assert kept["value"] is None
    assert kept["app"] == "shop"


def test_feedback_scores_its_trace_even_if_it_came_first(project: Project) -> None:
    keep_feedback(project.stores.ledger, "shop", [row(comment="Wrong day")])
    assert take_feedback(project).waiting == 1
    assert scores(project) == []
    add_traces(project.stores, [chat(0)])
    assert take_feedback(project).waiting == 0
    assert scores(project) == [(DAY, "shop-00", "feedback:thumbs", "human", 0.0, "Wrong day")]


def test_the_last_word_of_a_giver_counts_and_people_before_models(project: Project) -> None:
    add_traces(project.stores, [chat(0), chat(1)])
    later = NOON + timedelta(hours=1)
    rows = [
        row(value=0.0),
        row(value=1.0, given_at=later),
        row(value=0.0, user_id="u2"),
        row(value=0.0, source="llm", author="gpt"),
        row("shop-01", 0.25, source="llm", name="tone"),
    ]
    keep_feedback(project.stores.ledger, "shop", rows)
    for _ in range(2):
        take_feedback(project)
        assert [one[1:5] for one in scores(project)] == [
            ("shop-00", "feedback:thumbs", "human", 0.5),
            ("shop-01", "feedback:tone", "llm", 0.25),
        ]


def test_feedback_on_a_span_alone_finds_its_trace(project: Project) -> None:
    add_traces(project.stores, [chat(0)])
    add_span(project, "[]")
    keep_feedback(project.stores.ledger, "shop", [row("", span_id="s1")])
    take_feedback(project)
    assert feedback_on(project.stores.ledger, "shop-00")[0]["span_id"] == "s1"
    with project.stores.warehouse.open() as connection:
        found = connection.raw.execute("select trace_id, span_id, value from scores").fetchall()
    assert found == [("shop-00", "s1", 0.0)]


def test_a_complaint_draws_an_item_once(project: Project) -> None:
    add_traces(project.stores, [chat(0), chat(1), chat(2)])
    rows = [row(), row("shop-01", 1.0), row("shop-02", 0.0, source="llm")]
    keep_feedback(project.stores.ledger, "shop", rows)
    assert take_feedback(project).complaints == 1
    assert take_feedback(project).complaints == 0
    (item,) = list_items(project.stores.ledger, ItemFilter(), 9).items
    assert (item.trace_id, item.queue, item.reason) == ("shop-00", "complaints", "complaint")
    assert item.draw_probability == 1
    assert item.opening


def test_a_complaint_about_what_people_decided_on_draws_nothing(project: Project) -> None:
    add_traces(project.stores, [chat(0)])
    decide(project.stores.ledger, said("shop-00", True))
    derive_labels(project.stores)
    keep_feedback(project.stores.ledger, "shop", [row()])
    assert take_feedback(project).complaints == 0


def test_the_chance_of_a_draw_is_its_own_whatever_users_complain_of(project: Project) -> None:
    """Complaints before and after the draw: the estimates see the draw alone."""
    names = [f"shop-{number:02}" for number in range(20)]
    settings = QueueSettings(daily_items=8)

    def chances(of: Project, complains: bool) -> dict[object, object]:
        add_traces(of.stores, map(chat, range(20)))
        add_scores(of.stores, {name: 0.04 * i for i, name in enumerate(names)})
        if complains:
            keep_feedback(of.stores.ledger, "shop", [row(name) for name in names[:10]])
            take_feedback(of)
        fill_queue(of.stores, settings, DAY)
        if complains:
            keep_feedback(of.stores.ledger, "shop", [row(name) for name in names])
            take_feedback(of)
            fill_queue(of.stores, settings, DAY)
        drawn = queued_items(of.stores.ledger).to_pylist()
        return {r["trace_id"]: r["draw_probability"] for r in drawn if not r["is_panel"]}

    other = open_project(project.folder / "other")
    quiet = chances(other, complains=False)
    assert 0 < len(quiet) < 20
    assert chances(project, complains=True) == quiet
    other.stores.ledger.close()


def test_what_an_engineer_picks_has_no_chance(project: Project) -> None:
    add_traces(project.stores, [chat(0)])
    publish_documents(project.stores, [("shop-00", "v1-shop-00")])
    ledger = project.stores.ledger
    item_id = pick_trace(ledger, "shop-00", "v1-shop-00", "eve")
    assert pick_trace(ledger, "shop-00", "v1-shop-00", "eve") == item_id
    decide(ledger, said("shop-00", True), None)
    (decision,) = standing_decisions(ledger)
    assert decision.decision.draw_probability is None
    assert queued_items(ledger).to_pylist()[0]["draw_probability"] is None


def annotated(**more: object) -> FeedbackRow:
    """A better answer by somebody in another tool."""
    given = {"source": "annotator", "author": "ada", "correction": "On Friday.", "user_id": None}
    return row(value=None, **{**given, "origin": "langfuse:score-1", **more})


def test_an_annotators_correction_becomes_a_decision_once(project: Project) -> None:
    add_traces(project.stores, [chat(0)])
    keep_feedback(project.stores.ledger, "shop", [annotated(comment="Not Thursday")])
    assert take_feedback(project).corrections == 1
    assert take_feedback(project).corrections == 0
    (one,) = standing_decisions(project.stores.ledger)
    decision = one.decision
    assert (decision.reviewer, decision.perceived_error) == ("langfuse:ada", True)
    assert (decision.corrected_turn, decision.corrected_text) == (3, "On Friday.")
    assert decision.reason == "Not Thursday"
    assert derive_labels(project.stores).corrections == 1


def test_an_external_decision_can_be_taken_back_and_stays_so(project: Project) -> None:
    add_traces(project.stores, [chat(0)])
    ledger = project.stores.ledger
    keep_feedback(ledger, "shop", [annotated()])
    take_feedback(project)
    (one,) = standing_decisions(ledger)
    take_back(ledger, one.decision_id, "eve")
    assert take_feedback(project).corrections == 0
    assert list(standing_decisions(ledger)) == []


def test_a_correction_of_a_span_is_of_what_that_span_answered(project: Project) -> None:
    add_traces(project.stores, [chat(0)])
    add_span(project, '[{"role": "assistant", "content": "Booked for Thursday."}]')
    keep_feedback(project.stores.ledger, "shop", [annotated(span_id="s1")])
    take_feedback(project)
    (one,) = standing_decisions(project.stores.ledger)
    assert one.decision.corrected_turn == 1


def test_a_correction_of_a_span_is_compared_with_what_that_span_answered(project: Project) -> None:
    add_traces(project.stores, [chat(0)])
    add_span(project, '[{"role": "assistant", "content": "Booked for Thursday."}]')
    said_last = annotated(span_id="s1", correction="Sorry. It is Friday now.")
    keep_feedback(project.stores.ledger, "shop", [said_last])
    assert take_feedback(project).corrections == 1


def test_what_an_end_user_would_rather_read_is_no_decision(project: Project) -> None:
    add_traces(project.stores, [agent(0, "shop")])
    keep_feedback(project.stores.ledger, "shop", [row(correction="In Cambridge.")])
    assert take_feedback(project).corrections == 0
    assert list(standing_decisions(project.stores.ledger)) == []
