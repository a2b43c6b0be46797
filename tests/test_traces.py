"""Traces: every line of a file is a trace or a named reject, and the sample is one that counts."""

import gzip
import hashlib
import json
import os
import random
import shutil
from collections.abc import Iterable
from datetime import date
from pathlib import Path

import pytest
import sqlalchemy as sa
import zstandard
from click.testing import CliRunner

from flywheel.cli.main import cli
from flywheel.errors import BadInput, NotFound, WarehouseBusy
from flywheel.records import split_of, unit_hash
from flywheel.store import Project, Stores
from flywheel.store.tables import imports
from flywheel.store.warehouse import Warehouse
from flywheel.traces import lines
from flywheel.traces.conversations import InputLevers, read_day
from flywheel.traces.formats import FORMATS, recognise
from flywheel.traces.importing import (
    RejectedRow,
    count_traces,
    days_with_traces,
    import_file,
    load_imports,
)
from flywheel.traces.sampling import sample_day
from tests.conftest import trace, write_lines

FIXTURES = Path(__file__).parent / "fixtures" / "traces"
DAY = date(2026, 3, 2)


@pytest.fixture
def stores(project: Project) -> Stores:
    return project.stores


def select(stores: Stores, sql: str) -> list[tuple]:
    with stores.warehouse.open() as connection:
        return connection.raw.execute(sql).fetchall()


def write_bytes(path: Path, *lines_: bytes) -> Path:
    path.write_bytes(b"\n".join(lines_))
    return path


def everything(stores: Stores) -> list[list[tuple]]:
    return [
        select(stores, f"select * from {table} order by all")
        for table in ("traces", "messages", "rejected_rows", "loaded_imports")
    ]


# Formats


def test_every_format_has_a_fixture() -> None:
    assert {name.replace("-", "_") for name in FORMATS} == {
        path.stem for path in FIXTURES.glob("*.jsonl")
    }


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_is_known_by_its_keys_whatever_the_file_is_called(
    name: str, stores: Stores, tmp_path: Path
) -> None:
    file = shutil.copy(FIXTURES / f"{name.replace('-', '_')}.jsonl", tmp_path / "traces.txt")
    assert recognise(Path(file)).name == name
    report = import_file(stores, Path(file))
    assert report.rejected == []
    assert report.new == report.read > 0


def test_our_own_format_keeps_every_field(stores: Stores) -> None:
    import_file(stores, FIXTURES / "flywheel.jsonl")
    assert select(
        stores,
        "select app, session_id, user_id, day, started_at::varchar, ended_at::varchar, status,"
        " release, model_name, generator, cost_usd, prompt_tokens, completion_tokens, latency_ms,"
        " n_messages, is_eligible, started_at_source, line_no from traces where trace_id = 'fw-1'",
    ) == [
        (
            *("shop", "s-1", "u-1", DAY, "2026-03-02 10:00:00", "2026-03-02 10:00:09", "ok"),
            # A count of 0 is not known to be 0.
            *("1.4", "m-large", "agent", 0.002, 120, None, 900.5, 5, True, "file", 1),
        )
    ]


def test_parts_of_a_message_are_joined_and_none_is_lost(stores: Stores) -> None:
    import_file(stores, FIXTURES / "flywheel.jsonl")
    assert select(
        stores, "select role, content from messages where trace_id = 'fw-2' order by position"
    ) == [
        ("system", "Be brief."),
        (
            "user",
            'What is\n{"type":"image_url","image_url":{"url":"https://example.org/a.png"}}\nthis?',
        ),
        ("assistant", "A lamp."),
    ]


def test_a_logged_call_ends_with_its_answer(stores: Stores) -> None:
    import_file(stores, FIXTURES / "openai_chat.jsonl")
    rows = select(
        stores,
        "select role, content, tool_calls from messages where trace_id = 'chatcmpl-1'"
        " order by position",
    )
    assert [row[:2] for row in rows] == [
        ("system", "Help."),
        ("user", "Weather in Rome?"),
        ("assistant", ""),
    ]
    # Arguments are an object here and a string elsewhere; both stay as they are.
    assert json.loads(rows[2][2])[0]["function"]["arguments"] == {"city": "Rome"}
    assert select(
        stores,
        "select app, session_id, user_id, model_name, started_at::varchar, metadata->>'$.client_id'"
        " from traces where trace_id = 'chatcmpl-1'",
    ) == [("assistant", "s-9", "u-9", "gpt-4o-2024-08-06", "2026-03-02 10:00:00", "web")]


