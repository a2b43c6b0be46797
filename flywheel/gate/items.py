"""What the gate compares: one held-out item each, with what both sides made of it.

Items in, weights, counts and predictions out; the one idea is that a side that says nothing is
wrong, so that nobody wins by silence.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from flywheel.errors import BadInput
from flywheel.settings import GateSettings
from flywheel.statistics import Floats

# The rarest item counts at most this many times the commonest, so that none decides alone.
MAX_WEIGHT = 20.0
# What is said where the holdout alone refuses.
NOT_READ = "The suites were not looked at."


@dataclass(frozen=True, slots=True)
class GateItem:
    """A labelled trace of the holdout; `champion` and `challenger` are their probabilities.

    None is a reply that could not be read. Of an application's model the item is a correction:
    `truth` is true, and a probability is 1 where the reply succeeds and 0 where it fails. The rest
    says in which slices the item is; None and 0 are unknown.
    """

    trace_id: str
    session_id: str
    app: str
    truth: bool
    champion: float | None
    challenger: float | None
    is_audit: bool
    draw_probability: float | None
    reason_code: str | None = None
    language: str | None = None
    n_chars: int = 0

    @property
    def champion_right(self) -> bool:
        """Whether the champion is right."""
        return self.champion is not None and (self.champion >= 0.5) == self.truth

    @property
    def challenger_right(self) -> bool:
        """Whether the challenger is right."""
        return self.challenger is not None and (self.challenger >= 0.5) == self.truth


def draw_weights(items: Sequence[GateItem]) -> Floats:
    """1 / draw probability of each item, capped at `MAX_WEIGHT` times the least."""
    inverse = [1 / i.draw_probability if i.draw_probability else math.nan for i in items]
    known = [w for w in inverse if not math.isnan(w)]
    least = min(known, default=1.0)
    return np.array([least if math.isnan(w) else min(w, MAX_WEIGHT * least) for w in inverse])


def check_items(items: Iterable[GateItem]) -> None:
    """Raises BadInput on a trace that stands twice and on a probability out of its bounds."""
    seen: set[str] = set()
    for item in items:
        if item.trace_id in seen:
            raise BadInput(f"trace {item.trace_id!r} stands twice among the gate's items")
        seen.add(item.trace_id)
        given = [p for p in (item.champion, item.challenger) if p is not None]
        if not all(0 <= p <= 1 for p in given):
            raise BadInput(f"trace {item.trace_id!r}: a judge's probability is not in [0, 1]")
        if item.draw_probability is not None and not 0 < item.draw_probability <= 1:
            raise BadInput(f"trace {item.trace_id!r}: its draw probability is not in (0, 1]")


def is_thin(items: Sequence[GateItem], settings: GateSettings) -> bool:
    """Whether the items are too few for any test, so that nothing else need be looked at."""
    is_poor = sum(item.truth for item in items) < settings.min_positives
    return is_poor or sum(discordant(items)) < settings.min_discordant


def discordant(items: Iterable[GateItem]) -> tuple[int, int]:
    """Sessions on which the challenger, and on which the champion, is right more often."""
    return leads((i.session_id, i.champion_right, i.challenger_right) for i in items)


def leads(outcomes: Iterable[tuple[str, bool, bool]]) -> tuple[int, int]:
    """Of (group, champion right, challenger right): groups that either is ahead in.

    A group counts once, for the side that is right on more of it.
    """
    lead: defaultdict[str, int] = defaultdict(int)
    for group, champion, challenger in outcomes:
        lead[group] += challenger - champion
    return sum(x > 0 for x in lead.values()), sum(x < 0 for x in lead.values())
