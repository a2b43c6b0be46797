"""The HTTP API: by key, and what a page can do, a program can do; and the page that exports."""

import io
import json
import zipfile
from collections.abc import Callable
from datetime import timedelta

import httpx
import pytest
import sqlalchemy as sa
from fastapi import FastAPI
from fastapi.testclient import TestClient

from flywheel.judge.rubric import load_rubric
from flywheel.queue import Queue, fill_queue, set_queue
from flywheel.records import Role
from flywheel.review import standing_decisions
from flywheel.settings import QueueSettings
from flywheel.store import Project
from flywheel.store.ledger import now
from flywheel.store.tables import audit_log, claims, queue_items
from flywheel.web.app import create_app
from flywheel.web.items_view import checked_tool_calls, decision_form
from flywheel.web.keys import new_key
from tests.conftest import trace
from tests.judged import DAY, add_scores, add_traces
from tests.signed_in import BASE, add_person, client_of, csrf_of

CALLS = [
    {
        "id": "call_1",
        "type": "function",
        "function": {"name": "find", "arguments": '{"city": "Ely"}'},
    }
]
CHATS = [
    trace(f"chat-{number}", "a table for 4", "For 2.", "no, 4", "Sorry.") for number in range(3)
]
AGENT = trace("agent") | {
    "app": "travel",
    "messages": [
        {"role": "user", "content": "a room in Cambridge", "tool_calls": None},
        {"role": "assistant", "content": "", "tool_calls": json.dumps(CALLS)},
        {"role": "tool", "content": "Lamb", "tool_calls": None},
        {"role": "assistant", "content": "The Lamb.", "tool_calls": None},
        {"role": "user", "content": "that is in Ely", "tool_calls": None},
    ],
}
ERROR = {"perceived_error": True, "reason_code": "correction"}
FINE = {"perceived_error": False}

Client = Callable[[str, Role], TestClient]


@pytest.fixture
def app(project: Project) -> FastAPI:
    """The app of a project with four items; the agent's is the most urgent."""
    add_traces(project.stores, [AGENT, *CHATS])
    names = ["agent", *(str(one["trace_id"]) for one in CHATS)]
    add_scores(project.stores, {name: 0.9 - i / 10 for i, name in enumerate(names)})
    fill_queue(project.stores, QueueSettings(daily_items=50, audit_share=0.1), DAY)
    # By the judge's doubt alone, whatever the draw made of it.
    with project.stores.ledger.begin() as ledger:
        for priority, name in enumerate(reversed(names)):
            item = queue_items.c.trace_id == name
            ledger.execute(queue_items.update().where(item).values(priority=priority))
    return create_app(project)


@pytest.fixture
def by_key(app: FastAPI, project: Project) -> Client:
    """Clients that come with a key of a user who is made for it."""
    made: dict[str, TestClient] = {}

    def client(name: str, role: Role = "reviewer") -> TestClient:
        if name not in made:
            key = new_key(project.stores.ledger, add_person(project, name, role), "test")
            headers = {"Authorization": f"Bearer {key}"}
            made[name] = TestClient(app, BASE, headers=headers, follow_redirects=False)
        return made[name]

    return client


def id_of(project: Project, trace_id: str) -> int:
    wanted = sa.select(queue_items.c.item_id).where(queue_items.c.trace_id == trace_id)
    with project.stores.ledger.read() as ledger:
        return int(ledger.execute(wanted).scalar_one())


def open_queue(project: Project, reviewers: int = 1) -> None:
    set_queue(project.stores.ledger, Queue("review", reviewers, 0.0, is_blind=False), "test")


def said_by(response: httpx.Response, status: int) -> str:
    """The sentence of a refusal."""
    assert response.status_code == status, response.text
    assert set(response.json()) == {"error"}
    return str(response.json()["error"])


