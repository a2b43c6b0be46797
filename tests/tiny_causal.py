"""A causal model of some ten thousand numbers that was never trained, for tests of training."""

from collections.abc import Mapping
from pathlib import Path

from flywheel.training.examples.example import ChatExample
from tests.test_chat_layout import CHATML, tokenizer_of

N_WORDS = 272
FIELDS: Mapping[str, object] = {
    "vocab_size": N_WORDS,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}


def write_tiny(folder: Path, kind: str = "llama", **fields: object) -> Path:
    """A model of this kind with random weights, and a tokenizer of bytes with ChatML."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **{**FIELDS, **fields})
    made = AutoModelForCausalLM.from_config(config)
    for matrix in made.parameters():
        # As it is initialised, every token is as likely as any other.
        if matrix.dim() > 1:
            torch.nn.init.normal_(matrix, std=0.3)
    made.save_pretrained(str(folder))
    tokenizer = tokenizer_of("chatml")
    assert tokenizer.chat_template == CHATML
    tokenizer.save_pretrained(str(folder))
    return folder


def example(
    number: int, reply: str = "", is_good: bool = True, n_words: int = 0, pair_id: str = ""
) -> ChatExample:
    """Asked for a colour and answered with it, or not."""
    colour = ("red", "blue", "green")[number % 3]
    question = f"{number} {colour}?" + " please" * n_words
    return ChatExample(
        f"e{number}{'' if is_good else '-bad'}",
        (
            {"role": "user", "content": question},
            {"role": "assistant", "content": reply or (colour if is_good else "no idea")},
        ),
        1,
        1.0 if is_good else 0.0,
        "correction" if is_good else "failed",
        "somebody",
        "colours",
        f"s{number}",
        "train",
        (number,),
        pair_id,
    )


def examples(n: int, first: int = 0) -> list[ChatExample]:
    """Good ones, of different lengths."""
    return [example(i, n_words=i % 5) for i in range(first, first + n)]
