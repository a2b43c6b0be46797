"""Import of one broken file, and what must be true of it; for the fuzz test and its benchmark."""

import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Literal

from flywheel.errors import BadInput
from flywheel.store import Project, Stores
from flywheel.store.warehouse import Connection
from flywheel.traces.containers import plain_file
from flywheel.traces.formats import recognise
from flywheel.traces.importing import ImportReport, import_file
from flywheel.traces.lines import numbered_lines
from flywheel.traces.spans.formats import SpanFormat
from flywheel.traces.spans.loading import _read_line as read_line
from flywheel.traces.spans.span import Span
from tests.mutants import mutant

# No mutant holds more than some kilobytes of text; one that takes this long hangs.
SECONDS = 60


class Held:
    """A project whose warehouse stays open: opening it costs more than most files do."""

    def __init__(self, project: Project):
        self._opened = project.stores.warehouse.open()
        self._project = project

    def __enter__(self) -> "Held":
        self.connection = self._opened.__enter__()
        self.stores: Stores = replace(self._project.stores, warehouse=self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._opened.__exit__(kind, error, traceback)

    @contextmanager
    def open(self) -> Iterator[Connection]:
        yield self.connection


def check(held: Held, seed: int) -> Literal["imported", "refused"]:
    """Import the mutant of this seed; raises AssertionError where its rows do not add up."""
    fixture, content = mutant(seed)
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder, _at_most(SECONDS, seed):
        path = Path(folder) / fixture.name
        path.write_bytes(content)
        try:
            report = import_file(held.stores, path, app=f"seed-{seed}")
        except BadInput as error:
            refused = str(error)
        else:
            _add_up(report, path, seed)
            return "imported"
    assert str(path) in refused, f"seed {seed}: {refused}"
    return "refused"


def _add_up(report: ImportReport, path: Path, seed: int) -> None:
    chosen = recognise(path)
    told = report.new + report.duplicate + report.changed
    assert all(row.why and len(row.why) < 1000 and row.line >= 1 for row in report.rejected), seed
    with plain_file(path) as plain, plain.open("rb") as file:
        chunks = list(numbered_lines(file))
    assert report.read == sum(len(c.numbers) + len(c.rejected) for c in chunks), seed
    if not isinstance(chosen, SpanFormat):
        assert report.read == told + len(report.rejected), f"seed {seed}: {report}"
        return
    # The rows again, one by one: what their reading counts is what the import must have told.
    with plain_file(path) as plain, plain.open("rb") as file:
        chunks = list(numbered_lines(file, max_depth=None))
    bad, traces = sum(len(chunk.rejected) for chunk in chunks), set()
    for line in (line for chunk in chunks for line in chunk.lines):
        try:
            found = read_line(line, chosen)
        except BadInput:
            bad += 1
            continue
        traces |= {item.trace_id for item in found if isinstance(item, Span)}
    # A rejected row is a line that cannot be used, or a trace in which nobody says anything.
    silent = len(report.rejected) - bad
    assert silent >= 0, f"seed {seed}: {report}"
    assert len(traces) == told + silent, f"seed {seed}: {len(traces)} traces, {report}"


@contextmanager
def _at_most(seconds: int, seed: int) -> Iterator[None]:
    def hangs(*_: object) -> None:
        raise AssertionError(f"seed {seed} takes longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, hangs)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
