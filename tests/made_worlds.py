"""Small made-up warehouses for tests of SQL: a few traces, what judges and people said of them.

Names are few, so that rows meet: versions of a trace, tiers of a judge, days, and nulls everywhere.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

import pyarrow as pa
from hypothesis import strategies as st

from flywheel.store.warehouse import Connection

Row = dict[str, object]
Rows = list[Row]

DAYS = [date(2026, 3, 2) + timedelta(n) for n in range(3)]
# Most of what is made up is of the first day, which the statements of a day are asked about.
MOSTLY_ONE = [DAYS[0], DAYS[0], DAYS[0], *DAYS[1:]]
APPS = ["desk", "shop"]
# The first of them falls into the holdout.
SESSIONS = ["s1", "s8", "s3"]
JUDGES = ["j1/lexical", "j1/frozen", "j1/lexical", "j2/lexical", "j2+g/generative"]
BY_CODE = ["refusal", "length"]
PROBABILITIES = [None, 0.0, 0.25, 0.5, 0.75, 1.0]
CHANCES = [None, 0.125, 0.5, 1.0]
LABELS = ["true", "false", "True", "unparsed", None]


@dataclass(frozen=True, slots=True)
class World:
    """Rows of the warehouse by table, and of the relations that a caller gives."""

    tables: dict[str, Rows] = field(default_factory=dict)

    def __getitem__(self, table: str) -> Rows:
        return self.tables.get(table, [])


def one_of(values: Sequence[object]) -> st.SearchStrategy[object]:
    return st.sampled_from(values)


def rows_of(
    unique: Sequence[str], most: int, **columns: st.SearchStrategy[object]
) -> st.SearchStrategy[Rows]:
    """Rows of these columns, of which no two have the same in `unique`.

    Half of `most` at least: rows that are too few never meet, and then no statement can be wrong.
    """
    return st.lists(
        st.fixed_dictionaries(columns),
        min_size=most // 2,
        max_size=most,
        unique_by=lambda row: tuple(row[name] for name in unique),
    )


@st.composite
def traces(draw: st.DrawFn) -> Rows:
    """Versions of traces; the last one of each is the current one."""
    found = draw(
        rows_of(
            ["trace_id", "content_hash"],
            12,
            trace_id=one_of("abcde"),
            content_hash=one_of(["v1", "v2", "v3"]),
            day=one_of(MOSTLY_ONE),
            app=one_of(APPS),
            session_id=one_of(SESSIONS),
            user_id=one_of([None, "", "u1", "u4"]),
            release=one_of([None, "1.0"]),
            is_eligible=one_of([True, True, True, False]),
        )
    )
    last = {row["trace_id"]: row["content_hash"] for row in found}
    more: Row = {"started_at_source": "given", "n_messages": 3, "import_id": 1, "line_no": 1}
    return [row | more | {"is_current": last[row["trace_id"]] == row["content_hash"]}
            for row in found]  # fmt: skip


def on_traces(known: Rows) -> st.SearchStrategy[tuple[object, object, object]]:
    """A version of a trace with its day: mostly one that is there."""
    there = [(row["day"], row["trace_id"], row["content_hash"]) for row in known]
    return one_of([*there * 3, (DAYS[0], "a", "v1"), (DAYS[1], "gone", "v1")])


def spread(rows: Rows) -> Rows:
    """`at`, as `on_traces` gives it, as three columns."""
    names = ("day", "trace_id", "content_hash")
    return [
        dict(zip(names, row["at"], strict=True)) | {k: v for k, v in row.items() if k != "at"}
        for row in rows
    ]


@st.composite
def judged_worlds(draw: st.DrawFn) -> World:
    """Traces, scores of judges and of metrics by code, and which of them are in force."""
    known = draw(traces())
    at = on_traces(known)
    said = draw(
        rows_of(
            ["at", "judge_version", "metric_version", "span_id"],
            30,
            at=at,
            judge_version=one_of(JUDGES),
            metric_version=one_of(["1", "1", "1", "2"]),
            span_id=one_of([None, None, None, None, "n1"]),
            probability=one_of(PROBABILITIES),
            label=one_of(LABELS),
            is_decided=one_of([None, False, True]),
            evidence_turn=one_of([None, 0, 1, 2]),
        )
    )
    verdicts = [
        row | {"metric": "perceived_error", "kind": "llm", "value": row["probability"]}
        | {"tier": str(row["judge_version"]).split("/")[1]}
        for row in spread(said)
    ]  # fmt: skip
    counted = draw(
        rows_of(
            ["at", "metric", "span_id"],
            16,
            at=at,
            metric=one_of(BY_CODE),
            span_id=one_of([None, None, "n1", "n2"]),
            value=one_of([None, 1.0, 2.0]),
            label=one_of(LABELS),
            evidence_turn=one_of([None, 0, 1, 2]),
        )
    )
    blank: Row = {"probability": None, "is_decided": None, "tier": None, "judge_version": ""}
    by_code = [row | blank | {"kind": "code", "metric_version": "1"} for row in spread(counted)]
    runs = draw(
        rows_of(
            ["day", "judge"],
            5,
            day=one_of(MOSTLY_ONE),
            judge=one_of(["j1", "j2", "j2+g"]),
            metric_version=one_of(["1", "1", "1", "2"]),
        )
    )
    # One judge is always in force on the first day, or most of its statements would find nothing.
    sure: Row = {"day": DAYS[0], "judge": "j1", "metric_version": "1"}
    others = [row for row in runs if (row["day"], row["judge"]) != (DAYS[0], "j1")]
    in_force = [row | {"metric": "perceived_error"} for row in [sure, *others]]
    of_code: Row = {"judge": "", "metric_version": "1"}
    in_force += [of_code | {"day": day, "metric": name} for day in DAYS[:2] for name in BY_CODE]
    return World({"traces": known, "scores": verdicts + by_code, "current_runs": in_force})


@st.composite
def labelled_worlds(draw: st.DrawFn) -> World:
    """A judged world with labels, and with what the ledger says of the queue and of trainings."""
    world = draw(judged_worlds())
    at = on_traces(world["traces"])
    split = one_of(["train", "calibration"])
    labels = draw(
        rows_of(
            ["at"],
            8,
            at=at,
            perceived_error=one_of([True, False]),
            evidence_turn=one_of([None, 0, 1, 2, 9]),
            source=one_of(["people", "people", "panel"]),
            is_audit=one_of([False, False, True]),
            draw_probability=one_of(CHANCES),
            split=split,
        )
    )
    places = {(row["trace_id"], row["content_hash"]): row for row in world["traces"]}
    rows = []
    for number, row in enumerate(spread(labels)):
        place = places.get((row["trace_id"], row["content_hash"]))
        own = {name: place[name] for name in ("app", "session_id", "user_id")} if place else None
        common: Row = {"correction_id": str(number), "n_reviewers": 1, "rubric_version": "1"}
        common |= {"decided_at": datetime(2026, 3, 9), "reason_code": None, "reason": None}
        rows.append(row | common | (own or {"app": "shop", "session_id": "s1", "user_id": None}))
    queued = draw(
        rows_of(
            ["at", "is_panel"],
            10,
            at=at,
            draw_probability=one_of(CHANCES),
            audit_probability=one_of(CHANCES),
            is_open=one_of([False, False, True]),
            is_panel=one_of([False, True]),
        )
    )
    learnt = draw(rows_of(["judge", "trace_id"], 2, judge=one_of(["j1", "g", "never"]),
                          trace_id=one_of("abcde")))  # fmt: skip
    more = {"labels": rows, "queued": spread(queued), "learnt": learnt}
    return World(world.tables | more)


@contextmanager
def holding(
    connection: Connection, world: World, given: Mapping[str, str] | None = None
) -> Iterator[None]:
    """The world's rows in the warehouse till the block ends; `given`: relation -> its columns."""
    relations = given or {}
    connection.raw.execute("begin transaction")
    try:
        for name, columns in relations.items():
            connection.raw.execute(f"create temp table {name}({columns})")
        for name, rows in world.tables.items():
            if rows:
                with connection.given(new_rows=pa.Table.from_pylist(rows)):
                    connection.raw.execute(f"insert into {name} by name select * from new_rows")
        yield
    finally:
        connection.raw.execute("rollback")
