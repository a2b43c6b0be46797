"""The warehouse without those who must go: rows deleted, and the file written anew.

A selection in, one transaction, and how many rows of which table it took. DuckDB does not overwrite
what it deletes, so the file is copied, row by row, into a new one that takes its place.
"""

from collections import Counter

from flywheel.forgetting.holders import WAREHOUSE, named
from flywheel.forgetting.selection import Selection, table_of
from flywheel.store import Stores


def remove_from_warehouse(stores: Stores, gone: Selection) -> Counter[str]:
    """Delete what the warehouse holds of the selection; rows by table."""
    n: Counter[str] = Counter()
    traces, examples = table_of(gone.traces), table_of(gone.examples)
    with stores.warehouse.open() as connection:
        given = connection.given(gone=traces, gone_examples=examples)
        with connection.transaction(), given:
            for table in named(WAREHOUSE, "rows", "examples"):
                n[table] = _count(
                    connection.raw.execute(
                        f"delete from {table} where trace_id in (select name from gone)"  # noqa: S608
                    ).fetchone()
                )
            for table in named(WAREHOUSE, "examples"):
                n[table] += _count(
                    connection.raw.execute(
                        f"delete from {table} "  # noqa: S608
                        "where correction_id in (select name from gone_examples)"
                    ).fetchone()
                )
    return n


def forgettings_known(stores: Stores) -> set[str]:
    """The forgettings that the warehouse's file has been through."""
    with stores.warehouse.open() as connection:
        return {str(i) for (i,) in connection.rows("forgetting/known")}


def note_forgettings(stores: Stores, ids: set[str]) -> None:
    """Note in the warehouse that it has been through these."""
    with stores.warehouse.open() as connection, connection.given(forgotten=table_of(ids)):
        connection.run("forgetting/note")


def _count(row: tuple[object, ...] | None) -> int:
    return int(str(row[0])) if row else 0
