"""The sample: a day's eligible traces in, those that are worth an expensive judge out.

The one idea is that a hash of the trace id decides, against a probability that is written beside
the trace: the same trace is drawn again tomorrow, a lower rate draws a part of what a higher one
draws, and an estimate can weigh each trace by what its draw was worth.
"""

from datetime import date

from flywheel.records import PartitionReport
from flywheel.store import Stores
from flywheel.store.snapshots import write_partition


def sample_day(stores: Stores, day: date, rate: float, min_per_stratum: int) -> PartitionReport:
    """Draw the day's sample: `rate` of each application, and some `min_per_stratum` at least.

    A trace is drawn with the probability min(1, max(rate, min_per_stratum / n)), n the eligible
    traces of its application on that day. Running it again replaces the day's sample.
    """
    with stores.warehouse.read() as connection:
        (counts,) = connection.run("traces/counts_of_day", day=day).fetchall()
        drawn = connection.table(
            "traces/sample_of_day", day=day, rate=rate, min_per_stratum=min_per_stratum
        )
    n_traces, n_eligible = counts[0], counts[1]
    write_partition(stores, {"samples": ({"day": day}, drawn)})
    skipped = {
        "not eligible": n_traces - n_eligible,
        "not drawn": n_eligible - drawn.num_rows,
    }
    return PartitionReport(
        day=day,
        attempted=n_traces,
        done=drawn.num_rows,
        skipped={why: n for why, n in skipped.items() if n},
        failed={},
    )
