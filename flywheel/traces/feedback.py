"""What somebody outside the review said of a trace: an end user, or another tool's score.

Rows of importers and of the web in, rows of the ledger's `feedback` out. The one idea is the key:
the same words from the same place are one row, however often they arrive, before their trace or
after it.
"""

import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from flywheel.safety import encodable
from flywheel.store.ledger import Ledger, in_utc, now
from flywheel.store.tables import feedback

FeedbackSource = Literal["end_user", "annotator", "llm", "code"]


@dataclass(frozen=True, slots=True)
class FeedbackRow:
    """One thing said of a trace, or of one span of it.

    `correction` is a better answer; `origin` says where the row is from, as a tool, a colon and the
    id that it has there. `app` is None where the row names no application, `given_at` None where it
    has no time. `trace_id` is empty where only the span is known.
    """

    trace_id: str
    span_id: str | None
    name: str
    value: float | None
    label: str | None
    comment: str | None
    correction: str | None
    source: FeedbackSource
    author: str | None
    user_id: str | None
    given_at: datetime | None
    origin: str
    app: str | None = None

    @property
    def key(self) -> str:
        """Hash of the origin and of all that is said."""
        said = json.dumps(asdict(self), sort_keys=True, default=datetime.isoformat)
        return hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()


def keep_feedback(ledger: Ledger, app: str, rows: Iterable[FeedbackRow]) -> int:
    """Add what the ledger does not know yet; how many rows were new.

    `app` is the application of rows that name none.
    """
    moment = now()
    values = [_values(row, app, moment) for row in rows]
    if not values:
        return 0
    with ledger.begin() as connection:
        is_postgres = connection.dialect.name == "postgresql"
        insert = (postgresql if is_postgres else sqlite).insert(feedback)
        added = insert.on_conflict_do_nothing().returning(feedback.c.feedback_id)
        return len(connection.execute(added, values).all())


def feedback_on(ledger: Ledger, trace_id: str, limit: int = 200) -> list[sa.RowMapping]:
    """What was said of a trace, the newest first: rows of `feedback`, their moments in UTC."""
    of_trace = sa.select(feedback).where(feedback.c.trace_id == trace_id)
    newest = of_trace.order_by(feedback.c.given_at.desc(), feedback.c.feedback_id.desc())
    with ledger.read() as connection:
        return list(connection.execute(newest.limit(limit)).mappings())


def _values(row: FeedbackRow, app: str, moment: datetime) -> dict[str, object]:
    values = asdict(row) | {"feedback_key": row.key, "app": row.app or app}
    # Postgres has no NUL, and UTF-8 no half characters.
    values |= {
        name: encodable(value).replace("\0", "\ufffd")
        for name, value in values.items()
        if isinstance(value, str)
    }
    values["tool"] = values.pop("origin").partition(":")[0][:40]
    values["name"] = values["name"][:80]
    if row.value is not None and not math.isfinite(row.value):
        values["value"] = None
    given_at = moment if row.given_at is None else in_utc(row.given_at)
    return values | {"given_at": given_at, "received_at": moment}
