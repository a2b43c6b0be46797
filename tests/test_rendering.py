"""Text of traces as HTML: whatever stands in it, it does nothing, and all of it is there."""

import json
import random
import re
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import chain
from pathlib import Path

import pytest
from markupsafe import Markup

from flywheel.traces.documents import Message, ToolCall, tool_calls_of
from flywheel.web import markdown as layout
from flywheel.web.rendering import (
    LINE_CHARACTERS,
    LONG_CHARACTERS,
    call_view,
    markdown,
    message_view,
    one_line,
    parts,
    plain,
)

TAGS = {
    *("p", "br", "hr", "em", "strong", "s", "code", "pre", "blockquote", "ul", "ol", "li"),
    *("table", "thead", "tbody", "tr", "th", "td", "span", "div"),
}
# What the page itself is made of; text that could name them could dress up as the page.
CLASSES_OF_TEXT = re.compile(
    r"heading(-[1-6])?|code|code-block|plain|link|address|image|language|[a-z]{1,3}[0-9]?"
)
NASTY = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg/onload=alert(1)>",
    '<a href="javascript:alert(1)">x</a>',
    "</pre></code></div><h1>over</h1>",
    "<!-- hidden -->",
    "<?php x ?>",
    "<![CDATA[x]]>",
    "[a](javascript:alert(1))",
    "[a](<javascript:alert(1)>)",
    "[a](java\nscript:alert(1))",
    "[a](&#106;avascript:alert(1))",
    "[a](vbscript:x)",
    "[a](data:text/html,<script>alert(1)</script>)",
    "![x](javascript:alert(1))",
    '![x](data:image/svg+xml;base64,PHN2Zz4= "t")',
    '![x](http://evil.example/"onerror="alert(1) "a\'b")',
    "![a [b](http://c.example) d](http://e.example)",
    "[![x](http://a.example/i.png)](http://b.example)",
    "<http://evil.example>",
    "<javascript:alert(1)>",
    "<me@evil.example>",
    "http://evil.example www.evil.example",
    '[a]: http://evil.example "hidden title"',
    "[a][b] [b]: javascript:alert(1)",
    "&lt;script&gt; &#x202e; &#0; &quot;&NotAnEntity;",
    "```python onload=alert(1)\nprint('<b>')\n```",
    '```"><script>alert(1)</script>\nx\n```',
    "```html\n<script>alert(1)</script>\n```",
    "~~~\nnever closed",
    "    indented <b>",
    "| a | b |\n|---|:-:|\n| <b> | `c|d` | too many |",
    '[a](http://b.example/&#8238; "&#8238;title&#8203;") &#xd800;',
    "# heading <b> #",
    "setext\n=====",
    "> quote\n> > deeper",
    "- a\n  - b\n    1. c",
    "7. seven",
    "**bold *both* ~~gone~~** `code <b>` \\<b\\> \\*",
    "\u202eevil\u202c \u2066x\u2069 \u200b \ufeff",
    "\x00\x07\x1b[31m\x85\r",
    "\ud800 \udfff",
    "\U000e0041\U000e0042",
    "{{ 7 * 7 }}{% raw %} ${x} %(y)s {z}",
    "---",
    "  \n",
    "\\",
    "`",
    "]]>",
    "\"'><",
)