def test_a_key_says_whose_it_is(by_key: Client) -> None:
    assert by_key("ann").get("/v1/me").json() == {
        "name": "ann",
        "role": "reviewer",
        "permissions": ["read", "review"],
    }
    permissions = by_key("robot", "service").get("/v1/me").json()["permissions"]
    assert permissions == ["read", "export", "send", "serve"]


def test_nobody_comes_without_a_key(app: FastAPI) -> None:
    stranger = TestClient(app, BASE, follow_redirects=False)
    for method, path in (("GET", "/v1/items"), ("POST", "/v1/undo"), ("GET", "/v1/export")):
        said_by(stranger.request(method, path), 401)


def test_a_service_reads_and_exports_and_decides_nothing(by_key: Client, project: Project) -> None:
    robot = by_key("robot", "service")
    assert robot.get("/v1/items").status_code == 200
    assert robot.get("/v1/export?format=jsonl").status_code == 200
    item_id = id_of(project, "agent")
    for path in ("/v1/items/claim", f"/v1/items/{item_id}/decision", "/v1/undo"):
        said_by(robot.post(path, json=FINE), 403)
    said_by(by_key("ann").get("/v1/export?format=jsonl"), 403)


def test_items_are_listed_with_how_many_match(by_key: Client) -> None:
    ann = by_key("ann")
    found = ann.get("/v1/items", params={"app": "shop", "limit": 2}).json()
    assert (found["n_matching"], found["n_all"]) == (3, 4)
    assert [item["trace_id"] for item in found["items"]] == ["chat-0", "chat-1"]
    rest = ann.get("/v1/items", params={"app": "shop", "limit": 2, "offset": 2}).json()
    assert [item["trace_id"] for item in rest["items"]] == ["chat-2"]
    assert ann.get("/v1/items", params={"status": "complete"}).json()["items"] == []
    assert "reason" in said_by(ann.get("/v1/items?reason=low_score"), 422)
    assert "no day" in said_by(ann.get("/v1/items?day=yesterday"), 422)


def test_the_judge_is_silent_in_a_blind_queue_until_one_has_decided(
    by_key: Client, project: Project
) -> None:
    ann, item_id = by_key("ann"), id_of(project, "agent")
    hidden = ("reason", "priority", "probability", "judge_version", "judge_reason")
    drawn = ("draw_probability", "audit_probability", "judge_reason_code")
    item = ann.get(f"/v1/items/{item_id}").json()["item"]
    assert item["is_hidden"]
    assert {item[name] for name in (*hidden, *drawn)} == {None}
    assert (item["metrics"], item["why"]) == ([], ["Drawn for review."])
    set_queue(project.stores.ledger, Queue("review", 2, 0.0, is_blind=True), "test")
    ann.post(f"/v1/items/{item_id}/decision", json=FINE)
    item = ann.get(f"/v1/items/{item_id}").json()["item"]
    assert (item["status"], item["has_decided"], item["is_hidden"]) == ("pending", True, False)
    assert item["probability"] == pytest.approx(0.9)
    assert by_key("bob").get(f"/v1/items/{item_id}").json()["item"]["is_hidden"]


def test_claim_decide_and_get_the_next_in_one_call(by_key: Client, project: Project) -> None:
    ann, bob = by_key("ann"), by_key("bob")
    claimed = ann.post("/v1/items/claim").json()
    assert claimed["item"]["trace_id"] == "agent"
    assert [message["role"] for message in claimed["messages"]["messages"]] == [
        "user",
        "assistant",
        "tool",
        "assistant",
        "user",
    ]
    assert bob.post("/v1/items/claim", json={"messages": 0}).json()["item"]["trace_id"] == "chat-0"
    path = f"/v1/items/{claimed['item']['item_id']}/decision"
    wish = {"filter": {"app": "shop"}, "messages": 1}
    decided = ann.post(path, json=ERROR | {"seconds": 4.5, "next": wish}).json()
    assert decided["status"] == "complete"
    assert decided["next"]["item"]["trace_id"] == "chat-1"
    assert len(decided["next"]["messages"]["messages"]) == 1
    (stood,) = standing_decisions(project.stores.ledger)
    decision = stood.decision
    assert (stood.decision_id, decision.reviewer) == (decided["decision_id"], "ann")
    assert (decision.perceived_error, decision.seconds) == (True, 4.5)
    assert decision.rubric_version == load_rubric(project.metrics_dir).version
    assert ann.get("/v1/rubric").json()["version"] == decision.rubric_version


