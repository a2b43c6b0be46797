"""The inbox: what comes in is committed, leaves when it is whole, and is in one place at a time."""

import json
from datetime import timedelta

import pytest
import sqlalchemy as sa

from flywheel.settings import Settings, TracesSettings
from flywheel.store import Project
from flywheel.store.ledger import Ledger, in_utc, now
from flywheel.store.tables import imports, inbox, trace_documents
from flywheel.traces import draining
from flywheel.traces.draining import DrainReport, drain_and_load, drain_inbox
from flywheel.traces.inbox import Inbox, InboxFull, fill_of
from tests.otlp import archived_lines, archived_spans, body, span_ids, trace_of


def take_in(project: Project, *spans: object, app: str = "") -> None:
    Inbox(project.stores.ledger, 512).take_in("otlp", app, body(*spans), len(spans))


def drain(project: Project, idle_s: float = 3600) -> DrainReport:
    return drain_inbox(project.stores, Settings(traces=TracesSettings(idle_s=idle_s)))


def waiting(project: Project) -> list["sa.Row[tuple[object, ...]]"]:
    with project.stores.ledger.read() as connection:
        return list(connection.execute(sa.select(inbox).order_by(inbox.c.batch_id)))


def entries(project: Project) -> list["sa.Row[tuple[object, ...]]"]:
    with project.stores.ledger.read() as connection:
        return list(connection.execute(sa.select(imports).order_by(imports.c.import_id)))


def age(project: Project, seconds: float) -> None:
    """Let everything in the inbox have come so long ago."""
    with project.stores.ledger.begin() as connection:
        connection.execute(inbox.update().values(received_at=now() - timedelta(seconds=seconds)))


def test_whole_traces_leave_and_the_ledger_learns_where_they_are(project: Project) -> None:
    spans = [*trace_of(1), *trace_of(2)]
    take_in(project, *spans)
    report = drain(project)
    assert (report.requests, report.spans, report.held_spans, report.imports) == (1, 8, 0, 1)
    assert waiting(project) == []
    (entry,) = entries(project)
    assert (entry.format, entry.app) == ("otlp", "")
    assert span_ids(archived_spans(project)) == span_ids(spans)


def test_an_empty_inbox_makes_no_import(project: Project) -> None:
    assert drain(project) == DrainReport()
    assert entries(project) == []


def test_a_trace_without_its_root_waits_for_it(project: Project) -> None:
    root, *others = trace_of(1)
    take_in(project, *others)
    assert drain(project).held_spans == 3
    assert entries(project) == []
    take_in(project, root)
    assert drain(project).spans == 4
    assert waiting(project) == []


def test_a_trace_with_a_missing_parent_waits_until_nothing_came_for_a_while(
    project: Project,
) -> None:
    root, first, _, last = trace_of(1)
    take_in(project, root, first, last)
    assert drain(project).spans == 0
    age(project, 7200)
    assert drain(project).spans == 3


def test_new_spans_of_a_trace_begin_its_silence_anew(project: Project) -> None:
    root, first, _, last = trace_of(1)
    take_in(project, root)
    take_in(project, last)
    age(project, 7200)
    take_in(project, first)
    report = drain(project)
    assert (report.spans, report.held_spans) == (0, 3)


def test_of_a_mixed_request_only_the_unfinished_stays_with_its_time_of_arrival(
    project: Project,
) -> None:
    unfinished = trace_of(2)[1:]
    take_in(project, *trace_of(1), *unfinished, app="desk")
    age(project, 60)
    (before,) = waiting(project)
    report = drain(project)
    assert (report.requests, report.spans, report.held_spans) == (1, 4, 3)
    (row,) = waiting(project)
    assert (row.kind, row.app, row.n_spans) == ("otlp-json", "desk", 3)
    assert in_utc(row.received_at) == in_utc(before.received_at)
    take_in(project, trace_of(2)[0], app="desk")
    drain(project)
    assert span_ids(archived_spans(project)) == span_ids([*trace_of(1), *trace_of(2)])


def test_the_senders_application_stands_in_its_lines(project: Project) -> None:
    take_in(project, *trace_of(1), app="desk")
    take_in(project, *trace_of(2))
    drain(project)
    assert [line.get("app") for line in archived_lines(project)] == ["desk", None]


def test_our_own_traces_are_an_import_of_their_own(project: Project) -> None:
    lines = [{"trace_id": "a", "messages": [1]}, {"trace_id": "b", "app": "x", "messages": [1]}]
    sent = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    Inbox(project.stores.ledger, 512).take_in("flywheel", "desk", sent, 2)
    take_in(project, *trace_of(1))
    report = drain(project)
    assert (report.traces, report.spans, report.imports) == (3, 4, 2)
    assert [entry.format for entry in entries(project)] == ["otlp", "flywheel"]
    assert [line["app"] for line in archived_lines(project)[1:]] == ["desk", "x"]


