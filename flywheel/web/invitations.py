"""Links by which people come in: each lets its holder choose a password, once.

Rows of `invitations` in and out; the one idea is that nobody is ever given a password. A link is
shown when it is made, and the ledger keeps its hash.
"""

import secrets
from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa

from flywheel.errors import Refused
from flywheel.records import Role
from flywheel.store.ledger import Ledger, now, record_action
from flywheel.store.tables import invitations
from flywheel.web.accounts import (
    User,
    admins,
    change_user,
    checked_name,
    end_links,
    get_user,
    hash_of,
    insert_user,
    is_open,
)
from flywheel.web.passwords import alone, hash_password

LINK_HOURS = 72
FIRST_LINK_HOURS = 24
# Who acts where nobody is signed in: the server itself.
SERVER = "flywheel"
_NO_LINK = "this link was used, is too old or was replaced; ask an admin for a new one"


@dataclass(frozen=True, slots=True)
class Invitation:
    """What a link lets its holder do: choose a password as `name`, and the name where it is empty.

    Only the link of the first admin has no name.
    """

    name: str
    role: Role


def new_link(ledger: Ledger, name: str, actor: str) -> str:
    """The token of a link that lets the user choose a password once; links before it end.

    Raises NotFound, and Refused for a program or a user who was deactivated.
    """
    user = get_user(ledger, name)
    if user.role == "service":
        raise Refused(f"{user.name!r} is a program and has no password; give it an API key")
    if not user.is_active:
        raise Refused(f"{user.name!r} is deactivated; activate the account first")
    with ledger.begin() as connection:
        token = _invite(connection, user.name, user.role, LINK_HOURS)
        record_action(connection, actor, "new_link", user.name, hours=LINK_HOURS)
    return token


def ensure_first_admin_link(ledger: Ledger) -> str | None:
    """The token of a link that makes its holder the first admin; None where there is an admin.

    Each call gives a new one and ends those before it.
    """
    with ledger.begin() as connection:
        if admins(connection):
            return None
        token = _invite(connection, "", "admin", FIRST_LINK_HOURS)
        record_action(connection, SERVER, "first_link", "", hours=FIRST_LINK_HOURS)
    return token


def open_invitation(ledger: Ledger, token: str) -> Invitation:
    """What the link with this token lets its holder do.

    Raises Refused where it is used, too old, replaced, or was never given.
    """
    with ledger.read() as connection:
        return _invitation(connection, token)


def accept_invitation(ledger: Ledger, token: str, password: str, name: str = "") -> User:
    """Give the holder of a link the password; `name` is heard where the link has none.

    Sessions that the user had are ended. Raises Refused as `open_invitation`, also where somebody
    else was faster, and BadInput on a name or a password that cannot be one.
    """
    # A stranger's guess must not cost a hash.
    invitation = open_invitation(ledger, token)
    name = invitation.name or checked_name(name)
    with alone():
        password_hash = hash_password(password)
    with ledger.begin() as connection:
        _invitation(connection, token)
        if invitation.name:
            change_user(connection, name, password_hash=password_hash)
        else:
            insert_user(connection, name, invitation.role, password_hash)
        used = connection.execute(
            invitations.update()
            .where(invitations.c.token_hash == hash_of(token), is_open())
            .values(used_at=now())
        )
        if used.rowcount != 1:
            raise Refused(_NO_LINK)
        record_action(connection, name, "choose_password", name, role=invitation.role)
    return get_user(ledger, name)


def _invite(connection: sa.Connection, name: str, role: Role, hours: int) -> str:
    end_links(connection, name)
    token = secrets.token_urlsafe(32)
    connection.execute(
        invitations.insert().values(
            token_hash=hash_of(token),
            name=name,
            role=role,
            expires_at=now() + timedelta(hours=hours),
        )
    )
    return token


def _invitation(connection: sa.Connection, token: str) -> Invitation:
    row = connection.execute(
        sa.select(invitations.c.name, invitations.c.role).where(
            invitations.c.token_hash == hash_of(token), is_open()
        )
    ).first()
    # The first admin's link makes no second one.
    if row is None or (not row.name and admins(connection)):
        raise Refused(_NO_LINK)
    return Invitation(row.name, row.role)
