"""Accounts: links that work once, names, roles, the last admin, keys, and how often one may try."""

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import sqlalchemy as sa
from fastapi import Response

from flywheel.cli import main
from flywheel.errors import BadInput, BadSetting, NotFound, Refused, TryAgain
from flywheel.store import Project, open_project
from flywheel.store.ledger import Ledger, now, record_action
from flywheel.store.tables import api_keys, audit_log, invitations, users
from flywheel.web.accounts import (
    add_user,
    checked_name,
    end_sessions,
    find_user,
    get_user,
    list_users,
    set_active,
    set_role,
    signed_in_user,
)
from flywheel.web.invitations import (
    accept_invitation,
    ensure_first_admin_link,
    new_link,
    open_invitation,
)
from flywheel.web.keys import list_keys, new_key, revoke_key, user_of_key
from flywheel.web.passwords import PLACES, places
from flywheel.web.sessions import SECRET_FILE, BadSession, Sessions, open_sessions
from flywheel.web.signing_in import (
    FAILED,
    FAILURES_OF_A_NAME,
    FAILURES_OF_AN_ADDRESS,
    WINDOW,
    TooManyFailures,
    change_password,
    sign_in,
    sign_out,
)
from tests.signed_in import insert_person

GOOD = "correct horse battery staple"
BETTER = "staple battery horse correct"
HERE = "192.0.2.7"


def admin(ledger: Ledger, name: str = "Ada") -> str:
    """The first admin, who chose the password GOOD; their name."""
    token = ensure_first_admin_link(ledger)
    assert token is not None
    return accept_invitation(ledger, token, GOOD, name).name


def actions(ledger: Ledger) -> list[tuple[str, str, str]]:
    """Actor, action and subject of each entry of the audit log."""
    columns = audit_log.c["actor", "action", "subject"]
    with ledger.read() as connection:
        rows = connection.execute(sa.select(*columns).order_by(audit_log.c.entry_id))
        return [tuple(row) for row in rows]


def test_the_first_link_makes_an_admin_once(ledger: Ledger) -> None:
    token = ensure_first_admin_link(ledger)
    assert open_invitation(ledger, token).name == ""
    ada = accept_invitation(ledger, token, GOOD, "Ada")
    assert (ada.role, ada.has_password) == ("admin", True)
    with pytest.raises(Refused, match="was used"):
        accept_invitation(ledger, token, GOOD, "Eve")
    assert ensure_first_admin_link(ledger) is None
    assert [user.name for user in list_users(ledger)] == ["Ada"]


def test_each_start_gives_a_new_first_link_and_ends_the_one_before(ledger: Ledger) -> None:
    first, second = ensure_first_admin_link(ledger), ensure_first_admin_link(ledger)
    with pytest.raises(Refused):
        open_invitation(ledger, first)
    assert open_invitation(ledger, second).role == "admin"


def test_a_first_link_is_worth_nothing_once_there_is_an_admin(ledger: Ledger) -> None:
    token = ensure_first_admin_link(ledger)
    add_user(ledger, "Bea", "admin", "shell")
    accept_invitation(ledger, new_link(ledger, "Bea", "shell"), GOOD)
    with pytest.raises(Refused):
        accept_invitation(ledger, token, GOOD, "Eve")


def test_two_who_hold_the_same_link_do_not_both_come_in(ledger: Ledger) -> None:
    token = ensure_first_admin_link(ledger)

    def come_in(name: str) -> bool:
        try:
            accept_invitation(ledger, token, GOOD, name)
        except Refused:
            return False
        return True

    with ThreadPoolExecutor(2) as threads:
        assert sorted(threads.map(come_in, ["Ada", "Eve"])) == [False, True]
    assert len(list_users(ledger)) == 1


def test_only_hashes_of_secrets_are_kept(ledger: Ledger) -> None:
    token = ensure_first_admin_link(ledger)
    name = accept_invitation(ledger, token, GOOD, "Ada").name
    key = new_key(ledger, name, name)
    link = new_link(ledger, name, name)
    with ledger.read() as connection:
        for table in (users, invitations, api_keys, audit_log):
            kept = repr(connection.execute(sa.select(table)).all())
            assert not [secret for secret in (token, GOOD, key, link) if secret in kept], table
    assert next(row for row in list_users(ledger)).has_password


def test_a_link_is_too_old_after_its_hours(ledger: Ledger) -> None:
    token = ensure_first_admin_link(ledger)
    with ledger.begin() as connection:
        connection.execute(invitations.update().values(expires_at=now() - timedelta(seconds=1)))
    with pytest.raises(Refused, match="too old"):
        open_invitation(ledger, token)


