"""The pages as a reviewer meets them, in a browser: by keyboard, without a script, on a phone."""

import json
import time
from collections.abc import Iterable

import pytest
import sqlalchemy as sa
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from flywheel.queue import ItemFilter, list_items
from flywheel.registry import targets_with
from flywheel.review import standing_decisions
from flywheel.store import open_project
from flywheel.store.tables import claims, decisions, queue_items
from flywheel.web.invitations import ensure_first_admin_link
from tests.browser import PHONE, browser, new_page
from tests.served import (
    PASSWORD,
    PATIENCE_S,
    Server,
    addresses,
    agent,
    chat,
    fill,
    furnish,
    serving,
    signed_in,
)

__all__ = ["browser"]

APPS = {"ten": 10, "undo": 4, "dispute": 1, "plain": 3, "draft": 2, "comment": 1}
APPS |= {"double": 2, "held": 3}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterable[Server]:
    """A server whose queue has items of an application of its own for each test."""
    project = open_project(tmp_path_factory.mktemp("pages"))
    chats = [chat(number, app) for app, n in APPS.items() for number in range(n)]
    fill(project, [*chats, agent(0)])
    furnish(project)
    with project.stores.ledger.begin() as ledger:
        twice = queue_items.c.app == "dispute"
        ledger.execute(queue_items.update().where(twice).values(reviewers_needed=2))
    with serving(project) as running:
        yield running
    project.stores.ledger.close()


@pytest.fixture(autouse=True)
def _desks_are_empty(server: Server) -> Iterable[None]:
    """What one test's reviewers hold is free for the next, as it would be some minutes later."""
    yield
    with server.project.stores.ledger.begin() as ledger:
        ledger.execute(claims.delete())


def verdicts_of(server: Server, reviewer: str) -> dict[str, tuple[bool, str]]:
    """What stands of what somebody decided: verdict and reason code of each trace."""
    return {
        one.decision.trace_id: (one.decision.perceived_error, one.decision.reason_code)
        for one in standing_decisions(server.project.stores.ledger)
        if one.decision.reviewer == reviewer
    }


def has_decided(server: Server, reviewer: str, n: int) -> bool:
    """Whether as many decisions as that are stored; the page goes on before the last one is."""
    deadline = time.monotonic() + PATIENCE_S
    while len(verdicts_of(server, reviewer)) < n and time.monotonic() < deadline:
        time.sleep(0.05)
    return len(verdicts_of(server, reviewer)) == n


def item_on(page: Page) -> str:
    """The number of the item that is shown."""
    item_id = page.locator("main[data-item-id]").get_attribute("data-item-id")
    assert item_id is not None
    return item_id


def another_than(page: Page, item_id: str) -> None:
    """Wait until another item, or the end, is shown."""
    expect(page.locator(f'main[data-item-id="{item_id}"]')).to_have_count(0)


def test_the_first_admin_comes_in_by_a_link_that_works_once(
    browser: Browser, server: Server
) -> None:
    token = ensure_first_admin_link(server.project.stores.ledger)
    with new_page(browser) as page:
        page.goto(f"{server.url}/welcome/{token}")
        page.get_by_label("Your name").fill("grace")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_label("The same again").fill(PASSWORD)
        page.get_by_role("button", name="Come in").click()
        expect(page.get_by_role("heading", name="Queue")).to_be_visible()
        page.get_by_role("button", name="Sign out").click()
        page.goto(f"{server.url}/welcome/{token}")
        expect(page.get_by_text("this link was used", exact=False)).to_be_visible()
        page.goto(f"{server.url}/queue")
        page.get_by_label("Name").fill("grace")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("heading", name="Queue")).to_be_visible()


def test_ten_items_are_reviewed_with_the_keyboard_alone(browser: Browser, server: Server) -> None:
    signed_in(server, "mia")
    with new_page(browser) as page:
        page.goto(f"{server.url}/review?app=ten")
        # The page puts the keys into the first field by itself, and not before it is there.
        expect(page.get_by_label("Name")).to_be_focused()
        for key in ("mia", "Tab", PASSWORD, "Enter"):
            page.keyboard.press(key) if key in ("Tab", "Enter") else page.keyboard.type(key)
        for number in range(10):
            expect(page.locator("main[data-item-id]")).to_be_visible()
            here = item_on(page)
            if number % 2:
                page.keyboard.press("n")
            elif number == 4:
                page.keyboard.press("y")
                page.keyboard.press("2")
            else:
                page.keyboard.press("y")
                page.keyboard.press("1")
            another_than(page, here)
        expect(page.get_by_text("Nothing waits for you")).to_be_visible()
        assert has_decided(server, "mia", 10)
    said = list(verdicts_of(server, "mia").values())
    assert said.count((True, "correction")) == 4
    assert said.count((True, "rejection")) == 1
    assert said.count((False, "none")) == 5


