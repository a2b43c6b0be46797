"""Metrics: what a file has to say, what its SELECT may reach, and what the bundled ones find."""

import json
import time
from dataclasses import replace
from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest

from flywheel.errors import BadMetric
from flywheel.metrics import (
    Limits,
    Metric,
    load_metrics,
    read_metrics,
    run_metric,
    score_day_by_code,
)
from flywheel.metrics.files import read_metric
from flywheel.store import Project, Stores
from flywheel.store.queries import SQL_FOLDER

DAY = date(2026, 3, 2)
OF_TRACES = [
    "answer_length",
    "assistant_backtrack",
    "refusal",
    "repeated_request",
    "unanswered_last_turn",
]
OF_NODES = [
    *("broken_code", "claimed_identity", "empty_retrieval", "failed_tool_call", "input_length"),
    *("repeated_tool_call", "repetitive_answer", "truncated_answer", "unused_retrieval"),
]
BUNDLED = sorted([*OF_TRACES, *OF_NODES])
HEADER = """-- One row a trace: how many messages it has.
-- name: {name}
-- level: {level}
-- direction: neutral
-- owner: support
-- review_due: 2027-01-31
"""
COUNT = "select trace_id, n_messages as value from traces"
TINY = Limits(seconds=5, memory_mb=200)
SMALL = Limits(seconds=60, memory_mb=200)


def metric_file(folder: Path, name: str, sql: str, level: str = "trace") -> Path:
    """A metric file with a whole header."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.sql"
    path.write_text(HEADER.format(name=name, level=level) + sql + "\n", encoding="utf-8")
    return path


def metric(tmp_path: Path, sql: str, name: str = "n", level: str = "trace") -> Metric:
    return read_metric(metric_file(tmp_path / "metrics", name, sql, level))


def bundled(name: str) -> Metric:
    return next(m for m in load_metrics(None) if m.name == name)


def store(stores: Stores, traces: dict[str, list[tuple[str, str]]], day: date = DAY) -> None:
    """Put traces, as lists of (role, content), into the warehouse."""
    heads = [
        {
            "trace_id": trace_id,
            "content_hash": f"hash-{trace_id}",
            "is_current": True,
            "app": "shop",
            "session_id": trace_id,
            "day": day,
            "started_at_source": "trace",
            "n_messages": len(messages),
            "is_eligible": True,
            "metadata": '{"tier": "gold"}',
            "import_id": 1,
            "line_no": i,
        }
        for i, (trace_id, messages) in enumerate(traces.items())
    ]
    lines = [
        {
            "day": day,
            "trace_id": trace_id,
            "content_hash": f"hash-{trace_id}",
            "position": position,
            "role": role,
            "content": content,
        }
        for trace_id, messages in traces.items()
        for position, (role, content) in enumerate(messages)
    ]
    with stores.warehouse.open() as connection:
        for table, rows in (("traces", heads), ("messages", lines)):
            with connection.given(new_rows=pa.Table.from_pylist(rows)):
                connection.raw.execute(f"insert into {table} by name select * from new_rows")


def talk(*turns: str) -> list[tuple[str, str]]:
    """Turns that alternate, the user's first."""
    return [("user" if i % 2 == 0 else "assistant", text) for i, text in enumerate(turns)]


def answers(
    stores: Stores, name: str, conversations: list[list[tuple[str, str]]]
) -> list[dict[str, object]]:
    """What a bundled metric says of each conversation; nothing, where it gives no value."""
    store(stores, {str(i): messages for i, messages in enumerate(conversations)})
    rows = {row["trace_id"]: row for row in run_metric(stores, bundled(name), DAY).to_pylist()}
    return [rows.get(str(i), {}) for i in range(len(conversations))]


@pytest.fixture
def stores(project: Project) -> Stores:
    """Two traces of one day."""
    two = {"a": talk("Where is my order?", "On its way."), "b": talk("Hi", "Hello", "Bye")}
    store(project.stores, two)
    return project.stores


# Files


def test_bundled_metrics_load_by_name_and_each_says_whose_it_is() -> None:
    metrics = load_metrics(None)
    assert [m.name for m in metrics] == BUNDLED
    assert all(m.owner and m.description.endswith(".") for m in metrics)
    assert {m.level for m in metrics} == {"trace"}


