"""A drawing made fit to stand inside a page whose policy allows no style and no script.

SVG of the renderer in, SVG in the page's own colours out; the one idea is that only what is known
stays: elements and attributes that draw, and links into our own pages.
"""

import re
from collections.abc import Mapping
from xml.etree import ElementTree

# A renderer puts an address of its own before a path alone, so paths are handed to it under this.
ORIGIN = "https://flywheel.invalid"
_SVG = "http://www.w3.org/2000/svg"
_LINK = "{http://www.w3.org/1999/xlink}href"
_ELEMENTS = {"svg", "g", "path", "line", "rect", "text", "tspan", "a", "circle"}
_PLACES = {
    *("d", "x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "r", "width", "height", "viewBox"),
    *("transform", "dx", "dy"),
}
_LOOKS = {
    *("fill", "fill-opacity", "stroke", "stroke-width", "stroke-opacity", "opacity"),
    *("stroke-dasharray", "stroke-linecap", "stroke-linejoin", "stroke-miterlimit"),
    *("text-anchor", "font-size", "font-weight"),
}
_DEFAULTS = {("opacity", "1"), ("stroke-width", "1")}
_VARIABLE = re.compile(r"var\(--[a-z-]+, (#[0-9a-f]{6})\)")
_LONG_NUMBER = re.compile(r"-?\d+\.\d{2,}")


def for_page(svg: str, colours: Mapping[str, str], class_name: str) -> str:
    """The drawing as an element of a page, with colours replaced by the page's own variables.

    `colours` is hex -> name of a variable of the style sheet; the hex stays as what is shown where
    there is none. Links are those to paths under `ORIGIN`; what describes a mark becomes its
    tooltip. It is hidden from screen readers and from the tab key: what it says stands beside it as
    text.
    """
    root = ElementTree.fromstring(svg)
    _clean(root, {hex_.lower(): f"var(--{name}, {hex_})" for hex_, name in colours.items()})
    root.set("class", class_name)
    root.set("aria-hidden", "true")
    root.set("focusable", "false")
    ElementTree.register_namespace("", _SVG)
    return ElementTree.tostring(root, encoding="unicode")


def as_png(drawing: str) -> bytes:
    """What `for_page` made, as a picture on white that stands alone."""
    import vl_convert

    alone = _VARIABLE.sub(lambda found: found[1], drawing)
    # A page gives it a ground and a font.
    sheet = '<rect width="100%" height="100%" fill="#ffffff"/>'
    alone = re.sub("<svg([^>]*)>", rf'<svg font-family="sans-serif"\1>{sheet}', alone, count=1)
    return bytes(vl_convert.svg_to_png(alone, scale=1.5))


def _clean(element: ElementTree.Element, colours: Mapping[str, str]) -> None:
    link, said = element.get(_LINK, ""), element.get("aria-label", "")
    given = dict(element.attrib)
    element.attrib.clear()
    for name, value in given.items():
        if name in _PLACES:
            element.set(name, _LONG_NUMBER.sub(_rounded, value))
        elif name in _LOOKS and (name, value) not in _DEFAULTS:
            element.set(name, colours.get(value.lower(), value))
    path = link.removeprefix(ORIGIN)
    if _name(element) == "a" and path != link and re.match("/(?!/)", path):
        element.set("href", path)
        element.set("tabindex", "-1")
    for child in list(element):
        if _name(child) in _ELEMENTS:
            _clean(child, colours)
        if _name(child) not in _ELEMENTS or _draws_nothing(child):
            element.remove(child)
    if said and _name(element) == "path":
        ElementTree.SubElement(element, f"{{{_SVG}}}title").text = said


def _draws_nothing(element: ElementTree.Element) -> bool:
    """Whether it is a group without content or a path without a colour; none is inherited here."""
    if _name(element) == "path":
        return element.get("fill") is None and element.get("stroke") is None
    return _name(element) in ("g", "a") and not len(element)


def _name(element: ElementTree.Element) -> str:
    return str(element.tag).removeprefix(f"{{{_SVG}}}")


def _rounded(number: re.Match[str]) -> str:
    return f"{float(number.group()):.1f}".removesuffix(".0")
