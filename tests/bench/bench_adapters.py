"""Several judges on one base: memory, switching, and a mixed day by adapter against as it comes.

    python -m tests.bench.bench_adapters [JUDGES...]

Prints one JSON line a figure, for 1, 4 and 16 judges where no numbers are given; each count in a
process of its own, so that its memory is its own. Every judge is an adapter of rank 8 on all linear
layers of the bundled encoder, of random weights: it takes no less time for being untrained.
`one_base` is how judges are loaded here, `copy_each` a base and a merged copy a judge, `beside` the
adapters beside one base as PEFT switches them. A mixed day has the same reactions for each judge;
`unordered` reads them one by one in turn. Budget: 16 judges in at most a tenth of the memory of 16
copies, and an ordered day at the pace of a single judge.
"""

import copy
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model

from flywheel.judge.lora import PairEncoder, PairReader, attach_adapter, base_model, shared_copy
from flywheel.judge.reactions import Reaction
from flywheel.models.adapters import AdapterSwitch, quiet_peft
from flywheel.models.embedder import Embedder, load_embedder
from tests.bench.machine import report

COUNTS = (1, 4, 16)
# Reactions a judge, of about 40 tokens each.
N_READ = 64
SWITCHES = 20
SPOKEN = "the order was sent to a wrong place and I want another one please look it up again"
WORDS = np.array(SPOKEN.split())


def write_adapters(embedder: Embedder, folder: Path, n: int) -> list[Path]:
    """`n` adapters of random weights."""
    model = base_model(embedder)
    config = LoraConfig(r=8, lora_alpha=32, target_modules="all-linear")
    with quiet_peft():
        made = get_peft_model(model, config)
    for number in range(n):
        torch.manual_seed(number)
        for name, weight in made.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.02)
        made.save_pretrained(str(folder / str(number)))
    return [folder / str(number) for number in range(n)]


def reactions(n: int) -> list[Reaction]:
    """Made-up reactions, no two alike."""
    draw = np.random.default_rng(0)
    return [
        Reaction(i, 2, *(" ".join(draw.choice(WORDS, 18)) + f" {i}" for _ in range(3)))
        for i in range(n)
    ]


def resident_mb() -> float:
    """Memory that the process holds now, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """CPU and wall seconds."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - cpu, time.perf_counter() - wall


def one_base(embedder: Embedder, folders: Sequence[Path]) -> None:
    """As the product does it."""
    before = resident_mb()
    readers: list[PairReader] = []
    loading, _ = timed(lambda: readers.extend(attach_adapter(embedder, f) for f in folders))
    rows = reactions(N_READ)
    first = [reader.vectors(rows[:2]) for reader in readers]
    held = resident_mb() - before
    again = [reader.vectors(rows[:2]) for reader in readers]
    n = len(readers)
    shared = shared_copy(embedder.folder, embedder.threads, "float32")
    report(
        "adapters_one_base",
        judges=n,
        memory_mb=round(held, 1),
        load_cpu_s=round(loading, 3),
        is_bit_identical=all(np.array_equal(a, b) for a, b in zip(first, again, strict=True)),
    )
    if n > 1:
        cpu, wall = timed(lambda: _switch(shared, readers))
        report(
            "adapters_switch",
            judges=n,
            cpu_ms=round(cpu * 1000 / SWITCHES, 2),
            wall_ms=round(wall * 1000 / SWITCHES, 2),
        )
    alone, _ = timed(lambda: [readers[0].vectors(rows) for _ in readers])
    ordered, _ = timed(lambda: [reader.vectors(rows) for reader in readers])
    unordered, _ = timed(lambda: [reader.vectors([row]) for row in rows for reader in readers])
    singly, _ = timed(lambda: [readers[0].vectors([row]) for row in rows for _ in readers])
    report(
        "adapters_mixed_day",
        judges=n,
        reactions=n * N_READ,
        one_judge_cpu_s=round(alone, 2),
        ordered_cpu_s=round(ordered, 2),
        unordered_cpu_s=round(unordered, 2),
        unordered_without_switches_cpu_s=round(singly, 2),
        ordered_to_one_judge=round(ordered / alone, 3),
        unordered_to_ordered=round(unordered / ordered, 2),
    )


def _switch(shared: Any, readers: Sequence[PairReader]) -> None:
    for number in range(SWITCHES):
        with shared.holding(readers[number % len(readers)].adapter):
            pass


def copy_each(embedder: Embedder, folders: Sequence[Path]) -> None:
    """A base and a merged copy for every judge."""
    before = resident_mb()
    kept: list[Any] = []

    def load() -> None:
        for folder in folders:
            with quiet_peft():
                model = PeftModel.from_pretrained(base_model(embedder), str(folder))
                kept.append((model, copy.deepcopy(model).merge_and_unload().eval()))

    cpu, _ = timed(load)
    report(
        "adapters_copy_each",
        judges=len(folders),
        memory_mb=round(resident_mb() - before, 1),
        load_cpu_s=round(cpu, 3),
    )


def beside(embedder: Embedder, folders: Sequence[Path]) -> None:
    """All adapters beside one base, switched by name."""
    before = resident_mb()
    switch = AdapterSwitch(base_model(embedder), most=len(folders) + 1)

    def load() -> None:
        for folder in folders:
            switch.use(folder)

    loading, _ = timed(load)
    held = resident_mb() - before
    turns = [folders[number % len(folders)] for number in range(SWITCHES)]
    switching, _ = timed(lambda: [switch.use(folder) for folder in turns])
    encoder = PairEncoder(embedder, switch.model)
    rows = reactions(N_READ)
    tokens = sorted(encoder.tokens(rows), key=len)
    batches = [tokens[start : start + 12] for start in range(0, len(tokens), 12)]
    reader = attach_adapter(embedder, folders[0])
    reader.vectors(rows[:2])

    def read() -> None:
        with torch.inference_mode():
            for folder in folders:
                switch.use(folder)
                for batch in batches:
                    encoder.pooled(batch)

    with torch.inference_mode():
        encoder.pooled(batches[0])
    reading, _ = timed(read)
    merged, _ = timed(lambda: [reader.vectors(rows) for _ in folders])
    report(
        "adapters_beside",
        judges=len(folders),
        memory_mb=round(held, 1),
        load_cpu_s=round(loading, 3),
        switch_cpu_ms=round(switching * 1000 / SWITCHES, 2),
        read_cpu_s=round(reading, 2),
        merged_read_cpu_s=round(merged, 2),
        beside_to_merged=round(reading / merged, 2),
    )


WAYS = {"one_base": one_base, "copy_each": copy_each, "beside": beside}


def main(counts: Sequence[int]) -> None:
    """Each way and count in a fresh process."""
    with TemporaryDirectory() as made:
        write_adapters(load_embedder(), Path(made), max(counts))
        for way in WAYS:
            for n in counts:
                command = [sys.executable, "-m", "tests.bench.bench_adapters", way, str(n), made]
                subprocess.run(command, check=True)


def one(way: str, n: int, folder: Path) -> None:
    """One way and count, in this process."""
    torch.set_num_threads(1)
    embedder = load_embedder()
    # What the first model of a process costs, whatever it is.
    base_model(embedder)
    WAYS[way](embedder, [folder / str(number) for number in range(n)])


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in WAYS:
        one(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
    else:
        main([int(n) for n in sys.argv[1:]] or COUNTS)
