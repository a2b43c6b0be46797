"""Exports: what people decided, as other tools read it, with nothing lost on the way."""

import hashlib
import io
import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from flywheel.cli import main
from flywheel.errors import BadInput, NotFound, Refused
from flywheel.records import EXPORT_FORMATS, Decision, split_of
from flywheel.review import (
    adjudicate,
    clear_sensitive,
    decide,
    flag_sensitive,
    import_decisions,
    standing_adjudications,
    standing_decisions,
    undo,
)
from flywheel.review.export import (
    ExportReport,
    export_decisions,
    versions_without_document,
    write_decisions,
)
from flywheel.store import Project, Stores, open_project
from flywheel.store.tables import audit_log
from flywheel.traces.documents import publish_documents
from flywheel.traces.importing import import_file
from tests.conftest import trace, write_lines
from tests.judged import said

SEARCH = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "find_room", "arguments": '{"city": "Ely", "nights": 2}'},
}
BETTER = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "find_room", "arguments": '{"city": "Cambridge", "nights": 2}'},
}
TOOLS = [{"type": "function", "function": {"name": "find_room", "parameters": {"type": "object"}}}]
CHAT = trace("chat", "a table for 4", "Booked for 2.", "no, for 4", "Sorry.")
FINE = trace("fine", "a table for 3", "Booked for 3.", "thanks")
AGENT = trace("agent") | {
    "app": "travel",
    "tools": TOOLS,
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "two nights in Cambridge"},
        {"role": "assistant", "content": "", "tool_calls": [SEARCH]},
        {"role": "tool", "content": "Lamb", "tool_call_id": "call_1", "name": "find_room"},
        {"role": "assistant", "content": "The Lamb is free."},
        {"role": "user", "content": "that is in Ely"},
    ],
}

Said = Callable[..., Decision]


@pytest.fixture
def stores(project: Project, tmp_path: Path) -> Stores:
    """The stores of a project with three traces and their documents."""
    bring(project.stores, tmp_path, [CHAT, FINE, AGENT])
    return project.stores


@pytest.fixture
def on(stores: Stores) -> Said:
    """Decisions on the traces as they are."""
    hashes = hashes_of(stores)

    def decision(trace_id: str, perceived_error: bool, *rest: str, **more: object) -> Decision:
        made = said(trace_id, perceived_error, *rest, **more)
        return replace(made, content_hash=hashes[trace_id])

    return decision


def bring(stores: Stores, folder: Path, traces: Iterable[object]) -> None:
    report = import_file(stores, write_lines(folder / "traces.jsonl", traces))
    assert report.rejected == []
    publish_documents(stores, hashes_of(stores).items())


def hashes_of(stores: Stores) -> dict[str, str]:
    with stores.warehouse.open() as connection:
        return dict(connection.raw.execute("select trace_id, content_hash from traces").fetchall())


def exported(
    stores: Stores, path: Path, format: str, **more: object
) -> tuple[ExportReport, list[dict[str, object]]]:
    report = export_decisions(stores, format, path / f"{format}.jsonl", **more)
    return report, lines_of(Path(report.path))


def lines_of(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def correct_the_call(stores: Stores, on: Said) -> None:
    better = json.dumps([BETTER])
    decide(stores.ledger, on("agent", True, corrected_turn=2, corrected_tool_calls=better))


def test_openai_sft_ends_with_the_corrected_message(
    stores: Stores, on: Said, tmp_path: Path
) -> None:
    decide(stores.ledger, on("chat", True, corrected_turn=3, corrected_text="Done: for 4."))
    correct_the_call(stores, on)
    report, rows = exported(stores, tmp_path, "openai-sft")
    assert rows == [
        {
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "two nights in Cambridge"},
                {"role": "assistant", "content": None, "tool_calls": [BETTER]},
            ],
            "tools": TOOLS,
            "parallel_tool_calls": True,
        },
        {
            "messages": [
                {"role": "user", "content": "a table for 4"},
                {"role": "assistant", "content": "Booked for 2.", "weight": 0},
                {"role": "user", "content": "no, for 4"},
                {"role": "assistant", "content": "Done: for 4."},
            ]
        },
    ]
    assert (report.rows, report.traces, report.corrections, report.left_out) == (2, 2, 2, {})


