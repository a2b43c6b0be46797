"""Who may: each route against each role, strangers and stale forms; what each answer carries."""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from threading import Event, Thread
from typing import Annotated

import pytest
import sqlalchemy as sa
from fastapi import Depends, FastAPI
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

from flywheel.errors import BadSetting
from flywheel.records import ROLES, Role
from flywheel.store import Project, open_project
from flywheel.store.ledger import Ledger, record_action
from flywheel.store.tables import audit_log
from flywheel.web.access import (
    REFUSALS_A_MINUTE,
    WHO_MAY,
    Actor,
    May,
    Permission,
    may,
)
from flywheel.web.accounts import add_user, end_sessions
from flywheel.web.app import ROUTERS, create_app
from flywheel.web.invitations import ensure_first_admin_link
from flywheel.web.keys import list_keys, new_key, revoke_key
from flywheel.web.pages import local_path
from flywheel.web.security import HEADERS, MAX_BODY_BYTES
from flywheel.web.sessions import COOKIE
from flywheel.web.signing_in import FAILURES_OF_A_NAME
from tests.signed_in import BASE, add_person, client_of, csrf_of, stranger

GOOD = "correct horse battery staple"
PUBLIC = {
    *(("GET", "/login"), ("POST", "/login")),
    *(("GET", "/welcome/{token}"), ("POST", "/welcome/{token}")),
    *(("GET", "/healthz"), ("GET", "/readyz"), ("GET", "/metrics")),
}

Route = tuple[str, str]


def is_for_programs(route: Route) -> bool:
    return route[1].startswith(("/v1", "/api/public"))


def permission_of(route: APIRoute) -> Permission | None:
    """What a route asks of whoever comes, or None where it asks nothing."""
    asked = [needed.call.permission for needed in walk(route.dependant) if is_may(needed)]
    return asked[0] if asked else None


def walk(dependant: object) -> Iterator[object]:
    for needed in dependant.dependencies:
        yield needed
        yield from walk(needed)


def is_may(needed: object) -> bool:
    return isinstance(needed.call, May)


ROUTES: dict[Route, Permission | None] = {
    (method, route.path): permission_of(route)
    for router in ROUTERS
    for route in router.routes
    if isinstance(route, APIRoute)
    for method in route.methods
}
PROTECTED = {route: asked for route, asked in ROUTES.items() if asked is not None}
# A program has no session, and so no pages.
ROUTES_AND_ROLES = [
    (route, role)
    for route in PROTECTED
    for role in ROLES
    if role != "service" or is_for_programs(route)
]
FORMS = [route for route in PROTECTED if route[0] != "GET" and not is_for_programs(route)]


def ids(route: Route) -> str:
    return " ".join(route)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterable[tuple[Project, FastAPI]]:
    """A project without traces and its app; each test brings people of its own."""
    project = open_project(tmp_path_factory.mktemp("web"))
    yield project, create_app(project)
    project.stores.ledger.close()


@pytest.fixture
def app(project: Project) -> FastAPI:
    return create_app(project)


@pytest.fixture
def ledger(project: Project) -> Ledger:
    return project.stores.ledger


def ask(client: TestClient, route: Route, **options: object) -> object:
    """Send a request to a route, with 1 for whatever stands in its path."""
    method, path = route
    return client.request(method, re.sub(r"{[^}]+}", "1", path), **options)


def entries(ledger: Ledger, actor: str, action: str = "refused") -> list[tuple[str, dict]]:
    """Subject and detail of somebody's entries of the audit log."""
    found = sa.select(audit_log.c.subject, audit_log.c.detail).where(
        audit_log.c.actor == actor, audit_log.c.action == action
    )
    with ledger.read() as connection:
        rows = connection.execute(found.order_by(audit_log.c.entry_id)).all()
    return [(subject, json.loads(detail)) for subject, detail in rows]


def is_refused(response: object) -> bool:
    """Whether an answer says: not you."""
    leads_to_login = response.headers.get("location", "").startswith("/login?")
    return response.status_code in (401, 403) or leads_to_login


def person(project: Project, role: Role, name: str) -> str:
    return add_person(project, f"{role} {name}"[:80], role)


