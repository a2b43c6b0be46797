"""Stores of an earlier release: brought up to date on first use, without the loss of a row."""

from datetime import date, datetime
from pathlib import Path

import alembic.command
import alembic.config
import duckdb
import pytest
import sqlalchemy as sa

import flywheel.store
from flywheel.corrections import derive_labels
from flywheel.queue import ItemFilter, claim_next, list_items
from flywheel.review import decide, standing_decisions, undo
from flywheel.store import Project, open_project
from flywheel.store.ledger import Ledger
from flywheel.store.queries import query, schema_files
from flywheel.store.warehouse import Warehouse
from tests.conftest import trace
from tests.judged import DAY, add_traces, said

MOMENT = datetime(2026, 3, 2, 10)


# Ledger


def ledger_at(path: Path, revision: str) -> sa.Engine:
    """A SQLite ledger as the release of that migration left it."""
    config = alembic.config.Config()
    config.set_main_option(
        "script_location", str(Path(flywheel.store.__file__).parent / "migrations")
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        alembic.command.upgrade(config, revision)
    return engine


def value_for(column: "sa.Column[object]", number: int) -> object:
    """Something of the column's type that is another in each row."""
    values: dict[type, object] = {
        int: number,
        float: number / 8,
        bool: bool(number % 2),
        str: f"{column.name} {number}",
        date: date(2026, 3, number),
        datetime: MOMENT.replace(minute=number),
    }
    return values[column.type.python_type]


def rows_in(engine: sa.Engine, table: sa.Table) -> list[dict[str, object]]:
    key = sa.inspect(engine).get_pk_constraint(table.name)["constrained_columns"]
    with engine.begin() as connection:
        rows = connection.execute(sa.select(table).order_by(*(table.c[name] for name in key)))
        return [dict(row) for row in rows.mappings()]


def test_a_ledger_of_the_first_release_keeps_every_row(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    engine = ledger_at(path, "0001")
    old = sa.MetaData()
    old.reflect(engine)
    tables = [table for table in old.sorted_tables if table.name != "alembic_version"]
    assert len(tables) == 9
    with engine.begin() as connection:
        for table in tables:
            rows = [{c.name: value_for(c, n) for c in table.columns} for n in (1, 2, 3)]
            connection.execute(table.insert(), rows)
    before = {table.name: rows_in(engine, table) for table in tables}
    ledger = Ledger(f"sqlite:///{path}")
    with ledger.read() as connection:
        assert connection.scalar(sa.text("select version_num from alembic_version")) != "0001"
    ledger.close()
    new = sa.MetaData()
    new.reflect(engine)
    for name, rows in before.items():
        for row, kept in zip(rows, rows_in(engine, new.tables[name]), strict=True):
            # Claims lie in a table of their own; those of before have run out.
            gone = {"claimed_by", "claimed_until"} if name == "queue_items" else set()
            assert {column: row[column] for column in row.keys() - gone}.items() <= kept.items()
            assert {kept[column] for column in kept.keys() - row.keys()} <= {None}
    engine.dispose()


def test_people_go_on_where_they_were(tmp_path: Path) -> None:
    """An item claimed, one decided on and one that waits, from before there were pages."""
    project = open_project(tmp_path)
    engine = ledger_at(project.data_dir / "ledger.sqlite", "0001")
    old = sa.MetaData()
    old.reflect(engine)
    item = {
        "queue": "review",
        "app": "shop",
        "day": DAY,
        "reason": "low_score",
        "priority": 0.5,
        "draw_probability": 0.25,
        "audit_probability": 0.1,
        "reviewers_needed": 1,
        "queued_at": MOMENT,
        "claimed_by": None,
        "claimed_until": None,
    }
    states = {
        "t0": {"status": "pending", "claimed_by": "bob", "claimed_until": MOMENT},
        "t1": {"status": "complete"},
        "t2": {"status": "pending"},
    }
    said_before = {
        "kind": "decide",
        "trace_id": "t1",
        "content_hash": "v1-t1",
        "reviewer": "ann",
        "perceived_error": True,
        "rubric_version": "1",
        "is_audit": False,
        "reason": "no",
        "reason_code": "correction",
        "corrected_turn": 1,
        "corrected_text": "Yes.",
        "decided_at": MOMENT,
    }
    with engine.begin() as connection:
        for name, state in states.items():
            own = {"trace_id": name, "content_hash": f"v1-{name}"}
            connection.execute(old.tables["queue_items"].insert().values(item | own | state))
        connection.execute(old.tables["decisions"].insert().values(said_before))
    engine.dispose()
    ledger = project.stores.ledger
    assert list_items(ledger, ItemFilter(status=None)).n_all == 3
    (kept,) = standing_decisions(ledger)
    assert (kept.decision.reviewer, kept.decision.corrected_text) == ("ann", "Yes.")
    first = claim_next(ledger, "ann", ItemFilter(), lease_s=60)
    decide(ledger, said("t0", False), first)
    assert list_items(ledger, ItemFilter()).n_matching == 1
    add_traces(project.stores, [trace(name, "hi", "hello", "no") for name in states])
    assert derive_labels(project.stores).labels == 2
    undo(ledger, "ann")
    undo(ledger, "ann")
    assert list_items(ledger, ItemFilter()).n_matching == 3
    ledger.close()


# Warehouse

VALUES = {
    "VARCHAR": "'{name} ' || {n}",
    "VARCHAR[]": "['{name} ' || {n}]",
    "JSON": "'{{\"a\": {n}}}'",
    "BIGINT": "{n}",
    "INTEGER": "{n}",
    "DOUBLE": "{n} / 8",
    "BOOLEAN": "{n} = 1",
    "DATE": "date '2026-03-02' + {n}",
    "DATE[]": "[date '2026-03-02' + {n}]",
    "TIMESTAMP": "timestamp '2026-03-02 10:00:00' + to_minutes({n})",
}


def warehouse_at(path: Path, version: int) -> duckdb.DuckDBPyConnection:
    """A warehouse as the release with that many schema files left it, open."""
    raw = duckdb.connect(str(path))
    raw.execute(query("schema/schema_version"))
    for number, file in enumerate(schema_files()[:version], 1):
        raw.execute(file.read_text(encoding="utf-8"))
        raw.execute("insert into schema_version values (?, ?)", [number, file.stem])
    return raw


def contents(raw: duckdb.DuckDBPyConnection, columns: dict[str, str]) -> dict[str, list[object]]:
    """The rows of each table, of these columns of it."""
    return {
        name: raw.execute(f"select {of_table} from {name} order by all").fetchall()
        for name, of_table in columns.items()
    }


@pytest.mark.parametrize("version", range(2, len(schema_files())))
def test_a_warehouse_of_an_earlier_release_keeps_every_row(tmp_path: Path, version: int) -> None:
    path = tmp_path / "warehouse.duckdb"
    raw = warehouse_at(path, version)
    found = raw.execute(
        "select table_name, column_name, data_type from duckdb_columns() "
        "where not internal and table_name in (select table_name from duckdb_tables()) "
        "and table_name <> 'schema_version' order by table_oid, column_index"
    ).fetchall()
    tables: dict[str, dict[str, str]] = {}
    for table, column, kind in found:
        tables.setdefault(table, {})[column] = kind
    for table, kinds in tables.items():
        for n in (1, 2):
            values = [VALUES[kind].format(name=name, n=n) for name, kind in kinds.items()]
            raw.execute(f"insert into {table} select {', '.join(values)}")
    columns = {table: ", ".join(kinds) for table, kinds in tables.items()}
    before = contents(raw, columns)
    assert len(before) >= 13
    raw.close()
    with Warehouse(path).open() as connection:
        assert contents(connection.raw, columns) == before
        views = connection.raw.execute(
            "select view_name from duckdb_views() where not internal order by view_name"
        ).fetchall()
        for (view,) in views:
            connection.raw.execute(f"select * from {view}").fetchall()
        applied = connection.raw.execute("select max(version) from schema_version").fetchone()
    assert applied == (len(schema_files()),)


def test_a_label_derived_again_after_an_upgrade_is_the_same(project: Project) -> None:
    raw = warehouse_at(_warehouse_file(project), 2)
    raw.close()
    stores = project.stores
    add_traces(stores, [trace("t0", "hi", "hello", "no")])
    decide(stores.ledger, said("t0", True, corrected_turn=1, corrected_text="Yes."))
    report = derive_labels(stores)
    assert (report.labels, report.corrections) == (1, 1)


def _warehouse_file(project: Project) -> Path:
    project.stores.warehouse.path.parent.mkdir(parents=True, exist_ok=True)
    return project.stores.warehouse.path