def test_a_project_adds_its_own_metrics_after_the_bundled_ones(tmp_path: Path) -> None:
    metric_file(tmp_path, "message_count", COUNT)
    last = load_metrics(tmp_path)[-1]
    assert (last.name, last.level, last.direction) == ("message_count", "trace", "neutral")
    assert last.review_due == date(2027, 1, 31)
    assert last.description == "One row a trace: how many messages it has."


def test_a_missing_metrics_folder_is_an_empty_one(tmp_path: Path) -> None:
    assert [m.name for m in load_metrics(tmp_path / "none")] == BUNDLED


def test_the_version_of_a_metric_follows_its_text(tmp_path: Path) -> None:
    one = metric(tmp_path, COUNT)
    same = metric(tmp_path, COUNT)
    other = metric(tmp_path, COUNT + " where true")
    assert one.version == same.version != other.version


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("-- owner: support\n", "", "lacks the header line '-- owner: ...'"),
        ("-- owner: support", "-- ownr: support", "unknown header 'ownr'"),
        ("-- owner: support", "-- owner: a\n-- owner: b", "twice"),
        ("level: trace", "level: session", "one of trace, turn"),
        ("direction: neutral", "direction: down", "lower_is_better, higher_is_better, neutral"),
        ("2027-01-31", "next year", "no date such as"),
        ("name: n\n", "name: My Metric\n", "not made of a-z"),
        ("name: n\n", "name: perceived_error\n", "the judge's"),
        ("name: n\n", "name: refusal\n", "has the name 'refusal' already"),
        ("-- One row a trace: how many messages it has.\n", "", "what it measures"),
        ("owner: support", "owner: support\n-- node: agent", "one of trace, input, classifier"),
        (COUNT, "", "holds 0 statements"),
        (COUNT, f"{COUNT}; {COUNT}", "holds 2 statements"),
        (COUNT, "selec 1", "Parser Error"),
        (COUNT, "create table t (a int)", "of the kind CREATE"),
        (COUNT, "drop view traces", "of the kind DROP"),
        (COUNT, "insert into traces values (1)", "of the kind INSERT"),
        (COUNT, "attach '/tmp/other.duckdb' as other", "of the kind ATTACH"),
        (COUNT, "copy traces to '/tmp/stolen.csv'", "of the kind COPY"),
        (COUNT, "install httpfs", "of the kind LOAD"),
        (COUNT, "load httpfs", "of the kind LOAD"),
        (COUNT, "set lock_configuration = false", "of the kind SET"),
        (COUNT, "pragma threads = 64", "of the kind SET"),
        (COUNT, "pragma show_tables", "Parser Error"),
        (COUNT, "pragma import_database('/etc')", "Permission Error"),
        (COUNT, "export database '/tmp/stolen'", "of the kind EXPORT"),
        (COUNT, "call pragma_version()", "of the kind CALL"),
        (COUNT, "explain analyze select 1", "of the kind EXPLAIN"),
        (COUNT, "select " + "(" * 30_000, "Parser Error"),
        (COUNT, "select 1 -- " + "x" * 70_000, "longer than 64 KiB"),
    ],
)
def test_a_file_that_is_no_metric_is_refused_in_one_sentence(
    tmp_path: Path, old: str, new: str, why: str
) -> None:
    path = metric_file(tmp_path, "n", COUNT)
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(BadMetric, match="metric ") as refused:
        load_metrics(tmp_path)
    assert why in refused.value.why
    assert "\n" not in str(refused.value)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "n.sql").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadMetric, match="cannot be read as text"):
        load_metrics(tmp_path)


def test_one_bad_file_does_not_hide_the_other_metrics(tmp_path: Path) -> None:
    metric_file(tmp_path, "bad", "drop view traces")
    metric_file(tmp_path, "good", COUNT)
    metrics, refused = read_metrics(tmp_path)
    assert [m.name for m in metrics] == [*BUNDLED, "good"]
    assert [Path(error.path).name for error in refused] == ["bad.sql"]


@pytest.mark.parametrize(
    "sql",
    [
        f"{COUNT}; -- that is all",
        COUNT.upper(),
        f"with answers as ({COUNT}) select value, trace_id from answers order by value",
        "from traces select trace_id, n_messages as value, metadata->>'tier' as label",
    ],
)
def test_a_metric_may_be_written_in_many_ways(stores: Stores, tmp_path: Path, sql: str) -> None:
    assert run_metric(stores, metric(tmp_path, sql), DAY)["value"].to_pylist() == [2.0, 3.0]


