"""Traces that came as spans, imported and published as a project has them, for tests."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from flywheel.store import Project
from flywheel.traces.importing import import_file, load_imports
from tests.conftest import write_lines

TRACE = "0af7651916cd43dd8448eb211c80319c"
START_NS = 1_772_445_600_000_000_000


def step(number: int, parent: int | None, **attributes: object) -> dict[str, object]:
    """A span in OTLP/JSON that begins `number` tenths of a second after the trace, for a second.

    `attributes` are OpenInference's, `__` for a dot in their names; `name` and `error` are its own.
    """
    given = {"openinference__span__kind": "TOOL", "input__value": '{"city": "Ely"}'} | attributes
    name, error = given.pop("name", f"step {number}"), given.pop("error", None)
    begun = START_NS + 100_000_000 * number
    return {
        "traceId": TRACE,
        "spanId": f"{number + 1:016x}",
        "parentSpanId": "" if parent is None else f"{parent + 1:016x}",
        "name": name,
        "startTimeUnixNano": str(begun),
        "endTimeUnixNano": str(begun + 1_000_000_000),
        "attributes": [
            {"key": key.replace("__", "."), "value": _value(value)} for key, value in given.items()
        ],
        "status": {"code": 2, "message": error} if error else {},
    }


def call(number: int, parent: int | None, **attributes: object) -> dict[str, object]:
    """A span of a model that was asked for a table and answered."""
    said = {
        "openinference__span__kind": "LLM",
        "llm__model_name": "gpt-5",
        "llm__token_count__prompt": 10,
        "llm__token_count__completion": 5,
        "llm__input_messages__0__message__role": "user",
        "llm__input_messages__0__message__content": "A table for four on Friday, please.",
        "llm__output_messages__0__message__role": "assistant",
        "llm__output_messages__0__message__content": "It is booked.",
    }
    return step(number, parent, **{**said, **attributes})


def import_spans(project: Project, folder: Path, spans: Iterable[Mapping[str, object]]) -> None:
    """Import these spans of one trace as a file of OpenTelemetry, and publish it."""
    request = {"resourceSpans": [{"scopeSpans": [{"spans": list(spans)}]}]}
    import_file(project.stores, write_lines(folder / "spans.jsonl", [request]), app="shop")
    load_imports(project.stores)


def _value(value: object) -> dict[str, object]:
    return {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}
