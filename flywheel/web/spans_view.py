"""The spans of a trace as a tree, in the order of a reader: a page of rows, and a drawing of them.

An outline in, rows with depths and bars out; the one idea is that the tree is walked without
recursion and whole, so that no depth, circle or missing parent is too much, and that only the page
asked for is drawn.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from markupsafe import Markup

from flywheel.safety import marked
from flywheel.traces.documents import Document
from flywheel.traces.span_pages import DocumentSpan
from flywheel.web.rendering import one_line

PAGE_SPANS = 100
# Up to so many, what went in and out stands on the page itself, by its beginning.
INLINE_SPANS = 30
INLINE_CHARACTERS = 2_000
# Deeper ones are set in no further; their depth is said.
MAX_INDENT = 12
_INDENTED_CHARACTERS = 500_000
# Of the drawing, in its own units.
_NODE_WIDTH, _NODE_HEIGHT, _ROW, _COLUMN = 190, 26, 34, 28
_LABEL_CHARACTERS = 22


@dataclass(frozen=True, slots=True)
class SpanRow:
    """A span of the tree; `start` and `width` are shares of the trace's time, in percent.

    `is_lost` where its parent is named and not there. `input` and `output` are by their beginning,
    and None where the page does not carry them.
    """

    position: int
    depth: int
    kind: str
    name: str
    status: str
    error: str
    model_name: str
    latency_ms: float | None
    start: float | None
    width: float | None
    tokens: int | None
    cost_usd: float | None
    n_children: int
    is_lost: bool
    href: str
    input: str | None = None
    output: str | None = None
    is_cut: bool = False

    @property
    def indent(self) -> int:
        """How far it is set in."""
        return min(self.depth, MAX_INDENT)


@dataclass(frozen=True, slots=True)
class SpanPage:
    """Some spans of a trace in the order of its tree, from `first` on."""

    rows: list[SpanRow]
    first: int
    n_spans: int
    n_errors: int
    drawing: Markup

    @property
    def page_size(self) -> int:
        """How many a page has."""
        return PAGE_SPANS


@dataclass(frozen=True, slots=True)
class _Node:
    span: DocumentSpan
    depth: int
    # Place of the parent in the walk; None for a root.
    parent: int | None
    is_lost: bool


def span_page(document: Document, first: int) -> SpanPage:
    """A page of the trace's spans, and the drawing of those on it."""
    outline = document.outline() if document.n_spans else []
    nodes = list(walk(outline))
    first = min(first, max(0, len(nodes) - 1)) // PAGE_SPANS * PAGE_SPANS
    shown = nodes[first : first + PAGE_SPANS]
    n_children: defaultdict[int | None, int] = defaultdict(int)
    for node in nodes:
        n_children[node.parent] += 1
    header = document.header
    base = urlencode({"id": header.trace_id, "hash": header.content_hash})
    starts = [s.started_at.timestamp() for s in outline if s.started_at]
    ends = [s.ended_at.timestamp() for s in outline if s.ended_at]
    whole = (min(starts), max(ends)) if starts and ends else (0.0, 0.0)
    values = (
        {span.position: span for span in document.spans()}
        if 0 < document.n_spans <= INLINE_SPANS
        else {}
    )
    rows = [
        _row(node, n_children[first + place], whole, base, values.get(node.span.position))
        for place, node in enumerate(shown)
    ]
    n_errors = sum(span.status == "error" for span in outline)
    return SpanPage(rows, first, len(nodes), n_errors, _drawing(shown, first, rows))


def walk(outline: Sequence[DocumentSpan]) -> Iterator[_Node]:
    """Every span once, each after its parent and before its parent's next child.

    A span whose parent is not there is a root, and so is the first of a circle.
    """
    known = {span.span_id for span in outline}
    children: defaultdict[str, list[DocumentSpan]] = defaultdict(list)
    roots = []
    for span in outline:
        if span.parent_id is not None and span.parent_id in known:
            children[span.parent_id].append(span)
        else:
            roots.append(span)
    done: set[int] = set()
    place = 0
    # The spans themselves at the end: those of circles are reached from no root.
    for root in [*roots, *outline]:
        stack: list[tuple[DocumentSpan, int, int | None]] = [(root, 0, None)]
        while stack:
            span, depth, parent = stack.pop()
            if span.position in done:
                continue
            done.add(span.position)
            is_lost = depth == 0 and span.parent_id is not None
            yield _Node(span, depth, parent, is_lost)
            below = reversed(children.get(span.span_id, ()))
            stack += [(child, depth + 1, place) for child in below]
            place += 1


