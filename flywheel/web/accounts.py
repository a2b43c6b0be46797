"""People and programs that may use the pages and the API: names, roles, and when that ends.

Rows of `users` in and out; the one idea is that every change of what somebody may do ends the
sessions they have, and that one admin is always left.
"""

import hashlib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from flywheel.errors import BadInput, NotFound, Refused
from flywheel.records import ROLES, Role
from flywheel.store.ledger import Ledger, in_utc, now, record_action
from flywheel.store.tables import audit_log, invitations, users

MAX_NAME = 80
SIGN_OUT = "sign_out"
# Made once: to make a statement costs more than to run it.
_SIGNED_IN = sa.select(users).where(
    users.c.name == sa.bindparam("user"),
    users.c.is_active,
    users.c.session_epoch == sa.bindparam("epoch"),
    users.c.password_hash.is_not(None),
    ~sa.exists().where(
        audit_log.c.action == SIGN_OUT,
        audit_log.c.happened_at >= sa.bindparam("since"),
        audit_log.c.subject == sa.bindparam("session"),
    ),
)


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who may sign in, or a program (role `service`) that may call.

    `link_until` is until when an unused link lets the user choose a password.
    """

    name: str
    role: Role
    is_active: bool
    has_password: bool
    session_epoch: int
    created_at: datetime
    link_until: datetime | None = None


def list_users(ledger: Ledger) -> list[User]:
    """Every user, by name."""
    with ledger.read() as connection:
        rows = connection.execute(sa.select(users)).all()
        open_links = connection.execute(
            sa.select(invitations.c.name, sa.func.max(invitations.c.expires_at))
            .where(is_open())
            .group_by(invitations.c.name)
        )
        until = {name: in_utc(expires_at) for name, expires_at in open_links}
    listed = [user_of(row, until.get(row.name)) for row in rows]
    return sorted(listed, key=lambda user: (user.name.casefold(), user.name))


def find_user(ledger: Ledger, name: str) -> User | None:
    """The user of this name, whatever its capitals; None where there is none."""
    folded = _folded(name)
    return next((user for user in list_users(ledger) if _folded(user.name) == folded), None)


def get_user(ledger: Ledger, name: str) -> User:
    """The user of this name, whatever its capitals; raises NotFound."""
    found = find_user(ledger, name)
    if found is None:
        raise NotFound("user", name[:MAX_NAME], [user.name for user in list_users(ledger)])
    return found


def signed_in_user(
    ledger: Ledger, name: str, epoch: int, session_id: str, since: datetime
) -> User | None:
    """The user of a session; None where the user is gone, or the session was ended or signed out.

    Every request asks this, so that it is one look at two indices.
    """
    session = {"user": name, "epoch": epoch, "session": session_id, "since": since}
    with ledger.read() as connection:
        row = connection.execute(_SIGNED_IN, session).first()
    return None if row is None else user_of(row)


def add_user(ledger: Ledger, name: str, role: Role, actor: str) -> User:
    """Add a user who cannot come in yet: `new_link` or `new_key` lets them.

    Raises BadInput on a name that cannot be one, Refused where somebody has it.
    """
    name = checked_name(name)
    with ledger.begin() as connection:
        insert_user(connection, name, checked_role(role), None)
        record_action(connection, actor, "add_user", name, role=role)
    return get_user(ledger, name)


def end_sessions(ledger: Ledger, name: str, actor: str) -> User:
    """End every session that the user has; raises NotFound."""
    user = get_user(ledger, name)
    with ledger.begin() as connection:
        change_user(connection, user.name)
        record_action(connection, actor, "end_sessions", user.name)
    return get_user(ledger, name)


def set_role(ledger: Ledger, name: str, role: Role, actor: str) -> User:
    """Let a user do more or less from now on; their sessions end, and a program has no password.

    Raises NotFound, and Refused for the last admin who can sign in.
    """
    user = get_user(ledger, name)
    values: dict[str, object] = {"role": checked_role(role)}
    if role == "service":
        values["password_hash"] = None
    with ledger.begin() as connection:
        if role != "admin":
            _keep_an_admin(connection, user.name)
        change_user(connection, user.name, **values)
        # What a link says is what its user was invited as.
        end_links(connection, user.name)
        record_action(connection, actor, "set_role", user.name, role=role, before=user.role)
    return get_user(ledger, name)


def set_active(ledger: Ledger, name: str, is_active: bool, actor: str) -> User:
    """Let a user in again, or no longer: sessions end, links and keys stop working.

    Raises NotFound, and Refused for the last admin who can sign in.
    """
    user = get_user(ledger, name)
    with ledger.begin() as connection:
        if not is_active:
            _keep_an_admin(connection, user.name)
            end_links(connection, user.name)
        change_user(connection, user.name, is_active=is_active)
        record_action(connection, actor, "activate" if is_active else "deactivate", user.name)
    return get_user(ledger, name)


def checked_name(name: str) -> str:
    """The name as it is kept: trimmed, in its composed form; raises BadInput on one that is none.

    What cannot be seen, such as a mark that reorders the text beside it, has no place in a name.
    """
    name = unicodedata.normalize("NFKC", name).strip()
    if not 1 <= len(name) <= MAX_NAME:
        raise BadInput(f"a name has 1 to {MAX_NAME} characters; this one has {len(name)}")
    if not name.isprintable() or not any(character.isalnum() for character in name):
        raise BadInput("a name has a letter or a digit, and no character that cannot be seen")
    return name


def checked_role(role: str) -> Role:
    """The role; raises BadInput where there is none of this name."""
    if role not in ROLES:
        raise BadInput(f"there is no role {role[:MAX_NAME]!r}; there are {', '.join(ROLES)}")
    return role


def hash_of(secret: str) -> str:
    """How a secret of ours is kept: it has 256 bits, so that nobody can try them out."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def user_of(row: sa.Row[Any], link_until: datetime | None = None) -> User:
    """A row of `users` as a record."""
    return User(
        row.name,
        row.role,
        row.is_active,
        row.password_hash is not None,
        row.session_epoch,
        in_utc(row.created_at),
        link_until,
    )


