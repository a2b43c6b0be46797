"""Who may: the role behind a request, and whether a form is one of our own.

A request in, an `Actor` out or a refusal; the one idea is that an endpoint names what it takes, as
`actor: Annotated[Actor, Depends(may("review"))]`, and cannot be reached without. Every refusal
stands in the audit log.
"""

import hmac
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Literal

import sqlalchemy as sa
from fastapi import Depends, Request, Security
from fastapi.security import APIKeyCookie, HTTPAuthorizationCredentials, HTTPBearer
from starlette.requests import HTTPConnection

from flywheel.errors import BadInput, Refused
from flywheel.records import ROLES, Role
from flywheel.safety import visible
from flywheel.store.ledger import Ledger, now, record_action
from flywheel.store.tables import audit_log
from flywheel.web.accounts import User, signed_in_user
from flywheel.web.context import Web, web_of
from flywheel.web.keys import user_of_key
from flywheel.web.security import MAX_BODY_BYTES, MAX_FORM_FIELDS, address_of
from flywheel.web.sessions import COOKIE, BadSession, Session

Permission = Literal[
    "read",
    "review",
    "adjudicate",
    "export",
    "send",
    "serve",
    "manage",
    "promote",
    "audit",
    "administer",
]

_STAFF: frozenset[Role] = frozenset({"engineer", "admin"})
WHO_MAY: Mapping[Permission, frozenset[Role]] = {
    "read": frozenset(ROLES),
    "review": _STAFF | {"reviewer"},
    "adjudicate": _STAFF,
    # A program can only come by key, and keys open /v1 alone.
    "export": _STAFF | {"service"},
    # What an application in production does: send traces and feedback, ask for examples and scores.
    "send": _STAFF | {"service"},
    "serve": _STAFF | {"service"},
    "manage": _STAFF,
    # Champions, by hand.
    "promote": _STAFF,
    "audit": _STAFF,
    "administer": frozenset({"admin"}),
}
# The last is what Langfuse's SDK asks.
_FOR_PROGRAMS = ("/v1", "/metrics", "/api/public")
WELCOME = "/welcome/"
REFUSED = "refused"
# What one address or one user can write into the log by being refused.
REFUSALS_A_MINUTE = 30
_SAFE_METHODS = frozenset({"GET", "HEAD"})


class NotSignedIn(Refused):
    """A request without a session or a key that counts; `is_stale` where it brought an old one."""

    def __init__(self, why: str, is_stale: bool):
        super().__init__(why)
        self.is_stale = is_stale


class NotAllowed(Refused):
    """A request that this user may not make, or a form that is not of this session."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who makes a request; `csrf` is the token of their forms, empty where they come by key."""

    name: str
    role: Role
    csrf: str
    is_key: bool

    def may(self, permission: Permission) -> bool:
        """Whether this user's role allows it."""
        return allows(self.role, permission)


def allows(role: Role, permission: Permission) -> bool:
    """Whether a role allows it."""
    return role in WHO_MAY[permission]


async def sent_token(request: Request) -> str | None:
    """The CSRF token that a request brings, in its header or its form; raises BadInput on a NUL."""
    if request.method in _SAFE_METHODS or is_api(request):
        return None
    header = request.headers.get("x-csrf-token")
    form = await request.form(max_fields=MAX_FORM_FIELDS, max_part_size=MAX_BODY_BYTES)
    # Postgres has no text with a NUL in it.
    if any("\0" in part for entry in form.multi_items() for part in entry if isinstance(part, str)):
        raise BadInput("a form holds no NUL character")
    token = form.get("csrf")
    return header or (token if isinstance(token, str) else None)


_cookie = APIKeyCookie(name=COOKIE, auto_error=False, description="Given by the page /login.")
bearer_key = HTTPBearer(auto_error=False, description="An API key, for addresses under /v1.")


@dataclass(frozen=True)
class May:
    """The dependency that gives an endpoint its `Actor`; raises NotSignedIn or NotAllowed."""

    permission: Permission

    def __call__(
        self,
        request: Request,
        token: Annotated[str | None, Depends(sent_token)],
        cookie: Annotated[str | None, Security(_cookie)],
        bearer: Annotated[HTTPAuthorizationCredentials | None, Security(bearer_key)],
    ) -> Actor:
        """Who makes the request, if they may."""
        web = web_of(request)
        if is_api(request):
            actor = by_key(web, request, bearer.credentials if bearer else other_key(request))
        else:
            actor = _by_cookie(web, request, cookie, token)
        request.state.actor = actor
        if not actor.may(self.permission):
            why = f"a {actor.role} may not {self.permission}"
            record_refusal(web.stores.ledger, request, actor.name, why)
            raise NotAllowed(f"your role is {actor.role}, and this needs another one")
        return actor


