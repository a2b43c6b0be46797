"""One conversation out of the spans of a trace: what people and judges read and correct.

Spans in, messages in OpenAI's shape out. The one idea is the main thread: of all calls of a model
the one whose answer the application gave, since its messages are the whole conversation up to
there. Where no call kept its messages, they are made of what went into the root, what its tools
were asked and gave, and what came out, so that every step is a message.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from flywheel.traces.spans.json_values import plain_text
from flywheel.traces.spans.messages import MessageRow, found_messages, messages_of
from flywheel.traces.spans.rows import StoredSpan
from flywheel.traces.spans.tree import Tree

_STEPS = ("tool", "retriever")
# Shorter answers than this are found in many a text.
_TELLING_CHARACTERS = 8


@dataclass(frozen=True, slots=True)
class Thread:
    """The messages, and the call that they are of where there is one."""

    messages: list[MessageRow]
    call: StoredSpan | None


def conversation_in(tree: Tree) -> Thread:
    """The conversation of a trace; no message where its spans say nothing."""
    given = _said_last(messages_of(tree.root.answered, "assistant"))
    call = _main_call(tree, given)
    if call is None:
        return Thread(_made_of_steps(tree), None)
    messages, answer = messages_of(call.asked), messages_of(call.answered, "assistant")
    if not _repeats(messages, answer):
        messages += answer
    after = [span for span in tree.spans if span.kind in _STEPS and _is_after(span, call)]
    messages += _results(messages, after)
    if call is not tree.root and given and _is_words(tree.root):
        said = [m for m in messages if m["role"] == "assistant"]
        if not any(_same(_words(m), given) for m in said):
            messages.append({"role": "assistant", "content": given})
    return Thread(messages, call)


def _main_call(tree: Tree, given: str) -> StoredSpan | None:
    """The call whose answer the root gave, else the longest, and of these the last."""
    every = [span for span in tree.spans if span.kind == "llm" and (span.input or span.output)]
    # What a guard or a judge asked is no part of the conversation, unless there is nothing else.
    aside = tree.below("guardrail", "evaluator") if every else set()
    calls = [span for span in every if span.span_id not in aside] or every
    if not calls:
        # A whole conversation may stand on the agent's span alone.
        calls = [s for s in tree.spans if s.kind == "agent" and _has_thread(s)]
    best, found = (False, -1), None
    for span in calls:
        is_given = bool(given) and _gives(span, given)
        place = (is_given, len(span.input or "") + len(span.output or ""))
        if place >= best:
            best, found = place, span
    return found


def _has_thread(span: StoredSpan) -> bool:
    value = span.asked
    return isinstance(value, list) and len(found_messages(value) or ()) > 1


def _gives(span: StoredSpan, given: str) -> bool:
    answer = _said_last(messages_of(span.answered, "assistant"))
    if not answer:
        return False
    return (len(answer) >= _TELLING_CHARACTERS and answer in given) or _same(answer, given)


def _said_last(messages: Sequence[MessageRow]) -> str:
    """The last words of the assistant among these messages."""
    return next(
        (w for m in reversed(messages) if m["role"] == "assistant" and (w := _words(m))), ""
    )


def _words(message: MessageRow) -> str:
    return plain_text(message.get("content")).strip()


def _same(one: str, other: str) -> bool:
    return one == other or one.split() == other.split()


def _repeats(messages: Sequence[MessageRow], answer: Sequence[MessageRow]) -> bool:
    """Whether the thread ends with the answer already."""
    last = messages[-1] if messages else None
    return last is not None and last["role"] == "assistant" and _words(last) == _said_last(answer)


def _is_words(span: StoredSpan) -> bool:
    """Whether what came out is a text or messages, rather than the state of a program."""
    value = span.answered
    return isinstance(value, str) or found_messages(value, "assistant") is not None


def _is_after(span: StoredSpan, call: StoredSpan) -> bool:
    end = call.ended_us if call.ended_us is not None else call.started_us
    return span.started_us is not None and end is not None and span.started_us >= end


def _results(messages: Sequence[MessageRow], after: Iterable[StoredSpan]) -> list[MessageRow]:
    """What tools gave after the last call: to its open calls first, else as steps of their own."""
    last = messages[-1] if messages else {}
    calls = last.get("tool_calls")
    open_calls = (
        [call for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []
    )
    made: list[MessageRow] = []
    for span in after:
        call = next((call for call in open_calls if _is_of(span, call)), None)
        if call is None:
            made += _step(span)
        else:
            open_calls.remove(call)
            made.append(_result(span, plain_text(call.get("id")) or span.span_id))
    return made


def _is_of(span: StoredSpan, call: MessageRow) -> bool:
    if span.tool_call_id:
        return call.get("id") == span.tool_call_id
    function = call.get("function")
    return isinstance(function, dict) and function.get("name") == (span.tool_name or span.name)


def _made_of_steps(tree: Tree) -> list[MessageRow]:
    root = tree.root
    made = [] if root.kind in _STEPS else messages_of(root.asked)
    for span in tree.spans:
        if span.kind in _STEPS:
            made += _step(span)
    answer = [] if root.kind in _STEPS else messages_of(root.answered, "assistant")
    return made if _repeats(made, answer) else made + answer


def _step(span: StoredSpan) -> list[MessageRow]:
    """A call of a tool, or a search, as the assistant's call and the tool's result."""
    call_id, name = span.tool_call_id or span.span_id, span.tool_name or span.name or span.kind
    function = {"name": name, "arguments": plain_text(span.asked)}
    call = {"id": call_id, "type": "function", "function": function}
    return [
        {"role": "assistant", "content": "", "tool_calls": [call]},
        _result(span, call_id),
    ]


def _result(span: StoredSpan, call_id: str) -> MessageRow:
    outcome = span.answered
    found = found_messages(outcome, "tool") if isinstance(outcome, dict) else None
    content = _words(found[0]) if found and len(found) == 1 else plain_text(outcome)
    if not content and span.error:
        content = span.error
    return {
        "role": "tool",
        "content": content,
        "tool_call_id": call_id,
        "name": span.tool_name or span.name,
    }
