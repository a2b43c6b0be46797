"""What a project says of a file whose last bytes are damaged: it must say so, or make it again.

Nothing may be silently wrong. Each kind of file has a way in which it is read; what cannot be made
again is put back from a copy afterwards, as from a backup.
"""

import shutil
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from flywheel.errors import BadArtifact, FlywheelError
from flywheel.quality.publishing import published_quality
from flywheel.store import Project, open_project
from flywheel.store.ledger import Ledger, record_action
from flywheel.store.tables import trace_documents
from flywheel.traces.documents import open_document
from tests.damage import damage, one_of
from tests.fault_checks import differences, rows_of
from tests.forked import command

if TYPE_CHECKING:
    from tests.faults import World

# What a rebuild alone reads.
_REBUILT = ("raw archive", "snapshot")
_LEDGER = ("ledger", "write-ahead log")


def look_after(world: "World", kind: str, day: date) -> list[str]:
    """Damage one file of this kind, and see what is said; what is wrong with that."""
    folder = world.project.data_dir
    if kind in _LEDGER:
        return _of_ledger(world, kind)
    # What was decided since the last loop came to the warehouse would be new after a rebuild.
    wrong = world.whole_loop(day) if kind in (*_REBUILT, "warehouse") else []
    path = one_of(world.chance, folder, kind)
    if path is None:
        world.told.seen[f"{kind}: there was none"] += 1
        return wrong
    copy = Path(shutil.copy2(path, world.folder / "copy"))
    before = rows_of(world.project)
    documents = _documents(world.project)
    done = damage(world.chance, path)
    looked = {
        "raw archive": _by_rebuild,
        "snapshot": _by_rebuild,
        "warehouse": _by_loop_and_rebuild,
        "document": _by_reading,
        "published report": _by_report,
    }.get(kind, _by_the_next)
    wrong += looked(world, day, before, documents)
    if kind in (*_REBUILT, "document"):
        shutil.copy2(copy, path)
    return [f"{done}: {one}" for one in wrong]


def _tell(world: "World", what: str) -> None:
    world.told.seen[what] += 1


def _by_rebuild(world: "World", _: date, before: dict[str, str], __: object) -> list[str]:
    start = world.log.stat().st_size
    code, said = world.run("warehouse", "rebuild").wait(), world.said_since(start)
    _tell(world, f"rebuild said {code}")
    changed = differences(before, rows_of(world.project))
    if code == 0:
        return changed
    wrong = [] if said.startswith("flywheel: ") and "damaged" in said else [f"it said {said!r}"]
    return wrong + [f"a rebuild that failed left other rows: {one}" for one in changed]


def _by_loop_and_rebuild(
    world: "World", day: date, before: dict[str, str], __: object
) -> list[str]:
    start = world.log.stat().st_size
    code, said = world.run("loop", "--day", str(day)).wait(), world.said_since(start)
    _tell(world, f"a loop on a damaged warehouse said {code}")
    if code and not (said.startswith("flywheel: ") and "rebuild" in said):
        return [f"it said {said!r}"]
    start = world.log.stat().st_size
    if world.run("warehouse", "rebuild").wait():
        return [f"it could not be rebuilt: {world.said_since(start)}"]
    return differences(before, rows_of(world.project)) if code else []


def _by_the_next(world: "World", _: date, __: object, ___: object) -> list[str]:
    """The loop that ends the round makes it again, and what then stands is looked at."""
    _tell(world, "damage was left to the next loop")
    return []


def _documents(project: Project) -> dict[tuple[str, str], str]:
    """What each document says, or that it is damaged."""
    with project.stores.ledger.read() as ledger:
        names = ledger.execute(sa.select(trace_documents.c["trace_id", "content_hash"])).all()
    found = {}
    for trace_id, content_hash in names:
        try:
            document = open_document(project.stores, trace_id, content_hash)
            found[trace_id, content_hash] = repr((document.header, document.messages(0, 100)))
        except BadArtifact as error:
            found[trace_id, content_hash] = f"damaged: {error}"
    return found


def _by_reading(
    world: "World", _: date, __: object, before: dict[tuple[str, str], str]
) -> list[str]:
    after = _documents(world.project)
    other = {one: said for one, said in after.items() if said != before[one]}
    _tell(world, f"{'some' if other else 'no'} documents were said to be damaged")
    return [f"{one} reads {said}" for one, said in other.items() if said[:8] != "damaged:"]


def _by_report(world: "World", _: date, __: object, ___: object) -> list[str]:
    try:
        published_quality(world.project.stores)
    except FlywheelError:
        _tell(world, "the report was said to be damaged")
        return []
    return ["the report was read as if it were whole"]


def _of_ledger(world: "World", kind: str) -> list[str]:
    """Damage a copy of the ledger, and ask the doctor there."""
    world.server.kill()
    # Whoever closes last empties the log: it has to be as a power cut leaves it.
    with world.project.stores.ledger.begin() as connection:
        record_action(connection, "test", "ping", "ledger")
    before = _rows_in(world.project)
    home = world.folder / "damaged"
    shutil.rmtree(home, ignore_errors=True)
    data = home / world.project.settings.project.data_dir
    data.mkdir(parents=True)
    for path in world.project.data_dir.glob("ledger.sqlite*"):
        if not path.name.endswith("-shm"):
            shutil.copy2(path, data / path.name)
    world.server.start()
    path = one_of(world.chance, data, kind)
    if path is None:
        _tell(world, f"{kind}: there was none")
        return []
    done = damage(world.chance, path)
    start = world.log.stat().st_size
    command(home, world.log, "doctor").wait()
    said = world.log.read_bytes()[start:].decode(errors="replace")
    is_told = "damaged" in said
    _tell(world, f"the doctor {'told' if is_told else 'told nothing'} of a damaged {kind}")
    if is_told:
        return []
    try:
        after = _rows_in(open_project(home))
    except (sa.exc.DBAPIError, FlywheelError) as error:
        return [f"{done}: the doctor said nothing, and it cannot be read: {error}"]
    return [f"{done}, and nothing was said: {one}" for one in differences(before, after)]


def _rows_in(project: Project) -> dict[str, str]:
    ledger: Ledger = project.stores.ledger
    with ledger.read() as connection:
        tables = sa.inspect(connection).get_table_names()
        found = {
            table: repr(sorted(map(repr, connection.exec_driver_sql(f"select * from {table}"))))
            for table in tables
        }
    return {table: str(hash(said)) for table, said in found.items()}
