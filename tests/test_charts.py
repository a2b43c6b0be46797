"""Charts: drawn offline, inert in a page, readable in light and dark, and said in words."""

import io
import re
from datetime import date, timedelta
from pathlib import Path
from xml.etree import ElementTree

import matplotlib.pyplot as plt
import numpy as np
import pytest

from flywheel.quality import charts
from flywheel.quality.charts import CORRECTED, JUDGE_ALONE, LABELS_ALONE, Bars, OverTime, Point
from flywheel.quality.figures import (
    Figure,
    coefficient,
    name_of,
    price,
    queue_path,
    share,
    with_chart,
)
from flywheel.quality.svg import ORIGIN, as_png, for_page
from flywheel.records import Interval
from flywheel.web.context import STATIC

HOSTILE = "<script>alert(1)</script>\"'&\u202e\x00\ufffe ]]>"
SVG = "{http://www.w3.org/2000/svg}"


def points(n: int, panel: str = "shop", href: str = "/queue?app=shop") -> list[Point]:
    methods = (CORRECTED, LABELS_ALONE, JUDGE_ALONE)
    return [
        Point(
            panel,
            date(2026, 3, 2) + timedelta(days=day),
            Interval(0.2, 0.1, 0.3),
            day,
            f"day {day} of {panel}",
            href,
            methods[day % 3],
        )
        for day in range(n)
    ]


def by_day(made: list[Point]) -> OverTime:
    return OverTime("day", made, "labels", ".0%", 0.0, 0.1)


@pytest.fixture(scope="module")
def drawn() -> tuple[ElementTree.Element, ElementTree.Element]:
    """A chart of two panels, one of whose names is hostile, wide and narrow."""
    made = [*points(40), *points(40, name_of(HOSTILE), queue_path(app=HOSTILE, status="complete"))]
    wide, narrow = charts.draw(by_day(made))
    return ElementTree.fromstring(wide), ElementTree.fromstring(narrow)


def texts(root: ElementTree.Element) -> list[str]:
    return [element.text or "" for element in root.iter(f"{SVG}text")]


def test_a_drawing_has_nothing_but_shapes_words_and_our_own_links(
    drawn: tuple[ElementTree.Element, ElementTree.Element],
) -> None:
    for root in drawn:
        elements = {element.tag.removeprefix(SVG) for element in root.iter()}
        assert elements <= {"svg", "g", "path", "line", "rect", "text", "a", "title"}
        names = {name for element in root.iter() for name in element.attrib}
        assert not {name for name in names if name.startswith("on") or ":" in name}
        assert not names & {"style", "{http://www.w3.org/1999/xlink}href"}
        links = {element.get("href") for element in root.iter(f"{SVG}a")}
        assert links == {"/queue?app=shop", queue_path(app=HOSTILE, status="complete")}


def test_a_hostile_name_is_text(drawn: tuple[ElementTree.Element, ElementTree.Element]) -> None:
    for root in drawn:
        (title,) = [text for text in texts(root) if "script" in text]
        assert title == name_of(HOSTILE)
        assert "<script" not in ElementTree.tostring(root, encoding="unicode")


def test_a_chart_is_left_out_by_screen_readers_and_the_tab_key(
    drawn: tuple[ElementTree.Element, ElementTree.Element],
) -> None:
    for root in drawn:
        assert root.get("aria-hidden") == "true"
        assert {element.get("tabindex") for element in root.iter(f"{SVG}a")} == {"-1"}


def test_a_point_says_what_it_is_when_pointed_at(
    drawn: tuple[ElementTree.Element, ElementTree.Element],
) -> None:
    said = {element.text for element in drawn[0].iter(f"{SVG}title")}
    assert "day 0 of shop" in said
    assert len(said) == 80


def test_a_telephone_gets_a_chart_of_its_own_with_the_last_days(
    drawn: tuple[ElementTree.Element, ElementTree.Element],
) -> None:
    wide, narrow = drawn
    assert (wide.get("class"), narrow.get("class")) == ("on-wide", "on-narrow")
    assert float(wide.get("width", 0)) <= 900
    assert float(narrow.get("width", 0)) <= 340
    said = [element.text or "" for element in narrow.iter(f"{SVG}title")]
    assert "day 39 of shop" in said
    assert "day 0 of shop" not in said


def test_words_in_a_chart_are_large_enough_to_read(
    drawn: tuple[ElementTree.Element, ElementTree.Element],
) -> None:
    for root in drawn:
        sizes = {element.get("font-size", "0px") for element in root.iter(f"{SVG}text")}
        assert {float(size.removesuffix("px")) >= 12 for size in sizes} == {True}


def test_weeks_are_named_by_their_mondays() -> None:
    weeks = [
        Point("", date(2026, 3, 2) + timedelta(7 * i), Interval(0.5, 0.4, 0.6), 10, "")
        for i in range(3)
    ]
    wide, _ = charts.draw(OverTime("week", weeks, "items", ".1f", 0.0, 1.0))
    assert {"2 Mar", "9 Mar", "16 Mar"} <= set(texts(ElementTree.fromstring(wide)))


def test_an_interval_below_zero_is_not_cut_off() -> None:
    below = [Point("", date(2026, 3, 2), Interval(-0.2, -0.5, 0.1), 10, "")]
    wide, _ = charts.draw(OverTime("week", below, "items", ".1f", 0.0, 1.0))
    assert "−0.5" in texts(ElementTree.fromstring(wide))


