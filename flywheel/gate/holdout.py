"""The holdout: labelled traces that no training sees, as both judges read them.

Labels of the holdout in, gate items and a verdict out. Both judges read the same traces with their
best tiers, and no few-shot example takes part, so that what is compared is the judges.
"""

from flywheel.gate.evidence import GateItem
from flywheel.gate.looks import decide_gate
from flywheel.gate.rule import GateVerdict
from flywheel.judge.evaluation import probabilities
from flywheel.judge.judge import Judge
from flywheel.records import LabelledConversation
from flywheel.settings import GateSettings
from flywheel.store import Stores
from flywheel.traces.conversations import InputLevers, read_traces

TARGET = "judge"


def holdout_of(stores: Stores, levers: InputLevers) -> list[LabelledConversation]:
    """The labelled, eligible traces of the holdout; groups are users, or sessions without one."""
    return [row for row, _ in _labelled_holdout(stores, levers)]


def judge_challenger(
    stores: Stores, champion: Judge, challenger: Judge, settings: GateSettings
) -> tuple[GateVerdict, list[GateItem]]:
    """Let both judges read the holdout, and decide; the items are those that were compared."""
    pairs = _labelled_holdout(stores, champion.levers)
    labelled = [row for row, _ in pairs]
    before = probabilities(champion, champion.best, labelled)
    after = probabilities(challenger, challenger.best, labelled)
    items = [
        GateItem(
            row.conversation.trace_id,
            row.group,
            row.conversation.app,
            row.perceived_error,
            float(before[i]),
            float(after[i]),
            bool(label["is_audit"]),
            None if label["draw_probability"] is None else float(str(label["draw_probability"])),
        )
        for i, (row, label) in enumerate(pairs)
    ]
    verdict = decide_gate(stores, TARGET, challenger.version, champion.version, items, settings)
    return verdict, items


def _labelled_holdout(
    stores: Stores, levers: InputLevers
) -> list[tuple[LabelledConversation, dict[str, object]]]:
    with stores.warehouse.open() as connection:
        labels = connection.table("gate/holdout_labels").to_pylist()
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
