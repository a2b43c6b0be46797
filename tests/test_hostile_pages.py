"""Traces that attack whoever reads them, in a real browser: shown, inert, and all there.

Whatever a trace tries would show as a dialog, a request to another host, `window.__pwned`, or a
complaint of the browser about its content security policy.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from flywheel.queue import QUEUE
from flywheel.review import comment
from flywheel.store import Project, open_project
from flywheel.store.ledger import now
from flywheel.store.tables import queue_items
from flywheel.traces.documents import publish_documents
from flywheel.traces.importing import import_file
from tests.browser import browser, new_page
from tests.conftest import write_lines
from tests.judged import DAY
from tests.served import Server, serving, signed_in

__all__ = ["browser"]

EVIL = "evil.invalid"
PWN = "window.__pwned=1;alert(1)"
HTML = (
    f"<script>{PWN}</script>",
    f"<img src=x onerror='{PWN}'>",
    f'<img src="https://{EVIL}/a.png">',
    f"<svg onload='{PWN}'><script>{PWN}</script><image href='https://{EVIL}/b.svg'/></svg>",
    f"<svg><animate onbegin='{PWN}' attributeName=x dur=1s></svg>",
    f"<math><mtext><table><mglyph><style><!--</style><img src=x onerror='{PWN}'>--></style>",
    f"<noscript><p title=\"</noscript><img src=x onerror='{PWN}'>\"></noscript>",
    f"<iframe src='https://{EVIL}/frame'></iframe>",
    "<iframe srcdoc='<script>parent.__pwned=1</script>'></iframe>",
    f"<object data='https://{EVIL}/o'></object><embed src='https://{EVIL}/e'>",
    f"<meta http-equiv=refresh content='0;url=https://{EVIL}/'>",
    f"<base href='https://{EVIL}/'><link rel=stylesheet href='https://{EVIL}/s.css'>",
    f"<style>@import url(https://{EVIL}/i.css); body {{ display: none }}</style>",
    f"<p style='background:url(https://{EVIL}/p.png);position:fixed;inset:0'>over</p>",
    f"<form action='https://{EVIL}/f'><button autofocus onfocus='{PWN}'>Save</button></form>",
    f"<details open ontoggle='{PWN}'><summary>x</summary></details>",
    f"<video poster='https://{EVIL}/v.png' autoplay><source onerror='{PWN}' src=x></video>",
    f"</pre></code></div></li></ol></main></textarea></title><script>{PWN}</script>",
    f"<!--><script>{PWN}</script>-->",
    f"<a href='javascript:{PWN}'>an anchor</a><a href='//{EVIL}' ping='https://{EVIL}/ping'>b</a>",
    "<input name=csrf value=stolen form=decide><input type=hidden id=decide name=perceived_error>",
    "<main data-item-id=1 id=main></main><dialog open id=help>gone</dialog>",
    "{{ 7 * 7 }}{% include '/etc/passwd' %}${7*7}<%= 7 * 7 %>",
)
MARKDOWN = (
    f"![an image](https://{EVIL}/m.png) ![another][r]\n\n[r]: https://{EVIL}/r.png",
    f"[a link](javascript:{PWN}) [data](data:text/html,<script>{PWN}</script>)",
    f"[entities](&#106;avascript:{PWN}) [tab](java\tscript:{PWN}) <javascript:{PWN}>",
    f'[title](https://{EVIL} "onmouseover={PWN} x=")',
    f"https://{EVIL}/auto www.{EVIL} someone@{EVIL}",
    f'```"><script>{PWN}</script>\ncode\n```',
    f"```html\n<script>{PWN}</script>\n```",
    f"`<img src=x onerror={PWN}>`",
    "> " * 3_000 + "deep",
    "".join(f"{'  ' * depth}- {depth}\n" for depth in range(200)),
    "[" * 5_000 + "](" * 5_000,
    "*a **b " * 3_000,
    "| a " * 500 + "|\n" + "|---" * 500 + "|\n" + "| b " * 500 + "|",
    f"[x]: <javascript:{PWN}>\n[x]",
    "&lt;script&gt;&#60;script&#62; &amp;amp; &NotAnEntity;",
)
CHARACTERS = (
    "control " + "".join(map(chr, range(1, 0x20))) + "\x7f\x80\x85\x9b end",
    "bidi \u202edesrever\u202c \u2066isolate\u2069 \u200f\u061c end",
    "invisible \u200b\u200c\u200d\u2060\ufeff\u00ad\U000e0041\U000e0042 end",
    "line \u2028 and paragraph \u2029 separators",
    "zalgo " + "a" + "\u0300\u0316" * 200 + " end",
    "not characters \ufffe\uffff \U0010ffff \ufffd end",
    "one word " + "w" * 20_000,
    "העברית היא משמאל 東京 😀👩‍👩‍👧‍👦 ﷽",
)
ACTIVE = (
    "img, svg, script, style, iframe, object, embed, form, input, button, video, math, "
    "link, meta, base, dialog"
)
# Halves of surrogate pairs are no text, so that an import refuses them; inside the JSON of a call's
# arguments they are an escape until somebody reads it.
ARGUMENTS = (
    '{"half": "\\ud83d", "nul": "\\u0000", "bidi": "\\u202e"}',
    f'{{"html": "</pre></details><script>{PWN}</script>"}}',
    "not JSON </summary><script>",
    "[" * 2_000 + "]" * 2_000,
    '{"n": ' + "9" * 5_000 + "}",
)


def attack() -> dict[str, object]:
    """A trace in which each message tries something, and ends with a mark by which it is found."""
    hostile = (*HTML, *MARKDOWN, *CHARACTERS)
    messages: list[dict[str, object]] = []
    for number, text in enumerate(hostile):
        role = "user" if number % 2 == 0 else "assistant"
        messages.append({"role": role, "content": f"{text}\n\nmark-{number}-mark"})
    functions = [
        {"name": f"{HTML[number]}", "arguments": arguments}
        for number, arguments in enumerate(ARGUMENTS)
    ]
    calls = [
        {"id": f"</script>{number}", "type": "function", "function": function}
        for number, function in enumerate(functions)
    ]
    messages += [
        {"role": "assistant", "content": "", "tool_calls": calls},
        {"role": "tool", "content": HTML[1], "tool_call_id": "</script>0", "name": HTML[1]},
        {"role": "user", "content": "the last message"},
    ]
    return {
        "trace_id": f"../{HTML[1]}?&#\"'%00",
        "app": HTML[1],
        "session_id": HTML[0],
        "model_name": HTML[1],
        "release": HTML[3],
        "started_at": f"{DAY}T10:00:00Z",
        "metadata": {HTML[0]: HTML[1]},
        "messages": messages,
    }


N_LONG, N_MANY = 5_000_000, 30_000


def long_message() -> dict[str, object]:
    """A trace with a message of 5 MB: markdown and hostile to its end."""
    line = f"- **item** `code` <script>{PWN}</script> [x](javascript:{PWN})\n"
    text = line * (N_LONG // len(line) + 1) + "the end of 5 MB"
    return {
        "trace_id": "long",
        "app": "shop",
        "started_at": f"{DAY}T10:00:00Z",
        "messages": [
            {"role": "user", "content": "Give me all of it."},
            {"role": "assistant", "content": text},
            {"role": "user", "content": "No, the other one."},
        ],
    }


def many_messages() -> dict[str, object]:
    """A trace of 30,000 messages."""
    return {
        "trace_id": "many",
        "app": "shop",
        "started_at": f"{DAY}T10:00:00Z",
        "messages": [
            {"role": "assistant" if i % 2 else "user", "content": f"message number {i}."}
            for i in range(N_MANY)
        ],
    }


def enqueue(project: Project) -> dict[str, tuple[int, str]]:
    """Put every trace into the queue, with a judge that was fooled; item and hash of each trace."""
    with project.stores.warehouse.open() as connection:
        found = connection.raw.execute("select trace_id, content_hash, app from traces").fetchall()
    assert publish_documents(project.stores, [(row[0], row[1]) for row in found]) == len(found)
    common = {
        **{"queue": QUEUE, "day": DAY, "reason": "low_score", "priority": 0.5},
        **{"draw_probability": 1.0, "audit_probability": 0.1, "probability": 0.9},
        **{"judge_version": "judge-1", "judge_reason": f"{HTML[1]} {MARKDOWN[0]}"},
        **{"judge_reason_code": "correction", "evidence_turn": 2, "status": "pending"},
        **{"reviewers_needed": 1, "queued_at": now()},
    }
    rows = [
        common | {"item_id": i + 1, "trace_id": row[0], "content_hash": row[1], "app": row[2]}
        for i, row in enumerate(sorted(found))
    ]
    with project.stores.ledger.begin() as ledger:
        ledger.execute(queue_items.insert(), rows)
    return {row["trace_id"]: (row["item_id"], row["content_hash"]) for row in rows}


@dataclass(frozen=True)
class Hostile:
    """A server of hostile traces, and an admin's session."""

    server: Server
    items: dict[str, tuple[int, str]]
    session: dict[str, object]

    def item(self, trace_id: str) -> str:
        """The address of a trace's item."""
        return f"{self.server.url}/items/{self.items[trace_id][0]}"

    def trace(self, trace_id: str, page: str = "trace") -> str:
        """The address of a trace, or of a message of it."""
        known = self.items[trace_id][1]
        return f"{self.server.url}/{page}?id={quote(trace_id, safe='')}&hash={known}"


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterable[Hostile]:
    """The three traces in a queue, and a server that shows them."""
    folder = tmp_path_factory.mktemp("hostile")
    project = open_project(folder / HTML[0].replace("/", "_"))
    rows = [attack(), long_message(), many_messages()]
    report = import_file(project.stores, write_lines(folder / "traces.jsonl", rows))
    assert (report.new, report.rejected) == (3, [])
    items = enqueue(project)
    with serving(project) as server:
        yield Hostile(server, items, signed_in(server, "ada", "admin"))
    project.stores.ledger.close()


