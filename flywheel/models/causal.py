"""A causal model in this process as a chat model: any of Hugging Face's, an adapter on top or not.

Prompts in, answers out, a few at a time. The one idea is that what a trace says can only ever be
text: it is turned into tokens by itself, so that none of a chat template's own comes out of it.
"""

import json
import time
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from flywheel.errors import NeverWill
from flywheel.models.adapter_card import CARD
from flywheel.models.adapters import CONFIG_FILE
from flywheel.models.causal_host import BATCH_TOKENS, causal_folder, host_in, numbers_here
from flywheel.models.chat import Answer, Message, Prompt, ReplyShape
from flywheel.models.constrained import Ids, Rows, common_start, read_shared, write_replies
from flywheel.models.folders import adapter_name, weights_hash

# Goes up where replies are read in another way.
_READING = 2
# Beside the weights, what a reply depends on.
_FILES = (
    *("tokenizer.json", "tokenizer.model", "tokenizer_config.json"),
    *("chat_template.jinja", "config.json"),
)
# Prompts at once; fewer than where no reply has a form, for the likeliest branch is looked for.
_ROWS = 8


class LocalModel:
    """A causal model by its name on a hub, its folder, or SmolLM2 as `make smollm2` prepares it.

    `adapter` is the folder of a LoRA adapter, empty for none; all on one base share it. A prompt
    with more than `context_tokens` tokens, reply included, is not cut but answered as too long. An
    answer costs its share of the CPU time of this process while it was worked out.
    """

    def __init__(
        self,
        name: str,
        model: str,
        adapter: str = "",
        threads: int = 1,
        max_reply_tokens: int = 160,
        context_tokens: int = 8192,
        usd_per_cpu_hour: float = 0.0,
    ):
        self.name = name
        self.folder = causal_folder(model)
        self.adapter = Path(adapter) if adapter else None
        self.host = host_in(self.folder, threads)
        # Said when a day begins, and not in the middle of it.
        self.host.check(self.adapter)
        self.max_reply_tokens = max_reply_tokens
        self.context_tokens = context_tokens
        self.usd_per_cpu_hour = usd_per_cpu_hour
        self._shared: tuple[Ids, Any] = ((), None)
        read = sha256(json.dumps([_READING, max_reply_tokens, numbers_here()]).encode())
        files = [self.folder / file for file in _FILES]
        files += [self.adapter / name for name in (CONFIG_FILE, CARD)] if self.adapter else []
        for file in files:
            if file.is_file():
                read.update(file.read_bytes())
        parts = [Path(model).name, weights_hash(self.folder)[:12]]
        parts += [adapter_name(self.adapter)] if self.adapter else []
        self.version = "-".join([*parts, f"read-{read.hexdigest()[:6]}"])

    def answers(self, prompts: Sequence[Prompt]) -> Iterator[tuple[int, Answer]]:
        """The index of a prompt and its answer; the shorter ones first, a few at a time."""
        ids = [self._ids(prompt.messages) for prompt in prompts]
        limit = min(self.context_tokens, self.host.longest) - self.max_reply_tokens
        for index, each in enumerate(ids):
            if len(each) > limit:
                why = f"{len(each)} tokens, and {limit} fit in beside the reply"
                yield index, Answer("", failure="too_long", why=why)
        fitting = [index for index, each in enumerate(ids) if len(each) <= limit]
        for batch in _batches(fitting, prompts, ids, min(_ROWS, self.host.most_rows)):
            yield from self._answer(batch, prompts, ids)

    def _answer(
        self, batch: Sequence[int], prompts: Sequence[Prompt], ids: Sequence[Ids]
    ) -> Iterator[tuple[int, Answer]]:
        import torch

        shape = prompts[batch[0]].shape
        if not isinstance(shape, ReplyShape):
            raise NeverWill("a model in this process fills in verdicts only; ask an endpoint")
        began, cpu = time.perf_counter(), time.process_time()
        with self.host.using(self.adapter) as model, torch.inference_mode():
            start, memory = self._read_start(model, prompts[batch[0]], [ids[i] for i in batch])
            written = write_replies(
                Rows(model, memory, len(start), len(batch)),
                [ids[i][len(start) :] for i in batch],
                shape,
                self.host.tokenizer,
                self.max_reply_tokens,
            )
        each_ms = (time.perf_counter() - began) * 1000 / len(batch)
        each_usd = (time.process_time() - cpu) / 3600 * self.usd_per_cpu_hour / len(batch)
        for index, reply in zip(batch, written, strict=True):
            counts = len(ids[index]), reply.n_tokens
            yield index, Answer(reply.text, reply.probability, *counts, each_usd, each_ms)

    def _read_start(
        self,
        model: Any,  # noqa: ANN401  # transformers has no types
        prompt: Prompt,
        ids: Sequence[Ids],
    ) -> tuple[Ids, Any]:
        """What these prompts share, their first message, and the memory of having read it."""
        start = common_start([each[:-1] for each in ids])
        if prompt.messages[0].role == "system":
            alone = self._ids((prompt.messages[0], Message("user", "")))
            start = common_start([alone, start])
        if self._shared[1] is None or self._shared[0] != start:
            self._shared = start, read_shared(model, start)
        return self._shared

    def _ids(self, messages: Sequence[Message]) -> Ids:
        """The prompt's tokens; those of a message's text are never a template's."""
        turns = [{"role": message.role, "content": message.content} for message in messages]
        return self.host.prompt_ids(turns, self.adapter)


def _batches(
    indices: Sequence[int], prompts: Sequence[Prompt], ids: Sequence[Ids], most: int
) -> Iterator[list[int]]:
    """Prompts of one shape and of like length, at most so many, and no more than memory allows."""
    order = sorted(indices, key=lambda i: (str(prompts[i].shape), len(ids[i])))
    batch: list[int] = []
    for index in order:
        is_like = bool(batch) and prompts[batch[0]].shape == prompts[index].shape
        is_full = len(batch) == most or (len(batch) + 1) * len(ids[index]) > BATCH_TOKENS
        if batch and (is_full or not is_like):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
