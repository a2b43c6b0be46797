"""ATIF: trajectories of coding agents, as Harbor writes them for Claude Code, OpenHands and others.

A row is one trajectory with all its steps, and the trajectories of its subagents where they are in
the same document. The one idea is that a step of the agent is a call of the model, and that each
of its tool calls is a span below it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from flywheel.errors import BadInput
from flywheel.traces.spans.cells import (
    count,
    identifier,
    mapping,
    money,
    nanoseconds,
    objects,
    rest,
    text,
)
from flywheel.traces.spans.formats import SpanFormat
from flywheel.traces.spans.span import Span

Row = Mapping[str, object]
Message = dict[str, object]

_ROLES = {"system": "system", "user": "user", "agent": "assistant"}
_TAKEN = {
    "schema_version",
    "session_id",
    "trajectory_id",
    "agent",
    "steps",
    "subagent_trajectories",
}
_TAKEN_OF_STEPS = {
    *("step_id", "timestamp", "source", "model_name", "message", "tool_calls", "observation"),
    "metrics",
}
_TAKEN_OF_METRICS = {"prompt_tokens", "completion_tokens", "cost_usd"}


def read(row: Row) -> Iterable[Span]:
    """The agent, its calls of the model, their tool calls, and its subagents below it."""
    trace_id = identifier(row, "trajectory_id", "session_id")
    session_id = text(row.get("session_id"))
    waiting: list[tuple[Row, str, str | None]] = [(row, trace_id, None)]
    while waiting:
        trajectory, span_id, parent_id = waiting.pop()
        yield from _spans(trajectory, trace_id, span_id, parent_id, session_id)
        waiting += [
            (inner, f"{span_id}/{identifier(inner, 'trajectory_id', 'session_id')}", span_id)
            for inner in objects(trajectory.get("subagent_trajectories"))
        ]


def _spans(
    row: Row, trace_id: str, span_id: str, parent_id: str | None, session_id: str | None
) -> Iterable[Span]:
    agent, steps = mapping(row.get("agent")), objects(row.get("steps"))
    if not steps:
        raise BadInput("has no steps")
    times = [time for step in steps if (time := nanoseconds(step, "timestamp")) is not None]
    said = [_messages(step) for step in steps]
    turns = [number for number, step in enumerate(steps) if step.get("source") == "agent"]
    whole = [message for messages in said for message in messages]
    yield Span(
        trace_id,
        span_id,
        "agent",
        name=text(agent.get("name")) or "",
        parent_id=parent_id,
        started_ns=min(times, default=None),
        ended_ns=max(times, default=None),
        session_id=session_id,
        release=text(agent.get("version")),
        input=[message for message in whole if message["role"] == "user"][:1],
        output=said[turns[-1]][:1] if turns else None,
        metadata=rest(row, _TAKEN) | {"agent": agent},
    )
    before = 0
    for number in turns:
        is_last = number == turns[-1]
        # What was said before is with every call of a model; here it is with the last alone, or a
        # long trajectory would be stored once a step. That one has what was said after it as well.
        given = said[:number] if is_last else said[before:number]
        made = said[number:] if is_last else said[number : number + 1]
        turn = _turn(steps[number], agent, (trace_id, span_id, session_id), number + 1)
        yield replace(turn, input=_joined(given), output=_joined(made))
        yield from _tools(steps[number], turn, said[number][1:])
        before = number


def _turn(step: Row, agent: Row, ids: tuple[str, str, str | None], number: int) -> Span:
    """The model's call of one step."""
    trace_id, agent_id, session_id = ids
    metrics, started_ns = mapping(step.get("metrics")), nanoseconds(step, "timestamp")
    return Span(
        trace_id,
        f"{agent_id}/{number}",
        "llm",
        name="step",
        parent_id=agent_id,
        started_ns=started_ns,
        ended_ns=started_ns,
        session_id=session_id,
        model_name=text(step.get("model_name")) or text(agent.get("model_name")),
        prompt_tokens=count(metrics.get("prompt_tokens")),
        completion_tokens=count(metrics.get("completion_tokens")),
        cost_usd=money(metrics.get("cost_usd")),
        metadata=rest(step, _TAKEN_OF_STEPS) | rest(metrics, _TAKEN_OF_METRICS),
    )


def _tools(step: Row, turn: Span, results: list[Message]) -> Iterable[Span]:
    """The tools that a step called; when they ran, a trajectory does not say."""
    found = {str(result.get("tool_call_id")): result["content"] for result in results}
    for place, call in enumerate(objects(step.get("tool_calls")), start=1):
        yield Span(
            turn.trace_id,
            f"{turn.span_id}/{place}",
            "tool",
            name=text(call.get("function_name")) or "",
            parent_id=turn.span_id,
            session_id=turn.session_id,
            input=call.get("arguments"),
            output=found.get(str(call.get("tool_call_id"))),
            tool_name=text(call.get("function_name")),
            tool_call_id=text(call.get("tool_call_id")),
            metadata=mapping(call.get("extra")),
        )


def _joined(steps: list[list[Message]]) -> list[Message]:
    return [message for messages in steps for message in messages]


def _messages(step: Row) -> list[Message]:
    """What a step adds to the conversation: its message, and the results of its calls."""
    role = _ROLES.get(str(step.get("source")))
    if role is None:
        raise BadInput(f"a step has the source {str(step.get('source'))[:40]!r}")
    message: Message = {"role": role, "content": step.get("message") or ""}
    calls = [
        {
            "id": call.get("tool_call_id"),
            "type": "function",
            "function": {"name": call.get("function_name"), "arguments": call.get("arguments")},
        }
        for call in objects(step.get("tool_calls"))
    ]
    if calls:
        message["tool_calls"] = calls
    results: list[Message] = [
        {
            "role": "tool" if calls else "system",
            "content": result.get("content") or "",
            "tool_call_id": result.get("source_call_id"),
        }
        for result in objects(mapping(step.get("observation")).get("results"))
        # One that only names the trajectory of a subagent says nothing.
        if result.get("content") or result.get("source_call_id")
    ]
    return [message, *results]


FORMAT = SpanFormat(
    "atif",
    (frozenset({"schema_version", "agent", "steps"}), frozenset({"session_id", "agent", "steps"})),
    read,
)
