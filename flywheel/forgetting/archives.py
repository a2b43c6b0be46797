"""Files without those who must go: archived imports, snapshots, training sets, packs, publications.

A selection in, new files in place of old ones out; the one idea is that a file is first written
anew, then the ledger points to the new one, and only then the old one is removed: whoever is killed
in between leaves a file too many and never one too few.
"""

import json
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import sqlalchemy as sa

from flywheel.forgetting.packs import blank_documents, documents_in
from flywheel.forgetting.selection import Selection
from flywheel.store import Stores
from flywheel.store.snapshots import KIND as SNAPSHOTS
from flywheel.store.tables import imports, publications, snapshots, trace_documents, versions
from flywheel.traces.containers import plain_file
from flywheel.traces.documents import KIND as DOCUMENTS
from flywheel.traces.forgotten import Known, without_forgotten
from flywheel.traces.importing import RAW
from flywheel.training.dataset import KIND as TRAINING_SETS

# A file that the ledger does not know yet may be about to be entered by whoever wrote it.
_SETTLED_S = 3600.0


def rewrite_archives(stores: Stores, known: Known) -> Counter[str]:
    """Write archived imports anew without what must go; how many files and lines changed."""
    n: Counter[str] = Counter()
    with stores.ledger.read() as ledger:
        apps = dict(ledger.execute(sa.select(imports.c.artifact, imports.c.app)).all())
    for path in _files(stores, RAW):
        with tempfile.TemporaryDirectory(prefix="flywheel-") as scratch:
            left = Path(scratch) / "left"
            with stores.artifacts.plain(RAW, path.name) as plain:
                n_lines = without_forgotten(plain, left, known, apps.get(path.name) or "")
            if not n_lines:
                continue
            n["lines of archives"] += n_lines
            n["archives"] += 1
            if path.name in apps or _is_new(path):
                name = stores.artifacts.put_compressed(RAW, left)
                this = imports.update().where(imports.c.artifact == path.name)
                with stores.ledger.begin() as ledger:
                    ledger.execute(this.values(artifact=name))
        path.unlink(missing_ok=True)
    return n


def files_left_in_place(stores: Stores, known: Known) -> list[str]:
    """Imports that were never copied (--no-copy) and that hold what must go; they are not ours."""
    with stores.ledger.read() as ledger:
        rows = ledger.execute(
            sa.select(imports.c.file, imports.c.app).where(imports.c.artifact.is_(None))
        ).all()
    found = []
    for file, app in rows:
        if not Path(file).exists():
            continue
        with plain_file(Path(file)) as plain, tempfile.TemporaryDirectory() as scratch:
            if without_forgotten(plain, Path(scratch) / "left", known, app or ""):
                found.append(str(file))
    return sorted(found)


def rewrite_snapshots(stores: Stores, gone: Selection) -> Counter[str]:
    """Write snapshots of warehouse rows and training sets anew; how many rows went."""
    n: Counter[str] = Counter()
    for path in _files(stores, SNAPSHOTS):
        if (name := _rewrite_parquet(stores, SNAPSHOTS, path, gone, n)) is not None:
            n_rows = pq.read_metadata(stores.artifacts.path(SNAPSHOTS, name)).num_rows
            this = snapshots.update().where(snapshots.c.artifact == path.name)
            with stores.ledger.begin() as ledger:
                ledger.execute(this.values(artifact=name, n_rows=n_rows))
            path.unlink(missing_ok=True)
    for path in _files(stores, TRAINING_SETS):
        if (name := _rewrite_parquet(stores, TRAINING_SETS, path, gone, n)) is not None:
            _rename_training_set(stores, path.name, name)
            path.unlink(missing_ok=True)
    return n


def blank_packs(stores: Stores, gone: Selection) -> Counter[str]:
    """Put zeros in place of documents in their packs; how many documents went."""
    n: Counter[str] = Counter()
    for path in _files(stores, DOCUMENTS):
        if not any(trace_id in gone.traces for trace_id, _, _ in documents_in(path)):
            continue
        with stores.artifacts.new_file(DOCUMENTS, path.suffix) as file:
            n_gone, n_left = blank_documents(path, file.path, gone.traces)
        n["documents in packs"] += n_gone
        this = trace_documents.c.artifact == path.name
        with stores.ledger.begin() as ledger:
            for start in sorted(gone.traces):
                ledger.execute(trace_documents.delete().where(trace_documents.c.trace_id == start))
            ledger.execute(trace_documents.update().where(this).values(artifact=file.name))
        path.unlink(missing_ok=True)
        if not n_left:
            stores.artifacts.remove(DOCUMENTS, file.name)
    return n


def withdraw_publications(stores: Stores, gone: Selection) -> Counter[str]:
    """Take back what was published and names a trace that must go; the next run makes it again."""
    n: Counter[str] = Counter()
    with stores.ledger.read() as ledger:
        rows = ledger.execute(sa.select(publications.c.name, publications.c.artifact)).all()
    for name, artifact in rows:
        path = stores.artifacts.root / name / artifact
        if path.exists() and _names_any(path, gone):
            with stores.ledger.begin() as ledger:
                ledger.execute(publications.delete().where(publications.c.name == name))
            stores.artifacts.remove(name, artifact)
            n["publications"] += 1
    return n


def _files(stores: Stores, kind: str) -> list[Path]:
    folder = stores.artifacts.root / kind
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))


def _is_new(path: Path) -> bool:
    return time.time() - path.stat().st_mtime < _SETTLED_S


def _rewrite_parquet(
    stores: Stores, kind: str, path: Path, gone: Selection, n: Counter[str]
) -> str | None:
    """The name of the new file; None where it holds nothing that must go."""
    table = pq.read_table(path)
    stays = pa.array([True] * len(table), pa.bool_())
    for column, names in (("trace_id", gone.traces), ("correction_id", gone.examples)):
        if column in table.column_names and names:
            is_named = pc.is_in(table[column], value_set=pa.array(sorted(names), pa.string()))
            stays = pc.and_(stays, pc.invert(is_named).combine_chunks())
    kept = table.filter(stays)
    if len(kept) == len(table):
        return None
    n[f"rows of {kind.replace('_', ' ')}"] += len(table) - len(kept)
    with stores.artifacts.new_file(kind, ".parquet") as file:
        pq.write_table(kept, file.path, compression="zstd")
    return file.name


def _rename_training_set(stores: Stores, before: str, after: str) -> None:
    """Let the manifests of those that were trained on it name what is left of it."""
    with stores.ledger.begin() as ledger:
        rows = ledger.execute(sa.select(versions.c.version, versions.c.manifest)).all()
        for version, manifest in rows:
            said = json.loads(manifest)
            if said.get("training_set") == before:
                text = json.dumps(said | {"training_set": after}, sort_keys=True)
                this = versions.update().where(versions.c.version == version)
                ledger.execute(this.values(manifest=text))


def _names_any(path: Path, gone: Selection) -> bool:
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        if "trace_id" not in table.column_names:
            return False
        return not gone.traces.isdisjoint(table["trace_id"].to_pylist())
    try:
        return any(text in gone.names for text in _strings(json.loads(path.read_bytes())))
    except ValueError:
        return True


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
        # A link to a trace has its name at the end.
        yield value.rsplit("/", 1)[-1]
    elif isinstance(value, list):
        for part in value:
            yield from _strings(part)
    elif isinstance(value, dict):
        for key, part in value.items():
            yield key
            yield from _strings(part)
