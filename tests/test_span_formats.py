"""Formats of spans: each tool's file is the same conversation, with what was said of it."""

import json
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa

from flywheel.errors import BadInput
from flywheel.store import Project
from flywheel.store.tables import feedback
from flywheel.traces.containers import plain_file
from flywheel.traces.feedback import FeedbackRow
from flywheel.traces.formats import recognise
from flywheel.traces.importing import import_file
from flywheel.traces.spans import formats
from flywheel.traces.spans.formats import SpanFormat, span_formats
from flywheel.traces.spans.messages import messages_of
from flywheel.traces.spans.span import Span
from tests.conftest import write_lines

FIXTURES = Path(__file__).parent / "fixtures"
CORRECTED = "The order desk did not answer; please try again."


@dataclass(frozen=True)
class Read:
    spans: list[Span]
    feedback: list[FeedbackRow]

    def of(self, trace_id: str) -> list[Span]:
        """Root first, then by time."""
        found = [span for span in self.spans if span.trace_id == trace_id]
        return sorted(found, key=lambda span: (span.parent_id is not None, span.started_ns or 0))


def read(name: str) -> Read:
    path = FIXTURES / name
    chosen = recognise(path)
    assert isinstance(chosen, SpanFormat)
    assert chosen.name == Path(name).parts[0]
    with plain_file(path) as plain:
        rows = [json.loads(line) for line in plain.read_bytes().splitlines()]
    found = [made for row in rows for made in chosen.read(row)]
    spans = [made for made in found if isinstance(made, Span)]
    return Read(spans, [made for made in found if isinstance(made, FeedbackRow)])


def only(format_: str, row: dict[str, object]) -> list[Span | FeedbackRow]:
    return list(span_formats()[format_].read(row))


def said(rows: Iterable[FeedbackRow]) -> dict[str, tuple[object, ...]]:
    return {
        row.name: (row.source, row.value, row.label, row.comment, row.correction) for row in rows
    }


CONVERSATIONS = [
    # file, trace, whether the tool failed, the span above the model's
    ("langfuse/observations.jsonl", "lf-good", False, "agent"),
    ("langfuse/traces.jsonl", "lf-bad", True, "agent"),
    ("langfuse/observations_v2.csv", "lf-export", True, "agent"),
    ("langsmith/runs.jsonl", f"{'0' * 8}-0000-0000-0000-{16:012x}", False, "chain"),
    ("langsmith/run_tree.jsonl", f"{'0' * 8}-0000-0000-0000-{32:012x}", True, "chain"),
    ("langsmith/runs.parquet", f"{'0' * 8}-0000-0000-0000-{48:012x}", False, "chain"),
    ("mlflow/traces.jsonl", "first", False, "agent"),
    ("mlflow/traces.jsonl", "last", True, "agent"),
    ("mlflow/traces.parquet", "first", True, "agent"),
    ("phoenix/spans.json", "last", False, "agent"),
    ("phoenix/spans.parquet", "last", False, "agent"),
    ("phoenix/spans.json", "first", True, "agent"),
    ("opik/trace_export.json", "opik-bad", True, "chain"),
    ("otlp/requests.jsonl", "last", False, "agent"),
]


