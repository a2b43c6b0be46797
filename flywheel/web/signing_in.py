"""Signing in, and how often somebody may try.

A name, a password and an address in, a user out, and an entry of the audit log either way; the
one idea is that the log itself is the count, so that a limit holds over restarts and processes.
"""

import math
from datetime import timedelta

import sqlalchemy as sa

from flywheel.errors import Refused, TryAgain
from flywheel.safety import visible
from flywheel.store.ledger import Ledger, in_utc, now, record_action
from flywheel.store.tables import audit_log, users
from flywheel.web.accounts import MAX_NAME, SIGN_OUT, User, change_user, find_user, get_user
from flywheel.web.passwords import (
    alone,
    check_new_password,
    hash_password,
    is_outdated,
    is_password,
)

WINDOW = timedelta(minutes=15)
# Wrong passwords within that time: of one name from one address, and from one address at all.
FAILURES_OF_A_NAME, FAILURES_OF_AN_ADDRESS = 5, 50
SIGN_IN, FAILED = "sign_in", "sign_in_failed"
_WRONG = "the name or the password is wrong"


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
    kept = _kept_hash(ledger, user)
    with alone():
        _check(ledger, tried, kept, password, address)
        if kept and is_outdated(kept):
            _replace_hash(ledger, tried, hash_password(password))
    if user is None:
        raise Refused(_WRONG)
    note_sign_in(ledger, user.name, address)
    return user


def note_sign_in(ledger: Ledger, name: str, address: str) -> None:
    """Note in the audit log that somebody signed in."""
    with ledger.begin() as connection:
        record_action(connection, name, SIGN_IN, address)


def sign_out(ledger: Ledger, name: str, session_id: str) -> None:
    """End one session for good: its cookie is refused from now on, wherever it is kept."""
    with ledger.begin() as connection:
        record_action(connection, name, SIGN_OUT, session_id)


def change_password(ledger: Ledger, name: str, present: str, new: str, address: str) -> User:
    """Give a user who knows the present password another one; every session ends.

    Raises TooManyFailures and Refused as `sign_in`, and BadInput where the new one cannot be one.
    """
    user = get_user(ledger, name)
    check_new_password(new)
    with alone():
        _check(ledger, user.name, _kept_hash(ledger, user), present, address)
        password_hash = hash_password(new)
    with ledger.begin() as connection:
        change_user(connection, user.name, password_hash=password_hash)
        record_action(connection, user.name, "change_password", user.name)
    return get_user(ledger, user.name)


def _check(ledger: Ledger, tried: str, kept: str | None, password: str, address: str) -> None:
    _refuse_too_many(ledger, tried, address)
    if not is_password(kept, password):
        with ledger.begin() as connection:
            record_action(connection, tried, FAILED, address)
        raise Refused(_WRONG)


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
    limits = (
        (failures.where(audit_log.c.actor == tried), FAILURES_OF_A_NAME),
        (failures, FAILURES_OF_AN_ADDRESS),
    )
    with ledger.read() as connection:
        for found, limit in limits:
            recent = connection.scalars(found.limit(limit)).all()
            if len(recent) == limit:
                # The oldest of them has to leave the window.
                wait_s = (in_utc(recent[-1]) - since).total_seconds()
                raise TooManyFailures(math.ceil(wait_s))


def _kept_hash(ledger: Ledger, user: User | None) -> str | None:
    if user is None or not user.is_active:
        return None
    with ledger.read() as connection:
        found = sa.select(users.c.password_hash).where(users.c.name == user.name)
        kept: str | None = connection.execute(found).scalar_one()
    return kept


def _replace_hash(ledger: Ledger, name: str, password_hash: str) -> None:
    # The password is the same, so that sessions go on.
    with ledger.begin() as connection:
        connection.execute(
            users.update().where(users.c.name == name).values(password_hash=password_hash)
        )
