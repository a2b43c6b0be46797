"""What a causal adapter learns: the tokens that the assistant has to write, and no others.

Rows in, losses out. Two ideas make it quick: rows of like length stand together, and odds are
worked out at the places that are learnt alone. A row is padded behind its end, where no token of
its own looks, so there is no mask.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from flywheel.training.causal.rows import Row
from flywheel.training.descent import Batch, Group
from flywheel.training.placement import Placement

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Budget:
    """What is in memory at once: tokens with padding, and logits of learnt tokens."""

    tokens: int
    logits: int


# On a CPU more at once is hardly quicker, for its caches are full; a GPU has to be kept busy.
ON_CPU = Budget(2_048, 40_000_000)
ON_GPU = Budget(16_384, 400_000_000)


@dataclass(frozen=True, slots=True)
class Part:
    """Rows that are in memory together, and by how many learnt tokens their loss is divided."""

    rows: tuple[Row, ...]
    divisor: float


class CausalLearner:
    """A model with an adapter, the rows that it learns from and those that it is checked on."""

    def __init__(
        self,
        model: Any,  # noqa: ANN401  # a PeftModel, untyped
        place: Placement,
        rows: Sequence[Row],
        checks: Sequence[Row],
        learning_rate: float,
    ):
        self.model = model
        self.place = place
        self.rows = rows
        self.checks = checks
        self.learning_rate = learning_rate
        bare = place.bare(model)
        self.n_words = int(bare.config.vocab_size)
        self.budget = ON_CPU if place.device.type == "cpu" else ON_GPU

    def groups(self) -> list[Group]:
        """The adapter."""
        bare = self.place.bare(self.model)
        learnt = {n: p for n, p in bare.named_parameters() if p.requires_grad}
        return [Group(learnt, self.learning_rate)]

    def parts(self, batch: Batch) -> list[Part]:
        """This process's rows of a batch, the longest first, as many at once as memory allows."""
        n_learnt = sum(self.rows[i].n_learnt for i in batch)
        # Gradients are averaged over the processes, each of which has a share of the sum.
        divisor = n_learnt / self.place.n_processes
        own = [self.rows[i] for i in self.place.share_of(batch)]
        if not own:
            return [Part((self.rows[batch[0]],), float("inf"))]
        return [Part(tuple(some), divisor) for some in in_parts(own, self.budget, self.n_words)]

    def loss(self, part: Part) -> "torch.Tensor":
        """The log loss of a part's learnt tokens, over those of its whole batch."""
        return self._summed(part.rows, self.model) / part.divisor

    def look(self) -> float:
        """The mean log loss of a learnt token of the checks, in nats."""
        import torch

        model = self.place.bare(self.model).eval()
        total = 0.0
        with torch.inference_mode():
            for some in in_parts(self.checks, self.budget, self.n_words):
                total += float(self._summed(some, model))
        return total / sum(row.n_learnt for row in self.checks)

    def _summed(self, rows: Sequence[Row], model: Any) -> "torch.Tensor":  # noqa: ANN401
        """The log loss of the learnt tokens of rows that are in memory together, summed."""
        import torch

        width = max(row.n_tokens for row in rows)
        ids = np.zeros((len(rows), width), np.int64)
        for i, row in enumerate(rows):
            ids[i, : row.n_tokens] = row.ids
        device = self.place.device
        # A token's odds are those behind the token before it.
        before = np.concatenate([i * width + row.places - 1 for i, row in enumerate(rows)])
        wanted = torch.from_numpy(np.concatenate([row.ids[row.places] for row in rows])).to(device)
        places = torch.from_numpy(before).to(device)
        with _picked(self.place.bare(model), places), self.place.numbers():
            found = model(input_ids=torch.from_numpy(ids).to(device), use_cache=False).logits
        logits = found.reshape(-1, found.shape[-1]).float()
        # Of a model that multiplies by its words without their layer, the logits of all come back.
        if len(logits) != len(wanted):
            logits = logits[places]
        return torch.nn.functional.cross_entropy(logits, wanted, reduction="sum")


@contextmanager
def _picked(model: Any, places: "torch.Tensor") -> Iterator[None]:  # noqa: ANN401
    """Have a model work out logits at these places of its flattened batch alone."""

    def pick(_: Any, given: tuple[Any, ...]) -> tuple[Any, ...]:  # noqa: ANN401
        hidden = given[0]
        return (hidden.reshape(-1, hidden.shape[-1])[places][None], *given[1:])

    hook = model.get_output_embeddings().register_forward_pre_hook(pick)
    try:
        yield
    finally:
        hook.remove()


def in_parts(rows: Sequence[Row], budget: Budget, n_words: int) -> Iterator[list[Row]]:
    """Rows of like length together, the longest first, within the budget or one alone."""
    part: list[Row] = []
    width = learnt = 0
    for row in sorted(rows, key=lambda row: -row.n_tokens):
        n_logits = (learnt + row.n_learnt) * n_words
        is_full = (len(part) + 1) * width > budget.tokens or n_logits > budget.logits
        if part and is_full:
            yield part
            part, learnt = [], 0
        if not part:
            width = row.n_tokens
        part.append(row)
        learnt += row.n_learnt
    if part:
        yield part
