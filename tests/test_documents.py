"""Trace documents: what was said comes back as it was, and only what is asked for is read."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from flywheel.errors import BadArtifact, NotFound
from flywheel.records import split_of
from flywheel.store import Project, Stores, open_project
from flywheel.store.ledger import Ledger
from flywheel.store.tables import trace_documents
from flywheel.traces import documents
from flywheel.traces.documents import (
    ToolCall,
    Version,
    open_document,
    publish_documents,
    tool_calls_of,
)
from flywheel.traces.importing import import_file
from tests.conftest import trace, write_lines
from tests.spanned import TRACE, call, import_spans, step


def load(stores: Stores, folder: Path, *traces: dict[str, object]) -> list[Version]:
    """Import the traces; all versions that the warehouse then has, by trace id."""
    import_file(stores, write_lines(folder / "traces.jsonl", traces))
    with stores.warehouse.open() as connection:
        found = connection.raw.execute(
            "select trace_id, content_hash from traces order by trace_id, line_no, import_id"
        ).fetchall()
    return [(str(trace_id), str(content_hash)) for trace_id, content_hash in found]


def long_trace(n_messages: int, trace_id: str = "long") -> dict[str, object]:
    return trace(trace_id, *(f"message {number} " + "x" * 200 for number in range(n_messages)))


def rows_of(stores: Stores) -> Sequence[sa.Row[tuple[object, ...]]]:
    with stores.ledger.read() as ledger:
        return ledger.execute(sa.select(trace_documents).order_by("trace_id")).all()


def pack_of(stores: Stores) -> Path:
    (pack,) = (stores.artifacts.root / "documents").iterdir()
    return pack


def damage(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 0xFF
    path.write_bytes(content)


def test_a_document_has_all_of_the_trace(project: Project, tmp_path: Path) -> None:
    calls = [
        {"id": "c1", "type": "function", "function": {"name": "find", "arguments": '{"q": 1}'}}
    ]
    told = trace(
        "t1",
        user_id="u1",
        model_name="m",
        release="r",
        cost_usd=0.25,
        latency_ms=12.5,
        prompt_tokens=3,
        completion_tokens=4,
        status="ok",
        metadata={"language": "fi"},
        messages=[
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": "Where\nis\tit? \u202e\u0000 \u0007 漢 🙂"},
            {"role": "assistant", "content": "", "tool_calls": calls},
            {"role": "tool", "content": "[]", "tool_call_id": "c1", "name": "find"},
        ],
    )
    (version,) = load(project.stores, tmp_path, told)
    assert publish_documents(project.stores, [version]) == 1
    document = open_document(project.stores, *version)
    header = document.header
    assert (header.trace_id, header.content_hash) == version
    assert (header.app, header.session_id, header.user_id) == ("shop", "session-t1", "u1")
    assert (header.day, header.split) == (date(2026, 3, 2), split_of("session-t1", "u1"))
    assert header.started_at == datetime(2026, 3, 2, 10, tzinfo=UTC)
    assert (header.model_name, header.release, header.status) == ("m", "r", "ok")
    assert (header.cost_usd, header.latency_ms) == (0.25, 12.5)
    assert (header.prompt_tokens, header.completion_tokens) == (3, 4)
    assert (header.n_messages, json.loads(header.metadata)) == (4, {"language": "fi"})
    system, user, assistant, tool = document.messages(0, 4)
    assert [system.position, user.position, assistant.position, tool.position] == [0, 1, 2, 3]
    assert (system.role, system.content, system.tool_calls) == ("system", "Be kind.", ())
    assert user.content == "Where\nis\tit? \u202e\u0000 \u0007 漢 🙂"
    assert assistant.tool_calls == (ToolCall("c1", "find", '{"q": 1}'),)
    assert json.loads(assistant.tool_calls_json or "") == calls
    assert (tool.role, tool.tool_call_id, tool.name) == ("tool", "c1", "find")


def test_what_a_trace_does_not_say_is_not_made_up(project: Project, tmp_path: Path) -> None:
    bare = {"trace_id": "t", "messages": [{"role": "user", "content": "hi"}]}
    (version,) = load(project.stores, tmp_path, bare)
    publish_documents(project.stores, [version])
    header = open_document(project.stores, *version).header
    assert (header.started_at, header.cost_usd, header.user_id, header.metadata) == (
        *(None, None, None),
        "{}",
    )


def test_an_earlier_version_of_a_trace_can_be_read(project: Project, tmp_path: Path) -> None:
    load(project.stores, tmp_path, trace("t", "first words"))
    versions = load(project.stores, tmp_path, trace("t", "first words", "an answer"))
    assert len(versions) == 2
    assert publish_documents(project.stores, versions) == 2
    said = {
        tuple(m.content for m in open_document(project.stores, *version).messages(0, 9))
        for version in versions
    }
    assert said == {("first words",), ("first words", "an answer")}


def test_what_is_published_is_not_published_again(
    project: Project, ledger: Ledger, tmp_path: Path
) -> None:
    stores = replace(project.stores, ledger=ledger)
    versions = load(stores, tmp_path, *(trace(f"t{i}", "hello") for i in range(3)))
    assert publish_documents(stores, versions[:2]) == 2
    assert publish_documents(stores, versions[:2]) == 0
    assert publish_documents(stores, [*versions, *versions]) == 1
    assert len(rows_of(stores)) == 3
    assert len(list((stores.artifacts.root / "documents").iterdir())) == 2


def test_who_publishes_the_same_at_the_same_time_adds_it_once(
    project: Project, ledger: Ledger, tmp_path: Path
) -> None:
    stores = replace(project.stores, ledger=ledger)
    versions = load(stores, tmp_path, *(long_trace(60, f"t{i}") for i in range(20)))
    others = [
        replace(open_project(project.folder).stores, ledger=Ledger(ledger.url)) for _ in range(3)
    ]
    with ThreadPoolExecutor(3) as executor:
        added = list(executor.map(lambda other: publish_documents(other, versions), others))
    for other in others:
        other.ledger.close()
    assert sum(added) == len(rows_of(stores)) == 20
    assert all(open_document(stores, *version).message(59) for version in versions)


def test_a_version_that_the_warehouse_lacks_is_left_out(project: Project, tmp_path: Path) -> None:
    (version,) = load(project.stores, tmp_path, trace("t", "hello"))
    assert publish_documents(project.stores, [("t", "0" * 64), ("none", version[1])]) == 0
    assert not (project.stores.artifacts.root / "documents").exists()
    assert publish_documents(project.stores, [version, ("none", "0" * 64)]) == 1
    with pytest.raises(NotFound, match="no published trace 'none'"):
        open_document(project.stores, "none", "0" * 64)


def test_any_stretch_of_the_messages_can_be_read(project: Project, tmp_path: Path) -> None:
    (version,) = load(project.stores, tmp_path, long_trace(120))
    publish_documents(project.stores, [version])
    document = open_document(project.stores, *version)
    everything = document.messages(0, 120)
    assert [m.content.split()[1] for m in everything] == [str(i) for i in range(120)]
    for first, count in ((0, 1), (49, 2), (50, 50), (99, 3), (119, 50), (120, 5), (7, 0), (3, 999)):
        assert document.messages(first, count) == everything[first : first + count]
    assert document.message(77) == everything[77]
    for position in (-1, 120):
        with pytest.raises(NotFound):
            document.message(position)


def test_only_the_pages_that_are_asked_for_are_read(project: Project, tmp_path: Path) -> None:
    (version,) = load(project.stores, tmp_path, long_trace(120))
    publish_documents(project.stores, [version])
    # The first page is what the pack begins with.
    damage(pack_of(project.stores), at=40)
    document = open_document(project.stores, *version)
    assert document.message(50).content.startswith("message 50 ")
    assert len(document.messages(50, 70)) == 70
    with pytest.raises(BadArtifact, match="damaged at byte 0"):
        document.messages(49, 2)


def test_any_damage_to_a_header_is_found(project: Project, tmp_path: Path) -> None:
    (version,) = load(project.stores, tmp_path, trace("t", "hello"))
    publish_documents(project.stores, [version])
    (row,) = rows_of(project.stores)
    pack = pack_of(project.stores)
    whole = pack.read_bytes()
    for at in range(row.byte_offset, row.byte_offset + row.byte_length, 7):
        damage(pack, at)
        with pytest.raises(BadArtifact):
            open_document(project.stores, *version)
        pack.write_bytes(whole)
    pack.write_bytes(whole[:-3])
    with pytest.raises(BadArtifact, match="ends too early"):
        open_document(project.stores, *version)


def test_one_trace_is_never_shown_for_another(project: Project, tmp_path: Path) -> None:
    versions = load(project.stores, tmp_path, trace("a", "hello"), trace("b", "bye"))
    publish_documents(project.stores, versions)
    a, b = rows_of(project.stores)
    with project.stores.ledger.begin() as ledger:
        to_b = {"byte_offset": b.byte_offset, "byte_length": b.byte_length}
        ledger.execute(trace_documents.update().where(trace_documents.c.trace_id == "a"), to_b)
    with pytest.raises(BadArtifact, match="another trace where 'a' should be"):
        open_document(project.stores, "a", a.content_hash)


def all_said(folder: Path) -> list[object]:
    """What the documents of a project say: one of five messages, and one of five spans."""
    project = open_project(folder)
    stores = project.stores
    publish_documents(stores, load(stores, folder, long_trace(5)))
    import_spans(project, folder, [call(0, None), *(step(n, 0) for n in range(1, 5))])
    said: list[object] = []
    for row in rows_of(stores):
        document = open_document(stores, row.trace_id, row.content_hash)
        spans = [document.spans(), document.spans(1, 2), document.outline()]
        said.append((document.header, document.messages(0, 99), document.messages(1, 2), *spans))
        assert (len(spans[0]), document.n_spans) == ((5, 5) if row.trace_id == TRACE else (0, 0))
    stores.ledger.close()
    return said


def test_a_small_document_says_what_its_pages_would(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that were published before small ones became one frame have pages, whatever."""
    (tmp_path / "held").mkdir()
    (tmp_path / "paged").mkdir()
    held = all_said(tmp_path / "held")
    monkeypatch.setattr(documents, "SMALL_CHARACTERS", -1)
    assert all_said(tmp_path / "paged") == held


