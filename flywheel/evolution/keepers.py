"""Who carries out a proposal of which kind.

A kind in, its `Keeper` out; one table to read.
"""

from flywheel.errors import NotFound
from flywheel.evolution.cases.keeping import CaseKeeper
from flywheel.evolution.formats.keeping import FormatKeeper
from flywheel.evolution.functions.keeping import FunctionKeeper
from flywheel.evolution.metric_set.keeping import MetricKeeper
from flywheel.evolution.proposals import Keeper, Kind

KEEPERS: dict[Kind, Keeper] = {
    "metric": MetricKeeper(),
    "function": FunctionKeeper(),
    "case": CaseKeeper(),
    "format": FormatKeeper(),
}


def keeper_of(kind: Kind) -> Keeper:
    """The keeper of a kind; raises NotFound where none carries it out."""
    if kind not in KEEPERS:
        raise NotFound("keeper of proposals of the kind", kind, list(KEEPERS))
    return KEEPERS[kind]