def by_role(
    project: Project, app: FastAPI, role: Role, route: Route
) -> tuple[str, TestClient, dict[str, str]]:
    """Somebody new of this role as they would come to this route, and what they bring."""
    name = person(project, role, ids(route))
    if is_for_programs(route):
        key = new_key(project.stores.ledger, name, "test")
        return name, stranger(app), {"Authorization": f"Bearer {key}"}
    client = client_of(app, name)
    return name, client, {"X-CSRF-Token": csrf_of(app, client)}


# Every route


def test_every_route_asks_who_comes_unless_it_is_public_by_name() -> None:
    assert {route for route, asked in ROUTES.items() if asked is None} == PUBLIC


@pytest.mark.parametrize("route", PROTECTED, ids=ids)
def test_a_stranger_is_refused(served: tuple[Project, FastAPI], route: Route) -> None:
    project, app = served
    address = f"192.0.2.{list(PROTECTED).index(route)}"
    response = ask(TestClient(app, BASE, follow_redirects=False, client=(address, 1)), route)
    method = route[0]
    noted = entries(project.stores.ledger, address)
    if is_for_programs(route):
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == "Bearer"
        assert response.json()["error"]
    elif method == "GET":
        assert response.status_code == 303
        assert response.headers["location"].startswith("/login?next=%2F")
        assert noted == []
        return
    else:
        assert response.status_code == 403
    ((subject, _),) = noted
    assert subject.startswith(f"{method} /")


@pytest.mark.parametrize(("route", "role"), ROUTES_AND_ROLES, ids=str)
def test_each_role_reaches_what_it_may_and_nothing_else(
    served: tuple[Project, FastAPI], route: Route, role: Role
) -> None:
    project, app = served
    name, client, headers = by_role(project, app, role, route)
    response = ask(client, route, headers=headers)
    assert response.status_code < 500
    refused = entries(project.stores.ledger, name)
    if role in WHO_MAY[PROTECTED[route]]:
        assert not is_refused(response)
        assert refused == []
    else:
        assert response.status_code == 403
        ((_, detail),) = refused
        assert detail["why"] == f"a {role} may not {PROTECTED[route]}"


@pytest.mark.parametrize("route", FORMS, ids=ids)
def test_a_form_of_another_session_is_refused(
    served: tuple[Project, FastAPI], route: Route
) -> None:
    project, app = served
    name = person(project, "admin", f"stale {ids(route)}")
    yesterday, today = client_of(app, name), client_of(app, name)
    stale = csrf_of(app, yesterday)
    for sent in ({"data": {"csrf": stale}}, {"headers": {"X-CSRF-Token": stale}}, {}):
        assert ask(today, route, **sent).status_code == 403
    noted = entries(project.stores.ledger, name)
    assert [detail["why"] for _, detail in noted] == ["the form is not of this session"] * 3
    assert {subject.split()[0] for subject, _ in noted} == {route[0]}


# Signing in


def come_in(app: FastAPI, ledger: Ledger, name: str = "Ada") -> TestClient:
    """A client of the first admin, who came by the link."""
    client = stranger(app)
    form = {"name": name, "password": GOOD, "again": GOOD}
    response = client.post(f"/welcome/{ensure_first_admin_link(ledger)}", data=form)
    assert response.headers["location"] == "/"
    return client


def test_the_first_link_leads_in_once(app: FastAPI, ledger: Ledger) -> None:
    token = ensure_first_admin_link(ledger)
    client = stranger(app)
    assert "You are the first here" in client.get(f"/welcome/{token}").text
    form = {"name": "Ada", "password": GOOD, "again": GOOD}
    for wrong in (
        {"again": "another"},
        {"password": "short", "again": "short"},
        {"name": "\u202e"},
    ):
        assert client.post(f"/welcome/{token}", data=form | wrong).status_code == 422
    assert client.post(f"/welcome/{token}", data=form).status_code == 303
    assert client.get("/account").status_code == 200
    assert client.post(f"/welcome/{token}", data=form).status_code == 409
    assert client.get(f"/welcome/{token}").status_code == 409


