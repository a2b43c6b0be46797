"""The queue and an item as pages: what they show to whom, and what their forms do."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx import Response

from flywheel.queue import ItemFilter, Queue, get_item, list_items, set_queue
from flywheel.review import standing_decisions
from flywheel.store import Project
from flywheel.web.app import create_app
from flywheel.web.filters import asked_in, asked_of
from tests.served import agent, chat, fill
from tests.signed_in import add_person, client_of, csrf_of


@dataclass
class Reader:
    """Somebody who is signed in, and their session's forms."""

    app: FastAPI
    client: TestClient
    name: str

    def get(self, path: str) -> Response:
        return self.client.get(path)

    def send(self, path: str, **fields: object) -> Response:
        return self.client.post(path, data={"csrf": csrf_of(self.app, self.client)} | fields)


@pytest.fixture
def app(project: Project) -> Iterator[FastAPI]:
    fill(project, [agent(0), *(chat(i) for i in range(4))])
    made = create_app(project)
    with TestClient(made):
        yield made


def reader(app: FastAPI, name: str = "ann", role: str = "reviewer") -> Reader:
    add_person(app.state.web.project, name, role)
    return Reader(app, client_of(app, name), name)


def items(served: FastAPI, **wanted: object) -> list[int]:
    found = list_items(served.state.web.stores.ledger, ItemFilter(**wanted))
    return [item.item_id for item in found.items]


def agents_item(app: FastAPI) -> int:
    return items(app, app="travel")[0]


def corrections(app: FastAPI) -> list[tuple[int | None, str | None, str | None]]:
    return [
        (d.decision.corrected_turn, d.decision.corrected_text, d.decision.corrected_tool_calls)
        for d in standing_decisions(app.state.web.stores.ledger)
    ]


def test_a_filter_travels_as_text() -> None:
    asked = asked_of({"app": "a&b=c", "status": "any", "day": "2026-03-02", "other": "x"})
    assert asked_in(asked.query()) == asked
    assert asked_of({}).query() == ""
    assert asked_in("status=") == asked_of({"status": "pending"})


def test_a_filter_that_asks_for_what_there_is_not_is_told_what_there_is(app: FastAPI) -> None:
    ann = reader(app)
    answer = ann.get("/queue?status=done")
    assert answer.status_code == 422
    assert "pending, disputed, complete, declined" in answer.text
    assert "write it as 2026-03-31" in ann.get("/queue?day=today").text


def test_a_reviewer_cannot_filter_by_what_the_judge_thinks(app: FastAPI) -> None:
    everything = len(items(app))
    ann, eve = reader(app), reader(app, "eve", "engineer")
    assert f"{everything} of {everything} items" in ann.get("/queue?reason=random_audit").text
    assert f"0 of {everything} items" in eve.get("/queue?reason=complaint").text


def test_review_claims_the_most_urgent_item_and_leads_to_it(app: FastAPI) -> None:
    first, second = items(app)[:2]
    ann, bob = reader(app), reader(app, "bob")
    assert ann.get("/review").headers["location"] == f"/items/{first}"
    assert ann.get("/review").headers["location"] == f"/items/{first}"
    assert bob.get("/review").headers["location"] == f"/items/{second}"


def test_next_leafs_through_items_and_previous_goes_back_to_what_was_done(app: FastAPI) -> None:
    first, second, third = items(app)[:3]
    ann = reader(app)
    assert ann.get("/review").headers["location"] == f"/items/{first}"
    assert ann.get(f"/review?after={first}").headers["location"] == f"/items/{second}"
    assert ann.get(f"/review?after={second}").headers["location"] == f"/items/{third}"
    ann.send(f"/items/{first}/decide", perceived_error="no")
    assert ann.get(f"/review/previous?before={third}").headers["location"] == f"/items/{first}"


def test_a_blind_reviewer_sees_the_judges_word_only_after_deciding(app: FastAPI) -> None:
    item_id = items(app)[0]
    why = get_item(app.state.web.stores.ledger, item_id).judge_reason
    assert why
    ann = reader(app)
    assert why not in ann.get(f"/items/{item_id}").text
    ann.send(f"/items/{item_id}/decide", perceived_error="yes", reason_code="rejection")
    assert why in ann.get(f"/items/{item_id}").text


