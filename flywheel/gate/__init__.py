"""The gate: whether a challenger may take the champion's place, and what would settle it.

Holdout items with what people said and what both judges said in, a stored verdict with its evidence
out; the one idea is that a challenger wins by a paired test named before the look, and that too
little evidence refuses. A refusal is a result.

evidence    counts, paired tests, cards and apps of the two judges
rule        the test, and the verdict in sentences
looks       verdicts stored, and alpha spent
curves      precision against recall, as a picture
"""

from flywheel.gate.curves import picture
from flywheel.gate.evidence import Evidence, GateItem, Slice, weigh_evidence
from flywheel.gate.looks import alpha_of_look, decide_gate, verdicts_of
from flywheel.gate.rule import GateVerdict, Rule, decide

__all__ = [
    "Evidence",
    "GateItem",
    "GateVerdict",
    "Rule",
    "Slice",
    "alpha_of_look",
    "decide",
    "decide_gate",
    "picture",
    "verdicts_of",
    "weigh_evidence",
]
