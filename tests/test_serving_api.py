"""Few-shots and verdicts by HTTP, from a real server; and the same from the command line."""

import json
from collections.abc import Iterable

import httpx
import pytest
from click.testing import CliRunner, Result

from flywheel.cli.main import cli
from flywheel.retrieval.effect import served_effect
from flywheel.retrieval.switches import switch_off
from flywheel.review import decide, undo
from flywheel.store import Project, open_project
from flywheel.store.ledger import now
from flywheel.store.tables import served_examples
from tests.judged import add_scores, said
from tests.served import Server, key_of, serving
from tests.test_serving import BETTER, chat, put, rows_served, wait_for

REQUEST = "a table for four on friday, please"
REACTION = [
    {"role": "user", "content": "a table for friday"},
    {"role": "assistant", "content": "Booked for Thursday."},
    {"role": "user", "content": "No, that is wrong. I said Friday."},
]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterable[Project]:
    """A project with conversations that can be shown, none of them decided."""
    made = open_project(tmp_path_factory.mktemp("serving") / "project")
    put(made.stores, chat("a", REQUEST), chat("b", "how do I get my money back?", "You do not."))
    yield made
    made.stores.ledger.close()


@pytest.fixture(scope="module")
def server(shop: Project) -> Iterable[Server]:
    with serving(shop) as running:
        yield running


@pytest.fixture(scope="module")
def application(shop: Project, server: Server) -> Iterable[httpx.Client]:
    """A client with the key of an application."""
    key = key_of(shop, "shop-app", "service")
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=server.url, headers=headers, trust_env=False, timeout=60) as client:
        yield client


def ask(client: httpx.Client, text: str = REQUEST, **more: object) -> dict[str, object]:
    answer = client.post("/v1/few-shots", json={"app": "shop", "text": text} | more)
    assert answer.status_code == 200, answer.text
    found: dict[str, object] = answer.json()
    return found


def test_a_correction_is_served_as_soon_as_it_is_accepted_and_until_it_is_taken_back(
    shop: Project, application: httpx.Client
) -> None:
    assert ask(application)["examples"] == []
    decide(shop.stores.ledger, said("a", True, **BETTER))
    answer = application.post(
        "/v1/few-shots",
        json={"app": "shop", "messages": [{"role": "user", "content": REQUEST}], "trace_id": "t1"},
        headers={"X-Request-Id": "request-0001"},
    )
    body = answer.json()
    assert (answer.headers["X-Request-Id"], body["request_id"]) == ("request-0001",) * 2
    (one,) = body["examples"]
    assert (one["correction_id"], one["kind"], one["label"]) == ("1", "correction", "good")
    assert (one["good_answer"], one["bad_answer"]) == ("Friday it is.", "Booked for Thursday.")
    assert one["similarity"] == pytest.approx(1.0)
    (near,) = ask(application, node="llm:assistant", parent="input")["examples"]  # type: ignore[misc]
    assert (near["node"], near["parent"]) == ("llm:assistant", "input:user")
    assert near["score"] == pytest.approx(one["score"] * 1.5**0.9, rel=1e-3)
    assert body["messages"] == [{"role": "system", "content": body["text"]}]
    undo(shop.stores.ledger, "ann")
    assert ask(application)["examples"] == []
    decide(shop.stores.ledger, said("a", True, **BETTER))
    switch_off(shop.stores.ledger, "app", "shop", "eve")
    assert ask(application)["examples"] == []
    with shop.stores.ledger.begin() as connection:
        connection.exec_driver_sql("delete from example_switches")
    assert len(ask(application)["examples"]) == 1  # type: ignore[arg-type]
    wait_for(lambda: any(r["request_id"] == "request-0001" for r in rows_served(shop.stores)))


def test_a_request_number_that_is_none_is_replaced(application: httpx.Client) -> None:
    answer = application.get("/v1/me", headers={"X-Request-Id": "<script>"})
    assert answer.headers["X-Request-Id"] != "<script>"


