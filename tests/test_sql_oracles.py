"""Statements that numbers rest on, beside plain Python that says the same, on made-up warehouses.

Each oracle is written from the first comment of its statement, row by row, and knows no joins.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from math import isclose, sqrt
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flywheel.records import split_of, unit_hash
from flywheel.store import open_project
from flywheel.store.warehouse import Connection
from tests.made_worlds import (
    APPS,
    DAYS,
    PROBABILITIES,
    Row,
    Rows,
    World,
    holding,
    judged_worlds,
    labelled_worlds,
    one_of,
    rows_of,
)

HEIGHTS = {"lexical": 1, "frozen": 2, "lora": 3, "generative": 4}
QUEUED = (
    "day date, trace_id varchar, content_hash varchar, draw_probability double, "
    "audit_probability double, is_open boolean, is_panel boolean"
)
LEARNT = "judge varchar, trace_id varchar"
CHANCES_OF_DAY = (
    "trace_id varchar, content_hash varchar, p double, is_disputed boolean, is_decided boolean, "
    "weight double, audit_probability double, targeted_probability double, draw_probability double"
)
few = settings(max_examples=40, deadline=None, derandomize=True)


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    """An empty warehouse that stays open: each example is undone."""
    folder: Path = tmp_path_factory.mktemp("oracles")
    with open_project(folder).stores.warehouse.open() as connection:
        yield connection


def same(found: Rows, expected: Rows) -> None:
    """The same rows in the same order; numbers but for their last digits."""
    assert len(found) == len(expected), (found, expected)
    for one, other in zip(found, expected, strict=True):
        for name, value in other.items():
            if isinstance(value, float) and isinstance(one[name], float):
                assert isclose(one[name], value, rel_tol=1e-9, abs_tol=1e-12), (name, one, other)
            else:
                assert one[name] == value, (name, one, other)


def version(row: Row) -> tuple[object, object]:
    return row["trace_id"], row["content_hash"]


def place(row: Row) -> tuple[object, object, object]:
    return row["day"], *version(row)


def current(world: World) -> dict[tuple[object, object, object], Row]:
    return {place(row): row for row in world["traces"] if row["is_current"]}


def session(row: Row) -> str:
    return f"{row['app']} / {row['session_id']}"


def of_run(world: World, score: Row) -> bool:
    judge = str(score["judge_version"]).split("/")[0]
    return any(
        (run["day"], run["metric"], run["metric_version"], run["judge"])
        == (score["day"], score["metric"], score["metric_version"], judge)
        for run in world["current_runs"]
    )


def in_force(world: World) -> Rows:
    """The score in force of each trace, metric and span."""
    there, best = current(world), dict[object, Row]()

    def rank(row: Row) -> tuple[object, ...]:
        height = HEIGHTS.get(str(row["tier"]), 0)
        return row["label"] != "unparsed", height, str(row["judge_version"])

    for score in world["scores"]:
        if place(score) in there and of_run(world, score):
            key = score["day"], score["trace_id"], score["metric"], score["span_id"]
            if key not in best or rank(score) > rank(best[key]):
                best[key] = score
    return list(best.values())


def verdicts(world: World) -> dict[tuple[object, object], Row]:
    """The verdict in force on each version of a trace."""
    return {
        version(row): row
        for row in in_force(world)
        if row["metric"] == "perceived_error" and row["span_id"] is None
    }


def by(*names: str) -> Callable[[Row], tuple[str, ...]]:
    return lambda row: tuple(str(row[name]) for name in names)


@few
@given(world=judged_worlds())
def test_the_score_in_force_is_of_the_highest_tier_that_could_be_read(
    world: World, warehouse: Connection
) -> None:
    names = ("day", "trace_id", "metric", "span_id")
    with holding(warehouse, world):
        found = warehouse.raw.execute("select * from current_scores").to_arrow_table().to_pylist()
    same(sorted(found, key=by(*names)), sorted(in_force(world), key=by(*names)))


@few
@given(world=judged_worlds(), app=one_of([None, *APPS]), days=one_of(
    [(None, None), (DAYS[1], None), (None, DAYS[1]), (DAYS[0], DAYS[1])]))  # fmt: skip
def test_shares_of_metrics_add_up_sessions(
    world: World, app: object, days: tuple[object, object], warehouse: Connection
) -> None:
    first, last = days
    sessions: dict[str, dict[str, Rows]] = defaultdict(lambda: defaultdict(list))
    for score in in_force(world):
        trace, said = current(world)[place(score)], str(score["label"]).lower()
        if (
            score["metric"] == "perceived_error"
            or score["span_id"]
            or said not in ("true", "false")
        ):
            continue
        if app in (None, trace["app"]) and (first or DAYS[0]) <= score["day"] <= (last or DAYS[-1]):
            sessions[str(score["metric"])][session(trace)].append(score)
    expected: Rows = []
    for metric, groups in sorted(sessions.items()):
        days_of = [row["day"] for rows in groups.values() for row in rows]
        sums = [
            (len(rows), sum(str(row["label"]).lower() == "true" for row in rows))
            for rows in groups.values()
        ]
        expected.append(
            {
                "metric": metric,
                "metric_version": "1",
                "first_day": min(days_of),
                "last_day": max(days_of),
                "n": sum(n for n, _ in sums),
                "yes": sum(yes for _, yes in sums),
                "n_sessions": len(sums),
                "n_squared": float(sum(n * n for n, _ in sums)),
                "n_by_yes": float(sum(n * yes for n, yes in sums)),
                "yes_squared": float(sum(yes * yes for _, yes in sums)),
            }
        )
    with holding(warehouse, world):
        found = warehouse.table("quality/metric_shares", app=app, first=first, last=last)
    same(found.to_pylist(), expected)


def learnt_days(world: World) -> set[object]:
    learnt = {(row["judge"], row["trace_id"]) for row in world["learnt"]}
    return {
        trace["day"]
        for trace in current(world).values()
        for run in world["current_runs"]
        if trace["is_eligible"] and run["metric"] == "perceived_error"
        if run["day"] == trace["day"]
        if any((name, trace["trace_id"]) in learnt for name in str(run["judge"]).split("+"))
    }


def is_held_out(trace: Row) -> bool:
    return (
        split_of(str(trace["session_id"]), trace["user_id"] and str(trace["user_id"])) == "holdout"
    )


def people(world: World) -> dict[object, Row]:
    return {version(row): row for row in world["labels"] if row["source"] != "panel"}


@few
@given(world=labelled_worlds(), first=one_of([None, DAYS[1]]), last=one_of([None, DAYS[1]]))
def test_judged_traces_say_how_each_label_was_drawn(
    world: World, first: object, last: object, warehouse: Connection
) -> None:
    said, labels, learnt = verdicts(world), people(world), learnt_days(world)
    drawn = {version(row): row for row in world["queued"] if not row["is_panel"]}
    of_panel = {version(row) for row in world["queued"] if row["is_panel"]}
    open_days = {row["day"] for row in drawn.values() if row["is_open"]}
    expected: Rows = []
    for trace in sorted(current(world).values(), key=by("day", "trace_id")):
        key = version(trace)
        if key not in said or not trace["is_eligible"]:
            continue
        if trace["day"] in learnt and not is_held_out(trace):
            continue
        label, item, verdict = labels.get(key), drawn.get(key, {}), said[key]
        chance = None if key in drawn or key in of_panel or not label else label["draw_probability"]
        row: Row = {
            "trace_id": trace["trace_id"],
            "session": session(trace),
            "release": trace["release"] or "",
            "judge_version": verdict["judge_version"],
            "probability": verdict["probability"],
            "perceived_error": label and label["perceived_error"],
            "is_audit": bool(label and label["is_audit"]),
            "is_queued_day": trace["day"] in {row["day"] for row in drawn.values()},
            "is_closed_day": trace["day"] in {row["day"] for row in drawn.values()} - open_days,
            "audit_probability": item.get("audit_probability"),
            "draw_probability": item.get("draw_probability"),
            "given_probability": chance,
            "is_of_panel": key in of_panel and key not in drawn,
            "is_counted": (first or DAYS[0]) <= trace["day"] <= (last or DAYS[-1]),
        }
        teaches = label and not (row["is_audit"] or row["is_of_panel"])
        if row["is_counted"] or (teaches and row["draw_probability"] is None and chance is None):
            expected.append(row)
    with holding(warehouse, world, {"queued": QUEUED, "learnt": LEARNT}):
        found = warehouse.table("quality/judged_traces", first=first, last=last)
    same(found.to_pylist(), expected)


@few
@given(world=labelled_worlds(), largest=one_of([1.0, 4.0, 100.0]))
def test_labels_of_a_split_weigh_by_their_chance_up_to_the_cap(
    world: World, largest: float, warehouse: Connection
) -> None:
    said, labels = verdicts(world), people(world)
    now = {version(row) for row in current(world).values()}
    expected: Rows = [
        {
            "session": session(label),
            "perceived_error": label["perceived_error"],
            "probability": said[key]["probability"],
            "weight": min(1 / float(str(label["draw_probability"] or 1)), largest),
        }
        for key, label in sorted(labels.items(), key=lambda one: str(one[0]))
        if label["split"] == "train" and key in now and key in said
        if said[key]["probability"] is not None
    ]
    with holding(warehouse, World({**world.tables, "queued": [], "learnt": []})):
        found = warehouse.table("quality/labels_of_split", split="train", largest_weight=largest)
    same(found.to_pylist(), expected)


def pool_of(world: World) -> Rows:
    """Each trace of the first day that could be drawn, with what the tiers make of it."""
    said, pool = verdicts(world), []
    for trace in sorted(current(world).values(), key=by("trace_id")):
        key = version(trace)
        if trace["day"] != DAYS[0] or not trace["is_eligible"] or key not in said:
            continue
        tiers = [
            row
            for row in world["scores"]
            if (row["metric"], row["span_id"]) == ("perceived_error", None)
            and place(row) == place(trace)
            and row["label"] != "unparsed"
            and of_run(world, row)
        ]
        is_decided = any(row["is_decided"] for row in tiers)
        labels = {row["label"] for row in tiers} - {None}
        is_disputed = len(labels) > 1 and not is_decided
        numbers = [
            float(str(row["probability"])) for row in tiers if row["probability"] is not None
        ]
        p = said[key]["probability"]
        if is_disputed:
            p = sum(numbers) / len(numbers) if numbers else None
        own: Row = {"trace_id": key[0], "content_hash": key[1], "p": 0.5 if p is None else p}
        pool.append(own | {"is_disputed": is_disputed, "is_decided": is_decided})
    return pool


def filled(weights: list[float], budget: float) -> list[float]:
    """Chances in proportion to the weights that add up to the budget, none of them above 1."""
    certain: set[int] = set()
    while True:
        left = sum(weight for i, weight in enumerate(weights) if i not in certain)
        rate = max(budget - len(certain), 0.0) / left if left else 0.0
        more = {i for i, weight in enumerate(weights) if i not in certain and rate * weight >= 1}
        if not more:
            return [1.0 if i in certain else rate * w for i, w in enumerate(weights)]
        certain |= more


@few
@given(world=judged_worlds(), items=one_of([1, 2, 3, 20]), audit=one_of([0.25, 0.5, 1.0]),
       floor=one_of([0.1, 0.5, 1.0]), likely=one_of([0.0, 0.5]))  # fmt: skip
def test_chances_share_the_budget_by_doubt_and_by_likely_errors(
    world: World, items: int, audit: float, floor: float, likely: float, warehouse: Connection
) -> None:
    pool = pool_of(world)
    n, numbers = len(pool), [float(str(row["p"])) for row in pool]
    doubts, squares = [sqrt(p * (1 - p)) for p in numbers], [p * p for p in numbers]

    def shares(values: list[float]) -> list[float]:
        return [value / sum(values) if sum(values) else 1 / n for value in values]

    weights = [
        floor / n + (1 - floor) * ((1 - likely) * doubt + likely * square)
        for doubt, square in zip(shares(doubts), shares(squares), strict=True)
    ]
    uniform = min(1.0, audit * items / n) if n else 0.0
    targeted = [1.0] * n if uniform == 1 else filled(weights, (items - n * uniform) / (1 - uniform))
    expected = [
        row
        | {"weight": weight, "audit_probability": uniform, "targeted_probability": chance}
        | {"draw_probability": 1 - (1 - uniform) * (1 - chance)}
        for row, weight, chance in zip(pool, weights, targeted, strict=True)
    ]
    with holding(warehouse, world):
        rows = warehouse.table(
            "queue/chances_of_day",
            day=DAYS[0],
            items=items,
            audit_items=audit * items,
            uniform_floor=floor,
            likely_share=likely,
        ).to_pylist()
    same(rows, expected)
    assert sum(row["draw_probability"] for row in rows) == pytest.approx(min(items, n))


@few
@given(world=judged_worlds(), drawn=rows_of(["trace_id"], 5, trace_id=one_of("abcde"),
    p=one_of(PROBABILITIES[1:]), is_disputed=st.booleans(), is_decided=st.booleans(),
    weight=one_of([0.125, 0.25]), audit_probability=one_of([0.0, 0.5, 1.0]),
    targeted_probability=one_of([0.0, 0.5, 1.0])))  # fmt: skip
def test_drawn_traces_are_those_whose_hash_is_below_their_chance(
    world: World, drawn: Rows, warehouse: Connection
) -> None:
    said = verdicts(world)
    now = {row["trace_id"]: row for row in current(world).values() if row["day"] == DAYS[0]}
    # As chances_of_day gives them: of traces of the day with a verdict.
    chances = [
        row | {"content_hash": now[row["trace_id"]]["content_hash"], "draw_probability": 0.5}
        for row in drawn
        if row["trace_id"] in now and version(now[row["trace_id"]]) in said
    ]
    audits = [row for row in chances if below(row, "audit", "audit_probability")]
    others = [
        row
        for row in chances
        if row not in audits and below(row, "targeted", "targeted_probability")
    ]
    others.sort(key=lambda row: (row["is_decided"], -float(str(row["weight"])), row["trace_id"]))
    ranked = [(row, 1 - unit_hash(str(row["trace_id"]), "priority")) for row in audits]
    ranked += [(row, 1 - (rank + 1) / len(others)) for rank, row in enumerate(others)]
    ranked.sort(key=lambda one: (-one[1], str(one[0]["trace_id"])))
    expected: Rows = [
        {
            "trace_id": row["trace_id"],
            "app": now[row["trace_id"]]["app"],
            "reason": reason_of(row, row in audits),
            "priority": priority,
            "judge_version": said[version(row)]["judge_version"],
            "evidence_turn": said[version(row)]["evidence_turn"],
            "similar": None,
        }
        for row, priority in ranked
    ]
    with holding(
        warehouse, World({**world.tables, "chances": chances}), {"chances": CHANCES_OF_DAY}
    ):
        same(warehouse.table("queue/drawn_traces", day=DAYS[0]).to_pylist(), expected)


def below(row: Row, salt: str, chance: str) -> bool:
    return unit_hash(str(row["trace_id"]), salt) < float(str(row[chance]))


def reason_of(row: Row, is_audit: bool) -> str:
    if is_audit:
        return "random_audit"
    if row["is_disputed"]:
        return "disputed"
    return "low_score" if float(str(row["p"])) > 0.5 else "uncertain"


def test_a_metric_that_gives_no_number_is_not_given_that_of_a_later_turn(
    warehouse: Connection,
) -> None:
    own: Row = {"day": DAYS[0], "trace_id": "a", "content_hash": "v1"}
    trace: Row = {"app": "shop", "session_id": "s1", "is_current": True, "is_eligible": True}
    trace |= {"started_at_source": "given", "n_messages": 3, "import_id": 1, "line_no": 1}
    of_code: Row = {"metric": "refusal", "metric_version": "1", "judge_version": "", "kind": "code"}
    turns = [(1, "n1", "false", 5.0), (2, "n2", "true", None), (3, "n3", "true", 3.0)]
    scores = [
        own | of_code | {"evidence_turn": turn, "span_id": span, "label": label, "value": value}
        for turn, span, label, value in turns
    ]
    run: Row = {"day": DAYS[0], "metric": "refusal", "metric_version": "1", "judge": ""}
    key = {"trace_id": "a", "content_hash": "v1"}
    world = World(
        {
            "traces": [own | trace],
            "scores": scores,
            "current_runs": [run],
            "overdue": [{"metric": "refusal", "label": "true"}],
            "chances": [key | {"draw_probability": 0.5, "audit_probability": 0.5}],
            "drawn": [key],
        }
    )
    given = {
        "overdue": "metric varchar, label varchar",
        "chances": CHANCES_OF_DAY,
        "drawn": "trace_id varchar, content_hash varchar",
    }
    with holding(warehouse, world, given):
        (found,) = warehouse.table("queue/overdue_verdicts", day=DAYS[0], items=2.0).to_pylist()
    assert (found["label"], found["value"], found["is_against"]) == ("true", None, True)
