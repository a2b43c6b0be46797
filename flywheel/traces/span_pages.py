"""Spans of a trace's document: the tree at once, what went in and out of each step when asked for.

Stored spans in, rows of a document out, and the other way round. The one idea is that the outline
of a tree of 30,000 spans is small, and that their values, which are not, are rows of their own.
"""

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from flywheel.traces.frames import Row, Rows
from flywheel.traces.spans.rows import StoredSpan

# Rows of an outline that are read at once.
OUTLINE_ROWS = 500
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class DocumentSpan:
    """A step of a trace as the pages show it; `position` counts its spans in the order of time.

    `parent_id` may name a span that is not there. `input` and `output` are JSON text, and None
    where there is none or where only the outline was asked for: `messages_of` reads those of a
    call.
    """

    position: int
    span_id: str
    parent_id: str | None
    kind: str
    name: str
    started_at: datetime | None
    ended_at: datetime | None
    status: str | None
    error: str | None
    model_name: str | None
    tool_name: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    cost_usd: float | None
    input: str | None = None
    output: str | None = None

    @property
    def latency_ms(self) -> float | None:
        """How long it took; None where its start or its end is not known."""
        if self.started_at is None or self.ended_at is None:
            return None
        return (self.ended_at - self.started_at) / timedelta(milliseconds=1)


def read_outline(outline: Rows) -> list[DocumentSpan]:
    """All spans, without what went in and out."""
    return [_span(place, row) for place, row in outline.between(0, math.inf)]


def read_spans(outline: Rows, values: Rows, first: int, end: float) -> list[DocumentSpan]:
    """The spans from position `first` to before `end`, with what went in and out."""
    said = values.between(first, end)
    return [
        _span(place, [*row, *value])
        for (place, row), (_, value) in zip(outline.between(first, end), said, strict=True)
    ]


def outline_of(span: StoredSpan) -> Row:
    """A span as a row of the outline."""
    return [
        span.span_id,
        span.parent_id,
        span.kind,
        span.name,
        span.started_us,
        span.ended_us,
        span.status,
        span.error,
        span.model_name,
        span.tool_name,
        span.prompt_tokens,
        span.completion_tokens,
        span.cost_usd,
    ]


def value_of(span: StoredSpan) -> Row:
    """What went in and out of it, as a row of the values."""
    return [span.input, span.output]


def length_of(value: Row) -> int:
    """How many characters a row of the values has."""
    return sum(len(str(said)) for said in value if said)


def _span(place: int, row: Row) -> DocumentSpan:
    times = [
        None if time is None else _EPOCH + timedelta(microseconds=int(str(time)))
        for time in row[4:6]
    ]
    return DocumentSpan(place, *row[:4], *times, *row[6:])  # type: ignore[arg-type]
