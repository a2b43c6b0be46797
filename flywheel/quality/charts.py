"""Pictures of the trends, as SVG that stands in a page.

Points in, drawings out: each chart is written in Vega-Lite, and vl-convert draws it in this
process, without a browser or the internet. Colours are those of the style sheet, by name.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, time, timedelta
from typing import Any, Literal

from flywheel.quality.svg import ORIGIN, for_page
from flywheel.records import Interval

# A part of a chart in the words of Vega-Lite.
_Spec = dict[str, Any]

# Hex of the light style sheet -> its variable, which is another colour in the dark.
COLOURS = {
    "#1c1d20": "ink",
    "#5a5d66": "ink-soft",
    "#dedfdb": "line",
    "#2457d6": "accent",
    "#805200": "warn",
    "#ffffff": "sheet",
}
INK, INK_SOFT, LINE, ACCENT, WARN, SHEET = COLOURS
# Pixels: a chart of its own width for a desk and for a telephone, since text must not shrink.
WIDE, NARROW = 860, 318
TEXT = 13
# The numbers beside the vertical axis, and what stands right of the last point.
_LEFT, _RIGHT = 44, 22
_DAY_LABEL = 72
# Closer than this, points of neighbouring days lie on each other.
_LEAST_STEP = 9
# What an estimate is made of, the best first: its line, what fills its point, and the point's form.
_LOOKS = {
    "": (ACCENT, ACCENT, "circle"),
    "judge, corrected by labels": (ACCENT, ACCENT, "circle"),
    "labels alone": (WARN, WARN, "diamond"),
    "judge alone, unadjusted": (INK_SOFT, SHEET, "circle"),
}
CORRECTED, LABELS_ALONE, JUDGE_ALONE = list(_LOOKS)[1:]
_PARTS = {"waiting": ACCENT, "in dispute": WARN}
WAITING, DISPUTED = _PARTS


@dataclass(frozen=True, slots=True)
class Point:
    """An estimate of a day or a week: what it is of, how it was come by, and what it rests on.

    `said` is its tooltip, and `href` leads to the traces behind it.
    """

    panel: str
    at: date
    interval: Interval
    n: int
    said: str
    href: str = ""
    method: str = ""


@dataclass(frozen=True, slots=True)
class OverTime:
    """Points over days or weeks, one panel under the other, with bars of `n` below each.

    The vertical axis runs from `low` to `high`, and further where an interval does.
    """

    step: Literal["day", "week"]
    points: Sequence[Point]
    counted: str
    number_format: str
    low: float
    high: float

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not self.points


@dataclass(frozen=True, slots=True)
class Bars:
    """Items that wait, side by side, and those in dispute on top of them."""

    names: Sequence[str]
    amounts: Sequence[tuple[int, int]]

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not any(sum(parts) for parts in self.amounts)


def draw(chart: OverTime | Bars) -> tuple[str, str]:
    """The chart, wide and narrow; it must have something to show."""
    import vl_convert

    drawn = []
    for width, class_name in ((WIDE, "on-wide"), (NARROW, "on-narrow")):
        spec = _over_time(chart, width) if isinstance(chart, OverTime) else _bars(chart, width)
        svg = vl_convert.vegalite_to_svg(_FRAME | spec, vl_version="5.20")
        drawn.append(for_page(svg, COLOURS, class_name))
    return drawn[0], drawn[1]


def symbol(name: str) -> str:
    """What stands for a way of estimating, or for a part of a bar, in a legend."""
    if name in _PARTS:
        stroke, fill, form = _PARTS[name], _PARTS[name], "M2,2h8v8h-8z"
    else:
        stroke, fill, shape = _LOOKS[name]
        form = "M6,1l5,5l-5,5l-5,-5z" if shape == "diamond" else "M2,6a4,4 0 1,0 8,0a4,4 0 1,0 -8,0"
    drawing = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 12 12" width="12" height="12">'
        f'<path d="{form}" fill="{fill}" stroke="{stroke}" stroke-width="1.5"/></svg>'
    )
    return for_page(drawing, COLOURS, "symbol")


def _over_time(chart: OverTime, width: int) -> _Spec:
    inside, step = width - _LEFT - _RIGHT, timedelta(days=1 if chart.step == "day" else 7)
    last = max(p.at for p in chart.points)
    # What has no room is at the beginning; the table beside the chart has it.
    points = [p for p in chart.points if (last - p.at) // step < inside // _LEAST_STEP]
    first = min(p.at for p in points)
    n_steps = (last - first) // step + 1
    every = step * -(-n_steps * _DAY_LABEL // inside)
    x = {
        "field": "at",
        "type": "temporal",
        "title": None,
        # A panel of bars would else make room at its sides, and stand beside that of the points.
        "scale": {
            "type": "utc",
            "domain": [_moment(first, -step / 2), _moment(last, step / 2)],
            "padding": 0,
        },
        "axis": {
            "format": "%-d %b",
            # The renderer's own choice begins anew each month, and its weeks are from Sunday on.
            "values": [_moment(last - every * i) for i in range((last - first) // every + 1)],
            "grid": False,
        },
    }
    low = min(chart.low, *(p.interval.low for p in points))
    high = max(chart.high, *(p.interval.high for p in points))
    y = {
        "type": "quantitative",
        "title": None,
        "scale": {"domain": [low, high], "nice": 4},
        "axis": {"format": chart.number_format, "tickCount": 4},
    }
    most = max(1, *(p.n for p in points))
    bar_width = max(2, min(16, inside // (2 * n_steps)))
    panels = [
        {
            "data": {"values": [_row(p) for p in points if p.panel == name]},
            "vconcat": [
                _estimates(x, y, name) | {"width": inside},
                _counts(x, most, chart.counted, bar_width) | {"width": inside},
            ],
            "spacing": 8,
        }
        for name in dict.fromkeys(p.panel for p in points)
    ]
    return {"vconcat": panels, "spacing": 22}


def _row(point: Point) -> _Spec:
    return asdict(point.interval) | {
        "at": _moment(point.at),
        "n": point.n,
        "said": point.said,
        "href": ORIGIN + point.href,
        "method": point.method,
    }


def _estimates(x: _Spec, y: _Spec, name: str) -> _Spec:
    """A panel of points with their intervals."""
    x = x | {"axis": x["axis"] | {"labels": False}}
    # What they mean stands in the page: a legend of SVG cannot be broken into lines.
    stroke, fill, shape = (
        {
            "field": "method",
            "type": "nominal",
            "legend": None,
            "scale": {"domain": list(_LOOKS), "range": [look[part] for look in _LOOKS.values()]},
        }
        for part in range(3)
    )
    spans = {
        "mark": {"type": "rule", "strokeWidth": 1.5},
        "encoding": {"x": x, "y": y | {"field": "low"}, "y2": {"field": "high"}, "stroke": stroke},
    }
    points = {
        "mark": {"type": "point", "size": 56, "strokeWidth": 1.5, "opacity": 1},
        "encoding": {
            "x": x,
            "y": y | {"field": "estimate"},
            "stroke": stroke,
            "fill": fill,
            "shape": shape,
            "href": {"field": "href", "type": "nominal"},
            "description": {"field": "said", "type": "nominal"},
        },
    }
    return {"layer": [spans, points], "height": 120} | ({"title": name} if name else {})


def _counts(x: _Spec, most: int, counted: str, bar_width: int) -> _Spec:
    """A panel of bars: how much each estimate rests on."""
    y = {
        "field": "n",
        "type": "quantitative",
        "title": None,
        "scale": {"domain": [0, most]},
        "axis": {"values": [0, most], "grid": False, "format": "d"},
    }
    return {
        "mark": {"type": "bar", "color": INK_SOFT, "size": bar_width},
        "encoding": {"x": x, "y": y, "description": {"field": "said", "type": "nominal"}},
        "height": 28,
        "title": {"text": counted, "fontWeight": "normal", "color": INK_SOFT},
    }


def _bars(chart: Bars, width: int) -> _Spec:
    rows = [
        {"name": name, "amount": amount, "part": part, "place": place}
        for name, amounts in zip(chart.names, chart.amounts, strict=True)
        for place, (part, amount) in enumerate(zip(_PARTS, amounts, strict=True))
    ]
    return {
        "data": {"values": rows},
        "width": width - _LEFT - _RIGHT,
        "height": 150,
        "mark": {"type": "bar", "size": min(48, (width - _LEFT) // (2 * len(chart.names)))},
        "encoding": {
            "x": {
                "field": "name",
                "type": "nominal",
                "title": "days",
                "sort": list(chart.names),
                "axis": {"labelAngle": 0},
            },
            "y": {
                "field": "amount",
                "type": "quantitative",
                "title": None,
                "axis": {"format": "d", "tickMinStep": 1, "tickCount": 4},
            },
            "color": {
                "field": "part",
                "type": "nominal",
                "legend": None,
                "scale": {"domain": list(_PARTS), "range": list(_PARTS.values())},
            },
            "order": {"field": "place", "type": "quantitative"},
        },
    }


_FRAME: _Spec = {
    "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
    "background": "transparent",
    # A page's font may be wider than that which the last label was measured in.
    "padding": {"left": 2, "right": 14, "top": 2, "bottom": 2},
    "config": {
        "font": "sans-serif",
        "axis": {
            "domain": False,
            "ticks": False,
            "gridColor": LINE,
            "labelColor": INK_SOFT,
            "labelFontSize": TEXT,
            "labelPadding": 6,
            "titleColor": INK_SOFT,
            "titleFontSize": TEXT,
            "titleFontWeight": "normal",
        },
        "axisY": {"minExtent": _LEFT, "maxExtent": _LEFT},
        "title": {"color": INK, "fontSize": TEXT, "anchor": "start", "limit": 300, "offset": 6},
        "view": {"stroke": None},
    },
}


def _moment(day: date, plus: timedelta = timedelta()) -> str:
    return f"{(datetime.combine(day, time()) + plus).isoformat()}Z"
