"""Review: what people decide, which no run can make."""

import dagster as dg

from dagster_defs.defs.queue import review_queue

reviews = dg.AssetSpec(
    "reviews",
    deps=[review_queue],
    group_name="review",
    kinds={"sqlite"},
    description="""What people said of the traces in the queue; made by them, not by a run.

    Decisions come from the web page or by `flywheel review import`, and are kept in the ledger for
    ever. The sensor `learn_after_decisions` reports how many they are.""",
)