def test_a_tool_call_in_the_middle_is_corrected(browser: Browser, server: Server) -> None:
    with new_page(browser, storage_state=signed_in(server, "tom")) as page:
        page.goto(f"{server.url}/review?app=travel")
        first = page.get_by_role("listitem").filter(has_text="find_room").first
        first.get_by_role("link", name="Correct this").click()
        arguments = page.get_by_label("Arguments (JSON)")
        expect(arguments).to_be_visible()
        assert json.loads(arguments.input_value()) == {"city": "Ely", "nights": 2}
        arguments.fill(arguments.input_value().replace("Ely", "Cambridge"))
        expect(page.locator(".diff ins")).to_contain_text("Cambridge")
        expect(page.locator(".diff del")).to_contain_text("Ely")
        # In the field the shortcuts are letters; Escape leaves it.
        page.keyboard.press("Escape")
        page.keyboard.press("y")
        page.keyboard.press("1")
        page.keyboard.press("Control+Enter")
        expect(page.get_by_text("Nothing waits for you")).to_be_visible()
        assert has_decided(server, "tom", 1)
    (decision,) = [
        one.decision
        for one in standing_decisions(server.project.stores.ledger)
        if one.decision.reviewer == "tom"
    ]
    assert decision.corrected_turn == 1
    assert decision.corrected_text is None
    (call,) = json.loads(decision.corrected_tool_calls or "")
    assert call["id"] == "call_1"
    assert call["function"]["name"] == "find_room"
    assert json.loads(call["function"]["arguments"]) == {"city": "Cambridge", "nights": 2}


def test_undo_goes_back_more_than_one_step(browser: Browser, server: Server) -> None:
    with new_page(browser, storage_state=signed_in(server, "una")) as page:
        page.goto(f"{server.url}/review?app=undo")
        seen = []
        for key in ("n", "n", "s"):
            seen.append(item_on(page))
            page.keyboard.press(key)
            another_than(page, seen[-1])
        assert has_decided(server, "una", 2)
        page.keyboard.press("u")
        expect(page.get_by_text("You no longer skip this item.")).to_be_visible()
        assert item_on(page) == seen[2]
        page.keyboard.press("u")
        expect(page.get_by_text("Your decision on this item is taken back.")).to_be_visible()
        assert item_on(page) == seen[1]
        page.keyboard.press("u")
        expect(page.locator(f'main[data-item-id="{seen[0]}"]')).to_be_visible()
    assert verdicts_of(server, "una") == {}


def test_a_key_pressed_twice_decides_once(browser: Browser, server: Server) -> None:
    with new_page(browser, storage_state=signed_in(server, "dot")) as page:
        page.goto(f"{server.url}/review?app=double")
        here = item_on(page)
        page.keyboard.press("n")
        page.keyboard.press("n")
        another_than(page, here)
        page.wait_for_load_state("networkidle")
    # The second press was for the next item, or for none.
    said = sa.select(decisions.c.trace_id).where(decisions.c.reviewer == "dot")
    with server.project.stores.ledger.read() as ledger:
        trace_ids = ledger.scalars(said).all()
    assert len(trace_ids) == len(set(trace_ids)) >= 1


def test_a_key_that_is_held_down_decides_once(browser: Browser, server: Server) -> None:
    with new_page(browser, storage_state=signed_in(server, "hal")) as page:
        page.goto(f"{server.url}/review?app=held")
        page.wait_for_load_state("networkidle")
        here = item_on(page)
        for _ in range(5):
            page.keyboard.down("n")
            page.wait_for_timeout(100)
        another_than(page, here)
        page.keyboard.down("n")
        page.keyboard.up("n")
        page.wait_for_load_state("networkidle")
    assert len(verdicts_of(server, "hal")) == 1


def test_those_who_disagree_are_settled_by_a_third(browser: Browser, server: Server) -> None:
    for name, keys in (("yes", ("y", "1")), ("no", ("n",))):
        with new_page(browser, storage_state=signed_in(server, f"says-{name}")) as page:
            page.goto(f"{server.url}/review?app=dispute")
            for key in keys:
                page.keyboard.press(key)
            expect(page.get_by_text("Nothing waits for you")).to_be_visible()
            assert has_decided(server, f"says-{name}", 1)
    with new_page(browser, storage_state=signed_in(server, "eve", "engineer")) as page:
        page.goto(f"{server.url}/adjudicate")
        row = page.get_by_role("row").filter(has_text="says-yes").filter(has_text="says-no")
        row.get_by_role("link").click()
        expect(page.get_by_role("heading", name="Settle the dispute")).to_be_visible()
        page.get_by_label("Perceived error").check()
        page.get_by_label("The user says what is right").check()
        page.get_by_label("In your words").fill("The day was wrong.")
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_role("heading", name="Disputes")).to_be_visible()
        expect(page.get_by_text("says-yes")).to_have_count(0)
    found = list_items(server.project.stores.ledger, ItemFilter(app="dispute", status="complete"))
    assert found.n_matching == 1


