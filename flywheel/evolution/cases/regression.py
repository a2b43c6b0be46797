"""Regression cases: what people corrected must not come again.

Corrected traces in, proposed cases out, and whole cases for whoever tests the application. The one
idea is that a kept case names a trace and has none of its words: those are read where they stand,
so that who is forgotten is forgotten here too, and the holdout is never among them.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from flywheel.evolution.cases.case import Case, RegressionCase, case_id
from flywheel.evolution.copying import personal_in
from flywheel.settings import PrivacySettings
from flywheel.store import Stores
from flywheel.training.likeness import screen

_SPLITS = ["train", "validation", "calibration"]
# Of one proposal: more than a person looks through at once are proposed the next time.
MOST = 50


@dataclass(slots=True)
class Regressions:
    """New cases, of how many corrections, and what became of the others."""

    corrections: int = 0
    cases: list[RegressionCase] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class WholeCase:
    """A regression case with its words: the messages before the answer, and the better answer."""

    case: str
    app: str
    messages: list[dict[str, Any]]
    was: str
    better: str
    better_tool_calls: str | None


def find_regressions(
    stores: Stores, kept: Sequence[Case], privacy: PrivacySettings, most: int = MOST
) -> Regressions:
    """Corrections that no kept case stands for, the newest first, `most` of them.

    Left out, and counted: what holds personal data, and what is like another one.
    """
    rows = _corrected(stores)
    known = {each.correction for each in kept if isinstance(each, RegressionCase)}
    found = Regressions(len(rows))
    rows.sort(key=lambda row: row["decided_at"], reverse=True)
    # What is kept comes first, so that a near-duplicate of it is the one that goes.
    rows.sort(key=lambda row: row["correction_id"] not in known)
    screened = screen([_text(row) for row in rows], [row["app"] for row in rows], ())
    if screened.near_duplicates:
        found.left_out["near-duplicate"] = screened.near_duplicates
    for row in (rows[place] for place in screened.kept):
        if row["correction_id"] in known:
            found.left_out["kept already"] += 1
        elif personal_in(_text(row), privacy):
            found.left_out["with personal data"] += 1
        elif len(found.cases) >= most:
            found.left_out["later: one proposal has so many"] += 1
        else:
            found.cases.append(_case(row))
    return found


def whole_cases(
    stores: Stores, cases: Sequence[RegressionCase]
) -> tuple[list[WholeCase], dict[str, int]]:
    """The cases with their words, and how many have none any more, and why."""
    rows = {row["correction_id"]: row for row in _corrected(stores)}
    gone = sum(case.correction not in rows for case in cases)
    whole = [_whole(case, rows[case.correction]) for case in cases if case.correction in rows]
    return whole, {"forgotten, changed, or decided otherwise": gone} if gone else {}


def _corrected(stores: Stores) -> list[dict[str, Any]]:
    with stores.warehouse.read() as connection:
        rows = connection.table("training/decided_traces", apps=[], splits=_SPLITS).to_pylist()
    return [row for row in rows if row["corrected_turn"] is not None]


def _case(row: dict[str, Any]) -> RegressionCase:
    named = (row["trace_id"], row["content_hash"], row["corrected_turn"])
    return RegressionCase(
        case=case_id("regression", *named),
        app=row["app"],
        trace_id=row["trace_id"],
        content_hash=row["content_hash"],
        turn=row["corrected_turn"],
        correction=row["correction_id"],
    )


def _whole(case: RegressionCase, row: dict[str, Any]) -> WholeCase:
    before = [
        {key: value for key, value in message.items() if value is not None and key != "position"}
        for message in row["messages"]
        if message["position"] < case.turn
    ]
    for message in before:
        if "tool_calls" in message:
            message["tool_calls"] = json.loads(message["tool_calls"])
    was = next((m["content"] for m in row["messages"] if m["position"] == case.turn), "")
    better, calls = row["corrected_text"] or "", row["corrected_tool_calls"]
    return WholeCase(case.case, case.app, before, was, better, calls)


def _text(row: dict[str, Any]) -> str:
    said = [m["content"] for m in row["messages"] if m["position"] <= row["corrected_turn"]]
    return "\n".join([*said, row["corrected_text"] or "", row["corrected_tool_calls"] or ""])
