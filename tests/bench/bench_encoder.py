"""The encoder tiers beside the plain `transformers` pipeline, in one run: turns a second.

    FLYWHEEL_BENCH_DATA=FOLDER python -m tests.bench.bench_encoder [THREADS [JUDGE]]

Prints one JSON line a figure. Budget: at least 2 times the turns a second of the pipeline, aiming
at 3, with verdicts that agree on 99.5 %. An adapter is trained on 200 labelled traces of
`FOLDER/labels`, or read from the folder JUDGE of `flywheel training fit`. A pipeline reads its
merged export with its defaults and in batches of 32, and the LoRA tier's own pair encoder reads the
same pairs in float32 and, where the CPU has tiles for it, in bfloat16. All take turns, and ratios
are medians over the turns, so that a busy machine slows all alike. The whole LoRA tier (three
embeddings and a pair a turn) is timed beside them: on turns of which no text repeats, and on whole
sessions, whose texts are embedded once.
"""

import copy
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from peft import PeftModel
from transformers import AutoTokenizer, PreTrainedModel, pipeline
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.utils import logging

from flywheel.judge.files import load_judge
from flywheel.judge.judge import Judge
from flywheel.judge.lora import MAX_TOKENS, LoraModel, PairEncoder, base_model, shared_copy
from flywheel.judge.precision import in_precision
from flywheel.judge.prototypes import prototypes
from flywheel.judge.reactions import Floats, Reaction, reactions_of
from flywheel.models.adapters import quiet_peft
from flywheel.models.embedder import BUNDLED, Embedder, Vectors, load_embedder
from flywheel.models.engine import Precision, precision_here, token_batches, tokens_a_batch
from flywheel.records import LabelledConversation
from flywheel.settings import TrainingSettings
from flywheel.traces.conversations import InputLevers
from flywheel.traces.labelled import read_conversations
from flywheel.training.fit import fit_judge
from tests.bench.machine import report

LEVERS = InputLevers()
SETS = ("mwoz_train", "dbdc3_train")
N_TAUGHT, N_TIMED, N_COMPARED, TURNS = 100, 100, 1000, 5


class PairClassifier(PreTrainedModel):
    """What the LoRA tier adds to the frozen logit, as a model that a pipeline can run."""

    # Its only attention is that of the encoder inside.
    _supports_sdpa = True

    def __init__(self, lora: LoraModel):
        merged = merged_alone(lora)
        super().__init__(merged.config)
        self.encoder = merged
        self.head = torch.nn.Linear(len(lora.coef), 1)
        self.head.weight.data[:] = torch.from_numpy(lora.coef)[None].float()
        self.head.bias.data[:] = lora.intercept

    def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any = None):
        """Logits of shape (n, 1)."""
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask)
        weight = attention_mask[..., None].float()
        mean = (hidden.last_hidden_state * weight).sum(1) / weight.sum(1)
        return SequenceClassifierOutput(logits=self.head(mean))


@dataclass
class Reader:
    """One way to read, and what each turn of it took; `said` is what it said last."""

    name: str
    read: Callable[[], Floats]
    n: int
    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    said: Floats = field(default_factory=lambda: np.zeros(0))

    def take_turn(self) -> None:
        """Read once, on the clock."""
        wall, cpu = time.perf_counter(), time.process_time()
        self.said = self.read()
        self.wall_s.append(time.perf_counter() - wall)
        self.cpu_s.append(time.process_time() - cpu)

    def times(self, other: "Reader") -> dict[str, float]:
        """How many times the turns a second of `other`, by the clock and by the CPU's time."""

        def ratio(mine: Sequence[float], others: Sequence[float]) -> float:
            pairs = zip(mine, others, strict=True)
            return round(median(b / a for a, b in pairs) * self.n / other.n, 2)

        return {"wall": ratio(self.wall_s, other.wall_s), "cpu": ratio(self.cpu_s, other.cpu_s)}


def labelled() -> list[list[LabelledConversation]]:
    """The labelled traces of each file."""
    folder = Path(os.environ["FLYWHEEL_BENCH_DATA"]) / "labels"
    return [read_conversations(folder / f"{name}.jsonl", LEVERS).labelled for name in SETS]


def taught(threads: int) -> Judge:
    """A judge whose adapter was trained on 200 labelled traces."""
    rows = [row for file in labelled() for row in file[:N_TAUGHT]]
    embedder = load_embedder(BUNDLED, threads)
    judge, fitted = fit_judge(rows, [], embedder, LEVERS, TrainingSettings())
    assert fitted.lora is not None
    assert fitted.lora.epochs > 0, "the adapter adds nothing: nothing would be measured"
    return judge


def product_rate(dtype: torch.dtype) -> float:
    """Billions of floating-point operations a CPU-second of a square matrix product, best of six.

    By the CPU's time, as the shares of it are: other programs take from the clock.
    """
    a, b = (torch.randn(1536, 1536).to(dtype) for _ in range(2))
    seconds = []
    for _ in range(7):
        began = time.process_time()
        torch.mm(a, b)
        seconds.append(time.process_time() - began)
    return 2 * 1536**3 / min(seconds[1:]) / 1e9