def test_openai_dpo_prefers_the_correction_to_what_was_said(
    stores: Stores, on: Said, tmp_path: Path
) -> None:
    correct_the_call(stores, on)
    decide(stores.ledger, on("agent", True, "bob", corrected_turn=4, corrected_text="The Swan."))
    _, (call, answer) = exported(stores, tmp_path, "openai-dpo")
    assert call == {
        "input": {
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "two nights in Cambridge"},
            ],
            "tools": TOOLS,
            "parallel_tool_calls": True,
        },
        "preferred_output": [{"role": "assistant", "content": None, "tool_calls": [BETTER]}],
        "non_preferred_output": [{"role": "assistant", "content": None, "tool_calls": [SEARCH]}],
    }
    assert answer["input"]["messages"][2:] == [
        {"role": "assistant", "content": None, "tool_calls": [SEARCH]},
        {"role": "tool", "content": "Lamb", "tool_call_id": "call_1"},
    ]
    assert answer["preferred_output"] == [{"role": "assistant", "content": "The Swan."}]
    assert answer["non_preferred_output"] == [{"role": "assistant", "content": "The Lamb is free."}]


def test_openai_rows_say_in_a_file_beside_them_where_they_come_from(
    stores: Stores, on: Said, tmp_path: Path
) -> None:
    decision = on("chat", True, corrected_turn=1, corrected_text="For 4.", rubric_version="7")
    decision_id = decide(stores.ledger, decision)
    decide(stores.ledger, on("chat", False, "bob", rubric_version="8"))
    report, rows = exported(stores, tmp_path, "openai-sft")
    assert set(rows[0]) == {"messages"}
    assert report.provenance == f"{report.path}.provenance.jsonl"
    assert lines_of(Path(report.provenance)) == [
        {
            "line": 1,
            "trace_id": "chat",
            "content_hash": decision.content_hash,
            "session_id": "session-chat",
            "app": "shop",
            "day": "2026-03-02",
            "split": split_of("session-chat"),
            "perceived_error": None,
            "is_disputed": True,
            "source": "human",
            "reason_code": "correction",
            "reason": "",
            "evidence_turn": None,
            "rubric_version": "7",
            "reviewers": ["ann", "bob"],
            "decided_at": decision.decided_at.isoformat(),
            "correction_id": str(decision_id + 1),
            "decision_id": decision_id,
            "corrected_turn": 1,
            "corrected_by": "ann",
        }
    ]


def test_trl_rows_are_conversations_with_arguments_as_objects(
    stores: Stores, on: Said, tmp_path: Path
) -> None:
    correct_the_call(stores, on)
    prompt = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "two nights in Cambridge"},
    ]
    good, bad = (
        [{"role": "assistant", "content": "", "tool_calls": [with_object(call)]}]
        for call in (BETTER, SEARCH)
    )
    _, (sft,) = exported(stores, tmp_path, "trl-sft")
    _, (dpo,) = exported(stores, tmp_path, "trl-dpo")
    _, (desirable, undesirable) = exported(stores, tmp_path, "trl-kto")
    metadata = sft["metadata"]
    same = {"prompt": prompt, "tools": TOOLS, "metadata": metadata}
    assert sft == same | {"completion": good}
    assert dpo == same | {"chosen": good, "rejected": bad}
    assert desirable == same | {"completion": good, "label": True}
    assert undesirable == same | {"completion": bad, "label": False}
    assert (metadata["trace_id"], metadata["reviewers"]) == ("agent", ["ann"])


def with_object(call: dict[str, object]) -> dict[str, object]:
    function = call["function"]
    return call | {"function": function | {"arguments": json.loads(function["arguments"])}}


