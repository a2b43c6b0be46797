"""Verdicts as the ledger keeps them: JSON of all the evidence, and verdicts read back from it.

A verdict and its evidence in, a text out, and a row of `gate_verdicts` in, a verdict out; rows from
before there were suites are read as well.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

from flywheel.gate.evidence import Evidence
from flywheel.gate.rule import GateVerdict
from flywheel.gate.slices import Slice
from flywheel.gate.suites import Suite
from flywheel.records import Interval


def evidence_text(verdict: GateVerdict, evidence: Evidence) -> str:
    """The evidence and the ruling, as JSON with null for what is not a number."""
    ruling = {
        "rule": verdict.rule,
        "labels_needed": verdict.labels_needed,
        "looks": verdict.looks,
        "alpha_spent": verdict.alpha_spent,
    }
    return json.dumps(_plain(asdict(evidence) | ruling))


def verdict_of(row: "sa.Row[tuple[object, ...]]") -> GateVerdict:
    """The verdict of a row of `gate_verdicts`."""
    stored = json.loads(row.evidence)
    return GateVerdict(
        passed=row.passed,
        why=tuple(row.why.split("\n")),
        labels_needed=stored["labels_needed"],
        rule=stored["rule"],
        alpha=row.alpha_spent,
        looks=stored["looks"],
        alpha_spent=stored["alpha_spent"],
        challenger=row.challenger,
        champion=row.champion,
        measure=stored.get("measure", "mcc"),
        suites=tuple(Suite(**suite) for suite in stored.get("suites", ())),
        slices=tuple(slice_of(one) for one in stored.get("slices", ())),
        left_out=stored.get("left_out", {}),
    )


def slice_of(stored: Mapping[str, Any]) -> Slice:
    """A slice of the evidence of a row, whatever version wrote it."""
    # Once there were slices by application alone, with the difference of the MCC.
    difference = stored.get("difference") or stored["mcc_difference"]
    bounds = {name: math.nan if x is None else x for name, x in difference.items()}
    return Slice(
        stored.get("kind", "app"),
        stored.get("name") or stored["app"],
        stored["n"],
        stored["positives"],
        stored["wins"],
        stored["losses"],
        Interval(**bounds),
        stored["harm_p"],
    )


def _plain(value: object) -> object:
    """The value as JSON has it: null for what is not a number."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and math.isnan(value) else value
