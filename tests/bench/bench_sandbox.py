"""What a call in the sandbox costs, beside the same call in a Python without walls.

    python -m tests.bench.bench_sandbox [CALLS]

Prints one JSON line: milliseconds of the clock a call, its median and 95th percentile, for 50 calls
where no number is given, the two taken by turns. `bare` is the same interpreter with the same flags
and no sandbox, by which nothing of the product is ever run.
Budget: a median under 150 ms on a machine that does nothing else.
"""

import subprocess
import sys
import time
from collections.abc import Callable

from flywheel.evolution.sandbox.running import run_code
from flywheel.evolution.sandbox.walls import Python
from tests.bench.machine import report

CODE = "def answer(n):\n    return sum(range(n))\n"


def in_sandbox() -> None:
    assert run_code(CODE, "answer", {"n": 100}).value == 4_950


def bare() -> None:
    said = "import json, resource\n" + CODE + "print(json.dumps(answer(100)))"
    command = [str(Python.running().executable), "-s", "-S", "-P", "-B", "-c", said]
    assert subprocess.run(command, capture_output=True, check=True).stdout == b"4950\n"


def took_ms(call: Callable[[], None]) -> float:
    began = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - began)


def figures(took: list[float]) -> dict[str, float]:
    took = sorted(took)
    n = len(took)
    return {"median_ms": round(took[n // 2], 1), "p95_ms": round(took[int(0.95 * n)], 1)}


def main() -> None:
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    pairs = [(took_ms(in_sandbox), took_ms(bare)) for _ in range(n + 1)][1:]
    sandbox, without = map(list, zip(*pairs, strict=True))
    report("sandbox", calls=n, sandbox=figures(sandbox), bare=figures(without))


if __name__ == "__main__":
    main()