def merged_alone(lora: LoraModel) -> Any:
    """The encoder with the adapter in its weights, in a copy that no other judge shares."""
    embedder = lora.frozen.embedder
    shared = shared_copy(embedder.folder, embedder.threads, "float32")
    with shared.holding(lora.encoder.adapter) as model:
        return copy.deepcopy(model)


def work_of(lora: LoraModel, lengths: Sequence[int]) -> float:
    """Billions of floating-point operations in the matrix products over rows of these lengths."""
    config = merged_alone(lora).config
    dim, inner = config.hidden_size, config.intermediate_size
    a_token = 2 * (4 * dim * dim + 2 * dim * inner)
    each = [n * a_token + 4 * n * n * dim for n in lengths]
    return config.num_hidden_layers * sum(each) / 1e9


def pair_readers(lora: LoraModel, pairs: Sequence[Reaction]) -> Iterator[Reader]:
    """The pipeline with its defaults and in batches, and the pair encoder in each precision."""
    tokenizer = AutoTokenizer.from_pretrained(str(lora.frozen.embedder.folder))
    plain = pipeline(
        "text-classification", PairClassifier(lora).eval(), tokenizer=tokenizer, device="cpu"
    )
    texts = [{"text": r.answer, "text_pair": r.text} for r in pairs]

    def by_pipeline(**batching: int) -> Floats:
        given = {"truncation": "longest_first", "max_length": MAX_TOKENS}
        found = plain(texts, function_to_apply="none", **given, **batching)
        return np.array([row["score"] for row in found])

    yield Reader("pipeline", by_pipeline, len(pairs))
    yield Reader("pipeline, batches of 32", lambda: by_pipeline(batch_size=32), len(pairs))
    for precision in precisions():
        yield Reader(
            f"pair encoder, {precision}",
            lambda p=precision: lora.encoder.vectors(pairs, p) @ lora.coef + lora.intercept,
            len(pairs),
        )


def view_readers(lora: LoraModel, reactions: Sequence[Reaction]) -> Iterator[Reader]:
    """The three embeddings a turn: as sentence-transformers batches them, and as here."""
    texts = [text for r in reactions for text in (r.text, r.answer, r.request)]
    model = lora.frozen.embedder.model()

    def plain() -> Floats:
        model.encode(texts, batch_size=32, normalize_embeddings=True, show_progress_bar=False)
        return np.zeros(0)

    yield Reader("three embeddings, sentence-transformers", plain, len(reactions))
    for precision in precisions():
        embedder = lora.frozen.embedder.in_precision(precision)

        def ours(embedder: Embedder = embedder) -> Floats:
            embedder._cache.clear()
            embedder.encode(texts)
            return np.zeros(0)

        yield Reader(f"three embeddings, {precision}", ours, len(reactions))


def tier_readers(judge: Judge, name: str, reactions: Sequence[Reaction]) -> Iterator[Reader]:
    """The whole LoRA tier in each precision, its embedder remembering nothing from before."""
    for precision in precisions():
        lora = lora_of(judge, precision)
        embedder = lora.frozen.embedder
        embedder._cache.clear()
        # Those are embedded once a process.
        embedder.encode([text for _, text in prototypes()])
        kept = dict(embedder._cache)

        def read(lora: LoraModel = lora, kept: dict[bytes, Vectors] = kept) -> Floats:
            lora.frozen.embedder._cache = dict(kept)
            return lora.read(reactions)[0]

        yield Reader(f"lora tier, {name}, {precision}", read, len(reactions))


def precisions() -> list[Precision]:
    """Those that this machine reads in."""
    return ["float32", "bfloat16"] if precision_here("bfloat16") == "bfloat16" else ["float32"]


def lora_of(judge: Judge, precision: Precision) -> LoraModel:
    """The LoRA tier in this precision."""
    model = in_precision(judge, precision).models["lora"]
    assert isinstance(model, LoraModel)
    return model


def distinct(reactions: Sequence[Reaction], n: int) -> list[Reaction]:
    """`n` reactions, none of whose texts another one has."""
    seen: set[str] = set()
    chosen = []
    for i in np.random.default_rng(0).permutation(len(reactions)):
        texts = {reactions[i].text, reactions[i].answer, reactions[i].request}
        if not texts & seen:
            chosen.append(reactions[i])
            seen |= texts
    return chosen[:n]


