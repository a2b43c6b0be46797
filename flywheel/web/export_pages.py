"""Export: what people decided, handed out as a file, and who took what before.

The ledger and the trace documents in, a download out. The file is made whole before its first byte
is sent, so that the audit log has its hash, and is gone from the disk when it has been sent.
"""

import json
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, BinaryIO

import sqlalchemy as sa
from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import Response, StreamingResponse

from flywheel.records import EXPORT_FORMATS, SPLIT_EDGES, ExportFormat, Split
from flywheel.review import count_reviews
from flywheel.review.export import ExportReport, export_decisions
from flywheel.store.ledger import Ledger, in_utc, now
from flywheel.store.tables import audit_log, trace_documents
from flywheel.web.access import Actor, may
from flywheel.web.context import Web, web_of
from flywheel.web.pages import page

router = APIRouter()

# Earlier exports that the page lists; the audit log has all.
LISTED = 10
BLOCK = 1 << 18

Exporter = Annotated[Actor, Depends(may("export"))]

# For whom each format is.
FORMATS: dict[ExportFormat, str] = {
    "jsonl": "JSON lines: every decided trace with its messages and all votes",
    "parquet": "Parquet: the same, for notebooks and warehouses",
    "openai-sft": "OpenAI fine-tuning: conversations that end with the corrected answer",
    "openai-dpo": "OpenAI preference tuning: the corrected answer against what was said",
    "trl-sft": "TRL supervised: prompt, completion",
    "trl-dpo": "TRL preferences: prompt, chosen, rejected",
    "trl-kto": "TRL KTO: prompt, completion, label; traces without a correction too",
}
_MEDIA = {
    ".jsonl": "application/x-ndjson",
    ".parquet": "application/vnd.apache.parquet",
    ".zip": "application/zip",
}


@dataclass(frozen=True, slots=True)
class Earlier:
    """An export that somebody made."""

    happened_at: datetime
    actor: str
    format: str
    rows: int
    left_out: dict[str, int]
    sha256: str


@router.get("/export")
def show_export(request: Request, actor: Exporter) -> Response:
    """What can be exported, and what was."""
    ledger = web_of(request).stores.ledger
    return page(
        request,
        actor,
        "export.html",
        formats=FORMATS,
        splits=[split for _, split in SPLIT_EDGES],
        apps=_apps(ledger),
        counts=count_reviews(ledger),
        earlier=_earlier(ledger),
    )


@router.post("/export")
def make_export(
    request: Request,
    actor: Exporter,
    format: Annotated[ExportFormat, Form()],
    split: Annotated[list[Split], Form()] = [],  # noqa: B006  # FastAPI copies it
    app: Annotated[str, Form(max_length=400)] = "",
    include_sensitive: Annotated[bool, Form()] = False,
) -> Response:
    """The file, as a download."""
    return download(web_of(request), actor.name, format, split, app, include_sensitive)


def download(
    web: Web,
    actor: str,
    format: ExportFormat,
    splits: Sequence[Split],
    app: str,
    include_sensitive: bool,
) -> Response:
    """An export as an answer, entered in the audit log; its headers count what is in it.

    OpenAI's formats have no room for where a row comes from: they come as a ZIP of two files.
    """
    suffix = ".parquet" if format == "parquet" else ".jsonl"
    name = f"decisions-{format}-{now():%Y-%m-%d}"
    with tempfile.TemporaryDirectory(prefix="flywheel-export-") as folder:
        path = Path(folder) / f"{name}{suffix}"
        report = export_decisions(
            web.stores, format, path, splits, include_sensitive, app or None, actor=actor
        )
        if report.provenance is not None:
            path = _zipped(path, Path(report.provenance))
        size = path.stat().st_size
        # The open file is all that is left of it when the folder is gone.
        file = path.open("rb")
    headers = _counts(report) | {
        "Content-Disposition": f'attachment; filename="{path.name}"',
        "Content-Length": str(size),
    }
    return StreamingResponse(_blocks(file), media_type=_MEDIA[path.suffix], headers=headers)


def _zipped(*paths: Path) -> Path:
    packed = paths[0].with_suffix(".zip")
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in paths:
            archive.write(path, path.name)
    return packed


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while block := file.read(BLOCK):
            yield block


def _counts(report: ExportReport) -> dict[str, str]:
    return {
        "X-Rows": str(report.rows),
        "X-Traces": str(report.traces),
        "X-Corrections": str(report.corrections),
        "X-Left-Out": json.dumps(report.left_out),
        "X-Content-SHA256": report.sha256,
    }


def _apps(ledger: Ledger) -> list[str]:
    known = sa.select(trace_documents.c.app).distinct().order_by(trace_documents.c.app)
    with ledger.read() as connection:
        return list(connection.scalars(known))


def _earlier(ledger: Ledger) -> list[Earlier]:
    entries = audit_log.c
    newest = (
        sa.select(entries.happened_at, entries.actor, entries.subject, entries.detail)
        .where(entries.action == "export", entries.subject.in_(EXPORT_FORMATS))
        .order_by(entries.entry_id.desc())
        .limit(LISTED)
    )
    with ledger.read() as connection:
        rows = connection.execute(newest).mappings().all()
    return [_earlier_of(row) for row in rows]


def _earlier_of(row: sa.RowMapping) -> Earlier:
    detail = json.loads(row["detail"])
    return Earlier(
        happened_at=in_utc(row["happened_at"]),
        actor=row["actor"],
        format=row["subject"],
        rows=detail["rows"],
        left_out=detail["left_out"],
        sha256=detail["sha256"],
    )
