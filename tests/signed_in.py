"""The web app in this process, and clients of it that somebody is signed in with.

A sign-in costs the hash of a password, which is slow on purpose; `client_of` gives a session's
cookie without one. Clients ask from `BASE`: a host that the app does not know is refused.
"""

import re

from fastapi import FastAPI, Response
from fastapi.testclient import TestClient

from flywheel.records import Role
from flywheel.store import Project
from flywheel.store.ledger import Ledger, now
from flywheel.store.tables import users
from flywheel.web.accounts import get_user
from flywheel.web.sessions import COOKIE

BASE = "http://127.0.0.1:3000"
# Of nobody; it only says that there is one.
SOME_HASH = "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHQ$c29tZWhhc2g"


def add_person(project: Project, name: str, role: Role) -> str:
    """Somebody who has a password that nobody knows; their name."""
    return insert_person(project.stores.ledger, name, role)


def insert_person(ledger: Ledger, name: str, role: Role) -> str:
    """The same, for who has a ledger and no project."""
    with ledger.begin() as connection:
        connection.execute(
            users.insert().values(
                name=name,
                role=role,
                password_hash=None if role == "service" else SOME_HASH,
                session_epoch=0,
                is_active=True,
                created_at=now(),
            )
        )
    return name


def stranger(app: FastAPI) -> TestClient:
    """A client that nobody is signed in with; it follows no redirect."""
    return TestClient(app, BASE, follow_redirects=False)


def client_of(app: FastAPI, name: str) -> TestClient:
    """A client that this user is signed in with; `csrf_of` gives the token of its forms."""
    web = app.state.web
    user = get_user(web.stores.ledger, name)
    response = Response()
    web.sessions.begin(response, user.name, user.session_epoch)
    client = stranger(app)
    client.cookies.set(COOKIE, re.match(rf"{COOKIE}=([^;]+)", response.headers["set-cookie"])[1])
    return client


def csrf_of(app: FastAPI, client: TestClient) -> str:
    """The token that the forms of this client's session carry."""
    sessions = app.state.web.sessions
    return sessions.csrf(sessions.read(client.cookies[COOKIE]).session_id)
