"""One causal model in memory, for all who ask it, each with an adapter of its own or with none.

Conversations in, replies or log probabilities out. The one idea is that the base is loaded once a
process, and that whoever asks says with which adapter; asking again gives the same again.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, lru_cache
from pathlib import Path
from threading import RLock
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from flywheel.errors import BadArtifact, BadInput
from flywheel.models.adapter_card import AdapterCard, read_card, require_base
from flywheel.models.adapters import AdapterSwitch
from flywheel.models.chat_layout import ChatLayout, LaidOut
from flywheel.models.constrained import Ids
from flywheel.models.decoding import ReplyWriter
from flywheel.models.folders import folder_of
from flywheel.models.smollm2 import NAME, ORGANISATION, checked_folder, is_prepared

Message = Mapping[str, object]
# Prompts at once: decoding gains from company, and reading hardly does.
MOST_ROWS = 16
# Tokens of all rows of a batch together: 46 kB each with the bundled model, more with larger ones.
BATCH_TOKENS = 20_000
# Learnt tokens whose odds are in memory at once; 512 of 49,152 words are 100 MB.
_ODDS = 512


class Learnable(Protocol):
    """A conversation, and where its context ends: what comes after is the assistant's to write."""

    @property
    def messages(self) -> Sequence[Message]:
        """In OpenAI's shape."""

    @property
    def n_context(self) -> int:
        """How many of the messages are context."""

    @property
    def tools(self) -> Sequence[object]:
        """Those on offer, in OpenAI's shape."""


