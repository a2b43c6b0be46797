"""Tier 3: the frozen tier, corrected by an encoder with a LoRA adapter that reads turns together.

Reactions in, logits out. The adapter learns what the frozen tier gets wrong: it sees the answer and
the user's turn as one pair, and adds its say to the frozen logit. It starts at nothing, so a fit on
few labels can leave it there.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import tee
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flywheel.judge.encoder import FrozenModel, plan_views, views_of
from flywheel.judge.features import raw_features
from flywheel.judge.judge import array_fingerprint
from flywheel.judge.prototypes import PrototypeCoder
from flywheel.judge.reactions import Floats, Pooling, Reaction
from flywheel.models.embedder import Embedder, Vectors
from flywheel.models.engine import Batch, Job, Precision, token_batches, tokens_a_batch
from flywheel.models.merged import MergedCopy, PlainLora, plain_lora_of, read_plain_lora
from flywheel.records import Tier
from flywheel.safety import encodable

if TYPE_CHECKING:
    import torch

# Tokens of a pair; of a longer one the longer turn is cut.
MAX_TOKENS = 192


class PairReader:
    """The embedder's transformer over (answer, user's turn) pairs, read with an adapter merged.

    All readers of one embedder share one copy of it, into which the adapter goes that reads: half
    the matrix products a layer, and logits that differ from those beside the base by rounding.
    """

    def __init__(self, embedder: Embedder, adapter: Callable[[], PlainLora]):
        self._embedder = embedder
        self._adapter = adapter
        self._tokenizer = _tokenizer_in(embedder.folder)
        self._padding = self._tokenizer.pad_token_id or 0

    @property
    def adapter(self) -> PlainLora:
        """The adapter that it reads with."""
        return self._adapter()

    def save(self, folder: Path) -> None:
        """Write the adapter as files that plain peft loads."""
        self.adapter.save(folder)

    def tokens(self, reactions: Sequence[Reaction]) -> list[list[int]]:
        """Token ids of each pair."""
        pairs = self._tokenizer(
            [encodable(r.answer) for r in reactions],
            [encodable(r.text) for r in reactions],
            truncation="longest_first",
            max_length=MAX_TOKENS,
        )
        return list(pairs["input_ids"])

    def vectors(self, reactions: Sequence[Reaction], precision: Precision = "float32") -> Floats:
        """Mean of the last layer over each pair's tokens: shape (n, dim)."""
        engine, reader = self._embedder.engine, self._reader(precision)
        with reader.copy.holding(reader.adapter) as model:
            jobs = self._jobs(reactions, model, reader)
            found = np.empty((len(reactions), model.config.hidden_size))
            with engine.reading(job for _, job in jobs):
                for rows, job in jobs:
                    found[rows] = engine.read(job, reader)
        return found

    def plan(self, reactions: Sequence[Reaction], precision: Precision) -> list[Job]:
        """What `vectors` will have read."""
        reader = self._reader(precision)
        with reader.copy.holding(reader.adapter) as model:
            return [job for _, job in self._jobs(reactions, model, reader)]

    def _reader(self, precision: Precision) -> "_BatchReader":
        embedder = self._embedder
        return _BatchReader(
            embedder.folder, embedder.threads, precision, self.adapter, self._padding
        )

    def _jobs(
        self,
        reactions: Sequence[Reaction],
        model: Any,  # noqa: ANN401  # a transformers model, untyped
        reader: "_BatchReader",
    ) -> list[tuple[list[int], Job]]:
        """Rows that are read together, and how; while the copy is held.

        The tokenizer is shared as the copy is, and is not for two threads at once.
        """
        tokens = self.tokens(reactions)
        budget = tokens_a_batch(next(model.parameters()))
        return [
            (rows, (reader, tuple(tuple(tokens[i]) for i in rows)))
            for rows in token_batches([len(row) for row in tokens], budget)
        ]


@dataclass(frozen=True, slots=True)
class _BatchReader:
    """Reads batches of token ids with an adapter in whichever process it is in."""

    folder: Path
    threads: int
    precision: Precision
    adapter: PlainLora
    padding: int

    @property
    def copy(self) -> MergedCopy:
        """What it reads with."""
        return shared_copy(self.folder, self.threads, self.precision)

    def __call__(self, batch: Batch) -> Vectors:
        import torch

        with self.copy.holding(self.adapter) as model, torch.inference_mode():
            pooled: Vectors = _pooled(model, batch, self.padding).cpu().numpy()
        return pooled


class PairEncoder(PairReader):
    """A reader whose adapter is trained: `model` is a PeftModel on a base of its own."""

    def __init__(self, embedder: Embedder, model: Any):  # noqa: ANN401  # a PeftModel, untyped
        super().__init__(embedder, lambda: plain_lora_of(model))
        self.model = model

    def save(self, folder: Path) -> None:
        """Write the adapter as files that plain peft loads."""
        self.model.save_pretrained(str(folder))

    def pooled(self, tokens: Sequence[Sequence[int]]) -> "torch.Tensor":
        """As `vectors`, by the adapter beside its base: shape (n, dim), with gradients."""
        return _pooled(self.model, tokens, self._padding)


