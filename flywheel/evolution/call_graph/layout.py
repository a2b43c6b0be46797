"""A graph put on a plane: columns by how deep a node is called, the busiest of a column on top.

A `CallGraph` in, boxes and lines out; the one idea is that whatever the graph, circles included, a
column is found in one pass over it, and that what is too rare to be drawn is counted.
"""

from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass

from flywheel.evolution.call_graph.graph import CallGraph, GraphEdge, GraphNode

# Of the drawing, in its own units.
WIDTH, HEIGHT = 208, 46
_COLUMN, _ROW, _EDGE_OF_PAGE = 300, 64, 12
# More is no picture; the table below it has all.
MOST_BOXES, MOST_LINES = 24, 48
MOST_COLUMNS = 6


@dataclass(frozen=True, slots=True)
class Box:
    """A node at its place; `rank` is its place by risk, from 1, and None where it has none."""

    node: GraphNode
    x: int
    y: int
    rank: int | None


@dataclass(frozen=True, slots=True)
class Line:
    """An edge as the path of an SVG; `width` in [1, 5] is by how many traces go along it."""

    edge: GraphEdge
    path: str
    width: float


@dataclass(frozen=True, slots=True)
class Layout:
    """The whole drawing, and how many nodes and edges of the graph are not in it."""

    width: int
    height: int
    boxes: list[Box]
    lines: list[Line]
    n_boxes_left_out: int
    n_lines_left_out: int


def layout_of(graph: CallGraph) -> Layout:
    """Where the busiest nodes of a graph stand, and the edges between them."""
    busiest = sorted(graph.nodes, key=lambda node: (-node.n_runs, -node.n_calls, node.id))
    shown = {node.id: node for node in busiest[:MOST_BOXES]}
    edges = [e for e in graph.edges if e.source in shown and e.target in shown]
    drawn = edges[:MOST_LINES]
    columns = _columns(list(shown), drawn)
    places: dict[str, tuple[int, int]] = {}
    filled: dict[int, int] = defaultdict(int)
    for node_id in shown:
        column = columns[node_id]
        places[node_id] = (
            _EDGE_OF_PAGE + column * _COLUMN,
            _EDGE_OF_PAGE + filled[column] * _ROW,
        )
        filled[column] += 1
    ranks = {node.id: rank for rank, node in enumerate(graph.riskiest, 1)}
    most = max((edge.n_runs for edge in drawn), default=1)
    return Layout(
        width=2 * _EDGE_OF_PAGE + max(filled, default=0) * _COLUMN + WIDTH + 60,
        height=2 * _EDGE_OF_PAGE + max(filled.values(), default=1) * _ROW,
        boxes=[Box(shown[i], *places[i], rank=ranks.get(i)) for i in shown],
        lines=[
            Line(e, _path(places[e.source], places[e.target]), 1 + round(4 * e.n_runs / most, 1))
            for e in drawn
        ],
        n_boxes_left_out=len(graph.nodes) + graph.n_nodes_left_out - len(shown),
        n_lines_left_out=len(graph.edges) + graph.n_edges_left_out - len(drawn),
    )


def _columns(nodes: Sequence[str], edges: Sequence[GraphEdge]) -> dict[str, int]:
    """How many calls lead to a node, at least; 0 where nothing calls it."""
    below = defaultdict(list)
    for edge in edges:
        if edge.relation == "calls" and edge.source != edge.target:
            below[edge.source].append(edge.target)
    called = {target for targets in below.values() for target in targets}
    columns = {node: 0 for node in nodes if node not in called}
    waiting = deque(columns)
    # A circle that nothing leads to begins with its busiest node.
    for start in nodes:
        if start not in columns and not waiting:
            columns[start] = 0
            waiting.append(start)
        while waiting:
            at = waiting.popleft()
            for target in below[at]:
                if target not in columns:
                    columns[target] = min(columns[at] + 1, MOST_COLUMNS - 1)
                    waiting.append(target)
    return columns


def _path(source: tuple[int, int], target: tuple[int, int]) -> str:
    """A curve from one box to another: to the next column, round the side, or back below."""
    (x1, y1), (x2, y2) = source, target
    if source == target:
        x, y = x1 + WIDTH, y1 + HEIGHT // 2
        return f"M{x},{y - 9} C{x + 34},{y - 26} {x + 34},{y + 26} {x},{y + 9}"
    if x1 < x2:
        start, end, bend = x1 + WIDTH, x2, (x2 - x1 - WIDTH) // 2
        a, b = y1 + HEIGHT // 2, y2 + HEIGHT // 2
        return f"M{start},{a} C{start + bend},{a} {end - bend},{b} {end},{b}"
    if x1 == x2:
        x, a, b = x1 + WIDTH, y1 + HEIGHT // 2, y2 + HEIGHT // 2
        out = 30 + min(40, abs(y2 - y1) // 8)
        return f"M{x},{a} C{x + out},{a} {x + out},{b} {x},{b}"
    start, end, a, b = x1, x2 + WIDTH, y1 + HEIGHT - 6, y2 + HEIGHT - 6
    bend = (start - end) // 2
    return f"M{start},{a} C{start - bend},{a + 26} {end + bend},{b + 26} {end},{b}"
