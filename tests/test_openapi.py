"""The whole of what the server says it takes, sent to it at random: nothing makes it fail.

Schemathesis draws requests from the OpenAPI description, right ones and wrong ones; the draw is the
same in every run.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass

import pytest
import schemathesis
from fastapi import FastAPI, Response
from hypothesis import HealthCheck, given, settings
from hypothesis.configuration import set_hypothesis_home_dir
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.schemas import APIOperation

from flywheel.store import Project, open_project
from flywheel.web.accounts import get_user
from flywheel.web.app import create_app
from flywheel.web.invitations import accept_invitation, ensure_first_admin_link
from flywheel.web.sessions import COOKIE
from tests.served import PASSWORD, agent, chat, fill, furnish, key_of

# The name that the server answers to.
OURS = {"Host": "127.0.0.1"}
# Of each operation, right and wrong ones alike.
N_REQUESTS = 8

Headers = Callable[[], Mapping[str, str]]


@pytest.fixture(scope="module", autouse=True)
def _kept_elsewhere(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Hypothesis keeps tables in a folder of its own, and it should not lie in the tree."""
    set_hypothesis_home_dir(tmp_path_factory.mktemp("hypothesis"))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterable[Project]:
    """A furnished project, and an admin."""
    made = open_project(tmp_path_factory.mktemp("openapi"))
    fill(made, [*map(chat, range(20)), *map(agent, range(5))])
    furnish(made)
    token = ensure_first_admin_link(made.stores.ledger)
    assert token is not None
    accept_invitation(made.stores.ledger, token, PASSWORD, "ada")
    yield made
    made.stores.ledger.close()


def by_key(app: FastAPI, project: Project) -> Headers:
    """As a program asks: with an admin's key."""
    key = key_of(project, "program", "admin")
    return lambda: {"Authorization": f"Bearer {key}"}


def by_cookie(app: FastAPI, project: Project) -> Headers:
    """As a browser asks: with a session, a new one each time, since some requests end theirs."""

    def headers() -> Mapping[str, str]:
        sessions, response = app.state.web.sessions, Response()
        user = get_user(project.stores.ledger, "ada")
        session_id = sessions.begin(response, user.name, user.session_epoch)
        cookie = response.headers["set-cookie"].split(";")[0]
        assert cookie.startswith(COOKIE)
        return {"Cookie": cookie, "X-CSRF-Token": sessions.csrf(session_id)}

    return headers


def operations(app: FastAPI) -> list[APIOperation]:
    """Every operation of the description, `/v1` and pages."""
    schema = schemathesis.openapi.from_asgi("/openapi.json", app, headers=OURS)
    return [found.ok() for found in schema.get_all_operations()]


@dataclass(frozen=True)
class Answered:
    """How requests to one operation went: every status, and the requests that made it fail."""

    statuses: set[int]
    failures: list[str]


def answers_of(operation: APIOperation, headers: Headers) -> Answered:
    """The answers to requests that are drawn for an operation."""
    answered = Answered(set(), [])
    for mode in GenerationMode:

        @settings(
            max_examples=N_REQUESTS,
            derandomize=True,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case: Case) -> None:
            # Collected and not raised: Hypothesis would ask again and again for a smaller request.
            try:
                answer = case.call(headers={**OURS, **headers()})
            except Exception as error:
                # What no handler foresaw comes through to a client in the same process.
                answered.failures.append(f"{error!r} after {case.as_curl_command()}")
                return
            answered.statuses.add(answer.status_code)
            if answer.status_code >= 500:
                answered.failures.append(case.as_curl_command())

        # What takes nothing cannot be asked wrongly.
        with suppress(Unsatisfiable):
            ask()
    return answered


@pytest.mark.parametrize("who", [by_key, by_cookie])
def test_no_request_makes_the_server_fail(
    project: Project, who: Callable[[FastAPI, Project], Headers]
) -> None:
    app = create_app(project)
    headers = who(app, project)
    answered = {
        operation.label: answers_of(operation, headers)
        for operation in operations(app)
        if operation.path.startswith("/v1") == (who is by_key)
    }
    assert len(answered) > 10
    failed = {name: one.failures[0] for name, one in answered.items() if one.failures}
    assert failed == {}
    # The requests got past the door.
    refused = [name for name, one in answered.items() if one.statuses <= {401, 403}]
    assert refused == []
