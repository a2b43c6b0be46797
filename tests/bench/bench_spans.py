"""Traces as spans from files into the warehouse: spans a second, and the peak of memory.

    python -m tests.bench.bench_spans [TRACES]

Prints one JSON line. Each file holds seeded traces of four spans of about 1.2 kB: an agent, two
calls of a model with their messages and a tool. `langfuse` is an observation a line as its export
writes them, `langfuse_csv` the same in CSV, `openinference` requests of OpenTelemetry in JSON with
fifty traces each. Everything counts: recognising and compressing the file, spans, traces, messages
and documents. Each case has a process and a project of its own.
"""

import csv
import json
import multiprocessing
import random
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

from flywheel.store import open_project
from flywheel.traces.importing import import_file
from tests.bench.machine import report, spent

TRACES_A_REQUEST = 50
_START_NS = 1_772_445_600_000_000_000
_WORDS = [
    *("order", "refund", "parcel", "where", "is", "my", "the", "a", "it", "was", "sent", "today"),
    *("please", "wait", "late", "broken", "new", "naïve", "😀", "a\nb", '"quoted"'),
]

Row = dict[str, object]


def _turns(number: int) -> tuple[list[Row], Row, list[Row], Row]:
    """What the model is asked and answers, before the tool and after it."""
    rng = random.Random(number)

    def say(count: int) -> str:
        return " ".join(rng.choices(_WORDS, k=count))

    asked: list[Row] = [
        {"role": "system", "content": say(40)},
        {"role": "user", "content": say(20)},
    ]
    call = {"name": "find_order", "arguments": json.dumps({"id": number})}
    calling = {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"id": f"call_{number}", "type": "function", "function": call}],
    }
    result = {"role": "tool", "tool_call_id": f"call_{number}", "content": say(30)}
    return asked, calling, [*asked, calling, result], {"role": "assistant", "content": say(60)}


def observations(n_traces: int) -> Iterator[Row]:
    """Rows of Langfuse's export."""
    for number in range(n_traces):
        asked, calling, told, answer = _turns(number)
        question, result = asked[1]["content"], told[3]["content"]
        shapes = [
            ("AGENT", "assistant", {"question": question}, answer["content"]),
            ("GENERATION", "chat", asked, calling),
            ("TOOL", "find_order", {"id": number}, result),
            ("GENERATION", "chat", told, answer),
        ]
        for place, (kind, name, given, gave) in enumerate(shapes):
            is_model = kind == "GENERATION"
            yield {
                "id": f"{number:08x}{place:08x}",
                "trace_id": f"{number:032x}",
                "project_id": "p-1",
                "environment": "production",
                "type": kind,
                "parent_observation_id": f"{number:08x}{0:08x}" if place else None,
                "start_time": f"2026-03-02 10:{number % 60:02d}:{place:02d}.000000",
                "end_time": f"2026-03-02 10:{number % 60:02d}:{place:02d}.500000",
                "name": name,
                "metadata": {"region": "eu", "build": number % 7},
                "level": "DEFAULT",
                "status_message": None,
                "input": given,
                "output": gave,
                "provided_model_name": "gpt-4o-mini" if is_model else None,
                "usage_details": {"input": 120, "output": 15, "total": 135} if is_model else {},
                "cost_details": {"total": 0.003} if is_model else {},
                "total_cost": 0.003 if is_model else None,
                "trace_name": "assistant",
                "user_id": f"u{number // 5}",
                "session_id": f"s{number // 2}",
                "tags": ["web"],
                "release": "1.4",
            }


def requests(n_traces: int) -> Iterator[Row]:
    """OTLP requests in JSON, in the words of OpenInference."""
    for first in range(0, n_traces, TRACES_A_REQUEST):
        spans = [
            span
            for number in range(first, min(first + TRACES_A_REQUEST, n_traces))
            for span in _spans(number)
        ]
        resource = {"attributes": [_attribute("service.name", "shop")]}
        scope = {"scope": {"name": "openinference"}, "spans": spans}
        yield {"resourceSpans": [{"resource": resource, "scopeSpans": [scope]}]}


