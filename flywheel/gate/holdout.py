"""The holdout: labelled traces that no training sees, as both judges read them, and their suites.

Labels of the holdout in, gate items and a verdict out. Both judges read the same traces with their
best tiers, and no few-shot example takes part, so that what is compared is the judges: fitted ones,
or a causal model under the rubric with one adapter and with another.
"""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

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
from flywheel.gate.general import MADE_BY, general_conversations
from flywheel.gate.items import NOT_READ, GateItem, is_thin
from flywheel.gate.looks import decide_gate
from flywheel.gate.readings import AnyJudge, Reading, languages_in, read_both
from flywheel.gate.rule import GateVerdict
from flywheel.gate.suites import CaseList, SuiteCase
from flywheel.judge.cache import Progress
from flywheel.judge.judge import Judge
from flywheel.judge.scoring import no_progress
from flywheel.records import JUDGE_TARGET, LabelledConversation
from flywheel.settings import GateSettings
from flywheel.store import Stores
from flywheel.traces.conversations import InputLevers, read_traces
from flywheel.training.dataset import text_of

TARGET = JUDGE_TARGET


def holdout_of(
    stores: Stores, levers: InputLevers, apps: Sequence[str] = ()
) -> list[LabelledConversation]:
    """The labelled, eligible traces of the holdout; groups are users, or sessions without one."""
    return [row for row, _ in _labelled_holdout(stores, levers, apps)]


def judge_challenger(
    stores: Stores,
    champion: AnyJudge,
    challenger: AnyJudge,
    settings: GateSettings,
    *,
    target: str = TARGET,
    apps: Sequence[str] = (),
    versions: tuple[str, str] | None = None,
    general: Path | None = None,
    progress: Progress = no_progress,
) -> tuple[GateVerdict, list[GateItem]]:
    """Let both judges read the holdout and the suites, and decide; the items are those compared.

    `apps` are those that the target is of, none for all. `versions` are the names of champion and
    challenger in the registry, where they are not the judges' own. `general` is a file of labelled
    conversations, None for the bundled sample. Raises Leak where the challenger has learnt from a
    session of the holdout, and NotEnough where a model could not be asked.
    """
    names = versions or (champion.version, challenger.version)
    old, new = (learnt_by(stores, name) for name in names)
    pairs = _labelled_holdout(stores, champion.levers, apps)
    held = [_held_out(row, label) for row, label in pairs]
    require_apart(new, held)
    known = known_items(held, old, new)
    compared = [(r, label) for r, label in pairs if r.conversation.trace_id not in known]
    readings = read_both(stores, champion, challenger, [row for row, _ in compared], progress)
    items, notes = _items(compared, readings)
    suites: tuple[CaseList, ...] = ()
    if is_thin(items, settings):
        notes = (*notes, NOT_READ)
    else:
        at_large = general_conversations(general, champion.levers)
        fixed = _fixed(stores, champion.levers, old, names[0], apps)
        suites = _suites(stores, (champion, challenger), (old, new), fixed, at_large, progress)
        suites += () if isinstance(challenger, Judge) else (_malformed(readings),)
    left_out = {KNOWN: len(known)} if known else {}
    material = GateMaterial(items, suites, left_out=left_out, notes=notes)
    verdict = decide_gate(stores, target, names[1], names[0], material, settings)
    return verdict, items


_REGRESSION = (
    "A label that a champion learns from makes a case, where a judge before it was wrong about the "
    "trace; this champion has none."
)
_MALFORMED = "Each trace of the holdout makes a case."


