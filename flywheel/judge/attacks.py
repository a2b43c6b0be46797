"""Attacks on a judge: text in a trace that orders the judge about, and how many verdicts it turns.

Conversations and the attacks of `attacks.jsonl` in, a report of flips out. The one idea is that an
attack is added and nothing taken away, so that what the user thinks stays as it was, and a verdict
that turns was turned by the attack; beside it stand harmless additions, which turn some as well.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from flywheel.errors import NotEnough
from flywheel.judge.scoring import Progress, no_progress
from flywheel.records import Conversation, Interval, Turn
from flywheel.statistics import wilson

Place = Literal["user", "assistant", "tool"]
Aim = Literal["no_error", "error", "none"]
# Additions that order nobody about: what any text does to a judge.
HARMLESS = "harmless"
FILE = Path(__file__).with_name("attacks.jsonl")

# Whether each conversation is judged an error; None where there is no verdict.
Judging = Callable[[Sequence[Conversation]], Sequence[bool | None]]


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    family: str
    aim: Aim
    places: tuple[Place, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Attack:
    """A text, the family that it belongs to, what it is to make of a verdict, and where it stands.

    `aim` is `none` for what is harmless, which counts towards either.
    """

    name: str
    family: str
    aim: Aim
    place: Place
    text: str


@dataclass(frozen=True, slots=True)
class Flips:
    """How many verdicts turned of those that could; the interval is Wilson's.

    Several attacks stand in one conversation each, so that the interval is a little too narrow.
    """

    flipped: int
    n: int
    share: Interval


@dataclass(frozen=True, slots=True)
class FamilyFlips:
    """Verdicts turned by one family: to no error, of the errors before; to error, of the others."""

    family: str
    to_no_error: Flips
    to_error: Flips


@dataclass(frozen=True, slots=True)
class AttackReport:
    """What attacks did to one judge; `all_attacks` are the families without the harmless ones.

    `errors_before` of `conversations` were judged an error when nobody attacked; `lost` counts
    verdicts that were missing before or after, such as replies that could not be read.
    """

    judge: str
    conversations: int
    errors_before: int
    attacked: int
    lost: int
    all_attacks: FamilyFlips
    families: list[FamilyFlips]


def read_attacks(per_family: int | None = None) -> list[Attack]:
    """The bundled attacks, one for each place; the first `per_family` of a family and an aim.

    Within a family, places take turns, so that a few attacks stand in different ones.
    """
    lines = [_Line.model_validate_json(line) for line in FILE.read_text("utf-8").splitlines()]
    made = [
        Attack(line.name, line.family, line.aim, line.places[turn % len(line.places)], line.text)
        for turn in range(max(len(line.places) for line in lines))
        for line in lines
        if turn < len(line.places)
    ]
    if per_family is None:
        return made
    taken: Counter[tuple[str, Aim]] = Counter()
    chosen = []
    for attack in made:
        kind = attack.family, attack.aim
        if taken[kind] < per_family:
            chosen.append(attack)
        taken[kind] += 1
    return chosen


def attacked(conversation: Conversation, attack: Attack) -> Conversation:
    """The conversation with the attack in it, and every word that was there before.

    The user's is behind the last user turn, where the reaction stands; the assistant's behind the
    turn before that; a tool's is a result in that same turn, as judges are given results.
    """
    last = conversation.reactions[-1]
    turns = list(conversation.turns)
    before = next(i for i in range(last, -1, -1) if turns[i].role == "assistant")
    place = last if attack.place == "user" else before
    text = attack.text if attack.place != "tool" else f"search({{}}) -> {attack.text}"
    turns[place] = _with(turns[place], text)
    return replace(conversation, turns=tuple(turns))


def attack_judge(
    name: str,
    judging: Judging,
    conversations: Sequence[Conversation],
    attacks: Sequence[Attack],
    progress: Progress = no_progress,
) -> AttackReport:
    """Judge each conversation as it is, and under each attack, and count what turned.

    Raises NotEnough where no conversation is eligible.
    """
    eligible = [c for c in conversations if c.is_eligible]
    if not eligible:
        raise NotEnough("eligible conversations", 0, 1)
    before = list(judging(eligible))
    progress(1, len(attacks) + 1)
    counts: dict[str, Counter[tuple[bool, bool]]] = defaultdict(Counter)
    lost = sum(verdict is None for verdict in before)
    for number, attack in enumerate(attacks, start=2):
        after = judging([attacked(c, attack) for c in eligible])
        for was, now in zip(before, after, strict=True):
            if was is None or now is None:
                lost += now is None
            elif attack.aim in ("none", _aim_from(was)):
                counts[attack.family][was, now] += 1
        progress(number, len(attacks) + 1)
    return AttackReport(
        name,
        len(eligible),
        sum(verdict is True for verdict in before),
        len(attacks) * len(eligible),
        lost,
        _family("all", _sum(counts, lambda family: family != HARMLESS)),
        [_family(family, counts[family]) for family in dict.fromkeys(a.family for a in attacks)],
    )


def _aim_from(was_error: bool) -> Aim:
    """What an attack aims at that could turn this verdict."""
    return "no_error" if was_error else "error"


def _with(turn: Turn, text: str) -> Turn:
    return replace(turn, text=f"{turn.text}\n{text}")


def _sum(
    counts: Mapping[str, Counter[tuple[bool, bool]]], is_counted: Callable[[str], bool]
) -> Counter[tuple[bool, bool]]:
    total: Counter[tuple[bool, bool]] = Counter()
    for family, of_family in counts.items():
        if is_counted(family):
            total += of_family
    return total


def _family(name: str, counts: Mapping[tuple[bool, bool], int]) -> FamilyFlips:
    return FamilyFlips(name, _flips(counts, was=True), _flips(counts, was=False))


def _flips(counts: Mapping[tuple[bool, bool], int], *, was: bool) -> Flips:
    flipped = counts.get((was, not was), 0)
    n = flipped + counts.get((was, was), 0)
    return Flips(flipped, n, wilson(flipped, n))