def test_decisions_are_exported_by_a_button(browser: Browser, server: Server) -> None:
    with new_page(browser, storage_state=signed_in(server, "max", "engineer")) as page:
        page.goto(f"{server.url}/review?app=comment")
        page.keyboard.press("n")
        expect(page.get_by_text("Nothing waits for you")).to_be_visible()
        page.goto(f"{server.url}/export")
        with page.expect_download() as downloading:
            page.get_by_role("button", name="Export").click()
        text = downloading.value.path().read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    assert "comment-00" in {row["trace_id"] for row in rows}


def test_what_was_typed_outlives_a_server_that_stopped(browser: Browser, server: Server) -> None:
    with new_page(browser, storage_state=signed_in(server, "dan")) as page:
        page.goto(f"{server.url}/review?app=draft")
        here = item_on(page)
        page.get_by_label("In your words").fill("Friday, not Thursday.")
        page.keyboard.press("Escape")
        page.keyboard.press("y")
        page.keyboard.press("1")
        server.kill()
        try:
            page.keyboard.press("Control+Enter")
            expect(page.get_by_text("nothing was saved")).to_be_visible()
        finally:
            server.start()
        page.goto(f"{server.url}/items/{here}")
        expect(page.get_by_label("In your words")).to_have_value("Friday, not Thursday.")
        page.get_by_label("Perceived error").check()
        page.keyboard.press("Control+Enter")
        another_than(page, here)
        assert has_decided(server, "dan", 1)


def test_the_same_is_done_without_a_script(browser: Browser, server: Server) -> None:
    signed_in(server, "noa", "engineer")
    with new_page(browser, java_script_enabled=False) as page:
        page.goto(f"{server.url}/review?app=plain")
        page.get_by_label("Name").fill("noa")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        page.get_by_label("Perceived error").check()
        page.get_by_label("The user says what is right").check()
        page.get_by_text("Correct this answer").click()
        page.get_by_label("The better answer, whole").fill("Booked for Friday.")
        page.get_by_role("button", name="Save").click()
        page.get_by_role("button", name="Skip").click()
        page.get_by_label("No error").check()
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_text("Nothing waits for you")).to_be_visible()
        page.get_by_role("button", name="Undo").click()
        expect(page.get_by_text("Your decision on this item is taken back.")).to_be_visible()
        page.get_by_role("button", name="Undo").click()
        expect(page.get_by_text("You no longer skip this item.")).to_be_visible()
        page.get_by_role("button", name="Decline").click()
        page.goto(f"{server.url}/queue?app=plain&status=declined")
        expect(page.get_by_text("1 of")).to_be_visible()
        page.goto(f"{server.url}/export")
        with page.expect_download() as downloading:
            page.get_by_role("button", name="Export").click()
        assert "Booked for Friday." in downloading.value.path().read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def session(server: Server) -> dict[str, object]:
    """An admin's session, to look at every page with."""
    return signed_in(server, "ada", "admin")


def test_a_champion_is_approved_and_rolled_back_without_a_script(
    browser: Browser, server: Server
) -> None:
    session, ledger = signed_in(server, "edith", "engineer"), server.project.stores.ledger
    with new_page(browser, storage_state=session, java_script_enabled=False) as page:
        page.goto(f"{server.url}/registry")
        page.get_by_role("link", name="Read the evidence and decide").click()
        page.locator("#why-promote").fill("better on every slice")
        page.get_by_role("button", name="Make it the champion").click()
        expect(page.get_by_text("It is the champion of judge.")).to_be_visible()
        assert targets_with(ledger, "champion")["judge"] == "judge-3"
        page.locator("#why-rollback").fill("it errs")
        page.get_by_role("button", name="Roll back to judge-1").click()
        expect(page.get_by_role("heading", name="judge-1", exact=True)).to_be_visible()
        assert targets_with(ledger, "champion")["judge"] == "judge-1"


def test_no_page_is_wider_than_a_phone(
    browser: Browser, server: Server, session: dict[str, object]
) -> None:
    wide = {}
    with new_page(browser, storage_state=session, viewport=PHONE, has_touch=True) as page:
        for name, path in addresses(server.project).items():
            page.goto(f"{server.url}{path}")
            width = page.evaluate("document.documentElement.scrollWidth")
            if width > PHONE["width"]:
                wide[name] = width
    assert wide == {}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault(
    browser: Browser, server: Server, session: dict[str, object], scheme: str
) -> None:
    faults = []
    axe = Axe()
    with new_page(browser, storage_state=session, color_scheme=scheme) as page:
        for name, path in addresses(server.project).items():
            page.goto(f"{server.url}{path}")
            for fault in axe.run(page).response["violations"]:
                if fault["impact"] in ("serious", "critical"):
                    faults += [(name, fault["id"], node["html"][:120]) for node in fault["nodes"]]
    assert faults == []


def test_the_shortcuts_are_on_the_screen_and_behind_a_question_mark(
    browser: Browser, server: Server, session: dict[str, object]
) -> None:
    with new_page(browser, storage_state=session) as page:
        page.goto(f"{server.url}/review?app=look")
        expect(page.get_by_text("no error, saved")).to_be_visible()
        page.keyboard.press("?")
        expect(page.get_by_role("dialog", name="The keyboard")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog", name="The keyboard")).to_be_hidden()