def test_a_refusal_is_the_answer(stores: Stores) -> None:
    import_file(stores, FIXTURES / "openai_chat.jsonl")
    assert select(
        stores,
        "select content from messages where trace_id = 'chatcmpl-2' and role = 'assistant'",
    ) == [("I cannot do that.",)]


def test_sharegpt_speakers_become_roles(stores: Stores) -> None:
    import_file(stores, FIXTURES / "sharegpt.jsonl")
    assert select(
        stores, "select role, content from messages where trace_id = 'sg-1' order by position"
    ) == [
        ("system", "Be short."),
        ("user", "Weather?"),
        ("assistant", ""),
        ("tool", '["sunny"]'),
        ("assistant", "Sunny."),
        ("user", "In Rome?"),
    ]


def test_keys_that_no_column_takes_go_to_the_metadata(stores: Stores, tmp_path: Path) -> None:
    rows = [
        trace("a", "hi", label={"perceived_error": None}, metadata={"k": None}),
        trace("b", "hi", source="x", metadata={"source": "y"}),
        trace("c", "hi", metadata=["x"]),
        trace("d", "hi"),
    ]
    import_file(stores, write_lines(tmp_path / "f", rows))
    found = [row[0] for row in select(stores, "select metadata from traces order by trace_id")]
    assert [row and json.loads(row) for row in found] == [
        {"label": {"perceived_error": None}, "k": None},
        {"source": "y"},
        {"metadata": ["x"]},
        None,
    ]


# Files that cannot be used at all


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "is empty"),
        (b"\n  \n", "is empty"),
        (b"\x7fELF\0\0\0", "no UTF-8 text"),
        (b'[{"trace_id": "a"}]', "its rows have the keys trace_id"),
        (b"a,b\n1,2\n", "its rows have the keys a, b"),
        (b"no, that\nis wrong\n", "its rows have the keys"),
        (b"just a word", "no line of it is a JSON object"),
        (b'{"question": "?", "answer": "!"}', "its rows have the keys answer, question"),
        (b"\x1f\x8bdamaged", "damaged"),
    ],
)
def test_a_file_in_no_known_format_is_refused_in_a_sentence(
    tmp_path: Path, content: bytes, why: str
) -> None:
    with pytest.raises(BadInput, match=why):
        recognise(write_bytes(tmp_path / "f.jsonl", content))


def test_a_refused_file_leaves_no_trace_of_itself(stores: Stores, tmp_path: Path) -> None:
    for path in (tmp_path / "none.jsonl", tmp_path, write_bytes(tmp_path / "f", b"x")):
        with pytest.raises(BadInput):
            import_file(stores, path)
    assert load_imports(stores) == []
    assert not list(stores.artifacts.root.glob("raw/*"))


def test_an_unknown_format_is_refused(stores: Stores, tmp_path: Path) -> None:
    file = write_lines(tmp_path / "f", [trace("a", "hi")])
    with pytest.raises(NotFound, match="did you mean 'sharegpt'"):
        import_file(stores, file, format="share-gpt")


# Lines that cannot be used

GOOD = json.dumps(trace("good", "hi", "hello", "again")).encode()
BAD_LINES = [
    (b"{bad json", "not JSON: Expecting property name enclosed in double quotes at character 2"),
    (b"[1, 2]", "not a JSON object"),
    (b'"text"', "not a JSON object"),
    (b'{"trace_id": "x"}', "has no list of messages under 'messages'"),
    (b'{"trace_id": "x", "messages": "oops"}', "has no list of messages under 'messages'"),
    (b'{"trace_id": "x", "messages": []}', "the list of messages is empty"),
    (
        b'{"trace_id": "x", "messages": [{"role": "user", "content": "a"}, 7]}',
        "message 2 has no role",
    ),
    (
        b'{"trace_id": "x", "messages": [{"role": "robot", "content": "a"}]}',
        'message 1 has the unknown role "robot"',
    ),
    (
        b'{"started_at": "soon", "messages": [{"role": "user", "content": "a"}]}',
        'started_at "soon" is no time',
    ),
    (b'{"trace_id": "x", "messages": [{"role": "user", "content": "\xff"}]}', "not UTF-8"),
    (
        b'{"trace_id": "x", "messages": [{"role": "user", "content": "\\ud83d"}]}',
        "half of a surrogate pair",
    ),
    (b'{"messages": [], "x": ' + b"[" * 600 + b"]" * 600 + b"}", "nested deeper than 500 levels"),
    (b'{"trace_id": "x", "messages": [{"role": "user", "cont', "not JSON: Unterminated string"),
]


