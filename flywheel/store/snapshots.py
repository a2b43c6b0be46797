"""Partitions of the warehouse: replaced whole, and kept as Parquet so that they can be rebuilt.

Rows of one partition in; the one idea is that running a partition again replaces exactly its own
rows and nothing else, and that what was written can be written again from the artifacts alone.
"""

from collections.abc import Mapping
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


def write_partition(stores: "Stores", parts: Mapping[str, tuple[Key, pa.Table]]) -> None:
    """Replace partitions of several tables in one transaction, then keep their snapshots.

    `parts` is table -> (key, rows): the rows whose columns equal the key are replaced by `rows`. A
    process that dies before the snapshots leaves rows that running the partition again replaces.
    """
    with stores.warehouse.open() as connection, connection.transaction():
        for table, (key, rows) in parts.items():
            replace_rows(connection, table, key, rows)
    for table, (key, rows) in parts.items():
        _keep(stores, table, key, rows)


def current_run(day: date, metric: str, metric_version: str, judge: str) -> tuple[Key, pa.Table]:
    """The partition that puts the scores of one version in force for its day.

    A day that is run again by an earlier version, after a rollback, goes by that version again.
    """
    key = {"day": day, "metric": metric}
    row = key | {"metric_version": metric_version, "judge": judge}
    return key, pa.Table.from_pylist([row])


def replace_rows(connection: Connection, table: str, key: Key, rows: pa.Table) -> None:
    """Replace the rows of `table` that have the key's values; `rows` is matched by column name."""
    where = " and ".join(f"{column} = ${column}" for column in key)
    connection.raw.execute(f"delete from {table} where {where}", dict(key))  # noqa: S608
    with connection.given(new_rows=rows):
        connection.raw.execute(f"insert into {table} by name select * from new_rows")  # noqa: S608


def restore_all(stores: "Stores") -> int:
    """Write every kept snapshot into the warehouse again; the number of partitions."""
    with stores.ledger.begin() as ledger:
        kept = ledger.execute(sa.select(snapshots).order_by(snapshots.c.snapshot_id)).all()
    for row in kept:
        rows = pq.read_table(stores.artifacts.path(KIND, row.artifact))
        with stores.warehouse.open() as connection, connection.given(new_rows=rows):
            connection.raw.execute(
                f"insert into {row.table_name} by name select * from new_rows"  # noqa: S608
            )
    return len(kept)


def _keep(stores: "Stores", table: str, key: Key, rows: pa.Table) -> None:
    with stores.artifacts.new_file(KIND, ".parquet") as file:
        pq.write_table(rows, file.path, compression="zstd")
    partition = ",".join(f"{column}={value}" for column, value in sorted(key.items()))
    same = sa.and_(snapshots.c.table_name == table, snapshots.c.partition == partition)
    with stores.ledger.begin() as ledger:
        ledger.execute(snapshots.delete().where(same))
        ledger.execute(
            snapshots.insert().values(
                table_name=table,
                partition=partition,
                artifact=file.name,
                n_rows=rows.num_rows,
                written_at=now(),
            )
        )