# Scores


def test_a_day_is_scored_by_every_metric_and_reported_in_their_order(stores: Stores) -> None:
    metrics = [bundled(name) for name in OF_TRACES]
    reports = score_day_by_code(stores, metrics, DAY)
    # Traces a and b: both have an answer and a user's turn, neither has two requests.
    assert [(r.attempted, r.done, r.skipped, r.failed) for r in reports] == [
        (2, 2, {}, {}),
        (2, 2, {}, {}),
        (2, 2, {}, {}),
        (2, 0, {"no value given": 2}, {}),
        (2, 2, {}, {}),
    ]
    with stores.warehouse.open() as connection:
        stored = connection.raw.execute(
            "select metric, trace_id, content_hash, kind, judge_version, metric_version, day "
            "from scores order by all"
        ).fetchall()
        runs = connection.raw.execute(
            "select metric, attempted, scored, skipped, failed from score_runs order by metric"
        ).fetchall()
    version = metrics[0].version
    assert stored[0] == ("answer_length", "a", "hash-a", "code", "", version, DAY)
    assert len(stored) == 8
    assert runs[3] == ("repeated_request", 2, 0, '{"no value given": 2}', "{}")


def test_the_same_versions_give_the_same_rows(stores: Stores) -> None:
    def rows() -> list[tuple[object, ...]]:
        score_day_by_code(stores, [bundled("refusal"), bundled("answer_length")], DAY)
        with stores.warehouse.open() as connection:
            return [
                *connection.raw.execute("from scores order by all").fetchall(),
                *connection.raw.execute("from score_runs order by all").fetchall(),
            ]

    first = rows()
    assert len(first) == 4 + 2
    assert rows() == first


def test_a_new_version_of_a_metric_adds_rows_and_is_the_current_one(
    stores: Stores, tmp_path: Path
) -> None:
    score_day_by_code(stores, [metric(tmp_path, COUNT)], DAY)
    doubled = metric(tmp_path, "select trace_id, 2 * n_messages as value from traces")
    score_day_by_code(stores, [doubled], DAY)
    with stores.warehouse.open() as connection:
        everything = connection.raw.execute("select value from scores order by 1").fetchall()
        current = connection.raw.execute(
            "select trace_id, value from current_scores order by 1"
        ).fetchall()
    assert everything == [(2.0,), (3.0,), (4.0,), (6.0,)]
    assert current == [("a", 4.0), ("b", 6.0)]


def test_only_current_versions_of_traces_of_the_day_are_seen(
    stores: Stores, tmp_path: Path
) -> None:
    store(stores, {"later": talk("Hi", "Hello")}, day=date(2026, 3, 3))
    with stores.warehouse.open() as connection:
        connection.raw.execute(
            "insert into traces by name select * replace (false as is_current, 'old' as "
            "content_hash) from traces where trace_id = 'a'"
        )
        connection.raw.execute(
            "insert into messages by name select * replace ('old' as content_hash) "
            "from messages where trace_id = 'a'"
        )
    counted = metric(tmp_path, "select trace_id, count(*) as value from messages group by all")
    scores = run_metric(stores, counted, DAY).to_pylist()
    assert [(s["trace_id"], s["value"]) for s in scores] == [("a", 2.0), ("b", 3.0)]


def test_run_metric_stores_nothing(stores: Stores) -> None:
    assert run_metric(stores, bundled("answer_length"), DAY).num_rows == 2
    with stores.warehouse.open() as connection:
        assert connection.raw.execute("select count(*) from scores").fetchone() == (0,)


def test_a_day_without_traces_is_scored_with_nothing(stores: Stores) -> None:
    report, *_ = score_day_by_code(stores, load_metrics(None), date(2026, 3, 9))
    assert (report.attempted, report.done, report.skipped, report.failed) == (0, 0, {}, {})


