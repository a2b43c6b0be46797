"""A ledger that is moved to Postgres: every row, and none to the old file after, or nothing."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flywheel.errors import BadInput, BadSetting, Refused, TryAgain
from flywheel.store.ledger import Ledger, in_utc, now, record_action
from flywheel.store.moving import move_ledger
from flywheel.store.tables import (
    audit_log,
    inbox,
    item_metrics,
    metadata,
    queue_items,
    users,
)
from tests.postgres import new_database

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def old(tmp_path: Path) -> Iterable[Ledger]:
    """An empty ledger in a file."""
    made = Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    yield made
    made.close()


def insert(ledger: Ledger, table: sa.Table, *rows: dict[str, object]) -> None:
    with ledger.begin() as connection:
        connection.execute(table.insert(), list(rows))


def rows_of(ledger: Ledger) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every table, moments in UTC, in an order of its own."""
    with ledger.read() as connection:
        return {
            table.name: sorted(
                (tuple(map(plain, row)) for row in connection.execute(sa.select(table))), key=repr
            )
            for table in metadata.sorted_tables
        }


def plain(value: object) -> object:
    return in_utc(value) if isinstance(value, datetime) else value


def tables_in(url: str) -> list[str]:
    engine = sa.create_engine(url)
    try:
        return sa.inspect(engine).get_table_names()
    finally:
        engine.dispose()


def note(who: int = 1) -> dict[str, object]:
    return {
        "happened_at": now(),
        "actor": f"actor {who}",
        "action": "test",
        "subject": "s",
        "detail": "{}",
    }


# What a ledger's file may hold of each kind: no half characters, and SQLite makes NULL of a float
# that is no number. Six of each kind stand in every column of that kind.
TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40),
    st.sampled_from(["", "\\000 \\u0000 %s %(x)s :x {} quoted \"' \\", "é\u202e\U0001f9ea"]),
    st.sampled_from(['{"a": [1, null, "\\u0000"]}', "x" * 70_000, "[" * 500 + "]" * 500]),
)
KINDS: dict[type, st.SearchStrategy[object]] = {
    sa.BigInteger: st.integers(-(2**63), 2**63 - 1),
    sa.Integer: st.integers(-(2**31), 2**31 - 1),
    sa.Float: st.floats(allow_nan=False),
    sa.Boolean: st.booleans(),
    # To the microsecond, from the first year to the last.
    sa.DateTime: st.datetimes(timezones=st.just(UTC)),
    sa.Date: st.dates(),
    sa.LargeBinary: st.binary(max_size=300),
    sa.String: TEXTS,
}
ROWS = 6
DRAWN = st.fixed_dictionaries(
    {kind: st.lists(values, min_size=ROWS, max_size=ROWS) for kind, values in KINDS.items()}
)


def fill(ledger: Ledger, drawn: dict[type, list[object]]) -> None:
    """Put rows with the drawn values into every table, and nulls where they may be."""
    with ledger.begin() as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(table.delete())
        for table in metadata.sorted_tables:
            rows = [
                {c.name: value_for(c, n, place, drawn) for place, c in enumerate(table.columns)}
                for n in range(ROWS)
            ]
            connection.execute(table.insert(), rows)


def value_for(
    column: "sa.Column[object]", n: int, place: int, drawn: dict[type, list[object]]
) -> object:
    kind = next(kind for kind in KINDS if isinstance(column.type, kind))
    if column.nullable and (n + place) % 4 == 0:
        return None
    value = drawn[kind][(n + place) % ROWS]
    is_key = column.primary_key or column.unique or is_indexed(column)
    if is_key and kind is sa.Integer:
        return n + 1
    if is_key and kind is sa.String:
        # An index of Postgres takes 2,700 bytes.
        value = f"{n}{value}"[:80]
    if is_key and kind is sa.Date:
        return date(2026, 1, n + 1)
    return value[: getattr(column.type, "length", None)] if isinstance(value, str) else value


def is_indexed(column: "sa.Column[object]") -> bool:
    unique = [c for c in column.table.constraints if isinstance(c, sa.UniqueConstraint)]
    return any(column.name in one.columns for one in (*unique, *column.table.indexes))


