"""What the benchmark asks of a product, and how the corpus is sent to it."""

import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import httpx

from tests.bench.peers.corpus import Request
from tests.bench.peers.processes import Group
from tests.otlp import PROTOBUF

# A full queue is asked again, as an exporter of OpenTelemetry does.
BUSY, PAUSE_S = (429, 503), 1.0
Figures = dict[str, object]
Page = Callable[[httpx.Client], int]


class Product(Protocol):
    """A product with a store in a folder; `settings` says how it was configured."""

    name: str
    version: str
    settings: str
    group: Group | None
    base: str

    def __init__(self, work: Path, environment: Path): ...
    def start(self) -> None:
        """Start the server, and wait until it answers."""

    def headers(self) -> dict[str, str]:
        """What a request of OpenTelemetry carries."""

    def settle(self) -> float:
        """Wait until what was sent is stored and can be asked for; CPU seconds beside the group."""

    def span_ids(self) -> list[str]:
        """The ids of the spans that are stored, in hex."""

    def pages(self, session: str, text: str) -> dict[str, Page]:
        """Requests of its own list of traces, as its page makes them; each gives rows shown."""

    def run_metrics(self, n: int) -> Figures:
        """Two metrics by code over the newest `n` traces, stored."""

    def run_judge(self, n: int, url: str) -> Figures:
        """A judge behind `url` over `n` traces, stored."""

    def run_queue(self, n: int, seconds: float) -> Figures:
        """Five reviewers at a queue of `n` traces."""


@dataclass
class Sent:
    """What was acknowledged with 200, how often the server was too busy, and how long it took."""

    acknowledged: list[Request] = field(default_factory=list)
    busy: int = 0
    wall_s: float = 0.0


def send(
    product: Product, requests: Sequence[Request], stop_after: Callable[[int], bool] | None = None
) -> Sent:
    """Send the requests one after the other; where the server goes away, that is the end."""
    sent, began = Sent(), time.perf_counter()
    headers = {"Content-Type": PROTOBUF, "Content-Encoding": "gzip", **product.headers()}
    with httpx.Client(headers=headers, timeout=300, trust_env=False) as client:
        for request in requests:
            try:
                while True:
                    answer = client.post(f"{product.base}/v1/traces", content=request.body)
                    if answer.status_code not in BUSY:
                        break
                    sent.busy += 1
                    time.sleep(PAUSE_S)
            except httpx.TransportError:
                if stop_after is None:
                    raise
                break
            assert answer.is_success, (answer.status_code, answer.content[:500])
            sent.acknowledged.append(request)
            if stop_after is not None and stop_after(len(sent.acknowledged)):
                break
    sent.wall_s = round(time.perf_counter() - began, 2)
    return sent


def version_of(environment: Path, package: str) -> str:
    """What is installed in an environment."""
    program = f"from importlib.metadata import version; print(version({package!r}))"
    command = [str(environment / "bin" / "python"), "-c", program]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
