"""What can be wrong with the traces as they stand in the warehouse: all days, at a glance.

Rows of `traces` in, counts and names out; nothing is mended here.
"""

from flywheel.store import Stores
from flywheel.traces.importing import TraceCounts


def count_all_traces(stores: Stores) -> TraceCounts:
    """What all days hold together; `rejected` counts the bad lines of all files."""
    with stores.warehouse.read() as connection:
        (row,) = connection.run("traces/counts_of_all").fetchall()
    return TraceCounts(*row)


def doubled_traces(stores: Stores) -> list[str]:
    """Traces of which two versions are marked as the current one; empty where all is well."""
    with stores.warehouse.read() as connection:
        return [str(row[0]) for row in connection.rows("traces/doubled_traces")]
