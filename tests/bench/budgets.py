"""Every budget beside what was measured: a table of the JSON lines that the benchmarks print.

    python -m tests.bench.budgets FILE

`make bench` writes the file and prints this. A budget that no line speaks of says so. The last
column is what stands in the way of more: what bounds the figure on a machine of this kind.
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Line = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Budget:
    """What is aimed at, and where a line of a benchmark says what was reached."""

    what: str
    benchmark: str
    aim: float
    unit: str
    is_at_least: bool
    limit: str
    found: Callable[[Line], float | None]


def at(*keys: str) -> Callable[[Line], float | None]:
    """What stands under these keys, one in the other."""

    def found(line: Line) -> float | None:
        value: Any = line
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        return value if isinstance(value, int | float) else None

    return found


def where(
    found: Callable[[Line], float | None], **wanted: object
) -> Callable[[Line], float | None]:
    """The same of the lines that say this alone."""

    def of(line: Line) -> float | None:
        return found(line) if wanted.items() <= line.items() else None

    return of


BUDGETS = (
    Budget(
        "live spans, durable and queryable",
        "otlp",
        3_000,
        "spans/CPU-s",
        True,
        "parsing and putting conversations together in Python; receiving alone is a tenth of it",
        at("spans_per_cpu_s"),
    ),
    Budget(
        "import of files, clean",
        "import",
        60_000,
        "messages/s",
        True,
        "DuckDB's reading of one row a message with a hash: 127,000/s",
        at("clean", "messages_per_s"),
    ),
    Budget(
        "import with 1 % bad lines",
        "import",
        60_000,
        "messages/s",
        True,
        "the same",
        at("bad_1_percent", "messages_per_s"),
    ),
    Budget(
        "two code metrics",
        "metrics",
        10_000,
        "traces/s",
        True,
        "writing the day's Parquet for the connection that sees nothing else",
        at("traces_per_s"),
    ),
    Budget(
        "lexical judge, fitted",
        "judge",
        20_000,
        "traces/CPU-s",
        True,
        "hashing n-grams of the text, once",
        where(at("traces_per_cpu_s"), tier="lexical", kind="fitted"),
    ),
    Budget(
        "encoder after LoRA against the plain pipeline",
        "encoder",
        2,
        "times",
        True,
        "the products alone, in float32: 2.1 times the pipeline where it does half of them",
        where(at("times_pipeline", "cpu"), reader="pair encoder, float32"),
    ),
    Budget(
        "the judge's training on 700 traces",
        "training of the judge",
        360,
        "CPU-s",
        False,
        "the same matrix products, three passes and their gradients",
        at("cpu_s"),
    ),
    Budget(
        "examples among 100,000, after embedding, p99",
        "search",
        2,
        "ms",
        False,
        "0.15 ms of an inverted file; the rest is ranking and rows",
        at("one_reaction", "p99_ms"),
    ),
    Budget(
        "the same with the embedding, p99",
        "search",
        60,
        "ms",
        False,
        "the embedding of the query",
        at("with_embedding", "p99_ms"),
    ),
    Budget(
        "recall@5 against exact search",
        "search",
        0.99,
        "",
        True,
        "every neighbour found",
        at("recall_at_5"),
    ),
    Budget(
        "a decision, until it is served, at most",
        "few_shots",
        2,
        "s",
        False,
        "a commit, and one embedding",
        at("decision_to_served_s", "max"),
    ),
    Budget(
        "the web app when nobody asks",
        "idle",
        1,
        "% of a core",
        False,
        "a look at what is new every few seconds",
        at("percent_of_a_core"),
    ),
    Budget(
        "the same, memory",
        "idle",
        400,
        "MB",
        False,
        "Python, the pages, and the index where it is loaded",
        at("rss_mb"),
    ),
    Budget(
        "eight reviewers who never pause, p95",
        "review",
        100,
        "ms",
        False,
        "5 to 15 ms of the server's CPU a decision, and eight of them at once on one core",
        at("p95_ms"),
    ),
    Budget(
        "1,000,000 traces in 28 days, memory",
        "loop",
        6 * 1024,
        "MB",
        False,
        "DuckDB's own limit (4 GB) and the models",
        where(at("peak_mb"), traces=1_000_000),
    ),
    Budget(
        "how CPU grows with traces, exponent",
        "loop",
        1.05,
        "",
        False,
        "1 is linear",
        at("exponent_cpu"),
    ),
)


def rows(lines: Sequence[Line]) -> Iterator[str]:
    """The table, a budget a row."""
    yield "| what | measured | aimed at | | what bounds it |"
    yield "|---|---|---|---|---|"
    for budget in BUDGETS:
        said = [
            value
            for line in lines
            if line.get("benchmark") == budget.benchmark
            and (value := budget.found(line)) is not None
        ]
        sign = "≥" if budget.is_at_least else "≤"
        aim = f"{sign} {budget.aim:,} {budget.unit}".strip()
        if not said:
            yield f"| {budget.what} | not measured in this run | {aim} | | {budget.limit} |"
            continue
        worst = min(said) if budget.is_at_least else max(said)
        holds = worst >= budget.aim if budget.is_at_least else worst <= budget.aim
        times = worst / budget.aim if budget.is_at_least else budget.aim / worst
        verdict = f"{'held' if holds else 'missed'}, {times:.2f} times"
        yield f"| {budget.what} | {worst:,} {budget.unit} | {aim} | {verdict} | {budget.limit} |"


def main(path: Path) -> None:
    """Print the table, and the machine of the last line."""
    text = path.read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    print("\n".join(rows(lines)))
    if lines:
        print(f"\n{json.dumps(lines[-1].get('machine', {}))}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
