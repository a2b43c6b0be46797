"""The registry in the browser and by key: evidence to decide by, moves with a reason, lineage."""

import json
from collections.abc import Iterable
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from flywheel.records import Interval, Role
from flywheel.registry import alias_of, card_json, card_of, history, keep_card, promote, register
from flywheel.review import decide
from flywheel.store import Project, open_project
from flywheel.store.tables import gate_verdicts
from flywheel.web.app import create_app
from flywheel.web.keys import new_key
from flywheel.web.registry_view import drawn
from tests.judged import said
from tests.registered import compare, fill_registry
from tests.signed_in import BASE, add_person, client_of, csrf_of


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Iterable[tuple[Project, FastAPI]]:
    """A registry in which judge-3 waits for approval; tests only look."""
    project = open_project(tmp_path_factory.mktemp("furnished"))
    decide(project.stores.ledger, said("t1", True, corrected_turn=1, corrected_text="So."))
    decide(project.stores.ledger, said("t2", False))
    fill_registry(project)
    for name, role in (("eve", "engineer"), ("rob", "reviewer")):
        add_person(project, name, role)
    yield project, create_app(project)
    project.stores.ledger.close()


@pytest.fixture
def crowned(project: Project) -> tuple[Project, TestClient]:
    """A champion with a predecessor and an engineer who may move it."""
    for version in ("judge-1", "judge-2", "judge-3"):
        register(project.stores.ledger, "judge", version, {}, None, None, "ada")
    promote(project.stores.ledger, "judge", "judge-1", "ada", "the first")
    promote(project.stores.ledger, "judge", "judge-2", "ada", "better", force=True)
    app = create_app(project)
    client = client_of(app, add_person(project, "eve", "engineer"))
    client.headers["X-CSRF-Token"] = csrf_of(app, client)
    return project, client


def champion(project: Project) -> str:
    found = alias_of(project.stores.ledger, "judge", "champion")
    assert found is not None
    return found.version


def shown(furnished: tuple[Project, FastAPI], path: str) -> str:
    answer = client_of(furnished[1], "eve").get(path)
    assert answer.status_code == 200
    return answer.text


def test_what_waits_for_a_person_stands_first(furnished: tuple[Project, FastAPI]) -> None:
    text = shown(furnished, "/registry")
    assert text.index("Waits for approval: judge") < text.index('id="target-1"')
    assert "exact McNemar" in text
    # A name is text, whatever it holds.
    assert "<b>bold</b>" not in text
    assert "reply-&lt;b&gt;bold" in text
    assert "<script>alert" not in text


def test_a_version_shows_all_that_the_gate_saw(furnished: tuple[Project, FastAPI]) -> None:
    project, _ = furnished
    text = shown(furnished, "/registry/judge/judge-3")
    card = card_of(project.stores, "judge", "judge-3")
    (finding,) = card.findings
    assert all(why in text for why in finding.why)
    assert {suite.name for suite in finding.suites} == {"regression", "general"}
    assert {part.kind for part in finding.slices} == {"app", "language", "length"}
    for interval in (
        *(difference.interval for difference in finding.differences),
        *(part.difference for part in finding.slices),
    ):
        assert f"{interval.estimate:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]" in text
    assert all(limit.replace("`", "") in text for limit in card.limits)
    assert "Make it the champion" in text
    refused = shown(furnished, "/registry/judge/judge-2")
    assert "Promote by force" in refused
    assert "Make it the champion" not in refused
    assert "Roll back to judge-0" in shown(furnished, "/registry/judge/judge-1")


def test_a_card_is_a_file_in_both_forms_and_kept(furnished: tuple[Project, FastAPI]) -> None:
    project, _ = furnished
    markdown = shown(furnished, "/registry/judge/judge-3/card")
    assert markdown.startswith("# judge / judge-3\n")
    # Nothing of a name becomes markup.
    assert "travel \\<b\\>" in markdown
    as_json = shown(furnished, "/registry/judge/judge-3/card?form=json")
    assert as_json == card_json(card_of(project.stores, "judge", "judge-3"))
    folder = keep_card(project.stores, "judge", "challenger")
    assert {path.name for path in folder.iterdir()} == {"CARD.md", "card.json"}
    assert (folder / "CARD.md").read_text() == markdown


