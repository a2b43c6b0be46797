"""The table of budgets: every row is read from what its benchmark printed, and the docs have it."""

import json
from pathlib import Path

import pytest

from tests.bench.budgets import BUDGETS, Line, rows

ROOT = Path(__file__).resolve().parent.parent
# What the benchmarks printed in the run that the docs tell of.
LINES = ROOT / "tests/fixtures/bench/lines.jsonl"


@pytest.fixture
def lines() -> list[Line]:
    return [json.loads(line) for line in LINES.read_text(encoding="utf-8").splitlines()]


def test_every_budget_is_found_in_what_its_benchmark_printed(lines: list[Line]) -> None:
    for budget in BUDGETS:
        said = [line for line in lines if line["benchmark"] == budget.benchmark]
        assert any(budget.found(line) is not None for line in said), budget.what


def test_the_docs_have_the_table_that_the_benchmarks_gave(lines: list[Line]) -> None:
    told = (ROOT / "docs/measurements.md").read_text(encoding="utf-8").splitlines()
    assert [row for row in rows(lines) if row not in told] == []


def test_a_budget_that_is_missed_says_so_and_by_how_much(lines: list[Line]) -> None:
    slow = [line | {"p95_ms": 200.0} for line in lines if line["benchmark"] == "review"]
    (row,) = (row for row in rows(slow) if row.startswith("| eight reviewers"))
    assert "missed, 0.50 times" in row
    assert sum("not measured in this run" in row for row in rows(slow)) == len(BUDGETS) - 1