@contextmanager
def watched(browser: Browser, hostile: Hostile) -> Iterator[Page]:
    """A page of the admin's; the test fails where anything of a trace did something."""
    strays: list[str] = []
    with new_page(browser, storage_state=hostile.session) as page:

        def note(url: str) -> None:
            if urlsplit(url).netloc != urlsplit(hostile.server.url).netloc:
                strays.append(f"request to {url[:200]}")

        page.on("request", lambda request: note(request.url))
        page.on("dialog", lambda dialog: (strays.append("a dialog"), dialog.dismiss()))
        page.on("popup", lambda popup: strays.append(f"popup {popup.url}"))
        page.on("pageerror", lambda error: strays.append(f"script error {error}"))
        page.on(
            "console",
            lambda said: strays.append(f"console {said.text}") if said.type == "error" else None,
        )
        yield page
        assert page.evaluate("window.__pwned") is None
    assert strays == []


ATTACK = str(attack()["trace_id"])
N_MARKS = len(HTML) + len(MARKDOWN) + len(CHARACTERS)


def open_all(page: Page) -> None:
    """Unfold everything that is folded, and load what is shown in part."""
    while page.locator("a.more").count():
        before = page.locator("a.more").count()
        page.locator("a.more").first.click()
        expect(page.locator("a.more")).to_have_count(before - 1)
    page.evaluate("document.querySelectorAll('main details').forEach(fold => fold.open = true)")


