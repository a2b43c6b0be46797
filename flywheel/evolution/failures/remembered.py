"""Failure modes that are known: a number, a name and a middle, by which they are known again.

Middles of the groups found today in, the numbers of the modes that they are out. The one idea is
that two looks group anew and name alike: a group is a known mode where their middles are near, each
mode is one group at most, and what is near none is new.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime

import numpy as np
import sqlalchemy as sa

from flywheel.errors import NotFound
from flywheel.evolution.failures.naming import tidy_name
from flywheel.review.rows import storable
from flywheel.statistics import Floats
from flywheel.store.ledger import Ledger, in_utc, record_action
from flywheel.store.tables import failure_modes

# Cosine of two middles. Of halves of a made-up mode of 12 to 60 it was .85 to .97, of two modes .31
# at most; groups that are just kept apart reach .7.
NEAR = 0.75


@dataclass(frozen=True, slots=True)
class KnownMode:
    """A failure mode as the ledger has it; `named_by` is the person who named it, if one did."""

    mode_id: int
    name: str
    named_by: str | None
    first_day: date
    last_day: date
    found_at: datetime
    n_traces: int


@dataclass(frozen=True, slots=True)
class Found:
    """A group as it is to be remembered; `name` is asked for where the mode is new."""

    middle: Floats
    first_day: date
    last_day: date
    n_traces: int
    name: Callable[[], str]


def known_modes(ledger: Ledger) -> dict[int, KnownMode]:
    """Every mode that was ever found, by its number."""
    columns = failure_modes.c[tuple(KnownMode.__dataclass_fields__)]
    with ledger.read() as connection:
        rows = connection.execute(sa.select(*columns).order_by(failure_modes.c.mode_id)).mappings()
        return {
            row["mode_id"]: KnownMode(**dict(row) | {"found_at": in_utc(row["found_at"])})
            for row in rows
        }


def remember(ledger: Ledger, found: Sequence[Found], embedder: str, at: datetime) -> list[int]:
    """The number of the mode that each group is, in their order; what is new gets one.

    A known mode keeps its name, and moves to the middle of today. Modes by another embedder are
    left as they are, since their middles cannot be compared.
    """
    of_embedder = failure_modes.c.embedder == embedder
    wanted = sa.select(*failure_modes.c["mode_id", "centre", "first_day"]).where(of_embedder)
    with ledger.read() as connection:
        rows = connection.execute(wanted.order_by(failure_modes.c.mode_id)).all()
    middles = [np.frombuffer(row.centre, np.float32).astype(np.float64) for row in rows]
    same = match([one.middle for one in found], middles)
    # Before the ledger is held, since a model may be asked.
    names = [one.name() if i not in same else "" for i, one in enumerate(found)]
    numbers = []
    with ledger.begin() as connection:
        for i, one in enumerate(found):
            seen = {
                "centre": one.middle.astype(np.float32).tobytes(),
                "last_day": one.last_day,
                "n_traces": one.n_traces,
            }
            if i in same:
                row = rows[same[i]]
                seen["first_day"] = min(one.first_day, row.first_day)
                is_it = failure_modes.c.mode_id == row.mode_id
                connection.execute(failure_modes.update().where(is_it).values(seen))
                numbers.append(int(row.mode_id))
                continue
            seen |= {"first_day": one.first_day, "embedder": embedder, "found_at": at}
            made = failure_modes.insert().values(seen | {"name": storable(names[i])})
            key = connection.execute(made).inserted_primary_key
            numbers.append(int(key[0]) if key else 0)
    return numbers


def match(found: Sequence[Floats], known: Sequence[Floats]) -> dict[int, int]:
    """Which known middle each found one is, as places; the pairs that are nearest in all.

    Source: the assignment problem (Kuhn 1955).
    """
    from scipy.optimize import linear_sum_assignment

    alike = [(i, j) for i in range(len(found)) for j in range(len(known))]
    near = np.zeros((len(found), len(known)))
    for i, j in alike:
        if found[i].shape == known[j].shape:
            near[i, j] = float(found[i] @ known[j])
    # What is not near is worth nothing, so that it takes no place from what is.
    rows, columns = linear_sum_assignment(-np.where(near >= NEAR, near, 0.0))
    return {int(i): int(j) for i, j in zip(rows, columns, strict=True) if near[i, j] >= NEAR}


def rename(ledger: Ledger, mode_id: int, name: str, actor: str) -> KnownMode:
    """Give a mode the name that a person chose; it stays, and no program changes it.

    Raises NotFound, and BadInput where it is no name.
    """
    wanted = storable(tidy_name(name))
    known = known_modes(ledger).get(mode_id)
    if known is None:
        raise NotFound("failure mode", str(mode_id), None)
    with ledger.begin() as connection:
        is_it = failure_modes.c.mode_id == mode_id
        connection.execute(failure_modes.update().where(is_it).values(name=wanted, named_by=actor))
        subject = f"failure mode {mode_id}"
        record_action(
            connection, actor, "name_failure_mode", subject, before=known.name, now=wanted
        )
    return known_modes(ledger)[mode_id]