@pytest.mark.parametrize(("name", "trace_id", "fails", "above"), CONVERSATIONS)
def test_a_conversation_is_the_same_in_every_tool(
    name: str, trace_id: str, fails: bool, above: str
) -> None:
    found = read(name)
    if trace_id in ("first", "last"):
        roots = [span for span in found.spans if span.parent_id is None and span.kind == above]
        trace_id = roots[0 if trace_id == "first" else -1].trace_id
    spans = found.of(trace_id)
    first, tool, second = [span for span in spans if span.kind in ("llm", "tool")]
    root = spans[0]
    assert (root.parent_id, root.session_id, root.user_id) == (None, "s-1", "u-1")
    by_id = {span.span_id: span for span in spans}
    assert {by_id[span.parent_id or ""].kind for span in (first, tool, second)} == {above}

    asked, answered = messages_of(first.input), messages_of(first.output, "assistant")
    assert [message["role"] for message in asked] == ["system", "user"]
    (call,) = answered[0]["tool_calls"]  # type: ignore[misc]
    assert (call["id"], call["function"]["name"]) == ("call_1", "find_order")
    assert json.loads(call["function"]["arguments"]) == {"id": 7}

    assert (tool.kind, tool.tool_name, tool.input) == ("tool", "find_order", {"id": 7})
    assert tool.status == ("error" if fails else "ok")
    assert ("order desk" in (tool.error or "")) is fails

    roles = [message["role"] for message in messages_of(second.input)]
    assert roles == ["system", "user", "assistant", "tool"]
    assert messages_of(second.input)[3]["tool_call_id"] == "call_1"
    answer = messages_of(second.output, "assistant")[-1]["content"]
    assert answer == messages_of(root.output, "assistant")[-1]["content"]
    assert (second.model_name, second.prompt_tokens, second.completion_tokens) == (
        *("gpt-4o-mini", 150),
        12,
    )
    # What a root says of tokens and cost is the sum of what is below it.
    assert (root.prompt_tokens, root.cost_usd) == (None, None)
    assert all((span.started_ns or 0) <= (span.ended_ns or 0) for span in spans)


def test_scores_of_langfuse_say_who_gave_them() -> None:
    rows = read("langfuse/traces.jsonl").feedback
    assert said(rows) == {
        "user-feedback": ("end_user", 0.0, "False", "I never got a refund.", None),
        "hallucination": ("llm", 0.9, None, None, None),
        "output": ("annotator", None, None, None, CORRECTED),
    }
    assert {row.trace_id for row in rows} == {"lf-bad"}
    assert [row.span_id for row in rows] == [None, "lf-bad-3", None]
    assert said(read("langfuse/scores.jsonl").feedback) == {
        "thumbs": ("end_user", 1.0, None, None, None),
        "tone": ("annotator", None, "polite", None, None),
    }
    assert len(read("langfuse/scores_page.json").feedback) == 3


def test_a_score_of_a_session_is_no_score_of_a_trace() -> None:
    score = {"id": "s", "name": "n", "source": "API", "dataType": "NUMERIC", "value": 1}
    for more in ({"sessionId": "x"}, {"subject": {"kind": "session", "id": "x"}}):
        with pytest.raises(BadInput, match="something else than a trace"):
            only("langfuse", score | more)


def test_tokens_of_langfuse_are_summed_where_they_are_parts() -> None:
    row = {"id": "o", "traceId": "t", "type": "GENERATION", "startTime": "2026-03-02T10:00:00Z"}
    used = {"input": 20, "input_cached_tokens": 80, "output": 5, "output_reasoning_tokens": 3}
    (span,) = only("langfuse", row | {"usageDetails": used})
    assert (span.prompt_tokens, span.completion_tokens) == (100, 8)  # type: ignore[union-attr]
    (span,) = only("langfuse", row | {"usageDetails": used | {"total": 25}})
    assert (span.prompt_tokens, span.completion_tokens) == (20, 5)  # type: ignore[union-attr]


def test_feedback_of_langsmith_says_who_gave_it() -> None:
    assert said(read("langsmith/feedback.jsonl").feedback) == {
        "user_score": ("end_user", 0.0, None, "I never got a refund.", None),
        "correctness": ("annotator", 0.0, None, None, "The order desk did not answer."),
        "conciseness": ("llm", 0.8, "short", None, None),
    }


def test_a_run_of_langsmith_finds_its_parents_in_its_dotted_order() -> None:
    order = "20260302T100000000000Zroot.20260302T100001000000Zmiddle.20260302T100002000000Zleaf"
    (span,) = only("langsmith", {"id": "leaf", "run_type": "llm", "dotted_order": order})
    assert (span.trace_id, span.parent_id) == ("root", "middle")  # type: ignore[union-attr]