def test_a_cookie_is_out_of_reach_of_scripts_and_other_sites(app: FastAPI, ledger: Ledger) -> None:
    client = come_in(app, ledger)
    response = stranger(app).post("/login", data={"name": "ada", "password": GOOD})
    assert response.status_code == 303
    flags = response.headers["set-cookie"].split("; ")[1:]
    assert {"HttpOnly", "SameSite=lax", "Path=/", "Max-Age=1209600"} == set(flags)
    assert client.cookies[COOKIE] != response.cookies[COOKIE]


def test_a_cookie_goes_over_https_alone_where_people_come_by_it(project: Project) -> None:
    project.folder.mkdir(exist_ok=True)
    (project.folder / "flywheel.toml").write_text('[web]\npublic_url = "https://fly.example"\n')
    public = open_project(project.folder)
    app = create_app(public)
    client = TestClient(app, "https://fly.example", follow_redirects=False)
    token = ensure_first_admin_link(public.stores.ledger)
    form = {"name": "Ada", "password": GOOD, "again": GOOD}
    response = client.post(
        f"/welcome/{token}", data=form, headers={"Origin": "https://fly.example"}
    )
    assert "; Secure" in response.headers["set-cookie"]
    public.stores.ledger.close()


def test_signing_out_ends_the_session_wherever_its_cookie_is(app: FastAPI, ledger: Ledger) -> None:
    client = come_in(app, ledger)
    kept = client.cookies[COOKIE]
    csrf = csrf_of(app, client)
    response = client.post("/logout", data={"csrf": csrf})
    assert response.headers["location"] == "/login"
    assert COOKIE not in client.cookies
    thief = stranger(app)
    thief.cookies.set(COOKIE, kept)
    response = thief.get("/account")
    assert response.headers["location"] == "/login?next=%2Faccount"
    assert 'flywheel_session="";' in response.headers["set-cookie"]
    assert entries(ledger, "testclient")[-1][1]["why"] == "the session was ended"


def test_a_session_that_an_admin_ended_is_over(project: Project, app: FastAPI) -> None:
    name = add_person(project, "Bob", "reviewer")
    client = client_of(app, name)
    assert client.get("/account").status_code == 200
    end_sessions(project.stores.ledger, name, "Ada")
    assert client.get("/account").status_code == 303


def test_leaving_elsewhere_keeps_the_session_here(app: FastAPI, ledger: Ledger) -> None:
    here = come_in(app, ledger)
    elsewhere = client_of(app, "Ada")
    response = here.post("/account/end-sessions", data={"csrf": csrf_of(app, here)})
    assert response.headers["location"] == "/account?done=sessions"
    assert here.get("/account").status_code == 200
    assert elsewhere.get("/account").status_code == 303


def test_a_new_password_is_asked_for_twice_and_ends_sessions_elsewhere(
    app: FastAPI, ledger: Ledger
) -> None:
    here, elsewhere = come_in(app, ledger), client_of(app, "Ada")
    new = "another good password"
    form = {"csrf": csrf_of(app, here), "present": GOOD, "password": new, "again": new}
    assert here.post("/account/password", data=form | {"again": "no"}).status_code == 422
    assert here.post("/account/password", data=form | {"present": "no"}).status_code == 409
    assert here.post("/account/password", data=form).status_code == 303
    assert here.get("/account").status_code == 200
    assert elsewhere.get("/account").status_code == 303


def test_too_many_wrong_passwords_are_told_when_to_come_back(app: FastAPI, ledger: Ledger) -> None:
    come_in(app, ledger)
    client = stranger(app)
    for _ in range(FAILURES_OF_A_NAME):
        response = client.post("/login", data={"name": "Ada", "password": "wrong"})
        assert response.status_code == 403
        assert "The name or the password is wrong." in response.text
    response = client.post("/login", data={"name": "Ada", "password": GOOD})
    assert response.status_code == 429
    assert 0 < int(response.headers["retry-after"]) <= 900


@pytest.mark.parametrize(
    "asked",
    [
        *("//evil.example", "https://evil.example", "/\\evil.example", "\\\\evil.example"),
        *("/\t/evil.example", "/\n/evil.example", "javascript:alert(1)", "", "evil"),
    ],
)
def test_a_sign_in_leads_nowhere_else(asked: str) -> None:
    assert local_path(asked) == "/"