def pretty(text: str | None) -> str:
    """What went in or out, as a person reads it: JSON on many lines, everything hidden marked."""
    if text is None:
        return ""
    if len(text) > _INDENTED_CHARACTERS:
        return marked(text)
    try:
        said = json.loads(text)
        plain = said if isinstance(said, str) else json.dumps(said, indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        plain = text
    return marked(plain)


def _row(
    node: _Node,
    n_children: int,
    whole: tuple[float, float],
    base: str,
    value: DocumentSpan | None,
) -> SpanRow:
    span, (begin, end) = node.span, whole
    start = width = None
    if span.started_at is not None and span.latency_ms is not None and end > begin:
        start = 100 * (span.started_at.timestamp() - begin) / (end - begin)
        # What took no time is still to be seen.
        width = max(0.5, min(100 - start, span.latency_ms / 10 / (end - begin)))
        start = max(0.0, min(start, 99.5))
    counts = [n for n in (span.prompt_tokens, span.completion_tokens) if n is not None]
    said_in, said_out = (pretty(value.input), pretty(value.output)) if value else (None, None)
    is_cut = any(text is not None and len(text) > INLINE_CHARACTERS for text in (said_in, said_out))
    return SpanRow(
        position=span.position,
        depth=node.depth,
        kind=one_line(span.kind, 20),
        name=one_line(span.name or span.tool_name or span.kind, 80),
        status=span.status or "",
        error=one_line(span.error or "", 300),
        model_name=one_line(span.model_name or "", 60),
        latency_ms=span.latency_ms,
        start=start,
        width=width,
        tokens=sum(counts) if counts else None,
        cost_usd=span.cost_usd,
        n_children=n_children,
        is_lost=node.is_lost,
        href=f"/span?{base}&position={span.position}",
        input=None if said_in is None else said_in[:INLINE_CHARACTERS],
        output=None if said_out is None else said_out[:INLINE_CHARACTERS],
        is_cut=is_cut,
    )


def _drawing(nodes: Sequence[_Node], first: int, rows: Sequence[SpanRow]) -> Markup:
    """The spans of a page as boxes, set in by their depth, each joined to its parent."""
    if not nodes:
        return Markup("")
    least = min(node.depth for node in nodes)
    columns = [min(node.depth - least, 2 * MAX_INDENT) for node in nodes]
    width = max(columns) * _COLUMN + _NODE_WIDTH + 4
    height = len(nodes) * _ROW + 4
    lines, boxes = [], []
    for place, (node, column, row) in enumerate(zip(nodes, columns, rows, strict=True)):
        x, y = 2 + column * _COLUMN, 2 + place * _ROW
        if node.parent is not None and node.parent >= first:
            up = node.parent - first
            left = 2 + columns[up] * _COLUMN + 10
            lines.append(f"M{left} {2 + up * _ROW + _NODE_HEIGHT}V{y + _NODE_HEIGHT // 2}H{x}")
        fault = " node-error" if row.status == "error" else ""
        kind = row.kind if row.kind in _KINDS else "other"
        label = one_line(row.name, _LABEL_CHARACTERS)
        boxes.append(
            Markup(
                '<a href="#span-{}"><title>{}: {}</title><rect class="node node-{}{}" x="{}" '
                'y="{}" width="{}" height="{}" rx="6"/><text x="{}" y="{}">{}</text></a>'
            ).format(
                *(row.position, row.kind, row.name, kind, fault, x, y),
                *(_NODE_WIDTH, _NODE_HEIGHT, x + 10, y + 18, label),
            )
        )
    path = Markup('<path class="edges" d="{}"/>').format("".join(lines))
    return Markup(
        '<svg class="tree" viewBox="0 0 {} {}" width="{}" height="{}" role="group" '
        'aria-label="The steps as a tree, {} of them">{}{}</svg>'
    ).format(width, height, width, height, len(nodes), path, Markup("").join(boxes))


_KINDS = frozenset(
    ("agent", "llm", "tool", "retriever", "embedding", "chain", "guardrail", "evaluator")
)