def test_assessments_of_mlflow_say_who_gave_them() -> None:
    expected = {
        "correctness": ("llm", 1.0, None, "The tool said so.", None),
        "user_feedback": ("end_user", 0.0, None, "I never got a refund.", None),
        "length": ("code", 18.0, None, None, None),
        "expected_response": ("annotator", None, None, None, CORRECTED),
    }
    for name in ("mlflow/traces.jsonl", "mlflow/traces.parquet"):
        assert said(read(name).feedback) == expected


def test_annotations_of_phoenix_say_who_gave_them() -> None:
    rows = read("phoenix/span_annotations.json").feedback
    assert said(rows) == {
        "correctness": ("llm", 1.0, "correct", "The tool said so.", None),
        "user feedback": ("end_user", 0.0, "thumbs-down", "I never got a refund.", CORRECTED),
        "length": ("code", 18.0, None, None, None),
    }
    # They name their span alone: the trace is looked up when they are loaded.
    spans = {span.span_id for span in read("phoenix/spans.json").spans}
    assert {row.trace_id for row in rows} == {""}
    assert {row.span_id for row in rows} <= spans
    (row,) = read("phoenix/trace_annotations.json").feedback
    assert (row.name, row.source, row.span_id) == ("helpfulness", "annotator", None)


def test_scores_of_opik_say_who_gave_them() -> None:
    assert said(read("opik/trace_export.json").feedback) == {
        "user_feedback": ("end_user", 0.0, None, "I never got a refund.", None),
        "tone": ("annotator", 1.0, None, None, None),
        "hallucination": ("llm", 0.9, None, "No tool said so.", None),
    }


def test_traces_and_spans_of_opik_meet_in_one_tree() -> None:
    (root,) = read("opik/traces.json").spans
    assert {span.parent_id for span in read("opik/spans.jsonl").spans} == {root.span_id}


def test_steps_of_a_trajectory_are_calls_of_the_model_with_their_tools_below() -> None:
    spans = read("atif/trajectory.json").spans
    tree = {(span.kind, span.name, span.span_id, span.parent_id) for span in spans}
    assert tree == {
        ("agent", "coder", "atif-1", None),
        ("llm", "step", "atif-1/3", "atif-1"),
        ("tool", "write_file", "atif-1/3/1", "atif-1/3"),
        ("tool", "run", "atif-1/3/2", "atif-1/3"),
        ("llm", "step", "atif-1/4", "atif-1"),
        ("llm", "step", "atif-1/6", "atif-1"),
        ("agent", "fixer", "atif-1/atif-1-sub", "atif-1"),
        ("llm", "step", "atif-1/atif-1-sub/2", "atif-1/atif-1-sub"),
        ("tool", "run", "atif-1/atif-1-sub/2/1", "atif-1/atif-1-sub/2"),
    }
    by_id = {span.span_id: span for span in spans}
    assert by_id["atif-1/3/2"].output == "permission denied"
    assert (by_id["atif-1/3"].model_name, by_id["atif-1/4"].model_name) == (
        "claude-sonnet",
        "claude-haiku",
    )
    assert by_id["atif-1/3"].cost_usd == 0.00045
    assert {span.session_id for span in spans} == {"run-1"}
    # The last call has the whole conversation, and is the only one.
    whole = [*messages_of(by_id["atif-1/6"].input), *messages_of(by_id["atif-1/6"].output)]
    assert [message["role"] for message in whole] == [
        *("system", "user", "assistant", "tool", "tool", "assistant", "user", "assistant")
    ]
    assert len(messages_of(by_id["atif-1/4"].input)) == 3


# Whole files


def conversation(project: Project, trace_id: str) -> list[tuple[str, str]]:
    with project.stores.warehouse.open() as connection:
        return connection.raw.execute(
            "select role, content from messages where trace_id = ? order by position", [trace_id]
        ).fetchall()


IMPORTED = {
    # folder: traces, spans, rows of feedback
    "atif": (1, 9, 0),
    "langfuse": (3, 13, 8),
    "langsmith": (3, 12, 3),
    "mlflow": (2, 8, 4),
    "opik": (2, 8, 3),
    "otlp": (2, 5, 0),
    "phoenix": (2, 8, 4),
}