def test_a_message_may_be_longer_than_a_page(project: Project, tmp_path: Path) -> None:
    huge = "ä" * 2_500_000
    (version,) = load(project.stores, tmp_path, trace("t", "before", huge, "after", huge))
    publish_documents(project.stores, [version])
    document = open_document(project.stores, *version)
    assert [m.content for m in document.messages(0, 4)] == ["before", huge, "after", huge]


def test_many_batches_give_what_one_gives(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    traces = [long_trace(3 + i, f"t{i}") for i in range(9)]
    versions = load(project.stores, tmp_path, *traces)
    publish_documents(project.stores, versions)
    once = pack_of(project.stores)
    with project.stores.ledger.begin() as ledger:
        ledger.execute(trace_documents.delete())
    monkeypatch.setattr(documents, "BATCH_BYTES", 1_500)
    publish_documents(project.stores, versions)
    # Named by its content, so that it is the same pack.
    assert pack_of(project.stores) == once


@pytest.mark.parametrize(
    ("turns", "opening"),
    [
        (("  Where\n is\tit?  ", "There."), "Where is it?"),
        (("x" * 160,), "x" * 160),
        (("x" * 161,), "x" * 159 + "…"),
        (("short" + " " * 2_000 + "and long",), "short…"),
        (("pay \u202eevil\u202c",), "pay evil"),
        (("", "answer", "second"), "second"),
        (("", "nothing said"), ""),
    ],
)
def test_the_opening_is_a_line_of_what_the_user_said_first(
    project: Project, tmp_path: Path, turns: tuple[str, ...], opening: str
) -> None:
    publish_documents(project.stores, load(project.stores, tmp_path, trace("t", *turns)))
    (row,) = rows_of(project.stores)
    assert (row.opening, row.n_messages) == (opening, len(turns))


@pytest.mark.parametrize(
    ("written", "calls"),
    [
        (None, []),
        ("", []),
        ("[]", []),
        ("null", []),
        (
            '[{"id": "a", "type": "function",'
            ' "function": {"name": "f", "arguments": "{\\"x\\": 1}"}}]',
            [ToolCall("a", "f", '{"x": 1}')],
        ),
        (
            '[{"function": {"name": "f", "arguments": {"x": 1.0, "ö": null}}}]',
            [ToolCall("", "f", '{"x": 1.0, "ö": null}')],
        ),
        (
            '[{"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}}]',
            [ToolCall("a", "f", '{"x": 1}')],
        ),
        (
            '[{"name": "f", "arguments": "{}"}, {"name": "g", "args": [1]}]',
            [ToolCall("", "f", "{}"), ToolCall("", "g", "[1]")],
        ),
        (
            '{"function_call": {"name": "f", "arguments": "not JSON"}}',
            [ToolCall("", "f", "not JSON")],
        ),
        (
            '{"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"}',
            [ToolCall("a", "f", "{}")],
        ),
        ('[{"type": "custom", "custom": {"name": "f", "input": "ls"}}]', [ToolCall("", "f", "ls")]),
        ('[{"name": "f"}]', [ToolCall("", "f", "")]),
        ('[{"name": 7, "x": 1}]', [ToolCall("", "?", '{"name": 7, "x": 1}')]),
        ('["f()", null, 3]', [ToolCall("", "?", "f()"), ToolCall("", "?", "3")]),
        ('{"name": "f"', [ToolCall("", "?", '{"name": "f"')]),
        ("[" * 100_000, [ToolCall("", "?", "[" * 100_000)]),
        ("1" * 5_000, [ToolCall("", "?", "1" * 5_000)]),
    ],
)
def test_tool_calls_are_read_in_the_usual_shapes(
    written: str | None, calls: list[ToolCall]
) -> None:
    assert list(tool_calls_of(written)) == calls


def test_calls_can_always_be_stored() -> None:
    (call,) = tool_calls_of('[{"id": "\\ud800", "name": "f\\ud800", "arguments": "\\ud800"}]')
    assert call == ToolCall("?", "f?", "?")
