"""An OpenTelemetry span, whatever its dialect, as one of ours.

A `RawSpan` in: ids, times, and attributes, events and links as plain dictionaries. One `Span` out,
and a `FeedbackRow` for each annotation or evaluation that it carries. The one idea is a contest: of
all attributes that could fill a field the surest wins, and every other stays in the metadata.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from flywheel.traces.feedback import FeedbackRow
from flywheel.traces.spans.annotations import annotations_in, evaluation_of
from flywheel.traces.spans.events import EVALUATION, Event, said_in_events
from flywheel.traces.spans.rules import (
    ANNOTATIONS,
    EVENTS,
    Layout,
    Offer,
    layout_of,
    money,
    positive_count,
    values_in,
)
from flywheel.traces.spans.span import Span, SpanKind, SpanStatus


@dataclass(slots=True)
class RawSpan:
    """A span before its attributes are understood; `links` are (trace id, span id)."""

    trace_id: str
    span_id: str
    parent_id: str | None = None
    name: str = ""
    app: str | None = None
    started_ns: int | None = None
    ended_ns: int | None = None
    status: SpanStatus | None = None
    error: str | None = None
    attributes: Mapping[str, object] = field(default_factory=dict)
    events: Sequence[Event] = ()
    links: Sequence[tuple[str, str]] = ()
    metadata: Mapping[str, object] = field(default_factory=dict)


class _Fields:
    """What fills each field, and what was not needed."""

    def __init__(self, rest: dict[str, object]) -> None:
        self.values: dict[str, object] = {}
        self.rest = rest
        self._sources: dict[str, tuple[Offer, Mapping[str, object]]] = {}

    def fill(self, offers: Iterable[Offer], given: Mapping[str, object]) -> None:
        """Fill each field by the first that says something; nothing else is even read."""
        for offer in offers:
            name = offer.rule.field
            found = None if name in self.values else offer.rule.read(offer.value_in(given))
            if found is None:
                self.rest.update(offer.named_in(given))
            else:
                self.values[name] = found
                self._sources[name] = offer, given

    def keep(self, name: str) -> None:
        """Have the attributes that filled a field in the metadata too, by their own names."""
        if name in self._sources:
            offer, given = self._sources[name]
            self.rest.update(offer.named_in(given))


def read_span(raw: RawSpan) -> list[Span | FeedbackRow]:
    """The span, and what it says of itself or of another; all attributes are in one of them."""
    given = raw.attributes
    layout = layout_of(given)
    fields = _Fields({name: given[name] for name in layout.rest})
    kind = next((k for means, name in layout.kinds if (k := _kind(means, given[name]))), None)
    feedback = _take_annotations(raw, layout, fields.rest)
    said = said_in_events(raw.events) if raw.events else None
    if said and said.others:
        # The attribute `events` is Pydantic AI's.
        fields.rest["span.events"] = said.others
    fields.fill(layout.before_events, given)
    for name, value in said.fields.items() if said else ():
        source = f"events.{name}"
        fields.fill([Offer(replace(EVENTS, field=name), [source])], {source: value})
    fields.fill(layout.after_events, given)
    feedback += [
        evaluation_of(event, raw.trace_id, raw.span_id, raw.app)
        for event in raw.events
        if event.name == EVALUATION
    ]
    span = _span(raw, fields, kind)
    if feedback and len(raw.links) == 1 and kind is None and span.input is None:
        # It only carries what is said of the span that it links to.
        return list(feedback)
    return [span, *feedback]


def _kind(meanings: Mapping[str, SpanKind], value: object) -> SpanKind | None:
    return meanings.get(str(value).strip('"').lower())


def _take_annotations(raw: RawSpan, layout: Layout, rest: dict[str, object]) -> list[FeedbackRow]:
    """What is said of the span, dotted or as one list."""
    feedback: list[FeedbackRow] = []
    if not layout.annotations and ANNOTATIONS.isdisjoint(rest):
        return feedback
    for key in sorted(ANNOTATIONS):
        if key in layout.annotations:
            given = values_in(layout.annotations[key], raw.attributes)
        elif isinstance(whole := rest.get(key), list) and whole:
            given = whole
            del rest[key]
        else:
            continue
        feedback += annotations_in(key, given, raw.trace_id, raw.span_id, raw.links, raw.app)
    return feedback


def _span(raw: RawSpan, fields: _Fields, kind: SpanKind | None) -> Span:
    values, rest = fields.values, fields.rest
    if values.get("system"):
        _put_system(fields)
    if values.get("calls"):
        values["output"] = {
            "role": "assistant",
            "content": values.get("output") or "",
            "tool_calls": values["calls"],
        }
    prompt, completion = _usage(fields)
    if raw.error and values.get("error") != raw.error:
        fields.keep("error")
    is_failed = str(values.get("level", "")).upper() == "ERROR"
    fields.keep("level")
    if raw.links:
        rest["links"] = [{"trace_id": trace, "span_id": span} for trace, span in raw.links]
    for key, value in raw.metadata.items():
        # An attribute may have the name of a part of the envelope.
        rest[key if key not in rest else f"otel.{key}"] = value
    return Span(
        trace_id=raw.trace_id,
        span_id=raw.span_id,
        kind=kind or _guessed_kind(values),
        name=raw.name,
        parent_id=raw.parent_id,
        app=_text(values.get("app")) or raw.app,
        started_ns=raw.started_ns,
        ended_ns=raw.ended_ns,
        status="error" if is_failed else raw.status,
        error=_text(raw.error or values.get("error")),
        session_id=_text(values.get("session_id")),
        user_id=_text(values.get("user_id")),
        model_name=_text(values.get("model_name")),
        provider=_text(values.get("provider")),
        release=_text(values.get("release")),
        input=values.get("input"),
        output=values.get("output"),
        tool_name=_text(values.get("tool_name")) or (raw.name or None if kind == "tool" else None),
        tool_call_id=_text(values.get("tool_call_id")),
        prompt_tokens=prompt,
        completion_tokens=completion,
        cost_usd=_cost(fields),
        tags=tuple(_listed(values.get("tags"))),
        metadata=rest,
    )


def _put_system(fields: _Fields) -> None:
    """Put the instructions before the messages, unless those begin with some."""
    system, said = fields.values["system"], fields.values.get("input")
    first = said[0] if isinstance(said, list) and said else None
    if isinstance(first, dict) and first.get("role") in ("system", "developer"):
        fields.keep("system")
        return
    before = {"role": "system", "content": system}
    if isinstance(said, list):
        fields.values["input"] = [before, *said]
    else:
        fields.values["input"] = [before] if said is None else {"system": system, "messages": said}


def _usage(fields: _Fields) -> tuple[int | None, int | None]:
    """Tokens in and out: out of an object of counts, else as they are counted one by one."""
    counted = []
    usage = fields.values.get("usage")
    # What else it counts, such as what came from a cache, has no column.
    fields.keep("usage")
    for name, keys in (("prompt_tokens", _PROMPT_KEYS), ("completion_tokens", _COMPLETION_KEYS)):
        alone = fields.values.get(name)
        known = _first_count(usage, keys) if isinstance(usage, dict) else None
        if known is not None and alone not in (None, known):
            fields.keep(name)
        counted.append(known or (alone if isinstance(alone, int) else None))
    return counted[0], counted[1]


_PROMPT_KEYS = ("input", "input_tokens", "prompt_tokens", "promptTokens", "inputTokens")
_COMPLETION_KEYS = (
    *("output", "output_tokens", "completion_tokens", "completionTokens", "outputTokens"),
)


def _first_count(usage: Mapping[str, object], keys: Iterable[str]) -> int | None:
    return next((n for key in keys if (n := positive_count(usage.get(key)))), None)


def _cost(fields: _Fields) -> float | None:
    """US dollars: the total of an object of costs, or the sum of it, else the one cost."""
    costs, cost = fields.values.get("costs"), fields.values.get("cost_usd")
    if isinstance(costs, dict):
        fields.keep("costs")
        fields.keep("cost_usd")
        parts = [part for part in map(money, costs.values()) if part is not None]
        total = money(costs.get("total")) or money(costs.get("total_cost"))
        return total or (sum(parts) if parts else None)
    return cost if isinstance(cost, float) else None


def _guessed_kind(values: Mapping[str, object]) -> SpanKind:
    """Where no attribute names the kind: a model that was given or gave something is a call."""
    if values.get("tool_name"):
        return "tool"
    is_call = values.get("model_name") and (
        "prompt_tokens" in values or "usage" in values or "output" in values
    )
    return "llm" if is_call else "chain"


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _listed(value: object) -> list[str]:
    return value if isinstance(value, list) else []
