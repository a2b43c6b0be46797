"""Decisions as a file for another tool: the ledger and the trace documents in, a file out.

The one idea is that whoever decided need not know what becomes of it: labels are worked out as they
stand at the moment of the export, every correction goes along whatever the label, and what cannot
be written is counted with its reason. The warehouse is not needed, so that the web app can do it.
"""

import hashlib
import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from flywheel.errors import BadInput, NotFound, Refused
from flywheel.records import EXPORT_FORMATS, ExportFormat, Split
from flywheel.review.decided import DecidedVersion, decided_versions
from flywheel.review.export_messages import Row, tools_in
from flywheel.review.export_rows import DecidedTrace, Example, examples_of, why_nothing
from flywheel.safety import encodable
from flywheel.store import Stores
from flywheel.store.artifacts import sha256_of, sync_folder
from flywheel.store.ledger import Ledger, record_action
from flywheel.traces.documents import open_document

# Rows, and characters of them, that Parquet is given at once: a group of its file.
GROUP_ROWS = 500
GROUP_CHARACTERS = 32_000_000

# Line ends to Unicode and to some readers of lines, such as Python's splitlines; not to JSON.
_LINE_ENDS = {ord(end): f"\\u{ord(end):04x}" for end in "\x85\u2028\u2029"}


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What was written, and what was not, by its reason.

    `traces` and `corrections` count what has a row, and what was left out is counted in traces or
    in corrections, whichever its reason speaks of. OpenAI's formats have no room for where a row
    comes from: that stands line by line in the file `provenance`.
    """

    rows: int
    traces: int
    corrections: int
    left_out: dict[str, int]
    path: str
    sha256: str
    provenance: str | None = None


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What to export; no `splits` and no `app` are all of them."""

    format: ExportFormat
    splits: frozenset[Split] = frozenset()
    app: str | None = None
    include_sensitive: bool = False


@dataclass(slots=True)
class _Counts:
    rows: int = 0
    traces: int = 0
    corrections: set[int] = field(default_factory=set)
    left_out: Counter[str] = field(default_factory=Counter)


def export_decisions(
    stores: Stores,
    format: ExportFormat,
    path: Path,
    splits: Iterable[Split] | None = None,
    include_sensitive: bool = False,
    app: str | None = None,
    force: bool = False,
    actor: str = "export",
) -> ExportReport:
    """Write what people decided to a file that is whole or absent, and enter it in the audit log.

    A trace that is flagged as sensitive is left out, and counted, unless it is asked for.

    Raises Refused where the file exists, without `force`; BadInput where its folder does not, or on
    an unknown format.
    """
    wanted = _Wanted(_known(format), frozenset(splits or ()), app, include_sensitive)
    beside = Path(f"{path}.provenance.jsonl")
    targets = [path, beside] if format.startswith("openai") else [path]
    _require_free(targets, force)
    counts = _Counts()
    with tempfile.TemporaryDirectory(prefix=f".{path.name[:40]}-", dir=path.parent) as scratch:
        new = [Path(scratch) / str(number) for number in range(len(targets))]
        if format == "parquet":
            _write_parquet(new[0], _examples(stores, wanted, counts))
        else:
            _write_lines(new, _examples(stores, wanted, counts))
        sha256 = sha256_of(new[0])
        provenance = str(beside) if len(targets) > 1 else None
        report = _report(counts, str(path), sha256, provenance)
        _record(stores.ledger, wanted, report, actor)
        for made, target in reversed(list(zip(new, targets, strict=True))):
            os.replace(made, target)
        sync_folder(path.parent)
    return report


def write_decisions(
    stores: Stores,
    format: ExportFormat,
    out: BinaryIO,
    splits: Iterable[Split] | None = None,
    include_sensitive: bool = False,
    app: str | None = None,
    actor: str = "export",
) -> ExportReport:
    """Write the lines of a format to an open file, such as stdout, and enter it in the audit log.

    Where rows come from has no place there for OpenAI's formats. Raises BadInput for Parquet.
    """
    wanted = _Wanted(_known(format), frozenset(splits or ()), app, include_sensitive)
    if format == "parquet":
        raise BadInput("Parquet is no lines of text; name a file with --out")
    counts = _Counts()
    digest = hashlib.sha256()
    for example in _examples(stores, wanted, counts):
        line = _line(example.row)
        digest.update(line)
        out.write(line)
    report = _report(counts, "-", digest.hexdigest(), None)
    _record(stores.ledger, wanted, report, actor)
    return report


