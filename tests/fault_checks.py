"""What must hold after every fault: nothing acknowledged is lost or doubled, and files are whole.

A project and what was acknowledged in, sentences on what is wrong out; none is what a round should
end with.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa
import zstandard

from flywheel.errors import FlywheelError
from flywheel.retrieval.index import KINDS, current_version, read_generation
from flywheel.store import Project
from flywheel.store.artifacts import Artifacts
from flywheel.store.ledger import Ledger
from tests.fault_work import Acknowledged
from tests.reviewing import crowded_items

_HASH = re.compile(r"[0-9a-f]{64}")
# How often anything was acknowledged, and twice: rows of (what, id, times).
_TRACES = "select trace_id, count(distinct content_hash), count(*) from traces group by trace_id"
_SPANS = "select span_id, count(*) from spans group by span_id"


def wrong_now(project: Project, acknowledged: Acknowledged) -> list[str]:
    """Everything that does not hold, after a loop that ran to its end."""
    return [
        *_lost_traces(project, acknowledged),
        *_lost_decisions(project, acknowledged),
        *_unfounded_promotions(project.stores.ledger),
        *_broken_ledger(project.stores.ledger),
        *broken_artifacts(project.stores.artifacts),
        *_broken_indexes(project),
        *(f"item {one} has more people than it needs" for one in crowded_items(_l(project))),
    ]


def _l(project: Project) -> Ledger:
    return project.stores.ledger


def _lost_traces(project: Project, acknowledged: Acknowledged) -> Iterator[str]:
    sent = acknowledged.of("request")
    with project.stores.warehouse.open() as connection:
        traces = {row[0]: row[1:] for row in connection.raw.execute(_TRACES).fetchall()}
        spans = dict(connection.raw.execute(_SPANS).fetchall())
    for row in sent:
        for trace_id in row["trace_ids"]:  # type: ignore[attr-defined]
            if traces.get(trace_id) != (1, 1):
                yield f"trace {trace_id} was acknowledged, and stands as {traces.get(trace_id)}"
        for span_id in row["span_ids"]:  # type: ignore[attr-defined]
            if spans.get(span_id) != 1:
                yield f"span {span_id} was acknowledged, and is there {spans.get(span_id, 0)} times"


def _lost_decisions(project: Project, acknowledged: Acknowledged) -> Iterator[str]:
    query = sa.text(
        "select d.decision_id, d.reviewer, q.item_id, d.corrected_text from decisions d "
        "join queue_items q on q.trace_id = d.trace_id and q.content_hash = d.content_hash "
        "where d.kind = 'decide'"
    )
    with project.stores.ledger.read() as ledger:
        kept = {row[0]: tuple(row[1:]) for row in ledger.execute(query)}
    with project.stores.warehouse.open() as connection:
        mirrored = connection.raw.execute("select correction_id, corrected_text from corrections")
        corrections = Counter((str(one), text) for one, text in mirrored.fetchall())
        standing = connection.raw.execute("select decision_id from decisions").fetchall()
    mirror = Counter(str(one) for (one,) in standing)
    for row in acknowledged.of("decision"):
        number, text = row["decision_id"], row["text"]
        if kept.get(number) != (row["reviewer"], row["item_id"], text):
            yield f"decision {number} was acknowledged, and the ledger has {kept.get(number)}"
        elif mirror[str(number)] != 1:
            yield f"decision {number} is in the warehouse {mirror[str(number)]} times"
        elif text and corrections[str(number), text] != 1:
            yield f"correction {number} is in the warehouse {corrections[str(number), text]} times"
    for said, n in Counter((who, item) for who, item, _ in kept.values()).items():
        if n > 1:
            yield f"{said[0]} has decided {n} times on item {said[1]}"


def _unfounded_promotions(ledger: Ledger) -> Iterator[str]:
    with ledger.read() as connection:
        moves = connection.execute(
            sa.text("select subject, action, detail from audit_log order by entry_id")
        ).all()
        passed = {
            tuple(row)
            for row in connection.execute(
                sa.text("select target, challenger, champion from gate_verdicts where passed")
            )
        }
        aliases = {
            (row.target, row.alias): row.version
            for row in connection.execute(sa.text("select target, alias, version from aliases"))
        }
    champions: dict[str, str] = {}
    for subject, action, detail in moves:
        if not subject.endswith("@champion"):
            continue
        said, target = json.loads(detail), subject.removesuffix("@champion")
        was, champions[target] = champions.get(target), said["version"]
        if action == "promote" and (target, said["version"], was) not in passed:
            yield f"{said['version']} was promoted over {was} without a passed verdict"
    for (target, alias), version in aliases.items():
        if alias == "champion" and champions.get(target) != version:
            yield f"{target} has the champion {version}, and the log says {champions.get(target)}"


def _broken_ledger(ledger: Ledger) -> Iterator[str]:
    if not ledger.url.startswith("sqlite"):
        return
    with ledger.read() as connection:
        said = [row[0] for row in connection.exec_driver_sql("pragma integrity_check")]
        orphans = connection.exec_driver_sql("pragma foreign_key_check").all()
    if said != ["ok"] or orphans:
        yield f"the ledger is broken: {said[:3]} {orphans[:3]}"


def broken_artifacts(artifacts: Artifacts) -> Iterator[str]:
    """Files whose name is not the hash of what they hold; files under way are none yet."""
    for path in sorted(artifacts.root.rglob("*")):
        if path.is_file() and _HASH.fullmatch(path.stem) and ".new-" not in str(path):
            content = path.read_bytes()
            if path.suffix == ".zst":
                try:
                    content = zstandard.ZstdDecompressor().decompressobj().decompress(content)
                except zstandard.ZstdError:
                    content = b""
            if hashlib.sha256(content).hexdigest() != path.stem:
                yield f"{path} is not what its name says"


def _broken_indexes(project: Project) -> Iterator[str]:
    for purpose in KINDS:
        version = current_version(project.stores, purpose)
        if version is None:
            continue
        try:
            read_generation(project.stores, version, purpose=purpose)
        except FlywheelError as error:
            yield f"the index in use is broken after a whole loop: {error}"


def rows_of(project: Project) -> dict[str, str]:
    """A hash of all rows of each table of the warehouse, whatever their order."""
    tables = (
        "select table_name from information_schema.tables "
        "where table_schema = 'main' and table_type = 'BASE TABLE' order by 1"
    )
    found = {}
    with project.stores.warehouse.open() as connection:
        for (table,) in connection.raw.execute(tables).fetchall():
            rows = connection.raw.execute(f"select * from {table}").fetchall()
            said = "\n".join(sorted(map(repr, rows)))
            found[table] = f"{len(rows)} {hashlib.sha256(said.encode()).hexdigest()[:12]}"
    return found


def differences(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """The tables that are not the same."""
    return [
        f"{table}: {before.get(table)}, then {after.get(table)}"
        for table in sorted(before.keys() | after.keys())
        if before.get(table) != after.get(table)
    ]


def tracebacks(log: Path, start: int) -> list[str]:
    """The last line of each traceback that was written into a log from this byte on."""
    if not log.exists():
        return []
    said = log.read_bytes()[start:].decode(errors="replace")
    parts = said.split("Traceback (most recent call last):")[1:]
    return [next((line for line in p.splitlines() if line[:1].strip()), "")[:200] for p in parts]
