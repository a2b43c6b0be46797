"""Steps of a trace: what ran, under what, in which order, and which of it ended in an error.

Rows of spans where a trace has some, else of messages in; `Step`s out. The one idea is that both
give the same steps, known by their kind and their name, so that whoever has only conversations has
nodes too: the graph of calls, and the examples that one node of it asks for, speak of the same.
"""

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from flywheel.safety import visible
from flywheel.store.warehouse import Connection
from flywheel.traces.documents import Document, Message
from flywheel.traces.spans.span import SPAN_KINDS

Row = Mapping[str, Any]

# Kinds of nodes: those of spans, and what the user says.
NODE_KINDS: tuple[str, ...] = ("input", *SPAN_KINDS)
# Of one trace; a longer one is a loop, and the graph knows it by then.
MOST_STEPS = 5_000
# Of what a step gave, as the statements that read the warehouse cut it.
TEXT_CHARS = 4_000
# Of a name that somebody else chose.
_NAME_CHARS = 60
# What makes a name that of one call instead of all its like: a hash, a UUID, a long number.
_IDENTIFIER = re.compile(r"\b(?=[0-9a-f-]*\d)[0-9a-f-]{8,}\b|\d{5,}", re.IGNORECASE)
# A result that says of itself that it is an error; a tool of a conversation has no status.
_FAILED = re.compile(
    r"\A\s*(?:\[[^\]\n]{1,60}\]\s*)?"
    r"(?:error\b|traceback \(most recent|[\w.]{0,80}(?:error|exception):|failed\b)"
    r"|exit ?code:? [1-9]|\"is_?error\"\s*:\s*true|\"error\"\s*:\s*(?:\"[^\"]|\{\s*\")"
    r"|\"(?:success|ok)\"\s*:\s*false",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, order=True)
class NodeKey:
    """What a step is known by: its kind (of a span, or `input`) and its name."""

    kind: str
    name: str

    @property
    def id(self) -> str:
        """Both in one word, as files and commands name a node."""
        return f"{self.kind}:{self.name}"


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a run; `parent` is the place of the step above it, which comes before it.

    `asked` is a hash of what it was given, empty where that is not known. `text` is what it gave,
    at most 4,000 characters. `position` is that of its message, where it is one.
    """

    node: NodeKey
    parent: int | None = None
    is_error: bool = False
    asked: str = ""
    text: str = ""
    position: int | None = None
    ms: float | None = None


def node_key(kind: str, name: str) -> NodeKey:
    """A node's key with a name that fits on one line and hides nothing."""
    shown = " ".join(visible(name[: 4 * _NAME_CHARS]).replace("\ufffd", " ").split())
    shown = _IDENTIFIER.sub("#", shown)
    short = shown if len(shown) <= _NAME_CHARS else f"{shown[: _NAME_CHARS - 1]}…"
    return NodeKey(kind, short or "unnamed")


def read_step_rows(connection: Connection, wanted: pa.Table) -> dict[str, list[Row]]:
    """Rows of the steps of each trace; `wanted` has trace_id, content_hash and has_spans."""
    names = ["trace_id", "content_hash"]
    with connection.given(wanted=wanted.filter(pc.invert(wanted["has_spans"])).select(names)):
        messages = connection.table("traces/step_messages").to_pylist()
    with connection.given(wanted=wanted.filter(wanted["has_spans"]).select(names)):
        spans = connection.table("traces/step_spans").to_pylist()
    parts: dict[str, list[Row]] = defaultdict(list)
    for row in (*messages, *spans):
        if len(parts[row["trace_id"]]) < MOST_STEPS:
            parts[row["trace_id"]].append(row)
    return parts


def steps_of_messages(messages: Sequence[Row]) -> list[Step]:
    """A conversation's steps: what the user said, the answers below it, the calls below those."""
    steps: list[Step] = []
    calls: dict[str, int] = {}
    waiting: list[int] = []
    asked: int | None = None
    for row in messages:
        role, text, place = row["role"], row["content"] or "", len(steps)
        if role == "user":
            steps.append(_said("input", row, text))
            asked = place
        elif role == "assistant":
            steps.append(replace(_said("llm", row, text), parent=asked))
            waiting = []
            for call in _listed(row["tool_calls"]):
                waiting.append(len(steps))
                calls[str(call.get("id"))] = len(steps)
                steps.append(_called(call, place, row["position"]))
        elif role in ("tool", "function"):
            at = calls.pop(str(row["tool_call_id"]), None)
            if at is None and waiting and not row["tool_call_id"]:
                at = waiting[0]
            if at is None:
                steps.append(replace(_said("tool", row, text), parent=asked))
                at = place
            elif at in waiting:
                waiting.remove(at)
            steps[at] = replace(steps[at], text=text, is_error=bool(_FAILED.search(text[:600])))
    return steps