class _Reader(HTMLParser):
    """What a browser is told to make: its text, and each element with its attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.odd: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("br", "hr"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.odd.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        self.odd.append(data)

    handle_decl = handle_pi = unknown_decl = handle_comment


def read(html: str) -> _Reader:
    reader = _Reader()
    reader.feed(html)
    reader.close()
    return reader


def assert_inert(html: Markup) -> _Reader:
    """Only elements and classes that do nothing, closed in their order, and nothing that hides."""
    reader = read(html)
    assert isinstance(html, Markup)
    for tag, attributes in reader.elements:
        assert tag in TAGS
        assert set(attributes) <= ({"start"} if tag == "ol" else {"class"}), (tag, attributes)
        for name in (attributes.get("class") or "").split():
            assert CLASSES_OF_TEXT.fullmatch(name), name
    assert (reader.open, reader.odd) == ([], [])
    assert not re.search(
        "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", html
    )
    return reader


def nasty_texts(n: int, seed: int) -> Iterator[str]:
    """Each nasty alone, then several put together in ways that a person would not."""
    yield from NASTY
    rng = random.Random(seed)
    for _ in range(n):
        some = rng.choices(NASTY, k=rng.randint(2, 6))
        text = rng.choice(("", " ", "\n", "\n\n", "\n> ", "\n- ", "|", "`")).join(some)
        at = rng.randrange(len(text))
        yield rng.choice((text, text[at:], text[:at], text.replace(rng.choice(text), "", 1)))


def letters(text: str) -> Counter[str]:
    # The numbers of a list are its markers; a place in an address may be written as %7B.
    return Counter(re.sub("[^a-z]", "", text.lower()))


def test_no_text_makes_more_than_text() -> None:
    for text in nasty_texts(1_500, seed=1):
        assert_inert(markdown(text))
        assert_inert(plain(text))


def test_what_the_renderer_might_let_through_the_second_wall_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As if the renderer wrote down whatever it was given."""
    monkeypatch.setattr(layout, "_laid_out", str)
    assert read("<h1 onclick=x>").elements == [("h1", {"onclick": "x"})]
    for text in chain(nasty_texts(500, seed=4), ('<p class="notice" id="main" style="x">a</p>',)):
        assert_inert(markdown(text))


def test_no_letter_of_a_text_is_left_out() -> None:
    for text in nasty_texts(1_500, seed=2):
        assert not letters(text) - letters(read(markdown(text)).text), text
        assert not letters(text) - letters(read(plain(text)).text), text


def test_no_message_makes_more_than_text() -> None:
    for number, text in enumerate(nasty_texts(500, seed=3)):
        role = ("user", "assistant", "tool", "system")[number % 4]
        call = ToolCall(text, text, json.dumps({text: [text, {text: text}]}))
        view = message_view(Message(number, role, text * 9, (call,), text, text, None), limit=400)
        assert_inert(view.html)
        assert_inert(view.preview_html)
        for line in (view.one_line, view.name or "", view.calls[0].one_line, view.calls[0].name):
            assert "\n" not in line
            assert len(line) <= LINE_CHARACTERS
        shown = (*view.calls, view.one_line, view.name)
        assert not re.search("[\x00-\x08\u202a-\u202e\ud800-\udfff]", "".join(map(str, shown)))
        assert "\u202e" not in view.calls[0].pretty_arguments


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("a *b* **c** ~~d~~ `e`", "<p>a <em>b</em> <strong>c</strong> <s>d</s> <code>e</code></p>"),
        ("one\ntwo", "<p>one<br>\ntwo</p>"),
        ("## A part", '<p class="heading heading-2">A part</p>'),
        ("3. c\n4. d", '<ol start="3">\n<li>c</li>\n<li>d</li>\n</ol>'),
        (
            '[here](https://a.example "now")',
            '<p><span class="link">here</span>'
            ' <span class="address">(https://a.example “now”)</span></p>',
        ),
        ("<https://a.example>", '<p><span class="link">https://a.example</span></p>'),
        (
            "![a *cat*](https://a.example/c.png)",
            '<p><span class="image">image: a *cat*</span>'
            ' <span class="address">(https://a.example/c.png)</span></p>',
        ),
        ("[x](javascript:y)", "<p>[x](javascript:y)</p>"),
        ("<b>&lt;", "<p>&lt;b&gt;&amp;lt;</p>"),
        ("a\u202eb", "<p>a⟦U+202E⟧b</p>"),
        ("[a]: https://b.example", "<p>[a]: https://b.example</p>"),
        ("", ""),
    ],
)
def test_markdown_is_laid_out_without_addresses(text: str, html: str) -> None:
    assert markdown(text).strip() == html


def test_code_is_coloured_by_classes_where_its_language_is_known() -> None:
    known = markdown("```python title=a.py\ndef f(): pass\n```")
    assert '<span class="language">python title=a.py</span>' in known
    assert '<span class="k">def</span>' in known
    unknown = markdown("```klingon\ndef f(): pass\n```")
    assert '<pre class="code"><code>def f(): pass\n</code></pre>' in unknown
    assert "<code>def f(): pass\n</code>" in markdown("```\ndef f(): pass\n```")


