"""A process that writes to every store of a project until it is ended, and says what is committed.

`python -m tests.busy_project FOLDER`; a line on stdout names a span that the inbox has, or `ready`.
"""

import itertools
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flywheel.review import decide
from flywheel.settings import Settings, TracesSettings
from flywheel.store import Project, open_project
from flywheel.store.publications import publish
from flywheel.traces.draining import drain_and_load
from flywheel.traces.inbox import Inbox
from tests.judged import said
from tests.otlp import body, span_ids, trace_of

ROOT = Path(__file__).resolve().parent.parent
# What is sent between two drains.
A_DRAIN = 12


def write_for_ever(folder: Path) -> None:
    """Live traces, drains, decisions, and publications that take the place of each other."""
    stores = open_project(folder).stores
    inbox = Inbox(stores.ledger, 512)
    for number in itertools.count(1):
        spans = trace_of(number, 3)
        inbox.take_in("otlp", "", body(*spans), len(spans))
        print("\n".join(span_ids(spans)), flush=True)
        publish(stores, "quality", f'{{"look": {number}}}'.encode())
        decide(stores.ledger, said(f"t{number}", number % 2 == 0))
        if number % A_DRAIN == 0:
            drain_and_load(stores, Settings(traces=TracesSettings(idle_s=0)))
            print("ready", flush=True)


class Busy:
    """The process; `committed` are the spans that it has said so far."""

    def __init__(self, process: "subprocess.Popen[str]"):
        self._process = process
        self.committed: set[str] = set()

    def wait_for_drains(self, n: int) -> None:
        """Read what it says until it has drained its inbox so many times more."""
        assert self._process.stdout is not None
        while n:
            line = self._process.stdout.readline().strip()
            assert line, "it ended"
            n -= line == "ready"
            self.committed |= {line} - {"ready"}


@contextmanager
def busy(project: Project) -> Iterator[Busy]:
    """A process that writes to the project for as long as the block runs; then it is killed."""
    command = [sys.executable, "-m", "tests.busy_project", str(project.folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Busy(process)
        finally:
            process.kill()


if __name__ == "__main__":
    write_for_ever(Path(sys.argv[1]))
