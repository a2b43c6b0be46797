"""Where in an application's graph of calls an example belongs, and how near that is to who asks.

A decided conversation and its steps in, a `Place` out. The one idea is that an example belongs to
the step that gave the answer which people judged or corrected, under the name that the graph of
calls has for it, so that what the graph shows to be at fault can ask for what was learnt of it.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from flywheel.errors import BadInput
from flywheel.records import Conversation, Turn
from flywheel.retrieval.keys import request_turns
from flywheel.retrieval.ranking import Floats
from flywheel.safety import encodable
from flywheel.store.warehouse import Connection
from flywheel.traces.steps import (
    NODE_KINDS,
    Step,
    node_key,
    origins_of,
    read_step_rows,
    step_that_said,
    steps_of_messages,
    steps_of_spans,
)

# What of the closeness is the node's, and what is the parent's; a kind alone is half of either.
OF_NODE, OF_PARENT = 0.8, 0.2
# Traces whose texts are in memory at once.
_PAGE = 500
# Of an answer, what is looked for in the output of a step; a shorter id of a call may be any word.
_OPENING, _LEAST_ID = 80, 8

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Place:
    """A node and the one that called it, each as `kind:name`; empty where it is not known.

    Of who asks, a kind alone stands for every node of it.
    """

    node: str = ""
    parent: str = ""


NOWHERE = Place()


def asked_place(node: str | None, parent: str | None) -> Place:
    """The place that an application names; raises BadInput where that is no kind of node."""
    return Place(_named("node", node), _named("parent", parent))


def place_of(row: Row, answer: Turn, steps: Sequence[Step]) -> Place:
    """Where an example belongs: at the step that gave `answer`, the one that people spoke of.

    An error that nobody placed belongs where a step failed by itself, if all that did are of one
    node. It belongs nowhere where neither is known.
    """
    is_placed = row["corrected_turn"] is not None or row["evidence_turn"] is not None
    if row["perceived_error"] and not is_placed:
        failed = {steps[i].node: i for i in origins_of(steps)}
        at = failed.popitem()[1] if len(failed) == 1 else None
    else:
        said = answer.text.strip()[:_OPENING] or _first_call(row["original_tool_calls"])
        at = step_that_said(steps, answer.position, said)
    if at is None:
        return NOWHERE
    above = steps[at].parent
    parent = "" if above is None else steps[above].node.id
    return Place(encodable(steps[at].node.id), encodable(parent))


def read_places(
    connection: Connection, rows: Sequence[Row], conversations: Mapping[str, Conversation]
) -> dict[str, Place]:
    """The place of each example, by its trace; the steps are read a page of traces at a time."""
    found: dict[str, Place] = {}
    for start in range(0, len(rows), _PAGE):
        page = rows[start : start + _PAGE]
        versions = {name: [row[name] for row in page] for name in ("trace_id", "content_hash")}
        with connection.given(wanted=pa.table(versions)):
            wanted = connection.table("retrieval/came_as_spans")
        steps_of = dict.fromkeys(versions["trace_id"], steps_of_messages)
        as_spans = wanted.filter(wanted["has_spans"])["trace_id"].to_pylist()
        steps_of |= dict.fromkeys(as_spans, steps_of_spans)
        parts = read_step_rows(connection, wanted)
        for row in page:
            trace_id = row["trace_id"]
            turns = (row["corrected_turn"], row["evidence_turn"])
            key = request_turns(conversations[trace_id], *turns)
            if key is not None:
                steps = steps_of[trace_id](parts.get(trace_id, []))
                found[trace_id] = place_of(row, key[1], steps)
    return found


def closeness(asked: Place, nodes: Iterable[str | None], parents: Iterable[str | None]) -> Floats:
    """How near each example is to who asks: 1 at the same node below the same parent, 0 elsewhere.

    .8 where the node is the same, .4 where its kind is; and .2 or .1 where that holds of the
    parent. What is not known is near nobody.
    """
    known = list(zip(nodes, parents, strict=True))
    near = {
        place: OF_NODE * _alike(asked.node, place[0]) + OF_PARENT * _alike(asked.parent, place[1])
        for place in set(known)
    }
    return np.array([near[place] for place in known], np.float64)


def _alike(asked: str, known: str | None) -> float:
    if not asked or not known:
        return 0.0
    if asked == known:
        return 1.0
    return 0.5 if asked.partition(":")[0] == known.partition(":")[0] else 0.0


def _named(what: str, said: str | None) -> str:
    kind, _, name = (said or "").strip().partition(":")
    if said and kind not in NODE_KINDS:
        raise BadInput(
            f"{what} {said[:80]!r} is no node: name a kind, or kind:name as the graph of calls has "
            f"it; kinds are {', '.join(NODE_KINDS)}"
        )
    return node_key(kind, name).id if name.strip() else kind


def _first_call(tool_calls: str | None) -> str | None:
    """The id of the first of these tool calls, where it is one that no other call has."""
    try:
        calls = json.loads(tool_calls) if tool_calls else []
    except (ValueError, RecursionError):
        return None
    first = calls[0] if isinstance(calls, list) and calls else None
    number = first.get("id") if isinstance(first, dict) else None
    return number if isinstance(number, str) and len(number) >= _LEAST_ID else None