def test_bad_rows_are_counted_and_never_stored(stores: Stores, tmp_path: Path) -> None:
    store(stores, {f"c{i}": talk("Hi", "Hello") for i in range(6)})
    mixed = metric(
        tmp_path,
        "select * from (values ('a', '1', 0), ('b', '1', 0), ('b', '2', 0), ('zz', '1', 0), "
        "(null, '1', 0), ('c0', 'nan', 0), ('c1', 'inf', 0), ('c2', 'many', 0), ('c3', '1', 2), "
        "('c4', null, 0)) as answers (trace_id, value, evidence_turn)",
    )
    [report] = score_day_by_code(stores, [mixed], DAY)
    # Eight traces and two rows for none: one good, c4 without a value, c5 without a row.
    assert report.attempted == 10
    assert report.done == 1
    assert report.skipped == {"no value given": 2}
    assert report.failed == {
        "more than one answer for a trace": 1,
        "an answer for no trace of the day": 2,
        "a value that is not finite": 2,
        "a value that is no number": 1,
        "an evidence_turn that is no message of the trace": 1,
    }
    with stores.warehouse.open() as connection:
        stored = connection.raw.execute("select trace_id, value from scores").fetchall()
    assert stored == [("a", 1.0)]


def test_a_metric_of_turns_scores_each_turn_by_its_position(stores: Stores, tmp_path: Path) -> None:
    letters = "select trace_id, length(content) as value, position as evidence_turn from messages"
    [report] = score_day_by_code(stores, [metric(tmp_path, letters, level="turn")], DAY)
    assert (report.attempted, report.done) == (5, 5)
    with stores.warehouse.open() as connection:
        spans = connection.raw.execute(
            "select trace_id, span_id, value from current_scores order by all"
        ).fetchall()
    assert spans[:2] == [("a", "turn:0", 18.0), ("a", "turn:1", 11.0)]


# Hostile SELECTs

TO_BE_REFUSED = {
    "read_csv": ("from read_csv('/etc/passwd')", "Permission Error"),
    "read_text": ("select content as trace_id, 1 as value from read_text('/etc/passwd')", "Perm"),
    "read_blob": ("from read_blob('/proc/self/environ')", "Permission Error"),
    "read_json": ("from read_json('/etc/*.json')", "Permission Error"),
    "other_parquet": ("from read_parquet('/tmp/*.parquet')", "Permission Error"),
    "from_a_path": ("from '/etc/passwd'", "Catalog Error"),
    "sniff_csv": (
        "select prompt as trace_id, 1 as value from sniff_csv('/etc/passwd')",
        "Permission Error",
    ),
    "glob": ("select file as trace_id, 1 as value from glob('/**')", "Permission Error"),
    "url": ("from read_parquet('https://example.com/a.parquet')", "Permission Error"),
    "another_database": ("from read_duckdb('/tmp/warehouse.duckdb')", "Permission Error"),
    "climbing_path": ("from read_text('../../../../etc/passwd')", "Permission Error"),
    "getenv": ("select getenv('PATH') as trace_id, 1 as value", "Catalog Error"),
    "python_variable": ("from terms", "Catalog Error"),
    "the_warehouse": ("select trace_id, value from scores", "Catalog Error"),
    "hidden_ddl": ("from query('create table t (a int)')", "Parser Error"),
    "no_value": ("select trace_id from traces", "returns no column value"),
    "more_columns": ("select *, 1 as value from traces", "returns an unknown column content_hash"),
    "gigabytes": (
        "select repeat('x', 1000000) || range as trace_id, 1 as value from range(1000000)",
        "memory",
    ),
    "rows_without_end": (
        "select range::varchar as trace_id, 1 as value from range(9999999999)",
        "returns more than 1,002 rows",
    ),
    "one_big_list": (
        "select list(range)::varchar as trace_id, 1 as value from range(9999999999)",
        "needs more than 200 MB of memory",
    ),
}

TO_BE_ENDED = {
    "recursion": (
        "with recursive r (i) as (select 1 union all select i + 1 from r) "
        "select max(i)::varchar as trace_id, 1 as value from r"
    ),
    "cross_join": (
        "select count(*)::varchar as trace_id, 1 as value from range(10000000) as a, "
        "range(10000000) as b where a.range * b.range % 7 = 3"
    ),
    # One call that DuckDB cannot interrupt.
    "one_long_call": (
        "select levenshtein(repeat('ab', 100000), repeat('ba', 100000)) as value, 'a' as trace_id"
    ),
    "sleep": "select 'a' as trace_id, sleep_ms(60000) is null as value",
}