def test_lineage_leads_both_ways(furnished: tuple[Project, FastAPI]) -> None:
    made = shown(furnished, "/registry/lineage?decision=1")
    assert all(f"judge-{number}</a>" in made for number in (1, 2, 3))
    behind = shown(furnished, "/registry/lineage?target=judge&version=judge-3")
    assert "t1</a>" in behind
    assert "corrected</span>" in behind
    of_trace = shown(furnished, "/registry/lineage?trace=t2")
    assert "validation" in of_trace
    assert "Nothing was trained on it" in shown(furnished, "/registry/lineage?decision=99")


def test_reviewers_see_no_registry(furnished: tuple[Project, FastAPI]) -> None:
    client = client_of(furnished[1], "rob")
    assert client.get("/registry").status_code == 403
    assert "/registry" not in client.get("/queue").text


def test_a_person_promotes_by_force_with_a_reason(crowned: tuple[Project, TestClient]) -> None:
    project, client = crowned
    path = "/registry/judge/judge-3/promote"
    assert client.post(path, data={"force": "yes"}).status_code == 422
    assert client.post(path, data={"why": "better"}).status_code == 409
    stale = client.post(path, data={"why": "better", "force": "yes", "seen": "judge-1"})
    assert stale.status_code == 409
    assert "is &#39;judge-2&#39; by now" in stale.text
    assert champion(project) == "judge-2"
    moved = client.post(path, data={"why": "it is needed", "force": "yes", "seen": "judge-2"})
    assert moved.status_code == 303
    assert champion(project) == "judge-3"
    last = history(project.stores.ledger, "judge")[-1]
    assert (last.action, last.actor, last.why) == ("force_promote", "eve", "it is needed")


def test_a_person_rolls_back_once_from_what_was_seen(crowned: tuple[Project, TestClient]) -> None:
    project, client = crowned
    path = "/registry/judge/judge-2/rollback"
    assert client.post(path, data={"why": " "}).status_code == 422
    moved = client.post(path, data={"why": "it errs"})
    assert moved.headers["location"] == "/registry/judge/judge-1"
    assert champion(project) == "judge-1"
    # The same form again goes no further back.
    assert client.post(path, data={"why": "it errs"}).status_code == 409
    assert champion(project) == "judge-1"


def test_the_first_champion_of_an_application_is_taken_back(
    crowned: tuple[Project, TestClient],
) -> None:
    project, client = crowned
    register(project.stores.ledger, "shop", "shop-1", {}, None, None, "ada")
    promote(project.stores.ledger, "shop", "shop-1", "ada", "the first")
    assert "Roll back to no champion" in client.get("/registry/shop/shop-1").text
    moved = client.post("/registry/shop/shop-1/rollback", data={"why": "it errs"})
    assert moved.headers["location"] == "/registry/shop/shop-1"
    assert alias_of(project.stores.ledger, "shop", "champion") is None
    page = client.get("/registry/shop/shop-1").text
    assert "back from shop-1: it errs" in page
    assert "Make it the champion" in page
    # The judge of all applications has nobody behind it.
    client.post("/registry/judge/judge-2/rollback", data={"why": "it errs"})
    assert "There is no champion before it" in client.get("/registry/judge/judge-1").text
    assert client.post("/registry/judge/judge-1/rollback", data={"why": "?"}).status_code == 409


def test_a_shadow_is_let_run_and_ended(crowned: tuple[Project, TestClient]) -> None:
    project, client = crowned
    path = "/registry/judge/judge-3/shadow"
    assert client.post(path, data={"to": "on"}).status_code == 303
    assert "No shadow any more" in client.get("/registry/judge/judge-3").text
    assert client.post("/registry/judge/judge-1/shadow", data={"to": "off"}).status_code == 409
    assert client.post(path, data={"to": "off"}).status_code == 303
    assert alias_of(project.stores.ledger, "judge", "shadow") is None


