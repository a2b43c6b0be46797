"""Ray Data beside this process on the same batches: to start, a row, and from how many cores.

    FLYWHEEL_BENCH_DATA=FOLDER python -m tests.bench.bench_ray [TEXTS [TRACES]]

Prints one JSON line a figure, of texts through the embedder and of traces through the LoRA tier, of
`FOLDER/labels`; both engines with one thread a batch, Ray with two workers. No budget. CPU seconds
are of this process, of the workers while they read, and of Ray's own processes, by what the kernel
says of them. Rows must be the same to the bit, else it fails.

Ray pays from `cores` on. A row takes `here` seconds in this process; with Ray `own` of this process
and of Ray's, which no core takes off it, and `read` of a worker; and `start` goes before n rows.
All are CPU seconds, which hold on a busy machine as well; those of the start as if nothing in it
went on at once.

    start + n * (own + read / cores) < n * here    <=>    cores > read / (here - own - start / n)
"""

import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from flywheel.judge.cache import CHUNK
from flywheel.judge.files import load_judge, save_judge
from flywheel.judge.judge import Judge
from flywheel.judge.prototypes import prototypes
from flywheel.models.embedder import BUNDLED, Embedder
from flywheel.models.engine import CPU_TIME, LOCAL, Engine
from flywheel.models.ray_engine import RayEngine
from flywheel.records import Conversation
from flywheel.traces.conversations import InputLevers
from flywheel.traces.labelled import read_conversations
from tests.bench.machine import report
from tests.drawn import drawn_encoder, drawn_judge

SETS = ("mwoz_train", "dbdc3_train")
WORKERS, TURNS = 2, 3
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Turns:
    """What each turn took: by the clock, of all processes, and of workers while they read."""

    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    read_s: list[float] = field(default_factory=list)

    def timed(self, read: Callable[[], Any]) -> Any:
        """Do it, on the clocks."""
        wall, cpu, elsewhere = time.perf_counter(), tree_cpu_s(), elsewhere_s()
        found = read()
        self.wall_s.append(time.perf_counter() - wall)
        self.cpu_s.append(tree_cpu_s() - cpu)
        self.read_s.append(elsewhere_s() - elsewhere)
        return found

    def a_row(self, n: int) -> dict[str, float]:
        """Medians, in milliseconds a row."""
        columns = {"wall_ms": self.wall_s, "cpu_ms": self.cpu_s, "read_ms": self.read_s}
        return {name: round(median(each) / n * 1000, 3) for name, each in columns.items()}


def elsewhere_s() -> float:
    """CPU seconds of workers while they read."""
    return CPU_TIME.seconds() - time.process_time()


