"""Training beside TRL's SFTTrainer, and the judge's 700 traces: tokens and seconds of one CPU.

    python -m tests.bench.bench_training [N] [--tiny]

Prints a JSON line a contestant, each measured in a process of its own on the same data, base,
seed, rank, batches of 16, one epoch and numbers; the loss is that of the same validation rows, by
the same code. Both see N (64) questions of GSM8K; the base is SmolLM2-135M as `make smollm2`
prepares it, or with `--tiny` a Llama of some million random numbers. Tokens are those of the rows,
without padding. TRL is measured as it comes, and with rows of like length together. Budget: at
least as many tokens a CPU-second as TRL. Last the 700 traces of a set of labels, by all tiers of
the judge: at most 360 CPU-s. Data are in `FLYWHEEL_BENCH_DATA`.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.bench.machine import report, spent

SEED, RANK, RATE, BATCH, MAX_TOKENS = 0, 8, 3e-4, 16, 512
CONTESTANTS = ("flywheel", "trl", "trl, like lengths")
JUDGE_BUDGET_S = 360


def tasks() -> Path:
    return Path(os.environ["FLYWHEEL_BENCH_DATA"]) / "tasks"


def questions(name: str, n: int) -> list[dict[str, str]]:
    lines = (tasks() / name).read_text(encoding="utf-8").splitlines()[:n]
    return [json.loads(line) for line in lines]


def talk(row: dict[str, str]) -> list[dict[str, str]]:
    return [
        {"role": "user", "content": row["question"].strip()},
        {"role": "assistant", "content": row["answer"].strip()},
    ]


def examples(rows: list[dict[str, str]]) -> list[Any]:
    from flywheel.training.examples.example import ChatExample

    return [
        ChatExample(*(str(i), tuple(talk(row)), 1, 1.0, "accepted", "", "", str(i), "train", ()))
        for i, row in enumerate(rows)
    ]


def base_folder(folder: Path, is_tiny: bool) -> Path:
    from flywheel.models.smollm2 import checked_folder, prepared_folder

    if not is_tiny:
        return checked_folder()
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(SEED)
    sizes = {"hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 4}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 4, "vocab_size": 49152}
    config = AutoConfig.for_model("llama", **sizes, **heads, tie_word_embeddings=True)
    AutoModelForCausalLM.from_config(config).save_pretrained(str(folder))
    AutoTokenizer.from_pretrained(str(prepared_folder())).save_pretrained(str(folder))
    return folder


def train_here(n: int, is_tiny: bool, folder: Path) -> dict[str, object]:
    """By this project's own loop."""
    from flywheel.settings import TrainingSettings
    from flywheel.training.causal.base import open_base
    from flywheel.training.causal.beginning import begin, checks_of
    from flywheel.training.descent import descend
    from flywheel.training.examples.arms import arm_rows

    settings = TrainingSettings(rank=RANK, epochs=1, max_tokens=MAX_TOKENS, seed=SEED)
    opened = open_base(str(base_folder(folder, is_tiny)), 1, "bfloat16")
    rows = arm_rows(examples(questions("gsm8k_train_1000.jsonl", n)), "vanilla")
    held = examples(questions("gsm8k_test_500.jsonl", 32))
    checks = checks_of(opened, rows, held, settings)
    fitting = begin(opened, rows, checks, settings)
    learner = fitting.learner(RATE)
    from dataclasses import replace

    # Looks are left out: the other has none.
    course = replace(fitting.course, looks=())
    with spent() as took:
        descend(learner, course, opened.place, first_loss=fitting.base_loss)
    return figures(took, fitting.train.n_tokens, fitting.base_loss, learner.look()) | {
        "place": opened.place.words,
        "estimated_mb": round(fitting.memory.total_mb),
    }