def test_when_nothing_waits_there_is_no_next(by_key: Client) -> None:
    ann = by_key("ann")
    answer = ann.post("/v1/items/claim").json()
    for _ in range(4):
        path = f"/v1/items/{answer['item']['item_id']}/decision"
        answer = ann.post(path, json=FINE | {"next": True}).json()["next"]
    assert answer is None
    assert ann.post("/v1/items/claim").status_code == 204


def test_an_item_on_another_desk_is_refused(by_key: Client, project: Project) -> None:
    ann, bob = by_key("ann"), by_key("bob")
    item_id = ann.post("/v1/items/claim").json()["item"]["item_id"]
    assert "ann" in said_by(bob.post(f"/v1/items/{item_id}/claim"), 409)
    assert "ann" in said_by(bob.post(f"/v1/items/{item_id}/decision", json=FINE), 409)
    assert ann.post(f"/v1/items/{item_id}/heartbeat").status_code == 204
    said_by(bob.post(f"/v1/items/{item_id}/heartbeat"), 409)
    assert ann.post(f"/v1/items/{item_id}/release").status_code == 204
    claimed = bob.post(f"/v1/items/{item_id}/claim").json()
    assert claimed["item"]["item_id"] == item_id
    with project.stores.ledger.begin() as ledger:
        ledger.execute(claims.update().values(claimed_until=now() - timedelta(seconds=1)))
    said_by(bob.post(f"/v1/items/{item_id}/heartbeat"), 409)


def test_skip_decline_and_undo_go_there_and_back(by_key: Client, project: Project) -> None:
    ann = by_key("ann")
    first = ann.post("/v1/items/claim").json()["item"]["item_id"]
    assert ann.post(f"/v1/items/{first}/skip").json()["status"] == "pending"
    second = ann.post("/v1/items/claim").json()["item"]["item_id"]
    assert second != first
    declined = ann.post(f"/v1/items/{second}/decline", json={"reason": "no English"}).json()
    assert declined["status"] == "declined"
    assert "declined" in said_by(ann.post(f"/v1/items/{second}/decline"), 409)
    undone = [ann.post("/v1/undo").json() for _ in range(2)]
    assert [(one["kind"], one["item_id"]) for one in undone] == [
        ("decline", second),
        ("skip", first),
    ]
    assert ann.post("/v1/undo").status_code == 204
    assert ann.get(f"/v1/items/{second}").json()["item"]["status"] == "pending"


def test_an_answer_and_a_tool_call_are_corrected(by_key: Client, project: Project) -> None:
    ann, item_id = by_key("ann"), id_of(project, "agent")
    better = [{"function": {"name": "find", "arguments": {"city": "Cambridge"}}}]
    sent = {"corrected_turn": 1, "corrected_tool_calls": json.dumps(better), "evidence_turn": 4}
    answer = ann.post(f"/v1/items/{item_id}/decision", json=ERROR | sent)
    assert answer.status_code == 200, answer.text
    (decision,) = ann.get(f"/v1/items/{item_id}").json()["decisions"]
    assert (decision["corrected_turn"], decision["evidence_turn"]) == (1, 4)
    assert json.loads(decision["corrected_tool_calls"]) == [
        CALLS[0] | {"function": {"name": "find", "arguments": '{"city": "Cambridge"}'}}
    ]
    # Once more: a later decision of the same reviewer stands in place of the first.
    text = {"corrected_turn": 3, "corrected_text": "The Swan."}
    ann.post(f"/v1/items/{item_id}/decision", json=ERROR | text)
    (decision,) = ann.get(f"/v1/items/{item_id}").json()["decisions"]
    assert (decision["corrected_turn"], decision["corrected_text"]) == (3, "The Swan.")


