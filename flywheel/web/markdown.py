"""Text from traces as HTML that shows all of it and does nothing.

Text in, markup out. The one idea is two walls: the renderer writes no element that could act, load
or lead anywhere, and what it wrote passes an allow-list that knows no address. Text that would take
long to lay out, and text of which the layout would leave something out, is shown as it is.
"""

import re
from collections.abc import MutableMapping, Sequence
from functools import lru_cache
from io import StringIO
from itertools import takewhile
from time import thread_time

import nh3
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markupsafe import Markup, escape
from pygments.formatters.html import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.token import STANDARD_TYPES

from flywheel.safety import marked

# Above these a text is shown plain: measured, so that the worst text that we know takes a third of
# a second. What is quadratic are brackets, lines in deep quotes, and cells that are not there.
MAX_CHARACTERS = 20_000
MAX_LINES = 2_000
MAX_BRACKETS_TIMES_CHARACTERS = 20_000_000
MAX_CELLS = 5_000
MAX_NESTING = 20
# Colours are given up after so much work: a lexer can take seconds for text that was made for it.
MAX_HIGHLIGHTED = 10_000
HIGHLIGHT_CPU_S = 0.05

_LANGUAGES = {
    *("bash", "c", "c#", "c++", "cpp", "cs", "csharp", "css", "dart", "diff", "docker"),
    *("dockerfile", "go", "golang", "graphql", "html", "java", "javascript", "js"),
    *("json", "jsx", "kotlin", "kt", "lua", "php", "powershell", "ps1"),
    *("py", "python", "python3", "r", "rb", "rs", "ruby", "rust", "scala", "sh", "shell"),
    *("sql", "swift", "toml", "ts", "tsx", "typescript", "xml", "yaml", "yml", "zsh"),
}
_FORMATTER = HtmlFormatter(nowrap=True)
_TAGS = {
    *("p", "br", "hr", "em", "strong", "s", "code", "pre", "blockquote", "ul", "ol", "li"),
    *("table", "thead", "tbody", "tr", "th", "td", "span", "div"),
}
_CLASSES = {
    "span": {*filter(None, STANDARD_TYPES.values()), "link", "address", "image", "language"},
    "p": {"heading", *(f"heading-{level}" for level in range(1, 7))},
    "div": {"code-block"},
    "pre": {"code"},
}


def markdown(text: str) -> Markup:
    """The text laid out as markdown; nothing in it can be clicked, is loaded or is left out.

    Links and images are words with their address. Plain where the layout would take too long.
    """
    shown = marked(text)
    html = None if _is_costly(shown) else _laid_out(shown)
    if html is None:
        return plain(text)
    inert = nh3.clean(
        html,
        tags=_TAGS,
        attributes={"ol": {"start"}},
        allowed_classes=_CLASSES,
        url_schemes=set(),
        link_rel=None,
    )
    # Again, since markdown takes escapes apart.
    return Markup(marked(inert))


def plain(text: str) -> Markup:
    """The text as it is, line by line."""
    # A browser drops a newline that a <pre> begins with.
    return Markup('<pre class="plain">\n{}</pre>').format(marked(text))


def _is_costly(text: str) -> bool:
    return (
        len(text) > MAX_CHARACTERS
        or text.count("\n") > MAX_LINES
        or text.count("[") * len(text) > MAX_BRACKETS_TIMES_CHARACTERS
    )


def _laid_out(text: str) -> str | None:
    """The text as HTML, or None where it is nested so deeply that some would be left out."""
    lines = text.split("\n")
    env: MutableMapping[str, object] = {}
    parser = _parser(has_tables=_count_cells(lines) <= MAX_CELLS)
    tokens = parser.parse(text, env)
    if any(_loses_cells(tokens, at, lines) for at, t in enumerate(tokens) if t.type == "tr_open"):
        tokens = _parser(has_tables=False).parse(text, env)
    if any(token.level >= MAX_NESTING - 1 for token in tokens):
        return None
    return str(parser.renderer.render(tokens, parser.options, env))