def test_a_bad_line_is_rejected_with_its_number_and_why(stores: Stores, tmp_path: Path) -> None:
    file = write_bytes(tmp_path / "f.jsonl", GOOD, b"", b"  \r", *[line for line, _ in BAD_LINES])
    report = import_file(stores, file)
    assert (report.read, report.new) == (1 + len(BAD_LINES), 1)
    assert [(row.file, row.line) for row in report.rejected] == [
        (str(file), 4 + position) for position in range(len(BAD_LINES))
    ]
    for row, (_, why) in zip(report.rejected, BAD_LINES, strict=True):
        assert why in row.why


def test_good_lines_between_bad_ones_are_all_kept(
    stores: Stores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Chunks of a few lines, so that numbers have to go on from one to the next.
    monkeypatch.setattr(lines, "CHUNK_BYTES", 8000)
    rng = random.Random(1)
    content, expected_ids, expected_rejects = [], [], []
    for number in range(1, 301):
        kind = rng.random()
        if kind < 0.2:
            content.append(rng.choice(BAD_LINES)[0])
            expected_rejects.append(number)
        elif kind < 0.3:
            content.append(b"")
        else:
            content.append(json.dumps(trace(f"t{number}", "hi")).encode() + b"\r" * (kind < 0.5))
            expected_ids.append((f"t{number}", number))
    report = import_file(stores, write_bytes(tmp_path / "f", *content))
    assert [row.line for row in report.rejected] == expected_rejects
    assert select(stores, "select trace_id, line_no from traces order by line_no") == expected_ids
    assert report.read == report.new + len(report.rejected) == 300 - content.count(b"")


def test_a_line_beyond_the_limit_is_rejected_and_the_next_one_is_read(
    stores: Stores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "MAX_LINE_BYTES", 4096)
    monkeypatch.setattr(lines, "CHUNK_BYTES", 1000)
    long = json.dumps(trace("long", "x" * 10_000)).encode()
    report = import_file(stores, write_bytes(tmp_path / "f", GOOD, long, GOOD))
    assert (report.read, report.new, report.duplicate) == (3, 1, 1)
    assert [row.line for row in report.rejected] == [2]


def test_deep_nesting_in_any_place_ends_no_process(stores: Stores, tmp_path: Path) -> None:
    deep = b'{"a":' * 200_000 + b"1" + b"}" * 200_000
    content = [
        b'{"trace_id": "x", "messages": [{"role": "user", "content": %s}]}' % deep,
        b'{"trace_id": "x", "extra": %s}' % deep,
        b'{"trace_id": "x", "messages": %s' % deep,
        b'{"' + b'\\"[{' * 200_000,
    ]
    report = import_file(stores, write_bytes(tmp_path / "f", GOOD, *content))
    assert (report.new, [row.line for row in report.rejected]) == (1, [2, 3, 4, 5])


# The same again


def test_the_same_file_twice_adds_nothing(stores: Stores, tmp_path: Path) -> None:
    file = write_bytes(tmp_path / "f", GOOD, b"{bad")
    first = import_file(stores, file)
    before = everything(stores)
    again = import_file(stores, file)
    assert (first.new, first.duplicate) == (1, 0)
    assert (again.read, again.new, again.duplicate, again.changed) == (2, 0, 1, 0)
    assert again.rejected == first.rejected
    assert everything(stores) == before
    with stores.ledger.begin() as ledger:
        assert ledger.execute(sa.select(sa.func.count()).select_from(imports)).scalar() == 1


def test_the_same_trace_in_another_file_is_a_duplicate(stores: Stores, tmp_path: Path) -> None:
    import_file(stores, write_bytes(tmp_path / "a", GOOD))
    report = import_file(stores, write_bytes(tmp_path / "b", GOOD, GOOD))
    assert (report.read, report.new, report.duplicate) == (2, 0, 2)
    assert select(stores, "select count(*) from messages") == [(3,)]


def test_a_changed_trace_is_a_new_version_and_the_last_one_is_current(
    stores: Stores, tmp_path: Path
) -> None:
    import_file(stores, write_lines(tmp_path / "a", [trace("t", "one"), trace("u", "same")]))
    versions = [trace("t", "two", started_at="2026-03-04T00:00:00Z"), trace("t", "three")]
    report = import_file(stores, write_lines(tmp_path / "b", versions))
    assert (report.new, report.changed, report.duplicate) == (0, 2, 0)
    assert select(
        stores,
        "select m.content, t.is_current from traces as t"
        " join messages as m using (trace_id, content_hash) where trace_id = 't'"
        " order by import_id, line_no",
    ) == [("one", False), ("two", False), ("three", True)]
    # The old version's day is touched too.
    assert select(stores, "select days, changed from loaded_imports where import_id = 2") == [
        ([DAY, date(2026, 3, 4)], 2)
    ]
    assert count_traces(stores, DAY).traces == 2


def test_an_old_version_that_comes_again_changes_nothing(stores: Stores, tmp_path: Path) -> None:
    for name, text in (("a", "one"), ("b", "two"), ("c", "one")):
        report = import_file(stores, write_lines(tmp_path / name, [trace("t", text, source=name)]))
    assert report.duplicate == 1
    assert select(stores, "select count(*), count(*) filter (is_current) from traces") == [(2, 1)]


def test_the_text_under_a_content_hash_never_changes_its_form(
    stores: Stores, tmp_path: Path
) -> None:
    said, answered = 'quo"te\n', "naïve \u202e \u0001\0 \\ / é😀"
    row = trace("t", said, answered, user_id="ü")
    row["messages"].append({"role": "tool", "content": "", "tool_call_id": "c", "tool_calls": []})
    import_file(stores, write_lines(tmp_path / "f", [row]))
    text = (
        '{"app":"shop","session_id":"session-t","user_id":"ü",'
        '"started_at":"2026-03-02 10:00:00","ended_at":null}'
        f"user {len(said.encode())} {said}assistant {len(answered.encode())} {answered}"
        'tool 0 {"tool_calls":null,"tool_call_id":"c","name":null}'
    )
    assert select(stores, "select content_hash from traces") == [
        (hashlib.sha256(text.encode()).hexdigest(),)
    ]


def test_a_trace_without_an_id_is_named_by_its_content(stores: Stores, tmp_path: Path) -> None:
    row = {"messages": [{"role": "user", "content": "hi"}]}
    report = import_file(stores, write_lines(tmp_path / "f", [row, row]))
    assert (report.new, report.duplicate) == (1, 1)
    ((trace_id, content_hash, session_id, app),) = select(
        stores, "select trace_id, content_hash, session_id, app from traces"
    )
    assert trace_id == session_id == content_hash[:32]
    assert app == "default"


# Days


def test_times_are_brought_to_utc(stores: Stores, tmp_path: Path) -> None:
    times = [
        ("2026-03-02", "2026-03-02 00:00:00"),
        ("2026-03-02T23:30:00-02:00", "2026-03-03 01:30:00"),
        ("2026-03-02 10:00:00.25", "2026-03-02 10:00:00.25"),
        ("2026-03-02T10:00:00.123456789Z", "2026-03-02 10:00:00.123456"),
        # 20,514 days of 86,400 s after 1970 is 2 March 2026.
        (1772409600, "2026-03-02 00:00:00"),
        (1772409600.5, "2026-03-02 00:00:00.5"),
        (1772409600500, "2026-03-02 00:00:00.5"),
        ("1772409600000000", "2026-03-02 00:00:00"),
    ]
    rows = [trace(f"t{n}", "hi", started_at=given) for n, (given, _) in enumerate(times)]
    assert import_file(stores, write_lines(tmp_path / "f", rows)).rejected == []
    assert select(
        stores, "select started_at::varchar, day::varchar from traces order by line_no"
    ) == [(utc, utc[:10]) for _, utc in times]


def test_a_name_with_a_nul_in_it_is_rejected(stores: Stores, tmp_path: Path) -> None:
    """The ledger names traces, and Postgres has no text with a NUL in it."""
    path = write_lines(tmp_path / "t.jsonl", [trace("a\0b", "hi", "yo"), trace("c", "hi", "yo")])
    report = import_file(stores, path)
    assert (report.new, report.rejected[0].line) == (1, 1)
    assert "NUL" in report.rejected[0].why


@pytest.mark.parametrize("name", ["trace_id", "session_id", "user_id", "app"])
def test_a_name_that_no_index_takes_is_rejected(stores: Stores, tmp_path: Path, name: str) -> None:
    """Postgres indexes 2,704 bytes at most; 300 characters are kept, and 301 are named."""
    rows = [trace(f"t{n}", "hi", "yo") | {name: "é" * n} for n in (300, 301)]
    report = import_file(stores, write_lines(tmp_path / "long", rows))
    assert (report.new, [reject.line for reject in report.rejected]) == (1, [2])
    assert "longer than 300 characters" in report.rejected[0].why


def test_what_is_no_time_is_rejected(stores: Stores, tmp_path: Path) -> None:
    times = ["9" * 40, "infinity", "2026-02-30", "now", True, [1], 0]
    rows = [trace(f"t{n}", "hi", started_at=given) for n, given in enumerate(times)]
    report = import_file(stores, write_lines(tmp_path / "f", rows))
    assert [row.line for row in report.rejected] == [1, 2, 3, 4, 5, 6, 7]
    assert all("is no time" in row.why for row in report.rejected)


def test_a_trace_without_a_time_falls_on_the_day_that_was_asked_for(
    stores: Stores, tmp_path: Path
) -> None:
    rows = [trace("timed", "hi"), trace("untimed", "hi", started_at=None)]
    import_file(stores, write_lines(tmp_path / "f", rows), day=date(2025, 12, 24))
    assert select(
        stores, "select trace_id, day, started_at_source from traces order by trace_id"
    ) == [("timed", DAY, "file"), ("untimed", date(2025, 12, 24), "day option")]


def test_a_reimport_does_not_move_a_trace_to_another_day(stores: Stores, tmp_path: Path) -> None:
    file = write_lines(tmp_path / "a", [trace("t", "hi", started_at=None)])
    import_file(stores, file, day=date(2025, 12, 24))
    import_file(stores, write_lines(tmp_path / "b", [trace("t", "changed", started_at=None)]))
    assert select(stores, "select day, started_at_source, is_current from traces order by all") == [
        (date(2025, 12, 24), "day option", False),
        (date(2025, 12, 24), "import", True),
    ]
    assert days_with_traces(stores) == [date(2025, 12, 24)]


# Interrupted, rebuilt, left in place


def test_an_import_that_died_before_loading_is_completed_by_the_next_call(
    project: Project, tmp_path: Path
) -> None:
    impatient = Stores(
        project.stores.ledger,
        Warehouse(project.stores.warehouse.path, lock_timeout_s=0.05),
        project.stores.artifacts,
    )
    file = write_lines(tmp_path / "f", [trace("a", "hi")])
    with project.stores.warehouse.open(), pytest.raises(WarehouseBusy):
        import_file(impatient, file)
    assert select(project.stores, "select * from loaded_imports") == []
    file.unlink()
    (report,) = load_imports(project.stores)
    assert (report.file, report.read, report.new) == (str(file), 1, 1)
    assert load_imports(project.stores) == []


def test_a_rebuilt_warehouse_has_the_same_rows(stores: Stores, tmp_path: Path) -> None:
    import_file(stores, write_lines(tmp_path / "a", [trace("t", "one"), trace("u", "two")]))
    import_file(stores, write_bytes(tmp_path / "b", GOOD, b"{bad"), app="x")
    import_file(stores, write_lines(tmp_path / "c", [trace("t", "other", started_at=None)]))
    before = everything(stores)
    stores.warehouse.path.unlink()
    assert len(load_imports(stores)) == 3
    assert everything(stores) == before


def test_a_file_left_in_place_has_to_stay_as_it_is(stores: Stores, tmp_path: Path) -> None:
    left = write_lines(tmp_path / "left", [trace("a", "hi")])
    import_file(stores, left, copy=False)
    import_file(stores, write_lines(tmp_path / "copied", [trace("b", "hi")]))
    assert len(list((stores.artifacts.root / "raw").iterdir())) == 1
    left.write_text("{}")
    stores.warehouse.path.unlink()
    with pytest.raises(BadInput, match="has changed since it was imported"):
        load_imports(stores)
    # One file that is gone keeps no other from loading.
    assert select(stores, "select trace_id from traces") == [("b",)]


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress], ids=["gzip", "zstd"])
def test_a_compressed_file_is_the_plain_one(stores: Stores, tmp_path: Path, pack) -> None:
    plain = write_bytes(tmp_path / "plain", b"\xef\xbb\xbf" + GOOD, b"{bad")
    packed = write_bytes(tmp_path / "packed", pack(plain.read_bytes()))
    report = import_file(stores, packed)
    assert (report.new, report.rejected[0].line) == (1, 2)
    assert report.rejected[0].file == str(packed)
    assert import_file(stores, plain).duplicate == 1


