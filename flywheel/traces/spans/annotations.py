"""What a span says of itself or of another one: annotations and evaluations, as feedback.

Annotations of OpenInference and evaluation events of OpenTelemetry in, `FeedbackRow`s out. The one
idea is the link: a span with exactly one link speaks of the span that it links to.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from flywheel.traces.feedback import FeedbackRow, FeedbackSource
from flywheel.traces.spans.cells import source_by_name
from flywheel.traces.spans.events import Event
from flywheel.traces.spans.json_values import plain_text

_MAX_NAME = 80


def annotations_in(
    key: str,
    items: Sequence[object],
    trace_id: str,
    span_id: str,
    links: Sequence[tuple[str, str]],
    app: str | None = None,
) -> list[FeedbackRow]:
    """The rows of one list, such as `trace.annotations`."""
    if len(links) == 1:
        trace_id, span_id = links[0]
    of_span = None if key.startswith(("trace.", "session.")) else span_id
    wrapper = key.rsplit(".", 1)[-1].removesuffix("s")
    made = []
    for item in items:
        inner = item.get(wrapper) if isinstance(item, dict) else None
        said = inner if isinstance(inner, dict) else item
        if isinstance(said, dict) and said:
            made.append(_row(said, trace_id, of_span, key, app))
    return made


def evaluation_of(event: Event, trace_id: str, span_id: str, app: str | None = None) -> FeedbackRow:
    """An evaluation event, which speaks of the span that it is on."""
    said = {
        key.removeprefix("gen_ai.evaluation."): value for key, value in event.attributes.items()
    }
    score, label = said.get("score.value"), said.get("score.label")
    return _row(
        {
            "name": said.get("name"),
            "score": score,
            "label": label,
            "explanation": said.get("explanation"),
            "annotator_kind": "LLM" if "gen_ai.request.model" in event.attributes else "CODE",
            "time": event.time_ns,
        },
        trace_id,
        span_id,
        event.name,
        app,
    )


def score_of(value: object) -> float | None:
    """A score as a number; None where it is none."""
    if not isinstance(value, (bool, int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if abs(number) < 1e300 else None


def source_of(kind: object, name: str) -> FeedbackSource:
    """Who speaks: of people, one whose annotation is named for the users is an end user."""
    word = str(kind or "").upper()
    if word.startswith("LLM"):
        return "llm"
    if word == "HUMAN":
        return "end_user" if source_by_name(name) == "end_user" else "annotator"
    return "code"


def _row(
    said: Mapping[str, object],
    trace_id: str,
    span_id: str | None,
    origin: str,
    app: str | None,
) -> FeedbackRow:
    name = (plain_text(said.get("name")) or origin)[:_MAX_NAME]
    author = said.get("identifier")
    time_ns = said.get("time")
    return FeedbackRow(
        trace_id=trace_id,
        span_id=span_id,
        name=name,
        value=score_of(said.get("score")),
        label=plain_text(said.get("label")) or None,
        comment=plain_text(said.get("explanation")) or None,
        correction=None,
        source=source_of(said.get("annotator_kind"), name),
        author=plain_text(author) or None,
        user_id=None,
        given_at=moment(time_ns) if isinstance(time_ns, int) else None,
        origin=f"otlp:{origin}:{plain_text(author)}",
        app=app,
    )


def moment(time_ns: int) -> datetime | None:
    """Nanoseconds since 1970 as a moment; None where there is no such one."""
    try:
        return datetime.fromtimestamp(time_ns / 1e9, UTC) if time_ns > 0 else None
    except (ValueError, OverflowError, OSError):
        return None