def test_a_link_for_somebody_lets_them_choose_the_password_and_not_the_name(
    ledger: Ledger,
) -> None:
    admin(ledger)
    add_user(ledger, "Bob", "reviewer", "Ada")
    bob = accept_invitation(ledger, new_link(ledger, "Bob", "Ada"), GOOD, "Ada")
    assert (bob.name, bob.role) == ("Bob", "reviewer")


def test_a_new_password_ends_the_sessions_from_before(ledger: Ledger) -> None:
    name = admin(ledger)
    epoch = get_user(ledger, name).session_epoch
    assert signed_in_user(ledger, name, epoch, "session", now())
    accept_invitation(ledger, new_link(ledger, name, name), BETTER)
    assert not signed_in_user(ledger, name, epoch, "session", now())
    with pytest.raises(Refused):
        sign_in(ledger, name, GOOD, HERE)
    assert sign_in(ledger, name, BETTER, HERE).name == name


@pytest.mark.parametrize("change", ["role", "deactivate", "end"])
def test_less_to_do_ends_the_sessions(ledger: Ledger, change: str) -> None:
    insert_person(ledger, "Ada", "admin")
    name = insert_person(ledger, "Bob", "engineer")
    assert signed_in_user(ledger, name, 0, "session", now())
    if change == "role":
        set_role(ledger, name, "reviewer", "Ada")
    elif change == "deactivate":
        set_active(ledger, name, False, "Ada")
    else:
        end_sessions(ledger, name, "Ada")
    assert not signed_in_user(ledger, name, 0, "session", now())


def test_signing_out_ends_that_session_for_good_and_no_other(ledger: Ledger) -> None:
    name, since = insert_person(ledger, "Ada", "admin"), now()
    sign_out(ledger, name, "one")
    assert not signed_in_user(ledger, name, 0, "one", since)
    assert signed_in_user(ledger, name, 0, "another", since)


def test_the_last_admin_stays_one(ledger: Ledger) -> None:
    insert_person(ledger, "Ada", "admin")
    add_user(ledger, "Bea", "admin", "Ada")
    for less in (
        lambda: set_role(ledger, "Ada", "engineer", "Ada"),
        lambda: set_active(ledger, "Ada", False, "Ada"),
    ):
        # Bea was invited and cannot sign in yet.
        with pytest.raises(Refused, match="last admin"):
            less()
    accept_invitation(ledger, new_link(ledger, "Bea", "Ada"), GOOD)
    assert set_role(ledger, "Ada", "engineer", "Bea").role == "engineer"
    with pytest.raises(Refused, match="last admin"):
        set_active(ledger, "Bea", False, "Bea")


def test_two_admins_cannot_demote_each_other_at_once(ledger: Ledger) -> None:
    names = [insert_person(ledger, name, "admin") for name in ("Ada", "Bea")]

    def demote(name: str) -> bool:
        try:
            set_role(ledger, name, "reviewer", "somebody")
        except Refused:
            return False
        return True

    with ThreadPoolExecutor(2) as threads:
        assert sorted(threads.map(demote, names)) == [False, True]


def test_a_deactivated_user_comes_in_by_nothing(ledger: Ledger) -> None:
    admin(ledger)
    add_user(ledger, "Bob", "reviewer", "Ada")
    link, key = new_link(ledger, "Bob", "Ada"), new_key(ledger, "Bob", "Ada")
    accept_invitation(ledger, link, GOOD)
    link = new_link(ledger, "Bob", "Ada")
    set_active(ledger, "Bob", False, "Ada")
    with pytest.raises(Refused):
        open_invitation(ledger, link)
    with pytest.raises(Refused):
        sign_in(ledger, "Bob", GOOD, HERE)
    with pytest.raises(Refused, match="deactivated"):
        new_link(ledger, "Bob", "Ada")
    assert user_of_key(ledger, key) is None
    set_active(ledger, "Bob", True, "Ada")
    assert sign_in(ledger, "Bob", GOOD, HERE).name == "Bob"


def test_a_program_has_keys_and_no_password(ledger: Ledger) -> None:
    add_user(ledger, "exporter", "service", "Ada")
    with pytest.raises(Refused, match="API key"):
        new_link(ledger, "exporter", "Ada")
    key = new_key(ledger, "exporter", "Ada")
    assert key.startswith("fw_")
    assert user_of_key(ledger, key).role == "service"
    (kept,) = list_keys(ledger)
    assert key.startswith(kept.prefix)
    assert len(kept.prefix) == 12
    revoke_key(ledger, kept.prefix, "Ada")
    assert user_of_key(ledger, key) is None
    with pytest.raises(NotFound):
        revoke_key(ledger, kept.prefix, "Ada")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "   ",
        "x" * 81,
        "a\0b",
        "a\nb",
        "ada\u202ebob",
        "ada\u200b",
        "\u2066ada",
        "a\ud800",
        "\ufeffada",
        "...",
        "ada\x1b[31m",
    ],
)
def test_a_name_that_cannot_be_seen_as_it_is_is_none(ledger: Ledger, name: str) -> None:
    with pytest.raises(BadInput, match="a name has"):
        add_user(ledger, name, "reviewer", "Ada")


