"""Whether a judge agrees with people less than it did: said where it is so, hardly ever else."""

from datetime import date, timedelta

import numpy as np
import pyarrow as pa

from flywheel.quality.judge_change import measure_judge_changes

NEWEST = date(2026, 3, 31)


def judged(
    n: int, agreement: float, days_ago: int, seed: int = 0, judge: str = "judge-1/lora"
) -> list[dict[str, object]]:
    """Traces of one day with audit labels, of which the judge's verdict fits a share."""
    random = np.random.default_rng(seed)
    truth, fits = random.random(n) < 0.3, random.random(n) < agreement
    return [
        {
            "day": NEWEST - timedelta(days=days_ago),
            "session": f"{days_ago}-{seed}-{i}",
            "judge_version": judge,
            "probability": float(truth[i] == fits[i]),
            "perceived_error": bool(truth[i]),
            "is_audit": True,
            "is_counted": True,
            "is_queued_day": True,
            "audit_probability": 0.1,
        }
        for i in range(n)
    ]


def rows_of(*parts: list[dict[str, object]]) -> pa.Table:
    table = pa.Table.from_pylist([row for part in parts for row in part])
    place = table.column_names.index("session")
    sessions = table["session"].combine_chunks().dictionary_encode()
    return table.set_column(place, "session", sessions)


def test_a_judge_that_fell_far_is_said_to_have_fallen() -> None:
    (change,) = measure_judge_changes(rows_of(judged(200, 0.92, 40), judged(150, 0.7, 3)))
    assert change.has_fallen
    assert (change.judge, change.n_recent, change.n_earlier) == ("judge-1", 150, 200)
    assert change.why.startswith("judge judge-1 agrees with people less than it did: ")


def test_few_labels_say_nothing() -> None:
    (change,) = measure_judge_changes(rows_of(judged(200, 0.95, 40), judged(29, 0.2, 3)))
    assert not change.has_fallen
    assert "has 29 audit labels of the last 28 days and 200 from before; 30 of each" in change.why


def test_verdicts_of_another_judge_are_no_comparison() -> None:
    before = judged(200, 0.95, 40, judge="judge-0/lora")
    (change,) = measure_judge_changes(rows_of(before, judged(100, 0.6, 3)))
    assert (change.judge, change.n_earlier, change.has_fallen) == ("judge-1", 0, False)


def test_a_judge_keeps_its_name_in_other_numbers_and_with_a_generative_one() -> None:
    rows = rows_of(
        judged(100, 0.9, 40, judge="judge-1+smol-2/generative"),
        judged(100, 0.9, 3, judge="judge-1-bfloat16/lora"),
    )
    (change,) = measure_judge_changes(rows)
    assert (change.judge, change.n_earlier, change.n_recent) == ("judge-1", 100, 100)


def test_a_fall_that_is_certain_and_small_is_none() -> None:
    (change,) = measure_judge_changes(rows_of(judged(20_000, 0.93, 40), judged(20_000, 0.9, 3)))
    assert change.recent is not None
    assert change.earlier is not None
    assert change.recent.high < change.earlier.low
    assert not change.has_fallen


def test_of_judges_that_stayed_as_they_were_hardly_one_is_said_to_have_fallen() -> None:
    alarms = sum(
        measure_judge_changes(
            rows_of(judged(80, 0.88, 40, seed), judged(60, 0.88, 3, seed + 10_000))
        )[0].has_fallen
        for seed in range(400)
    )
    # 0.3 % of 400 is one; five would be one case in 250.
    assert alarms < 5


def test_no_trace_no_judge() -> None:
    assert measure_judge_changes(rows_of(judged(1, 1.0, 3)).slice(0, 0)) == []
