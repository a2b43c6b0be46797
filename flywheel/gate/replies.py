"""The gate of an application's model: its replies to held-out corrections, before and after.

Labelled traces in, gate items and a verdict out. The items are the corrections of the holdout: the
two models are asked what the failure was the answer to. The suites are the corrections that the
champion has learnt (`regression`), the replies that nobody minded (`general`, against forgetting),
and the form of every reply to the holdout (`malformed`).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flywheel.gate.answering import (
    Answered,
    Contender,
    ReplyCase,
    ReplyHost,
    answer_all,
    outcome,
)
from flywheel.gate.contamination import (
    KNOWN,
    HeldOut,
    Learnt,
    known_items,
    learnt_by,
    owners_of,
    require_apart,
)
from flywheel.gate.evidence import GateMaterial
from flywheel.gate.items import NOT_READ, GateItem, is_thin
from flywheel.gate.looks import decide_gate
from flywheel.gate.readings import languages_of_texts
from flywheel.gate.rule import GateVerdict
from flywheel.gate.suites import CaseList, SuiteCase
from flywheel.records import Split
from flywheel.settings import GateSettings
from flywheel.store import Stores
from flywheel.training.examples.replies import DecidedTrace, decided_traces, reply_examples

_LEARNT: tuple[Split, ...] = ("train", "validation", "calibration")
_REGRESSION = "A correction that a champion learns from makes a case; this champion has none."
_GENERAL = "A trace of the holdout that people decided is no error makes a case."
_MALFORMED = "Each reply to a trace of the holdout makes a case."


@dataclass(frozen=True, slots=True)
class _Compared:
    """A case that both models answered."""

    case: ReplyCase
    old: Answered
    new: Answered
    both: tuple[bool, bool] | None


def reply_challenger(
    stores: Stores,
    host: ReplyHost,
    champion: Contender,
    challenger: Contender,
    settings: GateSettings,
    *,
    target: str,
    apps: Sequence[str] = (),
    max_tokens: int = 256,
) -> tuple[GateVerdict, list[GateItem]]:
    """Let both models answer what was corrected, and decide; the items are those compared.

    `host` runs the base that both are adapters of. Raises Leak where the challenger has learnt from
    a session of the holdout.
    """
    old, new = learnt_by(stores, champion.version), learnt_by(stores, challenger.version)
    with stores.warehouse.read() as connection:
        rows = connection.table("gate/holdout_labels", apps=list(apps)).to_pylist()
        labels = {str(row["trace_id"]): row for row in rows}
        traces = decided_traces(connection, ("holdout",), apps)
        learnt = decided_traces(connection, _LEARNT, apps) if old.decisions else []
    held = [_held_out(trace, labels[trace.trace_id]) for trace in traces]
    require_apart(new, held)
    known = known_items(held, old, new)
    kept = [trace for trace in traces if trace.trace_id not in known]
    cases, _ = _cases(kept)
    mended = [case for case in cases if not case.is_old]
    both = host, (champion, challenger)
    found, too_long = _compare(*both, mended, max_tokens, settings.margin)
    compared = [one for one in found if one]
    items, notes = _items([one for one in compared if one.both], kept, labels)
    suites: tuple[CaseList, ...] = ()
    if is_thin(items, settings):
        notes = (*notes, NOT_READ)
    else:
        accepted = [case for case in cases if case.is_old]
        old_replies, _ = _compare(*both, accepted, max_tokens, settings.margin)
        again, _ = _compare(*both, _fixed(learnt, old), max_tokens, settings.margin)
        suites = (
            _suite("regression", again, _REGRESSION, is_closed=True),
            _suite("general", old_replies, _GENERAL),
            _well_formed([*found, *old_replies]),
        )
    left_out = {
        KNOWN: len(known),
        "longer than the model's memory": too_long,
        "no failure to compare with, and nothing to check": len(compared) - len(items),
    }
    counted = {why: n for why, n in left_out.items() if n}
    material = GateMaterial(items, suites, "success", counted, notes)
    verdict = decide_gate(stores, target, challenger.version, champion.version, material, settings)
    return verdict, items


def _cases(traces: Sequence[DecidedTrace]) -> tuple[list[ReplyCase], dict[str, int]]:
    """A case for each correction and each accepted reply of these traces."""
    examples, left_out = reply_examples(traces)
    failures = {e.pair_id: e for e in examples if e.source == "failed" and e.pair_id}
    return [
        ReplyCase(e, failures.get(e.pair_id) if e.pair_id else None, e.source == "accepted")
        for e in examples
        if e.source in ("correction", "accepted")
    ], left_out


def _fixed(traces: Sequence[DecidedTrace], champion: Learnt) -> list[ReplyCase]:
    """Corrections of failures that the champion has learnt from."""
    learnt = [t for t in traces if champion.decisions.intersection(t.decision_ids)]
    return [case for case in _cases(learnt)[0] if case.failure is not None]


def _compare(
    host: ReplyHost,
    contenders: tuple[Contender, Contender],
    cases: Sequence[ReplyCase],
    max_tokens: int,
    margin: float,
) -> tuple[list[_Compared | None], int]:
    """Each case as both answered it, None where it is too long; and how many are."""
    answers = [answer_all(host, contender, cases, max_tokens) for contender in contenders]
    found = [
        _Compared(case, old, new, outcome(case, old, new, margin)) if old and new else None
        for case, old, new in zip(cases, *answers, strict=True)
    ]
    return found, sum(one is None for one in found)


def _items(
    compared: Sequence[_Compared], traces: Sequence[DecidedTrace], labels: dict[str, Any]
) -> tuple[list[GateItem], tuple[str, ...]]:
    of_trace = {trace.trace_id: trace for trace in traces}
    asked = [
        "\n".join(str(m.get("content") or "") for m in one.case.asked if m.get("role") == "user")
        for one in compared
    ]
    languages, notes = languages_of_texts(asked)
    items = []
    for one, language in zip(compared, languages, strict=True):
        trace, label = of_trace[one.case.good.trace_id], labels[one.case.good.trace_id]
        old, new = one.both or (False, False)
        items.append(
            GateItem(
                trace.trace_id,
                trace.group,
                trace.app,
                True,
                float(old),
                float(new),
                bool(label["is_audit"]),
                label["draw_probability"],
                trace.reason_code,
                language,
                len(trace.text),
            )
        )
    return items, notes


def _suite(
    name: str, compared: Sequence[_Compared | None], made_by: str, is_closed: bool = False
) -> CaseList:
    cases = tuple(
        SuiteCase(one.case.good.example_id, one.case.good.group, *one.both)
        for one in compared
        if one and one.both
    )
    return CaseList(name, cases, made_by, is_closed)


def _well_formed(compared: Sequence[_Compared | None]) -> CaseList:
    """Replies whose actions can be carried out."""
    there = [one for one in compared if one]
    faults = Counter(one.new.fault for one in there if one.new.fault)
    said = f" Most often: {faults.most_common(1)[0][0]}." if faults else ""
    cases = tuple(
        SuiteCase(
            one.case.good.example_id, one.case.good.group, not one.old.fault, not one.new.fault
        )
        for one in there
    )
    return CaseList("malformed", cases, _MALFORMED + said)


def _held_out(trace: DecidedTrace, label: dict[str, Any]) -> HeldOut:
    owners = owners_of(label["session_id"], label["user_id"])
    return HeldOut(trace.trace_id, owners, tuple(label["decision_ids"]), trace.text)
