"""What the books of a paid judge cost: calls counted per second, and requests with and without.

The server is a double in a process of its own that takes 50 ms for each reply, so that what is
measured is the client: `concurrency` over 0.05 s is the most that there could be. One JSON line for
each ledger, and one for each number of requests at once.
"""

import multiprocessing
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from multiprocessing.connection import Connection
from pathlib import Path

from flywheel.models.endpoint import Endpoint
from flywheel.models.spending import Budget, Call, Reserve, Settle
from flywheel.settings import GenerativeSettings
from flywheel.store.ledger import Ledger
from tests.bench.machine import report, spent
from tests.faulty_proxy import Double
from tests.postgres import new_database
from tests.test_endpoint import PRICED, prompts_of

N_CALLS, BATCHES = 1_024, (1, 8, 64)
REPLY_S, N_REQUESTS = 0.05, 960
CONCURRENCY = (8, 64)


class NoBooks(Budget):
    """A budget that writes nothing, to compare with."""

    def record(self, changes: Sequence[Reserve | Settle]) -> list[Call | None]:
        """Every call may be made."""
        today = date.today()
        return [Call(0, today, 0.0) if isinstance(c, Reserve) else None for c in changes]


def main() -> None:
    """Print the lines."""
    with tempfile.TemporaryDirectory() as folder, _double() as url:
        ledgers = {"sqlite": f"sqlite:///{Path(folder) / 'ledger.sqlite'}"}
        ledgers["postgres"] = new_database()
        for name, ledger_url in ledgers.items():
            ledger = Ledger(ledger_url)
            report("spending", ledger=name, calls_per_s=_calls_per_s(ledger))
            for n_at_once in CONCURRENCY:
                report("endpoint", ledger=name, **_requests(url, ledger, n_at_once))
            ledger.close()


def _calls_per_s(ledger: Ledger) -> dict[str, float]:
    """Calls that are reserved and settled, by how many are committed together."""
    found = {}
    for n_together in BATCHES:
        budget = Budget(ledger, f"batch {n_together}", "v1", _settings("", 1))
        with spent() as measured:
            for _ in range(N_CALLS // n_together):
                calls = budget.record([Reserve("hash", 1e-4)] * n_together)
                budget.record([Settle(call, "ok", 1e-5) for call in calls if call is not None])
        found[f"{n_together} together"] = round(N_CALLS / measured.wall_s)
    return found


def _requests(url: str, ledger: Ledger, n_at_once: int) -> dict[str, object]:
    """Requests a second and CPU milliseconds each, with books and without."""
    endpoint = Endpoint("paid", _settings(url, n_at_once), ledger)
    without = Endpoint("paid", _settings(url, n_at_once), ledger)
    without._budget = NoBooks(ledger, "paid", "v1", without.settings)
    prompts = prompts_of(N_REQUESTS)
    figures: dict[str, object] = {"at_once": n_at_once, "requests": len(prompts)}
    figures["at_most_per_s"] = round(n_at_once / REPLY_S)
    for name, model in (("without", without), ("with", endpoint)):
        with spent() as measured:
            n_failed = sum(bool(answer.failure) for _, answer in model.answers(prompts))
        assert n_failed == 0
        figures[f"{name}_books_per_s"] = round(len(prompts) / measured.wall_s)
        figures[f"{name}_books_cpu_ms"] = round(1000 * measured.cpu_s / len(prompts), 2)
    return figures


def _settings(url: str, concurrency: int) -> GenerativeSettings:
    values = {"model": "double", "base_url": url, "api_key_env": "", "daily_usd": 1e6}
    return GenerativeSettings.model_validate(values | PRICED | {"concurrency": concurrency})


@contextmanager
def _double() -> Iterator[str]:
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(there,))
    process.start()
    yield here.recv()
    here.send("end")
    process.join()


def _serve(there: Connection) -> None:
    with Double(delay_s=REPLY_S) as server:
        there.send(server.url)
        there.recv()


if __name__ == "__main__":
    main()
