"""Send 10,000 mutated bodies to a real server: what it answers, how long it takes, what it keeps.

python -m tests.bench.bench_fuzzed_bodies [--requests 10000] [--seed 0]
"""

import argparse
import tempfile
import time
from collections import Counter
from pathlib import Path

import httpx

from flywheel.settings import Settings, TracesSettings
from flywheel.store import open_project
from flywheel.traces.draining import drain_and_load
from flywheel.traces.inbox import fill_of
from tests.bench.machine import report
from tests.fuzzing import fuzzed
from tests.served import Server, key_of

# After so many the server has seen every kind, and its memory is what it needs.
WARM = 1_000


def rss_mb(server: Server) -> float:
    """Memory of the server's process that is resident now."""
    assert server._process is not None
    lines = Path(f"/proc/{server._process.pid}/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("VmRSS:"))
    return round(int(line.split()[1]) / 1024, 1)


def main() -> None:
    """Print what came of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    statuses: Counter[int] = Counter()
    silent, slowest_s, warm_mb = 0, 0.0, 0.0
    with tempfile.TemporaryDirectory(prefix="flywheel-bench-") as folder:
        project = open_project(Path(folder))
        server = Server(project)
        headers = {"X-API-Key": key_of(project, "robot", "service")}
        server.start()
        try:
            with httpx.Client(headers=headers, timeout=60, trust_env=False) as client:
                for number, sent in enumerate(fuzzed(given.requests, given.seed)):
                    how = {"Content-Type": sent.media, "Content-Encoding": sent.encoding}
                    began = time.perf_counter()
                    answer = client.post(
                        f"{server.url}/v1/traces", content=sent.content, headers=how
                    )
                    slowest_s = max(slowest_s, time.perf_counter() - began)
                    statuses[answer.status_code] += 1
                    silent += answer.status_code != 200 and len(answer.content) < 10
                    if number == WARM:
                        warm_mb = rss_mb(server)
            memory_mb = rss_mb(server)
        finally:
            server.stop()
        rows = fill_of(project.stores.ledger).rows
        drained, loaded = drain_and_load(project.stores, Settings(traces=TracesSettings(idle_s=0)))
        left = fill_of(project.stores.ledger).rows
        project.stores.ledger.close()
    report(
        "fuzzed_bodies",
        requests=given.requests,
        seed=given.seed,
        statuses=dict(sorted(statuses.items())),
        refusals_without_a_reason=silent,
        slowest_s=round(slowest_s, 3),
        rss_mb_after_1000=warm_mb,
        rss_mb_at_the_end=memory_mb,
        rows_taken=rows,
        rows_left_after_the_drain=left,
        spans=drained.spans,
        traces_new=sum(one.new for one in loaded),
        rejected_when_loaded=sum(len(one.rejected) for one in loaded),
    )


if __name__ == "__main__":
    main()
