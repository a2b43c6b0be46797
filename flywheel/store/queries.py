"""SQL is a file with a name: `query("traces/load")` is the text of sql/traces/load.sql."""

from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent

# In the wheel the files lie inside the package; in a checkout beside it.
SQL_FOLDER = next(
    folder for folder in (_PACKAGE / "_sql", _PACKAGE.parent / "sql") if folder.is_dir()
)


@cache
def query(name: str) -> str:
    """The text of a statement under sql/, by its path without the suffix."""
    return (SQL_FOLDER / f"{name}.sql").read_text(encoding="utf-8")


def schema_files() -> list[Path]:
    """The numbered schema files, in order."""
    return sorted((SQL_FOLDER / "schema").glob("[0-9]*.sql"))
