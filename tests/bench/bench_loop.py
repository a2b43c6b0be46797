"""A million traces through the whole loop: time and memory by stage, and how both grow.

    python -m tests.bench.bench_loop [N ...]

Prints one JSON line a size (10,000, 100,000 and 1,000,000 traces by default), each in a process of
its own, since a process never gives back its peak; and a last line with the exponents of growth,
log cost against log traces by least squares: 1 is linear. Traces have six messages, are spread over
28 days and three applications, and are imported as ten files. The lexical judge reads every one;
the encoder reads the few that `min_per_stratum` samples, and they are the same number at any size.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from flywheel import loop
from flywheel.store import open_project
from flywheel.traces.importing import import_file
from tests.bench.bench_import import write_traces
from tests.bench.machine import report

SIZES = (10_000, 100_000, 1_000_000)
N_FILES = 10
SETTINGS = """[project]
name = "loop"
first_day = "2026-03-01"
[sampling]
rate = 0.000001
min_per_stratum = 5
"""
BUDGET_MB = 6 * 1024
OWN, OTHERS = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN
# The names in `flywheel.loop` under which a stage's work is called.
STAGES = {
    "sample_day": "sample",
    "score_day_by_code": "metrics",
    "few_shots_for_day": "few shots",
    "judge_day": "judge",
    "fill_queue": "queue",
    "take_feedback": "feedback",
    "derive_labels": "labels",
    "look_for_drift": "drift",
    "write_quality_report": "quality",
    "update_indexes": "index",
    "retrain_all_due": "training",
}


class Stages:
    """What each stage has cost so far: wall and CPU seconds, and the peak after it."""

    def __init__(self) -> None:
        self.spent: dict[str, dict[str, float]] = {}

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add the block to a stage."""
        wall, cpu = time.perf_counter(), cpu_s()
        yield
        stage = self.spent.setdefault(name, {"wall_s": 0.0, "cpu_s": 0.0, "peak_mb": 0.0})
        stage["wall_s"] = round(stage["wall_s"] + time.perf_counter() - wall, 2)
        stage["cpu_s"] = round(stage["cpu_s"] + cpu_s() - cpu, 2)
        stage["peak_mb"] = peak_mb()

    def watch(self) -> None:
        """Time the loop's own calls, by the names that it has them under."""
        for name, stage in STAGES.items():
            setattr(loop, name, self._timing(getattr(loop, name), stage))

    def _timing(self, work, stage):
        def timed(*arguments, **more):
            with self.timed(stage):
                return work(*arguments, **more)

        return timed


def run(n: int) -> None:
    """A project of `n` traces through the loop, in this process; the figures on stdout."""
    stages = Stages()
    with tempfile.TemporaryDirectory(prefix="flywheel-bench-") as name:
        folder = Path(name)
        (folder / "flywheel.toml").write_text(SETTINGS, encoding="utf-8")
        project = open_project(folder)
        files = [write_part(folder, n, part) for part in range(N_FILES)]
        started = time.perf_counter(), cpu_s()
        with stages.timed("import"):
            new = sum(import_file(project.stores, file).new for file in files)
        stages.watch()
        done = loop.run_loop(project)
        wall, cpu = time.perf_counter() - started[0], cpu_s() - started[1]
        mb = {
            kind: round(sum(f.stat().st_size for f in where.rglob("*") if f.is_file()) / 1e6, 1)
            for kind, where in {"files": folder, "data": project.data_dir}.items()
        }
        project.stores.ledger.close()
    figures = {
        "traces": new,
        "scored": done.scored,
        "flagged": done.flagged,
        "drawn": done.drawn,
        "wall_s": round(wall, 1),
        "cpu_s": round(cpu, 1),
        "cpu_us_a_trace": round(cpu / n * 1e6, 1),
        "peak_mb": peak_mb(),
        "budget_mb": BUDGET_MB,
        "disk_mb": mb["data"],
        "stages": stages.spent,
    }
    print(json.dumps(figures))


def write_part(folder: Path, n: int, part: int) -> Path:
    """One of the files, with ids of its own."""
    path = write_traces(folder / f"part{part}.jsonl", n // N_FILES, 0.0)
    keys = (b'"trace_id": "t', b'"session_id": "s', b'"user_id": "u')
    text = path.read_bytes()
    for key in keys:
        text = text.replace(key, key + f"{part}-".encode())
    path.write_bytes(text)
    return path


def cpu_s() -> float:
    """CPU seconds of this process and of those that it has waited for: metrics run in their own."""
    own, others = (resource.getrusage(who) for who in (OWN, OTHERS))
    return own.ru_utime + own.ru_stime + others.ru_utime + others.ru_stime


def peak_mb() -> float:
    """The most memory that this process, or one that it has waited for, has ever held."""
    return round(max(resource.getrusage(who).ru_maxrss for who in (OWN, OTHERS)) / 1024, 1)


def exponent(sizes: list[int], costs: list[float]) -> float:
    """The slope of log cost against log traces."""
    return round(float(np.polyfit(np.log(sizes), np.log(costs), 1)[0]), 3)


def main(sizes: list[int]) -> None:
    """Each size in a process of its own, then how they grow."""
    found = []
    for n in sizes:
        command = [sys.executable, "-m", "tests.bench.bench_loop", "--one", str(n)]
        ended = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        found.append(json.loads(ended.stdout.splitlines()[-1]))
        report("loop", **found[-1])
    if len(found) > 1:
        names = set.intersection(*(set(one["stages"]) for one in found))
        grows = {
            name: exponent(sizes, [max(one["stages"][name]["cpu_s"], 0.01) for one in found])
            for name in sorted(names)
        }
        report(
            "loop",
            sizes=sizes,
            exponent_cpu=exponent(sizes, [one["cpu_s"] for one in found]),
            exponent_memory=exponent(sizes, [one["peak_mb"] for one in found]),
            exponent_cpu_by_stage=grows,
        )


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--one", n]:
            run(int(n))
        case arguments:
            main([int(n) for n in arguments] or list(SIZES))
