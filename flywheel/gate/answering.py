"""Two models of an application on the same questions: what each replies, and which of them succeed.

Cases out of chat examples in, pairs of outcomes out. A reply succeeds where it does what the
correction does; where that cannot be checked, where the model finds the correction likelier than
the failure that it mends. Each model is asked with its own adapter on the one base, and at
temperature 0, so that the same look gives the same again.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from flywheel.errors import BadInput
from flywheel.gate.answers import agreement, fault_in
from flywheel.models.tool_text import Reply, parse_reply
from flywheel.statistics import Floats
from flywheel.training.examples.example import ChatExample

Message = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Contender:
    """A version of an application's model; without an adapter it is the base as it is."""

    version: str
    adapter: Path | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """A conversation of which the last message alone is the assistant's to write."""

    messages: tuple[Message, ...]
    tools: tuple[Message, ...] = ()

    @property
    def n_context(self) -> int:
        """All but the last."""
        return len(self.messages) - 1


class ReplyHost(Protocol):
    """What runs a causal model with one adapter at a time; `models.causal_host` does."""

    def use(self, adapter: Path | None) -> None:
        """Put an adapter to work for the calls that follow."""

    def generate(
        self,
        prompts: Sequence[Sequence[Message]],
        max_tokens: int,
        *,
        tools: Sequence[object] | None = None,
    ) -> list[str]:
        """The likeliest reply to each; raises BadInput where a prompt is too long."""

    def log_probabilities(self, examples: Sequence[Step]) -> Floats:
        """Mean log probability of a learnt token of each."""


@dataclass(frozen=True, slots=True)
class ReplyCase:
    """A reply that people called good, as a case, and the failure that it mends where there is one.

    `is_old` where nobody corrected it: the model should still say the like.
    """

    good: ChatExample
    failure: ChatExample | None = None
    is_old: bool = False

    @property
    def asked(self) -> tuple[Message, ...]:
        """What the model is given: all before the answer, the steps on the way to it too."""
        return self.good.messages[:-1]


@dataclass(frozen=True, slots=True)
class Answered:
    """What one model made of one case; `agrees` is None where that cannot be checked.

    `lead` is how much likelier it finds the good reply than the failure, `likelihood` how likely
    the good one, both as mean log probabilities of a token; NaN where not asked.
    """

    reply: Reply
    fault: str
    agrees: bool | None
    likelihood: float = math.nan
    lead: float = math.nan


def answer_all(
    host: ReplyHost, contender: Contender, cases: Sequence[ReplyCase], max_tokens: int
) -> list[Answered | None]:
    """The model's answer to each case; None where the conversation is longer than its memory."""
    host.use(contender.adapter)
    texts = _replies(host, cases, max_tokens)
    found: list[Answered | None] = []
    for case, text in zip(cases, texts, strict=True):
        if text is None:
            found.append(None)
            continue
        reply = parse_reply(text)
        agrees = agreement(reply, case.good.messages[-1])
        found.append(Answered(reply, fault_in(reply, case.good.tools), agrees))
    return _with_odds(host, cases, found)


def outcome(
    case: ReplyCase, old: Answered, new: Answered, margin: float
) -> tuple[bool, bool] | None:
    """Whether champion and challenger succeed; None where there is nothing to tell it by.

    An old reply that cannot be checked is forgotten by the side that finds its tokens less likely
    than the other does, by more than `margin` of their probability.
    """
    both = (old, new)
    if old.agrees is not None:
        return (bool(old.agrees) and not old.fault, bool(new.agrees) and not new.fault)
    if case.failure is not None:
        first, second = (answered.lead > 0 for answered in both)
        return first, second
    change = new.likelihood - old.likelihood
    if not case.is_old or math.isnan(change):
        return None
    tolerated = -math.log1p(-margin)
    return change <= tolerated, change >= -tolerated


def _replies(host: ReplyHost, cases: Sequence[ReplyCase], max_tokens: int) -> list[str | None]:
    """Replies in the order of the cases, those with the same tools at once."""
    found: list[str | None] = [None] * len(cases)
    by_tools: dict[str, list[int]] = {}
    for place, case in enumerate(cases):
        by_tools.setdefault(json.dumps(case.good.tools, default=str), []).append(place)
    for places in by_tools.values():
        tools = cases[places[0]].good.tools
        for place, text in _fitting(host, cases, places, tools, max_tokens):
            found[place] = text
    return found


def _fitting(
    host: ReplyHost,
    cases: Sequence[ReplyCase],
    places: Sequence[int],
    tools: Sequence[Message],
    max_tokens: int,
) -> list[tuple[int, str]]:
    """Replies to those that the model can hold; what is too long is found by halving."""
    try:
        asked = [cases[place].asked for place in places]
        return list(zip(places, host.generate(asked, max_tokens, tools=tools), strict=True))
    except BadInput:
        if len(places) == 1:
            return []
    half = len(places) // 2
    parts = places[:half], places[half:]
    return [pair for part in parts for pair in _fitting(host, cases, part, tools, max_tokens)]


def _with_odds(
    host: ReplyHost, cases: Sequence[ReplyCase], found: Sequence[Answered | None]
) -> list[Answered | None]:
    """The same, with log probabilities where nothing else can tell success."""
    open_places = [
        place
        for place, answered in enumerate(found)
        if answered is not None and answered.agrees is None
    ]
    good = host.log_probabilities([_step(cases[place].good) for place in open_places])
    mended = [place for place in open_places if cases[place].failure is not None]
    failures = [case.failure for place in mended if (case := cases[place]).failure is not None]
    bad = dict(zip(mended, host.log_probabilities([*map(_step, failures)]), strict=True))
    odds = dict(zip(open_places, good, strict=True))
    return [
        answered
        if answered is None or place not in odds
        else Answered(
            answered.reply,
            answered.fault,
            None,
            float(odds[place]),
            float(odds[place] - bad.get(place, math.nan)),
        )
        for place, answered in enumerate(found)
    ]


def _step(example: ChatExample) -> Step:
    return Step(example.messages, example.tools)