def test_kto_judges_the_answer_before_the_evidence_where_nobody_corrected(
    stores: Stores, on: Said, tmp_path: Path
) -> None:
    decide(stores.ledger, on("chat", True, evidence_turn=2))
    decide(stores.ledger, on("fine", False))
    decide(stores.ledger, on("agent", True))
    _, rows = exported(stores, tmp_path, "trl-kto")
    judged = {
        row["metadata"]["trace_id"]: (row["completion"][0]["content"], row["label"]) for row in rows
    }
    assert judged == {
        "chat": ("Booked for 2.", False),
        "fine": ("Booked for 3.", True),
        # No evidence is named: it is the last answer.
        "agent": ("The Lamb is free.", False),
    }


def test_two_corrections_of_one_answer_give_kto_one_undesirable_row(
    stores: Stores, on: Said, tmp_path: Path
) -> None:
    for reviewer in ("ann", "bob"):
        text = f"{reviewer} says: for 4."
        decide(stores.ledger, on("chat", True, reviewer, corrected_turn=1, corrected_text=text))
    _, rows = exported(stores, tmp_path, "trl-kto")
    assert [(row["completion"][0]["content"], row["label"]) for row in rows] == [
        ("ann says: for 4.", True),
        ("Booked for 2.", False),
        ("bob says: for 4.", True),
    ]


def test_json_lines_hold_each_trace_with_all_votes_and_its_messages(
    stores: Stores, on: Said, tmp_path: Path
) -> None:
    decide(stores.ledger, on("agent", True))
    decide(stores.ledger, on("agent", True, "bob", reason="wrong town", evidence_turn=5))
    decide(stores.ledger, on("agent", False, "eve"))
    _, (row,) = exported(stores, tmp_path, "jsonl")
    assert (row["perceived_error"], row["is_disputed"], row["source"]) == (True, False, "human")
    # The last word on the side of the most.
    assert (row["reason"], row["evidence_turn"]) == ("wrong town", 5)
    assert row["reviewers"] == ["ann", "bob", "eve"]
    assert [vote["reviewer"] for vote in row["decisions"]] == ["ann", "bob", "eve"]
    assert row["messages"] == AGENT["messages"]


def test_an_adjudication_wins_and_a_tie_is_kept_as_disputed(
    stores: Stores, on: Said, tmp_path: Path
) -> None:
    for trace_id in ("chat", "fine"):
        decide(stores.ledger, on(trace_id, True))
        decide(stores.ledger, on(trace_id, False, "bob"))
    adjudicate(stores.ledger, on("chat", True, "eve", reason="2 is not 4"))
    _, rows = exported(stores, tmp_path, "jsonl")
    said_of = {row["trace_id"]: row for row in rows}
    names = ("perceived_error", "is_disputed", "source", "reason")
    assert [said_of["chat"][name] for name in names] == [True, False, "adjudicated", "2 is not 4"]
    assert [said_of["fine"][name] for name in names] == [None, True, "human", None]
    assert [vote["kind"] for vote in said_of["chat"]["decisions"]] == [
        "decide",
        "decide",
        "adjudicate",
    ]


def test_parquet_holds_what_json_lines_hold(stores: Stores, on: Said, tmp_path: Path) -> None:
    correct_the_call(stores, on)
    decide(stores.ledger, on("chat", False))
    _, rows = exported(stores, tmp_path, "jsonl")
    report = export_decisions(stores, "parquet", tmp_path / "all.parquet")
    assert report.sha256 == hashlib.sha256((tmp_path / "all.parquet").read_bytes()).hexdigest()
    table = pq.read_table(tmp_path / "all.parquet").to_pylist()
    assert [without_nulls(row) for row in table] == [without_nulls(row) for row in rows]