@pytest.mark.parametrize("place", ["item", "trace"])
def test_what_attacks_is_shown_and_does_nothing(
    browser: Browser, hostile: Hostile, place: str
) -> None:
    url = hostile.item(ATTACK) if place == "item" else hostile.trace(ATTACK)
    with watched(browser, hostile) as page:
        answer = page.goto(url)
        assert answer is not None
        assert answer.status == 200
        open_all(page)
        shown = page.locator("main").inner_text()
        hidden = [n for n in range(N_MARKS) if f"mark-{n}-mark" not in shown]
        assert hidden == []
        # As text, not as elements: what a reader has to know of.
        assert shown.count("<script>") >= 8
        assert shown.count("onerror=") >= 4
        assert "{{ 7 * 7 }}" in shown
        assert "the last message" in shown
        # Every word of the calls, whatever their JSON is.
        assert "not JSON </summary><script>" in shown
        assert '"bidi"' in shown


def test_no_link_of_a_trace_leads_anywhere_and_no_image_is_one(
    browser: Browser, hostile: Hostile
) -> None:
    with watched(browser, hostile) as page:
        page.goto(hostile.trace(ATTACK))
        open_all(page)
        conversation = page.locator("ol.messages")
        assert conversation.locator(ACTIVE).count() == 0
        hrefs = conversation.locator("a[href]").evaluate_all("all => all.map(a => a.href)")
        assert [href for href in hrefs if not href.startswith(hostile.server.url)] == []
        attributes = conversation.evaluate(
            "top => [...top.querySelectorAll('*')].flatMap(one => one.getAttributeNames())"
        )
        assert [name for name in attributes if name.startswith("on") or name == "style"] == []


def test_a_hostile_trace_takes_no_part_in_the_page(browser: Browser, hostile: Hostile) -> None:
    """Its forms, ids and fields are text, so that what is sent is what the reviewer chose."""
    with watched(browser, hostile) as page:
        page.goto(hostile.item(ATTACK))
        open_all(page)
        assert page.locator("#decide").count() == 1
        assert page.locator("main").count() == 1
        sent = page.evaluate("[...new FormData(document.querySelector('#decide')).keys()]")
        assert sent.count("csrf") == 1
        assert page.locator("input[name=csrf][value=stolen]").count() == 0


