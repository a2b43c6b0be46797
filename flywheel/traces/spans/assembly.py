"""One trace out of its spans: a row of our own format, as if the application had logged it whole.

Spans of a trace in, a line of the format `flywheel` out, which goes the way of every flat file. The
one idea is that a trace is what its root says, and where the root says nothing, the first span that
does; tokens and cost are sums over the lowest spans that know them, so that nothing counts twice.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from flywheel.traces.spans.conversation import conversation_in
from flywheel.traces.spans.json_values import json_text, value_in
from flywheel.traces.spans.rows import StoredSpan
from flywheel.traces.spans.tree import Tree, tree_of

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def assembled(spans: Sequence[StoredSpan]) -> str | None:
    """The trace as JSON text; None where no span of it has anything that could be a message.

    `spans` are those of one trace, at least one, in the order in which they began.
    """
    tree = tree_of(spans)
    thread = conversation_in(tree)
    if not thread.messages:
        return None
    root, call = tree.root, thread.call
    started, ended = _times(tree)
    model = call.model_name if call and call.model_name else _first(tree, "model_name")
    row: dict[str, object] = {
        "trace_id": root.trace_id,
        "app": root.app,
        "session_id": _first(tree, "session_id"),
        "user_id": _first(tree, "user_id"),
        "started_at": None if started is None else _iso(started),
        "ended_at": None if ended is None else _iso(ended),
        "status": "error" if root.status == "error" else None if ended is None else "ok",
        "release": _first(tree, "release"),
        "model_name": model,
        "cost_usd": tree.total(lambda span: span.cost_usd),
        "prompt_tokens": tree.total(lambda span: span.prompt_tokens),
        "completion_tokens": tree.total(lambda span: span.completion_tokens),
        "latency_ms": None if started is None or ended is None else (ended - started) / 1000,
        "n_spans": len(spans),
        "metadata": _metadata(tree),
        "messages": thread.messages,
    }
    return json_text(row)


def _times(tree: Tree) -> tuple[int | None, int | None]:
    """When the trace began and ended: the root's times, or the widest where it has none."""
    starts = [span.started_us for span in tree.spans if span.started_us is not None]
    ends = [span.ended_us for span in tree.spans if span.ended_us is not None]
    root = tree.root if tree.is_whole else None
    started = root.started_us if root else None
    ended = root.ended_us if root else None
    return (
        started if started is not None else min(starts, default=None),
        ended if ended is not None else max(ends, default=None),
    )


def _iso(microseconds: int) -> str:
    return (_EPOCH + timedelta(microseconds=microseconds)).isoformat()


def _first(tree: Tree, name: str) -> object:
    """What the root says, else the first span that says it."""
    return getattr(tree.root, name) or next(
        (value for span in tree.spans if (value := getattr(span, name))), None
    )


def _metadata(tree: Tree) -> dict[str, object]:
    """The root's metadata, and what a trace has no column for."""
    root = tree.root
    own = value_in(root.metadata) if root.metadata else None
    made: dict[str, object] = {"name": root.name} if root.name else {}
    tags = {tag: None for span in tree.spans for tag in span.tags or ()}
    if tags:
        made["tags"] = list(tags)
    if root.error:
        made["error"] = root.error
    return {**made, **own} if isinstance(own, dict) else made
