"""Settings: people, the links and keys by which they come in, and queues.

Forms of an admin in, rows of the ledger out. A link or a key is on the page that made it, once, so
that those two forms answer with a page; every other one leads back.
"""

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import RedirectResponse, Response

from flywheel.queue.queues import MAX_REVIEWERS, Queue, list_queues, set_queue
from flywheel.records import ROLES
from flywheel.web.access import Actor, may
from flywheel.web.accounts import (
    MAX_NAME,
    add_user,
    checked_role,
    end_sessions,
    list_users,
    set_active,
    set_role,
)
from flywheel.web.context import Web, web_of
from flywheel.web.invitations import LINK_HOURS, new_link
from flywheel.web.keys import list_keys, new_key, revoke_key
from flywheel.web.pages import page, see_other

router = APIRouter()

Admin = Annotated[Actor, Depends(may("administer"))]
Name = Annotated[str, Form(max_length=4 * MAX_NAME)]
Role = Annotated[str, Form(max_length=20)]


@router.get("/settings")
def show_settings(request: Request, actor: Admin) -> Response:
    """People, keys and queues."""
    return _settings(request, actor)


@router.post("/settings/users")
def invite(request: Request, actor: Admin, name: Name, role: Role) -> Response:
    """Add a user, and show what lets them in: a link, or a key where it is a program."""
    ledger = web_of(request).stores.ledger
    user = add_user(ledger, name, checked_role(role), actor.name)
    if user.role == "service":
        return _settings(request, actor, user.name, key=new_key(ledger, user.name, actor.name))
    return _settings(request, actor, user.name, link=_link(request, user.name, actor))


@router.post("/settings/users/link")
def give_link(request: Request, actor: Admin, name: Name) -> Response:
    """Show a new link with which a user chooses a password; the links before it end."""
    return _settings(request, actor, name, link=_link(request, name, actor))


@router.post("/settings/users/role")
def give_role(request: Request, actor: Admin, name: Name, role: Role) -> RedirectResponse:
    """Let a user do more or less."""
    set_role(web_of(request).stores.ledger, name, checked_role(role), actor.name)
    return _back(f"{name} is {_with_article(role)} now.")


@router.post("/settings/users/active")
def let_in(
    request: Request, actor: Admin, name: Name, active: Annotated[bool, Form()]
) -> RedirectResponse:
    """Let a user in again, or no longer."""
    set_active(web_of(request).stores.ledger, name, active, actor.name)
    return _back(f"{name} {'may come in again' if active else 'may no longer come in'}.")


@router.post("/settings/users/end-sessions")
def end_all(request: Request, actor: Admin, name: Name) -> RedirectResponse:
    """Sign a user out everywhere."""
    end_sessions(web_of(request).stores.ledger, name, actor.name)
    return _back(f"{name} is signed out everywhere.")


@router.post("/settings/keys")
def give_key(request: Request, actor: Admin, name: Name) -> Response:
    """Show a new key of the HTTP API that acts as a user."""
    key = new_key(web_of(request).stores.ledger, name, actor.name)
    return _settings(request, actor, name, key=key)


@router.post("/settings/keys/revoke")
def take_key(
    request: Request, actor: Admin, prefix: Annotated[str, Form(max_length=40)]
) -> RedirectResponse:
    """Let a key work no longer."""
    revoke_key(web_of(request).stores.ledger, prefix, actor.name)
    return _back(f"The key {prefix}... works no longer.")


@router.post("/settings/queues")
def change_queue(
    request: Request,
    actor: Admin,
    name: Annotated[str, Form(max_length=80)],
    reviewers: Annotated[int, Form(ge=1, le=MAX_REVIEWERS)],
    double_percent: Annotated[float, Form(ge=0, le=100, allow_inf_nan=False)],
    blind: Annotated[bool, Form()] = False,
) -> RedirectResponse:
    """Make a queue, or say anew how its items are reviewed."""
    queue = Queue(name, reviewers, double_percent / 100, blind)
    set_queue(web_of(request).stores.ledger, queue, actor.name)
    return _back(f"The queue {name} is kept as you said.")


def _settings(
    request: Request, actor: Actor, name: str = "", *, link: str = "", key: str = ""
) -> Response:
    web = web_of(request)
    return page(
        request,
        actor,
        "settings.html",
        users=list_users(web.stores.ledger),
        keys=list_keys(web.stores.ledger),
        queues=list_queues(web.stores.ledger),
        roles=ROLES,
        max_reviewers=MAX_REVIEWERS,
        link_hours=LINK_HOURS,
        for_whom=name,
        link=link,
        key=key,
        done=request.query_params.get("done", "")[:200],
    )


def _link(request: Request, name: str, actor: Actor) -> str:
    web = web_of(request)
    token = new_link(web.stores.ledger, name, actor.name)
    return f"{_address(request, web)}/welcome/{token}"


def _address(request: Request, web: Web) -> str:
    public = web.project.settings.web.public_url
    return (public or str(request.base_url)).rstrip("/")


def _back(done: str) -> RedirectResponse:
    return see_other("/settings", done=done)


def _with_article(role: str) -> str:
    return f"an {role}" if role[0] in "ae" else f"a {role}"
