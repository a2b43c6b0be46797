"""New failure modes and the week's digest, as alerts.

Rows of `failure_modes` and what was published in, findings of rules out. The one idea is that all
that one look found is told at once, and that what is older than a week is no news.
"""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import groupby

import sqlalchemy as sa

from flywheel.safety import quote
from flywheel.store import Stores
from flywheel.store.ledger import Ledger, in_utc
from flywheel.store.publications import read_published
from flywheel.store.tables import failure_modes

NEWS_FOR = timedelta(days=7)
# Where the week's digest is published: JSON with `week` and, in sentences, `summary`.
DIGEST = "digest"
_NAMED = 5

Found = Iterator[tuple[str, float, str]]


def new_modes(ledger: Ledger, at: datetime, limit: float = 0.0) -> Found:
    """What each look of the last week found anew, of more conversations than `limit`.

    Its subject, how many modes, and a sentence that names them.
    """
    new = (
        sa.select(*failure_modes.c["mode_id", "name", "n_traces", "found_at"])
        .where(failure_modes.c.found_at > at - NEWS_FOR, failure_modes.c.n_traces > limit)
        .order_by(failure_modes.c.found_at, failure_modes.c.n_traces.desc())
        .order_by(failure_modes.c.mode_id)
    )
    with ledger.read() as connection:
        rows = connection.execute(new).all()
    for found_at, group in groupby(rows, key=lambda row: in_utc(row.found_at)):
        modes = list(group)
        named = [f"{quote(mode.name, 80)} ({mode.n_traces})" for mode in modes[:_NAMED]]
        more = f" and {len(modes) - _NAMED} more" if len(modes) > _NAMED else ""
        what = "a new failure mode" if len(modes) == 1 else f"{len(modes)} new failure modes"
        yield (
            f"modes of {found_at:%Y-%m-%dT%H:%M:%S}",
            float(len(modes)),
            f"{what}, with the conversations of each: {', '.join(named)}{more}; the page "
            "/failures shows them",
        )


def new_digest(stores: Stores) -> Found:
    """The digest that was published last: its week, 1, and what it says in sentences."""
    content = read_published(stores, DIGEST)
    if content is not None:
        published = json.loads(content)
        yield f"week {published['week']}", 1.0, str(published["summary"])