def test_what_a_page_can_do_a_program_can_do(crowned: tuple[Project, TestClient]) -> None:
    project, page = crowned
    ledger = project.stores.ledger
    decision = decide(ledger, said("t1", True))
    register(ledger, "judge", "judge-4", {}, None, None, "ada", {decision: "train"})
    key = new_key(ledger, "eve", "test")
    headers = {"Authorization": f"Bearer {key}"}
    client = TestClient(page.app, BASE, headers=headers)
    (judge,) = client.get("/v1/registry").json()
    assert (judge["target"], judge["champion"], judge["n_versions"]) == ("judge", "judge-2", 4)
    card = client.get("/v1/registry/judge/champion").json()
    assert (card["version"], card["aliases"]) == ("judge-2", ["champion"])
    behind = client.get("/v1/registry/judge/judge-4/decisions").json()
    assert [one["trace_id"] for one in behind] == ["t1"]
    made = client.get(f"/v1/registry/decisions/{decision}/versions").json()
    assert [one["version"] for one in made] == ["judge-4"]
    promoted = client.post("/v1/registry/judge/judge-4/promote", json={"why": "no gate"})
    assert promoted.status_code == 409
    body = {"why": "an emergency", "force": True, "seen": "judge-2"}
    moved = client.post("/v1/registry/judge/judge-4/promote", json=body).json()
    assert moved == {"previous": "judge-2", "current": "judge-4"}
    assert client.post("/v1/registry/judge/rollback", json={"why": "over"}).json() == {
        "previous": "judge-4",
        "current": "judge-2",
    }
    shadow = client.put("/v1/registry/judge/shadow", json={"version": "judge-4"})
    assert shadow.json()["current"] == "judge-4"
    assert client.put("/v1/registry/judge/shadow", json={"version": None}).status_code == 200
    assert client.get("/v1/registry/judge/nothing").status_code == 404


def test_a_service_reads_the_champion_and_moves_nothing(project: Project) -> None:
    app = create_app(project)
    key = new_key(project.stores.ledger, add_person(project, "deploy", "service"), "test")
    client = TestClient(app, BASE, headers={"Authorization": f"Bearer {key}"})
    assert client.get("/v1/registry").json()[0]["champion"] is None
    body = {"why": "mine", "force": True}
    assert client.post("/v1/registry/judge/judge-1/promote", json=body).status_code == 403


def test_a_service_is_not_told_who_works_here(crowned: tuple[Project, TestClient]) -> None:
    project, page = crowned

    def read(name: str, role: Role, path: str) -> Any:
        key = new_key(project.stores.ledger, add_person(project, name, role), "test")
        client = TestClient(page.app, BASE, headers={"Authorization": f"Bearer {key}"})
        return client.get(path).json()

    for path in ("/v1/registry", "/v1/registry/judge/champion"):
        assert '"ada"' in json.dumps(read(f"e{len(path)}", "engineer", path))
        told = read(f"s{len(path)}", "service", path)
        assert '"ada"' not in json.dumps(told)
        moves = (told[0] if isinstance(told, list) else told)["moves"]
        assert {move["actor"] for move in moves} == {None}


def test_an_applications_first_judge_leads_to_the_judge_of_all(
    crowned: tuple[Project, TestClient],
) -> None:
    project, client = crowned
    register(project.stores.ledger, "shop", "shop-1", {}, None, "judge-1", "ada")
    register(project.stores.ledger, "shop", "shop-2", {}, None, "forgotten-1", "ada")
    compare(project, "shop-1", better=0.1, target="judge")
    with project.stores.ledger.begin() as connection:
        connection.execute(gate_verdicts.update().values(target="shop"))
    text = client.get("/registry/shop/shop-1").text
    assert text.count('<a href="/registry/judge/judge-1"') == 2
    assert client.get("/registry/judge/judge-1").status_code == 200
    # A version that nobody knows any more is named and leads nowhere.
    text = client.get("/registry/shop/shop-2").text
    assert "after <span" in text
    assert "/forgotten-1" not in text


def test_an_interval_is_drawn_inside_its_picture() -> None:
    at = drawn(Interval(0.1, -0.9, 0.3), 0.3)
    assert at is not None
    assert (at.low, at.high) == (5.0, 155.0)
    assert drawn(Interval(float("nan"), 0.0, 1.0), 0.3) is None