def _spans(number: int) -> list[Row]:
    asked, calling, told, answer = _turns(number)
    model = {"llm.model_name": "gpt-4o-mini", "llm.token_count.prompt": 120}
    shapes = [
        ("AGENT", {"input.value": asked[1]["content"], "output.value": answer["content"]}),
        ("LLM", model | _messages("input", asked) | _messages("output", [calling])),
        (
            "TOOL",
            {
                "tool.name": "find_order",
                "input.value": json.dumps({"id": number}),
                "output.value": told[3]["content"],
            },
        ),
        ("LLM", model | _messages("input", told) | _messages("output", [answer])),
    ]
    made = []
    for place, (kind, attributes) in enumerate(shapes):
        own = {"openinference.span.kind": kind, "session.id": f"s{number // 2}"} | attributes
        started = _START_NS + number * 10_000_000 + place * 1_000_000
        span = {
            "traceId": f"{number:032x}",
            "spanId": f"{number:08x}{place:08x}",
            "name": kind.lower(),
            "kind": 1,
            "startTimeUnixNano": str(started),
            "endTimeUnixNano": str(started + 900_000),
            "attributes": [_attribute(key, value) for key, value in own.items()],
            "status": {"code": 1},
        }
        if place:
            span["parentSpanId"] = f"{number:08x}{0:08x}"
        made.append(span)
    return made


def _messages(side: str, messages: list[Row]) -> Row:
    flat: Row = {}
    for n, message in enumerate(messages):
        above = f"llm.{side}_messages.{n}.message"
        for key in ("role", "content", "tool_call_id"):
            if message.get(key):
                flat[f"{above}.{key}"] = message[key]
        for k, call in enumerate(message.get("tool_calls", [])):  # type: ignore[arg-type]
            below = f"{above}.tool_calls.{k}.tool_call"
            flat[f"{below}.id"] = call["id"]
            flat[f"{below}.function.name"] = call["function"]["name"]
            flat[f"{below}.function.arguments"] = call["function"]["arguments"]
    return flat


def _attribute(key: str, value: object) -> Row:
    kind = {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}
    return {"key": key, "value": kind}


def _as_lines(rows: Iterator[Row], path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def _as_csv(rows: Iterator[Row], path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = None
        for row in rows:
            writer = writer or csv.DictWriter(file, list(row))
            if file.tell() == 0:
                writer.writeheader()
            cells = {k: json.dumps(v) if isinstance(v, dict | list) else v for k, v in row.items()}
            writer.writerow(cells)


CASES: dict[str, tuple[Callable[[int], Iterator[Row]], Callable[[Iterator[Row], Path], None]]] = {
    "langfuse": (observations, _as_lines),
    "langfuse_csv": (observations, _as_csv),
    "openinference": (requests, _as_lines),
}


def measure(path: Path, n_spans: int) -> dict[str, object]:
    """Import the file into a new project."""
    with tempfile.TemporaryDirectory(prefix="flywheel-bench-") as folder:
        stores = open_project(Path(folder)).stores
        with stores.ledger.begin(), stores.warehouse.open():
            pass
        with spent() as used:
            made = import_file(stores, path)
        with stores.warehouse.open() as connection:
            (stored,) = connection.raw.execute("select count(*) from spans").fetchone()
        stores.ledger.close()
    if stored != n_spans or made.rejected:
        raise SystemExit(f"{stored} of {n_spans} spans were stored, rejected: {made.rejected[:3]}")
    return {
        "mb": round(path.stat().st_size / 1e6, 1),
        "spans": stored,
        "traces": made.new,
        "spans_per_s": round(stored / used.wall_s),
        "spans_per_cpu_s": round(stored / used.cpu_s),
        **asdict(used),
    }


def main(n_traces: int) -> None:
    figures = {}
    with tempfile.TemporaryDirectory(prefix="flywheel-bench-") as folder:
        for name, (rows, write) in CASES.items():
            path = Path(folder) / name
            write(rows(n_traces), path)
            # A process each: the peak of memory is that of a process.
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                figures[name] = pool.apply(measure, (path, 4 * n_traces))
            path.unlink()
    report("spans", **figures)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 25_000)