def test_names_are_kept_as_written_and_compared_without_capitals(ledger: Ledger) -> None:
    assert add_user(ledger, "  Zoë Weiß ", "reviewer", "Ada").name == "Zoë Weiß"
    # The same letters, decomposed and in capitals.
    assert find_user(ledger, "ZOE\u0308 WEISS").name == "Zoë Weiß"
    with pytest.raises(Refused, match="there is a user"):
        add_user(ledger, "zoë weiß", "admin", "Ada")
    assert checked_name("李雷") == "李雷"
    assert checked_name("x" * 80) == "x" * 80


def test_two_cannot_take_one_name_at_once(ledger: Ledger) -> None:
    def take(name: str) -> bool:
        try:
            add_user(ledger, name, "reviewer", "Ada")
        except Refused:
            return False
        return True

    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(take, ["Bob", "BOB", "bob", "Bob"])) == 1


@pytest.mark.parametrize("password", ["", "elevenchars", "x" * 1_025])
def test_a_password_has_twelve_characters_and_not_a_thousand_more(
    ledger: Ledger, password: str
) -> None:
    token = ensure_first_admin_link(ledger)
    with pytest.raises(BadInput, match="12 to 1,024"):
        accept_invitation(ledger, token, password, "Ada")
    assert accept_invitation(ledger, token, "x" * 1_024, "Ada").has_password


def test_a_password_is_the_same_however_a_keyboard_composes_it(ledger: Ledger) -> None:
    token = ensure_first_admin_link(ledger)
    accept_invitation(ledger, token, "Bo\u0308se Gru\u0308ße, ja", "Ada")
    assert sign_in(ledger, "ada", "B\u00f6se Gr\u00fc\u00dfe, ja", HERE).name == "Ada"


def test_what_is_wrong_is_not_said(ledger: Ledger) -> None:
    admin(ledger)
    add_user(ledger, "Bob", "reviewer", "Ada")
    said = set()
    for name, password in (("Ada", "wrong"), ("Nobody", GOOD), ("Bob", GOOD), ("Ada", "x" * 9_000)):
        with pytest.raises(Refused) as caught:
            sign_in(ledger, name, password, HERE)
        said.add(str(caught.value))
    assert said == {"the name or the password is wrong"}


def test_a_crowd_at_the_door_is_told_to_come_back(ledger: Ledger) -> None:
    admin(ledger)
    for _ in range(PLACES):
        assert places.acquire(blocking=False)
    try:
        with pytest.raises(TryAgain, match="too many people"):
            sign_in(ledger, "Ada", GOOD, HERE)
    finally:
        places.release(PLACES)
    assert sign_in(ledger, "Ada", GOOD, HERE).name == "Ada"


def fail(ledger: Ledger, name: str, address: str, times: int, minutes_ago: float = 0) -> None:
    """Entries of wrong passwords, as sign-ins leave them."""
    with ledger.begin() as connection:
        for _ in range(times):
            record_action(connection, name, FAILED, address)
        when = now() - timedelta(minutes=minutes_ago)
        connection.execute(
            audit_log.update()
            .where(audit_log.c.action == FAILED, audit_log.c.subject == address)
            .values(happened_at=when)
        )


def test_five_wrong_passwords_of_a_name_are_enough_for_a_quarter_of_an_hour(
    ledger: Ledger,
) -> None:
    admin(ledger)
    for _ in range(FAILURES_OF_A_NAME):
        with pytest.raises(Refused, match="wrong"):
            sign_in(ledger, "ADA", "wrong", HERE)
    with pytest.raises(TooManyFailures) as caught:
        sign_in(ledger, "Ada", GOOD, HERE)
    assert 0 < caught.value.wait_s <= WINDOW.total_seconds()
    # Others there, and the same person elsewhere, are let in.
    assert sign_in(ledger, "Ada", GOOD, "198.51.100.1").name == "Ada"


def test_the_limit_holds_over_a_restart_and_ends_with_the_window(ledger: Ledger) -> None:
    admin(ledger)
    fail(ledger, "Ada", HERE, FAILURES_OF_A_NAME, minutes_ago=14)
    ledger.close()
    again = Ledger(ledger.url)
    with pytest.raises(TooManyFailures) as caught:
        sign_in(again, "Ada", GOOD, HERE)
    # 15 minutes less 14.
    assert 50 <= caught.value.wait_s <= 61
    fail(again, "Ada", HERE, 0, minutes_ago=16)
    assert sign_in(again, "Ada", GOOD, HERE).name == "Ada"
    again.close()


