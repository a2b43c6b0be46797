"""What commands say: data on stdout, words on stderr, JSON where a program reads.

Reports in, text out; the one idea is that a person and a program are told the same.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from flywheel.errors import BadInput

# What is said may quote a trace: a bracket in it is no markup, and a colon no emoji.
words = Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)
# A pipe has no width of its own; rows should not be broken for it.
paper = Console(
    highlight=False,
    width=None if sys.stdout.isatty() else 200,
    markup=False,
    emoji=False,
)

# The one after it is Dagster's, unless that is named.
PORT = click.IntRange(1, 65_534)
as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON value on stdout.")


def plain(value: Any) -> Any:  # noqa: ANN401  # whatever a report holds
    """A report as values that JSON can hold; days and times in ISO form."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, float) and value != value:
        return None
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def emit(report: object, as_json: bool) -> None:
    """Print a report: JSON on request, else one `name  value` line a field."""
    value = plain(report)
    if as_json:
        click.echo(json.dumps(value, ensure_ascii=False))
    elif isinstance(value, dict):
        width = max((len(key) for key in value), default=0)
        for key, item in value.items():
            click.echo(f"{key:<{width}}  {_short(item) or 'none'}")
    else:
        for item in value:
            click.echo(_short(item))


def emit_rows(columns: Sequence[str], rows: Sequence[Sequence[object]], as_json: bool) -> None:
    """Print rows: a JSON list of objects on request, else a table."""
    if as_json:
        click.echo(
            json.dumps(
                [dict(zip(columns, plain(list(row)), strict=True)) for row in rows],
                ensure_ascii=False,
            )
        )
        return
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*(_short(plain(item)) for item in row))
    paper.print(table)


def refuse_unusable(rejected: Sized, n_usable: int) -> None:
    """Raise BadInput where lines were rejected and not one could be used."""
    if rejected and not n_usable:
        raise BadInput(
            "no line could be used, so that nothing was imported; correct them, and import them "
            "again"
        )


@contextmanager
def progress_bar(what: str) -> Iterator["Bar"]:
    """A progress bar on stderr where a person watches; silent in a pipe."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=words, transient=True, disable=not words.is_terminal) as bars:
        yield Bar(bars, what)


class Bar:
    """A bar that stages call as `bar(done, total)`; `say` renames it."""

    def __init__(self, bars: Progress, what: str):
        self._bars = bars
        self._task = bars.add_task(what, total=None)
        self._part = bars.add_task("", total=None, visible=False)

    def __call__(self, done: int, total: int) -> None:
        """So much of so many is done."""
        self._bars.update(self._task, completed=done, total=total)

    def part(self, what: str, done: int, total: int) -> None:
        """So much of a part of the present step, on a line below; it goes when all is done."""
        self._bars.update(
            self._part, description=what, completed=done, total=total, visible=done < total
        )

    def say(self, what: str) -> None:
        """Begin the next piece of work under another name."""
        self._bars.reset(self._task, description=what, total=None)


def _short(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_short(item)}" for key, item in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(_short(item) for item in value) or "none"
    return "-" if value is None else str(value)