def test_a_sign_in_leads_back_to_where_it_began(app: FastAPI, ledger: Ledger) -> None:
    come_in(app, ledger)
    client = stranger(app)
    first = client.get("/audit?who=Ada&action=sign_in")
    assert first.headers["location"] == "/login?next=%2Faudit%3Fwho%3DAda%26action%3Dsign_in"
    login = client.get(first.headers["location"]).text
    (asked,) = re.findall(r'name="next" value="([^"]+)"', login)
    assert asked == "/audit?who=Ada&amp;action=sign_in"
    form = {"name": "Ada", "password": GOOD, "next": "/audit?who=Ada"}
    assert client.post("/login", data=form).headers["location"] == "/audit?who=Ada"
    assert client.get("/login?next=/audit").headers["location"] == "/audit"
    assert client.get("/login?next=//evil.example").headers["location"] == "/"


@pytest.mark.parametrize(
    ("headers", "is_ours"),
    [
        ({}, True),
        ({"Origin": BASE}, True),
        ({"Origin": "https://evil.example"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": "http://["}, False),
        ({"Origin": "http://127.0.0.1:4000"}, False),
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Sec-Fetch-Site": "none"}, True),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
    ],
)
def test_a_sign_in_is_heard_from_our_own_pages_alone(
    app: FastAPI, ledger: Ledger, headers: dict[str, str], is_ours: bool
) -> None:
    token = ensure_first_admin_link(ledger)
    form = {"name": "Ada", "password": GOOD, "again": GOOD}
    response = stranger(app).post(f"/welcome/{token}", data=form, headers=headers)
    assert response.status_code == (303 if is_ours else 403)
    assert not is_ours or entries(ledger, "testclient") == []
    # The link may still be good, so that the log does not hold it.
    for subject, detail in entries(ledger, "testclient"):
        assert subject == "POST /welcome/"
        assert detail["why"] == "sent by another site"
    response = stranger(app).post("/login", data={"name": "A", "password": "b"}, headers=headers)
    assert ("sent by another site" in response.text) == (not is_ours)


# What is noted


def test_a_flood_of_refusals_is_noted_only_so_often(project: Project, app: FastAPI) -> None:
    name = add_person(project, "Bob", "reviewer")
    client = client_of(app, name)
    for _ in range(REFUSALS_A_MINUTE + 5):
        assert client.get("/settings").status_code == 403
    noted = entries(project.stores.ledger, name)
    assert len(noted) == REFUSALS_A_MINUTE
    assert noted[-1][1]["and_more"] == "not noted for a minute"


def test_whoever_only_looks_is_led_to_the_login_without_a_note(
    app: FastAPI, ledger: Ledger
) -> None:
    client = stranger(app)
    assert client.get("/queue").status_code == 303
    assert entries(ledger, "testclient") == []
    client.cookies.set(COOKIE, "forged")
    assert client.get("/queue").status_code == 303
    ((subject, detail),) = entries(ledger, "testclient")
    assert (subject, detail["why"]) == ("GET /queue", "the cookie is not signed by this server")


def test_what_a_stranger_writes_into_the_log_is_short_and_visible(
    app: FastAPI, ledger: Ledger
) -> None:
    client = stranger(app)
    client.post("/" + "x" * 5_000)
    client.post("/settings/users/%E2%80%AErole" + "y" * 5_000)
    client.post("/undo", headers={"X-CSRF-Token": "z" * 5_000})
    client.post("/login", data={"name": "n" * 300, "password": "p" * 4_000})
    with ledger.read() as connection:
        rows = connection.execute(sa.select(audit_log)).all()
    assert rows
    for row in rows:
        assert max(map(len, (row.actor, row.subject, row.detail))) <= 250
        assert "\u202e" not in row.subject


# Keys


@pytest.fixture
def with_echo(app: FastAPI) -> FastAPI:
    """The app with a route of its API that says who asks."""

    @app.post("/v1/echo")
    def echo(actor: Annotated[Actor, Depends(may("export"))]) -> dict[str, object]:
        return {"name": actor.name, "role": actor.role, "is_key": actor.is_key}

    return app


def test_a_key_acts_as_its_user_until_it_is_revoked(project: Project, with_echo: FastAPI) -> None:
    ledger = project.stores.ledger
    add_user(ledger, "exporter", "service", "Ada")
    headers = {"Authorization": f"Bearer {new_key(ledger, 'exporter', 'Ada')}"}
    client = stranger(with_echo)
    said = client.post("/v1/echo", headers=headers).json()
    assert said == {"name": "exporter", "role": "service", "is_key": True}
    # Pages know sessions alone.
    assert client.get("/account", headers=headers).status_code == 303
    revoke_key(ledger, list_keys(ledger)[0].prefix, "Ada")
    assert client.post("/v1/echo", headers=headers).status_code == 401


def test_a_session_opens_no_api(project: Project, with_echo: FastAPI) -> None:
    client = client_of(with_echo, add_person(project, "Ada", "admin"))
    csrf = csrf_of(with_echo, client)
    assert client.post("/v1/echo", headers={"X-CSRF-Token": csrf}).status_code == 401


def test_a_key_comes_as_a_password_or_in_a_header_of_its_own_too(
    project: Project, with_echo: FastAPI
) -> None:
    ledger = project.stores.ledger
    add_user(ledger, "exporter", "service", "Ada")
    key, client = new_key(ledger, "exporter", "Ada"), stranger(with_echo)
    assert client.post("/v1/echo", auth=("public", key)).json()["name"] == "exporter"
    assert client.post("/v1/echo", headers={"X-API-Key": key}).json()["name"] == "exporter"
    assert client.post("/v1/echo", auth=(key, "public")).status_code == 401
    for wrong in ("Basic", "Basic !", "Basic /w==", f"Basic {key}"):
        assert client.post("/v1/echo", headers={"Authorization": wrong}).status_code == 401


@pytest.mark.parametrize("said", ["fw_unknown", "", "\u00e9", "x" * 5_000])
def test_what_is_no_key_is_refused(with_echo: FastAPI, said: str) -> None:
    headers = {"Authorization": f"Bearer {said}".encode()}
    assert stranger(with_echo).post("/v1/echo", headers=headers).status_code == 401


# What every answer carries


def boom() -> None:
    """Stands for a fault of ours."""
    raise ZeroDivisionError("secret detail")


def test_every_answer_carries_the_headers(project: Project, app: FastAPI) -> None:
    app.get("/boom")(boom)
    client = client_of(app, add_person(project, "Ada", "admin"))
    client = TestClient(
        app, BASE, follow_redirects=False, raise_server_exceptions=False, cookies=client.cookies
    )
    csrf = csrf_of(app, client)
    large = b"x" * (MAX_BODY_BYTES + 1)
    answers = {
        200: client.get("/account"),
        303: stranger(app).get("/account"),
        400: client.get("/account", headers={"Host": "evil.example"}),
        403: client.post("/logout"),
        404: client.get("/nothing"),
        405: client.put("/account"),
        409: client.post("/settings/users", data={"csrf": csrf, "name": "ada", "role": "admin"}),
        413: client.post("/account/password", content=large),
        422: client.get("/audit?before=x"),
        500: client.get("/boom"),
    }
    for status, response in answers.items():
        assert response.status_code == status
        assert {name: response.headers[name] for name in HEADERS} == dict(HEADERS)
        assert response.headers["cache-control"] == "no-store"
        assert re.fullmatch("[0-9a-f]{16}", response.headers["x-request-id"])
    directives = HEADERS["Content-Security-Policy"].split("; ")
    assert directives[0] == "default-src 'none'"
    assert not [said for said in directives if "unsafe" in said or "http" in said or "*" in said]


def test_a_fault_of_ours_says_its_number_and_nothing_else(project: Project, app: FastAPI) -> None:
    app.get("/boom")(boom)
    app.get("/v1/boom")(boom)
    client = TestClient(app, BASE, raise_server_exceptions=False)
    response = client.get("/boom")
    assert response.headers["x-request-id"] in response.text
    assert "secret" not in response.text
    assert "ZeroDivision" not in response.text
    assert list(client.get("/v1/boom").json()) == ["error"]


def test_files_are_kept_by_browsers_under_an_address_that_changes_with_them(
    app: FastAPI,
) -> None:
    client = stranger(app)
    (address,) = re.findall(r'href="(/static/flywheel.css[^"]+)"', client.get("/login").text)
    kept = client.get(address)
    assert kept.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert kept.headers["content-security-policy"]
    assert client.get("/static/flywheel.css").headers["cache-control"] == "no-cache"
    for outside in ("/static/../app.py", "/static/%2e%2e/app.py", "/static//etc/passwd"):
        assert client.get(outside).status_code == 404


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:3000", 200),
        ("localhost", 200),
        ("[::1]:3000", 200),
        ("fly.example", 200),
        ("evil.example", 400),
        ("fly.example.evil.example", 400),
        ("127.0.0.1.evil.example", 400),
        ("", 400),
    ],
)
def test_the_pages_are_there_under_their_own_names_alone(
    project: Project, host: str, status: int
) -> None:
    project.folder.mkdir(exist_ok=True)
    (project.folder / "flywheel.toml").write_text('[web]\npublic_url = "https://fly.example"\n')
    app = create_app(open_project(project.folder))
    assert stranger(app).get("/login", headers={"Host": host}).status_code == status


