"""Run the parts, one product after the other, and print one JSON line a figure.

    python -m tests.bench.peers --peers DIR [--only NAME...] [--traces 10000] [--parts ingest,...]

`--peers` names a folder with environments `mlflow` and `phoenix`, each with the product installed.
`--cpu-s` bounds what a peer's server may use for the corpus, and again for what is put on top of it
for the largest page: what had been sent by then is what the line is about, and it says so.
"""

import argparse
import math
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np

from tests.bench.machine import report
from tests.bench.peers.corpus import RARE, SPANS_A_TRACE, Request, requests_of, session_of
from tests.bench.peers.here import Here
from tests.bench.peers.judge_stub import judge_stub
from tests.bench.peers.kill import lost_by_a_kill
from tests.bench.peers.peers import Mlflow, Phoenix, environment_of
from tests.bench.peers.processes import disk_bytes
from tests.bench.peers.product import Figures, Product, send

PRODUCTS = {"flywheel": Here, "mlflow": Mlflow, "phoenix": Phoenix}
PARTS = ("ingest", "pages", "kill", "metrics", "judge", "queue")
# Requests of a page that are timed, after one that is not; a page past the time is timed less, and
# one without an answer after the last of these seconds is given up.
N_PAGES, PAGES_S, PATIENCE_S = 30, 60.0, 120.0