def test_bars_stand_in_the_order_given() -> None:
    names = ["<1", "1–2", "30+"]
    wide, _ = charts.draw(Bars(names, [(1, 0), (0, 2), (3, 1)]))
    shown = [text for text in texts(ElementTree.fromstring(wide)) if text in names]
    assert shown == names


def sheet_colours(is_dark: bool) -> dict[str, str]:
    """The variables of the style sheet, light or dark, that are colours."""
    css = Path(STATIC / "flywheel.css").read_text(encoding="utf-8")
    light, dark = re.findall(r":root \{(.+?)\}", css, re.DOTALL)[:2]
    found = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", light))
    return found | dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", dark)) if is_dark else found


def contrast(first: str, second: str) -> float:
    """The contrast of two colours, from 1 to 21 (WCAG 2.2)."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("is_dark", [False, True], ids=["light", "dark"])
def test_colours_stand_out_from_the_page(is_dark: bool) -> None:
    colours = sheet_colours(is_dark)
    for name in ("ink", "ink-soft"):
        assert contrast(colours[name], colours["sheet"]) >= 4.5
    for name in ("accent", "warn", "ink-soft"):
        assert contrast(colours[name], colours["sheet"]) >= 3
    if not is_dark:
        assert {name: hex_ for hex_, name in charts.COLOURS.items()}.items() <= colours.items()


def test_colours_are_those_of_the_page_in_light_and_dark(
    drawn: tuple[ElementTree.Element, ElementTree.Element],
) -> None:
    used = {
        value
        for element in drawn[0].iter()
        for name in ("fill", "stroke")
        if (value := element.get(name)) not in (None, "none", "transparent")
    }
    assert {re.sub(r"var\(--[\w-]+, #[0-9a-f]{6}\)", "", str(value)) for value in used} == {""}


def test_what_is_not_known_is_left_out_of_a_drawing() -> None:
    given = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        'onload="x()" width="10.123"><style>*{}</style><script>x()</script>'
        '<image href="https://example.com/x.png"/><foreignObject/>'
        '<a xlink:href="https://example.com/x"><path fill="red" style="a" d="M1.236,2"/></a>'
        f'<a xlink:href="{ORIGIN}/queue?day=1"><path fill="#ABCDEF" d="M1,2"/></a></svg>'
    )
    assert for_page(given, {"#abcdef": "ink"}, "wide") == (
        '<svg xmlns="http://www.w3.org/2000/svg" width="10.1" class="wide" aria-hidden="true" '
        'focusable="false"><a><path fill="red" d="M1.2,2" /></a>'
        '<a href="/queue?day=1" tabindex="-1"><path fill="var(--ink, #abcdef)" d="M1,2" /></a>'
        "</svg>"
    )


def test_a_chart_is_drawn_once() -> None:
    empty = Figure("rates", "Rates", "", [], [], [])
    first = with_chart(empty, by_day(points(3)), {})
    assert first.wide
    kept = Figure("rates", "", "", [], [], [], wide="kept", narrow="kept too", key=first.key)
    again = with_chart(empty, by_day(points(3)), {first.key: kept})
    assert (again.wide, again.narrow, again.key) == ("kept", "kept too", first.key)
    assert with_chart(empty, by_day(points(4)), {first.key: kept}).wide != "kept"


def test_nothing_is_drawn_of_nothing() -> None:
    empty = Figure("rates", "Rates", "", [], [], [])
    assert with_chart(empty, by_day([]), {}) == empty
    assert with_chart(empty, Bars(["<1"], [(0, 0)]), {}) == empty


def test_numbers_are_said_with_their_intervals() -> None:
    assert share(Interval(0.2146, 0.1909, 1.02)) == "21.5\u00a0%\u00a0[19.1,\u00a0100.0]"
    assert coefficient(Interval(-0.05, -0.271, 0.16)) == "−0.05\u00a0[−0.27,\u00a00.16]"


def test_a_name_is_one_short_line() -> None:
    assert name_of("shop\nwindow\x00\u202e") == "shop\ufffdwindow\ufffd"
    assert len(name_of("x" * 100_000)) == 40
    assert queue_path(app="a b&c=\ud800", day="", status="complete") == (
        "/queue?app=a+b%26c%3D%3F&status=complete"
    )


@pytest.mark.parametrize(
    ("usd", "said"),
    [(0.0, "0"), (0.0000012, "0.0000012"), (0.024, "0.024"), (3.44, "3.4"), (12.6, "13")],
)
def test_a_price_is_said_in_full_however_small(usd: float, said: str) -> None:
    assert price(usd) == said


def test_a_drawing_of_a_page_becomes_a_picture_that_stands_alone() -> None:
    drawing = for_page(
        '<svg xmlns="http://www.w3.org/2000/svg" width="8" height="4" viewBox="0 0 8 4">'
        '<rect x="0" y="0" width="4" height="4" fill="#2457d6"/></svg>',
        charts.COLOURS,
        "on-wide",
    )
    picture = plt.imread(io.BytesIO(as_png(drawing)))
    # Half as large again; blue to the left, white where nothing is drawn.
    assert picture.shape[:2] == (6, 12)
    np.testing.assert_allclose(picture[3, 2, :3], [0x24 / 255, 0x57 / 255, 0xD6 / 255], atol=0.01)
    np.testing.assert_allclose(picture[3, 9, :3], 1.0)