@pytest.mark.parametrize("public_url", ["fly.example", "ftp://fly.example", "http://[", "https://"])
def test_an_address_that_is_none_is_refused_at_the_start(
    project: Project, monkeypatch: pytest.MonkeyPatch, public_url: str
) -> None:
    monkeypatch.setenv("FLYWHEEL_WEB__PUBLIC_URL", public_url)
    with pytest.raises(BadSetting, match="write it as https://"):
        create_app(open_project(project.folder))


def test_a_body_is_cut_off_where_it_says_no_length(project: Project, app: FastAPI) -> None:
    client = client_of(app, add_person(project, "Ada", "admin"))
    block = b"csrf=" + b"x" * (1 << 20)
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    response = client.post("/logout", content=(block for _ in range(40)), headers=headers)
    assert response.status_code == 413


@pytest.mark.parametrize("cookie", ["", "forged"])
@pytest.mark.parametrize("path", ["/login", "/undo"])
def test_a_stranger_sends_no_long_form(app: FastAPI, path: str, cookie: str) -> None:
    client = stranger(app)
    client.cookies.set(COOKIE, cookie)
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    assert (
        client.post(path, content=b"text=" + b"%41" * 100_000, headers=headers).status_code == 413
    )


@pytest.mark.parametrize("where", ["/account%00", "/account?done=%00", "/login?next=%00"])
def test_an_address_holds_no_nul(app: FastAPI, where: str) -> None:
    assert stranger(app).get(where).status_code == 400