# Hostile text

HOSTILE = [
    "'; drop table traces; --",
    '"quotes" \\ and \\n',
    "a\0b\0",
    "\u202eright to left\u202c \u200bzero width\ufeff",
    "😀 naïve 漢字 \u2028\u0085\x1f",
    '{"role": "user"}',
    '["text"]',
    "$day ${x} {{ jinja }} %s",
    "   ",
    "x" * 5_000_000,
]


def test_hostile_text_survives_byte_for_byte(stores: Stores, tmp_path: Path) -> None:
    names = [text[:40].replace("\0", "") for text in HOSTILE]
    rows = [
        trace(f"{number}{name}", text, text, text, app=name, user_id=name)
        for number, (name, text) in enumerate(zip(names, HOSTILE, strict=True))
    ]
    report = import_file(stores, write_lines(tmp_path / "f", rows))
    assert (report.new, report.rejected) == (len(HOSTILE), [])
    assert select(
        stores,
        "select t.trace_id, t.app, t.user_id, m.content from traces as t"
        " join messages as m using (trace_id, content_hash) where position = 2 order by line_no",
    ) == [
        (f"{number}{name}", name, name, text)
        for number, (name, text) in enumerate(zip(names, HOSTILE, strict=True))
    ]


def test_sql_and_records_agree_on_who_is_eligible(stores: Stores, tmp_path: Path) -> None:
    rng = random.Random(3)
    texts = ["", "hi", " ", "\t\n", "\u00a0", "\u2003\u3000", "\x1c\x85", "\u200b", "\0", "\u1680"]
    rows = [
        {
            "trace_id": f"t{number}",
            "started_at": "2026-03-02",
            "messages": [
                {
                    "role": rng.choice(["user", "assistant", "tool", "system"]),
                    "content": rng.choice(texts),
                }
                for _ in range(rng.randint(1, 4))
            ],
        }
        for number in range(500)
    ]
    import_file(stores, write_lines(tmp_path / "f", rows))
    eligible = dict(select(stores, "select trace_id, is_eligible from traces"))
    with stores.warehouse.open() as connection:
        conversations = read_day(connection, DAY, InputLevers())
    assert {c.trace_id: c.is_eligible for c in conversations} == eligible
    assert 20 < sum(eligible.values()) < 480


