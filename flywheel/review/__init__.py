"""Review: what people say of traces in, decisions that are only ever appended out.

decisions   decide, decline, undo, and what stands
importing   decisions from a file
"""

from flywheel.review.decisions import (
    StandingDecision,
    count_decisions,
    decide,
    decline,
    standing_decisions,
    undo,
)
from flywheel.review.importing import DecisionImport, import_decisions

__all__ = [
    "DecisionImport",
    "StandingDecision",
    "count_decisions",
    "decide",
    "decline",
    "import_decisions",
    "standing_decisions",
    "undo",
]
