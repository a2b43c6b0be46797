"""The page of the graph: drawn from what was published, whatever the steps are called."""

import re
from xml.etree import ElementTree

import pytest

from flywheel.evolution.call_graph.graph import graph_of
from flywheel.evolution.call_graph.layout import MOST_BOXES, layout_of
from flywheel.evolution.call_graph.publishing import make_graphs
from flywheel.evolution.call_graph.runs import Run
from flywheel.store import Project
from flywheel.traces.steps import NodeKey, Step
from flywheel.web.app import create_app
from tests.judged import DAY
from tests.signed_in import add_person, client_of
from tests.spanned import call, import_spans
from tests.spanned import step as span

HOSTILE = '<script>alert(1)</script>"\u202e'


def shown(project: Project, path: str = "/graph") -> tuple[int, str]:
    add_person(project, "ada", "engineer")
    answer = client_of(create_app(project), "ada").get(path)
    return answer.status_code, answer.text


def test_before_the_first_count_the_page_says_what_to_do(project: Project) -> None:
    status, html = shown(project)
    assert status == 200
    assert "flywheel evolution graph" in html


def test_names_of_strangers_are_text_and_the_drawing_is_one(project: Project) -> None:
    spans = [
        span(0, None, name=HOSTILE, openinference__span__kind="AGENT"),
        call(1, 0, name="chat"),
        span(2, 1, name="search", error="no such city"),
    ]
    import_spans(project, project.folder, spans)
    make_graphs(project.stores, project.settings.evolution)
    _, html = shown(project)
    assert "<script>alert" not in html
    assert "\u202e" not in html
    assert "&lt;script&gt;alert(1)" in html
    drawing = re.search(r"<svg class=\"tree calls\".*?</svg>", html, re.DOTALL)
    assert drawing is not None
    root = ElementTree.fromstring(drawing[0])
    assert len(root.findall("g/rect")) == 3
    assert len(root.findall("g/path")) == 2


def test_an_application_without_a_graph_is_not_found(project: Project) -> None:
    status, html = shown(project, "/graph?app=nobody")
    assert status == 404
    assert "graph of the application" in html


@pytest.mark.parametrize("n", [1, 3, 70])
def test_a_circle_of_calls_is_drawn_whatever_its_length(n: int) -> None:
    nodes = [NodeKey("chain", "".join(chr(97 + int(d)) for d in str(i))) for i in range(n)]
    steps = [Step(node, i - 1 if i else None) for i, node in enumerate([*nodes, nodes[0]])]
    graph = graph_of("shop", [Run("shop", "t", "t", tuple(steps))], DAY, DAY)
    layout = layout_of(graph)
    assert len(layout.boxes) == min(n, MOST_BOXES)
    assert layout.n_boxes_left_out == max(0, n - MOST_BOXES)
    places = {(box.x, box.y) for box in layout.boxes}
    assert len(places) == len(layout.boxes)
    assert all(0 <= box.x < layout.width and 0 <= box.y < layout.height for box in layout.boxes)