def test_who_declines_a_blind_item_learns_nothing_that_an_undo_would_let_them_use(
    app: FastAPI,
) -> None:
    set_queue(app.state.web.stores.ledger, Queue("review", 2, 0.0, True), "test")
    ann, bob = reader(app), reader(app, "bob")
    item_id = agents_item(app)
    ann.send(f"/items/{item_id}/decide", perceived_error="yes", reason="the city is wrong")
    bob.send(f"/items/{item_id}/decline")
    shown = bob.get(f"/items/{item_id}").text
    assert get_item(app.state.web.stores.ledger, item_id).status == "declined"
    assert "The judge</h2>" not in shown
    assert "the city is wrong" not in shown
    # Who has decided knows both already.
    assert "The judge</h2>" in ann.get(f"/items/{item_id}").text


def test_a_blind_reviewer_reads_no_remark_of_who_has_decided(app: FastAPI) -> None:
    set_queue(app.state.web.stores.ledger, Queue("review", 2, 0.0, True), "test")
    ann, bob, cat = reader(app), reader(app, "bob"), reader(app, "cat")
    item_id = agents_item(app)
    ann.send(f"/items/{item_id}/decide", perceived_error="yes")
    ann.send(f"/items/{item_id}/comment", text="clearly wrong")
    cat.send(f"/items/{item_id}/comment", text="who knows Ely?")
    shown = bob.get(f"/items/{item_id}").text
    assert "clearly wrong" not in shown
    assert "who knows Ely?" in shown
    bob.send(f"/items/{item_id}/decide", perceived_error="yes")
    assert "clearly wrong" in bob.get(f"/items/{item_id}").text


def test_in_an_open_queue_the_judges_word_is_there_from_the_start(app: FastAPI) -> None:
    ledger = app.state.web.stores.ledger
    set_queue(ledger, Queue("review", 1, 0.0, False), "eve")
    item_id = items(app)[0]
    page = reader(app).get(f"/items/{item_id}").text
    item = get_item(ledger, item_id)
    assert item.judge_reason in page
    assert f"{item.probability:.0%}" in page


def test_who_comes_second_reads_who_holds_the_item_and_has_no_form(app: FastAPI) -> None:
    item_id = items(app)[0]
    ann, bob = reader(app), reader(app, "bob")
    assert 'id="decide"' in ann.get(f"/items/{item_id}").text
    page = bob.get(f"/items/{item_id}").text
    assert "ann" in page
    assert 'id="decide"' not in page


def test_an_untouched_editor_corrects_nothing(app: FastAPI) -> None:
    item_id = agents_item(app)
    ann = reader(app)
    page = ann.get(f"/items/{item_id}?correct=1").text
    arguments = re.search(r'name="call_arguments_0"[^>]*>\n(.*?)</textarea>', page, re.S)
    assert arguments is not None
    ann.send(
        f"/items/{item_id}/decide",
        perceived_error="yes",
        corrected_turn="1",
        call_id_0="call_1",
        call_name_0="find_room",
        call_arguments_0=arguments[1].replace("&#34;", '"').replace("\n", "\r\n"),
    )
    assert corrections(app) == [(None, None, None)]


def test_a_tool_call_in_the_middle_is_corrected_and_shown_as_a_difference(app: FastAPI) -> None:
    item_id = agents_item(app)
    ann = reader(app)
    better = {
        "corrected_turn": "1",
        "call_id_0": "call_1",
        "call_name_0": "find_room",
        "call_arguments_0": '{"city": "Cambridge", "nights": 2}',
    }
    live = ann.send(f"/items/{item_id}/diff", **better)
    assert re.search(r"<del>.*Ely.*</del>", live.text, re.S)
    assert re.search(r"<ins>.*Cambridge.*</ins>", live.text, re.S)
    ann.get(f"/items/{item_id}")
    ann.send(f"/items/{item_id}/decide", perceived_error="yes", **better)
    (turn, text, calls), *_ = corrections(app)
    assert (turn, text) == (1, None)
    assert "Cambridge" in calls
    assert "Cambridge" in ann.get(f"/items/{item_id}").text


def test_what_is_refused_says_why_and_changes_nothing(app: FastAPI) -> None:
    item_id = agents_item(app)
    ann = reader(app)
    ann.get(f"/items/{item_id}")
    for fields, why in (
        ({"perceived_error": "no", "reason_code": "rejection"}, "perceived_error is false"),
        ({"perceived_error": "perhaps"}, "boolean"),
        ({"perceived_error": "yes", "corrected_turn": "0", "corrected_text": "x"}, "assistant"),
        ({"perceived_error": "yes", "corrected_turn": "99", "corrected_text": "x"}, "last message"),
    ):
        answer = ann.send(f"/items/{item_id}/decide", **fields)
        assert answer.status_code == 422, fields
        assert why in answer.text.replace("&#39;", "'"), fields
    assert not corrections(app)


