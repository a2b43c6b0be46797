"""What became of the conversations that were answered with examples.

Rows of `served_examples` and the judge's verdicts in, two rates an application out. The one idea is
to say no more than is known: nobody drew lots who is shown examples, so that a difference may be
one between easy and hard requests, and the report says so.
"""

from dataclasses import dataclass

import pyarrow as pa
import sqlalchemy as sa

from flywheel.records import Interval
from flywheel.statistics import wilson
from flywheel.store import Stores
from flywheel.store.tables import served_examples

CAVEAT = (
    "No lots were drawn: requests like a known mistake are shown examples, and others are not. A "
    "difference between the two rates is no effect by itself."
)


@dataclass(frozen=True, slots=True)
class ServedEffect:
    """Verdicts on traces of one application; the interval is Wilson's, None where none is judged.

    `is_served` says whether they were answered with examples, the others being of the same days.
    """

    app: str
    is_served: bool
    judged: int
    errors: int
    error_rate: Interval | None


@dataclass(frozen=True, slots=True)
class EffectReport:
    """What was served, and the verdicts that are known of it.

    `with_trace` counts those requests of which the application said for which trace they were.
    """

    requests: int
    with_trace: int
    examples: int
    rates: list[ServedEffect]
    caveat: str = CAVEAT


def served_effect(stores: Stores, correction_id: str | None = None) -> EffectReport:
    """How traces were judged that were answered with examples, or with one of them."""
    t = served_examples.c
    this = [] if correction_id is None else [t.correction_id == correction_id]
    n = sa.func.count
    counts = sa.select(
        n(t.request_id.distinct()).label("requests"),
        n(t.request_id.distinct()).filter(t.trace_id.is_not(None)).label("with_trace"),
        n().label("examples"),
    ).where(*this)
    traces = sa.select(t.trace_id).where(t.trace_id.is_not(None), *this).distinct()
    with stores.ledger.read() as connection:
        counted = connection.execute(counts).mappings().one()
        served = list(connection.scalars(traces))
    table = pa.table({"trace_id": pa.array(served, pa.string())})
    with stores.warehouse.read() as warehouse, warehouse.given(served=table):
        rows = warehouse.table("retrieval/served_effect").to_pylist()
    rates = [
        ServedEffect(
            row["app"],
            row["is_served"],
            row["n_judged"],
            row["n_errors"],
            wilson(row["n_errors"], row["n_judged"]) if row["n_judged"] else None,
        )
        for row in rows
    ]
    return EffectReport(**counted, rates=rates)