def measure_speed(judge: Judge, reactions: Sequence[Reaction]) -> None:
    """All readers take turns; a line each, its ratios to both ways of running the pipeline."""
    lora = lora_of(judge, "float32")
    pairs = distinct(reactions, N_TIMED)
    lengths = [len(row) for row in lora.encoder.tokens(pairs)]
    readers = list(pair_readers(lora, pairs))
    readers += view_readers(lora, pairs)
    readers += tier_readers(judge, "no text twice", pairs)
    readers += tier_readers(judge, "whole sessions", reactions[:N_TIMED])
    for reader in readers:
        reader.read()
    rates = []
    for _ in range(TURNS):
        rates.append((product_rate(torch.float32), product_rate(torch.bfloat16)))
        for reader in readers:
            reader.take_turn()
    rate, rate_in_bfloat16 = (median(column) for column in zip(*rates, strict=True))
    work = work_of(lora, lengths)
    budget = tokens_a_batch(torch.zeros(1))
    padded = sum(
        len(rows) * max(lengths[i] for i in rows) for rows in token_batches(lengths, budget)
    )
    report(
        "encoder",
        stage="matrix products",
        threads=torch.get_num_threads(),
        gflop_a_cpu_s_float32=round(rate, 1),
        gflop_a_cpu_s_bfloat16=round(rate_in_bfloat16, 1),
        pairs=len(pairs),
        tokens_a_pair=round(float(np.mean(lengths)), 1),
        gflop_a_pair=round(work / len(pairs), 3),
        padding=round(padded / sum(lengths) - 1, 3),
    )
    for reader in readers:
        is_pair = len(reader.said) and not reader.name.startswith("lora tier")
        cpu_s = median(reader.cpu_s)
        report(
            "encoder",
            reader=reader.name,
            threads=torch.get_num_threads(),
            turns_per_s=round(reader.n / median(reader.wall_s), 1),
            turns_per_cpu_s=round(reader.n / cpu_s, 1),
            times_pipeline=reader.times(readers[0]),
            times_pipeline_in_batches=reader.times(readers[1]),
            share_of_float32_products=round(work / cpu_s / rate, 3) if is_pair else None,
            logit_apart=float(np.abs(reader.said - readers[0].said).max()) if is_pair else None,
        )


def measure_agreement(judge: Judge, reactions: Sequence[Reaction]) -> None:
    """The verdicts of the whole tier in each precision against the adapter left unmerged."""
    drawn = np.random.default_rng(1).permutation(len(reactions))[:N_COMPARED]
    chosen = [reactions[i] for i in drawn]
    lora = lora_of(judge, "float32")
    plain = unmerged(lora, chosen)
    calibration = judge.calibrations["lora"]
    for precision in precisions():
        said = lora_of(judge, precision).read(chosen)[0]
        p, q = (calibration.probability(logits, np.zeros(len(said))) for logits in (said, plain))
        report(
            "encoder",
            stage="agreement with the adapter unmerged, in float32, a turn at a time",
            precision=precision,
            turns=len(chosen),
            errors=int((q >= 0.5).sum()),
            agree=round(float(((p >= 0.5) == (q >= 0.5)).mean()), 4),
            disagree=int(((p >= 0.5) != (q >= 0.5)).sum()),
            logit_apart=float(np.abs(said - plain).max()),
            probability_apart=float(np.abs(p - q).max()),
            logit_deviation=round(float(plain.std()), 3),
            adapter_deviation=round(float(adapter_say(lora, chosen).std()), 3),
        )


def unmerged(lora: LoraModel, reactions: Sequence[Reaction]) -> Floats:
    """The tier's logits with the adapter beside the base, each pair read by itself."""
    embedder = lora.frozen.embedder
    with TemporaryDirectory() as made, quiet_peft():
        lora.encoder.save(Path(made))
        beside = PeftModel.from_pretrained(base_model(embedder), made).eval()
    encoder = PairEncoder(embedder, beside)
    with torch.inference_mode():
        pooled = [encoder.pooled([row])[0] for row in encoder.tokens(reactions)]
    said = torch.stack(pooled).double().numpy() @ lora.coef + lora.intercept
    return said + lora.frozen.read(reactions)[0]


def adapter_say(lora: LoraModel, reactions: Sequence[Reaction]) -> Floats:
    """What the adapter adds to the frozen logits."""
    return lora.encoder.vectors(reactions) @ lora.coef + lora.intercept


def main(threads: int, folder: Path | None) -> None:
    """Train or load, then time, then compare."""
    if not os.environ.get("FLYWHEEL_BENCH_DATA"):
        sys.exit("skipped: set FLYWHEEL_BENCH_DATA to a folder with labels/*_train.jsonl")
    logging.set_verbosity_error()
    torch.set_num_threads(threads)
    judge = load_judge(folder, load_embedder(BUNDLED, threads)) if folder else taught(threads)
    # The adapter never saw these.
    unseen = [row.conversation for file in labelled() for row in file[N_TAUGHT:]]
    reactions = reactions_of(unseen)
    measure_speed(judge, reactions)
    measure_agreement(judge, reactions)


if __name__ == "__main__":
    main(
        int(sys.argv[1]) if len(sys.argv) > 1 else 1,
        Path(sys.argv[2]) if len(sys.argv) > 2 else None,
    )