def test_sql_and_python_hash_and_split_alike(stores: Stores) -> None:
    rng = random.Random(5)
    alphabet = "aZ09:-_ éß漢😀'\"\u202e"
    keys = ["".join(rng.choices(alphabet, k=rng.randint(0, 12))) for _ in range(1000)]
    with stores.warehouse.open() as connection:
        found = connection.raw.execute(
            "select unit_hash(k, 'sample'), split_of(k, ''), split_of('', k)"
            " from (select unnest($keys) as k)",
            {"keys": keys},
        ).fetchall()
    assert found == [(unit_hash(k, "sample"), split_of(k), split_of("", k)) for k in keys]


# Days and the sample


def test_a_day_is_counted(stores: Stores, tmp_path: Path) -> None:
    rows = [trace("a", "hi", "hello", "no"), trace("b", "hi"), trace("c", "hi", started_at=0)]
    import_file(stores, write_lines(tmp_path / "f", [*rows, {"trace_id": "d"}]))
    counts = count_traces(stores, DAY)
    # c is rejected with d: 0 is no time.
    assert (counts.traces, counts.eligible, counts.messages, counts.rejected) == (2, 1, 4, 2)
    assert days_with_traces(stores) == [DAY]


@pytest.fixture
def many(stores: Stores, tmp_path: Path) -> Iterable[Stores]:
    """400 eligible traces of one app, 20 of another, and 7 that are not eligible."""
    rows = [trace(f"t{n}", "hi", "hello", "no", app="big") for n in range(400)]
    rows += [trace(f"s{n}", "hi", "hello", "no", app="small") for n in range(20)]
    rows += [trace(f"n{n}", "hi", "hello") for n in range(7)]
    import_file(stores, write_lines(tmp_path / "many", rows))
    return stores