def test_a_table_is_one_unless_it_would_lose_a_cell() -> None:
    table = "| a | b |\n|---|---|\n| 1 | 2 \\| 3 |\n"
    assert "<td>2 | 3</td>" in markdown(table)
    assert "<th>a</th>" in markdown("> " + table.replace("\n", "\n> "))
    wider = markdown(table + "| 4 | 5 | ignore me |")
    assert "<table>" not in wider
    assert "ignore me" in wider


def test_what_is_nested_too_deeply_to_be_laid_out_is_shown_plain() -> None:
    assert markdown("> " * 30 + "deep").startswith('<pre class="plain">')
    assert "<blockquote>" in markdown("> " * 5 + "deep")


def slow_texts() -> Iterator[str]:
    for unit in (
        "*",
        "_",
        "~~a",
        "`",
        "[",
        "![",
        "[[a]",
        "](",
        "*a_",
        "**a*",
        ">",
        "> ",
        "- ",
        "|",
    ):
        yield unit * (100_000 // len(unit))
        yield unit * (19_990 // len(unit))
    for depth in (5, 15, 30):
        yield "> " * depth + "a\n" + "b\n" * 1_900
    yield "|a" * 1_000 + "|\n" + "|-" * 1_000 + "|\n" + "x\n" * 1_900
    yield "".join("e" + "`" * n for n in range(190))
    # Lexers that try each line, or each character, to the end.
    for language in ("csharp", "java", "scala", "typescript", "bash", "ruby"):
        for unit in ("a\n", "\n", "a.", "a?", "(", "'", "${"):
            yield f"```{language}\n{unit * (9_000 // len(unit))}\n```"
    yield "a b " * 1_250_000


@pytest.mark.parametrize("number", range(4))
def test_a_text_made_to_be_slow_comes_to_an_end(number: int) -> None:
    """Without the bounds one of these takes minutes."""
    for text in list(slow_texts())[number::4]:
        assert_inert(markdown(text))


def test_a_browser_shows_plain_text_from_its_first_line() -> None:
    assert plain("\n<b>\n") == '<pre class="plain">\n\n&lt;b&gt;\n</pre>'


def of(content: str, role: str = "assistant", calls: str | None = None) -> Message:
    return Message(0, role, content, tool_calls_of(calls), None, None, calls)


def test_a_short_message_is_whole() -> None:
    view = message_view(of("a *b*"))
    assert (view.is_long, view.html, view.preview_html) == (False, "<p>a <em>b</em></p>\n", "")
    assert (view.one_line, view.n_characters, view.calls) == ("a *b*", 5, ())
    assert not message_view(of("x" * LONG_CHARACTERS)).is_long
    assert message_view(of(" \n")).html == ""


def test_a_long_message_is_shown_by_its_first_lines() -> None:
    text = "a line of words\n" * 1_000
    view = message_view(of(text))
    assert (view.is_long, view.html, view.n_characters) == (True, "", 16_000)
    # 4,000 characters are 250 such lines.
    assert view.preview_html.count("a line of words") == 250
    assert message_view(of("x" * 5_000)).preview_html == f"<p>{'x' * 4_000}</p>\n"


def test_what_a_tool_printed_is_no_markdown_unless_it_is_fenced() -> None:
    assert message_view(of("# a\n  *b*", "tool")).html == plain("# a\n  *b*")
    assert "<strong>" in message_view(of("**a**\n```\nb\n```", "tool")).html


@pytest.mark.parametrize("size", [7, 1_000, 100_000])
def test_the_parts_of_a_text_are_all_of_it(size: int) -> None:
    rng = random.Random(size)
    for text in ("", "x", "漢" * 2_345, "".join(rng.choices("ab \n🙂", k=9_999)), "\n" * 100):
        slices = parts(text, size)
        assert "".join(slices) == text
        assert max(map(len, slices)) <= size
        assert slices == [text] or all(slices)


def test_parts_end_where_a_line_ends() -> None:
    # 33 lines of three characters are the most that 100 can hold.
    assert parts("ab\n" * 70, size=100) == ["ab\n" * 33, "ab\n" * 33, "ab\n" * 4]


@pytest.mark.parametrize(
    ("name", "arguments", "line"),
    [
        ("f", '{"a": "b", "n": 1.50, "l": [1, {}]}', 'f(a: "b", n: 1.5, l: [1, {}])'),
        ("f", "{}", "f()"),
        ("f", "", "f()"),
        ("f", "[1, 2]", "f([1, 2])"),
        ("f", "two\nlines", "f(two lines)"),
        ("f", '{"a": "' + "x" * 500 + '"}', 'f(a: "' + "x" * 112 + "…)"),
        ("f" * 200, "{}", "f" * 59 + "…()"),
    ],
)
def test_a_call_is_one_line(name: str, arguments: str, line: str) -> None:
    view = call_view(0, ToolCall("", name, arguments))
    assert view.one_line == line
    assert len(line) <= LINE_CHARACTERS


def test_arguments_are_indented_and_nothing_in_them_changes() -> None:
    written = '{"n":1.50,"big":1e400,"n":[],"o":{ },"l":[1,"\\u6f22\\n\\"[,]"],"t":true}'
    view = call_view(0, ToolCall("", "f", written))
    assert view.is_json
    assert view.pretty_arguments == "\n".join(
        (
            "{",
            '  "n": 1.50,',
            '  "big": 1e400,',
            '  "n": [],',
            '  "o": {},',
            '  "l": [',
            "    1,",
            '    "漢\\n\\"[,]"',
            "  ],",
            '  "t": true',
            "}",
        )
    )


@pytest.mark.parametrize(
    "arguments", ["not JSON", '{"a"', '"text"', "7", "[" * 50_000, "1" * 9_000, " " * 300_000]
)
def test_arguments_that_are_no_json_are_as_they_were(arguments: str) -> None:
    view = call_view(0, ToolCall("", "f", arguments))
    assert (view.is_json, view.pretty_arguments) == (False, arguments)


def test_arguments_with_hidden_characters_show_them() -> None:
    view = call_view(0, ToolCall("", "f", '{"a": "\\u202e\\ud800\\u0000"}'))
    assert view.pretty_arguments == '{\n  "a": "⟦U+202E⟧⟦U+D800⟧\\u0000"\n}'
    assert view.one_line == 'f(a: "⟦U+202E⟧⟦U+D800⟧\\u0000")'


def test_deep_arguments_do_not_grow_with_the_square_of_their_depth() -> None:
    deep = "[" * 900 + "]" * 900
    assert len(call_view(0, ToolCall("", "f", deep)).pretty_arguments) < 100_000


def test_one_line_of_a_text_says_where_it_is_cut() -> None:
    assert one_line(" a\n b\t") == "a b"
    assert one_line("x" * 120) == "x" * 120
    assert one_line("x" * 121) == "x" * 119 + "…"
    assert one_line("so" + " " * 2_000 + "long") == "so…"


STATIC = Path(__file__).parent.parent / "flywheel" / "web" / "static"


def colours(sheet: str, is_dark: bool) -> dict[str, str]:
    """The custom properties of a style sheet that are colours."""
    text = (STATIC / sheet).read_text(encoding="utf-8")
    light, _, dark = text.partition("@media (prefers-color-scheme: dark)")
    found = re.compile(r"(--[\w-]+): (#[0-9a-f]{6});")
    return dict(chain(found.findall(light), found.findall(dark) if is_dark else ()))


def luminance(colour: str) -> float:
    """Relative luminance, from 0 to 1 (WCAG 2.2)."""
    shares = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("is_dark", [False, True], ids=["light", "dark"])
def test_code_can_be_read_on_its_ground(is_dark: bool) -> None:
    assert contrast("#ffffff", "#000000") == pytest.approx(21)
    ground = colours("flywheel.css", is_dark)["--sunken"]
    of_code = colours("code.css", is_dark)
    assert len(of_code) == 7
    for name, colour in of_code.items():
        assert contrast(colour, ground) >= 4.5, name


def test_every_colour_of_code_is_one_that_the_sheet_has() -> None:
    text = (STATIC / "code.css").read_text(encoding="utf-8")
    used = set(re.findall(r"var\((--code-[\w-]+)\)", text))
    assert used == set(colours("code.css", False)) == set(colours("code.css", True))