def test_a_form_holds_no_nul(project: Project, app: FastAPI) -> None:
    client = client_of(app, add_person(project, "Ada", "admin"))
    form = {"csrf": csrf_of(app, client), "name": "a\0b", "role": "reviewer"}
    response = client.post("/settings/users", data=form)
    assert response.status_code == 422
    assert "A form holds no NUL character." in response.text


@pytest.mark.parametrize(
    "query",
    [
        *("before=0", "before=99999999999999999999", "before=-1", "before=x", "day=0000-00-00"),
        *("day=9999-12-31", "day=2026-13-01", "day=x", "action=" + "a" * 41, "who=" + "w" * 999),
    ],
)
def test_odd_questions_are_answered_in_words(project: Project, app: FastAPI, query: str) -> None:
    client = client_of(app, add_person(project, "Ada", "admin"))
    response = client.get(f"/audit?{query}")
    assert response.status_code == 422
    assert "That cannot be used" in response.text


def test_every_page_is_in_the_description(app: FastAPI) -> None:
    described = stranger(app).get("/openapi.json").json()["paths"]
    # What speaks another product's language is described by that product.
    shown = [
        route
        for router in ROUTERS
        for route in router.routes
        if isinstance(route, APIRoute) and route.include_in_schema
    ]
    assert {route.path_format for route in shown} == set(described)
    assert not [r for r in ROUTES if r[1] not in {s.path for s in shown} and "/api/" not in r[1]]
    assert stranger(app).get("/docs").status_code == 404
    for route in shown:
        for method in route.methods:
            operation = described[route.path_format][method.lower()]
            is_guarded = permission_of(route) is not None or route.path == "/metrics"
            assert ("security" in operation) == is_guarded


# Settings and the audit log