def ingest(product: Product, sent: list[Request], cpu_limit_s: float) -> int:
    """Put requests in until they are all there or the CPU time is over; how many were put in."""
    group = product.group
    assert group is not None
    # What a server does once.
    send(product, sent[:1])
    product.settle()
    before, beside, wall, busy, n, began = (
        group.settled_cpu_s(),
        0.0,
        0.0,
        0,
        1,
        time.perf_counter(),
    )
    while n < len(sent) and group.cpu_s() - before < cpu_limit_s:
        # The first chunk is small, so that a slow server is not asked for more than it can do.
        chunk = send(product, sent[n : n + max(5, n // 4)])
        n, wall, busy = n + len(chunk.acknowledged), wall + chunk.wall_s, busy + chunk.busy
        if product.name == "phoenix":
            product.settle()
    beside = product.settle()
    server = group.settled_cpu_s() - before
    queryable_s = time.perf_counter() - began
    n_spans = sum(len(one.span_ids) for one in sent[1:n])
    stored = set(product.span_ids())
    missing = sum(len(one.span_ids - stored) for one in sent[:n])
    say(
        product,
        "ingest",
        spans=n_spans,
        bytes_a_span=round(
            sum(one.n_bytes for one in sent[:n]) / (n_spans + len(sent[0].span_ids))
        ),
        spans_per_cpu_s=round(n_spans / (server + beside), 1),
        server_cpu_s=round(server, 2),
        beside_cpu_s=round(beside, 2),
        # Of these, until the draining process had its modules.
        drain_start_cpu_s=getattr(product, "drain_start_cpu_s", 0.0),
        # The drain is beside the server, and its pages are all counted as its own.
        peak_mb=round(group.peak_mb + getattr(product, "drain_peak_mb", 0.0), 1),
        disk_bytes_a_span=round(disk_bytes(product.work) / len(stored)),
        sent_wall_s=round(wall, 1),
        queryable_wall_s=round(queryable_s, 1),
        asked_again=busy,
        missing=missing,
        whole_corpus=n == len(sent),
    )
    return n


def time_pages(product: Product, n_traces: int) -> None:
    """How long its list takes: all, those of a session, those with a rare word."""
    asked = session_of(n_traces // 2), RARE
    for name in product.pages(*asked):
        # A server that was started again has another address.
        page, took = product.pages(*asked)[name], list[float]()
        with httpx.Client(timeout=PATIENCE_S, trust_env=False) as client:
            try:
                rows, began = page(client), time.perf_counter()
                while len(took) < N_PAGES and (
                    len(took) < 3 or time.perf_counter() - began < PAGES_S
                ):
                    one = time.perf_counter()
                    page(client)
                    took.append(1000 * (time.perf_counter() - one))
            except (AssertionError, httpx.HTTPError) as problem:
                say(product, "page", filter=name, traces=n_traces, error=repr(problem)[:300])
                # What nobody waits for any more is still worked at, beside the next page.
                assert product.group is not None
                product.group.end(signal.SIGKILL)
                product.start()
                continue
        p50, p95 = np.percentile(took, (50, 95)).round(1).tolist()
        say(
            product, "page", filter=name, traces=n_traces, rows=rows, n=len(took),
            p50_ms=p50, p95_ms=p95, min_ms=round(min(took), 1),
        )  # fmt: skip


def large_store(product: Product, given: argparse.Namespace) -> None:
    """The corpus, its pages, and the pages at ten times of it or what the CPU time allows."""
    product.start()
    sent = requests_of(given.traces)
    n = ingest(product, sent, given.cpu_s)
    if "pages" not in given.parts:
        return
    n_traces = sum(len(one.span_ids) for one in sent[:n]) // SPANS_A_TRACE
    time_pages(product, n_traces)
    assert product.group is not None
    before, put = product.group.cpu_s(), n_traces
    while put < given.page_traces and product.group.cpu_s() - before < given.page_cpu_s:
        more = requests_of(min(2_500 if n == len(sent) else 250, given.page_traces - put), put + 1)
        send(product, more)
        put += sum(len(one.span_ids) for one in more) // SPANS_A_TRACE
        product.settle()
    if put > n_traces:
        time_pages(product, put)


def small_store(product: Product, given: argparse.Namespace) -> None:
    """A server that is killed in the middle of the corpus, and the work on what it then has."""
    product.start()
    sent = requests_of(given.small_traces)
    if "kill" in given.parts:
        say(product, "kill", **lost_by_a_kill(product, sent))
    # Ids that are there already are not stored twice.
    send(product, sent)
    product.settle()
    n_there = len(product.span_ids()) // SPANS_A_TRACE
    work: dict[str, Callable[[], Figures]] = {
        "metrics": lambda: product.run_metrics(given.small_traces),
        "judge": lambda: judged(product, given.small_traces // 2),
        "queue": lambda: product.run_queue(given.small_traces, given.queue_s),
    }
    for part, run in work.items():
        if part in given.parts:
            figures = run()
            if part != "queue" and "error" not in figures:
                figures |= rates(figures)
            say(product, part, traces_there=n_there, **figures)


def judged(product: Product, n: int) -> Figures:
    """The judge over `n` traces, with a stub for its model."""
    with judge_stub() as url:
        return product.run_judge(n, url)


def rates(figures: Figures) -> Figures:
    """Traces a CPU-second of client and server, and a second."""
    n, cpu_s = float(str(figures["asked"])), sum(float(str(figures[k])) for k in _CPU)
    per_cpu_s = round(n / cpu_s, 1) if cpu_s else math.inf
    wall_s = float(str(figures["wall_s"]))
    return {"traces_per_cpu_s": per_cpu_s, "traces_per_s": round(n / wall_s, 1)}


_CPU = ("client_cpu_s", "server_cpu_s")


def say(product: Product, figure: str, **figures: object) -> None:
    """Print a line."""
    about = {"product": product.name, "version": product.version, "figure": figure}
    report("peers", **about, **figures, settings=product.settings)


def run(name: str, environment: Path, given: argparse.Namespace) -> None:
    """All the parts of one product, each store in a folder of its own."""
    for store, parts in ((large_store, PARTS[:2]), (small_store, PARTS[2:])):
        if not set(parts) & set(given.parts):
            continue
        with tempfile.TemporaryDirectory(prefix="peers-", ignore_cleanup_errors=True) as folder:
            product = PRODUCTS[name](Path(folder), environment)
            try:
                store(product, given)
            finally:
                if product.group is not None:
                    product.group.end()
                if isinstance(product, Here):
                    product.close()


def main() -> None:
    """Every product that is asked for and is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", type=Path)
    parser.add_argument("--only", nargs="*", choices=PRODUCTS, default=list(PRODUCTS))
    parser.add_argument("--parts", type=lambda text: text.split(","), default=list(PARTS))
    parser.add_argument("--traces", type=int, default=10_000)
    parser.add_argument("--page-traces", type=int, default=100_000)
    parser.add_argument("--small-traces", type=int, default=1_000)
    parser.add_argument("--cpu-s", type=float, default=900.0)
    parser.add_argument("--page-cpu-s", type=float, default=900.0)
    parser.add_argument("--queue-s", type=float, default=20.0)
    given = parser.parse_args()
    for name in given.only:
        environment = environment_of(given.peers, name) if given.peers else None
        if name == "flywheel":
            run(name, Path(), given)
        elif environment is not None:
            run(name, environment, given)


if __name__ == "__main__":
    main()
