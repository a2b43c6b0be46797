"""Replies that are the JSON asked for by construction: a causal model only fills the gaps.

Token ids of prompts in, replies out. The fixed parts of the JSON are written for the model; at the
label and at the code it chooses among what is allowed, and only the reason is free. Prompts begin
alike, so what they share is read once, and several go on from there side by side.
"""

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flywheel.models.chat import ReplyShape

Ids = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Written:
    """A reply as JSON, the probability of `true` against `false`, and how many tokens it has."""

    text: str
    probability: float
    n_tokens: int


class Rows:
    """Several sequences in a model's memory, of different lengths, that grow side by side.

    All begin with `shared`, whose keys and values are copied and not worked out again.
    """

    def __init__(self, model: Any, shared: Any, n_shared: int, n: int):  # noqa: ANN401  # transformers has no types
        import torch

        self._model = model
        self._memory = copy.deepcopy(shared)
        if n_shared:
            self._memory.batch_repeat_interleave(n)
        device = model.device
        self._mask = torch.ones((n, n_shared), dtype=torch.long, device=device)
        self._lengths = torch.full((n, 1), n_shared, dtype=torch.long, device=device)
        self.logits = torch.zeros((n, 0), device=device)

    def extend(self, tokens: Sequence[Sequence[int]]) -> None:
        """Add tokens to each row, none where its list is empty.

        `logits`, float32 of shape (n, vocabulary), are then those behind each row's last token.
        """
        import torch

        width = max(len(row) for row in tokens)
        grown = torch.tensor([len(row) > 0 for row in tokens])
        # Padding stands on the left, so that every row's last token is in the last column.
        ids = torch.tensor([[0] * (width - len(row)) + list(row) for row in tokens])
        real = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in tokens])
        ids, real, grown = (each.to(self._mask.device) for each in (ids, real, grown))
        positions = self._lengths + real.cumsum(1) - 1
        self._mask = torch.cat([self._mask, real], dim=1)
        self._lengths = self._lengths + real.sum(1, keepdim=True)
        out = self._model(
            input_ids=ids,
            attention_mask=self._mask,
            position_ids=positions.clamp(min=0),
            past_key_values=self._memory,
            use_cache=True,
            logits_to_keep=1,
        )
        fresh = out.logits[:, -1].float()
        is_first = self.logits.shape[1] == 0
        self.logits = fresh if is_first else torch.where(grown[:, None], fresh, self.logits)

    def keep(self, rows: Sequence[int]) -> None:
        """Let go of all rows but these."""
        import torch

        chosen = torch.tensor(rows, device=self._mask.device, dtype=torch.long)
        self._memory.batch_select_indices(chosen)
        self._mask, self._lengths = self._mask[chosen], self._lengths[chosen]
        self.logits = self.logits[chosen]


def read_shared(model: Any, ids: Ids) -> Any:  # noqa: ANN401  # transformers has no types
    """The memory of a model that has read `ids`, for `Rows`."""
    import torch
    from transformers import DynamicCache

    memory = DynamicCache(config=model.config)
    if ids:
        tokens = torch.tensor([ids], device=model.device)
        model(input_ids=tokens, past_key_values=memory, use_cache=True, logits_to_keep=1)
    return memory


