"""A Llama of a few million parameters, pretrained here on the language of some conversations.

Conversations in, a folder out that any name of a causal model may stand for: weights in
safetensors, a tokenizer with a chat template, nothing that was downloaded.
"""

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

Message = Mapping[str, object]

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_SPECIAL = ["<|im_start|>", "<|im_end|>", "<|pad|>"]


def make_tokenizer(texts: Sequence[str], words: int = 512) -> Any:
    """A byte-level BPE whose digits are tokens of their own."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(False)]
    )
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=words, special_tokens=_SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token="<|im_end|>",
        pad_token="<|pad|>",
        chat_template=TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def pretrain(
    folder: Path,
    conversations: Sequence[Sequence[Message]],
    *,
    hidden: int = 256,
    layers: int = 4,
    seed: int = 0,
    batch: int = 16,
    rate: float = 1e-3,
) -> dict[str, object]:
    """Train a new Llama on every token of the conversations, once, and save it in `folder`."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from flywheel.models.chat_layout import ChatLayout
    from flywheel.models.tool_text import calls_of, text_of, write_reply

    began = time.process_time()
    torch.manual_seed(seed)
    texts = [write_reply(text_of(m), calls_of(m)) for c in conversations[:5_000] for m in c]
    tokenizer = make_tokenizer(texts)
    layout = ChatLayout(tokenizer)
    rows = [list(layout.example(c, 0).ids) for c in conversations]
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=hidden * 8 // 3 // 16 * 16,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 64,
        num_key_value_heads=hidden // 64,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.95), weight_decay=0.1)
    batches = list(_batches(rows, batch, seed))
    warm = max(1, len(batches) // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda s: min(1.0, (s + 1) / warm) * max(0.05, 1 - s / len(batches))
    )
    losses = []
    for some in batches:
        length = max(len(rows[i]) for i in some)
        ids = torch.full((len(some), length), int(config.pad_token_id))
        for place, i in enumerate(some):
            ids[place, : len(rows[i])] = torch.tensor(rows[i])
        labels = ids.masked_fill(ids == int(config.pad_token_id), -100)
        loss = model(input_ids=ids, attention_mask=(labels != -100).long(), labels=labels).loss
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        losses.append(float(loss.detach()))
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "tokens": sum(map(len, rows)),
        "steps": len(batches),
        "loss_at_the_end": round(sum(losses[-50:]) / len(losses[-50:]), 3),
        "cpu_s": round(time.process_time() - began, 1),
    }


def _batches(rows: Sequence[Sequence[int]], size: int, seed: int) -> Iterator[list[int]]:
    """Rows of like length together, the batches in random order."""
    rng = random.Random(seed)
    order = list(range(len(rows)))
    rng.shuffle(order)
    batches = []
    for start in range(0, len(order), size * 32):
        part = sorted(order[start : start + size * 32], key=lambda i: len(rows[i]))
        batches += [part[i : i + size] for i in range(0, len(part), size)]
    rng.shuffle(batches)
    yield from batches
