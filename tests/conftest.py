"""What the tests share: a project in an empty folder, and traces to put into it."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from flywheel.models import smollm2
from flywheel.store import Project, open_project
from flywheel.store.ledger import Ledger
from tests.postgres import new_database

if TYPE_CHECKING:
    from tests.model_server import ModelServer


@pytest.fixture
def project(tmp_path: Path) -> Iterable[Project]:
    """An empty project with real stores, SQLite and DuckDB files."""
    made = open_project(tmp_path / "project")
    yield made
    made.stores.ledger.close()


@pytest.fixture(params=["sqlite", "postgres"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterable[Ledger]:
    """An empty ledger, on each of the databases that it can stand on."""
    on_sqlite = f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    made = Ledger(new_database() if request.param == "postgres" else on_sqlite)
    yield made
    made.close()


@pytest.fixture(scope="session")
def real_server() -> Iterator["ModelServer"]:
    """A small model behind a server, started once."""
    # It takes traces from this file.
    from tests.model_server import model_server

    if not smollm2.is_prepared():
        pytest.skip("SmolLM2 is not prepared; run `make smollm2`")
    with model_server() as server:
        yield server


def write_lines(path: Path, rows: Iterable[object]) -> Path:
    """A JSON lines file of these rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def trace(trace_id: str, *turns: str, **fields: object) -> dict[str, object]:
    """A trace in the project's own format; turns alternate, the user's first."""
    messages = [
        {"role": "user" if i % 2 == 0 else "assistant", "content": text}
        for i, text in enumerate(turns)
    ]
    return {
        "trace_id": trace_id,
        "app": "shop",
        "session_id": f"session-{trace_id}",
        "started_at": "2026-03-02T10:00:00Z",
        "messages": messages,
    } | fields


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Why a test was run once more, which is not said where it then passes."""
    for report in terminalreporter.stats.get("rerun", []):
        terminalreporter.section(f"failed before it was run once more: {report.nodeid}")
        terminalreporter.write_line(report.longreprtext)