def test_a_correction_that_changes_nothing_is_none(by_key: Client, project: Project) -> None:
    ann, item_id = by_key("ann"), id_of(project, "agent")
    same = {
        "corrected_turn": 1,
        "corrected_text": "",
        "corrected_tool_calls": json.dumps(CALLS),
    }
    ann.post(f"/v1/items/{item_id}/decision", json=ERROR | same)
    (decision,) = ann.get(f"/v1/items/{item_id}").json()["decisions"]
    assert decision["corrected_turn"] is None


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        ({"perceived_error": False, "reason_code": "rejection"}, "one of an error"),
        (ERROR | {"evidence_turn": 5}, "after the last message"),
        (ERROR | {"evidence_turn": -1}, "evidence_turn"),
        (ERROR | {"corrected_turn": 5, "corrected_text": "x"}, "after the last message"),
        (ERROR | {"corrected_turn": 4, "corrected_text": "x"}, "must be the assistant's"),
        (ERROR | {"corrected_turn": 2, "corrected_text": "x"}, "must be the assistant's"),
        (ERROR | {"corrected_turn": 3}, "needs corrected_text"),
        (ERROR | {"corrected_text": "x"}, "corrected_turn"),
        (ERROR | {"corrected_turn": 3, "corrected_text": " "}, "a text or a tool call"),
        (ERROR | {"corrected_turn": 1, "corrected_tool_calls": "[]"}, "a text or a tool call"),
        (ERROR | {"corrected_turn": 1, "corrected_tool_calls": "{"}, "not JSON"),
        (ERROR | {"corrected_turn": 1, "corrected_tool_calls": "{}"}, "must be a JSON list"),
        (ERROR | {"corrected_turn": 1, "corrected_tool_calls": "[" * 100_000}, "not JSON"),
        (ERROR | {"corrected_turn": 1, "corrected_tool_calls": "[{}]"}, "function"),
        (
            ERROR
            | {
                "corrected_turn": 1,
                "corrected_tool_calls": '[{"function": {"name": "f", "arguments": "NaN"}}]',
            },
            "arguments are not JSON",
        ),
        (
            ERROR
            | {
                "corrected_turn": 1,
                "corrected_tool_calls": '[{"function": {"name": "f", "arguments": "[1]"}}]',
            },
            "no JSON object",
        ),
        ({"perceived_error": "perhaps"}, "perceived_error"),
        ({}, "perceived_error"),
        (ERROR | {"reason_code": "mood"}, "reason_code"),
        (ERROR | {"seconds": -1}, "seconds"),
        (ERROR | {"verdict": 1}, "verdict"),
        (ERROR | {"next": {"filter": {"day": "soon"}}}, "no day"),
    ],
)
def test_a_decision_that_cannot_be_used_is_refused_in_one_sentence(
    by_key: Client, project: Project, sent: dict[str, object], why: str
) -> None:
    ann, item_id = by_key("ann"), id_of(project, "agent")
    assert why in said_by(ann.post(f"/v1/items/{item_id}/decision", json=sent), 422)
    assert standing_decisions(project.stores.ledger) == []


