"""What every benchmark prints: one JSON line, its figures beside the machine's facts."""

import json
import os
import platform
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb


@dataclass
class Spent:
    """Wall and CPU seconds of a block, and the most memory that its process has ever held."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    peak_rss_mb: float = 0.0


@contextmanager
def spent() -> Iterator[Spent]:
    """What the block costs; its numbers are set when it ends."""
    measured = Spent()
    wall, cpu = time.perf_counter(), time.process_time()
    yield measured
    measured.wall_s = round(time.perf_counter() - wall, 2)
    measured.cpu_s = round(time.process_time() - cpu, 2)
    measured.peak_rss_mb = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def machine_facts() -> dict[str, object]:
    """Cores, CPU model, versions, and how busy the machine is while it is asked."""
    return {
        "cores": os.cpu_count(),
        "cpu": _cpu_model(),
        "python": platform.python_version(),
        "duckdb": duckdb.__version__,
        "loadavg": [round(load, 2) for load in os.getloadavg()],
    }


def report(benchmark: str, **figures: object) -> None:
    """Print the line."""
    print(json.dumps({"benchmark": benchmark, **figures, "machine": machine_facts()}), flush=True)


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return platform.processor()
    models = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor())