def _suites(
    stores: Stores,
    judges: tuple[AnyJudge, AnyJudge],
    learnt: tuple[Learnt, Learnt],
    fixed: Sequence[LabelledConversation],
    at_large: Sequence[LabelledConversation],
    progress: Progress,
) -> tuple[CaseList, ...]:
    """What was put right, and of what is general that which neither side has learnt."""
    named = [HeldOut(r.conversation.trace_id, (), (), text_of(r.conversation)) for r in at_large]
    known = known_items(named, *learnt)
    unknown = [row for row in at_large if row.conversation.trace_id not in known]
    found = read_both(stores, *judges, [*fixed, *unknown], progress)
    return (
        _suite("regression", found[: len(fixed)], _REGRESSION, is_closed=True),
        _suite("general", found[len(fixed) :], MADE_BY, left_out=len(at_large) - len(unknown)),
    )


def _items(
    compared: Sequence[tuple[LabelledConversation, dict[str, object]]], readings: Sequence[Reading]
) -> tuple[list[GateItem], tuple[str, ...]]:
    conversations = [row.conversation for row, _ in compared]
    languages, notes = languages_in(conversations)
    items = [
        GateItem(
            row.conversation.trace_id,
            row.group,
            row.conversation.app,
            row.perceived_error,
            reading.champion,
            reading.challenger,
            bool(label["is_audit"]),
            None if label["draw_probability"] is None else float(str(label["draw_probability"])),
            None if label["reason_code"] is None else str(label["reason_code"]),
            language,
            len(text_of(row.conversation)),
        )
        for (row, label), reading, language in zip(compared, readings, languages, strict=True)
    ]
    return items, notes


def _suite(
    name: str,
    readings: Sequence[Reading],
    made_by: str,
    is_closed: bool = False,
    left_out: int = 0,
) -> CaseList:
    cases = tuple(
        SuiteCase(
            reading.row.conversation.trace_id,
            reading.row.group,
            *(p is not None and (p >= 0.5) == reading.row.perceived_error for p in reading.both),
        )
        for reading in readings
    )
    return CaseList(name, cases, made_by, is_closed, left_out)


def _malformed(readings: Sequence[Reading]) -> CaseList:
    """Replies that could be read, on the holdout."""
    cases = tuple(
        SuiteCase(
            reading.row.conversation.trace_id,
            reading.row.group,
            *(p is not None for p in reading.both),
        )
        for reading in readings
    )
    return CaseList("malformed", cases, _MALFORMED)


def _fixed(
    stores: Stores, levers: InputLevers, champion: Learnt, name: str, apps: Sequence[str]
) -> list[LabelledConversation]:
    """What another judge had got wrong and the champion has learnt from."""
    learnt = pa.table({"decision_id": pa.array(sorted(champion.decisions), pa.int64())})
    with stores.warehouse.read() as connection, connection.given(learnt=learnt):
        rows = connection.table("gate/fixed_traces", champion=name, apps=list(apps)).to_pylist()
        found = read_traces(connection, [row["trace_id"] for row in rows], levers)
    conversations = {c.trace_id: c for c in found if c.is_eligible}
    return [
        LabelledConversation(
            conversations[row["trace_id"]],
            row["perceived_error"],
            row["user_id"] or row["session_id"],
        )
        for row in rows
        if row["trace_id"] in conversations
    ]


def _held_out(row: LabelledConversation, label: dict[str, object]) -> HeldOut:
    owners = owners_of(label["session_id"], label["user_id"])
    decisions = label["decision_ids"]
    ids = tuple(decisions) if isinstance(decisions, list) else ()
    return HeldOut(row.conversation.trace_id, owners, ids, text_of(row.conversation))


def _labelled_holdout(
    stores: Stores, levers: InputLevers, apps: Sequence[str]
) -> list[tuple[LabelledConversation, dict[str, object]]]:
    with stores.warehouse.read() as connection:
        labels = connection.table("gate/holdout_labels", apps=list(apps)).to_pylist()
        found = read_traces(connection, [row["trace_id"] for row in labels], levers)
    conversations = {c.trace_id: c for c in found if c.is_eligible}
    return [
        (
            LabelledConversation(
                conversations[label["trace_id"]],
                label["perceived_error"],
                label["user_id"] or label["session_id"],
            ),
            label,
        )
        for label in labels
        if label["trace_id"] in conversations
    ]