class CausalHost:
    """A causal model of a folder, and the adapters that are used on it.

    Whoever needs several calls with one adapter holds `using`; others wait.
    """

    def __init__(self, folder: Path, threads: int = 1):
        self.folder = folder
        self.threads = threads
        self._lock = RLock()
        self._cards: dict[Path | None, AdapterCard | None] = {}

    @contextmanager
    def using(self, adapter: Path | None) -> Iterator[Any]:
        """The model, for nobody else meanwhile, with the adapter of a folder or without one.

        Raises BadArtifact where the folder holds no adapter of this model.
        """
        with self._lock:
            self._card(adapter)
            self._switch.use(adapter)
            yield self.model

    def check(self, adapter: Path | None) -> None:
        """Raise BadArtifact where an adapter has lost its card, or is of another base."""
        self._card(adapter)

    def use(self, adapter: Path | None) -> None:
        """Put an adapter to work for the calls that follow; for who is alone with this host."""
        with self.using(adapter):
            pass

    def generate(
        self,
        prompts: Sequence[Sequence[Message]],
        max_tokens: int,
        temperature: float = 0.0,
        seed: int = 0,
        stop: Sequence[str] = (),
        tools: Sequence[object] | None = None,
    ) -> list[str]:
        """What the assistant says next in each conversation, in their order.

        At temperature 0 the likeliest token each time; above it, prompt `i` is drawn by the numbers
        of `(seed, i)`, whatever stands beside it. A reply ends before the first of `stop`, at the
        end of the turn, or after `max_tokens`. Raises BadInput where a prompt is longer than the
        model's memory.
        """
        with self._lock:
            adapter = self._switch.current
            ids = [self.prompt_ids(messages, adapter, tools) for messages in prompts]
        limit = self.longest - max_tokens
        for index, each in enumerate(ids):
            if len(each) > limit:
                raise BadInput(
                    f"prompt {index} has {len(each)} tokens, and {limit} fit in beside the reply"
                )
        replies = [""] * len(ids)
        writer = ReplyWriter(self, max_tokens, temperature, seed, tuple(stop))
        for batch in _batches(ids, self.most_rows):
            with self.using(adapter) as model:
                written = writer.write(model, batch, ids)
            for index, text in zip(batch, written, strict=True):
                replies[index] = text
        return replies

    def log_probabilities(self, examples: Sequence[Learnable]) -> NDArray[np.float64]:
        """Mean log probability of a learnt token, shape (n,); NaN where there is none.

        With the good tag of the adapter in use, as the model is asked.
        """
        import torch

        found = np.full(len(examples), np.nan)
        for row, example in enumerate(examples):
            with self._lock, torch.inference_mode():
                messages = self.tagged(example.messages, self._switch.current, example.n_context)
                found[row] = self._mean(
                    self.layout.example(messages, example.n_context, example.tools)
                )
        return found

    def _mean(self, laid: LaidOut) -> float:
        """Mean log probability of the learnt tokens, by the adapter in use."""
        import torch

        # A token's odds are those behind the token before it.
        places = [place - 1 for place, learnt in enumerate(laid.is_learnt) if learnt and place]
        tokens = torch.tensor([laid.ids], device=self.model.device)
        total = 0.0
        for start in range(0, len(places), _ODDS):
            some = torch.tensor(places[start : start + _ODDS], device=tokens.device)
            logits = self.model(input_ids=tokens, logits_to_keep=some, use_cache=False).logits
            odds = logits[0].float().log_softmax(-1)
            total += float(odds.gather(1, tokens[0, some + 1][:, None]).double().sum())
        return total / len(places) if places else float("nan")

    def prompt_ids(
        self,
        messages: Sequence[Message],
        adapter: Path | None = None,
        tools: Sequence[object] | None = None,
    ) -> Ids:
        """The tokens that the model is asked with under this adapter, its good tag included."""
        return self.layout.prompt(self.tagged(messages, adapter), tools or ())

    def tagged(
        self, messages: Sequence[Message], adapter: Path | None, n_context: int | None = None
    ) -> Sequence[Message]:
        """The messages as an adapter was trained on them: with its good tag, where it has one.

        Raises BadArtifact where its card is lost, or is of another base.
        """
        card = self._card(adapter)
        if card is None or card.tag is None:
            return messages
        if adapter is None:
            # The chat template of a merged model writes its tag itself.
            return [card.tag.without_tags(message) for message in messages]
        return card.tag.apply(messages, card.tag.good_class, n_context)

    def _card(self, adapter: Path | None) -> AdapterCard | None:
        """The card of an adapter, or that of the model itself, which one was merged into."""
        if adapter not in self._cards:
            card = read_card(adapter or self.folder)
            if card is not None and adapter is not None:
                require_base(card, adapter, self.folder)
            self._cards[adapter] = card
        return self._cards[adapter]

    @cached_property
    def tokenizer(self) -> Any:  # noqa: ANN401  # transformers has no types
        """The model's tokenizer."""
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(
            str(self.folder), trust_remote_code=False, local_files_only=True
        )

    @cached_property
    def layout(self) -> ChatLayout:
        """How conversations become this model's tokens."""
        return ChatLayout(self.tokenizer)

    @property
    def model(self) -> Any:  # noqa: ANN401  # transformers has no types
        """The model as it is now, with the adapter that is in use."""
        return self._switch.model

    @cached_property
    def _switch(self) -> AdapterSwitch:
        import torch
        from transformers import AutoModelForCausalLM
        from transformers.utils import logging

        logging.disable_progress_bar()
        torch.set_num_threads(self.threads)
        try:
            model = AutoModelForCausalLM.from_pretrained(
                str(self.folder),
                dtype=numbers_here(),
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
            )
        except (OSError, ValueError, KeyError) as error:
            raise BadArtifact(f"{self.folder} holds no causal model: {error}") from error
        if getattr(model, "_is_stateful", False):
            raise BadArtifact(
                f"{self.folder} holds a model that keeps one state of all that it has read, which "
                "several prompts cannot share; name one with attention"
            )
        return AdapterSwitch(model.eval().to("cuda" if torch.cuda.is_available() else "cpu"))

    @cached_property
    def most_rows(self) -> int:
        """How many prompts it reads at once: one, where padding would count into its window."""
        from transformers import DynamicCache

        layers = DynamicCache(config=self.model.config).layers
        return 1 if any(getattr(layer, "is_sliding", False) for layer in layers) else MOST_ROWS

    @cached_property
    def longest(self) -> int:
        """The tokens that the model can hold in mind."""
        return int(getattr(self.model.config, "max_position_embeddings", 0) or 1_000_000)

    @cached_property
    def ends(self) -> frozenset[int]:
        """The tokens that end the assistant's turn."""
        named = getattr(self.model.generation_config, "eos_token_id", None)
        ids = named if isinstance(named, list) else [named]
        return self.layout.ends | {int(token) for token in ids if token is not None}


@lru_cache(maxsize=2)
def host_in(folder: Path, threads: int = 1) -> CausalHost:
    """The host of the causal model in a folder; the same for the whole process."""
    return CausalHost(folder, threads)


def causal_folder(name: str) -> Path:
    """The folder of a causal model: SmolLM2 as it was prepared, a folder, or a hub's local copy.

    Raises NotFound where the name is none of these and cannot be fetched.
    """
    if name in (NAME, f"{ORGANISATION}/{NAME}") and is_prepared():
        return checked_folder()
    return folder_of("causal model", name, [NAME + ", after `make smollm2`"], ORGANISATION)


def numbers_here() -> str:
    """Which numbers a model is run in: those of its files on a GPU, which its config names.

    Without bf16 in hardware, a CPU is 60 times slower in it.
    """
    import torch

    return "auto" if torch.cuda.is_available() else "float32"


def _batches(ids: Sequence[Ids], most: int) -> Iterator[list[int]]:
    """Prompts of like length, the shorter ones first, and no more at once than memory allows."""
    batch: list[int] = []
    for index in sorted(range(len(ids)), key=lambda i: len(ids[i])):
        if batch and (len(batch) == most or (len(batch) + 1) * len(ids[index]) > BATCH_TOKENS):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
