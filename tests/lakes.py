"""A warehouse on DuckLake for tests: Parquet in a folder, the catalog in a Postgres of its own."""

from importlib.util import find_spec
from pathlib import Path

import duckdb
import pytest

from tests.postgres import new_database


def lake_url() -> str:
    """`warehouse.url` of an empty lake; skips where the extensions or a Postgres are missing."""
    found = find_spec("duckdb_extension_ducklake")
    release = f"extensions/v{duckdb.__version__}"
    if found is None or not any(
        (Path(folder) / release).is_dir() for folder in found.submodule_search_locations or ()
    ):
        pytest.skip(f"no DuckLake for DuckDB {duckdb.__version__}: pip install '.[ducklake]'")
    return f"ducklake:postgres:{new_database()}".replace("+psycopg2", "")


def set_lake(folder: Path, url: str) -> None:
    """Make the project in `folder` one whose warehouse is a lake."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "flywheel.toml").write_text(f'[warehouse]\nurl = "{url}"\n', encoding="utf-8")
