"""Messages as the tokens that a causal model reads, and which of them an assistant has to write.

OpenAI-shaped messages in; token ids, and a mask of what is learnt, out, by the chat template of any
model. The one idea is that a template is laid out with a mark in the place of every text, so that
what a trace says can only ever be text: it becomes tokens by itself, and none of them a template's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from flywheel.errors import BadArtifact
from flywheel.models.layout_marks import (
    FIRST_TOOL,
    PLACE,
    WAYS,
    Piece,
    Shape,
    Way,
    common,
    cut,
    end_of,
    n_places_of,
    places_in,
    start_of,
    turns_of,
)
from flywheel.models.tool_text import (
    Message,
    ToolCall,
    calls_of,
    inside_result,
    one_line,
    parse_reply,
    text_of,
    with_tools,
    write_reply,
)
from flywheel.safety import encodable

Ids = tuple[int, ...]

# Of a model that knows no roles.
PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}:\n{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}\n\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:\n{% endif %}"
)


@dataclass(frozen=True, slots=True)
class LaidOut:
    """Tokens of a conversation, and of each whether it is one that the assistant has to write."""

    ids: Ids
    is_learnt: tuple[bool, ...]

    @property
    def n_learnt(self) -> int:
        """How many tokens are learnt."""
        return sum(self.is_learnt)


class ChatLayout:
    """A tokenizer's chat template, with calls and results of tools as `tool_text` has them."""

    def __init__(self, tokenizer: Any):  # noqa: ANN401  # transformers has no types
        self._tokenizer = tokenizer
        self._template = tokenizer.chat_template or PLAIN_TEMPLATE
        self._pieces_of = lru_cache(maxsize=1024)(self._pieces)

    def prompt(self, messages: Sequence[Message], tools: Sequence[object] = ()) -> Ids:
        """The tokens after which an assistant's turn is to come."""
        return self._laid_out(messages, len(messages), tools, True).ids

    def example(
        self, messages: Sequence[Message], n_context: int, tools: Sequence[object] = ()
    ) -> LaidOut:
        """A whole conversation; learnt is what the assistant says from message `n_context` on.

        Learnt with it is the token that ends its turn, for it must write that as well.
        """
        return self._laid_out(messages, n_context, tools, False)

    def _laid_out(
        self, messages: Sequence[Message], n_context: int, tools: Sequence[object], asks: bool
    ) -> LaidOut:
        n_given = len(messages)
        if not self.knows_tools:
            messages, tools = with_tools(messages, tools), ()
        n_context += len(messages) - n_given
        shapes, texts = self._shapes_of(messages)
        of_tools = [one_line(tool) for tool in tools]
        ids: list[int] = []
        learnt: list[bool] = []
        for piece in self._pieces_of(shapes, len(tools), asks):
            if piece.place >= FIRST_TOOL:
                new = self.text_ids(of_tools[piece.place - FIRST_TOOL])
            elif piece.place >= 0:
                new = self.text_ids(texts[piece.place])
            else:
                new = self._tokenizer.encode(piece.written, add_special_tokens=False)
            ids += new
            learnt += [piece.turn >= n_context] * len(new)
        return LaidOut(tuple(ids), tuple(learnt))

    def text_ids(self, text: str) -> list[int]:
        """The tokens of a text, none of which is a token of a chat template's."""
        plain = self._plain_ids(encodable(text))
        if self._reserved.keys().isdisjoint(plain):
            return plain
        found: list[int] = []
        for token in plain:
            content = self._reserved.get(token)
            if content is None or (token == self._unknown and content not in text):
                found.append(token)
                continue
            for letter in content:
                found += [t for t in self._plain_ids(letter) if t not in self._reserved]
        return found

    def _plain_ids(self, text: str) -> list[int]:
        return list(
            self._tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
        )

    @cached_property
    def ends(self) -> frozenset[int]:
        """The tokens that end an assistant's turn."""
        laid = self.example([{"role": "user"}, {"role": "assistant"}], 1)
        last = [token for token, learnt in zip(laid.ids, laid.is_learnt, strict=True) if learnt]
        return frozenset({*last[-1:], *self._end_of_text})

    @cached_property
    def knows_tools(self) -> bool:
        """Whether the template has calls and results of its own, of the form of `tool_text`."""
        from jinja2 import TemplateError

        shapes = (
            *(Shape("user", True, 0), Shape("assistant", True, 1)),
            *(Shape("tool", True, 0), Shape("assistant", True, 0)),
        )
        sample = ["Ask", "Say", "look_up", '{"a": 1}', "Result", "End"]
        try:
            layout = self._lay_out(turns_of(shapes, (False, False)), 1, False)
        except (TemplateError, TypeError, KeyError, ValueError):
            return False
        # What stands before the assistant's turn tells the form, and is no call.
        turn = layout[start_of(layout, 1) :]
        spoken = parse_reply(PLACE.sub(lambda m: sample[int(m[1] or m[2])], turn))
        is_whole = places_in(layout) == [FIRST_TOOL, *range(6)]
        return is_whole and spoken.calls == (ToolCall("look_up", {"a": 1}),) and not spoken.faults

    def _shapes_of(self, messages: Sequence[Message]) -> tuple[tuple[Shape, ...], list[str]]:
        """What the layout depends on, and the text for each place."""
        shapes, texts = [], []
        for message in messages:
            role, text = str(message.get("role")), text_of(message).strip()
            calls = calls_of(message) if role == "assistant" else []
            if not self.knows_tools:
                text, calls = write_reply(text, calls), []
            if role == "tool":
                text = inside_result(text)
            shapes.append(Shape(role, bool(text) or not calls, len(calls)))
            texts += [text] if shapes[-1].has_text else []
            for call in calls:
                texts += [one_line(call.name)[1:-1], one_line(call.arguments)]
        return tuple(shapes), texts

    def _pieces(self, shapes: tuple[Shape, ...], n_tools: int, asks: bool) -> tuple[Piece, ...]:
        """The layout in stretches, cut at every place and at both ends of what is learnt."""
        way = self._way(shapes, n_tools, asks)
        layout = self._lay_out(turns_of(shapes, way), n_tools, asks)
        spans = [
            (*self._span(layout, shapes, i, n_tools, way), i)
            for i, shape in enumerate(shapes)
            if shape.role == "assistant"
        ]
        pieces = []
        position = 0
        for start, end, turn in [*spans, (len(layout), len(layout), -1)]:
            pieces += cut(layout[position:start], -1)
            pieces += cut(layout[start:end], turn)
            position = end
        own = [piece for piece in pieces if piece.turn == len(shapes) - 1]
        eos = self._tokenizer.eos_token
        if own and not asks and eos and not self._has_token(own[-1]):
            # The template ends no turn: the end of the text does.
            pieces.append(Piece(-1, eos, len(shapes) - 1))
        return tuple(pieces)

    def _has_token(self, piece: Piece) -> bool:
        return piece.place < 0 and any(token in piece.written for token in self._reserved.values())

    def _span(
        self, layout: str, shapes: tuple[Shape, ...], turn: int, n_tools: int, way: Way
    ) -> tuple[int, int]:
        """Where what the assistant writes in this turn begins and ends in the layout.

        It begins where the template would ask for it, and ends with the token that ends a turn.
        """
        before = self._start_laid_out(shapes[:turn], n_tools, way, True)
        alone = self._start_laid_out(shapes[: turn + 1], n_tools, way, False)
        first = sum(n_places_of(shape) for shape in shapes[:turn])
        last = first + n_places_of(shapes[turn]) - 1
        asked = before[end_of(before, first - 1) :]
        start = end_of(layout, first - 1)
        is_asked = bool(asked) and layout.startswith(asked, start)
        start = start + len(asked) if is_asked else start_of(layout, first)
        end = end_of(layout, last)
        after = common(layout[end:], alone[end_of(alone, last) :])
        ends = [
            after.rfind(token) + len(token) for token in self._reserved.values() if token in after
        ]
        return start, end + max(ends, default=len(after))

    def _start_laid_out(self, shapes: tuple[Shape, ...], n_tools: int, way: Way, asks: bool) -> str:
        """The beginning of a conversation; nothing where the template takes none as short."""
        from jinja2 import TemplateError

        try:
            return self._lay_out(turns_of(shapes, way), n_tools, asks)
        except TemplateError:
            return ""

    def _way(self, shapes: tuple[Shape, ...], n_tools: int, asks: bool) -> Way:
        """The first way in which the template takes these messages, and leaves none of them out."""
        from jinja2 import TemplateError

        n_places = sum(map(n_places_of, shapes))
        why = "it leaves messages out"
        for way in WAYS:
            try:
                found = places_in(self._lay_out(turns_of(shapes, way), n_tools, asks))
            except TemplateError as error:
                why = str(error)
                continue
            if [place for place in found if place < FIRST_TOOL] == list(range(n_places)):
                return way
        roles = ", ".join(shape.role for shape in shapes)
        raise BadArtifact(f"the model's chat template cannot lay out {roles}: {why}")

    def _lay_out(self, turns: list[dict[str, Any]], n_tools: int, asks: bool) -> str:
        tools = [{f"\ue000{FIRST_TOOL + n}\ue001": 0} for n in range(n_tools)]
        return str(
            self._tokenizer.apply_chat_template(
                turns,
                tools=tools or None,
                chat_template=self._template,
                tokenize=False,
                add_generation_prompt=asks,
            )
        )

    @cached_property
    def _reserved(self) -> dict[int, str]:
        """Tokens that are more than text, and how they are written.

        An added token without a letter is white space, such as several blanks, and is text.
        """
        added = {
            int(token): str(content)
            for token, content in self._tokenizer.added_tokens_decoder.items()
        }
        special = dict(
            zip(self._tokenizer.all_special_ids, self._tokenizer.all_special_tokens, strict=True)
        )
        spelt = {t: c for t, c in added.items() if any(letter.isalnum() for letter in c)}
        return spelt | {int(token): str(content) for token, content in special.items()}

    @cached_property
    def _unknown(self) -> int | None:
        found: int | None = self._tokenizer.unk_token_id
        return found

    @property
    def _end_of_text(self) -> list[int]:
        eos = self._tokenizer.eos_token_id
        return [] if eos is None else [int(eos)]