def without_nulls(value: object) -> object:
    """The row without what says nothing, and with moments as text."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value.isoformat() if hasattr(value, "isoformat") else value


@pytest.mark.parametrize("format", ["jsonl", "openai-sft", "openai-dpo", "trl-sft", "trl-dpo"])
def test_a_correction_goes_along_whatever_the_label(
    stores: Stores, on: Said, tmp_path: Path, format: str
) -> None:
    decide(stores.ledger, on("chat", True, corrected_turn=1, corrected_text="For 4."))
    decide(stores.ledger, on("chat", False, "bob"))
    decide(stores.ledger, on("chat", False, "eve"))
    decide(stores.ledger, on("fine", False, corrected_turn=1, corrected_text="For 3, at 8."))
    report, _ = exported(stores, tmp_path, format)
    assert report.corrections == 2


def test_what_was_taken_back_is_not_exported(stores: Stores, on: Said, tmp_path: Path) -> None:
    decide(stores.ledger, on("chat", True, corrected_turn=1, corrected_text="For 4."))
    undo(stores.ledger, "ann")
    report, rows = exported(stores, tmp_path, "jsonl")
    assert (rows, report.left_out) == ([], {})


def test_a_sensitive_trace_is_left_out_unless_it_is_asked_for(
    stores: Stores, on: Said, tmp_path: Path
) -> None:
    decision = on("chat", True)
    decide(stores.ledger, decision)
    flag_sensitive(stores.ledger, "chat", decision.content_hash, "bob")
    report, rows = exported(stores, tmp_path, "jsonl")
    assert (rows, report.left_out) == ([], {"flagged as sensitive": 1})
    report, rows = exported(stores, tmp_path, "jsonl", include_sensitive=True, force=True)
    assert (len(rows), report.left_out) == (1, {})
    clear_sensitive(stores.ledger, "chat", "bob")
    assert exported(stores, tmp_path, "jsonl", force=True)[0].rows == 1


def test_what_cannot_be_exported_is_counted_with_its_reason(
    project: Project, tmp_path: Path
) -> None:
    stores = project.stores
    greeting = {"role": "assistant", "content": "Hello."}
    first = trace("first") | {"messages": [greeting, {"role": "user", "content": "hm"}]}
    silent = trace("silent", "hi", "", "hello?", "Hi.")
    bring(stores, tmp_path, [CHAT, FINE, first, silent])
    hashes = hashes_of(stores)

    def correct(trace_id: str, turn: int, text: str) -> None:
        content_hash = hashes.get(trace_id, "gone")
        made = said(trace_id, True, corrected_turn=turn, corrected_text=text)
        decide(stores.ledger, replace(made, content_hash=content_hash))

    correct("chat", 0, "a user's words")
    correct("fine", 1, "Booked for 3.")
    correct("first", 0, "Good morning.")
    correct("silent", 1, "Hi.")
    correct("lost", 1, "Hi.")
    report, rows = exported(stores, tmp_path, "openai-dpo")
    assert rows == []
    assert report.left_out == {
        "correction of a message that is not the assistant's": 1,
        "correction of an empty message, which leaves nothing to be preferred to": 1,
        "correction that changes nothing": 1,
        "no message before the answer": 1,
        "no trace document": 1,
    }


def test_only_the_splits_and_the_application_asked_for(
    stores: Stores, on: Said, tmp_path: Path
) -> None:
    for trace_id in ("chat", "fine", "agent"):
        decide(stores.ledger, on(trace_id, False))
    by_app = exported(stores, tmp_path, "jsonl", app="travel")[1]
    assert [row["trace_id"] for row in by_app] == ["agent"]
    split = split_of("session-chat")
    by_split = exported(stores, tmp_path, "jsonl", splits=[split], force=True)[1]
    assert {row["split"] for row in by_split} == {split}
    assert "chat" in {row["trace_id"] for row in by_split}


def test_an_existing_file_is_kept_unless_it_is_forced(
    stores: Stores, on: Said, tmp_path: Path
) -> None:
    decide(stores.ledger, on("chat", False))
    path = tmp_path / "jsonl.jsonl"
    path.write_text("mine", encoding="utf-8")
    with pytest.raises(Refused, match="--force"):
        export_decisions(stores, "jsonl", path)
    assert path.read_text(encoding="utf-8") == "mine"
    export_decisions(stores, "jsonl", path, force=True)
    assert [row["trace_id"] for row in lines_of(path)] == ["chat"]
    assert {file.name for file in tmp_path.iterdir()} == {"project", "traces.jsonl", path.name}


def test_a_provenance_file_that_exists_is_kept_too(stores: Stores, tmp_path: Path) -> None:
    beside = tmp_path / "sft.jsonl.provenance.jsonl"
    beside.write_text("mine", encoding="utf-8")
    with pytest.raises(Refused, match="provenance"):
        export_decisions(stores, "openai-sft", tmp_path / "sft.jsonl")


def test_a_place_that_is_none_and_a_format_that_is_none_are_refused(
    stores: Stores, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match="no folder"):
        export_decisions(stores, "jsonl", tmp_path / "nowhere" / "out.jsonl")
    with pytest.raises(BadInput, match="is a folder"):
        export_decisions(stores, "jsonl", tmp_path)
    with pytest.raises(BadInput, match="is a folder"):
        export_decisions(stores, "openai-sft", Path("."))
    with pytest.raises(NotFound, match="trl-kto"):
        export_decisions(stores, "trl-kt", tmp_path / "out.jsonl")
    with pytest.raises(BadInput, match="Parquet"):
        write_decisions(stores, "parquet", io.BytesIO())


def test_every_export_is_in_the_audit_log_with_its_hash(
    stores: Stores, on: Said, tmp_path: Path
) -> None:
    decide(stores.ledger, on("chat", False))
    report, _ = exported(stores, tmp_path, "jsonl", app="shop", actor="ann")
    out = io.BytesIO()
    streamed = write_decisions(stores, "jsonl", out, app="shop")
    assert (tmp_path / "jsonl.jsonl").read_bytes() == out.getvalue()
    assert report.sha256 == streamed.sha256 == hashlib.sha256(out.getvalue()).hexdigest()
    with stores.ledger.read() as ledger:
        wanted = sa.select(audit_log).where(audit_log.c.action == "export")
        entry, _ = ledger.execute(wanted.order_by(audit_log.c.entry_id)).all()
    assert (entry.actor, entry.subject) == ("ann", "jsonl")
    assert json.loads(entry.detail) == {
        "app": "shop",
        "include_sensitive": False,
        "left_out": {},
        "rows": 1,
        "sha256": report.sha256,
        "splits": [],
        "traces": 1,
    }


def test_tool_messages_without_an_id_answer_the_calls_before_them_in_order(
    project: Project, tmp_path: Path
) -> None:
    call = {"type": "function", "function": {"name": "look", "arguments": "{}"}}
    asked = [
        {"role": "user", "content": "look twice"},
        {"role": "assistant", "content": "", "tool_calls": [call, call]},
        {"role": "tool", "content": "one"},
        {"role": "tool", "content": "two"},
        {"role": "assistant", "content": "Three."},
        {"role": "user", "content": "no, two"},
    ]
    bring(project.stores, tmp_path, [trace("twice") | {"messages": asked}])
    made = said("twice", True, corrected_turn=4, corrected_text="Two.")
    decide(project.stores.ledger, replace(made, content_hash=hashes_of(project.stores)["twice"]))
    _, (row,) = exported(project.stores, tmp_path, "openai-sft")
    messages = row["messages"]
    call_ids = [call["id"] for call in messages[1]["tool_calls"]]
    assert len(set(call_ids)) == 2
    assert [message["tool_call_id"] for message in messages[2:4]] == call_ids


def test_our_own_importer_reads_the_openai_files_back(
    stores: Stores, on: Said, tmp_path: Path
) -> None:
    correct_the_call(stores, on)
    decide(stores.ledger, on("chat", True, corrected_turn=1, corrected_text="For 4: done.\u2028"))
    for format in ("openai-sft", "openai-dpo"):
        report, _ = exported(stores, tmp_path, format)
        other = open_project(tmp_path / format).stores
        imported = import_file(other, Path(report.path))
        assert (imported.new, imported.rejected) == (2, [])
        with other.warehouse.open() as connection:
            ends = connection.raw.execute(
                "select last(content order by position), last(tool_calls order by position)"
                " from messages group by trace_id order by all"
            ).fetchall()
        (_, calls), (text, _) = ends
        assert json.loads(calls) == [BETTER]
        assert text == "For 4: done.\u2028"


def test_decisions_move_to_another_project_by_json_lines(
    stores: Stores, on: Said, tmp_path: Path
) -> None:
    correct_the_call(stores, on)
    decide(stores.ledger, on("chat", True, "bob", evidence_turn=2, reason="zwölf", seconds=3.5))
    decide(stores.ledger, on("chat", False, "eve"))
    adjudicate(stores.ledger, on("chat", True, "kim", corrected_turn=1, corrected_text="For 4."))
    report, rows = exported(stores, tmp_path, "jsonl")
    other = open_project(tmp_path / "moved").stores
    bring(other, tmp_path, [CHAT, FINE, AGENT])
    imported = import_decisions(other, Path(report.path))
    assert (imported.read, imported.new, imported.rejected) == (4, 4, [])
    assert import_decisions(other, Path(report.path)).duplicate == 4
    for standing in (standing_decisions, standing_adjudications):
        there = [one.decision for one in standing(other.ledger)]
        assert by_trace(there) == by_trace(one.decision for one in standing(stores.ledger))
    again = [without_ids(row) for row in exported(other, tmp_path / "moved", "jsonl")[1]]
    assert again == [without_ids(row) for row in rows]


def by_trace(decisions: Iterable[Decision]) -> list[Decision]:
    return sorted(decisions, key=lambda decision: (decision.trace_id, decision.reviewer))


def without_ids(row: dict[str, object]) -> dict[str, object]:
    """A row without the numbers that the ledger gave."""
    votes = [vote | {"decision_id": 0} for vote in row["decisions"]]
    return row | {"correction_id": "", "decisions": votes}


def test_memory_is_bounded_by_batches_that_lose_nothing(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flywheel.review.decided.BATCH", 2)
    monkeypatch.setattr("flywheel.review.export.GROUP_ROWS", 2)
    names = [f"t{number}" for number in range(7)]
    bring(project.stores, tmp_path, [trace(name, "hi", "hello", "no") for name in names])
    hashes = hashes_of(project.stores)
    for name in names:
        made = said(name, True)
        decide(project.stores.ledger, replace(made, content_hash=hashes[name]))
    _, rows = exported(project.stores, tmp_path, "jsonl")
    assert [row["trace_id"] for row in rows] == names
    export_decisions(project.stores, "parquet", tmp_path / "all.parquet")
    file = pq.ParquetFile(tmp_path / "all.parquet")
    assert (file.metadata.num_rows, file.metadata.num_row_groups) == (7, 4)


def test_the_command_publishes_what_was_never_in_a_queue(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import_file(project.stores, write_lines(tmp_path / "traces.jsonl", [CHAT, FINE]))
    hashes = hashes_of(project.stores)
    for name in ("chat", "fine"):
        decide(project.stores.ledger, replace(said(name, True), content_hash=hashes[name]))
    assert len(versions_without_document(project.stores.ledger)) == 2
    out = tmp_path / "out.jsonl"
    export = ["--project", str(project.folder), "review", "export", "--format"]
    main([*export, "jsonl", "--out", str(out), "--json"])
    report = json.loads(capsys.readouterr().out)
    assert (report["rows"], report["path"]) == (2, str(out))
    main([*export, "trl-kto", "--out", "-"])
    shown = capsys.readouterr()
    assert [json.loads(line)["label"] for line in shown.out.splitlines()] == [False, False]
    assert "2 rows of 2 traces" in shown.err


def test_the_command_refuses_to_replace_and_to_mix_rows_with_a_report(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export = ["--project", str(project.folder), "review", "export", "--format", "jsonl", "--out"]
    out = tmp_path / "out.jsonl"
    out.touch()
    project.data_dir.mkdir(parents=True)
    for arguments, code in (([str(out)], 1), (["-", "--json"], 2)):
        with pytest.raises(SystemExit) as stop:
            main([*export, *arguments])
        assert stop.value.code == code
    assert "--force" in capsys.readouterr().err


def test_every_format_can_be_written_when_there_is_nothing_to_write(
    project: Project, tmp_path: Path
) -> None:
    for format in EXPORT_FORMATS:
        report = export_decisions(project.stores, format, tmp_path / format)
        assert (report.rows, report.left_out) == (0, {})
        assert Path(report.path).exists()