def test_our_own_traces_can_be_looked_at_as_soon_as_they_are_loaded(project: Project) -> None:
    said = {"role": "user", "content": "hello"}
    sent = json.dumps({"trace_id": "a", "messages": [said]}).encode()
    Inbox(project.stores.ledger, 512).take_in("flywheel", "desk", sent, 1)
    drain_and_load(project.stores, project.settings)
    with project.stores.ledger.read() as ledger:
        found = ledger.execute(sa.select(*trace_documents.c["trace_id", "app", "opening"])).all()
    assert [tuple(row) for row in found] == [("a", "desk", "hello")]


def test_the_same_bytes_again_are_no_second_import(project: Project) -> None:
    for _ in range(2):
        take_in(project, *trace_of(1))
        drain(project)
    assert waiting(project) == []
    assert len(entries(project)) == 1


def test_a_drain_works_in_chunks_and_looks_at_no_row_twice(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draining, "CHUNK_ROWS", 3)
    for number in range(1, 8):
        take_in(project, *trace_of(number), *trace_of(number + 100)[1:])
    report = drain(project)
    assert (report.requests, report.spans, report.held_spans) == (7, 28, 21)
    assert len(waiting(project)) == 7
    assert len(entries(project)) == 3
    assert len(archived_spans(project)) == 28


def test_a_row_larger_than_a_chunk_is_drained_by_itself(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draining, "CHUNK_BYTES", 10)
    for number in range(1, 4):
        take_in(project, *trace_of(number))
    assert drain(project).spans == 12


def test_a_long_document_becomes_several_lines(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draining, "LINE_BYTES", 100)
    take_in(project, *trace_of(1), app="desk")
    drain(project)
    lines = archived_lines(project)
    assert [line["app"] for line in lines] == ["desk"] * 4
    assert len(archived_spans(project)) == 4


def test_what_another_process_drained_is_left_to_it(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_in(project, *trace_of(1))
    put = draining._archive

    def overtaken(*given: object) -> str:
        monkeypatch.setattr(draining, "_archive", put)
        drain(project)
        return put(*given)

    monkeypatch.setattr(draining, "_archive", overtaken)
    assert drain(project).spans == 0
    assert len(entries(project)) == 1
    assert len(archived_spans(project)) == 4


@pytest.mark.parametrize("step", ["put_compressed", "enter_import"])
def test_a_drain_that_dies_anywhere_leaves_every_span_in_one_place(
    project: Project, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    class Killed(BaseException):
        pass

    def die(*_: object) -> None:
        raise Killed

    take_in(project, *trace_of(1), *trace_of(2)[1:])
    where = project.stores.artifacts.__class__ if step == "put_compressed" else draining
    with monkeypatch.context() as patched:
        patched.setattr(where, step, die)
        with pytest.raises(Killed):
            drain(project)
    assert (len(waiting(project)), entries(project)) == (1, [])
    report = drain(project)
    assert (report.spans, report.held_spans) == (4, 3)
    assert len(entries(project)) == 1


def test_a_full_inbox_refuses_until_it_is_drained(ledger: Ledger) -> None:
    full = Inbox(ledger, 1)
    full.check_room()
    full.take_in("otlp", "", b"x" * 1_000_000, 1)
    with pytest.raises(InboxFull, match="holds its 1 MB") as refused:
        full.check_room()
    assert refused.value.wait_s > 0
    assert full.refused == 1
    with ledger.begin() as connection:
        connection.execute(inbox.delete())
    again = Inbox(ledger, 1)
    again.check_room()


def test_what_other_processes_took_in_counts_too(ledger: Ledger) -> None:
    Inbox(ledger, 1).take_in("otlp", "", b"x" * 1_000_000, 1)
    with pytest.raises(InboxFull):
        Inbox(ledger, 1).check_room()


def test_the_fill_says_how_much_waits_and_since_when(ledger: Ledger) -> None:
    assert fill_of(ledger).rows == 0
    for n_spans in (2, 3):
        Inbox(ledger, 1).take_in("otlp", "", b"x" * 10, n_spans)
    with ledger.begin() as connection:
        connection.execute(inbox.update().values(received_at=now() - timedelta(hours=1)))
    fill = fill_of(ledger)
    assert (fill.rows, fill.n_bytes, fill.spans) == (2, 20, 5)
    assert 3600 <= fill.oldest_age_s < 3660
