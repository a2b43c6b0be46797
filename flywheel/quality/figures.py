"""A figure of a page: a title, a sentence that reads it out, a chart and a table.

What is drawn and what is said in, a figure out; the one idea is that whoever cannot see the chart
misses nothing.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlencode

from flywheel.quality import charts, svg
from flywheel.quality.charts import Bars, OverTime
from flywheel.records import Interval
from flywheel.safety import visible

# Of a name that somebody else chose.
_NAME_CHARS = 40


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a figure's table; `href` leads from its first cell to the traces behind it."""

    cells: list[str]
    href: str = ""


@dataclass(frozen=True, slots=True)
class Figure:
    """A chart with all that it says in words.

    `wide` and `narrow` are the same chart as SVG for a page, empty where there is nothing to draw:
    then `sentence` says what is missing. `legend` pairs a symbol (SVG) with its meaning. `key` is
    the hash of what is drawn and of how.
    """

    name: str
    title: str
    sentence: str
    columns: list[str]
    rows: list[Row]
    legend: list[tuple[str, str]]
    wide: str = ""
    narrow: str = ""
    key: str = ""


def with_chart(figure: Figure, chart: OverTime | Bars, known: Mapping[str, Figure]) -> Figure:
    """The figure with its chart, which is not drawn again where `known` has it by its key."""
    if chart.is_empty:
        return figure
    key = _key(chart)
    wide, narrow = (known[key].wide, known[key].narrow) if key in known else charts.draw(chart)
    return replace(figure, wide=wide, narrow=narrow, key=key)


def _key(chart: OverTime | Bars) -> str:
    """Hash of what is drawn, and of the code that draws it."""
    digest = hashlib.sha256(repr(chart).encode("utf-8", "backslashreplace"))
    for module in (charts, svg):
        digest.update(Path(str(module.__file__)).read_bytes())
    return digest.hexdigest()


def share(interval: Interval) -> str:
    """A share with its interval, in percent: `14.2 % [9.1, 20.0]`."""
    low, high = max(0.0, interval.low), min(1.0, interval.high)
    return _unbroken(f"{100 * interval.estimate:.1f} % [{100 * low:.1f}, {100 * high:.1f}]")


def coefficient(interval: Interval) -> str:
    """A number around 0 to 1 with its interval: `0.71 [0.58, 0.83]`."""
    return _unbroken(f"{interval.estimate:.2f} [{interval.low:.2f}, {interval.high:.2f}]")


def price(usd: float) -> str:
    """An amount to two digits that say something, however small: `0.0000012`, `3.4`, `120`."""
    if usd <= 0 or usd >= 100:
        return f"{usd:,.0f}"
    places = max(0, 1 - math.floor(math.log10(usd)))
    return f"{usd:.{places}f}"


def _unbroken(number: str) -> str:
    """The number with its interval on one line, and a minus that is one."""
    return number.replace(" ", "\u00a0").replace("-", "\u2212")


def name_of(app: str) -> str:
    """The name of an application as it may stand in a chart: one line, nothing invisible."""
    name = "".join(c if c.isprintable() else "\ufffd" for c in visible(app[: 4 * _NAME_CHARS]))
    return name if len(name) <= _NAME_CHARS else f"{name[: _NAME_CHARS - 1]}…"


def queue_path(**wanted: str) -> str:
    """The page of the items that these filters leave; empty ones are left out."""
    query = urlencode({name: value for name, value in wanted.items() if value}, errors="replace")
    return f"/queue?{query}"