def sampled(stores: Stores, rate: float, at_least: int = 0) -> dict[str, float]:
    sample_day(stores, DAY, rate, at_least)
    return dict(select(stores, "select trace_id, inclusion_probability from samples"))


def test_a_lower_rate_draws_a_part_of_a_higher_one(many: Stores) -> None:
    low, high, whole = sampled(many, 0.1), sampled(many, 0.4), sampled(many, 1.0)
    assert set(low) < set(high) < set(whole)
    assert len(whole) == 420
    # 420 draws at .4: 168 +- 10; five standard deviations.
    assert 118 < len(high) < 218
    assert set(high) == {f"{t}" for t in whole if unit_hash(t, "sample") < 0.4}


def test_a_small_app_is_drawn_more_often_and_says_so(many: Stores) -> None:
    probabilities = sampled(many, 0.05, at_least=10)
    # 10 of 20 for the small app; for the big one 10 / 400 is less than the rate.
    assert {p for t, p in probabilities.items() if t.startswith("s")} == {10 / 20}
    assert {p for t, p in probabilities.items() if t.startswith("t")} == {0.05}
    assert set(sampled(many, 0.05, at_least=50)) > {f"s{n}" for n in range(20)}
    assert select(many, "select distinct stratum from samples order by all") == [
        ("big/2026-03-02",),
        ("small/2026-03-02",),
    ]


