"""Replies to several prompts at once, a token of each at a time.

Prompts as tokens in, texts out. The one idea is that company changes nothing: every row draws by a
seed of its own, and one that has ended makes room for the others.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from flywheel.models.constrained import Ids, Rows, common_start, read_shared


class Decoder(Protocol):
    """What turns tokens to text, and knows the tokens that end a turn."""

    @property
    def tokenizer(self) -> Any:  # noqa: ANN401
        """The model's tokenizer."""

    @property
    def ends(self) -> frozenset[int]:
        """The tokens that end the assistant's turn."""


class ReplyWriter:
    """Writes replies to a batch at a time; a row that has ended makes room for the others."""

    def __init__(
        self,
        host: Decoder,
        max_tokens: int,
        temperature: float,
        seed: int,
        stop: tuple[str, ...],
    ):
        self._host = host
        self._max_tokens = max_tokens
        self._temperature = temperature
        self._seed = seed
        self._stop = stop

    def write(self, model: Any, batch: Sequence[int], ids: Sequence[Ids]) -> list[str]:  # noqa: ANN401
        """The replies to the prompts `batch`, indices into `ids`."""
        import torch

        texts = [""] * len(batch)
        written: list[list[int]] = [[] for _ in batch]
        draws = [torch.Generator().manual_seed(_mixed(self._seed, index)) for index in batch]
        with torch.inference_mode():
            start = common_start([ids[index][:-1] for index in batch])
            rows = Rows(model, read_shared(model, start), len(start), len(batch))
            rows.extend([ids[index][len(start) :] for index in batch])
            alive = list(range(len(batch)))
            while alive:
                chosen = self._choose(rows.logits, [draws[row] for row in alive])
                going: list[int] = []
                for place, (row, token) in enumerate(zip(alive, chosen, strict=True)):
                    texts[row], has_ended = self._take(written[row], token)
                    if not has_ended:
                        going.append(place)
                if len(going) < len(alive):
                    rows.keep(going)
                alive = [alive[place] for place in going]
                if alive:
                    rows.extend([[written[row][-1]] for row in alive])
        return texts

    def _choose(self, logits: Any, draws: Sequence[Any]) -> list[int]:  # noqa: ANN401
        """A token a row."""
        import torch

        if not self._temperature:
            return [int(token) for token in logits.argmax(1)]
        odds = (logits / self._temperature).softmax(1).cpu()
        return [
            int(torch.multinomial(row, 1, generator=draw))
            for row, draw in zip(odds, draws, strict=True)
        ]

    def _take(self, written: list[int], token: int) -> tuple[str, bool]:
        """A row's text with this token, and whether it has come to its end."""
        has_ended = token in self._host.ends
        if not has_ended:
            written.append(token)
        text = str(self._host.tokenizer.decode(written, skip_special_tokens=True))
        cuts = [text.index(mark) for mark in self._stop if mark in text]
        if cuts:
            return text[: min(cuts)], True
        return text, has_ended or len(written) >= self._max_tokens


def _mixed(seed: int, index: int) -> int:
    """A seed for each prompt of a call, so that company changes no draw."""
    return int(np.random.SeedSequence([seed, index]).generate_state(1, np.uint64)[0] >> 1)
