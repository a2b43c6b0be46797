"""Traces in our own JSON lines, as `flywheel.client` and other programs send them while they run.

A body in; its lines that are traces out, each on a line of its own, and why others are none. The
one idea is to refuse at the door what could be no trace, while somebody listens.
"""

import json
from collections.abc import Iterable

from flywheel.errors import BadInput
from flywheel.traces.lines import MAX_DEPTH, is_deeper
from flywheel.traces.otlp_wire import as_line

# A trace that is refused, by its line from 1, and why.
RefusedLine = tuple[int, str]


def is_ours(body: bytes) -> bool:
    """Whether a body of JSON holds a trace with messages, and no spans."""
    # What both could hold in a text, only one of them has at the top.
    if b'"messages"' not in body:
        return False
    row = _row(body)
    return isinstance(row, dict) and "messages" in row and "resourceSpans" not in row


def checked_lines(body: bytes, is_one: bool) -> tuple[list[dict[str, object]], list[RefusedLine]]:
    """The traces of a body, one a line unless it `is_one` of many lines; and what is none."""
    traces: list[dict[str, object]] = []
    refused: list[RefusedLine] = []
    for number, line in enumerate([body] if is_one else body.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            traces.append(_trace(line))
        except BadInput as error:
            refused.append((number, str(error)))
    return traces, refused


def as_lines(traces: Iterable[object]) -> bytes:
    """The traces as JSON lines."""
    return b"".join(as_line(trace) + b"\n" for trace in traces)


def _trace(line: bytes) -> dict[str, object]:
    if is_deeper(line, MAX_DEPTH):
        raise BadInput(f"nested deeper than {MAX_DEPTH} levels")
    row = _row(line)
    if not isinstance(row, dict):
        raise BadInput("it is no JSON object")
    messages = row.get("messages")
    if not isinstance(messages, list) or not messages:
        raise BadInput("it has no list of messages under 'messages'")
    if not all(isinstance(one, dict) and isinstance(one.get("role"), str) for one in messages):
        raise BadInput("one of its messages has no role")
    for name in ("trace_id", "app", "session_id", "user_id"):
        if not isinstance(row.get(name), str | int | None):
            raise BadInput(f"its {name} is no text")
    try:
        json.dumps(row, allow_nan=False)
    except ValueError as error:
        raise BadInput("one of its numbers is out of range") from error
    return row


def _row(line: bytes) -> object:
    try:
        return json.loads(line, parse_constant=_no_number)
    except RecursionError as error:
        raise BadInput("it is nested too deeply") from error
    except ValueError as error:
        raise BadInput(f"it is not JSON: {error}") from error


def _no_number(name: str) -> object:
    raise ValueError(f"{name} is no number of JSON")
