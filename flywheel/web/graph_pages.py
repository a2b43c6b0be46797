"""The graph of calls: what calls what, where errors start, and the nodes to look at first.

What the pipeline published in, a page out. The one idea is that the drawing says nothing that the
tables below it do not, and that names, which strangers choose, reach it as text alone.
"""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response

from flywheel.errors import NotFound
from flywheel.evolution.call_graph.layout import HEIGHT, WIDTH, layout_of
from flywheel.evolution.call_graph.publishing import published_graphs
from flywheel.quality.figures import name_of, share
from flywheel.web.access import Actor, may
from flywheel.web.context import web_of
from flywheel.web.pages import page
from flywheel.web.traces_view import trace_href

router = APIRouter()

Manager = Annotated[Actor, Depends(may("manage"))]


@router.get("/graph")
def show_graph(
    request: Request, actor: Manager, app: Annotated[str, Query(max_length=500)] = ""
) -> Response:
    """One application's graph, its nodes by risk, and how errors grow along its walks."""
    published = published_graphs(web_of(request).stores)
    graphs = published.graphs if published else []
    graph = published.of(app) if published else None
    if app and graph is None:
        raise NotFound("graph of the application", app, [g.app for g in graphs])
    return page(
        request,
        actor,
        "graph.html",
        published=published,
        graph=graph,
        origins=published.origins.get(graph.app, []) if published and graph else [],
        trace_href=trace_href,
        layout=layout_of(graph) if graph else None,
        box=(WIDTH, HEIGHT),
        share=share,
        name_of=name_of,
    )
