"""Spans per CPU second of all servers: received by HTTP, drained, loaded, ready to be asked for.

    python -m tests.bench.bench_otlp [--requests 100]

Traces have 4 spans of about 1.2 kB, as an instrumented agent sends them; 50 traces a request, in
protobuf with gzip. CPU seconds are those of the server and of the drain, which is a process of its
own as it is in production, its imports counted apart. What the same bytes cost peers is measured by
`tests.bench.peers`, whose corpus this is.
"""

import argparse
import gzip
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

from flywheel.store import Project, open_project
from tests.bench.machine import report
from tests.bench.peers.corpus import SPANS_A_TRACE, TRACES_A_REQUEST, requests_of
from tests.otlp import PROTOBUF
from tests.served import ROOT, Server, key_of


def bodies(n_requests: int) -> tuple[list[bytes], float]:
    """The requests, compressed, and the mean plain bytes of a span."""
    made = requests_of(n_requests * TRACES_A_REQUEST)
    n_spans = n_requests * TRACES_A_REQUEST * SPANS_A_TRACE
    return [one.body for one in made], sum(one.n_bytes for one in made) / n_spans


def send(url: str, sent: list[bytes], headers: dict[str, str]) -> float:
    """Send every body; wall seconds."""
    headers = {"Content-Type": PROTOBUF, "Content-Encoding": "gzip", **headers}
    began = time.perf_counter()
    with httpx.Client(headers=headers, timeout=120, trust_env=False) as client:
        for body in sent:
            answer = client.post(url, content=body)
            assert answer.is_success, (answer.status_code, answer.content[:500])
    return time.perf_counter() - began


def drain(project: Project, *statements: str) -> tuple[float, float]:
    """Run a process that drains and loads; its CPU seconds and wall seconds."""
    before, began = os.times(), time.perf_counter()
    program = "\n".join(
        (
            "from pathlib import Path",
            "from flywheel.store import open_project",
            "from flywheel.traces.draining import drain_and_load",
            *statements,
        )
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
    after = os.times()
    used = after.children_user + after.children_system
    return used - before.children_user - before.children_system, time.perf_counter() - began


def ours(sent: list[bytes]) -> dict[str, object]:
    """What it costs here, and whether every span is there."""
    with tempfile.TemporaryDirectory(prefix="flywheel-bench-") as folder:
        project = open_project(Path(folder))
        server = Server(project)
        key = key_of(project, "robot", "service")
        server.start()
        try:
            url, headers = f"{server.url}/v1/traces", {"Authorization": f"Bearer {key}"}
            # What a server does once.
            send(url, sent[:1], headers)
            idle_cpu_s = server.cpu_s()
            wall_s = send(url, sent[1:], headers)
            receive_cpu_s = server.cpu_s() - idle_cpu_s
        finally:
            server.stop()
        start_cpu_s, _ = drain(project)
        opened = f"project = open_project(Path({folder!r}))"
        work = "drain_and_load(project.stores, project.settings)"
        drain_cpu_s, drain_wall_s = drain(project, opened, work)
        with project.stores.warehouse.open() as connection:
            counted = "select (select count(*) from spans), (select count(*) from traces)"
            ((n_spans, n_traces),) = connection.raw.execute(counted).fetchall()
        one = trickle(project)
        project.stores.ledger.close()
    expected = len(sent) * TRACES_A_REQUEST * SPANS_A_TRACE
    assert n_spans == expected, (n_spans, expected)
    assert n_traces == len(sent) * TRACES_A_REQUEST, n_traces
    cpu_s = receive_cpu_s + drain_cpu_s - start_cpu_s
    return {
        "spans_per_cpu_s": round(n_spans / cpu_s),
        "receive_us_per_span": round(1e6 * receive_cpu_s / n_spans, 1),
        "drain_and_load_us_per_span": round(1e6 * (drain_cpu_s - start_cpu_s) / n_spans, 1),
        "start_of_a_drain_cpu_s": round(start_cpu_s, 2),
        "receive_wall_s": round(wall_s, 2),
        "drain_wall_s": round(drain_wall_s, 2),
        "one_request_queryable_s": one,
    }


def trickle(project: Project) -> float:
    """Wall seconds from the last answer of one request until its traces can be asked for."""
    sent, _ = bodies(1)
    from flywheel.traces.draining import drain_and_load
    from flywheel.traces.inbox import Inbox

    plain = gzip.decompress(sent[0])
    inbox = Inbox(project.stores.ledger, 512)
    inbox.take_in("otlp", "other", plain, TRACES_A_REQUEST * SPANS_A_TRACE)
    began = time.perf_counter()
    drain_and_load(project.stores, project.settings)
    return round(time.perf_counter() - began, 2)


def main() -> None:
    """Print what a span costs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=100)
    given = parser.parse_args()
    sent, span_bytes = bodies(given.requests)
    figures = ours(sent)
    report(
        "otlp",
        requests=given.requests,
        spans=given.requests * TRACES_A_REQUEST * SPANS_A_TRACE,
        bytes_a_span=round(span_bytes),
        **figures,
    )


if __name__ == "__main__":
    main()
