"""Examples as the tokens that a causal model is trained on, with those that it has to write.

Tagged examples and a chat template in, rows of token ids out. A row that is longer than it may be
is left out and counted: half an answer teaches to stop half-way.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from flywheel.models.chat_layout import ChatLayout
from flywheel.training.examples.example import ChatExample

TOO_LONG = "longer than training.max_tokens"
SILENT = "nothing that the assistant says"


@dataclass(frozen=True, slots=True)
class Row:
    """Token ids, and the places of those that are learnt; the first token is nobody's to write."""

    ids: NDArray[np.int64]
    places: NDArray[np.int64]

    @property
    def n_tokens(self) -> int:
        """Its length."""
        return len(self.ids)

    @property
    def n_learnt(self) -> int:
        """How many tokens are learnt."""
        return len(self.places)


@dataclass(frozen=True, slots=True)
class Rows:
    """What could be laid out, and how many examples could not, by reason."""

    rows: tuple[Row, ...]
    left_out: dict[str, int] = field(default_factory=dict)

    @property
    def n_learnt(self) -> int:
        """Learnt tokens of all rows."""
        return sum(row.n_learnt for row in self.rows)

    @property
    def n_tokens(self) -> int:
        """Tokens of all rows."""
        return sum(row.n_tokens for row in self.rows)


def rows_of(examples: Iterable[ChatExample], layout: ChatLayout, max_tokens: int) -> Rows:
    """The examples as rows, in their order."""
    rows: list[Row] = []
    left: dict[str, int] = {}
    for example in examples:
        row = row_of(example, layout)
        why = TOO_LONG if row.n_tokens > max_tokens else SILENT if not row.n_learnt else ""
        if why:
            left[why] = left.get(why, 0) + 1
        else:
            rows.append(row)
    return Rows(tuple(rows), left)


def row_of(example: ChatExample, layout: ChatLayout) -> Row:
    """An example as tokens, however long it is."""
    laid = layout.example(example.messages, example.n_context, example.tools)
    places = np.flatnonzero(laid.is_learnt)
    return Row(np.array(laid.ids, np.int64), places[places > 0])


def fingerprint(rows: Sequence[Row]) -> str:
    """Names the rows, for a checkpoint."""
    from hashlib import sha256

    found = sha256()
    for row in rows:
        for numbers in (row.ids, row.places):
            found.update(f"{len(numbers)} ".encode() + numbers.tobytes())
    return found.hexdigest()