def train_trl(n: int, is_tiny: bool, folder: Path, by_length: bool) -> dict[str, object]:
    """By TRL's SFTTrainer, as it comes but for what a CPU cannot do."""
    import datasets
    from peft import LoraConfig
    from transformers import PrinterCallback
    from trl import SFTConfig, SFTTrainer

    from flywheel.settings import TrainingSettings
    from flywheel.training.causal.base import open_base
    from flywheel.training.causal.beginning import checks_of
    from flywheel.training.causal.learner import CausalLearner
    from flywheel.training.causal.rows import rows_of
    from flywheel.training.examples.arms import arm_rows

    settings = TrainingSettings(rank=RANK, epochs=1, max_tokens=MAX_TOKENS, seed=SEED)
    opened = open_base(str(base_folder(folder, is_tiny)), 1, "bfloat16")
    given = questions("gsm8k_train_1000.jsonl", n)
    rows = arm_rows(examples(given), "vanilla")
    held = examples(questions("gsm8k_test_500.jsonl", 32))
    checks = checks_of(opened, rows, held, settings)
    base_loss = CausalLearner(opened.model, opened.place, (), checks, 0.0).look()
    sampling = {"train_sampling_strategy": "group_by_length"} if by_length else {}
    args = SFTConfig(
        output_dir=str(folder / "trl"),
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=opened.place.device.type == "cpu",
        bf16=opened.place.is_half,
        gradient_checkpointing=False,
        per_device_train_batch_size=BATCH,
        num_train_epochs=1,
        learning_rate=RATE,
        warmup_steps=max(1, n // BATCH // 10),
        max_length=MAX_TOKENS,
        completion_only_loss=True,
        seed=SEED,
        **sampling,
    )
    talks = [talk(row) for row in given]
    trainer = SFTTrainer(
        model=opened.model,
        args=args,
        train_dataset=datasets.Dataset.from_list(
            [{"prompt": each[:1], "completion": each[1:]} for each in talks]
        ),
        processing_class=opened.tokenizer,
        peft_config=LoraConfig(
            r=RANK, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"
        ),
    )
    trainer.remove_callback(PrinterCallback)
    with spent() as took:
        trainer.train()
    n_tokens = rows_of(rows.rows, opened.layout, MAX_TOKENS).n_tokens
    loss = CausalLearner(trainer.model, opened.place, (), checks, 0.0).look()
    return figures(took, n_tokens, base_loss, loss) | {"place": opened.place.words}


def figures(took: Any, n_tokens: int, base_loss: float, loss: float) -> dict[str, object]:
    return {
        "tokens": n_tokens,
        "tokens_a_cpu_s": round(n_tokens / took.cpu_s, 1),
        "cpu_s": took.cpu_s,
        "wall_s": took.wall_s,
        "peak_rss_mb": took.peak_rss_mb,
        "base_loss": round(base_loss, 4),
        "loss": round(loss, 4),
    }


def one(contestant: str, n: int, is_tiny: bool) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if contestant == "flywheel":
            found = train_here(n, is_tiny, folder)
        else:
            found = train_trl(n, is_tiny, folder, contestant.endswith("lengths"))
    base = "llama of 4 layers" if is_tiny else "SmolLM2-135M"
    report("training", contestant=contestant, base=base, rows=n, **found)


def judge() -> None:
    """All tiers of the judge, on 700 labelled traces, with the adapter."""
    from flywheel.models.embedder import BUNDLED, load_embedder
    from flywheel.settings import TrainingSettings
    from flywheel.traces.conversations import InputLevers
    from flywheel.traces.labelled import read_conversations
    from flywheel.training.fit import fit_judge

    path = Path(os.environ["FLYWHEEL_BENCH_DATA"]) / "labels" / "mwoz_train.jsonl"
    labelled = read_conversations(path, InputLevers()).labelled
    embedder = load_embedder(BUNDLED, 1)
    with spent() as took:
        _, found = fit_judge(labelled, [], embedder, InputLevers(), TrainingSettings())
    report(
        "training of the judge",
        traces=len(labelled),
        cpu_s=took.cpu_s,
        budget_cpu_s=JUDGE_BUDGET_S,
        adapter_cpu_s=round(found.lora.cpu_s, 1) if found.lora else None,
        auc_gain=round(found.lora.auc_gain, 4) if found.lora else None,
        best=found.best,
    )


def run() -> None:
    arguments = [each for each in sys.argv[1:] if not each.startswith("--")]
    flags = {each for each in sys.argv[1:] if each.startswith("--")}
    n = int(arguments[0]) if arguments else 64
    if "--one" in flags:
        one(arguments[1], n, "--tiny" in flags)
        return
    for contestant in CONTESTANTS:
        again = [sys.executable, "-m", "tests.bench.bench_training", str(n), contestant, "--one"]
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run([*again, *(flags & {"--tiny"})], check=True, env=env)
    judge()


if __name__ == "__main__":
    run()