def write_replies(
    rows: Rows,
    prompts: Sequence[Ids],
    shape: ReplyShape,
    tokenizer: Any,  # noqa: ANN401
    max_reason_tokens: int,
) -> list[Written]:
    """One reply a row; `prompts` are what each row has still to read."""

    def ids_of(text: str) -> Ids:
        return tuple(tokenizer.encode(text, add_special_tokens=False))

    opening, before_code, before_reason = (
        ids_of(text) for text in (f'{{"{shape.label}":', ', "reason_code": "', '", "reason": "')
    )
    unread = [[*prompt, *opening] for prompt in prompts]
    labels = {"true": ids_of(" true"), "false": ids_of(" false")}
    chosen = _choose(rows, unread, [labels] * len(prompts))
    codes: list[str] = []
    if shape.codes:
        allowed = [shape.codes_with(label == "true") for label, _ in chosen]
        # With what follows a code, none is the beginning of another.
        options = [
            {code: (*before_code, *ids_of(code), *before_reason) for code in some}
            for some in allowed
        ]
        codes = [code for code, _ in _choose(rows, unread, options)]
    else:
        for row in unread:
            row += ids_of(', "reason": "')
    reasons = _write_reasons(rows, unread, shape, tokenizer, max_reason_tokens)
    written = []
    for number, ((label, probability), (reason, n_tokens)) in enumerate(
        zip(chosen, reasons, strict=True)
    ):
        reply: dict[str, object] = {shape.label: label == "true"}
        if codes:
            reply["reason_code"] = codes[number]
        text = json.dumps(reply | {"reason": reason}, ensure_ascii=False)
        of_true = probability if label == "true" else 1 - probability
        written.append(Written(text, of_true, n_tokens))
    return written


def _choose(
    rows: Rows, unread: list[list[int]], options: Sequence[Mapping[str, Ids]]
) -> list[tuple[str, float]]:
    """The option of each row, and its probability among them: the likeliest branch at each fork.

    `unread` are the tokens that each row has before it, and then those that it has come to.
    """
    paths: list[Ids] = [()] * len(unread)
    shares = [1.0] * len(unread)
    while True:
        forks: dict[int, list[int]] = {}
        for row, some in enumerate(options):
            left = [ids for ids in some.values() if ids[: len(paths[row])] == paths[row]]
            common = common_start(left)[len(paths[row]) :]
            unread[row] += common
            paths[row] += common
            if len(left) > 1:
                forks[row] = sorted({ids[len(paths[row])] for ids in left})
        if not forks:
            break
        rows.extend([tokens if row in forks else () for row, tokens in enumerate(unread)])
        for row, branches in forks.items():
            odds = rows.logits[row, branches].softmax(0)
            best = int(odds.argmax())
            shares[row] *= float(odds[best])
            paths[row] += (branches[best],)
            unread[row] = [branches[best]]
    return [
        (next(name for name, ids in some.items() if ids == path), share)
        for some, path, share in zip(options, paths, shares, strict=True)
    ]


def common_start(several: Sequence[Ids]) -> Ids:
    """The tokens that all of them begin with."""
    shortest = min(several, key=len)
    for place, token in enumerate(shortest):
        if any(ids[place] != token for ids in several):
            return shortest[:place]
    return shortest


def _write_reasons(
    rows: Rows,
    unread: list[list[int]],
    shape: ReplyShape,
    tokenizer: Any,  # noqa: ANN401
    max_tokens: int,
) -> list[tuple[str, int]]:
    """The likeliest words of each row up to a quotation mark, and how many tokens they are."""
    texts = [""] * len(unread)
    written: list[list[int]] = [[] for _ in unread]
    stops = set(tokenizer.all_special_ids)
    still = set(range(len(unread)))
    while still:
        rows.extend([tokens if row in still else () for row, tokens in enumerate(unread)])
        best = rows.logits.argmax(1).tolist()
        for row in sorted(still):
            written[row].append(best[row])
            unread[row] = [best[row]]
            text = tokenizer.decode(written[row], skip_special_tokens=True)
            texts[row], quotation_mark, _ = text.partition('"')
            is_long = len(written[row]) >= max_tokens or len(text) >= shape.max_reason_chars
            if quotation_mark or is_long or best[row] in stops:
                still.remove(row)
    # A cut may fall into the middle of a letter.
    reasons = (text.strip().rstrip("\\\ufffd")[: shape.max_reason_chars] for text in texts)
    return [(reason, len(ids)) for reason, ids in zip(reasons, written, strict=True)]