def test_hostile_selects_are_refused_and_the_others_still_score(
    stores: Stores, tmp_path: Path
) -> None:
    hostile = [metric(tmp_path, sql, name) for name, (sql, _) in TO_BE_REFUSED.items()]
    *reports, last = score_day_by_code(stores, [*hostile, bundled("answer_length")], DAY, SMALL)
    for (name, (_, why)), report in zip(TO_BE_REFUSED.items(), reports, strict=True):
        [(sentence, n)] = report.failed.items()
        assert why in sentence, name
        assert "\n" not in sentence
        assert str(tmp_path) not in sentence
        assert (report.attempted, report.done, n) == (2, 0, 2)
    assert last.done == 2
    with stores.warehouse.open() as connection:
        stored = connection.raw.execute("select distinct metric from scores").fetchall()
    assert stored == [("answer_length",)]


@pytest.mark.parametrize("name", TO_BE_ENDED)
def test_a_select_without_end_is_ended_and_the_next_metric_scores(
    stores: Stores, tmp_path: Path, name: str
) -> None:
    began = time.monotonic()
    endless = metric(tmp_path, TO_BE_ENDED[name], name)
    ended, after = score_day_by_code(stores, [endless, bundled("refusal")], DAY, TINY)
    assert ended.failed == {"takes longer than 5 s": 2}
    assert after.done == 2
    assert time.monotonic() - began < 120


def test_a_metric_cannot_shadow_the_relations_of_the_next_one(
    stores: Stores, tmp_path: Path
) -> None:
    shadow = metric(
        tmp_path, "with traces as (select 'a' as trace_id, 9 as value) from traces", "shadow"
    )
    shadowing, counted = score_day_by_code(
        stores, [shadow, metric(tmp_path, COUNT, "counted")], DAY
    )
    assert (shadowing.done, counted.done) == (1, 2)


def test_a_metric_built_by_hand_is_checked_in_the_sandbox_too(
    stores: Stores, tmp_path: Path
) -> None:
    target = tmp_path / "stolen.csv"
    fine = metric(tmp_path, COUNT)
    for sql in (f"{COUNT}; copy traces to '{target}'", f"copy traces to '{target}'"):
        built = replace(fine, sql=sql)
        with pytest.raises(BadMetric, match="is not one SELECT"):
            run_metric(stores, built, DAY)
    assert not target.exists()


