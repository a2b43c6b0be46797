"""Partitions of the warehouse: replaced whole, and kept as Parquet so that they can be rebuilt.

Rows of one partition in; the one idea is that running a partition again replaces exactly its own
rows and nothing else, and that what was written can be written again from the artifacts alone.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa

from flywheel.store.ledger import now
from flywheel.store.tables import snapshots
from flywheel.store.warehouse import Connection

if TYPE_CHECKING:
    from flywheel.store import Stores

KIND = "snapshots"
Key = Mapping[str, object]
# Table -> (key, rows).
Parts = Mapping[str, tuple[Key, pa.Table]]


def write_partition(stores: "Stores", parts: Parts) -> None:
    """Replace partitions of several tables in one transaction, then keep their snapshots.

    `parts` is table -> (key, rows): the rows whose columns equal the key are replaced by `rows`. A
    process that dies before the snapshots leaves rows that running the partition again replaces.
    """
    write_partitions(stores, [parts])


def write_partitions(stores: "Stores", many: Sequence[Parts]) -> None:
    """`write_partition` for many at once, in one transaction for all of them."""

    def replace_all(connection: Connection) -> None:
        for parts in many:
            for table, (key, rows) in parts.items():
                replace_rows(connection, table, key, rows)

    # Keys of one table overlap where their day is one; they have all a day, or none has.
    turns = {str(key.get("day", "")) for parts in many for key, _ in parts.values()}
    stores.warehouse.write(replace_all, turns)
    kept = [_kept(stores, table, *part) for parts in many for table, part in parts.items()]
    with stores.ledger.begin() as ledger:
        for row in kept:
            same = [snapshots.c[name] == row[name] for name in ("table_name", "partition")]
            ledger.execute(snapshots.delete().where(*same))
            ledger.execute(snapshots.insert().values(row))


def current_run(
    day: date, metric: str, metric_version: str, judge: str, *others: str
) -> tuple[Key, pa.Table]:
    """The partition that puts the scores of one version in force for its day.

    With `others` beside it where applications have judges of their own. A day that is run again by
    an earlier version, after a rollback, goes by that version again.
    """
    key = {"day": day, "metric": metric}
    rows = [key | {"metric_version": metric_version, "judge": each} for each in (judge, *others)]
    return key, pa.Table.from_pylist(rows)


def replace_rows(connection: Connection, table: str, key: Key, rows: pa.Table) -> None:
    """Replace the rows of `table` that have the key's values; `rows` is matched by column name."""
    where = " and ".join(f"{column} = ${column}" for column in key)
    connection.raw.execute(f"delete from {table} where {where}", dict(key))  # noqa: S608
    with connection.given(new_rows=rows):
        connection.raw.execute(f"insert into {table} by name select * from new_rows")  # noqa: S608


def require_snapshots(stores: "Stores") -> None:
    """Raise NotFound or BadArtifact where a kept snapshot could not be restored."""
    with stores.ledger.read() as ledger:
        kept = ledger.scalars(sa.select(snapshots.c.artifact)).all()
    for artifact in kept:
        stores.artifacts.whole(KIND, artifact)


def restore_all(stores: "Stores") -> int:
    """Write every kept snapshot into the warehouse again; the number of partitions."""
    with stores.ledger.begin() as ledger:
        kept = ledger.execute(sa.select(snapshots).order_by(snapshots.c.snapshot_id)).all()
    for row in kept:
        rows = pq.read_table(stores.artifacts.whole(KIND, row.artifact))
        with stores.warehouse.open() as connection, connection.given(new_rows=rows):
            connection.raw.execute(
                f"insert into {row.table_name} by name select * from new_rows"  # noqa: S608
            )
    return len(kept)


def _kept(stores: "Stores", table: str, key: Key, rows: pa.Table) -> dict[str, object]:
    """Write the rows as an artifact; the row of the ledger that names it."""
    with stores.artifacts.new_file(KIND, ".parquet") as file:
        pq.write_table(rows, file.path, compression="zstd")
    return {
        "table_name": table,
        "partition": ",".join(f"{column}={value}" for column, value in sorted(key.items())),
        "artifact": file.name,
        "n_rows": rows.num_rows,
        "written_at": now(),
    }
