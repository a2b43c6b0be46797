"""The corpus: seeded traces of four spans as an instrumented agent sends them, in OTLP requests.

A root, two calls of a model and one of a tool, by OpenInference's conventions, about 1.2 kB a span.
A session has four traces; one question in a hundred names a `RARE` thing, and one answer in five
says sorry, so that filters and metrics have something to find.
"""

import gzip
import random
from dataclasses import dataclass

from tests.otlp import START_NS, any_value, request, span

SEED = 8
TRACES_A_REQUEST, SPANS_A_TRACE = 50, 4
RARE = "astrolabe"
THINGS = ("lamp", "kettle", "bicycle", "tent", "printer", "violin", "ladder", "camera")
WORDS = (
    "the customer asked when the order would leave and was told that it is packed today, picked up "
    "tomorrow and delivered on Friday before noon; a note was left with the courier to ring twice "
)


@dataclass(frozen=True)
class Request:
    """A request as it is sent, with the ids of its spans in hex."""

    body: bytes
    n_bytes: int
    span_ids: frozenset[str]


def session_of(number: int) -> str:
    """The session of a trace."""
    return f"s-{number // 4}"


def requests_of(n_traces: int, first: int = 1) -> list[Request]:
    """The traces `first` and following, gzipped protobuf, 50 a request."""
    ends = first + n_traces
    return [
        request_of(range(one, min(one + TRACES_A_REQUEST, ends)))
        for one in range(first, ends, TRACES_A_REQUEST)
    ]


def request_of(numbers: range) -> Request:
    """One request with these traces."""
    spans = [one for number in numbers for one in agent_trace(number)]
    plain = request(*spans).SerializeToString()
    body = gzip.compress(plain, 6, mtime=0)
    return Request(body, len(plain), frozenset(one.span_id.hex() for one in spans))


def agent_trace(number: int) -> list[object]:
    """The four spans of a trace; the same number gives the same trace."""
    drawn = random.Random(f"{SEED} {number}")
    thing = RARE if drawn.random() < 0.01 else drawn.choice(THINGS)
    asked = f"When does my {thing} of order {number} leave? {WORDS}"
    said, reaction = f"On Friday. {WORDS}", f"No, I wrote that order {number} is urgent. {WORDS}"
    answer = f"{'Sorry, t' if drawn.random() < 0.2 else 'T'}omorrow then. {WORDS}"
    root = span(
        number, 1, 0, **{"openinference.span.kind": "AGENT", "session.id": session_of(number)}
    )
    tool = span(number, 3, 1, **{"openinference.span.kind": "TOOL", "tool.name": "find_order"})
    spans = [root, span(number, 2, 1), tool, span(number, 4, 1)]
    add(root, **{"input.value": f"{asked}\n{reaction}", "output.value": answer})
    add(root, **{"user.id": f"u-{number % 97}"})
    add(tool, **{"input.value": f'{{"number": {number}}}', "output.value": WORDS * 4})
    turns = (("system", WORDS), ("user", asked), ("assistant", said), ("user", reaction))
    for one in (spans[1], spans[3]):
        add(one, **model_call(turns, answer))
    for one in spans:
        one.start_time_unix_nano = START_NS + number * 1_000_000
        one.end_time_unix_nano = one.start_time_unix_nano + 900_000_000
    return spans


def model_call(turns: tuple[tuple[str, str], ...], answer: str) -> dict[str, object]:
    """The attributes of a call of a model."""
    messages = {}
    for position, (role, content) in enumerate(turns):
        key = f"llm.input_messages.{position}.message"
        messages |= {f"{key}.role": role, f"{key}.content": content}
    return messages | {
        "openinference.span.kind": "LLM",
        "llm.model_name": "small-model",
        "llm.provider": "openai",
        "llm.token_count.prompt": 210,
        "llm.token_count.completion": 45,
        "llm.invocation_parameters": '{"temperature": 0, "max_tokens": 200}',
        "llm.output_messages.0.message.role": "assistant",
        "llm.output_messages.0.message.content": answer,
    }


def add(one: object, **attributes: object) -> None:
    """Give a span more attributes."""
    for key, value in attributes.items():
        one.attributes.add(key=key).value.CopyFrom(any_value(value))