@pytest.mark.parametrize("tool", IMPORTED)
def test_every_file_of_a_tool_is_imported_whole(tool: str, project: Project) -> None:
    files = [p for p in sorted((FIXTURES / tool).iterdir()) if p.suffix not in (".py", ".md")]
    reports = [import_file(project.stores, path) for path in files]
    assert [row for report in reports for row in report.rejected] == []
    n_traces, n_spans, n_feedback = IMPORTED[tool]
    with project.stores.warehouse.open() as connection:
        found = connection.raw.execute(
            "select (select count(*) from traces where is_current), count(*),"
            " count(distinct (trace_id, span_id)) from spans"
        ).fetchone()
    assert found == (n_traces, n_spans, n_spans)
    with project.stores.ledger.begin() as ledger:
        kept = ledger.execute(sa.select(sa.func.count()).select_from(feedback)).scalar_one()
    assert kept == n_feedback
    again = [import_file(project.stores, path) for path in files]
    assert {(report.new, report.changed) for report in again} == {(0, 0)}


def test_the_conversation_of_a_tool_has_every_step(project: Project) -> None:
    import_file(project.stores, FIXTURES / "mlflow" / "traces.jsonl")
    path = FIXTURES / "mlflow" / "traces.jsonl"
    first = json.loads(path.read_text(encoding="utf-8").splitlines()[0])
    assert conversation(project, first["info"]["trace_id"]) == [
        ("system", "You help customers."),
        ("user", "Where is my order?"),
        ("assistant", ""),
        ("tool", '{"state": "sent"}'),
        ("assistant", "It was sent today."),
    ]


@pytest.mark.parametrize(("tool", "module"), [("mlflow", "mlflow"), ("phoenix", "phoenix.server")])
def test_what_an_installed_tool_writes_today_is_imported(
    tool: str, module: str, project: Project, tmp_path: Path
) -> None:
    pytest.importorskip(module, reason=f"{tool} is not installed; its fixture is tested instead")
    script = FIXTURES / tool / "make_fixture.py"
    subprocess.run([sys.executable, str(script), str(tmp_path)], check=True, timeout=300)
    reports = [import_file(project.stores, path) for path in sorted(tmp_path.iterdir())]
    assert [row for report in reports for row in report.rejected] == []
    assert sum(report.new for report in reports) == IMPORTED[tool][0]


NEW_FORMAT = '''
"""Acme: one step a line."""

from flywheel.traces.spans.cells import identifier, nanoseconds, text
from flywheel.traces.spans.formats import SpanFormat
from flywheel.traces.spans.span import Span
from tests.conftest import write_lines


def read(row):
    """The span of a row."""
    yield Span(
        identifier(row, "run"),
        identifier(row, "step"),
        "llm" if row.get("what") == "model" else "chain",
        parent_id=text(row.get("within")),
        started_ns=nanoseconds(row, "when"),
        input=row.get("given"),
        output=row.get("gave"),
    )


FORMAT = SpanFormat("acme", (frozenset({"run", "step", "what"}),), read)
'''


def test_every_format_has_a_fixture_of_its_own() -> None:
    folders = {path.name for path in FIXTURES.iterdir() if path.is_dir()}
    assert span_formats().keys() - folders == set()


def test_a_new_format_is_one_file(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "acme.py").write_text(NEW_FORMAT, encoding="utf-8")
    monkeypatch.setattr(formats, "__path__", [*formats.__path__, str(tmp_path)])
    span_formats.cache_clear()
    try:
        path = write_lines(
            tmp_path / "rows",
            [{"run": "r", "step": "1", "what": "model", "given": "hi", "gave": "hello"}],
        )
        assert recognise(path).name == "acme"
        assert import_file(project.stores, path).new == 1
        assert conversation(project, "r") == [("user", "hi"), ("assistant", "hello")]
    finally:
        sys.modules.pop(f"{formats.__name__}.acme", None)
        span_formats.cache_clear()