def insert_user(
    connection: sa.Connection, name: str, role: Role, password_hash: str | None
) -> None:
    """Add a row of `users`; raises Refused where somebody has the name, whatever its capitals."""
    if connection.dialect.name == "postgresql":
        # Two who take the same name at once wait for one another; SQLite's writers always do.
        connection.execute(sa.text("lock table users in share row exclusive mode"))
    known: Sequence[str] = connection.scalars(sa.select(users.c.name)).all()
    taken = next((other for other in known if _folded(other) == _folded(name)), None)
    if taken is not None:
        raise Refused(f"there is a user {taken!r} already; choose another name, or make a new link")
    connection.execute(
        users.insert().values(
            name=name,
            role=role,
            password_hash=password_hash,
            session_epoch=0,
            is_active=True,
            created_at=now(),
        )
    )


def admins(connection: sa.Connection) -> list[str]:
    """The names of the admins who can sign in."""
    found = (
        sa.select(users.c.name)
        .where(users.c.role == "admin", users.c.is_active, users.c.password_hash.is_not(None))
        .order_by(users.c.name)
    )
    return list(connection.scalars(found).all())


def is_open() -> sa.ColumnElement[bool]:
    """Whether a row of `invitations` is a link that can be used."""
    return sa.and_(invitations.c.used_at.is_(None), invitations.c.expires_at > now())


def end_links(connection: sa.Connection, name: str) -> None:
    """Take back the links of a user that were not used."""
    connection.execute(
        invitations.delete().where(invitations.c.name == name, invitations.c.used_at.is_(None))
    )


def change_user(connection: sa.Connection, name: str, **values: object) -> None:
    """Change a user, and end the sessions they have."""
    connection.execute(
        users.update()
        .where(users.c.name == name)
        .values(session_epoch=users.c.session_epoch + 1, **values)
    )


def _keep_an_admin(connection: sa.Connection, name: str) -> None:
    # Two admins who demote each other at once wait for one another here.
    connection.execute(sa.select(users.c.name).order_by(users.c.name).with_for_update())
    if admins(connection) == [name]:
        raise Refused(f"{name!r} is the last admin who can sign in; make somebody else one first")


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", name).strip().casefold()
