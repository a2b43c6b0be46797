"""The last selection of metrics, for the page of proposals.

What `select` found in, one artifact out. The one idea is that a refusal is shown as well: that no
set is enough says which metric is missing.
"""

from dataclasses import dataclass
from datetime import datetime

from flywheel.evolution.selection.selecting import Selection
from flywheel.store import Stores
from flywheel.store.ledger import now
from flywheel.store.publications import Published


@dataclass(frozen=True, slots=True)
class PublishedSelection:
    """What was selected and when; `app` is empty where all applications were meant."""

    made_at: datetime
    app: str
    selection: Selection


_PUBLISHED = Published("selection", PublishedSelection)


def publish_selection(stores: Stores, selection: Selection, app: str | None) -> None:
    """Show this selection in the place of the one before."""
    _PUBLISHED.put(stores, PublishedSelection(now(), app or "", selection))


def published_selection(stores: Stores) -> PublishedSelection | None:
    """The last one; None where nobody asked yet, or it was written otherwise.

    Raises NotFound where the artifact is gone.
    """
    return _PUBLISHED.get(stores)
