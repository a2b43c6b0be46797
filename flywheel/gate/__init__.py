"""The gate: whether a challenger may take the champion's place, and what would settle it.

Holdout items with what people said and what both sides made of them in, a stored verdict with its
evidence out; the one idea is that a challenger wins by a paired test named before the look, harms
nobody meanwhile, and that too little evidence refuses. A refusal is a result.

items          one held-out item, weights, and who is ahead
suites         cases on which nothing may be lost, and what thin means
slices         applications, reason codes, languages, lengths
evidence       counts, paired tests, cards, slices and suites of a look
rule           the test, and the verdict in sentences
stored, looks  verdicts stored, and alpha spent
contamination  what either side has learnt, and that none of it is in the holdout
general        labelled conversations against forgetting
holdout        two judges on the holdout and the suites
replies        two models of an application on held-out corrections
curves         precision against recall, as a picture
"""

from flywheel.gate.curves import picture
from flywheel.gate.evidence import Evidence, GateMaterial, Measure, weigh_evidence
from flywheel.gate.items import GateItem
from flywheel.gate.looks import alpha_of_look, decide_gate, verdicts_of
from flywheel.gate.rule import GateVerdict, Rule, decide
from flywheel.gate.slices import Slice
from flywheel.gate.suites import CaseList, Suite, SuiteCase

__all__ = [
    "CaseList",
    "Evidence",
    "GateItem",
    "GateMaterial",
    "GateVerdict",
    "Measure",
    "Rule",
    "Slice",
    "Suite",
    "SuiteCase",
    "alpha_of_look",
    "decide",
    "decide_gate",
    "picture",
    "verdicts_of",
    "weigh_evidence",
]
