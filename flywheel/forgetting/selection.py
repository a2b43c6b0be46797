"""What belongs to somebody who must go: their traces, and what was made of them.

Stores and tombstones in, a `Selection` out. Names are in clear here, in memory, and nowhere else.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import pyarrow as pa
import sqlalchemy as sa

from flywheel.store import Project, Stores
from flywheel.store.tables import (
    decisions,
    experiments,
    exposures,
    feedback,
    metadata,
    served_examples,
)
from flywheel.store.warehouse import Connection
from flywheel.traces.conversations import InputLevers, read_traces
from flywheel.traces.forgotten import Known

# Conversations that are read at once, for the names of what judges said of them.
_READ_AT_ONCE = 2_000


@dataclass(frozen=True, slots=True)
class Owner:
    """A trace as the warehouse has it, with whom it belongs to."""

    trace_id: str
    app: str
    session_id: str
    user_id: str | None


@dataclass(slots=True)
class Selection:
    """What must go; `examples` are ids of decisions, `texts` hashes of what judges read."""

    traces: set[str] = field(default_factory=set)
    users: set[str] = field(default_factory=set)
    sessions: set[str] = field(default_factory=set)
    examples: set[str] = field(default_factory=set)
    texts: set[str] = field(default_factory=set)

    @property
    def names(self) -> set[str]:
        """All ids in clear."""
        return self.traces | self.users | self.sessions

    def __bool__(self) -> bool:
        return bool(self.traces or self.users)


@dataclass(frozen=True, slots=True)
class Aged:
    """Traces that have grown too old, as who must go."""

    traces: frozenset[str]

    def is_gone(self, kind: str, name: str, apps: Iterable[str] = ()) -> bool:
        """See `Known`."""
        return kind == "trace" and name in self.traces


def owners(connection: Connection) -> list[Owner]:
    """Whom each trace of the warehouse belongs to; a trace with two users stands twice."""
    return [Owner(*row) for row in connection.rows("forgetting/owners")]  # type: ignore[arg-type]


def select_gone(project: Project, known: Known) -> Selection:
    """Everything that `known` says must go, wherever it is named."""
    stores, found = project.stores, Selection()
    with stores.warehouse.read() as connection:
        for owner in owners(connection):
            _look_at(owner, known, found)
        others = connection.rows("forgetting/trace_ids")
        found.traces |= {str(i) for (i,) in others if known.is_gone("trace", str(i), frozenset())}
    _select_in_ledger(stores, known, found)
    if found:
        with stores.warehouse.read() as connection, connection.given(gone=table_of(found.traces)):
            made = connection.rows("forgetting/examples")
        found.examples |= {str(i) for (i,) in made}
        found.texts = _names_of_texts(project, found.traces)
    return found


def _look_at(owner: Owner, known: Known, found: Selection) -> None:
    apps = frozenset({owner.app})
    is_users = bool(owner.user_id) and known.is_gone("user", str(owner.user_id), apps)
    is_theirs = known.is_gone("trace", owner.trace_id, apps)
    if not (is_users or is_theirs or known.is_gone("session", owner.session_id, apps)):
        return
    found.traces.add(owner.trace_id)
    if is_users:
        found.users.add(str(owner.user_id))
    if known.is_gone("session", owner.session_id, apps):
        found.sessions.add(owner.session_id)


def _select_in_ledger(stores: Stores, known: Known, found: Selection) -> None:
    with stores.ledger.read() as ledger:
        for table in metadata.tables.values():
            if "trace_id" in table.c:
                ids = ledger.scalars(sa.select(table.c.trace_id).distinct())
                found.traces |= {i for i in ids if i and known.is_gone("trace", i, frozenset())}
        for column, app in (
            (feedback.c.user_id, feedback.c.app),
            (feedback.c.author, feedback.c.app),
            (served_examples.c.user_id, served_examples.c.app),
        ):
            for name, of_app in ledger.execute(sa.select(column, app).distinct()):
                if name and known.is_gone("user", name, frozenset({of_app})):
                    found.users.add(name)
        _select_exposed(ledger, known, found)
        for start in range(0, len(found.traces), _READ_AT_ONCE):
            chunk = sorted(found.traces)[start : start + _READ_AT_ONCE]
            made = sa.select(decisions.c.decision_id).where(decisions.c.trace_id.in_(chunk))
            found.examples |= {str(i) for i in ledger.scalars(made)}


def _select_exposed(ledger: sa.Connection, known: Known, found: Selection) -> None:
    """Who was given an arm, and may never have sent a trace."""
    of_app = exposures.join(experiments, experiments.c.name == exposures.c.experiment)
    columns = (exposures.c.user_id, exposures.c.session_id, experiments.c.app)
    for user, session, app in ledger.execute(sa.select(*columns).select_from(of_app).distinct()):
        # An experiment of all applications does not say in which of them somebody was.
        apps = frozenset({app}) if app else frozenset()
        if user and known.is_gone("user", user, apps):
            found.users.add(user)
        if session and known.is_gone("session", session, apps):
            found.sessions.add(session)


def table_of(names: Iterable[str], column: str = "name") -> pa.Table:
    """Names as a table that a statement may select from."""
    return pa.table({column: pa.array(sorted(names), pa.string())})


def _names_of_texts(project: Project, traces: set[str]) -> set[str]:
    """Under which hashes opinions on these conversations are cached, by what judges may read."""
    # Seconds to import, and most commands find nobody who must go.
    from flywheel.judge.cache import input_hash

    own = project.settings.judge
    wanted = InputLevers(own.max_message_chars, tuple(own.strip_markers), own.include_tool_calls)
    levers = {repr(one.named()): one for one in (InputLevers(), wanted, wanted.of_words)}
    names, ids = set(), sorted(traces)
    for start in range(0, len(ids), _READ_AT_ONCE):
        with project.stores.warehouse.read() as connection:
            for one in levers.values():
                found = read_traces(connection, ids[start : start + _READ_AT_ONCE], one)
                names |= {input_hash(conversation) for conversation in found}
    return names
