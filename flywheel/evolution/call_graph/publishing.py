"""Graphs made by the pipeline and read by the page: one artifact with all applications.

The warehouse in, one artifact out; the one idea is that the page opens no warehouse.
"""

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from itertools import islice
from typing import cast

from flywheel.evolution.call_graph.attribution import fit_attributor
from flywheel.evolution.call_graph.graph import CallGraph, graph_of
from flywheel.evolution.call_graph.origin import MOST_MARKED, Origin, OriginTally
from flywheel.evolution.call_graph.runs import read_runs
from flywheel.settings.evolving import EvolutionSettings
from flywheel.store import Stores
from flywheel.store.ledger import now
from flywheel.store.publications import Published

# Applications with a graph of their own: those with the most traces.
MOST_APPS = 40


@dataclass(frozen=True, slots=True)
class PublishedGraphs:
    """The graphs of all applications, those with the most traces first.

    `origins` says of some failed traces, by application, where the error starts in each.
    """

    made_at: datetime
    graphs: list[CallGraph] = field(default_factory=list)
    n_apps_left_out: int = 0
    origins: dict[str, list[Origin]] = field(default_factory=dict)

    def of(self, app: str) -> CallGraph | None:
        """An application's graph; the first without a name."""
        return next((g for g in self.graphs if not app or g.app == app), None)


_PUBLISHED = Published("call_graph", PublishedGraphs)


def make_graphs(stores: Stores, settings: EvolutionSettings) -> PublishedGraphs:
    """Count the calls of the last days of each application, and publish them for the page.

    The days end with the newest one that has traces.
    """
    with stores.warehouse.read() as connection:
        apps = connection.rows("evolution/graph_apps", days=settings.graph_days)
    graphs, origins = [], {}
    for app, newest, _ in apps[:MOST_APPS]:
        last = cast("date", newest)
        first = last - timedelta(days=settings.graph_days - 1)
        asked = (stores, first, last, settings.graph_traces, str(app))
        marked = list(islice(read_runs(*asked, only_marked=True), MOST_MARKED))
        attributor = fit_attributor(marked)
        probes = _probes(stores, first, last, str(app))
        begun = OriginTally(attributor)
        runs = begun.watch(read_runs(*asked))
        graphs.append(graph_of(str(app), runs, first, last, attributor, probes))
        origins[str(app)] = begun.surest()
    made = PublishedGraphs(now(), graphs, max(0, len(apps) - MOST_APPS), origins)
    return _PUBLISHED.put(stores, made)


def _probes(stores: Stores, first: date, last: date, app: str) -> dict[str, tuple[float, bool]]:
    """The chance and the verdict of each probe that was answered, by trace."""
    with stores.warehouse.read() as connection:
        rows = connection.table("evolution/probed", first_day=first, last_day=last, app=app)
    chances = rows["inclusion_probability"].to_pylist()
    pairs = zip(chances, rows["failed"].to_pylist(), strict=True)
    return dict(zip(rows["trace_id"].to_pylist(), pairs, strict=True))


def published_graphs(stores: Stores) -> PublishedGraphs | None:
    """What was last published; None where nothing was, or by a version that wrote it otherwise.

    Raises NotFound where the artifact is gone.
    """
    return _PUBLISHED.get(stores)
