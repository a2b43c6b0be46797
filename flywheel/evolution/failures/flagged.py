"""Conversations in which an error was seen, as texts and as vectors.

Warehouse rows in; what was asked, what was said against the answer, and one vector of both out. The
one idea is that two conversations fail alike where people asked for alike things and objected in
alike words, for a reason of the same kind.
"""

from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np

from flywheel.models.embedder import TextEncoder
from flywheel.records import REASON_CODES
from flywheel.safety import visible
from flywheel.statistics import Floats
from flywheel.store import Stores

# Of each text; the bundled embedder reads some 256 tokens.
MAX_CHARS = 800
# How much of a likeness is of what was asked, of the objection, and of the kind of reason. Half and
# half of the first two, or a third, gave the same groups of made-up failures.
_OF_REQUEST, _OF_REACTION, _OF_CODE = 0.35, 0.55, 0.10
# In the place of a text that is missing; its vector is left out.
_NOTHING = "-"


@dataclass(frozen=True, slots=True)
class Flagged:
    """A conversation in which people, or the judge where nobody looked, see an error."""

    trace_id: str
    content_hash: str
    app: str
    session: str
    day: date
    is_by_people: bool
    is_explained: bool
    reason_code: str
    reason: str
    reaction: str
    request: str

    @property
    def objection(self) -> str:
        """What was said against the answer: by the user, and by whoever explained it."""
        return "\n".join(filter(None, (self.reaction, self.reason if self.is_explained else "")))


def read_flagged(stores: Stores, first: date, last: date, most: int) -> tuple[list[Flagged], int]:
    """Flagged conversations of the days, at most `most`, and how many there are at all."""
    with stores.warehouse.read() as connection:
        rows = connection.table(
            "evolution/flagged_traces", first=first, last=last, most=most, max_chars=MAX_CHARS
        ).to_pylist()
    n_flagged = rows[0]["n_flagged"] if rows else 0
    return [_flagged(row) for row in rows], int(n_flagged)


def _flagged(row: dict[str, Any]) -> Flagged:
    texts = {name: visible(row[name]) for name in ("reason", "reaction", "request")}
    names = set(Flagged.__dataclass_fields__)
    return Flagged(**{name: value for name, value in row.items() if name in names} | texts)


def vectors_of(flagged: list[Flagged], embedder: TextEncoder) -> Floats:
    """A unit vector of each: float64 of shape (n, 2 dim + codes)."""
    if not flagged:
        return np.empty((0, 0))
    requests = embedder.encode([one.request or _NOTHING for one in flagged]).astype(np.float64)
    objections = embedder.encode([one.objection or _NOTHING for one in flagged]).astype(np.float64)
    codes = np.zeros((len(flagged), len(REASON_CODES)))
    for row, one in enumerate(flagged):
        if one.reason_code in REASON_CODES:
            codes[row, REASON_CODES.index(one.reason_code)] = 1.0
    # An empty text is like no other.
    requests *= np.array([[bool(one.request.strip())] for one in flagged])
    objections *= np.array([[bool(one.objection.strip())] for one in flagged])
    parts = ((_OF_REQUEST, requests), (_OF_REACTION, objections), (_OF_CODE, codes))
    joined = np.hstack([np.sqrt(share) * part for share, part in parts])
    lengths = np.linalg.norm(joined, axis=1, keepdims=True)
    return np.asarray(joined / np.where(lengths > 0, lengths, 1.0))