@lru_cache
def _parser(has_tables: bool) -> MarkdownIt:
    parser = MarkdownIt(
        "commonmark",
        {"html": False, "breaks": True, "maxNesting": MAX_NESTING},
        renderer_cls=_Renderer,
    )
    # A definition is not shown where it stands, and an entity could stand for a hidden character.
    parser.disable(["reference", "entity", "html_block", "html_inline"])
    return parser.enable(["strikethrough", "table"] if has_tables else "strikethrough")


def _count_cells(lines: Sequence[str]) -> int:
    """No table of the text has more cells: the columns of its widest rule, times all lines."""
    rules = [line for line in lines if "-" in line and not line.strip(" \t|:-+*>.)0123456789")]
    return max((rule.count("|") + 1 for rule in rules), default=0) * len(lines)


def _loses_cells(tokens: Sequence[Token], at: int, lines: Sequence[str]) -> bool:
    """Whether the row that opens here has more cells in the text than its table has columns."""
    row = takewhile(lambda token: token.type != "tr_close", tokens[at:])
    cells = "".join(token.content for token in row if token.type == "inline")
    place = tokens[at].map
    return place is not None and not _letters(lines[place[0]]).endswith(_letters(cells))


def _letters(text: str) -> str:
    return re.sub(r"[\s|\\]+", "", text)


class _Renderer(RendererHTML):
    """HTML without addresses: what would lead somewhere is words."""

    def link_open(self, tokens: Sequence[Token], idx: int, *_: object) -> str:
        return '<span class="link">'

    def link_close(self, tokens: Sequence[Token], idx: int, *_: object) -> str:
        # Links do not nest.
        opened = next(i for i in range(idx, -1, -1) if tokens[i].type == "link_open")
        link = tokens[opened]
        text = "".join(token.content for token in tokens[opened:idx])
        if not link.attrs.get("title") and link.attrs["href"] in (text, f"mailto:{text}"):
            return "</span>"
        return f"</span> {_address(link, 'href')}"

    def image(self, tokens: Sequence[Token], idx: int, *_: object) -> str:
        alt = Markup('<span class="image">image: {}</span>').format(tokens[idx].content)
        return f"{alt} {_address(tokens[idx], 'src')}"

    def heading_open(self, tokens: Sequence[Token], idx: int, *_: object) -> str:
        # A heading of a message must not stand among those of the page.
        return f'<p class="heading heading-{tokens[idx].tag[1]}">'

    def heading_close(self, tokens: Sequence[Token], idx: int, *_: object) -> str:
        return "</p>\n"

    def fence(self, tokens: Sequence[Token], idx: int, *_: object) -> str:
        info = tokens[idx].info.strip()
        label = Markup('<span class="language">{}</span>').format(info) if info else ""
        return f'<div class="code-block">{label}{_code(tokens[idx].content, info)}</div>\n'

    def code_block(self, tokens: Sequence[Token], idx: int, *_: object) -> str:
        return f'<div class="code-block">{_code(tokens[idx].content, "")}</div>\n'


def _address(token: Token, attribute: str) -> Markup:
    title = token.attrs.get("title")
    said = f"{token.attrs[attribute]} “{title}”" if title else token.attrs[attribute]
    return Markup('<span class="address">({})</span>').format(said)


def _code(code: str, info: str) -> str:
    """A block of code, coloured by CSS classes where its language is a known one."""
    language = info.split(maxsplit=1)[0].lower() if info else ""
    is_known = language in _LANGUAGES and len(code) < MAX_HIGHLIGHTED
    shown = (_highlighted(code, language) if is_known else None) or escape(code)
    return f'<pre class="code"><code>{shown}</code></pre>'


def _highlighted(code: str, language: str) -> str | None:
    lexer, tokens = get_lexer_by_name(language, stripnl=False), []
    until = thread_time() + HIGHLIGHT_CPU_S
    for token in lexer.get_tokens(code):
        if thread_time() > until:
            return None
        tokens.append(token)
    html = StringIO()
    _FORMATTER.format(tokens, html)
    return html.getvalue()