def _pooled(model: Any, tokens: Sequence[Sequence[int]], padding: int) -> "torch.Tensor":  # noqa: ANN401
    """Mean of the last layer over each row's tokens, taken in float32: shape (n, dim)."""
    import torch

    ids = np.full((len(tokens), max(len(row) for row in tokens)), padding)
    mask = np.zeros(ids.shape, np.int64)
    for i, row in enumerate(tokens):
        ids[i, : len(row)] = row
        mask[i, : len(row)] = 1
    device = next(model.parameters()).device
    given = {
        "input_ids": torch.from_numpy(ids).to(device),
        "attention_mask": torch.from_numpy(mask).to(device),
    }
    hidden = model(**given).last_hidden_state.float()
    weight = given["attention_mask"][..., None].to(hidden.dtype)
    mean: torch.Tensor = (hidden * weight).sum(1) / weight.sum(1)
    return mean


def by_length(tokens: Sequence[Sequence[int]], size: int) -> Iterator[list[int]]:
    """Rows in batches of like length, so that little is padding."""
    order = sorted(range(len(tokens)), key=lambda i: len(tokens[i]))
    for start in range(0, len(order), size):
        yield order[start : start + size]


@dataclass(frozen=True, slots=True)
class LoraModel:
    """The frozen tier and the adapter's say on top of it."""

    frozen: FrozenModel
    encoder: PairReader
    coef: Floats
    intercept: float
    version: str
    tier: Tier = field(default="lora", init=False)

    @property
    def pooling(self) -> Pooling:
        """As the frozen tier's."""
        return self.frozen.pooling

    def read(self, reactions: Sequence[Reaction]) -> tuple[Floats, Floats]:
        """Logits of shape (n,) and code scores of shape (n, 8)."""
        views = views_of(self.frozen.embedder, reactions)
        codes = PrototypeCoder(self.frozen.embedder).code_scores(views[:, 0], views[:, 2])
        logits = self.frozen.logits(views, raw_features(reactions))
        said = self.encoder.vectors(reactions, self.frozen.embedder.precision) @ self.coef
        return logits + said + self.intercept, codes

    def reading(self, groups: Iterable[Sequence[Reaction]]) -> AbstractContextManager[None]:
        """Within it these groups will be read, one after the other."""
        return self.frozen.embedder.engine.reading(self._plan(groups))

    def _plan(self, groups: Iterable[Sequence[Reaction]]) -> Iterator[Job]:
        embedder = self.frozen.embedder
        ahead, again = tee(groups)
        for group, views in zip(ahead, plan_views(embedder, again), strict=True):
            yield from views
            yield from self.encoder.plan(group, embedder.precision)


def lora_model(
    frozen: FrozenModel, encoder: PairReader, coef: Floats, intercept: float
) -> LoraModel:
    """A LoRA tier under the version that its adapter, its head and its frozen tier give it."""
    weights = [
        matrix.detach().cpu().numpy()
        for matrices in encoder.adapter.matrices.values()
        for matrix in matrices
    ]
    version = array_fingerprint([*weights, coef, np.array([intercept])], frozen.version)
    return LoraModel(frozen, encoder, coef, intercept, f"lora-{version}")


def attach_adapter(embedder: Embedder, folder: Path) -> PairReader:
    """The reader with the adapter of a PEFT folder; it brings no base of its own."""
    copy = shared_copy(embedder.folder, embedder.threads, "float32")
    adapter = read_plain_lora(folder, copy.paths)
    return PairReader(embedder, lambda: adapter)


@lru_cache(maxsize=2)
def shared_copy(folder: Path, threads: int, precision: Precision) -> MergedCopy:
    """The copy of an embedder's transformer that all of its judges in this process read with."""
    return MergedCopy(_base_in(folder, threads), precision == "bfloat16")


@lru_cache(maxsize=2)
def _tokenizer_in(folder: Path) -> Any:  # noqa: ANN401  # transformers has no types
    """The tokenizer of an embedder, 10 MB, once a process."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(folder))


def base_model(embedder: Embedder) -> Any:  # noqa: ANN401  # a transformers model, untyped
    """A fresh copy of the embedder's transformer, in float32."""
    return _base_in(embedder.folder, embedder.threads)


def _base_in(folder: Path, threads: int) -> Any:  # noqa: ANN401
    import torch
    from transformers import AutoModel
    from transformers.utils import logging

    logging.disable_progress_bar()
    torch.set_num_threads(threads)
    return AutoModel.from_pretrained(str(folder), dtype=torch.float32)
