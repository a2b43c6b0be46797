"""Mutated bodies of OTLP: real requests, with something done to them that a sender should not.

A seed in, bodies with their content type and encoding out. Some mutations keep a request sound.
"""

import gzip
import json
import random
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass

from flywheel.traces.otlp_wire import decode_request
from tests.otlp import PROTOBUF, body, span, trace_of

JSON, LINES = "application/json", "application/x-ndjson"
# What a hostile sender would put in the place of a value.
_VALUES: list[object] = [
    *(None, True, -1, 0, 2**63, 2**64, 1e308, float("inf"), float("nan"), "", "0", "x" * 10_000),
    *("\ud83d", "\0", "\u202e", [], {}, [[]], [None], {"a": 1}, [{"key": "a"}], "0" * 32),
]


@dataclass(frozen=True, slots=True)
class Fuzzed:
    """One request as it is sent."""

    content: bytes
    media: str
    encoding: str


def fuzzed(n: int, seed: int) -> Iterator[Fuzzed]:
    """`n` requests, the same ones for the same seed."""
    chance = random.Random(seed)
    for number in range(n):
        media = chance.choice((PROTOBUF, PROTOBUF, JSON, JSON, LINES, "text/plain", ""))
        content = _MAKERS.get(media, _protobuf)(chance, number)
        encoding = chance.choice(("", "", "", "gzip", "gzip", "identity", "deflate", "br"))
        if encoding == "gzip":
            content = gzip.compress(content, 1)
            if chance.random() < 0.3:
                content = _damaged(chance, content)
        yield Fuzzed(content, media, encoding)


def _sound(chance: random.Random, number: int) -> bytes:
    spans = trace_of(number + 1, chance.randint(1, 4))
    spans[0] = span(number + 1, 1, text="words " * chance.randint(0, 50), count=7, share=0.5)
    return body(*spans)


def _protobuf(chance: random.Random, number: int) -> bytes:
    return _damaged(chance, _sound(chance, number))


def _damaged(chance: random.Random, content: bytes) -> bytes:
    """The bytes with some of them changed, cut out, cut off, repeated, or put in."""
    changed = bytearray(content)
    for _ in range(chance.choice((0, 1, 1, 2, 5, 20))):
        at = chance.randrange(len(changed) + 1)
        size = chance.choice((1, 1, 2, 8, 64))
        kind = chance.randrange(6)
        if kind == 0 and at < len(changed):
            changed[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            del changed[at : at + size]
        elif kind == 2:
            del changed[at:]
        elif kind == 3:
            changed[at:at] = changed[at : at + size] * chance.choice((1, 2, 1000))
        elif kind == 4:
            changed[at:at] = chance.randbytes(size)
        else:
            changed[at : at + size] = b"\xff" * size
    return bytes(changed)


def _json(chance: random.Random, number: int) -> bytes:
    document = decode_request(_sound(chance, number), "protobuf")
    for _ in range(chance.choice((0, 1, 1, 2, 5))):
        _replace_one(chance, document)
    return _as_text(chance, document)


def _lines(chance: random.Random, number: int) -> bytes:
    lines = []
    for line in range(chance.randint(1, 4)):
        trace: object = {
            "trace_id": f"fuzz-{number}-{line}",
            "messages": [{"role": "user", "content": "hello"}],
        }
        for _ in range(chance.choice((0, 1, 2))):
            _replace_one(chance, trace)
        lines.append(_as_text(chance, trace))
    return b"\n".join(lines)


def _as_text(chance: random.Random, document: object) -> bytes:
    text = json.dumps(document).encode()
    if chance.random() < 0.05:
        depth = chance.choice((60, 600, 50_000))
        text = text.replace(b"1", b"[" * depth + b"]" * depth, 1)
    return _damaged(chance, text) if chance.random() < 0.3 else text


def _replace_one(chance: random.Random, document: object) -> None:
    """Put another value, or another name, somewhere into a JSON document."""
    place = document
    for _ in range(chance.randint(0, 8)):
        inner = place if isinstance(place, list) else list(place.values()) if place else []
        inner = [one for one in inner if isinstance(one, dict | list) and one]
        if not inner:
            break
        place = chance.choice(inner)
    value = deepcopy(chance.choice(_VALUES))
    if isinstance(place, list) and place:
        place[chance.randrange(len(place))] = value
    elif isinstance(place, dict) and place:
        name = chance.choice(list(place))
        if chance.random() < 0.2:
            place[chance.choice(("", "x", "snake_case", name.upper()))] = place.pop(name)
        else:
            place[name] = value


_MAKERS: dict[str, Callable[[random.Random, int], bytes]] = {
    PROTOBUF: _protobuf,
    JSON: _json,
    LINES: _lines,
}