def test_text_that_no_ledger_holds_is_no_fault_of_the_server(
    by_key: Client, project: Project
) -> None:
    ann, item_id = by_key("ann"), id_of(project, "agent")
    path = f"/v1/items/{item_id}/decision"
    for reason in (r"half \ud83d of an emoji", r"a \u0000 nul"):
        body = f'{{"perceived_error": true, "reason": "{reason}"}}'
        answer = ann.post(path, content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code in (200, 422), answer.text
    for path in ("/v1/items/0", f"/v1/items/{2**31}", "/v1/items/x", f"/v1/items/{10**30}"):
        assert ann.get(path).status_code == 422
    said_by(ann.get("/v1/items/99"), 404)
    said_by(ann.post("/v1/items/99/skip"), 404)
    for app in ("\0", "x" * 401):
        assert ann.get("/v1/items", params={"app": app}).status_code in (400, 422)


def test_messages_are_paged_and_whole(by_key: Client, project: Project) -> None:
    path = f"/v1/items/{id_of(project, 'agent')}/messages"
    page = by_key("ann").get(path, params={"first": 1, "count": 2}).json()
    assert (page["first"], page["n_messages"]) == (1, 5)
    call, result = page["messages"]
    assert call["tool_calls"] == [
        {"call_id": "call_1", "name": "find", "arguments": '{"city": "Ely"}'}
    ]
    assert (result["position"], result["role"], result["content"]) == (2, "tool", "Lamb")
    assert by_key("ann").get(path, params={"first": 9}).json()["messages"] == []


def test_reviewers_that_disagree_are_settled_by_an_adjudicator(
    by_key: Client, project: Project
) -> None:
    open_queue(project, reviewers=2)
    item_id = id_of(project, "agent")
    path = f"/v1/items/{item_id}"
    by_key("ann").post(f"{path}/decision", json=ERROR)
    seen_by_bob = by_key("bob").get(path).json()
    assert (seen_by_bob["decisions"], seen_by_bob["item"]["n_decided"]) == ([], 1)
    eve = by_key("eve", "engineer")
    said_by(eve.post(f"{path}/adjudication", json=ERROR), 409)
    decided = by_key("bob").post(f"{path}/decision", json=FINE).json()
    assert decided["status"] == "disputed"
    said_by(by_key("bob").post(f"{path}/adjudication", json=ERROR), 403)
    assert len(eve.get(path).json()["decisions"]) == 2
    assert eve.post(f"{path}/adjudication", json=ERROR).json()["status"] == "complete"


def test_remarks_and_flags_stand_with_the_item(by_key: Client, project: Project) -> None:
    ann, path = by_key("ann"), f"/v1/items/{id_of(project, 'agent')}"
    ann.post(f"{path}/comments", json={"text": "ask the kitchen"})
    flagged = ann.post(f"{path}/sensitive", json={"is_sensitive": True}).json()
    assert (flagged["comments"][0]["text"], flagged["is_sensitive"]) == ("ask the kitchen", True)
    cleared = by_key("bob").post(f"{path}/sensitive", json={"is_sensitive": False}).json()
    assert not cleared["is_sensitive"]
    said_by(ann.post(f"{path}/comments", json={"text": ""}), 422)


def test_an_export_is_a_file_with_its_counts_and_an_entry_in_the_log(
    by_key: Client, project: Project
) -> None:
    ann, robot = by_key("ann"), by_key("robot", "service")
    chat, agent = id_of(project, "chat-0"), id_of(project, "agent")
    ann.post(
        f"/v1/items/{chat}/decision", json=ERROR | {"corrected_turn": 1, "corrected_text": "4."}
    )
    ann.post(f"/v1/items/{agent}/decision", json=FINE)
    lines = robot.get("/v1/export", params={"format": "jsonl"})
    assert lines.headers["content-type"] == "application/x-ndjson"
    assert [json.loads(line)["trace_id"] for line in lines.text.splitlines()] == ["agent", "chat-0"]
    packed = robot.get("/v1/export", params={"format": "openai-sft", "app": "shop"})
    assert (packed.headers["x-rows"], packed.headers["x-left-out"]) == ("1", "{}")
    with zipfile.ZipFile(io.BytesIO(packed.content)) as archive:
        rows, provenance = (archive.read(name) for name in sorted(archive.namelist()))
    assert json.loads(rows)["messages"][-1] == {"role": "assistant", "content": "4."}
    assert json.loads(provenance)["reviewers"] == ["ann"]
    with project.stores.ledger.read() as ledger:
        wanted = sa.select(audit_log).where(audit_log.c.action == "export")
        entries = ledger.execute(wanted.order_by(audit_log.c.entry_id)).all()
    assert [(entry.actor, entry.subject) for entry in entries] == [
        ("robot", "jsonl"),
        ("robot", "openai-sft"),
    ]
    assert json.loads(entries[0].detail)["sha256"] == lines.headers["x-content-sha256"]
    said_by(robot.get("/v1/export", params={"format": "csv"}), 422)


def test_the_page_exports_by_a_form(app: FastAPI, project: Project) -> None:
    eve = client_of(app, add_person(project, "eve", "engineer"))
    shown = eve.get("/export")
    assert shown.status_code == 200
    assert "Nobody has exported anything yet." in shown.text
    form = {"format": "trl-kto", "split": ["train", "holdout"], "csrf": csrf_of(app, eve)}
    made = eve.post("/export", data=form)
    assert made.status_code == 200, made.text
    assert "attachment" in made.headers["content-disposition"]
    assert "trl-kto" in eve.get("/export").text.split("Earlier exports")[1]
    assert eve.post("/export", data=form | {"csrf": "stale"}).status_code == 403
    assert eve.post("/export", data=form | {"format": "csv"}).status_code == 422
    ann = client_of(app, add_person(project, "ann", "reviewer"))
    assert ann.get("/export").status_code == 403
    assert ann.post("/export", data=form | {"csrf": csrf_of(app, ann)}).status_code == 403


def test_every_answer_of_the_api_is_described(app: FastAPI) -> None:
    paths = app.openapi()["paths"]
    described = {path: verbs for path, verbs in paths.items() if path.startswith("/v1/")}
    assert {
        "/v1/me",
        "/v1/items",
        "/v1/items/claim",
        "/v1/items/{item_id}",
        "/v1/items/{item_id}/messages",
        "/v1/items/{item_id}/decision",
        "/v1/undo",
        "/v1/export",
    } <= set(described)
    for path, verbs in described.items():
        for verb, operation in verbs.items():
            assert operation["description"], f"{verb} {path}"
            assert operation["responses"]["422"]["content"]["application/json"]["schema"] == {
                "$ref": "#/components/schemas/Fault"
            }


def test_a_form_says_nothing_where_it_is_empty_and_knows_a_browsers_line_ends() -> None:
    form = decision_form(
        {
            "csrf": "x",
            "perceived_error": "true",
            "reason": "two\r\nlines",
            "seconds": "",
            "corrected_turn": "",
            "corrected_text": "",
            "call_name_0": "find",
        }
    )
    assert (form.perceived_error, form.reason, form.seconds) == (True, "two\nlines", None)
    assert (form.corrected_turn, form.corrected_text, form.corrected_tool_calls) == (None,) * 3


def test_a_form_may_clear_a_text_and_send_its_calls_one_by_one() -> None:
    form = decision_form(
        {
            "perceived_error": "true",
            "corrected_turn": "1",
            "corrected_text": "",
            "call_id_0": "call_9",
            "call_name_0": "find",
            "call_arguments_0": '{"city": "Ely"}',
            "call_name_1": "",
            "call_name_2": "book",
        }
    )
    assert form.corrected_text == ""
    assert form.corrected_tool_calls is not None
    calls = json.loads(checked_tool_calls(form.corrected_tool_calls, ()) or "")
    assert [(call["id"], call["function"]) for call in calls] == [
        ("call_9", {"name": "find", "arguments": '{"city": "Ely"}'}),
        ("call_2", {"name": "book", "arguments": "{}"}),
    ]