def test_undo_takes_back_step_by_step_and_says_what(app: FastAPI) -> None:
    first, second = items(app)[:2]
    ann = reader(app)
    ann.send(f"/items/{first}/decide", perceived_error="no")
    ann.send(f"/items/{second}/skip")
    assert ann.send("/undo").headers["location"] == f"/items/{second}?note=undone-skip"
    back = ann.send("/undo").headers["location"]
    assert back == f"/items/{first}?note=undone-decide"
    assert "taken back" in ann.get(back).text
    assert ann.send("/undo").status_code == 409


def test_skipped_items_come_back_when_asked_for(app: FastAPI) -> None:
    ann = reader(app)
    for item_id in items(app):
        ann.send(f"/items/{item_id}/skip")
    page = ann.get("/review").text
    assert "Nothing waits for you" in page
    assert f"You have skipped {len(items(app))}" in page
    ann.send("/review/unskip")
    assert ann.get("/review").status_code == 303


def test_a_dispute_shows_both_words_and_is_settled_once(app: FastAPI) -> None:
    item_id = items(app)[0]
    set_queue(app.state.web.stores.ledger, Queue("review", 2, 0.0, True), "eve")
    ann, bob, eve = reader(app), reader(app, "bob"), reader(app, "eve", "engineer")
    ann.send(f"/items/{item_id}/decide", perceived_error="yes", reason="He said Friday.")
    bob.send(f"/items/{item_id}/decide", perceived_error="no")
    assert f"/items/{item_id}" in eve.get("/adjudicate").text
    assert "He said Friday." in eve.get(f"/items/{item_id}").text
    assert "He said Friday." not in bob.get(f"/items/{item_id}").text
    assert ann.send(f"/items/{item_id}/adjudicate", perceived_error="no").status_code == 403
    assert eve.send(f"/items/{item_id}/adjudicate", perceived_error="yes").status_code == 303
    assert get_item(app.state.web.stores.ledger, item_id).status == "complete"
    assert eve.send(f"/items/{item_id}/adjudicate", perceived_error="no").status_code == 409


def test_comments_and_the_sensitive_flag_stay_with_the_trace(app: FastAPI) -> None:
    item_id = items(app)[0]
    ann = reader(app)
    ann.send(f"/items/{item_id}/comment", text="<b>Ask</b> the desk.")
    ann.send(f"/items/{item_id}/sensitive", flag="yes")
    page = ann.get(f"/items/{item_id}").text
    assert "&lt;b&gt;Ask&lt;/b&gt; the desk." in page
    assert "Not sensitive after all" in page
    ann.send(f"/items/{item_id}/sensitive", flag="no")
    assert "Flag as sensitive" in ann.get(f"/items/{item_id}").text


def test_bulk_work_says_how_many_and_needs_something_chosen(app: FastAPI) -> None:
    eve = reader(app, "eve", "engineer")
    everything = items(app)
    assert eve.send("/queue/bulk", action="decline").status_code == 422
    declined = eve.send("/queue/bulk", action="decline", item_ids=everything[:2])
    assert "2+items" in declined.headers["location"]
    assert items(app, status="declined") == everything[:2]
    eve.send("/queue/bulk", action="requeue", scope="matching", then="status=declined")
    assert items(app) == everything
    add_person(app.state.web.project, "cy", "reviewer")
    eve.send("/queue/bulk", action="assign", to="cy", item_ids=everything[:1])
    assert get_item(app.state.web.stores.ledger, everything[0]).assigned_to == "cy"


def test_a_long_trace_comes_in_pages_and_a_long_message_in_parts(project: Project) -> None:
    words = ("word " * 60_000).strip()
    long = chat(0) | {
        "trace_id": "a/b?c=d e",
        "messages": [
            {"role": "user" if i % 2 == 0 else "assistant", "content": f"message-{i}."}
            for i in range(200)
        ]
        + [{"role": "user", "content": words}, {"role": "assistant", "content": "So it is."}],
    }
    fill(project, [long])
    app = create_app(project)
    with TestClient(app):
        ann = reader(app)
        page = ann.get(f"/items/{items(app)[0]}?first=100").text
        assert "message-100." in page
        assert "message-149." in page
        assert "message-150." not in page
        assert "100 before these" in page
        assert "52 after these" in page
        last = ann.get(f"/items/{items(app)[0]}").text
        more = re.search(r'href="(/message[^"]+)"', last)
        assert more is not None
        whole = ann.get(more[1].replace("&amp;", "&"))
        assert "Part 1 of 3" in whole.text
        raw = ann.get(more[1].replace("&amp;", "&") + "&raw=1")
        assert raw.text == words
        assert raw.headers["content-type"].startswith("text/plain")
