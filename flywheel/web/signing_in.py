"""Signing in, and how often somebody may try.

A name, a password and an address in, a user out, and an entry of the audit log either way; the one
idea is that the log itself is the count, so that a limit holds over restarts and processes.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa

from flywheel.errors import Refused, TryAgain
from flywheel.safety import visible
from flywheel.store.ledger import Ledger, now, record_action
from flywheel.store.tables import audit_log, users
from flywheel.web.accounts import MAX_NAME, SIGN_OUT, User, find_user, in_utc
from flywheel.web.passwords import alone, hash_password, is_outdated, is_password

WINDOW = timedelta(minutes=15)
# Wrong passwords within that time: of one name from one address, and from one address at all.
FAILURES_OF_A_NAME, FAILURES_OF_AN_ADDRESS = 5, 50
FAILED = "sign_in_failed"


class TooManyFailures(TryAgain):
    """Too many wrong passwords; `wait_s` seconds from now another may be tried."""

    def __init__(self, wait_s: int):
        minutes = -(-wait_s // 60)
        super().__init__(f"too many wrong passwords; try again in {minutes} min")
        self.wait_s = wait_s


def sign_in(ledger: Ledger, name: str, password: str, address: str) -> User:
    """The user of this name and password.

    Raises TooManyFailures, and Refused with the same words and after the same time whether the
    name, the password or the account is what is wrong.
    """
    user = find_user(ledger, name)
    tried = user.name if user else visible(name[:MAX_NAME]).strip().casefold()
    with alone():
        _refuse_too_many(ledger, tried, address)
        kept = _kept_hash(ledger, user)
        is_right = is_password(kept, password)
        with ledger.begin() as connection:
            record_action(connection, tried, "sign_in" if is_right else FAILED, address)
            if kept and is_right and is_outdated(kept):
                better = hash_password(password)
                _replace_hash(connection, tried, better)
    if user is None or not is_right:
        raise Refused("the name or the password is wrong")
    return user


def sign_out(ledger: Ledger, name: str, session_id: str) -> None:
    """End one session for good: its cookie is refused from now on, wherever it is kept."""
    with ledger.begin() as connection:
        record_action(connection, name, SIGN_OUT, session_id)


def _refuse_too_many(ledger: Ledger, tried: str, address: str) -> None:
    since = now() - WINDOW
    failures = (
        sa.select(audit_log.c.happened_at)
        .where(
            audit_log.c.action == FAILED,
            audit_log.c.happened_at > since,
            audit_log.c.subject == address,
        )
        .order_by(audit_log.c.happened_at.desc())
    )
    of_the_name = failures.where(audit_log.c.actor == tried)
    with ledger.read() as connection:
        recent = connection.scalars(of_the_name.limit(FAILURES_OF_A_NAME)).all()
        if len(recent) < FAILURES_OF_A_NAME:
            recent = connection.scalars(failures.limit(FAILURES_OF_AN_ADDRESS)).all()
            if len(recent) < FAILURES_OF_AN_ADDRESS:
                return
    raise TooManyFailures(_wait_s(recent, since))


def _wait_s(recent: Sequence[datetime], since: datetime) -> int:
    """Seconds until the oldest of these leaves the window."""
    return max(1, round((in_utc(recent[-1]) - since).total_seconds()) + 1)


def _kept_hash(ledger: Ledger, user: User | None) -> str | None:
    if user is None or not user.is_active:
        return None
    with ledger.read() as connection:
        found = sa.select(users.c.password_hash).where(users.c.name == user.name)
        kept: str | None = connection.execute(found).scalar_one()
    return kept


def _replace_hash(connection: sa.Connection, name: str, password_hash: str) -> None:
    # The password is the same, so that sessions go on.
    connection.execute(
        users.update().where(users.c.name == name).values(password_hash=password_hash)
    )