@settings(
    max_examples=2,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(drawn=DRAWN)
def test_what_is_moved_is_the_same_to_the_last_bit(
    drawn: dict[type, list[object]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    old = Ledger(f"sqlite:///{tmp_path_factory.mktemp('moved') / 'ledger.sqlite'}")
    fill(old, drawn)
    before, url = rows_of(old), new_database()
    report = move_ledger(old, url)
    new = Ledger(url)
    try:
        assert report.tables == dict.fromkeys(before, ROWS)
        assert (report.rows, report.replaced) == (ROWS * len(before), 0)
        assert rows_of(new) == before
        assert rows_of(old) == before
    finally:
        new.close()
        old.close()


def test_a_moment_without_a_zone_is_one_in_utc(old: Ledger) -> None:
    """SQLite keeps no zone, and the server's own may be any."""
    at = datetime(2026, 3, 29, 1, 30, 0, 1, tzinfo=UTC)
    insert(old, audit_log, note() | {"happened_at": at})
    url = sa.make_url(new_database()).update_query_dict({"options": "-c timezone=Asia/Tokyo"})
    move_ledger(old, url.render_as_string(hide_password=False))
    new = Ledger(url.render_as_string(hide_password=False))
    with new.read() as connection:
        found = connection.scalar(sa.select(audit_log.c.happened_at))
    new.close()
    assert found == at
    assert found.utcoffset() == timedelta(hours=9)


def test_a_nul_that_postgres_has_not_is_replaced_and_counted(old: Ledger) -> None:
    insert(old, audit_log, note() | {"subject": "a\0b\0", "detail": "\0"})
    url = new_database()
    assert move_ledger(old, url).replaced == 2
    new = Ledger(url)
    assert [row[4:] for row in rows_of(new)["audit_log"]] == [("a\ufffdb\ufffd", "\ufffd")]
    new.close()


def test_numbers_go_on_where_they_stopped(old: Ledger) -> None:
    """Of the inbox after the last number ever: the warehouse knows which of them it has."""
    body = {"kind": "otlp", "app": "", "n_bytes": 1, "n_spans": 1, "received_at": now()}
    insert(old, audit_log, note(1), note(2))
    insert(old, inbox, *[body | {"body": b"x"}] * 5)
    with old.begin() as connection:
        connection.execute(inbox.delete())
    url = new_database()
    move_ledger(old, url)
    new = Ledger(url)
    with new.begin() as connection:
        assert connection.execute(audit_log.insert(), note(3)).inserted_primary_key == (3,)
        given_next = connection.execute(inbox.insert(), body | {"body": b"y"}).inserted_primary_key
        assert given_next == (6,)
    new.close()


def test_nothing_that_was_acknowledged_meanwhile_is_lost(old: Ledger) -> None:
    """Four writers, each of whom counts what it was told is stored, until it is turned away."""
    insert(old, audit_log, *[note() for _ in range(300)])
    url, stored, turned_away = new_database(), [0] * 4, []
    is_over = threading.Event()

    def write(who: int) -> None:
        own = Ledger(old.url)
        try:
            while not is_over.wait(0.01):
                # Who has waited for 30 s is told that it is locked, and tries again.
                with suppress(sa.exc.OperationalError):
                    with own.begin() as connection:
                        record_action(connection, f"writer {who}", "test", "s")
                    stored[who] += 1
        except TryAgain as error:
            turned_away.append(str(error))
        finally:
            own.close()

    writers = [threading.Thread(target=write, args=(who,)) for who in range(4)]
    for writer in writers:
        writer.start()
    try:
        while min(stored) < 3:
            time.sleep(0.01)
        move_ledger(old, url)
        for writer in writers:
            writer.join(120)
    finally:
        is_over.set()
    assert len(turned_away) == 4
    assert all("was moved to postgresql+psycopg2://" in why for why in turned_away)
    new = Ledger(url)
    with new.read() as connection:
        kept = [
            connection.scalar(
                sa.select(sa.func.count()).where(audit_log.c.actor == f"writer {who}")
            )
            for who in range(4)
        ]
    new.close()
    assert kept == stored


KILLED = """
import os, signal, sys
from flywheel.store import moving
from flywheel.store.ledger import Ledger
def die(*_): os.kill(os.getpid(), signal.SIGKILL)
{patch}
moving.move_ledger(Ledger(sys.argv[1]), sys.argv[2])
"""
AT = {
    "as rows are copied": "moving._go_on_counting = die",
    "as the note is there": "moving.sync_folder = die",
}


@pytest.mark.parametrize("moment", AT)
def test_a_killed_run_leaves_the_database_empty_and_runs_again(old: Ledger, moment: str) -> None:
    insert(old, audit_log, note())
    before, url = rows_of(old), new_database()
    script = KILLED.format(patch=AT[moment])
    killed = subprocess.run(
        [sys.executable, "-c", script, old.url, url],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    assert tables_in(url) == []
    assert move_ledger(old, url).rows == 2
    new = Ledger(url)
    assert rows_of(new) == before
    new.close()
    with pytest.raises(Refused, match=r"was moved to .* already; name it in ledger.url"):
        move_ledger(old, url)
    with pytest.raises(Refused, match=r"was moved to .* already; if what it has taken there may"):
        move_ledger(old, new_database())
    with pytest.raises(TryAgain, match="was moved"), old.begin():
        pass


@pytest.mark.parametrize(
    ("table", "row", "said"),
    [
        (
            users,
            {"name": "n" * 81, "role": "admin", "session_epoch": 1, "is_active": True},
            r"users.name of the row n{80} has 81 characters, and 80 fit",
        ),
        (
            queue_items,
            {"reviewers_needed": 2**31},
            r"queue_items.reviewers_needed of the row 1 is 2147483648, and 32 bits fit",
        ),
        (
            item_metrics,
            {"item_id": 77, "metric": "m"},
            r"a row of item_metrics cannot stand on Postgres: .*foreign key",
        ),
    ],
)
def test_a_row_that_cannot_stand_on_postgres_is_named_and_nothing_moves(
    old: Ledger, table: sa.Table, row: dict[str, object], said: str
) -> None:
    values = {c.name: standing(c) for c in table.columns if not c.nullable} | row
    with old.begin():
        pass
    old.close()
    raw = sa.create_engine(old.url)
    with raw.begin() as connection:
        connection.execute(table.insert(), values)
    raw.dispose()
    url = new_database()
    with pytest.raises(BadInput, match=said):
        move_ledger(old, url)
    assert tables_in(url) == []
    insert(old, audit_log, note())


def standing(column: "sa.Column[object]") -> object:
    """Some value of the column's kind."""
    kind = next(kind for kind in KINDS if isinstance(column.type, kind))
    return {
        sa.Integer: 1,
        sa.Float: 0.5,
        sa.Boolean: True,
        sa.DateTime: now(),
        sa.Date: date(2026, 1, 1),
        sa.String: "x",
    }[kind]


def test_a_database_that_holds_anything_is_refused(old: Ledger) -> None:
    insert(old, audit_log, note())
    url = new_database()
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("create table runs (id int)")
    engine.dispose()
    with pytest.raises(Refused, match="holds 1 tables already, such as runs; name an empty"):
        move_ledger(old, url)
    insert(old, audit_log, note())
    elsewhere = sa.make_url(url).update_query_dict({"options": "-csearch_path=ledger"})
    with pytest.raises(BadInput, match="a schema that does not exist"):
        move_ledger(old, elsewhere.render_as_string(hide_password=False))
    with engine.begin() as connection:
        connection.exec_driver_sql("create schema ledger")
    engine.dispose()
    assert move_ledger(old, elsewhere.render_as_string(hide_password=False)).rows == 3


def test_a_target_or_a_source_of_another_kind_is_refused(old: Ledger, tmp_path: Path) -> None:
    insert(old, audit_log, note())
    with pytest.raises(BadInput, match="moved to Postgres only"):
        move_ledger(old, f"sqlite:///{tmp_path / 'other.sqlite'}")
    with pytest.raises(BadSetting, match="neither SQLite nor Postgres"):
        move_ledger(old, "mysql://ada:secret@127.0.0.1/flywheel")
    with pytest.raises(TryAgain, match=r"ada:\*\*\*@127.0.0.1:1/x cannot be reached") as refused:
        move_ledger(old, "postgresql://ada:secret@127.0.0.1:1/x")
    assert "secret" not in str(refused.value)
    with pytest.raises(BadInput, match="there is nothing to move"):
        move_ledger(Ledger(f"sqlite:///{tmp_path / 'none.sqlite'}"), new_database())
    with pytest.raises(BadInput, match="pg_dump"):
        move_ledger(Ledger("postgresql://127.0.0.1:1/x"), new_database())
    insert(old, audit_log, note())


def test_a_server_that_cannot_be_reached_is_one_sentence() -> None:
    for use in (Ledger.begin, Ledger.read):
        with (
            pytest.raises(TryAgain, match=r"ada:\*\*\*@127.0.0.1:1/x cannot be reached"),
            use(Ledger("postgres://ada:secret@127.0.0.1:1/x")),
        ):
            pass


def test_a_text_with_a_nul_loses_no_row(ledger: Ledger) -> None:
    """Postgres has no such text; whoever writes one need not know which database it is."""
    with ledger.begin() as connection:
        record_action(connection, "ann", "test", "a\0b", why="\0")
        connection.execute(audit_log.insert(), [note(), note() | {"subject": "c\0"}])
    is_postgres = ledger.url.startswith("postgresql")
    with ledger.read() as connection:
        found = connection.scalars(sa.select(audit_log.c.subject).order_by(audit_log.c.entry_id))
        mark = "\ufffd" if is_postgres else "\0"
        assert list(found) == [f"a{mark}b", "s", f"c{mark}"]