def test_fifty_wrong_passwords_of_an_address_are_enough_whatever_the_names(
    ledger: Ledger,
) -> None:
    admin(ledger)
    for number in range(FAILURES_OF_AN_ADDRESS):
        fail(ledger, f"name {number}", HERE, 1)
    with pytest.raises(TooManyFailures):
        sign_in(ledger, "Ada", GOOD, HERE)


def test_a_new_password_needs_the_present_one_and_is_counted_too(ledger: Ledger) -> None:
    name = admin(ledger)
    for _ in range(FAILURES_OF_A_NAME):
        with pytest.raises(Refused):
            change_password(ledger, name, "wrong", BETTER, HERE)
    with pytest.raises(TooManyFailures):
        change_password(ledger, name, GOOD, BETTER, HERE)
    assert change_password(ledger, name, GOOD, BETTER, "198.51.100.1").session_epoch == 1


def test_all_of_it_stands_in_the_audit_log(ledger: Ledger) -> None:
    admin(ledger)
    add_user(ledger, "Bob", "reviewer", "Ada")
    new_link(ledger, "Bob", "Ada")
    set_role(ledger, "Bob", "engineer", "Ada")
    set_active(ledger, "Bob", False, "Ada")
    sign_in(ledger, "Ada", GOOD, HERE)
    with pytest.raises(Refused):
        sign_in(ledger, "Eve\u202e" + "e" * 500, GOOD, HERE)
    assert actions(ledger) == [
        ("flywheel", "first_link", ""),
        ("Ada", "choose_password", "Ada"),
        ("Ada", "add_user", "Bob"),
        ("Ada", "new_link", "Bob"),
        ("Ada", "set_role", "Bob"),
        ("Ada", "deactivate", "Bob"),
        ("Ada", "sign_in", HERE),
        # 80 characters of what was typed, less the mark that cannot be seen.
        ("eve" + "e" * 76, "sign_in_failed", HERE),
    ]


def test_the_secret_is_made_once_and_for_its_owner_only(project: Project) -> None:
    with ThreadPoolExecutor(4) as threads:
        made = list(threads.map(lambda _: open_sessions(project).csrf("one"), range(4)))
    assert len(set(made)) == 1
    path = project.data_dir / SECRET_FILE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [other for other in project.data_dir.iterdir() if "secret" in other.name] == [path]


def test_a_secret_that_is_too_short_is_refused(project: Project) -> None:
    (project.folder).mkdir(exist_ok=True)
    (project.folder / "flywheel.toml").write_text('[web]\nsecret = "hunter2"\n')
    with pytest.raises(BadSetting, match="7 characters and needs 32"):
        open_sessions(open_project(project.folder))


def test_a_cookie_of_another_server_or_of_long_ago_is_no_session(project: Project) -> None:
    response = Response()
    Sessions("another secret of thirty-two chars", 1, False).begin(response, "Ada", 0)
    cookie = response.headers["set-cookie"].split("=", 1)[1].split(";")[0]
    with pytest.raises(BadSession, match="not signed"):
        open_sessions(project).read(cookie)
    short = Sessions("x" * 32, -1 / 86_400, False)
    response = Response()
    short.begin(response, "Ada", 0)
    with pytest.raises(BadSession, match="too old"):
        short.read(response.headers["set-cookie"].split("=", 1)[1].split(";")[0])


def shell(project: Project, *words: str) -> None:
    """Run `flywheel users` for the project."""
    project.data_dir.mkdir(parents=True, exist_ok=True)
    main(["--project", str(project.folder), "users", *words])


def test_the_shell_makes_a_link_that_works_or_a_key(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = project.stores.ledger
    shell(project, "add", "Ada", "--role", "admin", "--port", "4000")
    out, err = capsys.readouterr()
    address, token = out.strip().rsplit("/", 1)
    assert address == "http://127.0.0.1:4000/welcome"
    assert "works once" in err
    assert accept_invitation(ledger, token, GOOD).role == "admin"
    shell(project, "add", "exporter", "--role", "service")
    first = capsys.readouterr().out.strip()
    shell(project, "key", "exporter")
    second = capsys.readouterr().out.strip()
    assert {user_of_key(ledger, key).name for key in (first, second)} == {"exporter"}
    shell(project, "link", "ada")
    assert capsys.readouterr().out.count("\n") == 1
    shell(project, "deactivate", "exporter")
    assert user_of_key(ledger, first) is None
    shell(project, "list", "--json")
    listed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [(user["name"], user["is_active"]) for user in listed] == [
        ("Ada", True),
        ("exporter", False),
    ]
    with pytest.raises(SystemExit) as stop:
        shell(project, "deactivate", "Ada")
    assert stop.value.code == 1
    assert "last admin" in capsys.readouterr().err