def test_a_sample_counts_what_it_left_out_and_replaces_itself(many: Stores) -> None:
    for _ in range(2):
        report = sample_day(many, DAY, 0.25, 0)
    assert (report.attempted, report.skipped["not eligible"], report.failed) == (427, 7, {})
    assert report.done + report.skipped["not drawn"] == 420
    assert select(many, "select count(*) from samples") == [(report.done,)]


def test_a_day_without_traces_gives_an_empty_sample(stores: Stores) -> None:
    report = sample_day(stores, DAY, 0.5, 50)
    assert (report.attempted, report.done, report.skipped) == (0, 0, {})


@pytest.mark.skipif("FLYWHEEL_BENCH_DATA" not in os.environ, reason="FLYWHEEL_BENCH_DATA is unset")
def test_real_traces_are_all_imported(stores: Stores) -> None:
    for file in sorted((Path(os.environ["FLYWHEEL_BENCH_DATA"]) / "traces").glob("*.jsonl")):
        report = import_file(stores, file, day=DAY)
        n_lines = len(file.read_text(encoding="utf-8").splitlines())
        assert (report.new, report.rejected) == (n_lines, [])


def test_a_report_names_the_file_as_it_was_given(stores: Stores, tmp_path: Path) -> None:
    file = write_bytes(tmp_path / "f", GOOD, b"{")
    (row,) = import_file(stores, file).rejected
    assert row == RejectedRow(str(file), 2, row.why)


def test_a_folder_is_imported_but_for_the_files_that_are_none(tmp_path: Path) -> None:
    folder = tmp_path / "export"
    folder.mkdir()
    (folder / "README.md").write_text("What this is.\n")
    write_lines(folder / "traces.jsonl", [trace("t", "hi")])
    arguments = ["--project", str(tmp_path), "traces", "import", "--json"]
    done = CliRunner().invoke(cli, [*arguments, str(folder)])
    said = json.loads(done.stdout)
    assert (done.exit_code, said["new"], len(said["refused"])) == (0, 1, 1)
    assert "README.md is in no known format" in said["refused"][0]
    named = CliRunner().invoke(cli, [*arguments, str(folder / "README.md")])
    assert isinstance(named.exception, BadInput)
