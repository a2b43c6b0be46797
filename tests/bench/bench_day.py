"""A day of 100,000 traces through the cascade: its memory, its speed, and a kill in the middle.

    python -m tests.bench.bench_day [N ...]

Prints one JSON line a figure. Each day is one of its own process, since a process never gives back
its peak: `N` made-up traces (10,000, 50,000 and 100,000), all through the lexical tier and a sample
of them through the frozen encoder; the last day is killed while the encoder reads, and run again.
What the encoder would need for the whole day is extrapolated from what it read, and says so.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from datetime import date
from pathlib import Path

import pyarrow as pa

from flywheel.judge.cascade import Cascade, Thresholds
from flywheel.judge.cold_start import cold_start_judge
from flywheel.judge.judge import Judge
from flywheel.judge.scoring import score_day
from flywheel.models.embedder import BUNDLED, load_embedder
from flywheel.records import Tier
from flywheel.store import Stores, open_project
from flywheel.traces.conversations import InputLevers
from flywheel.traces.sampling import sample_day
from tests.bench.machine import report
from tests.made_up import made_up

DAY = date(2026, 3, 2)
DAYS = (10_000, 50_000, 100_000)
# Of the sample the lexical tier decides a part; what is left are some 1,000 traces on the last day.
RATE = 0.012
# Made up, so that the cascade has something to decide; a real one is certified on labels.
THRESHOLDS = Thresholds("lexical", 0.9, 0.1, 0.9)
PIECE = 5_000
KILLED_AFTER = 128
LOADED = {"is_current": True, "is_eligible": True, "started_at_source": "trace"}


def fill(stores: Stores, n: int) -> None:
    """Put `n` traces of one day into the warehouse, a piece at a time, ids in no order."""
    for start in range(0, n, PIECE):
        traces, messages = [], []
        for row in made_up(min(PIECE, n - start), seed=start, n_rounds=2):
            c = row.conversation
            number = (int(c.trace_id[1:]) + start) * 7_919 % 1_000_003
            key = {"day": DAY, "trace_id": f"t{number:07}", "content_hash": f"h{number:07}"}
            about = {"app": c.app, "session_id": f"s{number // 2}", "n_messages": len(c.turns)}
            traces.append(key | about | LOADED | {"import_id": 1, "line_no": start + 1})
            messages += [
                # No text twice, or the embedder would remember it.
                key | {"position": t.position, "role": t.role, "content": f"{t.text} No. {number}."}
                for t in c.turns
            ]
        with stores.warehouse.open() as connection, connection.transaction():
            for table, rows in (("traces", traces), ("messages", messages)):
                with connection.given(new_rows=pa.Table.from_pylist(rows)):
                    connection.raw.execute(f"insert into {table} by name select * from new_rows")
    sample_day(stores, DAY, RATE, 0)


def judge_of_the_day() -> Judge:
    """The judge that needs no labels, with thresholds."""
    judge = cold_start_judge(load_embedder(BUNDLED, 1), InputLevers())
    frozen = Thresholds("frozen", None, None, 0.9)
    return replace(judge, cascade=Cascade({"lexical": THRESHOLDS, "frozen": frozen}))


def score(folder: Path, killed_after: int = 0) -> None:
    """Score the day, print what it took as JSON, or die after so many traces of the encoder."""
    stores, judge = open_project(folder).stores, judge_of_the_day()
    # Loaded and warm: the first reading brings torch and the weights.
    warm = [row.conversation for row in made_up(64, seed=-1, n_rounds=2)]
    for tier in ("lexical", "frozen"):
        judge.opinions(warm, tier)
    loaded_mb = peak_mb()
    wall: dict[Tier, float] = {}
    cpu: dict[Tier, float] = {}
    peaks: dict[Tier, float] = {}
    began = last = time.perf_counter(), time.process_time()

    def watch(tier: Tier, done: int, total: int) -> None:
        nonlocal last
        now = time.perf_counter(), time.process_time()
        wall[tier] = wall.get(tier, 0.0) + now[0] - last[0]
        cpu[tier] = cpu.get(tier, 0.0) + now[1] - last[1]
        peaks[tier], last = peak_mb(), now
        if killed_after and tier == "frozen" and done >= killed_after:
            os.kill(os.getpid(), signal.SIGKILL)

    done = score_day(stores, judge, DAY, watch, usd_per_cpu_hour=0.05)
    read = done.scored["frozen"] - done.from_cache
    per_cpu_s = read / cpu["frozen"]
    print(
        json.dumps(
            {
                "traces": done.attempted,
                "scored": done.scored,
                "decided": {tier: round(share, 4) for tier, share in done.decided.items()},
                "from_cache": done.from_cache,
                "wall_s": round(time.perf_counter() - began[0], 1),
                "cpu_s": round(time.process_time() - began[1], 1),
                "wall_s_by_tier": {tier: round(s, 1) for tier, s in wall.items()},
                "cpu_s_by_tier": {tier: round(s, 1) for tier, s in cpu.items()},
                "lexical_traces_per_cpu_s_with_reading": round(done.attempted / cpu["lexical"]),
                "frozen_traces_per_cpu_s_with_reading": round(per_cpu_s, 1) or None,
                "extrapolated_cpu_hours_all_through_frozen": round(
                    done.attempted / per_cpu_s / 3600, 2
                )
                if read
                else None,
                "usd": {tier: round(usd, 6) for tier, usd in done.cost_usd.items()},
                "rss_mb_before": loaded_mb,
                "peak_rss_mb_by_tier": peaks,
                "peak_rss_mb": peak_mb(),
            }
        )
    )


def peak_mb() -> float:
    """The most memory that this process has ever held."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def in_a_process(*arguments: object) -> subprocess.CompletedProcess[str]:
    """This module again, by itself."""
    command = [sys.executable, "-m", "tests.bench.bench_day", *map(str, arguments)]
    return subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)


def measure(n: int, *, is_killed: bool) -> None:
    """A day of `n` traces; where it is killed, what was judged before and after."""
    with tempfile.TemporaryDirectory(prefix="flywheel-bench-") as folder:
        in_a_process("fill", folder, n)
        if is_killed:
            killed = in_a_process("score", folder, KILLED_AFTER)
            report("day", stage="killed", traces=n, signal=-killed.returncode)
        ended = in_a_process("score", folder, 0)
        report("day", stage="run again" if is_killed else "whole", **json.loads(ended.stdout))


def main(arguments: list[str]) -> None:
    """A part of it in this process, or all of it in others."""
    match arguments:
        case ["fill", folder, n]:
            fill(open_project(Path(folder)).stores, int(n))
        case ["score", folder, killed_after]:
            score(Path(folder), int(killed_after))
        case _:
            days = [int(n) for n in arguments] or list(DAYS)
            for n in days:
                measure(n, is_killed=False)
            measure(days[-1], is_killed=True)


if __name__ == "__main__":
    main(sys.argv[1:])