def test_a_run_leaves_no_process_and_no_file_behind(
    stores: Stores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "it's scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    before = child_processes()
    score_day_by_code(stores, [bundled("refusal")], DAY)
    assert list(scratch.iterdir()) == []
    assert child_processes() - before == set()


def child_processes() -> set[str]:
    """Processes that this one has started, also those that ended and that nobody waited for.

    Other tests leave some: a browser, a database.
    """
    lists = Path("/proc/self/task").glob("*/children")
    return {pid for children in lists for pid in children.read_text().split()}


# The bundled metrics


def test_a_request_in_other_words_is_a_repeated_request(project: Project) -> None:
    # Shared: find a cheap hotel in the north, 25 letters; "me" and "please" add 2 and 6: 25 / 33.
    said = talk(
        "Find me a cheap hotel in the north",
        "Here is one in the south.",
        "Please find a cheap hotel in the NORTH!",
    )
    [found] = answers(project.stores, "repeated_request", [said])
    assert found["value"] == pytest.approx(25 / 33)
    assert (found["label"], found["evidence_turn"]) == ("true", 2)
    assert found["reason"] == "76 % alike with the request at 0"


def test_requests_are_compared_in_any_script(project: Project) -> None:
    pairs = [
        ("I need a train to Ely on Monday", "What is the price of a room?", "false"),
        ("我想订一张去北京的火车票", "我要订一张去北京的火车票", "true"),
        ("Wo ist meine Bestellung von gestern?", "wo ist meine bestellung von gestern", "true"),
        ("Где мой заказ номер пять?", "Где же мой заказ номер пять", "true"),
    ]
    said = [talk(first, "Sure.", second) for first, second, _ in pairs]
    found = answers(project.stores, "repeated_request", said)
    assert [f.get("label") for f in found] == [label for *_, label in pairs]


def test_short_turns_are_no_requests(project: Project) -> None:
    said = talk("Yes please", "Ok.", "yes please", "Ok.", "Book a room for two, will you?")
    assert answers(project.stores, "repeated_request", [said]) == [{}]


def test_a_request_is_compared_with_the_five_before_it(project: Project) -> None:
    others = [f"{word * 3} {word * 4} {word * 5}" for word in "klmno"]
    wish = "cancel my second order"
    near, far = [
        [("user", text) for text in (wish, *between, wish)] for between in (others[:4], others)
    ]
    found = answers(project.stores, "repeated_request", [near, far])
    assert [f["value"] for f in found] == [1.0, 0.0]


def test_an_apology_or_a_correction_is_a_backtrack(project: Project) -> None:
    quoted = {
        "You're right, it opens at nine.": "You're right",
        "You’re absolutely right.": "You’re absolutely right",
        "I apologize for the confusion.": "apologize",
        "Let me correct that.": "Let me correct that",
        "Entschuldigung, das war falsch.": "Entschuldig",
        "Je suis désolée pour l'erreur.": "désolé",
        "抱歉，我搞错了。": "抱歉",
        "Приношу извинения.": "извин",
    }
    said = [talk("When?", "At ten.", "No.", answer, "No!", "Sorry again.") for answer in quoted]
    found = answers(project.stores, "assistant_backtrack", said)
    assert [f["reason"] for f in found] == [
        f"The assistant backtracked: “{words}”" for words in quoted.values()
    ]
    assert {(f["value"], f["label"], f["evidence_turn"]) for f in found} == {(1.0, "true", 3)}


def test_the_users_own_apology_is_no_backtrack(project: Project) -> None:
    said = talk("Sorry, my mistake: when?", "At ten.")
    [found] = answers(project.stores, "assistant_backtrack", [said])
    assert (found["label"], found["evidence_turn"]) == ("false", None)


def test_a_refusal_declines_to_help(project: Project) -> None:
    labels = {
        "I'm sorry, but I can't help with that.": "true",
        "I cannot provide medical advice.": "true",
        "As an AI language model, I don't have opinions.": "true",
        "Dabei kann ich leider nicht helfen.": "true",
        "Lo siento, no puedo ayudar con eso.": "true",
        "我无法提供这些信息。": "true",
        "You can't park there, but there is a car park behind.": "false",
        "Sure, here it is.": "false",
    }
    found = answers(project.stores, "refusal", [talk("Do it.", answer) for answer in labels])
    assert [f["label"] for f in found] == list(labels.values())


def test_a_last_turn_of_the_user_is_unanswered_unless_it_says_goodbye(project: Project) -> None:
    said = [
        talk("Where is it?", "Here."),
        talk("Where is it?", "Here.", "And the other one?"),
        talk("Where is it?", "Here.", "Thanks, bye!"),
        talk("Where is it?", "Here.", "Thanks, and where is the other one?"),
        [*talk("Where is it?"), ("assistant", " "), ("tool", "42")],
    ]
    found = answers(project.stores, "unanswered_last_turn", said)
    assert [(f["value"], f["label"], f["evidence_turn"]) for f in found] == [
        (0.0, "false", 1),
        (1.0, "true", 2),
        (0.0, "false", 2),
        (1.0, "true", 2),
        (1.0, "true", 0),
    ]


def test_answer_length_is_the_mean_of_the_answers_in_characters(project: Project) -> None:
    # (2 + 5) / 2 = 3.5; the longest is the message at 3.
    [found] = answers(project.stores, "answer_length", [talk("a", "né", "b", "hello")])
    assert (found["value"], found["label"], found["evidence_turn"]) == (3.5, None, 3)
    assert found["reason"] == "answers: 2, the longest of 5 characters"


def test_every_bundled_metric_says_why_in_few_words(project: Project) -> None:
    store(project.stores, {"t": talk("Book me a room", "Sorry?", "Book me a room", "No.")})
    score_day_by_code(project.stores, [bundled(name) for name in OF_TRACES], DAY)
    with project.stores.warehouse.open() as connection:
        reasons = connection.raw.execute("select reason from scores").fetchall()
    assert len(reasons) == len(OF_TRACES)
    assert all(0 < len(reason) <= 80 for (reason,) in reasons)


def test_the_bundled_metrics_stand_under_their_names() -> None:
    for each in load_metrics(None):
        assert Path(each.file) == SQL_FOLDER / "metrics" / f"{each.name}.sql"


def test_failures_are_kept_as_json(stores: Stores, tmp_path: Path) -> None:
    score_day_by_code(stores, [metric(tmp_path, "from nowhere")], DAY)
    with stores.warehouse.open() as connection:
        row = connection.raw.execute("select failed, skipped from score_runs").fetchone()
    assert row is not None
    failed, skipped = map(json.loads, row)
    assert list(failed.values()) == [2]
    assert skipped == {}
