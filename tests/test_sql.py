"""Every statement under sql/ fits the schema, and says what one row is and what it is given.

A relation that the caller gives as Arrow is declared in the header, with its types:

    -- given: wanted(trace_id varchar)
"""

import itertools
import re
from collections.abc import Iterable
from pathlib import Path

import duckdb
import pytest

from flywheel.records import split_of, unit_hash
from flywheel.store import Project
from flywheel.store.queries import SQL_FOLDER, schema_files
from flywheel.store.warehouse import Connection

# Metrics run on a connection of their own, format readers on files, the schema by itself.
APART = ("metrics/", "schema/", "traces/formats/")
NAMES = [
    name
    for path in sorted(SQL_FOLDER.rglob("*.sql"))
    if not (name := str(path.relative_to(SQL_FOLDER).with_suffix(""))).startswith(APART)
]


@pytest.fixture
def warehouse(project: Project) -> Iterable[Connection]:
    """An empty warehouse at the newest schema."""
    with project.stores.warehouse.open() as connection:
        yield connection


def text_of(name: str) -> str:
    return (SQL_FOLDER / f"{name}.sql").read_text(encoding="utf-8")


def header_of(text: str) -> str:
    """The comment that a statement opens with, without its dashes."""
    comment = itertools.takewhile(lambda line: line.startswith("--"), text.splitlines())
    return "\n".join(line.removeprefix("--").strip() for line in comment)


def given_relations(header: str) -> list[str]:
    """`name(column type, ...)` of each relation in the header; a declaration ends with a line."""
    declared = re.findall(r"^given: (.+?\))$", header, re.MULTILINE | re.DOTALL)
    return [" ".join(relation.split()) for relation in declared]


def outermost(text: str) -> str:
    """The statement without comments, strings and everything in parentheses."""
    text = re.sub(r"--[^\n]*|'[^']*'", " ", text)
    while (shorter := re.sub(r"\([^()]*\)", " ", text)) != text:
        text = shorter
    return text


@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_one_statement_that_fits_the_schema(name: str, warehouse: Connection) -> None:
    text = text_of(name)
    for relation in given_relations(header_of(text)):
        warehouse.raw.execute(f"create temp table {relation}")
    statements = duckdb.extract_statements(text)
    assert len(statements) == 1
    warehouse.raw.execute(f"prepare it as {text}")


@pytest.mark.parametrize("name", NAMES)
def test_a_file_opens_with_what_a_row_is_and_names_its_parameters(name: str) -> None:
    header = header_of(text_of(name))
    assert header, "the first line is not a comment"
    named = set(re.findall(r"\$(\w+)", header))
    (statement,) = duckdb.extract_statements(text_of(name))
    assert named == set(statement.named_parameters)


@pytest.mark.parametrize("name", NAMES)
def test_rows_come_in_an_order(name: str) -> None:
    text = text_of(name)
    (statement,) = duckdb.extract_statements(text)
    if statement.type == duckdb.StatementType.SELECT and not header_of(text).startswith(
        ("One row:", "A view:")
    ):
        assert "order by" in outermost(text)


@pytest.mark.parametrize("path", sorted(SQL_FOLDER.rglob("*.sql")), ids=lambda path: path.stem)
def test_no_table_is_made_that_never_refreshes(path: Path) -> None:
    text = " ".join(path.read_text(encoding="utf-8").lower().split())
    assert not re.search(r"create table if not exists \S+ as\b", text)


def test_schema_files_are_numbered_without_a_gap() -> None:
    numbers = [int(path.name.split("_")[0]) for path in schema_files()]
    assert numbers == list(range(1, len(numbers) + 1))


def test_the_schema_is_applied_once(project: Project) -> None:
    for _ in range(2):
        with project.stores.warehouse.open() as connection:
            applied = connection.raw.execute("select version from schema_version").fetchall()
        assert [version for (version,) in applied] == list(range(1, len(schema_files()) + 1))


def test_sql_and_python_draw_and_split_alike(warehouse: Connection) -> None:
    for number in range(200):
        session, user = f"s{number}", None if number % 2 else f"u{number}"
        row = warehouse.raw.execute(
            "select unit_hash($session, 'salt'), split_of($session, $user)",
            {"session": session, "user": user},
        ).fetchone()
        assert row == (unit_hash(session, "salt"), split_of(session, user))


def test_a_declared_relation_may_run_over_lines_and_hold_types_in_brackets() -> None:
    header = header_of(
        "-- One row a thing.\n-- given: a(x decimal(3, 1),\n--     y varchar[])\nselect 1"
    )
    assert given_relations(header) == ["a(x decimal(3, 1), y varchar[])"]
