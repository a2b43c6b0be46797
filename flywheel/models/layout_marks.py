"""Marks in the places of texts, while a chat template is laid out; and a layout cut at them.

What a layout depends on of each message in; turns with marks for a template, and stretches of what
it made of them, out. A mark is of characters of private use, and a text is put in its place only
when both are tokens, so that a text with a mark in it is that text.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from flywheel.models.tool_text import RESULT, RESULT_END

# Stands for a text while a template is laid out, of the private use area; as the key of an object
# it stands for the whole object, which a template writes as JSON.
PLACE = re.compile('\\{"\ue000(\\d+)\ue001": 0\\}|\ue000(\\d+)\ue001')
# Tools have places of their own, after any that a message could have.
FIRST_TOOL = 1_000_000
# The ways in which a template that refuses messages may yet take them.
Way = tuple[bool, bool]
WAYS: tuple[Way, ...] = ((False, False), (True, False), (False, True), (True, True))


class Shape(NamedTuple):
    """All of a message that a layout depends on."""

    role: str
    has_text: bool
    n_calls: int


class Piece(NamedTuple):
    """A stretch of a layout: the place of a text, or what the template writes itself.

    `turn` is the number of the message of which the assistant writes it, -1 where it does not.
    """

    place: int
    written: str
    turn: int


def turns_of(shapes: Sequence[Shape], way: Way) -> list[dict[str, Any]]:
    """The messages with marks for their texts.

    By `way`, a system message goes before the user's first, and a tool's result is a part of a
    user's turn: some models know no system message, and some no role but two that take turns.
    """
    puts_system_first, has_two_roles = way
    turns: list[dict[str, Any]] = []
    place = 0
    for shape in shapes:
        content = f"\ue000{place}\ue001" if shape.has_text else ""
        turn: dict[str, Any] = {"role": shape.role, "content": content}
        place += shape.has_text
        if shape.n_calls:
            turn["tool_calls"] = [
                _marked_call(n) for n in range(place, place + 2 * shape.n_calls, 2)
            ]
            place += 2 * shape.n_calls
        if has_two_roles and shape.role == "tool":
            turn = {"role": "user", "content": f"{RESULT}\n{content}\n{RESULT_END}"}
        is_after_system = puts_system_first and turns and turns[-1]["role"] == "system"
        if turns and (is_after_system or (has_two_roles and turns[-1]["role"] == turn["role"])):
            turn["content"] = f"{turns.pop()['content']}\n\n{turn['content']}"
        turns.append(turn)
    return turns


def _marked_call(place: int) -> Mapping[str, object]:
    arguments = {f"\ue000{place + 1}\ue001": 0}
    return {
        "type": "function",
        "function": {"name": f"\ue000{place}\ue001", "arguments": arguments},
    }


def n_places_of(shape: Shape) -> int:
    """How many texts a message has places for."""
    return shape.has_text + 2 * shape.n_calls


def places_in(layout: str) -> list[int]:
    """The places in a layout, in their order."""
    return [int(found[1] or found[2]) for found in PLACE.finditer(layout)]


def _find(layout: str, place: int) -> re.Match[str] | None:
    return next((m for m in PLACE.finditer(layout) if int(m[1] or m[2]) == place), None)


def end_of(layout: str, place: int) -> int:
    """Where a place ends; the beginning of the layout where it has no such place."""
    found = _find(layout, place)
    return found.end() if found else 0


def start_of(layout: str, place: int) -> int:
    """Where a place begins; the end of the layout where it has no such place."""
    found = _find(layout, place)
    return found.start() if found else len(layout)


def common(one: str, other: str) -> str:
    """What both begin with."""
    n = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        n += 1
    return one[:n]


def cut(layout: str, turn: int) -> list[Piece]:
    """A stretch of a layout, cut at its places."""
    pieces = []
    position = 0
    for found in PLACE.finditer(layout):
        pieces.append(Piece(-1, layout[position : found.start()], turn))
        pieces.append(Piece(int(found[1] or found[2]), "", turn))
        position = found.end()
    pieces.append(Piece(-1, layout[position:], turn))
    return [piece for piece in pieces if piece.place >= 0 or piece.written]
