"""How far reviewers agree with each other, beyond what chance alone would bring.

Arrays of answers in, kappa or alpha with intervals out; the one idea is that both are functions of
a table of pairs, and such tables add up: over items to a session, over sessions to a draw.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from flywheel.quality.resampling import draws_by_session, none_in, percentiles
from flywheel.records import Interval
from flywheel.statistics import Floats

Measure = Literal["Cohen's kappa", "Krippendorff's alpha", "pooled kappa"]
Ints = NDArray[np.int64]

# Where a reviewer did not speak.
MISSING = -1
MIN_SHARED_ITEMS = 10
# Of the draws, how many may lack a second answer before there is no interval to speak of: all
# items of the rarer answer are absent from one draw in twenty where there are three of them.
MOST_UNDEFINED = 0.1


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far people agree, or why that cannot be said.

    `of` is what they agree on, or who agrees with the others. `raw` is the share of pairs of
    answers that are the same; `beyond_chance` is `measure`, at most 1, and 0 where answers are the
    same as often as by chance. Where `why` is not empty there is no `beyond_chance`.
    """

    of: str
    measure: Measure
    n_items: int
    n_reviewers: int
    raw: Interval | None
    beyond_chance: Interval | None
    why: str = ""


def cohen_kappa(first: Sequence[int], second: Sequence[int]) -> float:
    """Agreement of two people beyond chance, on items that both judged (Cohen 1960).

    Answers are numbers from 0; NaN where all of them are the same.
    """
    ratings = np.stack([np.asarray(first, np.int64), np.asarray(second, np.int64)], axis=1)
    return float(_beyond(*_shares("Cohen's kappa", _pairs_of(ratings, 0).sum(axis=0))))


def krippendorff_alpha(ratings: Ints) -> float:
    """Agreement of any number of people beyond chance, nominal (Krippendorff 2011).

    `ratings` is of shape (n_items, n_reviewers), answers are numbers from 0, and -1 is no answer.
    NaN where all answers that can be compared are the same.
    """
    return float(_beyond(*_shares("Krippendorff's alpha", _coincidences(ratings).sum(axis=0))))


def measure_agreement(of: str, ratings: Ints, sessions: Sequence[str], seed: int = 0) -> Agreement:
    """How far all agree: Cohen's kappa where two people answered, Krippendorff's alpha beyond.

    `ratings` as in `krippendorff_alpha`, one session an item. Items with one answer are left out.
    """
    ratings, sessions = _shared(ratings, sessions)
    ratings = ratings[:, (ratings != MISSING).any(axis=0)]
    if ratings.shape[1] == 2:
        return _measured(of, "Cohen's kappa", ratings, _pairs_of(ratings, 0), sessions, seed)
    return _measured(of, "Krippendorff's alpha", ratings, _coincidences(ratings), sessions, seed)


def agreement_with_others(
    of: str, ratings: Ints, reviewer: int, sessions: Sequence[str], seed: int = 0
) -> Agreement:
    """How far one column of `ratings` agrees with all others, on the items that they share.

    Cohen's kappa over the pairs of this reviewer with each other one; an item counts once, however
    many others answered.
    """
    ratings, sessions = _shared(ratings, sessions)
    own = ratings[:, reviewer] != MISSING
    ratings, sessions = ratings[own], [s for s, is_own in zip(sessions, own, strict=True) if is_own]
    pairs = _pairs_of(ratings, reviewer)
    return _measured(of, "pooled kappa", ratings, pairs, sessions, seed)


def _shared(ratings: Ints, sessions: Sequence[str]) -> tuple[Ints, list[str]]:
    """The items with two answers or more."""
    shared = (ratings != MISSING).sum(axis=1) > 1
    return ratings[shared], [s for s, is_shared in zip(sessions, shared, strict=True) if is_shared]


def _counts(ratings: Ints) -> Floats:
    """How often each item was given each answer: (n_items, n_answers)."""
    n_answers = int(ratings.max(initial=0)) + 1
    return np.stack([(ratings == a).sum(axis=1) for a in range(n_answers)], axis=1).astype(float)


