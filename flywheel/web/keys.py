"""Keys of the HTTP API: each acts as its user, with that user's role.

Rows of `api_keys` in and out; the one idea is that a key is shown once, when it is made. What is
kept is its hash, and its first characters, by which a person tells keys apart.
"""

import secrets
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from flywheel.errors import NotFound, Refused
from flywheel.store.ledger import Ledger, in_utc, now, record_action
from flywheel.store.tables import api_keys, users
from flywheel.web.accounts import User, get_user, hash_of, user_of

MARK = "fw_"
PREFIX_LENGTH = 12
# Every request of a program asks this, and to make a statement costs more than to run it.
_USER_OF_KEY = (
    sa.select(users)
    .join(api_keys, api_keys.c.name == users.c.name)
    .where(
        api_keys.c.key_hash == sa.bindparam("kept"),
        api_keys.c.revoked_at.is_(None),
        users.c.is_active,
    )
)


@dataclass(frozen=True, slots=True)
class Key:
    """A key by its first characters; it works until it is revoked or its user is deactivated."""

    prefix: str
    name: str
    created_at: datetime
    revoked_at: datetime | None


def list_keys(ledger: Ledger) -> list[Key]:
    """Every key that was ever made, the newest first."""
    columns = api_keys.c["prefix", "name", "created_at", "revoked_at"]
    newest_first = sa.select(*columns).order_by(api_keys.c.created_at.desc(), api_keys.c.key_hash)
    with ledger.read() as connection:
        rows = connection.execute(newest_first).all()
    return [
        Key(prefix, name, in_utc(made), None if revoked is None else in_utc(revoked))
        for prefix, name, made, revoked in rows
    ]


def new_key(ledger: Ledger, name: str, actor: str) -> str:
    """A new key that acts as the user `name`; the only time that it is known.

    Raises NotFound, and Refused for a user who was deactivated.
    """
    user = get_user(ledger, name)
    if not user.is_active:
        raise Refused(f"{user.name!r} is deactivated; activate the account first")
    key = MARK + secrets.token_urlsafe(32)
    prefix = key[:PREFIX_LENGTH]
    with ledger.begin() as connection:
        connection.execute(
            api_keys.insert().values(
                key_hash=hash_of(key), prefix=prefix, name=user.name, created_at=now()
            )
        )
        record_action(connection, actor, "new_key", user.name, prefix=prefix)
    return key


def revoke_key(ledger: Ledger, prefix: str, actor: str) -> None:
    """Let the key that begins so work no longer; raises NotFound where none does."""
    with ledger.begin() as connection:
        revoked = connection.execute(
            api_keys.update()
            .where(api_keys.c.prefix == prefix, api_keys.c.revoked_at.is_(None))
            .values(revoked_at=now())
            .returning(api_keys.c.name)
        ).first()
        if revoked is None:
            raise NotFound("key in use that begins with", prefix[:PREFIX_LENGTH])
        record_action(connection, actor, "revoke_key", revoked.name, prefix=prefix)


def user_of_key(ledger: Ledger, key: str) -> User | None:
    """The user whom a key acts as; None where it is no key, or no longer."""
    with ledger.read() as connection:
        row = connection.execute(_USER_OF_KEY, {"kept": hash_of(key)}).first()
    return None if row is None else user_of(row)
