"""A shadow beside its champion: how often they agree, where they do not, and who people side with.

`shadow_scores` and `scores` in, comparisons out, as an artifact too. The one idea is that both are
taken by their fitted tiers and on the same traces, so that what differs is the judge.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from itertools import groupby

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from flywheel.records import Interval
from flywheel.statistics import wilson
from flywheel.store import Stores
from flywheel.store.publications import Published

# Flips that are shown, those first on which the two are furthest apart.
MOST_FLIPS = 20


@dataclass(frozen=True, slots=True)
class Flip:
    """A trace on which the two differ, with the probability that each gave of an error.

    `of_people` is what people said of it, None where they have not.
    """

    trace_id: str
    app: str
    day: date
    of_champion: float
    of_shadow: float
    of_people: bool | None


@dataclass(frozen=True, slots=True)
class ShadowComparison:
    """A shadow and a champion on the `n` traces that both have read.

    Rates of errors and the agreement have 95 % Wilson intervals. `to_error` counts traces that the
    shadow calls an error and the champion does not, `to_fine` the other way. Of the `n_labelled`
    that people have decided on, however they were drawn, `only_champion` and `only_shadow` count
    those that this one alone got right.
    """

    target: str
    shadow: str
    champion: str
    first_day: date
    last_day: date
    n: int
    agreement: Interval
    rate_of_champion: Interval
    rate_of_shadow: Interval
    to_error: int
    to_fine: int
    n_labelled: int
    only_champion: int
    only_shadow: int
    by_app: dict[str, tuple[int, int]]
    flips: list[Flip]


_PUBLISHED = Published("shadows", list[ShadowComparison])


def compare_shadows(stores: Stores, first: date | None = None) -> list[ShadowComparison]:
    """Every shadow against every champion that read the same traces, from a day on.

    `by_app` has the traces of an application, and those of them on which the two differ.
    """
    with stores.warehouse.read() as connection:
        rows = connection.table("judge/shadow_pairs", first=first)
    return [_compared(part) for part in _parts(rows)]


def publish_shadows(stores: Stores) -> list[ShadowComparison]:
    """Compare, and publish it for a page that opens no warehouse."""
    return _PUBLISHED.put(stores, compare_shadows(stores))


def published_shadows(stores: Stores) -> list[ShadowComparison]:
    """What was last published; nothing where nothing was, or by a version that wrote it otherwise.

    Raises NotFound where the artifact is gone.
    """
    return _PUBLISHED.get(stores) or []


def _parts(rows: pa.Table) -> Iterator[pa.Table]:
    """The rows of each target, shadow and champion, which follow each other."""
    names = zip(*(rows[name].to_pylist() for name in ("target", "shadow", "champion")), strict=True)
    start = 0
    for _, group in groupby(names):
        n = len(list(group))
        yield rows.slice(start, n)
        start += n


def _compared(rows: pa.Table) -> ShadowComparison:
    champion, shadow = (rows[name].to_numpy() for name in ("of_champion", "of_shadow"))
    calls, called = champion >= 0.5, shadow >= 0.5
    is_flip = calls != called
    truth = rows["of_people"].to_pylist()
    labelled = [i for i, said in enumerate(truth) if said is not None]
    days = pc.min_max(rows["day"]).as_py()
    n = len(rows)
    apps = rows["app"].to_numpy(zero_copy_only=False)
    return ShadowComparison(
        target=str(rows["target"][0]),
        shadow=str(rows["shadow"][0]),
        champion=str(rows["champion"][0]),
        first_day=days["min"],
        last_day=days["max"],
        n=n,
        agreement=wilson(float((~is_flip).sum()), n),
        rate_of_champion=wilson(float(calls.sum()), n),
        rate_of_shadow=wilson(float(called.sum()), n),
        to_error=int((called & ~calls).sum()),
        to_fine=int((calls & ~called).sum()),
        n_labelled=len(labelled),
        only_champion=sum(bool(is_flip[i]) and bool(calls[i]) == truth[i] for i in labelled),
        only_shadow=sum(bool(is_flip[i]) and bool(called[i]) == truth[i] for i in labelled),
        by_app={
            str(app): (int((apps == app).sum()), int(is_flip[apps == app].sum()))
            for app in np.unique(apps)
        },
        flips=_flips(rows, np.abs(champion - shadow) * is_flip),
    )


def _flips(rows: pa.Table, apart: NDArray[np.float64]) -> list[Flip]:
    """The traces that differ, those furthest apart first."""
    order = np.argsort(-apart, kind="stable")[:MOST_FLIPS]
    chosen = rows.take(pa.array([i for i in order if apart[i] > 0], pa.int64()))
    names = ("trace_id", "app", "day", "of_champion", "of_shadow", "of_people")
    return [Flip(*(row[name] for name in names)) for row in chosen.to_pylist()]