def _coincidences(ratings: Ints) -> Floats:
    """Each item's part of the coincidence matrix: (n_items, n_answers, n_answers).

    Every ordered pair of answers by two people, each over the number of others who answered.
    """
    counts = _counts(ratings)
    pairs = counts[:, :, None] * counts[:, None, :]
    same = np.arange(counts.shape[1])
    pairs[:, same, same] -= counts
    others = counts.sum(axis=1) - 1
    return np.where(others > 0, 1 / np.maximum(others, 1), 0.0)[:, None, None] * pairs


def _pairs_of(ratings: Ints, reviewer: int) -> Floats:
    """Each item's table of one reviewer's answer by the others': (n_items, n_answers, n_answers).

    Sums to 1 over an item, however many others answered.
    """
    counts = _counts(ratings)
    own = (ratings[:, [reviewer]] == np.arange(counts.shape[1])).astype(float)
    others = counts - own
    shares = others / np.maximum(others.sum(axis=1, keepdims=True), 1)
    return np.asarray(own[:, :, None] * shares[:, None, :])


def _shares(measure: Measure, tables: Floats) -> tuple[Floats, Floats]:
    """The share of pairs that are the same, and that which chance would bring, of each table.

    Tables are of shape (..., n_answers, n_answers). Kappa's chance pairs one person's answers with
    another's; alpha's draws two of all answers, and does not put the first one back.
    """
    total = np.maximum(tables.sum(axis=(-2, -1)), 1e-12)
    same = np.trace(tables, axis1=-2, axis2=-1) / total
    rows, columns = tables.sum(axis=-1), tables.sum(axis=-2)
    if measure == "Krippendorff's alpha":
        pairs = np.maximum(total * (total - 1), 1e-12)
        return np.asarray(same), np.asarray((rows * (rows - 1)).sum(axis=-1) / pairs)
    return np.asarray(same), np.asarray((rows * columns).sum(axis=-1) / total**2)


def _beyond(same: Floats, by_chance: Floats) -> Floats:
    """How much of what chance leaves is reached; NaN where it leaves nothing."""
    left = 1 - by_chance
    is_defined = left > 1e-9
    reached = (same - by_chance) / np.where(is_defined, left, 1.0)
    return np.asarray(np.where(is_defined, reached, np.nan))


def _measured(
    of: str, measure: Measure, ratings: Ints, tables: Floats, sessions: Sequence[str], seed: int
) -> Agreement:
    """The measure over the items' tables, with percentile intervals by session."""
    n_items, n_reviewers = len(ratings), int((ratings != MISSING).any(axis=0).sum())

    def said(raw: Interval | None, beyond: Interval | None, why: str = "") -> Agreement:
        return Agreement(of, measure, n_items, n_reviewers, raw, beyond, why)

    if n_items < MIN_SHARED_ITEMS:
        why = f"{n_items} items with two opinions, and at least {MIN_SHARED_ITEMS} are needed"
        return said(None, None, why)
    same, by_chance = _shares(measure, tables.sum(axis=0))
    all_same, all_by_chance = _shares(measure, draws_by_session(tables, sessions, seed=seed))
    estimate, draws = float(_beyond(same, by_chance)), _beyond(all_same, all_by_chance)
    raw = percentiles(float(same), all_same)
    if np.isclose(raw.estimate, 1.0):
        # No draw knows of a difference where there is none.
        raw = Interval(1.0, 1 - none_in(len(set(sessions))), 1.0)
    if np.isnan(estimate):
        return said(raw, None, "all answers are the same, as they would be by chance")
    if np.isnan(draws).mean() > MOST_UNDEFINED:
        return said(raw, None, "nearly all answers are the same, which leaves little to chance")
    if raw.estimate == 1.0:
        return said(raw, Interval(1.0, float(_beyond(np.asarray(raw.low), by_chance)), 1.0))
    return said(raw, percentiles(estimate, draws))