def steps_of_document(document: Document, messages: Sequence[Message]) -> list[Step]:
    """The steps of a trace as its document has them; `messages` are all of it."""
    if not document.n_spans:
        return steps_of_messages(
            [
                {
                    **{"position": m.position, "role": m.role, "content": m.content[:TEXT_CHARS]},
                    **{"tool_calls": m.tool_calls_json, "name": m.name},
                    "tool_call_id": m.tool_call_id,
                }
                for m in messages[:MOST_STEPS]
            ]
        )
    return steps_of_spans(
        [
            {
                **{"span_id": span.span_id, "parent_id": span.parent_id, "kind": span.kind},
                **{"name": span.tool_name or span.name, "ms": span.latency_ms, "asked": ""},
                "is_error": span.status == "error" or span.error is not None,
                "said": (span.output or "")[:TEXT_CHARS],
            }
            for span in document.spans(0, MOST_STEPS)
        ]
    )


def steps_of_spans(spans: Sequence[Row]) -> list[Step]:
    """A trace's spans as steps, each below the one that began it."""
    places: dict[str, int] = {}
    for place, row in enumerate(spans):
        places.setdefault(row["span_id"], place)
    above = [places.get(row["parent_id"]) for row in spans]
    order = _parents_first(above)
    moved = {old: new for new, old in enumerate(order)}
    steps = []
    for old in order:
        row, parent = spans[old], above[old]
        new_parent = moved[parent] if parent is not None else None
        is_below = new_parent is not None and new_parent < moved[old]
        steps.append(
            Step(
                node_key(row["kind"], row["name"]),
                new_parent if is_below else None,
                row["is_error"],
                row["asked"] or "",
                row["said"] or "",
                ms=row["ms"],
            )
        )
    return steps


def _parents_first(above: Sequence[int | None]) -> list[int]:
    """Places in their order, but none before the one above it; a circle is cut where it is met."""
    order: list[int] = []
    is_placed = [False] * len(above)
    for place in range(len(above)):
        path: list[int] = []
        at: int | None = place
        while at is not None and not is_placed[at]:
            path.append(at)
            is_placed[at] = True
            at = above[at]
        order += reversed(path)
    return order


def _said(kind: str, row: Row, text: str) -> Step:
    default = {"input": "user", "llm": "assistant", "tool": "tool"}[kind]
    return Step(
        node_key(kind, row["name"] or default), text=text, position=row["position"], asked=""
    )


def _called(call: Mapping[str, Any], parent: int, position: int) -> Step:
    function = call.get("function")
    of = function if isinstance(function, Mapping) else call
    arguments = of.get("arguments")
    given = arguments if isinstance(arguments, str) else json.dumps(arguments, sort_keys=True)
    asked = hashlib.md5(given.encode("utf-8", "replace"), usedforsecurity=False).hexdigest()
    return Step(
        node_key("tool", str(of.get("name") or "tool")), parent, asked=asked, position=position
    )


def _listed(stored: str | None) -> list[Mapping[str, Any]]:
    """A list of objects out of JSON that may be anything."""
    try:
        found = json.loads(stored) if stored else []
    except (ValueError, RecursionError):
        return []
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def step_that_said(steps: Sequence[Step], position: int, text: str | None) -> int | None:
    """The place of the step that a message of the assistant came from; None where it is not known.

    By the message's position where the steps are messages, else by what it says, `text`.
    """
    by_place = [i for i, step in enumerate(steps) if step.position is not None]
    if by_place:
        said = [i for i in by_place if (steps[i].position or 0) <= position]
        answers = [i for i in said if steps[i].node.kind == "llm"]
        return answers[-1] if answers else None
    if not text or not text.strip():
        return None
    words = {text.strip(), json.dumps(text.strip(), ensure_ascii=False)[1:-1]}
    spoken = [
        i
        for i, step in enumerate(steps)
        if step.node.kind in ("llm", "agent") and any(word in step.text for word in words)
    ]
    return spoken[-1] if spoken else None


def origins_of(steps: Sequence[Step]) -> list[int]:
    """Places of the errors that start somewhere: steps with one, and none below them with one."""
    has_error_below = [False] * len(steps)
    for place in range(len(steps) - 1, -1, -1):
        above = steps[place].parent
        if above is not None and (steps[place].is_error or has_error_below[place]):
            has_error_below[above] = True
    return [i for i, step in enumerate(steps) if step.is_error and not has_error_below[i]]