@pytest.mark.parametrize(
    "body",
    [
        {"app": "shop"},
        {"app": "shop", "text": "x", "messages": [{"role": "user", "content": "x"}]},
        {"app": "shop", "text": "x", "k": 0},
        {"app": "shop", "text": "x", "kinds": ["other"]},
        {"app": "shop", "text": "x", "node": "planner"},
        {"app": "shop", "text": "x", "node": "llm", "parent": "x" * 401},
        {"text": "x"},
    ],
)
def test_a_body_that_means_nothing_is_refused(
    application: httpx.Client, body: dict[str, object]
) -> None:
    answer = application.post("/v1/few-shots", json=body)
    assert answer.status_code == 422
    assert answer.json()["error"]


@pytest.mark.parametrize(
    ("media", "content", "why"),
    [
        ("application/json", b"{bad", "the body is not JSON"),
        ("application/x-www-form-urlencoded", b"{}", "the content type 'application/x-www-form-"),
        ("application/json", b"[]", "body: Input should be a valid dictionary"),
        ("application/json", b'{"app": "shop"}', "body: give either text or messages"),
    ],
)
def test_a_body_that_cannot_be_read_is_refused_by_what_is_wrong_with_it(
    application: httpx.Client, media: str, content: bytes, why: str
) -> None:
    answer = application.post("/v1/few-shots", content=content, headers={"Content-Type": media})
    assert answer.status_code == 422
    assert answer.json()["error"].startswith(why)


def test_texts_that_no_ledger_can_hold_do_no_harm(application: httpx.Client) -> None:
    assert ask(application, session_id="a\0b")["text"]
    body = json.dumps({"app": "shop", "text": REQUEST, "session_id": "\ud800"})
    headers = {"Content-Type": "application/json"}
    answer = application.post("/v1/few-shots", content=body, headers=headers)
    assert (answer.status_code, "session_id" in answer.json()["error"]) == (422, True)


def test_only_who_may_manage_turns_switches(shop: Project, application: httpx.Client) -> None:
    switch = {"scope": "example", "subject": "99", "is_on": False, "why": "it misleads"}
    assert application.put("/v1/examples/switch", json=switch).status_code == 403
    key = key_of(shop, "eve", "engineer")
    engineer = {"Authorization": f"Bearer {key}"}
    (one,) = application.put("/v1/examples/switch", json=switch, headers=engineer).json()
    assert (one["scope"], one["subject"], one["actor"]) == ("example", "99", "eve")
    again = switch | {"is_on": True}
    assert application.put("/v1/examples/switch", json=again, headers=engineer).json() == []


def test_a_reviewer_may_not_ask_as_an_application(shop: Project, server: Server) -> None:
    headers = {"Authorization": f"Bearer {key_of(shop, 'bob')}"}
    for path, body in (("few-shots", {"app": "shop", "text": "x"}), ("score", {"messages": []})):
        url = f"{server.url}/v1/{path}"
        answer = httpx.post(url, json=body, headers=headers, trust_env=False)
        assert answer.status_code == 403


def test_the_judge_says_what_it_thinks_of_one_conversation(application: httpx.Client) -> None:
    answer = application.post("/v1/score", json={"messages": REACTION, "trace_id": "t1"}).json()
    assert answer["trace_id"] == "t1"
    assert answer["judge_version"].startswith("judge-")
    assert 0 <= answer["verdict"]["probability"] <= 1
    assert answer["verdict"]["evidence_turn"] == 2
    unanswered = application.post("/v1/score", json={"messages": REACTION[:2]}).json()
    assert (unanswered["verdict"], unanswered["skipped"][:12]) == (None, "not eligible")
    refused = application.post("/v1/score", json={"messages": REACTION, "generative": True})
    assert refused.status_code in (200, 422)


