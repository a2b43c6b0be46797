"""Signing in and out, the page behind a link, and one's own account.

Forms in, cookies and pages out. The forms that nobody is signed in for are heard only from our own
pages; that of a link is guarded by the link itself too.
"""

from typing import Annotated

import sqlalchemy as sa
from fastapi import APIRouter, Depends, Form, Path, Query, Request
from fastapi.responses import RedirectResponse, Response

from flywheel.errors import BadInput, Refused
from flywheel.store.ledger import Ledger, in_utc
from flywheel.store.tables import audit_log
from flywheel.web.access import Actor, NotAllowed, may, record_refusal, signed_in
from flywheel.web.accounts import MAX_NAME, User, end_sessions, get_user
from flywheel.web.context import web_of
from flywheel.web.invitations import accept_invitation, open_invitation
from flywheel.web.pages import local_path, page, see_other, sentence_of
from flywheel.web.passwords import MAX_PASSWORD, MIN_PASSWORD
from flywheel.web.security import address_of, is_from_elsewhere
from flywheel.web.sessions import COOKIE, BadSession
from flywheel.web.signing_in import (
    FAILED,
    SIGN_IN,
    TooManyFailures,
    change_password,
    note_sign_in,
    sign_in,
    sign_out,
)

router = APIRouter()

SHOWN_SIGN_INS = 10


def from_our_pages(request: Request) -> None:
    """Refuse a form that another site's page sent."""
    web = web_of(request)
    if is_from_elsewhere(request, web.project.settings.web.public_url):
        record_refusal(web.stores.ledger, request, address_of(request), "sent by another site")
        raise NotAllowed("this form was sent by another site's page")


OurForm = Depends(from_our_pages)
Reader = Annotated[Actor, Depends(may("read"))]
# A password that is too long is refused in words, and not by the form.
Password = Annotated[str, Form(max_length=4 * MAX_PASSWORD)]
Name = Annotated[str, Form(max_length=4 * MAX_NAME)]
Token = Annotated[str, Path(max_length=100)]
Next = Annotated[str, Form(max_length=4_000)]


@router.get("/login")
def show_login(request: Request, next: Annotated[str, Query(max_length=4_000)] = "/") -> Response:
    """The login page; whoever is signed in already is led on."""
    web = web_of(request)
    try:
        if signed_in(web, request.cookies.get(COOKIE)) is not None:
            return see_other(local_path(next))
    except BadSession:
        # It is replaced when they sign in.
        pass
    return page(request, None, "login.html", next=next, name="", sentence="")


@router.post("/login", dependencies=[OurForm])
def log_in(request: Request, name: Name, password: Password, next: Next = "/") -> Response:
    """Sign somebody in and lead them to where they wanted to go."""
    ledger = web_of(request).stores.ledger
    status, headers = 403, {}
    try:
        user = sign_in(ledger, name, password, address_of(request))
    except TooManyFailures as error:
        sentence, status, headers = str(error), 429, {"Retry-After": str(error.wait_s)}
    except Refused as error:
        sentence = str(error)
    else:
        return _begin(request, user, local_path(next))
    context = {"next": next, "name": name[:MAX_NAME], "sentence": sentence_of(sentence)}
    response = page(request, None, "login.html", status, **context)
    response.headers.update(headers)
    return response


@router.post("/logout")
def log_out(request: Request, actor: Reader) -> RedirectResponse:
    """End this session, wherever its cookie is kept."""
    web = web_of(request)
    session = web.sessions.read(request.cookies[COOKIE])
    sign_out(web.stores.ledger, actor.name, session.session_id)
    response = see_other("/login")
    web.sessions.end(response)
    return response


@router.get("/welcome/{token}")
def show_welcome(request: Request, token: Token) -> Response:
    """The page behind a link: choose a password."""
    return _welcome(request, token, "", "", 200)


@router.post("/welcome/{token}", dependencies=[OurForm])
def welcome(
    request: Request,
    token: Token,
    password: Password,
    again: Password,
    name: Name = "",
) -> Response:
    """Give the link's holder the password they chose, and sign them in."""
    ledger = web_of(request).stores.ledger
    try:
        if password != again:
            raise BadInput("the two passwords are not the same")
        user = accept_invitation(ledger, token, password, name)
    except BadInput as error:
        return _welcome(request, token, name, str(error), 422)
    note_sign_in(ledger, user.name, address_of(request))
    return _begin(request, user, "/")


@router.get("/account")
def show_account(request: Request, actor: Reader) -> Response:
    """One's own account: the password, the sessions, and who signed in lately."""
    return _account(request, actor, "", 200)


@router.post("/account/password")
def choose_password(
    request: Request, actor: Reader, present: Password, password: Password, again: Password
) -> Response:
    """Change one's own password; the sessions elsewhere end."""
    ledger = web_of(request).stores.ledger
    try:
        if password != again:
            raise BadInput("the two new passwords are not the same")
        user = change_password(ledger, actor.name, present, password, address_of(request))
    except BadInput as error:
        return _account(request, actor, str(error), 422)
    return _begin(request, user, "/account?done=password")


@router.post("/account/end-sessions")
def leave_elsewhere(request: Request, actor: Reader) -> RedirectResponse:
    """End one's own sessions everywhere else."""
    user = end_sessions(web_of(request).stores.ledger, actor.name, actor.name)
    return _begin(request, user, "/account?done=sessions")


def _begin(request: Request, user: User, path: str) -> RedirectResponse:
    response = see_other(path)
    web_of(request).sessions.begin(response, user.name, user.session_epoch)
    return response


def _welcome(request: Request, token: str, name: str, sentence: str, status: int) -> Response:
    invitation = open_invitation(web_of(request).stores.ledger, token)
    return page(
        request,
        None,
        "welcome.html",
        status,
        invitation=invitation,
        name=name[:MAX_NAME],
        sentence=sentence_of(sentence),
        min_password=MIN_PASSWORD,
    )


def _account(request: Request, actor: Actor, sentence: str, status: int) -> Response:
    ledger = web_of(request).stores.ledger
    return page(
        request,
        actor,
        "account.html",
        status,
        user=get_user(ledger, actor.name),
        sign_ins=_sign_ins(ledger, actor.name),
        done=request.query_params.get("done", ""),
        sentence=sentence_of(sentence),
        min_password=MIN_PASSWORD,
    )


def _sign_ins(ledger: Ledger, name: str) -> list[tuple[str, bool, str]]:
    """When, whether with success, and from where somebody signed in lately, the newest first."""
    found = (
        sa.select(*audit_log.c["happened_at", "action", "subject"])
        .where(audit_log.c.action.in_((SIGN_IN, FAILED)), audit_log.c.actor == name)
        .order_by(audit_log.c.entry_id.desc())
        .limit(SHOWN_SIGN_INS)
    )
    with ledger.read() as connection:
        rows = connection.execute(found).all()
    return [
        (f"{in_utc(when):%Y-%m-%d %H:%M}", action == SIGN_IN, address)
        for when, action, address in rows
    ]