def values(text: str, pattern: str) -> list[str]:
    return re.findall(rf'value="({pattern})"', text)


def test_an_admin_invites_somebody_who_comes_in_by_the_link(app: FastAPI, ledger: Ledger) -> None:
    ada = come_in(app, ledger)
    form = {"csrf": csrf_of(app, ada), "name": "Bob", "role": "reviewer"}
    (link,) = values(ada.post("/settings/users", data=form).text, 'http[^"]+')
    assert link.startswith(f"{BASE}/welcome/")
    assert link not in ada.get("/settings").text
    bob = stranger(app)
    assert "Welcome, <span" in bob.get(link).text
    assert bob.post(link, data={"password": GOOD, "again": GOOD}).status_code == 303
    assert bob.get("/settings").status_code == 403
    assert bob.get("/account").status_code == 200


def test_a_program_is_shown_its_key_once(app: FastAPI, ledger: Ledger) -> None:
    ada = come_in(app, ledger)
    form = {"csrf": csrf_of(app, ada), "name": "exporter", "role": "service"}
    (key,) = values(ada.post("/settings/users", data=form).text, 'fw_[^"]{20,}')
    page = ada.get("/settings").text
    assert key not in page
    assert values(page, 'fw_[^"]+') == [key[:12]]
    revoke = {"csrf": csrf_of(app, ada), "prefix": key[:12]}
    assert ada.post("/settings/keys/revoke", data=revoke).status_code == 303
    assert "revoked" in ada.get("/settings").text


def test_people_are_changed_from_the_page(app: FastAPI, ledger: Ledger) -> None:
    ada = come_in(app, ledger)
    form = {"csrf": csrf_of(app, ada), "name": "Bob"}
    ada.post("/settings/users", data=form | {"role": "reviewer"})
    changes = (
        ("role", {"role": "engineer"}),
        ("active", {"active": "no"}),
        ("active", {"active": "yes"}),
        ("end-sessions", {}),
    )
    for what, more in changes:
        response = ada.post(f"/settings/users/{what}", data=form | more)
        assert response.headers["location"].startswith("/settings?done=Bob+")
    last = {"csrf": form["csrf"], "name": "Ada", "active": "no"}
    response = ada.post("/settings/users/active", data=last)
    assert response.status_code == 409
    assert "last admin" in response.text
    nobody = {"csrf": form["csrf"], "name": "Nobody", "active": "no"}
    assert ada.post("/settings/users/active", data=nobody).status_code == 404


def test_a_queue_is_changed_from_the_page(app: FastAPI, ledger: Ledger) -> None:
    ada = come_in(app, ledger)
    form = {"csrf": csrf_of(app, ada), "name": "review", "reviewers": "2", "double_percent": "12.5"}
    assert ada.post("/settings/queues", data=form).status_code == 303
    page = ada.get("/settings").text
    assert 'value="12.5"' in page
    assert 'id="reviewers-1" name="reviewers" type="number" min="1" max="9" value="2"' in page
    for wrong in ({"reviewers": "0"}, {"double_percent": "nan"}, {"name": "A b"}):
        assert ada.post("/settings/queues", data=form | wrong).status_code == 422


def test_a_hostile_name_is_shown_as_text(app: FastAPI, ledger: Ledger) -> None:
    name = '"><script>alert(1)</script>'
    ada = come_in(app, ledger, name)
    form = {
        "csrf": csrf_of(app, ada),
        "name": "{{1234*4321}}<img src=x onerror=a>",
        "role": "reviewer",
    }
    ada.post("/settings/users", data=form)
    for path in ("/account", "/settings", "/audit", f"/settings?done={name}"):
        page = ada.get(path).text
        assert "&lt;script&gt;alert(1)" in page
        assert "<script>alert" not in page
        assert "<img src=x" not in page
        assert "5332114" not in page


