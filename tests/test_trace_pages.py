"""Traces and examples as pages: listed, read step by step, put into the queue, switched off."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from flywheel.loop import take_feedback
from flywheel.queue import get_item
from flywheel.retrieval.switches import list_switches
from flywheel.review import standing_decisions
from flywheel.store import Project
from flywheel.store.tables import served_examples, trace_documents
from flywheel.traces.documents import publish_documents
from flywheel.traces.feedback import keep_feedback
from flywheel.traces.span_pages import DocumentSpan
from flywheel.web.app import create_app
from flywheel.web.spans_view import MAX_INDENT, walk
from flywheel.web.traces_view import last_version
from tests.judged import add_traces
from tests.served import chat, fill
from tests.signed_in import add_person, client_of, csrf_of
from tests.spanned import TRACE, call, import_spans, step
from tests.test_feedback import annotated, row

HOSTILE = '<script>alert(1)</script>" onload="x'


@pytest.fixture
def app(project: Project) -> FastAPI:
    add_person(project, "eve", "engineer")
    add_person(project, "ann", "reviewer")
    return create_app(project)


@pytest.fixture
def eve(app: FastAPI) -> TestClient:
    return client_of(app, "eve")


def published(project: Project, *numbers: int, app: str = "shop") -> None:
    """Chats that can be shown."""
    add_traces(project.stores, [chat(number, app) for number in numbers])
    names = [f"{app}-{number:02}" for number in numbers]
    publish_documents(project.stores, [(name, f"v1-{name}") for name in names])


def test_traces_are_listed_and_filtered(project: Project, eve: TestClient) -> None:
    published(project, *range(60))
    published(project, 1, app="travel")
    page = eve.get("/traces").text
    assert "61 of 61 that can be shown" in page
    assert "1 to 50 of 61" in page
    assert "51 to 61 of 61" in eve.get("/traces?offset=50").text
    assert "1 of 61" in eve.get("/traces?app=travel").text
    assert "1 of 61" in eve.get("/traces", params={"session": "session-shop-07"}).text
    assert "2 of 61" in eve.get("/traces", params={"text": "TABLE FOR 3 on"}).text
    assert "0 of 61" in eve.get("/traces", params={"text": "100%"}).text
    assert "0 of 61" in eve.get("/traces?day=2026-03-03").text
    assert eve.get("/traces?day=soon").status_code == 422


def test_a_trace_is_listed_once_by_its_last_version(project: Project, eve: TestClient) -> None:
    published(project, 0)
    add_traces(project.stores, [chat(0)], version="v2")
    publish_documents(project.stores, [("shop-00", "v2-shop-00")])
    assert "1 of 1 that" in eve.get("/traces").text
    assert 'value="v2-shop-00"' in eve.get("/traces/shop-00").text
    with project.stores.ledger.begin() as ledger:
        ledger.execute(trace_documents.update().values(published_at=None))
    assert "1 of 1 that" in eve.get("/traces").text


@pytest.mark.parametrize("trace_id", ["a/b", "a b?c#d", "..", "a/../b", "%2F", "ö", HOSTILE])
def test_any_id_has_a_page(project: Project, eve: TestClient, trace_id: str) -> None:
    add_traces(project.stores, [chat(0) | {"trace_id": trace_id}])
    publish_documents(project.stores, [(trace_id, f"v1-{trace_id}")])
    page = eve.get("/traces").text
    assert HOSTILE not in page
    href = page.split('<td class="wide"><a href="')[1].split('"')[0].replace("&amp;", "&")
    assert eve.get(href).status_code == 200


def test_a_trace_that_is_not_there_is_said_so(eve: TestClient) -> None:
    assert eve.get("/traces/none").status_code == 404


def test_steps_are_shown_as_a_tree_with_what_went_wrong(
    project: Project, eve: TestClient, tmp_path: Path
) -> None:
    steps = [
        step(0, None, openinference__span__kind="AGENT", name=HOSTILE),
        call(1, 0),
        step(2, 1, error=HOSTILE, output__value=HOSTILE),
        step(3, 98),
    ]
    import_spans(project, tmp_path, steps)
    page = eve.get(f"/traces/{TRACE}?view=graph").text
    assert HOSTILE not in page
    assert "A table for four on Friday" in page
    assert "4 steps" in page
    assert "1 failed" in page
    assert "its caller has not come" in page
    assert '<svg class="tree"' in page
    assert 'class="wide step-2"' in page
    assert '<td class="number">15</td>' in page
    version = last_version(project.stores.ledger, TRACE)
    one = eve.get("/span", params={"id": TRACE, "hash": version, "position": 2}).text
    assert HOSTILE not in one
    assert "alert(1)" in one
    missing = {"id": TRACE, "hash": version, "position": 4}
    assert eve.get("/span", params=missing).status_code == 422


def test_many_steps_come_page_by_page(project: Project, eve: TestClient, tmp_path: Path) -> None:
    import_spans(project, tmp_path, [call(0, None), *(step(n, n - 1) for n in range(1, 1_000))])
    page = eve.get(f"/traces/{TRACE}?span=100").text
    assert "101 to 200 of 1,000 steps" in page
    assert len(page) < 200_000
    assert "901 to 1,000" in eve.get(f"/traces/{TRACE}?span=5000").text


def outline(*parents: int | None) -> list[DocumentSpan]:
    """An outline in which the n-th span has this parent."""
    blank = (None,) * 9
    return [
        DocumentSpan(n, f"s{n}", None if p is None else f"s{p}", "tool", "", *blank)
        for n, p in enumerate(parents)
    ]


def test_the_tree_is_walked_whatever_it_is() -> None:
    nodes = list(walk(outline(None, 0, 1, 0)))
    assert [(n.span.position, n.depth, n.parent) for n in nodes] == [
        *((0, 0, None), (1, 1, 0), (2, 2, 1), (3, 1, 0))
    ]
    circle = list(walk(outline(1, 0, 2, 77)))
    assert sorted(n.span.position for n in circle) == [0, 1, 2, 3]
    deep = list(walk(outline(None, *range(50_000))))
    assert deep[-1].depth == 50_000
    assert MAX_INDENT < 50_000


def test_an_engineer_puts_any_trace_into_the_queue(
    project: Project, app: FastAPI, eve: TestClient
) -> None:
    published(project, 0)
    fields = {"id": "shop-00", "hash": "v1-shop-00", "csrf": csrf_of(app, eve)}
    assert "Put into the queue" in eve.get("/traces/shop-00").text
    place = eve.post("/pick", data=fields).headers["location"]
    item = get_item(project.stores.ledger, int(place.rsplit("/", 1)[1]))
    assert (item.trace_id, item.reason) == ("shop-00", "picked")
    assert "wants it looked at" in eve.get(place).text
    assert "Put into the queue" not in eve.get("/traces/shop-00").text
    ann = client_of(app, "ann")
    assert "Put into the queue" not in ann.get("/traces/shop-00").text
    assert ann.post("/pick", data=fields | {"csrf": csrf_of(app, ann)}).status_code == 403


def test_what_users_said_is_a_suggestion_to_the_reviewer(
    project: Project, app: FastAPI, eve: TestClient
) -> None:
    published(project, 0)
    rows = [row(comment=HOSTILE, correction="Friday, please")]
    keep_feedback(project.stores.ledger, "shop", rows)
    take_feedback(project)
    for who in (eve, client_of(app, "ann")):
        for path in ("/traces/shop-00", "/items/1"):
            page = who.get(path).text
            assert "Suggested by a user" in page
            assert "Friday, please" in page
            assert HOSTILE not in page


def test_a_blind_reviewer_is_not_told_what_users_said(project: Project, app: FastAPI) -> None:
    fill(project, [chat(0)])
    keep_feedback(project.stores.ledger, "shop", [row(comment="It was Friday")])
    ann = client_of(app, "ann")
    for path in ("/traces/shop-00", "/items/1"):
        page = ann.get(path).text
        assert "It was Friday" not in page
        assert "because of shop-00" not in page


def test_a_decision_of_another_tool_is_taken_back(
    project: Project, app: FastAPI, eve: TestClient
) -> None:
    published(project, 0)
    keep_feedback(project.stores.ledger, "shop", [annotated()])
    take_feedback(project)
    assert "langfuse:ada" in eve.get("/traces/shop-00").text
    (one,) = standing_decisions(project.stores.ledger)
    fields = {"id": "shop-00", "decision_id": one.decision_id, "csrf": csrf_of(app, eve)}
    assert eve.post("/take-back", data=fields).status_code == 303
    assert list(standing_decisions(project.stores.ledger)) == []
    assert eve.post("/take-back", data=fields).status_code == 409


def serve(project: Project, n: int, correction_id: str = "7", app: str = "shop") -> None:
    """An example as it is noted when it is served, some times over."""
    given = {"request_id": "r", "app": app, "correction_id": correction_id, "rank": 1}
    given |= {"example_trace_id": "shop-00", "similarity": 0.8, "score": 0.7, "index_version": "i"}
    at = datetime(2026, 3, 5, 9, 30, tzinfo=UTC)
    with project.stores.ledger.begin() as ledger:
        ledger.execute(served_examples.insert(), [{**given, "served_at": at}] * n)


def test_examples_are_counted_and_switched_off_and_on(
    project: Project, app: FastAPI, eve: TestClient
) -> None:
    published(project, 0)
    serve(project, 12)
    serve(project, 3, HOSTILE, "travel")
    page = eve.get("/examples").text
    assert "2 of 2 that were served" in page
    assert HOSTILE not in page
    assert "2026-03-05 09:30" in page
    assert "1 of 2 that were served" in eve.get("/examples?app=shop").text
    csrf = {"csrf": csrf_of(app, eve)}
    for scope, subject in (("example", "7"), ("app", "shop"), ("all", "")):
        fields = csrf | {"scope": scope, "subject": subject, "to": "off", "why": "it is wrong"}
        assert eve.post("/examples/switch", data=fields).status_code == 303
    assert len(list_switches(project.stores.ledger)) == 3
    assert "No application is served any example" in eve.get("/examples").text
    fields = csrf | {"scope": "all", "subject": "", "to": "on"}
    assert eve.post("/examples/switch", data=fields).status_code == 303
    assert len(list_switches(project.stores.ledger)) == 2
    assert client_of(app, "ann").get("/examples").status_code == 403