def test_a_killed_server_serves_the_same_again(shop: Project, server: Server) -> None:
    key = key_of(shop, "other-app", "service")
    with httpx.Client(headers={"Authorization": f"Bearer {key}"}, trust_env=False) as client:
        client.base_url, client.timeout = server.url, 60  # type: ignore[assignment]
        before = ask(client)
        wait_for(
            lambda: any(r["request_id"] == before["request_id"] for r in rows_served(shop.stores))
        )
        server.kill()
        server.start()
        after = ask(client)
    assert after["text"] == before["text"] != ""


def test_what_was_asked_is_counted(server: Server, application: httpx.Client) -> None:
    ask(application)
    metrics = httpx.get(f"{server.url}/metrics", trust_env=False).text
    counted = dict(
        line.split() for line in metrics.splitlines() if "few_shots" in line and "#" not in line
    )
    assert float(counted["flywheel_few_shots_requests_total"]) >= 1
    assert float(counted["flywheel_few_shots_rows_lost_total"]) == 0


# The command line


def run(project: Project, *words: str) -> Result:
    return CliRunner().invoke(cli, ["--project", str(project.folder), "retrieval", *words])


def test_a_person_sees_what_an_application_would_be_served(shop: Project) -> None:
    decide(shop.stores.ledger, said("b", False))
    asked = run(shop, "ask", "how do I get my money back", "--app", "shop", "--json")
    (one,) = json.loads(asked.stdout)
    node = ("--node", "llm:assistant", "--parent", "input:user")
    near = run(shop, "ask", "how do I get my money back", "--app", "shop", "--json", *node)
    (boosted,) = json.loads(near.stdout)
    assert boosted["score"] == pytest.approx(one["score"] * 1.5, rel=1e-3)
    assert run(shop, "ask", "money", "--app", "shop", "--node", "planner").exit_code == 1
    assert (one["kind"], one["good_answer"]) == ("good", "You do not.")
    assert run(shop, "switch-off", one["correction_id"], "--why", "it is rude").exit_code == 0
    (switch,) = json.loads(run(shop, "switches", "--json").stdout)
    assert (switch["subject"], switch["why"]) == (one["correction_id"], "it is rude")
    again = run(shop, "ask", "how do I get my money back", "--app", "shop", "--json")
    assert json.loads(again.stdout) == []
    assert run(shop, "switch-on", one["correction_id"]).exit_code == 0
    assert run(shop, "switch-off").exit_code == 2


def test_the_effect_stands_beside_what_was_not_served(project: Project) -> None:
    stores = project.stores
    put(stores, *(chat(f"t{i}", f"request {i}") for i in range(6)))
    # Two served, one of them judged an error; four of the same day were not, three of them errors.
    add_scores(stores, {"t0": 0.9, "t1": 0.1, "t2": 0.9, "t3": 0.8, "t4": 0.7, "t5": 0.2})
    row = {"app": "shop", "example_trace_id": "x", "rank": 1, "similarity": 1.0, "score": 1.0}
    row |= {"index_version": "v", "served_at": now()}
    with stores.ledger.begin() as connection:
        connection.execute(
            served_examples.insert(),
            [
                row | {"request_id": "r0", "correction_id": "1", "trace_id": "t0"},
                row | {"request_id": "r0", "correction_id": "2", "trace_id": "t0"},
                row | {"request_id": "r1", "correction_id": "2", "trace_id": "t1"},
                row | {"request_id": "r2", "correction_id": "2", "trace_id": None},
            ],
        )
    report = served_effect(stores)
    assert (report.requests, report.with_trace, report.examples) == (3, 2, 4)
    found = [(one.app, one.is_served, one.judged, one.errors) for one in report.rates]
    assert found == [("shop", True, 2, 1), ("shop", False, 4, 3)]
    assert report.rates[0].error_rate is not None
    assert report.rates[0].error_rate.estimate == 0.5
    one = served_effect(stores, "1")
    assert [(r.is_served, r.judged, r.errors) for r in one.rates] == [(True, 1, 1), (False, 5, 3)]
    assert "No lots were drawn" in run(project, "effect", "--json").stdout