def test_the_audit_log_is_paged_filtered_and_counted(project: Project, app: FastAPI) -> None:
    ledger = project.stores.ledger
    with ledger.begin() as connection:
        for number in range(250):
            record_action(connection, f"p{number % 2}", "decide", f"trace {number}", n=number)
        record_action(connection, "p0", "undo", "trace <b>249</b>")
    client = client_of(app, add_person(project, "Ada", "engineer"))
    first = client.get("/audit").text
    assert "251 of 251 entries" in first
    assert "trace &lt;b&gt;249" in first
    (older,) = re.findall(r'href="(/audit\?[^"]*before=\d+)"', first)
    second = client.get(older.replace("&amp;", "&")).text
    assert "trace 150" in second
    assert "trace 151<" not in second
    assert "125 of 251 entries" in client.get("/audit?who=p1").text
    assert "1 of 251 entries" in client.get("/audit?action=undo").text
    assert "0 of 251 entries" in client.get("/audit?day=2020-01-01").text


def test_the_audit_log_is_taken_whole_and_that_is_noted(project: Project, app: FastAPI) -> None:
    ledger = project.stores.ledger
    with ledger.begin() as connection:
        for number in range(5_000):
            record_action(connection, "p", "decide", "a\nb", n=number)
    client = client_of(app, add_person(project, "Ada", "engineer"))
    lines = [json.loads(line) for line in client.get("/audit.jsonl").text.splitlines()]
    assert [line["entry_id"] for line in lines] == list(range(1, 5_002))
    assert lines[7]["detail"] == {"n": 7}
    assert (lines[-1]["actor"], lines[-1]["action"]) == ("Ada", "export")
    assert lines[0]["happened_at"].endswith("+00:00")


# Machines that watch


def test_health_is_whether_the_ledger_can_be_read(project: Project, app: FastAPI) -> None:
    response = stranger(app).get("/healthz")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})
    broken = project.folder / "broken"
    (broken / ".flywheel").mkdir(parents=True)
    (broken / ".flywheel" / "ledger.sqlite").write_bytes(b"no database at all" * 100)
    assert stranger(create_app(open_project(broken))).get("/healthz").status_code == 503


def test_ready_is_whether_requests_may_come(project: Project, app: FastAPI) -> None:
    assert stranger(app).get("/readyz").json() == {"status": "ok"}
    app.state.warming = Thread(target=(may_end := Event()).wait)
    app.state.warming.start()
    assert waits_for(app) == "it waits for the examples"
    may_end.set()
    app.state.warming.join()
    assert stranger(app).get("/readyz").status_code == 200
    root = project.stores.artifacts.root
    root.parent.mkdir(parents=True, exist_ok=True)
    # A file stands where the folder should: nobody can write below it, root neither.
    root.write_bytes(b"")
    assert waits_for(app) == "it waits for the artifacts"
    root.unlink()
    with project.stores.ledger.begin() as connection:
        connection.execute(sa.text("update alembic_version set version_num = 'of tomorrow'"))
    assert waits_for(app) == "it waits for the ledger's migration"
    with project.stores.ledger.begin() as connection:
        connection.execute(sa.text("drop table alembic_version"))
    assert waits_for(app) == "it waits for the ledger's migration"
    broken = project.folder / "broken"
    (broken / ".flywheel").mkdir(parents=True)
    (broken / ".flywheel" / "ledger.sqlite").write_bytes(b"no database at all" * 100)
    assert waits_for(create_app(open_project(broken))) == "it waits for the ledger"


def waits_for(app: FastAPI) -> str:
    """What a server that is not ready says; nothing else is in it, and none of it is secret."""
    response = stranger(app).get("/readyz")
    assert response.status_code == 503
    (word,) = response.json().values()
    return str(word)


def test_numbers_are_open_on_loopback_and_need_a_key_elsewhere(project: Project) -> None:
    ledger = project.stores.ledger
    add_user(ledger, "prometheus", "service", "Ada")
    headers = {"Authorization": f"Bearer {new_key(ledger, 'prometheus', 'Ada')}"}
    here = stranger(create_app(project)).get("/metrics")
    assert here.status_code == 200
    assert 'flywheel_items{status="pending"} 0.0' in here.text
    for app in (create_app(project, "0.0.0.0"), create_app(behind_a_proxy(project.folder))):
        assert stranger(app).get("/metrics").status_code == 401
        assert stranger(app).get("/metrics", headers=headers).status_code == 200


def behind_a_proxy(folder: Path) -> Project:
    (folder / "flywheel.toml").write_text('[web]\npublic_url = "https://fly.example"\n')
    return open_project(folder)
