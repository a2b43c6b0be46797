"""Spans: in whatever order they come, one trace comes of them, and its steps are messages."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from flywheel.loop import rebuild_warehouse
from flywheel.store import Project, Stores
from flywheel.traces.documents import Document, open_document
from flywheel.traces.importing import ImportReport, import_file
from flywheel.traces.spans.assembly import assembled
from flywheel.traces.spans.rows import StoredSpan
from flywheel.traces.spans.tree import tree_of
from tests.spans_json import JsonObject, as_json, request, span

ASKED = {"role": "user", "content": "Rain in Turku?"}
CALL = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": '{"in":"Turku"}'}}
CALLED = {"role": "assistant", "content": "", "tool_calls": [CALL]}
FOUND = {"role": "tool", "content": "rain", "tool_call_id": "c1"}
ANSWER = {"role": "assistant", "content": "It rains in Turku."}


@pytest.fixture
def stores(project: Project) -> Stores:
    return project.stores


def llm(
    span_id: str,
    asked: Sequence[object],
    answer: object,
    parent: str = "root",
    values: JsonObject | None = None,
    **more: object,
) -> JsonObject:
    said = {
        "gen_ai.operation.name": "chat",
        "gen_ai.input.messages": as_json(asked),
        "gen_ai.output.messages": as_json([answer]),
    }
    return span(span_id, parent, said | (values or {}), **more)  # type: ignore[arg-type]


def root(**more: object) -> JsonObject:
    values = {
        "openinference.span.kind": "AGENT",
        "input.value": "Rain in Turku?",
        "output.value": "It rains in Turku.",
        "session.id": "s1",
        "user.id": "u1",
    }
    return span("root", "", values, for_ms=100, **more)  # type: ignore[arg-type]


def tool(span_id: str = "tool", at_ms: int = 20, **more: object) -> JsonObject:
    values = {
        "openinference.span.kind": "TOOL",
        "tool.name": "find",
        "input.value": '{"in":"Turku"}',
        "output.value": "rain",
    }
    return span(span_id, "root", values, at_ms=at_ms, **more)  # type: ignore[arg-type]


def agent_spans() -> list[JsonObject]:
    """A root, a call of a model, a tool, and the call that answers."""
    tokens = {"gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 2}
    return [
        root(),
        llm("first", [ASKED], CALLED, values=tokens, at_ms=10),
        tool(),
        llm("second", [ASKED, CALLED, FOUND], ANSWER, values=tokens, at_ms=40),
    ]


def load(stores: Stores, folder: Path, *spans: JsonObject, name: str = "spans") -> ImportReport:
    path = folder / f"{name}.jsonl"
    path.write_text(json.dumps(request(*spans)) + "\n", encoding="utf-8")
    return import_file(stores, path)


def select(stores: Stores, sql: str) -> list[tuple[object, ...]]:
    with stores.warehouse.open() as connection:
        return connection.raw.execute(sql).fetchall()


def messages(stores: Stores) -> list[tuple[object, ...]]:
    """Role and text of the current version of every trace."""
    return select(
        stores,
        "select m.role, m.content from messages as m join traces as t using"
        " (trace_id, content_hash) where t.is_current order by m.trace_id, m.position",
    )


def everything(stores: Stores) -> list[list[tuple[object, ...]]]:
    return [
        select(stores, f"select * from {table} order by all")
        for table in ("traces", "messages", "spans", "rejected_rows", "loaded_imports")
    ]


def document_of(stores: Stores) -> Document:
    (version,) = select(stores, "select trace_id, content_hash from traces where is_current")
    return open_document(stores, str(version[0]), str(version[1]))


WHOLE = [
    ("user", "Rain in Turku?"),
    ("assistant", ""),
    ("tool", "rain"),
    ("assistant", "It rains in Turku."),
]


def test_a_trace_is_the_thread_that_the_application_answered_with(
    stores: Stores, tmp_path: Path
) -> None:
    report = load(stores, tmp_path, *agent_spans())
    assert (report.read, report.new, report.duplicate, report.rejected) == (1, 1, 0, [])
    assert messages(stores) == WHOLE
    assert select(
        stores,
        "select app, session_id, user_id, started_at::varchar, ended_at::varchar, status,"
        " prompt_tokens, completion_tokens, latency_ms, n_spans, metadata->>'$.name' from traces",
    ) == [
        (
            *("shop", "s1", "u1", "2026-03-02 10:00:00", "2026-03-02 10:00:00.1", "ok"),
            *(20, 4, 100, 4, "root"),
        )
    ]


@pytest.mark.parametrize("order", [(3, 2, 1, 0), (1, 3, 0, 2), (2, 0, 3, 1)])
def test_spans_may_come_in_any_order(
    stores: Stores, tmp_path: Path, order: tuple[int, ...]
) -> None:
    made = agent_spans()
    load(stores, tmp_path, *(made[place] for place in order))
    assert messages(stores) == WHOLE


def test_a_late_span_makes_a_new_version(stores: Stores, tmp_path: Path) -> None:
    *early, late = agent_spans()
    load(stores, tmp_path, *early, name="early")
    assert messages(stores)[-1] == ("assistant", "It rains in Turku.")
    report = load(stores, tmp_path, late, name="late")
    assert (report.new, report.changed) == (0, 1)
    assert messages(stores) == WHOLE
    assert select(stores, "select is_current, n_spans from traces order by n_spans") == [
        (False, 3),
        (True, 4),
    ]
    assert document_of(stores).n_spans == 4


def test_a_late_span_that_says_nothing_keeps_the_version_and_what_people_said_of_it(
    stores: Stores, tmp_path: Path
) -> None:
    load(stores, tmp_path, *agent_spans())
    before = select(stores, "select content_hash from traces")
    values = {"openinference.span.kind": "EMBEDDING", "llm.token_count.prompt": 7}
    load(stores, tmp_path, span("late", "root", values, at_ms=5), name="late")
    assert select(
        stores, "select content_hash, is_current, n_spans, prompt_tokens from traces"
    ) == [(before[0][0], True, 5, 27)]
    assert [step.span_id for step in document_of(stores).outline()] == [
        *("root", "late", "first", "tool", "second")
    ]


def test_a_span_twice_is_one(stores: Stores, tmp_path: Path) -> None:
    made = agent_spans()
    load(stores, tmp_path, *made, *made, name="doubled")
    report = load(stores, tmp_path, *made[1:3], name="again")
    assert (report.new, report.duplicate, report.changed) == (0, 1, 0)
    assert select(stores, "select count(*), count(distinct span_id) from spans") == [(4, 4)]
    assert select(stores, "select count(*) from traces") == [(1,)]


def test_the_newest_word_of_a_span_is_in_force_and_one_that_ended_beats_one_that_did_not(
    stores: Stores, tmp_path: Path
) -> None:
    load(stores, tmp_path, span("a", "", {"input.value": "v1"}), name="1")
    load(stores, tmp_path, span("a", "", {"input.value": "v2"}), name="2")
    load(stores, tmp_path, span("a", "", {"input.value": "v3"}, for_ms=None), name="3")
    assert select(stores, "select input->>'$' from spans") == [("v2",)]
    assert messages(stores) == [("user", "v2")]


def test_a_conversation_that_was_seen_before_is_in_force_again(
    stores: Stores, tmp_path: Path
) -> None:
    for name, text in (("1", "v1"), ("2", "v2"), ("3", "v1")):
        load(stores, tmp_path, span("a", "", {"input.value": text, "n": name}), name=name)
    assert select(stores, "select count(*) from traces") == [(2,)]
    assert messages(stores) == [("user", "v1")]


def test_a_trace_without_its_root_is_one_all_the_same(stores: Stores, tmp_path: Path) -> None:
    load(stores, tmp_path, *agent_spans()[1:])
    assert messages(stores) == WHOLE
    assert select(stores, "select n_spans, prompt_tokens, session_id from traces") == [
        (3, 20, "t1")
    ]


def test_two_applications_share_a_trace(stores: Stores, tmp_path: Path) -> None:
    first, *others = agent_spans()
    rows = [request(first), request(*others, **{"service.name": "search"})]
    path = tmp_path / "both.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    import_file(stores, path)
    assert messages(stores) == WHOLE
    assert select(stores, "select app, n_spans from traces") == [("shop", 4)]


def test_without_messages_of_a_model_every_step_is_one(stores: Stores, tmp_path: Path) -> None:
    silent = span("first", "root", {"gen_ai.operation.name": "chat"}, at_ms=10)
    load(stores, tmp_path, root(), silent, tool())
    assert messages(stores) == WHOLE
    (calls,) = select(stores, "select tool_calls from messages where position = 1")
    assert json.loads(str(calls[0])) == [
        {
            "id": "tool",
            "type": "function",
            "function": {"name": "find", "arguments": '{"in":"Turku"}'},
        }
    ]


def test_what_a_tool_gave_after_the_last_call_is_appended(stores: Stores, tmp_path: Path) -> None:
    load(stores, tmp_path, *agent_spans()[:3])
    assert messages(stores) == WHOLE


def test_a_call_aside_is_not_the_conversation(stores: Stores, tmp_path: Path) -> None:
    """A guard asks a longer question and a title is made last; neither is what was answered."""
    guard = span("guard", "root", {"openinference.span.kind": "GUARDRAIL"}, at_ms=1)
    question = {"role": "user", "content": "Is this safe? " * 50}
    judged = llm("judge", [question], {"role": "assistant", "content": "yes"}, "guard", at_ms=2)
    title = llm("title", [ASKED], {"role": "assistant", "content": "Weather"}, at_ms=60)
    load(stores, tmp_path, *agent_spans(), guard, judged, title)
    assert messages(stores) == WHOLE


def test_parents_that_repeat_what_their_children_used_count_once(
    stores: Stores, tmp_path: Path
) -> None:
    used = {"llm.token_count.prompt": 10, "llm.cost.total": 0.5, "llm.token_count.completion": 1}
    both = {"llm.token_count.prompt": 20, "llm.cost.total": 1.0, "openinference.span.kind": "AGENT"}
    load(
        stores,
        tmp_path,
        span("a", "", both | {"input.value": "hi"}),
        llm("b", [ASKED], CALLED, "a", used),
        llm("c", [ASKED], CALLED, "b", used),
        llm("d", [ASKED], CALLED, "a", used),
    )
    assert select(stores, "select prompt_tokens, completion_tokens, cost_usd from traces") == [
        (20, 2, 1.0)
    ]


def test_a_trace_without_a_message_is_rejected_with_its_reason_and_its_spans_are_kept(
    stores: Stores, tmp_path: Path
) -> None:
    report = load(stores, tmp_path, span("a", "", {"http.method": "GET"}))
    (reject,) = report.rejected
    assert (reject.line, report.new) == (1, 0)
    assert reject.why.startswith("trace t1 has 1 spans and none of them a message")
    assert select(stores, "select count(*) from spans") == [(1,)]


def test_bad_lines_are_named_and_the_others_are_used(stores: Stores, tmp_path: Path) -> None:
    path = tmp_path / "spans.jsonl"
    deep = '{"resourceSpans":' + "[" * 3000 + "]" * 3000 + "}"
    no_id = json.dumps(request(span("", "")))
    lines = [json.dumps(request(*agent_spans())), "{", "[1]", deep, no_id]
    path.write_text("\n".join(lines), encoding="utf-8")
    report = import_file(stores, path)
    assert (report.read, report.new) == (5, 1)
    assert [reject.line for reject in report.rejected] == [2, 3, 4, 5]
    assert report.rejected[-1].why == "a span has no traceId or no spanId"


def test_a_rebuilt_warehouse_is_the_same(project: Project, tmp_path: Path) -> None:
    stores = project.stores
    *early, late = agent_spans()
    load(stores, tmp_path, *early, name="early")
    load(stores, tmp_path, late, span("x", "", {"a": 1}, trace_id="t2"), name="late")
    load(stores, tmp_path, span("late", "root", {"llm.cost.total": 0.5}), name="silent")
    load(stores, tmp_path, *early, name="again")
    before, outline = everything(stores), document_of(stores).outline()
    rebuild_warehouse(project)
    assert everything(stores) == before
    assert document_of(stores).outline() == outline


def test_the_document_has_what_went_in_and_out_of_every_span(
    stores: Stores, tmp_path: Path
) -> None:
    load(stores, tmp_path, *agent_spans())
    document = document_of(stores)
    first, model, found, _ = document.spans()
    assert (first.parent_id, first.kind, first.latency_ms) == (None, "agent", 100)
    assert (model.parent_id, model.prompt_tokens, model.kind) == ("root", 10, "llm")
    assert json.loads(model.input or "") == [ASKED]
    assert (found.tool_name, found.input, found.output) == ("find", '{"in":"Turku"}', '"rain"')
    assert [step.input for step in document.outline()] == [None] * 4
    assert document.spans(2, 1) == [found]


def test_hostile_texts_are_stored(stores: Stores, tmp_path: Path) -> None:
    """Halves of surrogate pairs, numbers without end, and NUL where it may be and where not."""
    half, nul = "\ud83d", "a\0b"
    values = {"input.value": half, "tag.tags": [half], "x": float("inf"), "y": 10**30, "z": nul}
    report = load(stores, tmp_path, span("a", "", values), span("b", "", {}, trace_id=nul))
    assert [reject.why for reject in report.rejected] == [
        "the trace id 'a\\x00b' is empty or has a NUL character in it"
    ]
    report = load(stores, tmp_path, span("l", "", {}, trace_id="l" * 301), name="long")
    assert "longer than 300 characters" in report.rejected[0].why
    load(stores, tmp_path, span("a", "", values), name="alone")
    assert messages(stores) == [("user", "\ufffd")]


def stored(number: int, parent: int | None, **more: object) -> StoredSpan:
    values: dict[str, object] = dict.fromkeys(StoredSpan.__slots__)  # type: ignore[arg-type]
    values |= {"app": "shop", "trace_id": "t", "span_id": str(number), "kind": "tool"}
    values |= {"parent_id": None if parent is None else str(parent), "name": f"n{number}"}
    return StoredSpan(**(values | {"started_us": number} | more))  # type: ignore[arg-type]


def test_thirty_thousand_spans_make_one_trace_whether_deep_or_wide() -> None:
    for shape in (lambda n: n - 1, lambda n: 0):
        spans = [stored(n, shape(n) if n else None, prompt_tokens=1) for n in range(30_000)]
        row = json.loads(assembled(spans) or "")
        assert row["n_spans"] == 30_000
        assert len(row["messages"]) == 60_000


def test_circles_of_parents_are_cut() -> None:
    spans = [stored(n, n ^ 1, prompt_tokens=1) for n in range(20_000)]
    tree = tree_of([*spans, stored(20_000, 20_000)])
    assert sorted(tree.order) == list(range(20_001))
    assert tree.total(lambda span: span.prompt_tokens) == 10_000
    assert tree_of(spans).root is spans[0]