def test_hostile_names_stand_in_lists_as_text(browser: Browser, hostile: Hostile) -> None:
    ledger = hostile.server.project.stores.ledger
    _, content_hash = hostile.items[ATTACK]
    comment(ledger, ATTACK, content_hash, "ada", f"{HTML[0]} \ud83d {CHARACTERS[1]}")
    with watched(browser, hostile) as page:
        for path in ("/queue", "/quality", "/reviewers", "/export", "/audit", "/adjudicate"):
            answer = page.goto(f"{hostile.server.url}{path}")
            assert answer is not None
            assert answer.status == 200, path
        page.goto(f"{hostile.server.url}/queue")
        expect(page.locator("table").get_by_text(HTML[1], exact=True)).to_be_visible()
        page.get_by_label("Application").select_option(HTML[1])
        expect(page.get_by_text("1 of 3 items")).to_be_visible()
        page.goto(hostile.item(ATTACK))
        expect(page.get_by_text(HTML[0]).last).to_be_visible()


def test_a_correction_of_a_hostile_answer_is_shown_as_text(
    browser: Browser, hostile: Hostile
) -> None:
    with watched(browser, hostile) as page:
        page.goto(f"{hostile.item(ATTACK)}?correct=1")
        editor = page.get_by_label("The better answer, whole")
        expect(editor).to_be_visible()
        # The text field holds the message as it was, tags and all.
        assert HTML[1] in editor.input_value()
        editor.fill(f"{HTML[2]} {HTML[0]}")
        expect(page.locator(".diff ins").first).to_be_visible()
        assert page.locator(".diff").locator("img, script").count() == 0


def test_a_message_of_five_megabytes_is_read_to_its_end(browser: Browser, hostile: Hostile) -> None:
    with watched(browser, hostile) as page:
        page.goto(hostile.item("long"))
        expect(page.get_by_text("No, the other one.").first).to_be_visible()
        # What is long is begun, and says how long it is.
        assert page.evaluate("document.documentElement.outerHTML.length") < 500_000
        page.get_by_role("link", name="Show all 5,").click()
        expect(page.get_by_text("Part 1 of")).to_be_visible()
        page.goto(f"{hostile.trace('long', 'message')}&position=1&part=1000000")
        expect(page.get_by_text("the end of 5 MB")).to_be_visible()
        page.get_by_role("link", name="Part before").click()
        expect(page.get_by_text("item").first).to_be_visible()


def test_the_parts_of_a_long_message_are_all_of_it(hostile: Hostile) -> None:
    (cookie,) = hostile.session["cookies"]  # type: ignore[misc]
    cookies = {cookie["name"]: cookie["value"]}
    with httpx.Client(cookies=cookies, trust_env=False, timeout=60) as client:
        whole = client.get(f"{hostile.trace('long', 'message')}&position=1&raw=1")
        assert whole.headers["content-type"].startswith("text/plain")
        assert whole.text == long_message()["messages"][1]["content"]  # type: ignore[index]
        shown, part = "", 0
        while True:
            page = client.get(f"{hostile.trace('long', 'message')}&position=1&part={part}").text
            shown += page
            part += 1
            if "Next part" not in page:
                break
    n_lines = whole.text.count("&lt;script&gt;") or whole.text.count("<script>")
    assert shown.count("&lt;script&gt;") == n_lines


def test_thirty_thousand_messages_are_leafed_through(browser: Browser, hostile: Hostile) -> None:
    with watched(browser, hostile) as page:
        page.goto(hostile.item("many"))
        talk = page.locator("ol.messages")
        # It opens at the message that the judge speaks of.
        expect(talk.get_by_text("message number 2.", exact=True)).to_be_visible()
        assert talk.get_by_role("listitem").count() < 200
        page.get_by_role("link", name="Later messages").click()
        expect(talk.get_by_text("message number 60.", exact=True)).to_be_visible()
        page.get_by_role("link", name="to the last").click()
        expect(talk.get_by_text("message number 29999.", exact=True)).to_be_visible()
        page.get_by_role("link", name="Earlier messages").click()
        expect(talk.get_by_text("message number 29940.", exact=True)).to_be_visible()
        page.get_by_role("link", name="to the first").click()
        expect(talk.get_by_text("message number 0.", exact=True)).to_be_visible()