def versions_without_document(ledger: Ledger) -> list[tuple[str, str]]:
    """Versions of traces that people decided on and whose document is not published."""
    return [
        (said.trace_id, said.content_hash)
        for said in decided_versions(ledger)
        if said.split is None
    ]


def _known(format: str) -> ExportFormat:
    for known in EXPORT_FORMATS:
        if known == format:
            return known
    raise NotFound("export format", format, EXPORT_FORMATS)


def _require_free(targets: Sequence[Path], force: bool) -> None:
    if not targets[0].parent.is_dir():
        raise BadInput(f"there is no folder {targets[0].parent} to write {targets[0].name} to")
    for target in targets:
        if target.is_dir():
            raise BadInput(f"{target} is a folder; name a file in it")
        if target.exists() and not force:
            raise Refused(f"{target} exists; --force replaces it")


def _report(counts: _Counts, path: str, sha256: str, provenance: str | None) -> ExportReport:
    left_out = dict(sorted(counts.left_out.items()))
    n_corrections = len(counts.corrections)
    return ExportReport(
        counts.rows, counts.traces, n_corrections, left_out, path, sha256, provenance
    )


def _record(ledger: Ledger, wanted: _Wanted, report: ExportReport, actor: str) -> None:
    with ledger.begin() as connection:
        record_action(
            connection,
            actor,
            "export",
            wanted.format,
            splits=sorted(wanted.splits),
            app=wanted.app,
            include_sensitive=wanted.include_sensitive,
            rows=report.rows,
            traces=report.traces,
            left_out=report.left_out,
            sha256=report.sha256,
        )


def _examples(stores: Stores, wanted: _Wanted, counts: _Counts) -> Iterator[Example]:
    """The rows of all traces, by trace id; what there is no row for is counted."""
    for said in decided_versions(stores.ledger):
        if not _is_asked_for(said, wanted):
            continue
        why = _why_nothing(said, wanted)
        if why is not None:
            counts.left_out[why] += 1
        else:
            yield from _of_trace(_with_messages(stores, said), wanted.format, counts)


def _why_nothing(said: DecidedVersion, wanted: _Wanted) -> str | None:
    if said.is_sensitive and not wanted.include_sensitive:
        return "flagged as sensitive"
    if said.split is None:
        return "no trace document"
    return why_nothing(said, wanted.format)


def _is_asked_for(said: DecidedVersion, wanted: _Wanted) -> bool:
    if said.split is None:
        # Nobody can tell what it is of: it is counted.
        return True
    is_of_split = not wanted.splits or said.split in wanted.splits
    return is_of_split and wanted.app in (None, said.app)


def _of_trace(trace: DecidedTrace, format: ExportFormat, counts: _Counts) -> Iterator[Example]:
    before = counts.rows
    for made in examples_of(trace, format):
        if not isinstance(made, Example):
            counts.left_out[made.why] += 1
            continue
        counts.rows += 1
        counts.corrections |= {
            vote.decision_id
            for vote in trace.said.corrections
            if made.provenance.get("decision_id", vote.decision_id) == vote.decision_id
        }
        yield made
    counts.traces += counts.rows > before


def _with_messages(stores: Stores, said: DecidedVersion) -> DecidedTrace:
    document = open_document(stores, said.trace_id, said.content_hash)
    messages = document.messages(0, document.header.n_messages)
    return DecidedTrace(said, messages, tools_in(document.header.metadata))


def _line(row: Row) -> bytes:
    text = json.dumps(row, ensure_ascii=False).translate(_LINE_ENDS)
    return (encodable(text) + "\n").encode()


def _write_lines(paths: Sequence[Path], examples: Iterable[Example]) -> None:
    """The rows to the first file, and where they come from to the second, if there is one."""
    with ExitStack() as files:
        opened = [files.enter_context(path.open("wb")) for path in paths]
        for number, example in enumerate(examples, start=1):
            lines = [_line(example.row), _line({"line": number} | example.provenance)]
            for file, line in zip(opened, lines, strict=False):
                file.write(line)
        for file in opened:
            file.flush()
            os.fsync(file.fileno())


def _write_parquet(path: Path, examples: Iterable[Example]) -> None:
    # The web app imports this module and should stay small.
    from flywheel.review.export_parquet import write_parquet

    write_parquet(path, (example.row for example in examples), GROUP_ROWS, GROUP_CHARACTERS)
