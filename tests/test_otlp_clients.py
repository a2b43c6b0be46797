"""Real clients, as their users set them up, and a real server: what was sent is what arrives."""

import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest
import sqlalchemy as sa

from flywheel.settings import Settings, TracesSettings
from flywheel.store import Project
from flywheel.store.tables import feedback
from flywheel.traces.draining import drain_and_load
from tests.applications import scoring_with_langfuse, with_langfuse, with_openinference
from tests.openai_server import FOUND, openai_server
from tests.otlp import archived_spans
from tests.served import ROOT, Server, key_of, serving

Row = dict[str, object]


@pytest.fixture
def server(project: Project) -> Iterable[Server]:
    project.folder.mkdir()
    with serving(project) as running:
        yield running


def run_application(module: object, *arguments: str, **environment: str) -> str:
    """Run an application in a process of its own; what it says, which is the id of its trace."""
    given = {name: value for name, value in os.environ.items() if "PROXY" not in name.upper()}
    path = Path(str(module.__file__))
    made = subprocess.run(
        [sys.executable, "-m", f"tests.applications.{path.stem}", *arguments],
        cwd=ROOT,
        env=given | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    # Exporters only log what goes wrong.
    assert made.stderr == ""
    return made.stdout.strip()


def rows(project: Project, statement: str, trace_id: str) -> list[Row]:
    with project.stores.warehouse.open() as connection:
        found = connection.raw.execute(statement, [trace_id])
        names = [column[0] for column in found.description]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def messages_of(project: Project, trace_id: str) -> list[Row]:
    statement = (
        "select role, content, tool_calls, tool_call_id from messages where trace_id = ? "
        "order by position"
    )
    return rows(project, statement, trace_id)


def only(found: Iterable[Row]) -> Row:
    (row,) = found
    return row


def spans_of(project: Project, trace_id: str) -> Mapping[object, Row]:
    found = rows(project, "select * from spans where trace_id = ?", trace_id)
    return {row["name"]: row for row in found}


def load(project: Project) -> None:
    """Drain the inbox; both clients send a whole trace, so that nothing is waited for."""
    drained, imports = drain_and_load(project.stores, Settings(traces=TracesSettings(idle_s=3600)))
    assert (drained.requests, drained.held_spans) == (1, 0)
    assert [(report.new, report.rejected) for report in imports] == [(1, [])]


def test_the_openai_client_under_opentelemetry_is_seen_with_its_tool_calls(
    project: Project, server: Server
) -> None:
    key = key_of(project, "robot", "service")
    with openai_server() as model:
        trace_id = run_application(
            with_openinference,
            model,
            OTEL_EXPORTER_OTLP_ENDPOINT=server.url,
            OTEL_EXPORTER_OTLP_HEADERS=f"authorization=Bearer%20{key}",
            OTEL_EXPORTER_OTLP_COMPRESSION="gzip",
            OTEL_SERVICE_NAME="shop",
        )
    load(project)
    trace = only(rows(project, "select * from traces where trace_id = ?", trace_id))
    assert (trace["app"], trace["session_id"], trace["user_id"]) == ("shop", "session-9", "user-3")
    assert (trace["model_name"], trace["n_spans"]) == ("small-model", 4)
    assert (trace["prompt_tokens"], trace["completion_tokens"]) == (100, 14)
    said = messages_of(project, trace_id)
    assert [row["role"] for row in said] == ["system", "user", "assistant", "tool", "assistant"]
    assert said[1]["content"] == with_openinference.QUESTION
    assert "find_order" in str(said[2]["tool_calls"])
    assert said[3]["tool_call_id"] == "call_7"
    assert said[4]["content"] == FOUND
    spans = spans_of(project, trace_id)
    assert {row["kind"] for row in spans.values()} == {"agent", "llm", "tool"}
    assert spans["find_order"]["parent_id"] == spans["answer"]["span_id"]
    assert len(archived_spans(project)) == 4


def test_langfuses_sdk_needs_to_know_our_address_alone(project: Project, server: Server) -> None:
    trace_id = run_application(
        with_langfuse,
        LANGFUSE_BASE_URL=server.url,
        LANGFUSE_PUBLIC_KEY="shop",
        LANGFUSE_SECRET_KEY=key_of(project, "robot", "service"),
    )
    load(project)
    trace = only(rows(project, "select * from traces where trace_id = ?", trace_id))
    assert (trace["session_id"], trace["user_id"]) == ("session-9", "user-3")
    assert (trace["cost_usd"], trace["n_spans"]) == (0.002, 3)
    said = messages_of(project, trace_id)
    assert said[-1]["role"] == "assistant"
    assert said[-1]["content"] == with_langfuse.ANSWER
    assert with_langfuse.QUESTION in [row["content"] for row in said]
    spans = spans_of(project, trace_id)
    kinds = {name: row["kind"] for name, row in spans.items()}
    assert kinds == {"answer": "agent", "find_order": "tool", "reply": "llm"}
    assert spans["reply"]["parent_id"] == spans["answer"]["span_id"]


def test_langfuses_sdk_finds_its_key_in_use_and_its_scores_become_feedback(
    project: Project, server: Server
) -> None:
    trace_id = run_application(
        scoring_with_langfuse,
        LANGFUSE_BASE_URL=server.url,
        LANGFUSE_PUBLIC_KEY="shop",
        LANGFUSE_SECRET_KEY=key_of(project, "robot", "service"),
    )
    with project.stores.ledger.read() as connection:
        kept = connection.execute(sa.select(feedback).order_by(feedback.c.name)).mappings().all()
    said = [(row["trace_id"], row["name"], row["value"], row["source"]) for row in kept]
    assert said == [(trace_id, "length", 3.0, "code"), (trace_id, "user-feedback", 0.0, "end_user")]
    assert kept[1]["comment"] == scoring_with_langfuse.COMMENT
