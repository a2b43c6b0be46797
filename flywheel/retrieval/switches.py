"""Switches: what may be served to applications no longer, at once and until somebody says so.

Rows of `example_switches` in and out, each change with its entry in the audit log. An example, all
of an application's, or every one is off or on; the index keeps them all, so that a switch costs
nothing and can be turned back.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

import sqlalchemy as sa

from flywheel.errors import BadInput
from flywheel.store.ledger import Ledger, in_utc, now, record_action
from flywheel.store.tables import example_switches

Scope = Literal["example", "app", "all"]
SCOPES: tuple[Scope, ...] = get_args(Scope)

_ALL = sa.select(
    *example_switches.c["scope", "subject", "actor", "why", "switched_off_at"]
).order_by(example_switches.c.switched_off_at, example_switches.c.scope, example_switches.c.subject)


@dataclass(frozen=True, slots=True)
class Switch:
    """A switch that is off; `subject` is a correction's id or an application, empty for all."""

    scope: Scope
    subject: str
    actor: str
    why: str
    switched_off_at: datetime


@dataclass(frozen=True, slots=True)
class SwitchedOff:
    """All that is off at a moment."""

    examples: frozenset[str] = frozenset()
    apps: frozenset[str] = frozenset()
    is_all: bool = False

    def is_off(self, correction_id: str, app: str) -> bool:
        """Whether an example may not be served."""
        return self.is_all or app in self.apps or correction_id in self.examples


def switch_off(ledger: Ledger, scope: Scope, subject: str, actor: str, why: str = "") -> bool:
    """Serve an example, an application's or none at all no longer; whether that is new.

    Raises BadInput where the subject does not fit the scope.
    """
    _check(scope, subject)
    with ledger.begin() as connection:
        if connection.execute(sa.select(example_switches).where(*_this(scope, subject))).first():
            return False
        row = {"scope": scope, "subject": subject, "actor": actor, "why": why}
        connection.execute(example_switches.insert().values(**row, switched_off_at=now()))
        record_action(connection, actor, "switch_off_examples", _named(scope, subject), why=why)
    return True


def switch_on(ledger: Ledger, scope: Scope, subject: str, actor: str, why: str = "") -> bool:
    """Serve again what was switched off by this scope and subject; whether it was off."""
    _check(scope, subject)
    with ledger.begin() as connection:
        gone = connection.execute(example_switches.delete().where(*_this(scope, subject)))
        if not gone.rowcount:
            return False
        record_action(connection, actor, "switch_on_examples", _named(scope, subject), why=why)
    return True


def list_switches(ledger: Ledger) -> list[Switch]:
    """Every switch that is off, the oldest first."""
    with ledger.read() as connection:
        rows = connection.execute(_ALL).all()
    return [Switch(row[0], row[1], row[2], row[3], in_utc(row[4])) for row in rows]


def switched_off(connection: sa.Connection) -> SwitchedOff:
    """What is off now."""
    rows = connection.execute(_ALL).all()
    return SwitchedOff(
        frozenset(row.subject for row in rows if row.scope == "example"),
        frozenset(row.subject for row in rows if row.scope == "app"),
        any(row.scope == "all" for row in rows),
    )


def _check(scope: Scope, subject: str) -> None:
    if scope not in SCOPES:
        raise BadInput(f"there is no switch for {scope!r}; it is one of {', '.join(SCOPES)}")
    if (scope == "all") == bool(subject):
        raise BadInput(
            "a switch for all examples has no subject"
            if subject
            else f"a switch for one {scope} needs to say which"
        )


def _this(scope: Scope, subject: str) -> tuple[sa.ColumnElement[bool], ...]:
    return example_switches.c.scope == scope, example_switches.c.subject == subject


def _named(scope: Scope, subject: str) -> str:
    return f"{scope}/{subject}" if subject else scope
