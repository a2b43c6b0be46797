"""One example of a causal model: a conversation, and from where on its assistant is learnt.

Decided traces become examples, and examples become the rows of an arm. The one idea is that a
failure is an example as well: it is kept, with its grade, and the arm says what becomes of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from flywheel.records import Split

# `correction`: what a person wrote instead. `accepted`: an answer that nobody minded. `failed`: an
# answer that was a perceived error. `reply`: what a judge should have answered.
Source = Literal["correction", "accepted", "failed", "reply"]
# Good where no grade says otherwise.
GOOD_SOURCES: frozenset[Source] = frozenset({"correction", "accepted", "reply"})


@dataclass(frozen=True, slots=True)
class ChatExample:
    """A conversation in OpenAI's shape, whose assistant is learnt after the context.

    `messages[:n_context]` is the context, which ends with the question turn, a user's; tool results
    after it are read, not learnt. `grade` is in [0, 1], 1 for good; None where it is unknown, and
    then the source says. `generator` is the model that wrote the learnt turns, empty where unknown;
    a correction and the failure that it mends share `pair_id`. `tools` are those on offer, in
    OpenAI's shape, and `trace_id` is where it comes from.
    """

    example_id: str
    messages: tuple[Mapping[str, object], ...]
    n_context: int
    grade: float | None
    source: Source
    generator: str
    app: str
    group: str
    split: Split
    decision_ids: tuple[int, ...]
    pair_id: str = ""
    tools: tuple[Mapping[str, object], ...] = ()
    trace_id: str = ""

    @property
    def is_good(self) -> bool:
        """Whether the assistant should do so again."""
        return self.source in GOOD_SOURCES if self.grade is None else self.grade >= 1.0

    @property
    def context(self) -> tuple[Mapping[str, object], ...]:
        """What the assistant was given, up to the question turn."""
        return self.messages[: self.n_context]

    @property
    def learnt(self) -> tuple[Mapping[str, object], ...]:
        """What follows the question turn."""
        return self.messages[self.n_context :]