def tree_cpu_s() -> float:
    """CPU seconds of this process and of all below it that are still there."""
    parents, spent = {}, {}
    for place in Path("/proc").iterdir():
        try:
            # After the name, which may hold spaces: the state, the parent, ...
            said = (place / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if place.name.isdigit():
            parents[int(place.name)] = int(said[1])
            spent[int(place.name)] = sum(map(int, said[11:15])) / TICKS
    mine, found = {os.getpid()}, {os.getpid()}
    while found:
        found = {pid for pid, parent in parents.items() if parent in found}
        mine |= found
    return sum(spent[pid] for pid in mine)


def labelled(n: int) -> list[Conversation]:
    """The first conversations of both sets, in turn."""
    folder = Path(os.environ["FLYWHEEL_BENCH_DATA"]) / "labels"
    files = [read_conversations(folder / f"{name}.jsonl", InputLevers()).labelled for name in SETS]
    return [row.conversation for pair in zip(*files, strict=False) for row in pair][:n]


def fresh(engine: Engine, threads: int = 1) -> Embedder:
    """An embedder that has embedded the prototypes, and nothing else."""
    embedder = Embedder(BUNDLED, threads)
    embedder.encode([text for _, text in prototypes()])
    embedder.engine = engine
    return embedder


def embedded(texts: Sequence[str], embedder: Embedder) -> Callable[[], bytes]:
    """Embeds them; the vectors' bytes."""
    return lambda: embedder.encode(texts).tobytes()


def judged(conversations: Sequence[Conversation], judge: Judge) -> Callable[[], list[Any]]:
    """Reads them with the LoRA tier, as a day does; its opinions."""
    chunks = [conversations[i : i + CHUNK] for i in range(0, len(conversations), CHUNK)]

    def read() -> list[Any]:
        with judge.reading(chunks, "lora"):
            return [opinion for chunk in chunks for opinion in judge.opinions(chunk, "lora")]

    return read


def measure(what: str, n: int, reader: Callable[[Engine], Callable[[], Any]], ray: Engine) -> Turns:
    """Both engines take turns: what a row costs each; of this process alone."""
    here, there = Turns(), Turns()
    for _ in range(TURNS):
        assert here.timed(reader(LOCAL)) == there.timed(reader(ray)), "the rows are others"
    report("ray", stage=what, engine="local", rows=n, **here.a_row(n))
    report("ray", stage=what, engine="ray", workers=WORKERS, rows=n, **there.a_row(n))
    pays(what, here.a_row(n), there.a_row(n))
    return here


def pays(what: str, here: dict[str, float], there: dict[str, float]) -> None:
    """From how many cores, by the formula above, for days of several sizes."""
    own = there["cpu_ms"] - there["read_ms"]
    cores: dict[str, float | None] = {}
    for rows in (1_000, 10_000, 100_000, 1_000_000):
        left = here["cpu_ms"] - own - STARTED["cpu_s"] * 1000 / rows
        cores[str(rows)] = round(there["read_ms"] / left, 2) if left > 0 else None
    report("ray", stage=f"{what}: cores from which it pays, by rows", own_ms=round(own, 3), **cores)


STARTED: dict[str, float] = {}


def start(engine: Engine, texts: Sequence[str]) -> None:
    """Until both workers have their model, with a map of a few dozen short texts in it."""
    turns = Turns()
    turns.timed(embedded(texts, fresh(engine)))
    STARTED["wall_s"] = round(turns.wall_s[0], 2)
    STARTED["cpu_s"] = round(turns.cpu_s[0], 2)
    report("ray", stage="start", **STARTED)
    again = Turns()
    again.timed(embedded([f"{text}." for text in texts], fresh(engine)))
    report("ray", stage="one more map of the same", wall_s=round(again.wall_s[0], 2))


def judges(folder: Path) -> Callable[[Engine], Judge]:
    """The same judge anew, whichever engine it is to read with."""
    embedder = fresh(LOCAL)
    save_judge(drawn_judge(embedder, drawn_encoder(embedder)), folder, {})
    return lambda engine: load_judge(folder, fresh(engine))


def main(n_texts: int, n_traces: int) -> None:
    """Start, then texts, then traces, then texts with two threads in this process."""
    if find_spec("ray") is None:
        sys.exit("skipped: Ray is not installed; run `pip install 'flywheel-loop[ray]'`")
    if not os.environ.get("FLYWHEEL_BENCH_DATA"):
        sys.exit("skipped: set FLYWHEEL_BENCH_DATA to a folder with labels/*_train.jsonl")
    conversations = labelled(n_traces)
    texts = list(dict.fromkeys(turn.text for c in conversations for turn in c.turns))[:n_texts]
    ray = RayEngine(workers=WORKERS, least=1)
    start(ray, [f"{i} " + "lamp " * 200 for i in range(64)])
    here = measure("embedder", len(texts), lambda engine: embedded(texts, fresh(engine)), ray)
    with TemporaryDirectory() as made:
        judge = judges(Path(made))
        measure("lora tier", len(conversations), lambda e: judged(conversations, judge(e)), ray)
    two = Turns()
    for _ in range(TURNS):
        two.timed(embedded(texts, fresh(LOCAL, 2)))
    speed = round(median(here.wall_s) / median(two.wall_s), 2)
    report("ray", stage="embedder, two threads here", rows=len(texts), **two.a_row(len(texts)))
    report("ray", stage="embedder, two threads against one", times=speed)


if __name__ == "__main__":
    main(
        int(sys.argv[1]) if len(sys.argv) > 1 else 1_000,
        int(sys.argv[2]) if len(sys.argv) > 2 else 400,
    )
