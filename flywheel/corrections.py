"""What all the decisions on a trace amount to: labels, better answers, and the side of the split.

The ledger's decisions in, the warehouse's `decisions`, `labels` and `corrections` out; the one idea
is that all three are derived, so that they are made anew each time and an undo leaves no trace.
What a panel of judges settled becomes a label where no person has said anything. What was decided
on from a file is published as documents, so that it can be shown and exported.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import sqlalchemy as sa

from flywheel.store import Stores
from flywheel.store.ledger import Ledger
from flywheel.store.tables import decisions, panel_outcomes
from flywheel.traces.documents import publish_documents

# Rows that are Python objects at once.
PAGE = 10_000

_MIRROR = pa.schema(
    [
        ("decision_id", pa.int64()),
        ("kind", pa.string()),
        ("undoes", pa.int64()),
        ("trace_id", pa.string()),
        ("content_hash", pa.string()),
        ("reviewer", pa.string()),
        ("perceived_error", pa.bool_()),
        ("reason_code", pa.string()),
        ("reason", pa.string()),
        ("evidence_turn", pa.int32()),
        ("rubric_version", pa.string()),
        ("seconds", pa.float64()),
        ("draw_probability", pa.float64()),
        ("is_audit", pa.bool_()),
        ("corrected_turn", pa.int32()),
        ("corrected_text", pa.string()),
        ("corrected_tool_calls", pa.string()),
        ("decided_at", pa.timestamp("us", "UTC")),
    ]
)
_OUTCOMES = pa.schema(
    [
        ("trace_id", pa.string()),
        ("content_hash", pa.string()),
        ("perceived_error", pa.bool_()),
        ("settled_in_round", pa.int32()),
        ("is_audited", pa.bool_()),
        ("rubric_version", pa.string()),
        ("draw_probability", pa.float64()),
        ("settled_at", pa.timestamp("us", "UTC")),
    ]
)


@dataclass(frozen=True, slots=True)
class LabelReport:
    """What the decisions of the ledger amount to.

    `decisions` counts all rows, undone ones too; `disputed` and `without_trace` count the versions
    of traces that have no label because reviewers tie, or because they are not in the warehouse.
    `sensitive` are labels that count in rates alone; `documents` were published now. `panel` are
    labels beside these, which a panel of judges gave and no person.
    """

    decisions: int
    labels: int
    positives: int
    corrections: int
    by_split: dict[str, int]
    disputed: int
    without_trace: int
    adjudicated: int
    sensitive: int
    documents: int
    panel: int


def derive_labels(stores: Stores) -> LabelReport:
    """Bring the decisions into the warehouse, and make labels and corrections of what stands.

    The last decision of each reviewer on each version of a trace counts, and most of them decide,
    unless somebody settled it; a tie is disputed and gives no label. A label stays with the version
    that was decided on: the views `current_labels` and `current_corrections` leave out those of
    versions since replaced.
    """
    mirrored, outcomes = _all_decisions(stores.ledger), _all_outcomes(stores.ledger)
    with stores.warehouse.open() as connection:
        given = connection.given(ledger_decisions=mirrored, ledger_outcomes=outcomes)
        with connection.transaction(), given:
            for what in ("decisions", "panel_outcomes"):
                connection.run(f"corrections/clear_{what}")
                connection.run(f"corrections/mirror_{what}")
            connection.run("corrections/clear_labels")
            connection.run("corrections/derive_labels")
            connection.run("corrections/derive_panel_labels")
            connection.run("corrections/clear_corrections")
            n_corrections = connection.count("corrections/derive_corrections")
        splits = connection.table("corrections/labels_by_split").to_pylist()
        disputed = connection.rows("corrections/disputed_versions")
        without_trace = connection.count("corrections/decisions_without_trace")
        versions = connection.rows("corrections/decided_versions")
    documents = publish_documents(stores, [(str(name), str(version)) for name, version in versions])
    return LabelReport(
        decisions=mirrored.num_rows,
        labels=sum(row["n"] for row in splits),
        positives=sum(row["n_positive"] for row in splits),
        corrections=n_corrections,
        by_split={row["split"]: row["n"] for row in splits if row["n"]},
        disputed=len(disputed),
        without_trace=without_trace,
        adjudicated=sum(row["n_adjudicated"] for row in splits),
        sensitive=sum(row["n_sensitive"] for row in splits),
        documents=documents,
        panel=sum(row["n_panel"] for row in splits),
    )


def check_splits(stores: Stores) -> list[str]:
    """Sessions and users whose labels stand in more than one split; empty where all is well.

    It happens where a session was seen with a user and without, or with two: the split follows the
    user where one is known. Whoever trains or compares raises Leak on any of them.
    """
    with stores.warehouse.open() as connection:
        return [str(row[0]) for row in connection.rows("corrections/sessions_in_two_splits")]


def _all_outcomes(ledger: Ledger) -> pa.Table:
    key = panel_outcomes.c["trace_id", "content_hash"]
    wanted = sa.select(*(panel_outcomes.c[name] for name in _OUTCOMES.names)).order_by(*key)
    with ledger.read() as connection:
        rows = connection.execute(wanted).all()
    values = zip(*rows, strict=True) if rows else ((),) * len(_OUTCOMES)
    return pa.table(
        [pa.array(v, field.type) for v, field in zip(values, _OUTCOMES, strict=True)],
        schema=_OUTCOMES,
    )


def _all_decisions(ledger: Ledger) -> pa.Table:
    pages = list(_pages(ledger))
    return pa.concat_tables([_MIRROR.empty_table(), *pages])


def _pages(ledger: Ledger) -> Iterator[pa.Table]:
    columns = [decisions.c[name] for name in _MIRROR.names]
    seen = 0
    while True:
        page = (
            sa.select(*columns)
            .where(decisions.c.decision_id > seen)
            .order_by(decisions.c.decision_id)
            .limit(PAGE)
        )
        with ledger.read() as connection:
            rows = connection.execute(page).all()
        if not rows:
            return
        seen = rows[-1][0]
        values = zip(*rows, strict=True)
        yield pa.table(
            [pa.array(v, field.type) for v, field in zip(values, _MIRROR, strict=True)],
            schema=_MIRROR,
        )