def may(permission: Permission) -> May:
    """What an endpoint depends on so that only those reach it whose role allows it."""
    return May(permission)


def comes_in(web: Web, request: HTTPConnection) -> bool:
    """Whether a request may be let in with a long body: by a cookie of ours, or by key.

    It costs no look at the ledger, and so proves nothing else.
    """
    try:
        return is_api(request) or bool(web.sessions.read(request.cookies.get(COOKIE, "")))
    except BadSession:
        return False


def is_api(request: HTTPConnection) -> bool:
    """Whether a program asks: it comes by key, and is answered in JSON."""
    path = request.url.path
    return any(path == start or path.startswith(f"{start}/") for start in _FOR_PROGRAMS)


def actor_of(request: Request) -> Actor | None:
    """Who makes a request, where that was found out; for pages that need nobody, such as errors."""
    actor = getattr(request.state, "actor", None)
    return actor if isinstance(actor, Actor) else None


def signed_in(web: Web, cookie: str | None) -> tuple[User, Session] | None:
    """The user whom a cookie signs in; None where there is no cookie.

    Raises BadSession where the cookie counts no longer.
    """
    if not cookie:
        return None
    session = web.sessions.read(cookie)
    user = signed_in_user(
        web.stores.ledger, session.name, session.epoch, session.session_id, session.since
    )
    if user is None:
        raise BadSession("the session was ended")
    return user, session


def other_key(request: HTTPConnection) -> str | None:
    """A key that does not come as a bearer's: in `X-API-Key`, or as the password of Basic.

    Exporters of OpenTelemetry are given headers as text, and some, such as Langfuse's, know only a
    name and a password.
    """
    if key := request.headers.get("x-api-key"):
        return key
    scheme, _, sent = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        return b64decode(sent, validate=True).decode().partition(":")[2]
    except ValueError:
        return ""


def by_key(web: Web, request: Request, key: str | None) -> Actor:
    """Who makes a request by key; raises NotSignedIn."""
    user = user_of_key(web.stores.ledger, key) if key else None
    if user is None:
        why = "no key" if key is None else "the key is unknown or revoked"
        record_refusal(web.stores.ledger, request, address_of(request), why)
        raise NotSignedIn(
            "this needs an API key that is in use, as `Authorization: Bearer fw_...`", False
        )
    return Actor(user.name, user.role, "", True)


def record_refusal(ledger: Ledger, request: Request, actor: str, why: str) -> None:
    """Note in the audit log that a request was refused; a flood of them is cut off."""
    recent = sa.select(sa.func.count()).where(
        audit_log.c.action == REFUSED,
        audit_log.c.happened_at > now() - timedelta(minutes=1),
        audit_log.c.actor == actor,
    )
    with ledger.read() as connection:
        n = connection.execute(recent).scalar_one()
    if n >= REFUSALS_A_MINUTE:
        return
    detail: dict[str, object] = {"why": why, "address": address_of(request)}
    if n == REFUSALS_A_MINUTE - 1:
        detail["and_more"] = "not noted for a minute"
    # What stands behind /welcome/ may still be somebody's way in.
    path = WELCOME if request.url.path.startswith(WELCOME) else request.url.path
    subject = f"{request.method[:10]} {visible(path)[:200]}"
    with ledger.begin() as connection:
        record_action(connection, actor, REFUSED, subject, **detail)


def _by_cookie(web: Web, request: Request, cookie: str | None, token: str | None) -> Actor:
    is_safe = request.method in _SAFE_METHODS
    try:
        found, why = signed_in(web, cookie), "not signed in"
    except BadSession as error:
        found, why = None, str(error)
    if found is None:
        # Whoever only looks and has never been here is led to the login page.
        if cookie or not is_safe:
            record_refusal(web.stores.ledger, request, address_of(request), why)
        raise NotSignedIn("your session has ended; sign in again", bool(cookie))
    user, session = found
    csrf = web.sessions.csrf(session.session_id)
    if not is_safe and not hmac.compare_digest(csrf.encode(), (token or "").encode()):
        record_refusal(web.stores.ledger, request, user.name, "the form is not of this session")
        raise NotAllowed("this form is not of your session; load the page again and repeat it")
    return Actor(user.name, user.role, csrf, False)
